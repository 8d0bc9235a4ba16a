"""The special methods of followed objects: one class for each protocol, combined for each type; see ``followed_objects``."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, cast

from ascend_guard.errors import AscendError

from .execution import Execution
from .followed_objects import Again, Finish, Followed, Handle
from .result_kinds import Found, has


class _Iterates(Followed):
    __slots__ = ()

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> Any:
        handle = self._handle
        if not handle.before_chunk():
            raise StopIteration
        try:
            handle.execution.check()
            with handle.execution:
                chunk = next(handle.raw)
        except StopIteration:
            if not handle.entered:
                handle.end(f"{handle.count} chunks")
            raise
        except BaseException as error:
            if not handle.entered:  # else the surrounding block reports how it ended
                handle.fail(error)
            raise
        handle.chunk(chunk)
        return chunk


class _IteratesAsync(Followed):
    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[object]:
        return self

    async def __anext__(self) -> Any:
        handle = self._handle
        if not handle.before_chunk():
            raise StopAsyncIteration
        try:
            await handle.execution.acheck()
            with handle.execution:
                chunk = await anext(handle.raw)
        except StopAsyncIteration:
            if not handle.entered:
                handle.over = True
                await handle.execution.asettle(detail=f"{handle.count} chunks")
            raise
        except BaseException as error:
            if not handle.entered:  # else the surrounding block reports how it ended
                await handle.afail(error)
            raise
        handle.chunk(chunk)
        return chunk


class _Closes(Followed):
    __slots__ = ()

    def close(self) -> None:
        handle = self._handle
        try:
            if handle.execution.begun and not handle.over:
                with handle.execution:
                    handle.raw.close()
        except BaseException as error:
            handle.fail(error)
            raise
        if not handle.entered:
            handle.give_up()


class _ClosesAsync(Followed):
    __slots__ = ()

    async def aclose(self) -> None:
        handle = self._handle
        try:
            if handle.execution.begun and not handle.over:
                with handle.execution:
                    await handle.raw.aclose()
        except BaseException as error:
            await handle.afail(error)
            raise
        if not handle.entered:
            handle.give_up()


class _Awaits(Followed):
    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, Any]:
        self._handle.open()
        return self._handle.finish(self._handle.execution, self._handle.raw).__await__()


class _Steps(_Awaits):
    """The same for objects that are coroutines according to ``collections.abc`` and have further protocols."""

    __slots__ = ()

    def send(self, value: object) -> object:
        return self._native().send(value)

    def throw(self, *error: Any) -> Any:
        return self._native().throw(*error)

    def close(self) -> None:
        handle = self._handle
        if handle.native is not None:
            handle.native.close()
        elif not handle.execution.begun:
            handle.give_up()

    def _native(self) -> Coroutine[Any, Any, Any]:
        handle = self._handle
        if handle.native is None:
            handle.open()
            handle.native = handle.finish(handle.execution, handle.raw)
        return handle.native


class _Enters(Followed):
    __slots__ = ()

    def __enter__(self) -> Any:
        handle = self._handle
        handle.open()
        try:
            handle.execution.check()
            with handle.execution:
                value = type(handle.raw).__enter__(handle.raw)
        except BaseException as error:
            handle.fail(error)
            raise
        handle.entered = True
        return self if value is handle.raw else value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> Any:
        handle = self._handle
        leave = type(handle.raw).__exit__
        if not handle.entered or handle.over:
            raise handle.execution.used_up()
        try:
            if error is None:
                try:
                    handle.execution.check()
                except AscendError as stop:  # raised inside the tool, so that it rolls its work back
                    with handle.execution, suppress(Exception):
                        leave(handle.raw, type(stop), stop, stop.__traceback__)
                    raise
            with handle.execution:
                swallowed = leave(handle.raw, kind, error, where)
        except BaseException as failure:
            handle.fail(failure)
            raise
        if error is None or swallowed:
            handle.end()
        else:
            handle.fail(error)
        return swallowed


class _EntersAsync(Followed):
    __slots__ = ()

    async def __aenter__(self) -> Any:
        handle = self._handle
        handle.open()
        try:
            await handle.execution.acheck()
            with handle.execution:
                value = await type(handle.raw).__aenter__(handle.raw)
        except BaseException as error:
            await handle.afail(error)
            raise
        handle.entered = True
        return self if value is handle.raw else value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> Any:
        handle = self._handle
        leave = type(handle.raw).__aexit__
        if not handle.entered or handle.over:
            raise handle.execution.used_up()
        try:
            if error is None:
                try:
                    await handle.execution.acheck()
                except AscendError as stop:  # raised inside the tool, so that it rolls its work back
                    with handle.execution, suppress(Exception):
                        await leave(handle.raw, type(stop), stop, stop.__traceback__)
                    raise
            with handle.execution:
                swallowed = await leave(handle.raw, kind, error, where)
        except BaseException as failure:
            await handle.afail(failure)
            raise
        if error is None or swallowed:
            handle.over = True
            await handle.execution.asettle()
        else:
            await handle.afail(error)
        return swallowed


class _Decorates(_Enters):
    __slots__ = ()

    def __call__(self, function: Callable[..., object]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self._one_more():
                return function(*args, **kwargs)

        return inside

    def _one_more(self) -> Any:
        handle = self._handle
        if handle.lend():
            return self
        if handle.again is None:
            raise handle.execution.used_up()
        return handle.again.now()


class _DecoratesAsync(_EntersAsync):
    __slots__ = ()

    def __call__(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(function)
        async def inside(*args: Any, **kwargs: Any) -> Any:
            async with self._one_more():
                return await function(*args, **kwargs)

        return inside

    def _one_more(self) -> Any:
        handle = self._handle
        if handle.lend():
            return self
        if handle.again is None:
            raise handle.execution.used_up()
        return handle.again.later()


def followed(
    execution: Execution, result: object, what: Found, again: Again | None, finish: Finish
) -> object:
    """Return the proxy of this object; see the rules in ``followed_objects``."""
    kind: object = type(result)
    return _front(kind, what.protocols)(Handle(execution, result, again, finish))


@functools.lru_cache(maxsize=4096)
def _front(kind: type, protocols: frozenset[str]) -> Callable[[Handle], Followed]:
    parts: list[type[Followed]] = []
    if "__enter__" in protocols:
        parts.append(_Decorates if has(kind, "__call__") and "__aenter__" not in protocols else _Enters)
    if "__aenter__" in protocols:
        parts.append(_DecoratesAsync if has(kind, "__call__") else _EntersAsync)
    if "__await__" in protocols:
        parts.append(_Steps if has(kind, "send") and has(kind, "throw") else _Awaits)
    elif has(kind, "close"):
        parts.append(_Closes)
    if "__next__" in protocols:
        parts.append(_Iterates)
    if "__anext__" in protocols:
        parts.append(_IteratesAsync)
    if has(kind, "aclose"):
        parts.append(_ClosesAsync)

    class Front(*parts):  # type: ignore[misc]  # the bases depend on the class that is followed
        __slots__ = ()

    Front.__name__ = Front.__qualname__ = kind.__name__
    return cast(Callable[[Handle], Followed], Front)
