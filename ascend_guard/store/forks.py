"""Open stores, which must be informed when their process forks or ends."""

from __future__ import annotations

import atexit
import sys
import time
import weakref
from typing import Protocol

from ascend_guard.interrupts import hold, release
from ascend_guard.processes import call_around_forks


class Forkable(Protocol):
    """A store with connections, which must not be shared across a fork."""

    def before_fork(self) -> bool:
        """Pause; False when nothing is open."""
        ...

    def after_fork_in_parent(self) -> None:
        """Continue."""
        ...

    def after_fork_in_child(self) -> None:
        """Release everything that belongs to the parent."""
        ...

    def finish(self) -> None:
        """The process ends: commit posted work, and commit later work at once."""
        ...


_INSISTING = 2.0
"""Seconds for which interrupts do not end the wait for another process's commit when this process ends."""

_opened: weakref.WeakSet[Forkable] = weakref.WeakSet()
_held: list[Forkable] = []
_sections: list[int] = []


def remember(store: Forkable) -> None:
    """Note that this process, or a forked child of it, opened this store."""
    _opened.add(store)
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:  # its forked children end without running atexit handlers
        multiprocessing.Finalize(None, _finish, exitpriority=0)


def forget(store: Forkable) -> None:
    """Note that the store was closed."""
    _opened.discard(store)


def is_worker() -> bool:
    """Return whether a pool may end this process with a signal once it has its results: no work may stay in a queue."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _hold_for_fork() -> None:
    _sections.append(hold())
    _held.extend(store for store in list(_opened) if store.before_fork())


def _go_on_after_fork() -> None:
    for store in reversed(_held):
        store.after_fork_in_parent()
    _held.clear()
    release(_sections.pop())


def _let_go_after_fork() -> None:
    for store in _held:
        store.after_fork_in_child()
    _held.clear()
    release(_sections.pop())


def _finish() -> None:
    """Run at the end of the process. A second signal must not undo what the exit after the first one does."""
    error: BaseException | None = None
    before = hold()
    for store in list(_opened):
        until = time.monotonic() + _INSISTING
        while True:
            try:
                store.finish()
            except BaseException as raised:  # an interrupted wait for another process, or a failed store
                error = raised
                if isinstance(raised, Exception) or time.monotonic() > until:
                    break
            else:
                break
    release(before, error)


call_around_forks(_hold_for_fork, _go_on_after_fork, _let_go_after_fork)
atexit.register(_finish)
