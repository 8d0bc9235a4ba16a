"""Objects that belong to one process, and what a forked child must create anew.

Rules (promise 3: a permit is used once, also across processes; promise 4: a child does not trust its parent's state):

1. ``this_process()`` returns another value in every process. An object that only its own process may use keeps the value
   from its creation, and compares.
2. In a child, the value changes first. Then everything that was registered is renewed, before any other code runs there:
   at that moment the child has one thread, so locks can be replaced safely.
3. No other module of ascend-guard registers with ``os.register_at_fork`` or compares process ids, which are reused.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol


class Process:
    """Identifies one process. Two are the same only if they are the same object."""

    __slots__ = ()


class Renewable(Protocol):
    """Has threads, locks, connections or a name that a forked child must not share with its parent."""

    def renew(self) -> None:
        """Start anew in a child, where this is the only thread."""
        ...


_current = Process()
_functions: list[Callable[[], None]] = []
_objects: weakref.WeakSet[Renewable] = weakref.WeakSet()


def this_process() -> Process:
    """Return the identity of the process in which this code runs."""
    return _current


def renewed_in_children(what: Renewable) -> None:
    """Call ``renew`` of this object in each process that is forked from this one, as long as the object lives."""
    _objects.add(what)


def call_in_children(renew: Callable[[], None]) -> None:
    """The same for the state of a module. Functions are called before objects, in the order of their registration."""
    _functions.append(renew)


def call_around_forks(
    before: Callable[[], None], in_parent: Callable[[], None], in_child: Callable[[], None]
) -> None:
    """Register functions for work that must pause while the process forks.

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
