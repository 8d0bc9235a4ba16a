"""Find out whether the first argument of a call is the object of a method call, by how its class binds the method.

A governed function is bound by its own ``__get__`` when Python looks it up on a class. It receives the instance as a plain
first argument if something else was bound instead: a decorator above ``@governed``, a property, or, from Python 3.13 on,
``classmethod``. Then the class of that argument is checked: if it holds this tool, under such wrappers, as a method,
the first argument is the object of the call. The name of the parameter (``self``, ``cls``) does not matter, and with
``staticmethod`` every argument is an ordinary one.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Receivers"]

_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_space: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_PLAIN = frozenset((str, int, float, bool, bytes, type(None), list, dict, tuple))
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class from a class statement
_LINKS = ("__wrapped__", "__func__", "func", "fget", "fset", "fdel")
"""Attributes in which descriptors and wrappers store what they call."""


class Receivers:
    """Finds the objects of a governed tool's method calls.

    Args:
        tool: the governed tool.
    """

    __slots__ = ("_known", "_tool")

    def __init__(self, tool: Any) -> None:
        self._tool = weakref.ref(tool)
        self._known: dict[int, tuple[weakref.ref[type], Any]] = {}

    def include(self, first: object) -> bool:
        """Return whether a call with this first argument is a method call on it."""
        if type(first) in _PLAIN:
            return False
        # Not isinstance, which uses the argument's __class__: its own code would run before the decision.
        if issubclass(type(first), type) and self._binds(first, True):  # type: ignore[arg-type]  # checked by this line
            return True
        return self._binds(type(first), False)

    def _binds(self, kind: type, of_class: bool) -> bool:
        key = id(kind) * 2 + of_class
        known = self._known.get(key)
        if known is None or known[0]() is not kind:
            known = (weakref.ref(kind, lambda _: self._known.pop(key, None)), self._place(kind, of_class))
            self._known[key] = known
        place = known[1]
        if place is None:
            return False
        owner, name, value = place
        if _space(owner).get(name) is value:
            return True
        del self._known[key]  # the class was changed since
        return self._binds(kind, of_class)

    def _place(self, kind: type, of_class: bool) -> tuple[type, str, object] | None:
        """Return where a class holds the tool as such a method; None if it does not, or also as a static method."""
        tool, found = self._tool(), None
        for owner in _mro(kind):
            if not _flags(owner) & _HEAP:  # a tool cannot be set on a builtin class
                continue
            for name, value in tuple(_space(owner).items()):
                if not _leads_to(value, tool):
                    continue
                if issubclass(type(value), staticmethod):
                    return None
                if issubclass(type(value), classmethod) is of_class:
                    found = found or (owner, name, value)
        return found


def _leads_to(value: object, tool: object) -> bool:
    pending, looked = [value], 0
    while pending and looked < 50:
        looked += 1
        value = pending.pop()
        if value is tool:
            return True
        pending += _inside(value)
    return False


def _inside(value: object) -> Iterator[object]:
    if type(value) in _DESCRIPTORS:
        for name in _LINKS:
            inner = getattr(value, name, None)
            if inner is not None:
                yield inner
        return
    inner = inspect.getattr_static(value, "__wrapped__", None)  # runs no code of the value
    if inner is not None:
        yield inner


_DESCRIPTORS = (staticmethod, classmethod, property, functools.cached_property, functools._lru_cache_wrapper)
