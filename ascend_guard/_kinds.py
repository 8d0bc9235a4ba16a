"""How each kind of tool runs between its permit and its outcome: functions, coroutines, streams, and work handed back."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeVar, cast

from ._scope import back_to, current
from .execution import Execution

T = TypeVar("T")

Prepare = Callable[[Callable[..., Any], object, tuple[Any, ...], dict[str, Any]], Execution]


def call_through(
    wrapped: Callable[..., Any],
    prepare: Prepare,
    instance: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    outer = current()
    try:
        execution = prepare(wrapped, instance, args, kwargs)
        try:
            execution.authorize()
            with execution:
                result = wrapped(*execution.call.args, **execution.call.kwargs)
            later = _later(result)
            if later is not None:
                return later(execution, result)
            execution.settle()
        except BaseException as error:
            execution.settle(error)
            raise
        return result
    finally:
        back_to(outer)  # however often it was interrupted: this is one call of a C function


async def call_through_async(
    wrapped: Callable[..., Any],
    prepare: Prepare,
    instance: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    execution = prepare(wrapped, instance, args, kwargs)
    await execution.aauthorize()
    return await _finish(execution, wrapped(*execution.call.args, **execution.call.kwargs))


async def _finish(execution: Execution, work: Awaitable[T]) -> T:
    try:
        with execution:
            result = await work
    except BaseException as error:
        await execution.asettle(error)
        raise
    later = _later(result)
    if later is not None:
        return cast(T, later(execution, result))
    await execution.asettle()
    return result


def _stream(
    wrapped: Callable[..., Any],
    prepare: Prepare,
    instance: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Generator[Any, Any, Any]:
    execution = prepare(wrapped, instance, args, kwargs)
    execution.authorize()
    return (yield from _drain(execution, wrapped(*execution.call.args, **execution.call.kwargs)))


def _drain(execution: Execution, chunks: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """Hand out a permitted generator's chunks, checking the kill switch between them."""
    count = 0
    step: Callable[[Any], Any] = chunks.send
    sent: Any = None
    try:
        while True:
            try:
                with execution:
                    chunk = step(sent)
            except StopIteration as stop:
                result = cast(T, stop.value)
                break
            count += 1
            try:
                sent, step = (yield chunk), chunks.send
            except GeneratorExit:
                with execution:
                    chunks.close()
                raise
            except BaseException as error:  # thrown in by the caller: the tool's to handle
                sent, step = error, chunks.throw
            execution.check()
    except GeneratorExit:
        execution.settle(detail=f"closed by the caller after {count} chunks")
        raise
    except BaseException as error:
        with execution, suppress(Exception):  # the error that stopped the stream is the one to tell
            chunks.close()
        execution.settle(error, detail=f"stopped after {count} chunks")
        raise
    execution.settle(detail=f"{count} chunks")
    return result


def _astream(
    wrapped: Callable[..., Any],
    prepare: Prepare,
    instance: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> AsyncGenerator[Any, Any]:
    async def begin() -> tuple[Execution, AsyncGenerator[Any, Any]]:
        execution = prepare(wrapped, instance, args, kwargs)
        await execution.aauthorize()
        return execution, wrapped(*execution.call.args, **execution.call.kwargs)

    return _adrain(begin)


def _alater(execution: Execution, chunks: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    async def begin() -> tuple[Execution, AsyncGenerator[Any, Any]]:
        return execution, chunks

    return _adrain(begin)


async def _adrain(
    begin: Callable[[], Awaitable[tuple[Execution, AsyncGenerator[Any, Any]]]],
) -> AsyncGenerator[Any, Any]:
    """The same for async generators; ``begin`` runs at the first ``anext`` and gets the permit."""
    execution, chunks = await begin()
    count = 0
    step: Callable[[Any], Any] = chunks.asend
    sent: Any = None
    try:
        while True:
            try:
                with execution:
                    chunk = await step(sent)
            except StopAsyncIteration:
                break
            count += 1
            try:
                sent, step = (yield chunk), chunks.asend
            except GeneratorExit:
                with execution:
                    await chunks.aclose()
                raise
            except BaseException as error:  # thrown in by the caller: the tool's to handle
                sent, step = error, chunks.athrow
            await execution.acheck()
    except GeneratorExit:
        await execution.asettle(detail=f"closed by the caller after {count} chunks")
        raise
    except BaseException as error:
        with execution, suppress(Exception):  # the error that stopped the stream is the one to tell
            await chunks.aclose()
        await execution.asettle(error, detail=f"stopped after {count} chunks")
        raise
    await execution.asettle(detail=f"{count} chunks")


def _when_done(execution: Execution, future: Any) -> Any:
    def settle(done: Any) -> None:
        execution.settle(CancelledError() if done.cancelled() else done.exception())

    from asyncio import CancelledError

    future.add_done_callback(settle)
    return future


def _later(result: object) -> Callable[[Execution, Any], Any] | None:
    """A tool may hand back work that has not been done yet; its outcome is that work's."""
    kind = type(result)
    if hasattr(kind, "add_done_callback") and hasattr(kind, "cancelled"):  # asyncio's, or concurrent.futures'
        return _when_done
    return _LATER.get(kind)


def _managed(execution: Execution, manager: Any) -> Any:
    manager.gen = _drain(execution, manager.gen)
    return manager


def _amanaged(execution: Execution, manager: Any) -> Any:
    manager.gen = _alater(execution, manager.gen)
    return manager


_LATER: dict[type, Callable[[Execution, Any], Any]] = {
    CoroutineType: _finish,
    GeneratorType: _drain,
    AsyncGeneratorType: _alater,
    # What @contextmanager makes of a generator: its body is what happens inside the with.
    contextlib._GeneratorContextManager: _managed,
    contextlib._AsyncGeneratorContextManager: _amanaged,
}


def path_of(tool: Callable[..., Any]) -> Callable[..., Any]:
    function = unwrap(tool)
    if inspect.isasyncgenfunction(function):
        return _astream
    if inspect.isgeneratorfunction(function):
        return _stream
    if inspect.iscoroutinefunction(function):
        return call_through_async
    return call_through


def unwrap(tool: Any) -> Any:
    """The function at the bottom of partials, methods and callables: what decides how the tool is run."""
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
