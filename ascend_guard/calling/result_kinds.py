"""Classify a tool's result by type, once for each type: data, or deferred work.

The rules, in order (``docs/deferred-results.md`` shows them for common types):

1. Values and classes are data.
2. Lists, tuples, dicts, sets and dataclasses are what they contain. Work inside them cannot be followed.
3. Futures are followed to their end.
4. Generators, coroutines and async generators are followed step by step, also objects that are such only by
   ``collections.abc``. So are the context managers of ``@contextmanager`` and ``@asynccontextmanager``.
5. Other iterators, awaitables and context managers are followed when they have no other methods. With other methods they
   cannot be followed, because any method may start the work.
6. Callables, and iterables that are neither collections nor values, cannot be followed: they may run any number of times.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections import abc, deque
from enum import Enum, auto
from types import (
    AsyncGeneratorType,
    ClassMethodDescriptorType,
    CoroutineType,
    GeneratorType,
    MemberDescriptorType,
)
from typing import Any

from msgspec import Struct

DATA: frozenset[type] = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        bytearray,
        memoryview,
        range,
        slice,
        type(...),
        type(NotImplemented),
    }
)
"""Types that are always data: a result of these types is not inspected further."""

LARGEST = 10_000
"""Containers whose contents are inspected; at most this many levels deep, and deeper contents count as data."""

_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_ENDING = frozenset({"close", "aclose"})
_STEPPING = frozenset({"send", "throw", "asend", "athrow"})


class Way(Enum):
    """How a result is treated."""

    DATA = auto()
    CONTAINER = auto()
    FUTURE = auto()
    COROUTINE = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()
    MANAGER = auto()
    ASYNC_MANAGER = auto()
    OBJECT = auto()
    OUT_OF_SIGHT = auto()


class Found(Struct, frozen=True):
    """The classification of a type.

    Args:
        way: how a result of the type is treated.
        protocols: for an ``OBJECT``, the special methods that can begin its work.
    """

    way: Way
    protocols: frozenset[str] = frozenset()


_VALUE = Found(Way.DATA)
_UNSEEN = Found(Way.OUT_OF_SIGHT)


def found(result: object) -> Found:
    """Classify this result. Runs no code of the result's own."""
    kind = type(result)
    known = _found(kind)  # type: ignore[arg-type]  # mypy: type[object] is hashable
    if known.way is Way.GENERATOR and kind is GeneratorType and _awaitable(result):
        return _COROUTINE  # made by types.coroutine
    return known


def holds_work(result: object) -> bool:
    """Return whether this is, or contains, anything but data."""
    if type(result) in DATA:
        return False
    known = found(result)
    return known.way is not Way.DATA and (known.way is not Way.CONTAINER or _contains_work(result))


def _contains_work(container: object) -> bool:
    waiting: list[object] = [container]
    seen: set[int] = set()
    while waiting and len(seen) < LARGEST:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        values = _contents(one)
        for kind in set(map(type, values)) - DATA:
            way = _found(kind).way
            if way is Way.CONTAINER:
                waiting.extend(value for value in values if type(value) is kind)
            elif way is not Way.DATA:
                return True
    return False


def _contents(one: object) -> list[object]:
    """The values in a container, read without running code of its own class."""
    if isinstance(one, dict):
        return list(dict.values(one))
    for kind in _CONTAINERS:
        if isinstance(one, kind):
            return list(kind.__iter__(one))  # type: ignore[arg-type]  # it is of this kind
    values = list(getattr(one, "__dict__", {}).values())
    for name in type(one).__dataclass_fields__:  # type: ignore[attr-defined]  # it is a dataclass
        member = inspect.getattr_static(type(one), name, None)
        if isinstance(member, MemberDescriptorType):  # a slot
            with contextlib.suppress(AttributeError):
                values.append(member.__get__(one))
    return values


@functools.lru_cache(maxsize=4096)
def _found(kind: type) -> Found:
    if kind in DATA or issubclass(kind, type | Enum | str | bytes | bytearray | int | float | complex):
        return _VALUE
    if issubclass(kind, _CONTAINERS) or "__dataclass_fields__" in _names(kind):
        return Found(Way.CONTAINER) if not _protocols(kind) else _UNSEEN
    if has(kind, "add_done_callback") and has(kind, "cancelled"):  # asyncio's, or concurrent.futures'
        return Found(Way.FUTURE)
    way = _EXACT.get(kind) or _by_class(kind)
    if way is not None:
        return Found(way)
    protocols = _protocols(kind)
    if protocols == {"__enter__"} and has(kind, "__fspath__"):
        return _VALUE  # paths: entering one does nothing
    if protocols:
        return _UNSEEN if _does_more(kind) else Found(Way.OBJECT, protocols)
    if has(kind, "__call__") or _makes_iterators(kind):
        return _UNSEEN
    return _VALUE


def _by_class(kind: type) -> Way | None:
    for base, way in (
        (contextlib._GeneratorContextManager, Way.MANAGER),
        (contextlib._AsyncGeneratorContextManager, Way.ASYNC_MANAGER),
    ):
        if issubclass(kind, base) and not any(
            name in vars(each)
            for each in kind.__mro__[: kind.__mro__.index(base)]
            for name in ("__enter__", "__exit__", "__aenter__", "__aexit__", "__call__", "_recreate_cm")
        ):
            return way
    if _does_more(kind) or _protocols(kind) & {"__enter__", "__aenter__"}:
        return None
    if issubclass(kind, abc.Coroutine):
        return Way.COROUTINE
    if issubclass(kind, abc.Generator) and not has(kind, "__await__"):
        return Way.GENERATOR
    return Way.ASYNC_GENERATOR if issubclass(kind, abc.AsyncGenerator) else None


def _protocols(kind: type) -> frozenset[str]:
    return frozenset(
        name for name in ("__next__", "__anext__", "__await__", "__enter__", "__aenter__") if has(kind, name)
    )


def has(kind: type, name: str) -> bool:
    """Return whether objects of this type have such a member; members of the metaclass do not count."""
    return next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None) is not None


def _names(kind: type) -> set[str]:
    return {name for each in kind.__mro__ for name in vars(each)}


def _does_more(kind: type) -> bool:
    """Return whether objects of this type have methods that do not belong to the protocols."""
    usual = (
        _ENDING | _STEPPING
        if issubclass(kind, abc.Generator | abc.Coroutine | abc.AsyncGenerator)
        else _ENDING
    )
    for name in _names(kind):
        if name == "__call__":
            called = inspect.getattr_static(kind, name)
            if called not in (
                contextlib.ContextDecorator.__call__,
                contextlib.AsyncContextDecorator.__call__,
            ):
                return True
        if name.startswith("_") or name in usual:
            continue
        member = inspect.getattr_static(kind, name)
        if callable(member) and not isinstance(
            member, staticmethod | classmethod | type | ClassMethodDescriptorType
        ):
            return True
    return False


def _makes_iterators(kind: type) -> bool:
    iterates = has(kind, "__iter__") or has(kind, "__aiter__")
    # Values are data, such as pydantic's models, which iterate over their fields.
    value = any("__eq__" in vars(each) for each in kind.__mro__[:-1])
    return iterates and not value and not has(kind, "__len__")


def _awaitable(generator: Any) -> bool:
    return bool(generator.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)


_COROUTINE = Found(Way.COROUTINE)
_EXACT: dict[type, Way] = {
    CoroutineType: Way.COROUTINE,
    GeneratorType: Way.GENERATOR,
    AsyncGeneratorType: Way.ASYNC_GENERATOR,
}
