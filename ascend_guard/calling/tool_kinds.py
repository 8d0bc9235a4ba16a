"""How each kind of tool runs between its permit and its outcome: functions, coroutines, streams, and deferred results."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from ascend_guard.errors import AscendError, ConfigurationError

from .deferred import adrain, concluded, drain, follow, stopped
from .execution import Execution
from .refusals import refusal
from .result_kinds import DATA
from .scope import current, restore

Args = tuple[object, ...]
Kwargs = dict[str, object]
Prepare = Callable[[Callable[..., Any], object, Args, Kwargs], Execution]
Path = Callable[[Callable[..., Any], Prepare, object, Args, Kwargs], Any]


def call_through(
    wrapped: Callable[..., Any], prepare: Prepare, instance: object, args: Args, kwargs: Kwargs
) -> Any:
    outer = current()
    try:
        execution = prepare(wrapped, instance, args, kwargs)
        try:
            execution.authorize(enters=True)
            with execution:
                result = wrapped(*execution.call.args, **execution.call.kwargs)
            if type(result) not in DATA:
                later = follow(execution, result, _Again(wrapped, prepare, instance, args, kwargs))
                if later is not None:
                    return later
            execution.settle()
        except BaseException as error:
            execution.settle(error)
            raise
        return result
    finally:
        restore(outer)  # safe to interrupt at any time: one call of a C function


async def call_through_async(
    wrapped: Callable[..., Any], prepare: Prepare, instance: object, args: Args, kwargs: Kwargs
) -> Any:
    execution = prepare(wrapped, instance, args, kwargs)
    await execution.aauthorize()
    try:
        with execution:
            result = await wrapped(*execution.call.args, **execution.call.kwargs)
        return await concluded(execution, result)
    except BaseException as error:  # also an interrupt between the body's end and the outcome
        await stopped(execution, error)
        raise


class _Again:
    """Makes the call of a plain function once more; see ``followed.Again``."""

    __slots__ = ("_call",)

    def __init__(self, *call: Any) -> None:
        self._call = call

    def now(self) -> Any:
        return call_through(*self._call)

    def later(self) -> AbstractAsyncContextManager[Any]:
        return _manager_later(*self._call)


@asynccontextmanager
async def _manager_later(
    wrapped: Callable[..., Any], prepare: Prepare, instance: object, args: Args, kwargs: Kwargs
) -> AsyncIterator[Any]:
    execution = prepare(wrapped, instance, args, kwargs)
    await execution.aauthorize()
    try:
        with execution:
            result = wrapped(*execution.call.args, **execution.call.kwargs)
        manager = await concluded(execution, result)
    except BaseException as error:
        await stopped(execution, error)
        raise
    async with manager as value:
        yield value


def _stream(
    wrapped: Callable[..., Any], prepare: Prepare, instance: object, args: Args, kwargs: Kwargs
) -> Generator[Any, Any, Any]:
    execution = prepare(wrapped, instance, args, kwargs)
    execution.authorize(dropped=True)
    try:
        chunks = wrapped(*execution.call.args, **execution.call.kwargs)
    except BaseException as error:
        execution.settle(error)
        raise
    return (yield from drain(execution, chunks, first=False))


def _astream(
    wrapped: Callable[..., Any], prepare: Prepare, instance: object, args: Args, kwargs: Kwargs
) -> AsyncGenerator[Any, Any]:
    async def begin() -> tuple[Execution, AsyncGenerator[Any, Any]]:
        execution = prepare(wrapped, instance, args, kwargs)
        await execution.aauthorize()
        return execution, wrapped(*execution.call.args, **execution.call.kwargs)

    return adrain(begin)


def told(path: Path) -> Path:
    """Return the same way to run a tool, with text for the model as the result of a call that is blocked before its
    body began.

    A developer's mistake is still raised, and so is every exception from the body, including the ``AscendError`` of a
    governed call inside it.

    Raises:
        ConfigurationError: the tool streams; text cannot replace a stream.
    """
    if path in (_stream, _astream):
        raise ConfigurationError(
            'on_denied="return" returns text instead of the result of the tool, but this tool streams. '
            "Remove on_denied and catch AscendError around the loop, or let the tool return a list."
        )
    return _told_async if path is call_through_async else _told


def _told(
    wrapped: Callable[..., object], prepare: Prepare, instance: object, args: Args, kwargs: Kwargs
) -> Any:
    noted = _Noted(prepare)
    try:
        return call_through(wrapped, noted, instance, args, kwargs)
    except AscendError as error:
        return noted.answer(error)


async def _told_async(
    wrapped: Callable[..., object], prepare: Prepare, instance: object, args: Args, kwargs: Kwargs
) -> object:
    noted = _Noted(prepare)
    try:
        return await call_through_async(wrapped, noted, instance, args, kwargs)
    except AscendError as error:
        return noted.answer(error)


class _Noted:
    """Prepares one call, and remembers whether its body began."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._execution: Execution | None = None

    def __call__(
        self, wrapped: Callable[..., object], instance: object, args: Args, kwargs: Kwargs
    ) -> Execution:
        self._execution = execution = self._prepare(wrapped, instance, args, kwargs)
        return execution

    def answer(self, error: AscendError) -> str:
        acted = self._execution is not None and self._execution.acted
        if acted or isinstance(error, ConfigurationError):
            raise error
        return refusal(error)


def path_of(tool: Callable[..., object]) -> Path:
    function = unwrap(tool)
    if inspect.isasyncgenfunction(function):
        return _astream
    if inspect.iscoroutinefunction(function) or _awaitable(function):
        return call_through_async
    if inspect.isgeneratorfunction(function):
        return _stream
    return call_through


def _awaitable(function: object) -> bool:
    """Return whether this is a generator function that ``types.coroutine`` made awaitable."""
    return inspect.isfunction(function) and bool(function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE)


def unwrap(tool: Any) -> Any:
    """Return the function inside partials, methods and callable objects. It determines how the tool runs."""
    while True:
        if isinstance(tool, functools.partial):
            tool = tool.func
        elif isinstance(tool, classmethod | staticmethod) or inspect.ismethod(tool):
            tool = tool.__func__
        elif not inspect.isroutine(tool) and not isinstance(tool, type):
            call = getattr(type(tool), "__call__", None)  # noqa: B004 - the class's, not the object's
            if not inspect.isfunction(call):
                return tool
            tool = call
        else:
            return tool
