"""Objects whose work begins by a special method: iterators, awaitables and context managers that a tool handed back.

The caller gets an object in front of the tool's own one. It has the same special methods and says that it is of the same
class. The rules:

1. The first of them checks the kill switch and the arguments, as before any body (promises 2 and 4). A later step checks
   the kill switch.
2. It begins once. A second beginning is refused, or for a decorator decided anew (promise 3).
3. The outcome is recorded when the work ends, or when the caller gives it up (promise 5).
4. Until it has begun, nothing that could run code of the tool's own is reached through it (promise 1).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, Protocol

from ._handed import DATA, Found, has, holds_work
from .errors import AscendError
from .execution import Execution

Finish = Callable[[Execution, Awaitable[Any]], Coroutine[Any, Any, Any]]


class Again(Protocol):
    """Makes the governed call that handed a manager back once more, with a decision of its own."""

    def now(self) -> Any:
        """What it hands back this time. Raises as the call."""
        ...

    def later(self) -> AbstractAsyncContextManager[Any]:
        """A manager that makes the call when it is entered, on the event loop."""
        ...


class Handle:
    """What stands behind one followed object.

    Args:
        execution: the call that handed it back; deferred.
        raw: the object.
        again: how to make the call again; None where that cannot be done.
        finish: runs an awaitable to its end and records the outcome.
    """

    __slots__ = (
        "_fresh",
        "_lent",
        "again",
        "count",
        "entered",
        "execution",
        "finish",
        "iterating",
        "native",
        "over",
        "raw",
    )

    def __init__(self, execution: Execution, raw: Any, again: Again | None, finish: Finish) -> None:
        self.execution = execution
        self.raw = raw
        self.again = again
        self.finish = finish
        self.native: Coroutine[Any, Any, Any] | None = None
        self.iterating = self.entered = self.over = False
        self.count = 0
        self._fresh = [True]
        self._lent = [True]

    def open(self) -> None:
        """Its one beginning.

        Raises:
            ConflictError: it has begun.
        """
        try:
            self._fresh.pop()  # atomic, so that of two threads one begins
        except IndexError:
            raise self.execution.used_up() from None

    def lend(self) -> bool:
        """Whether a decorator may use this very object: the first time, when it has not begun."""
        try:
            return self._lent.pop() and bool(self._fresh)
        except IndexError:
            return False

    def before_chunk(self) -> bool:
        """Whether there may be another chunk."""
        if not self.iterating and not self.entered:
            if not self.over:
                self.open()
            self.iterating = True
        return not self.over

    def chunk(self, chunk: object) -> None:
        """One was handed out."""
        self.count += 1
        if type(chunk) not in DATA and holds_work(chunk):
            self.execution.hand_over("chunks that hold work of their own")

    def fail(self, error: BaseException) -> None:
        """It ended in an error."""
        self.over = True
        self.execution.settle(error, self._stopped())

    async def afail(self, error: BaseException) -> None:
        """The same on the event loop."""
        self.over = True
        if isinstance(error, GeneratorExit):  # what awaits it is being closed, so nothing can be awaited
            self.execution.settle(error, self._stopped(), beside=True)
        else:
            await self.execution.asettle(error, self._stopped())

    def end(self, detail: str | None = None, *, beside: bool = False) -> None:
        """It came to its end."""
        self.over = True
        self.execution.settle(detail=detail, beside=beside)

    def give_up(self) -> None:
        """The caller wants no more of it."""
        self._fresh.clear()
        begun = self.execution.begun
        self.end(f"closed by the caller after {self.count} chunks" if begun else None, beside=True)

    def _stopped(self) -> str | None:
        return f"stopped after {self.count} chunks" if self.iterating else None

    def __del__(self) -> None:
        if self.iterating and not self.over and self.execution.begun:
            self.give_up()


class Followed:
    """In front of what a tool handed back."""

    __slots__ = ("__weakref__", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property  # type: ignore[misc]  # nobody gives it another class
    def __class__(self) -> Any:
        return type(self._handle.raw)

    def __getattr__(self, name: str) -> Any:
        handle = self._handle
        member = inspect.getattr_static(handle.raw, name)
        if not handle.execution.begun and (isinstance(member, property) or callable(member)):
            raise AttributeError(f"{name!r} cannot be used before this {type(handle.raw).__name__} has begun")
        return getattr(handle.raw, name)

    def __repr__(self) -> str:
        return f"<{type(self._handle.raw).__name__} that ascend_guard follows>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("what a governed tool handed back cannot be copied or pickled: it runs once")


class _Iterates(Followed):
    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
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
            if not handle.entered:  # else the block around it tells how it ended
                handle.fail(error)
            raise
        handle.chunk(chunk)
        return chunk


class _IteratesAsync(Followed):
    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[Any]:
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
            if not handle.entered:  # else the block around it tells how it ended
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
    """The same for what is a coroutine by ``collections.abc`` and more besides."""

    __slots__ = ()

    def send(self, value: Any) -> Any:
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
                except AscendError as stop:  # the tool is told, so that it undoes what it would have finished
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
                except AscendError as stop:  # the tool is told, so that it undoes what it would have finished
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

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
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


def followed(execution: Execution, result: Any, what: Found, again: Again | None, finish: Finish) -> Any:
    """An object in front of this one; see the rules above."""
    kind: Any = type(result)
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

    class Front(*parts):  # type: ignore[misc]  # the parts depend on the class that is followed
        __slots__ = ()

    Front.__name__ = Front.__qualname__ = kind.__name__
    return Front
