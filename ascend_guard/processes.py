"""What belongs to the process that made it, and what a forked child must make anew.

Rules (promise 3: a permit is used once, also across processes; promise 4: a child does not believe what its parent heard):

1. ``this_process()`` is another value in every process. An object that only its own process may use keeps
   the value that it was made with, and compares.
2. In a child, the value changes first. Then everything that was registered is renewed, before any other code runs there:
   at that moment the child has one thread, so locks can be replaced safely.
3. Nothing else in ascend-guard registers with ``os.register_at_fork`` or compares process ids, which are used again.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol


class Process:
    """Stands for one process. Two are the same only when they are the same object."""

    __slots__ = ()


class Renewable(Protocol):
    """Has threads, locks, connections or a name that a forked child must not share with its parent."""

    def renew(self) -> None:
        """Begin anew in a child, where this is the only thread."""
        ...


_current = Process()
_functions: list[Callable[[], None]] = []
_objects: weakref.WeakSet[Renewable] = weakref.WeakSet()


def this_process() -> Process:
    """The process that this code runs in."""
    return _current


def renewed_in_children(what: Renewable) -> None:
    """Call its ``renew`` in each process that is forked from this one, for as long as the object lives."""
    _objects.add(what)


def call_in_children(renew: Callable[[], None]) -> None:
    """The same for what a module keeps. Functions are called before objects, in the order they were given."""
    _functions.append(renew)


def call_around_forks(
    before: Callable[[], None], in_parent: Callable[[], None], in_child: Callable[[], None]
) -> None:
    """For what must come to rest while the process forks.

    Args:
        before: called in the parent, before it forks.
        in_parent: called in the parent afterwards.
        in_child: called in the child, after everything was renewed.
    """
    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _forked() -> None:
    global _current
    _current = Process()
    for function in _functions:
        function()
    for what in list(_objects):
        what.renew()


os.register_at_fork(after_in_child=_forked)
