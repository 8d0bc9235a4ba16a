"""Objects whose work begins in a special method: iterators, awaitables and context managers that a tool returned.

The caller gets a proxy of the tool's object. The proxy has the same special methods and reports the same class. The rules:

1. The first special method that is called checks the kill switch and the arguments, as before any body (promises 2 and 4).
   A later step checks the kill switch.
2. The work begins once. A second beginning is refused; a decorator's second use gets a new decision (promise 3).
3. The outcome is recorded when the work ends, or when the caller drops it (promise 5).
4. Until the work has begun, the proxy gives access to nothing that could run the tool's own code (promise 1).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from .execution import Execution
from .result_kinds import DATA, holds_work

Finish = Callable[[Execution, Awaitable[Any]], Coroutine[Any, Any, Any]]


class Again(Protocol):
    """Makes the governed call that returned a context manager once more, with a decision of its own."""

    def now(self) -> object:
        """Return the result of the new call. Raises as the call does."""
        ...

    def later(self) -> AbstractAsyncContextManager[object]:
        """Return a context manager that makes the call when it is entered, on the event loop."""
        ...


class Handle:
    """The state behind one followed object.

    Args:
        execution: the call that returned the object; deferred.
        raw: the object.
        again: makes the call again; None where that is not possible.
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
        self.iterating = self.entered = self.over = (
            False  # set first, for the finaliser of a handle that was not finished
        )
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
        """Begin the work, once.

        Raises:
            ConflictError: the work has begun before.
        """
        try:
            self._fresh.pop()  # atomic, so that of two threads one begins
        except IndexError:
            raise self.execution.used_up() from None

    def lend(self) -> bool:
        """Return whether a decorator may use this object itself: once, if it has not begun."""
        try:
            return self._lent.pop() and bool(self._fresh)
        except IndexError:
            return False

    def before_chunk(self) -> bool:
        """Return whether there may be another chunk."""
        if not self.iterating and not self.entered:
            if not self.over:
                self.open()
            self.iterating = True
        return not self.over

    def chunk(self, chunk: object) -> None:
        """Count a chunk that was passed to the caller."""
        self.count += 1
        if type(chunk) not in DATA and holds_work(chunk):
            self.execution.hand_over("chunks that hold work of their own")

    def fail(self, error: BaseException) -> None:
        """The work ended with an error."""
        self.over = True
        self.execution.settle(error, self._stopped())

    async def afail(self, error: BaseException) -> None:
        """The same, on the event loop."""
        self.over = True
        if isinstance(error, GeneratorExit):  # the awaiting coroutine is being closed: awaiting is impossible
            self.execution.settle(error, self._stopped(), beside=True)
        else:
            await self.execution.asettle(error, self._stopped())

    def end(self, detail: str | None = None, *, beside: bool = False) -> None:
        """The work ended normally."""
        self.over = True
        self.execution.settle(detail=detail, beside=beside)

    def give_up(self) -> None:
        """The caller does not continue the work."""
        self._fresh.clear()
        begun = self.execution.begun
        self.end(f"closed by the caller after {self.count} chunks" if begun else None, beside=True)

    def _stopped(self) -> str | None:
        return f"stopped after {self.count} chunks" if self.iterating else None

    def __del__(self) -> None:
        if not hasattr(self, "iterating"):  # an interrupt came before it was complete
            return
        if self.iterating and not self.over and self.execution.begun:
            self.give_up()


class Followed:
    """The proxy of an object that a tool returned."""

    __slots__ = ("__weakref__", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property  # type: ignore[misc]  # the class is never assigned
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # it is only read
        return type(self._handle.raw)

    def __getattr__(self, name: str) -> object:
        handle = self._handle
        member = inspect.getattr_static(handle.raw, name)
        if not handle.execution.begun and (isinstance(member, property) or callable(member)):
            raise AttributeError(f"{name!r} cannot be used before this {type(handle.raw).__name__} has begun")
        return getattr(handle.raw, name)

    def __repr__(self) -> str:
        return f"<{type(self._handle.raw).__name__} that ascend_guard follows>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "the result of a governed tool cannot be copied or pickled, because its work runs once"
        )
