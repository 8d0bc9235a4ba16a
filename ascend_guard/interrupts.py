"""Defer Python's signal handlers while the main thread is in a section that must not be left half done.

A signal handler may raise at any bytecode of the main thread: KeyboardInterrupt by Ctrl-C, ``SystemExit`` from a SIGTERM
handler, a worker's time limit. Python has no switch that defers them. The rules, and the promise of each:

1. Only the main thread runs Python signal handlers, so only its sections have a cost; other threads pass through.
2. Between ``hold`` and ``release`` every Python-level handler is replaced by one that notes the signal (promises 3 and 5: a
   commit is done or not done, and its lock is released).
3. ``release`` runs the handlers of noted signals while the section is still held. The exception of a handler is raised
   after the section has undone what its caller will not receive (promise 5: only the interrupted call notices).
4. A wait of unknown length inside a section is made with ``interruptibly``: there handlers run at once and may raise. The
   waiter undoes the wait even if it had just succeeded. The exception of a handler is passed on there as
   ``Interrupted``, so that no code inside takes it for its own failure; the end of the outermost section raises the
   original exception.
5. A noted signal is never dropped. A replacement that was left behind (the exception of another handler can come in the
   middle of restoring them) passes its signal on, so it behaves as the handler that it replaced.
6. Between sections nothing keeps a reference to a handler that may refer to more, as asyncio's handler does to its task:
   dropped work must be collected, and recorded, when it is dropped (promise 5).
"""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from importlib import import_module
from threading import get_ident
from types import BuiltinFunctionType, FrameType, FunctionType
from typing import Any, TypeVar

from ascend_guard.processes import call_in_children

R = TypeVar("R")

# The C functions: those of ``signal`` create enumeration members, which takes twenty times as long for each signal.
_signal = import_module("_signal")
_get: Callable[[int], Any] = _signal.getsignal
_set: Callable[[int, Any], Any] = _signal.signal

OPEN, HELD, WAITING, ELSEWHERE = range(4)
"""Signals are handled as usual; noted; handled at once inside a section; this is not the main thread."""

_SIGNALS = tuple(sorted(int(number) for number in signal.valid_signals()))


class Interrupted(BaseException):
    """A signal handler ended a wait inside a section; ``raised`` is its exception."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(raised)
        self.raised = raised


class _Deferred:
    """Replaces one signal's handler during a section."""

    __slots__ = ("number", "original")

    def __init__(self, number: int, original: Callable[[int, FrameType | None], Any]) -> None:
        self.number = number
        self.original = original

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        if _main.mode == HELD:
            _main.noted.append(self)
            return None
        if _main.mode == OPEN:
            return self.original(number, frame)
        try:
            return self.original(number, frame)
        except BaseException as raised:
            raise Interrupted(raised) from None


class _Main:
    """The state of the main thread; only the main thread reads and changes it."""

    __slots__ = ("handlers", "ident", "lasting", "mode", "noted", "partial", "plan")

    def __init__(self) -> None:
        self.ident = threading.main_thread().ident
        self.mode = OPEN
        self.partial = False
        self.noted: deque[_Deferred] = deque()
        self.handlers: tuple[Any, ...] = ()
        self.plan: tuple[_Deferred, ...] = ()
        self.lasting = True


_main = _Main()


def hold(*, soon_again: bool = False) -> int:
    """Begin a section, which may be nested. Pass the result to the ``release`` that ends it.

    The exception of a handler is raised here only if the section has not begun.

    Args:
        soon_again: the previous section was a moment ago, and no other work depends on this one: signals that had no
            handler then are not checked again, which is most of the time that a section takes.
    """
    main = _main
    if get_ident() != main.ident:
        return ELSEWHERE
    before = main.mode
    if before != OPEN:
        main.mode = HELD
        if main.partial and not soon_again:
            _complete()
        return before
    main.partial = soon_again and bool(main.plan) and not _stale(main.plan)
    if not main.partial:
        handlers = tuple(map(_get, _SIGNALS))
        if handlers != main.handlers:
            main.plan = tuple(_plan(handlers))
            main.handlers = handlers
            main.lasting = all(_refers_to_nothing(deferred.original) for deferred in main.plan)
    main.mode = HELD
    try:
        for deferred in main.plan:
            _set(deferred.number, deferred)
    except ValueError:  # a main thread in which Python runs no signal handlers: a subinterpreter's
        main.ident, main.mode = None, OPEN
        return ELSEWHERE
    except BaseException as error:  # from a handler that was not replaced yet
        release(OPEN, error)
    return OPEN


def release(
    before: int, error: BaseException | None = None, interrupted: Callable[[], object] | None = None
) -> None:
    """End a section.

    Args:
        before: the result of ``hold``.
        error: the exception with which the section ended; raised from here.
        interrupted: called, still inside the section, when a noted handler raises: the caller will not get a result.

    Raises:
        BaseException: ``error``, or the exception of a noted handler.
    """
    main = _main
    if before == OPEN:
        while True:
            raised = _run_noted()
            if raised is not None:
                error = raised
                if interrupted is not None:
                    interrupted()
                    interrupted = None
            main.mode = OPEN
            if not main.noted:
                break
            main.mode = HELD
        for deferred in main.plan:
            if _get(deferred.number) is deferred:
                _set(deferred.number, deferred.original)
        if not main.lasting:
            main.handlers = main.plan = ()
        while isinstance(error, Interrupted):  # nested: a handler may itself be interrupted
            error = error.raised
    elif before != ELSEWHERE:
        main.mode = before
    if error is not None:
        raise error


def interruptibly(wait: Callable[..., R], *arguments: Any) -> R:
    """Wait, in a section or not, so that a signal handler can end the wait with an exception.

    The exception may come when the wait has just succeeded: undo the wait in either case. The section stays held.
    """
    main = _main
    if get_ident() != main.ident or main.mode == OPEN:
        return wait(*arguments)
    try:
        while True:
            main.mode = HELD
            raised = _run_noted()
            if raised is not None:
                raise Interrupted(raised)
            main.mode = WAITING
            if not main.noted:
                break
        return wait(*arguments)
    finally:
        # The first operation after an exception, with no call before it at which another one could be raised.
        main.mode = HELD


class StepByStep:
    """Awaits a coroutine with each of its steps in a section; between them the event loop runs as usual.

    The exception of a handler is raised inside the coroutine where it waits, or from here when it has ended.
    """

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[Any], Any] = self._coroutine.send
        given: Any = None
        awaited: Any = None
        while True:
            error: BaseException | None = None
            before = hold(soon_again=awaited is not None)  # another thread makes the commit
            try:
                awaited = step(given)
            except StopIteration as end:
                release(before)
                return end.value
            except BaseException as raised:
                error = raised
            try:
                release(before, error)
                given = yield awaited
                step = self._coroutine.send
            except BaseException as thrown:
                if error is not None:
                    raise
                given, step = thrown, self._coroutine.throw


class uninterrupted:
    """A section as a context manager, for work that is not done in every call."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = hold()

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        release(self._before, error if isinstance(error, Interrupted) else None)


def _plan(handlers: tuple[Any, ...]) -> list[_Deferred]:
    """Return replacements for the Python-level handlers; a replacement that was left behind is used again."""
    return [
        handler if isinstance(handler, _Deferred) else _Deferred(number, handler)
        for number, handler in zip(_SIGNALS, handlers, strict=True)
        if callable(handler)
    ]


def _refers_to_nothing(handler: object) -> bool:
    """Return whether a reference to this handler keeps nothing else alive: it is a function without a closure."""
    return type(handler) is BuiltinFunctionType or (type(handler) is FunctionType and not handler.__closure__)


def _stale(plan: tuple[_Deferred, ...]) -> bool:
    for deferred in plan:  # noqa: SIM110 - a generator would take longer than the check itself
        if _get(deferred.number) is not deferred.original:
            return True
    return False


def _complete() -> None:
    """Replace also the handlers that a section with ``soon_again`` did not check."""
    main = _main
    main.partial = False
    main.handlers = ()  # the next section checks all of them again
    main.lasting = False
    main.plan = tuple(_plan(tuple(map(_get, _SIGNALS))))
    for deferred in main.plan:
        _set(deferred.number, deferred)


def _run_noted() -> BaseException | None:
    """Run the handlers of noted signals; return the last exception, with the earlier ones as its context."""
    error: BaseException | None = None
    noted = _main.noted
    while noted:
        deferred = noted.popleft()
        try:
            try:
                if error is not None:
                    raise error
            finally:
                deferred.original(deferred.number, sys._getframe(1))
        except BaseException as raised:
            error = raised
    return error


def _after_fork_in_child() -> None:
    """In a child that another thread forked: its only thread is the main thread now, and nothing is held."""
    main = _main
    if get_ident() == main.ident:
        return
    main.ident = get_ident()
    main.mode = OPEN
    main.noted.clear()
    for deferred in main.plan:
        if _get(deferred.number) is deferred:
            _set(deferred.number, deferred.original)


call_in_children(_after_fork_in_child)
