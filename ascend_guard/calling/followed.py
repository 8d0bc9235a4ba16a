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

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from .execution import Execution
from .handed_back import DATA, holds_work

Finish = Callable[[Execution, Awaitable[Any]], Coroutine[Any, Any, Any]]


class Again(Protocol):
    """Makes the governed call that handed a manager back once more, with a decision of its own."""

    def now(self) -> object:
        """What it hands back this time. Raises as the call."""
        ...

    def later(self) -> AbstractAsyncContextManager[object]:
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
        self.iterating = self.entered = self.over = (
            False  # first, for the finaliser of one that was not finished
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
        if not hasattr(self, "iterating"):  # an interrupt came before it was made
            return
        if self.iterating and not self.over and self.execution.begun:
            self.give_up()


class Followed:
    """In front of what a tool handed back."""

    __slots__ = ("__weakref__", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property  # type: ignore[misc]  # nobody gives it another class
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
        raise TypeError("what a governed tool handed back cannot be copied or pickled: it runs once")
