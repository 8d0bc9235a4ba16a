"""Values of many types, each with a way to change it in place, and containers to put them in."""

from __future__ import annotations

import argparse
import array
import asyncio
import collections
import contextlib
import ctypes
import dataclasses
import datetime as dt
import email.message
import enum
import functools
import http.cookies
import io
import itertools
import logging
import os
import pathlib
import queue
import random
import socket
import string
import threading
import types
import unittest.mock
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import attrs
import msgspec
import pydantic

T = TypeVar("T")


class Plain:
    def __init__(self, amount: Any, note: Any = None) -> None:
        self.amount = amount
        self._note = note


class Slotted:
    __slots__ = ("amount", "note")

    def __init__(self, amount: Any) -> None:
        self.amount = amount


class SlottedAndMore(Slotted):
    pass


class Child(Plain):
    __slots__ = ("extra",)


class Boxed(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item


class Protected:
    def __init__(self, amount: int) -> None:
        self.__amount = amount

    @property
    def amount(self) -> int:
        return self.__amount

    def raise_to(self, amount: int) -> None:
        self.__amount = amount


class Called:
    def __init__(self, amount: int) -> None:
        self.amount, self.then = amount, print


class Own(MutableMapping[str, Any]):
    def __init__(self, **kept: Any) -> None:
        self.kept = kept

    def __getitem__(self, name: str) -> Any:
        raise AssertionError("read by its own code")

    __setitem__ = __delitem__ = __getitem__  # type: ignore[assignment]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("read by its own code")

    def __len__(self) -> int:
        raise AssertionError("read by its own code")


class Planet(enum.Enum):
    EARTH = (5.97, 6371)

    def __init__(self, mass: float, radius: int) -> None:
        self.mass, self.moons = mass, ["Moon"]


class Colour(enum.Enum):
    RED = 1


class Mode(enum.IntFlag):
    READ = 4


@dataclasses.dataclass
class Record:
    x: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any


@dataclasses.dataclass(slots=True)
class SlottedRecord:
    x: Any


@attrs.define
class Attrs:
    x: Any


@attrs.frozen
class FrozenAttrs:
    x: Any


class Wire(msgspec.Struct):
    x: Any


class FrozenWire(msgspec.Struct, frozen=True):
    x: Any


class Model(pydantic.BaseModel):
    model_config = {"extra": "allow", "arbitrary_types_allowed": True}
    x: Any
    _private: Any = pydantic.PrivateAttr(default=0)


class Pair(NamedTuple):
    x: Any


class More(Pair):
    pass


class Typed(TypedDict):
    x: int


class Failed(ValueError):
    def __init__(self, text: str, amount: int) -> None:
        super().__init__(text)
        self.amount = amount


class Locked:
    def __init__(self) -> None:
        self.amount, self.lock = 1, threading.Lock()


class Client:
    def __init__(self) -> None:
        self.base, self.pool, self.cache = "https://a", Locked(), {"a": 1}


class Node:
    def __init__(self) -> None:
        self.amount, self.kids = 1, [self]


class Bare:
    pass


class Structure(ctypes.Structure):
    _fields_ = [("amount", ctypes.c_int)]  # as ctypes wants it


def derived(base: type, *args: Any) -> Any:
    """An instance of a subclass, which takes attributes."""
    return type(f"Own{base.__name__}", (base,), {})(*args)


def put(name: str, content: Any = 7) -> Callable[[Any], None]:
    return lambda value: setattr(value, name, content)


def message() -> email.message.Message:
    made = email.message.Message()
    made["To"] = "ann@example.com"
    made.set_payload("Hello")
    return made


class Case(NamedTuple):
    """One kind of value: how to make one, and how to change it in place."""

    name: str
    make: Callable[[], Any]
    change: Callable[[Any], Any]


def _reorder(value: Any) -> None:
    value["a"] = value.pop("a")


def _seek(value: Any) -> None:
    value.seek(1)


def _append_text(value: Any) -> None:
    value.seek(0, 2)
    value.write("more")


def _overwrite(value: Any) -> None:
    value.seek(0)
    value.write(b"XY")
    value.seek(0)


_kept: dict[int, Any] = {}


def over(make: Callable[[Any], Any], inner: Callable[[], Any]) -> Callable[[], Any]:
    """A value that shows another one; the change is made to that one."""

    def made() -> Any:
        behind = inner()
        value = make(behind)
        _kept[id(value)] = (value, behind)
        return value

    return made


def under(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: change(_kept.pop(id(value))[1])


def _put_a(value: Any) -> None:
    value["a"] = 9


READ = [
    Case("list", lambda: [1], lambda v: v.append(2)),
    Case("dict", lambda: {"a": 1}, _put_a),
    Case("TypedDict", lambda: Typed(x=1), lambda v: v.update(x=2)),
    Case("dict, order", lambda: {"a": 1, "b": 2}, _reorder),
    Case("dict, order of other keys", lambda: {1: 1, "a": 2, (3,): 3}, _reorder),
    Case("set", lambda: {1}, lambda v: v.add(2)),
    Case("bytearray", lambda: bytearray(b"ab"), lambda v: v.extend(b"c")),
    Case("memoryview", over(memoryview, lambda: bytearray(b"ab")), under(lambda v: v.__setitem__(0, 0))),
    Case("OrderedDict", lambda: collections.OrderedDict(a=1, b=2), lambda v: v.update(a=3)),
    Case("OrderedDict, order", lambda: collections.OrderedDict(a=1, b=2), lambda v: v.move_to_end("a")),
    Case("OrderedDict, order of numbers", lambda: collections.OrderedDict({1: 1, 2: 2}), lambda v: v.move_to_end(1)),
    Case("defaultdict", lambda: collections.defaultdict(int, a=1), _put_a),
    Case("defaultdict, factory", lambda: collections.defaultdict(int), put("default_factory", list)),
    Case("Counter", lambda: collections.Counter("aab"), lambda v: v.update("b")),
    Case("deque", lambda: collections.deque([1, 2]), lambda v: v.append(3)),
    Case("deque, order", lambda: collections.deque([1, 2], 5), lambda v: v.rotate(1)),
    Case("array", lambda: array.array("d", [1.0]), lambda v: v.append(2.0)),
    Case("array of text", lambda: array.array("u", "ab"), lambda v: v.reverse()),
    Case("SimpleNamespace", lambda: types.SimpleNamespace(a=1), put("a")),
    Case("SimpleNamespace, more", lambda: types.SimpleNamespace(), put("b")),
    Case("Namespace", lambda: argparse.Namespace(a=1), put("a")),
    Case("UserDict", lambda: collections.UserDict(a=1), _put_a),
    Case("UserDict, order", lambda: collections.UserDict(a=1, b=2), _reorder),
    Case("UserList", lambda: collections.UserList([1]), lambda v: v.append(2)),
    Case("UserString", lambda: collections.UserString("a"), put("data", "b")),
    Case("ChainMap", lambda: collections.ChainMap({"a": 1}, {"b": 2}), _put_a),
    Case("ChainMap, parent", lambda: collections.ChainMap({"a": 1}, {"b": 2}), lambda v: v.maps[1].update(b=3)),
    Case("MappingProxyType", over(types.MappingProxyType, lambda: {"a": 1}), under(_put_a)),
    Case("MappingProxyType of another", over(types.MappingProxyType, lambda: Own(a=1)), under(lambda v: v.kept.clear())),
    Case("keys", over(dict.keys, lambda: {"a": 1}), under(lambda v: v.update(b=2))),
    Case("values", over(dict.values, lambda: {"a": 1}), under(_put_a)),
    Case("items", over(dict.items, lambda: {1: 1}), under(lambda v: v.update({1: 2}))),
    Case("StringIO", lambda: io.StringIO("text"), _append_text),
    Case("StringIO, position", lambda: io.StringIO("text"), _seek),
    Case("BytesIO", lambda: io.BytesIO(b"text"), _overwrite),
    Case("BytesIO, position", lambda: io.BytesIO(b"text"), _seek),
    Case("BytesIO, closed", lambda: io.BytesIO(b""), lambda v: v.close()),
    Case("slice", lambda: slice(None, [1]), lambda v: v.stop.append(2)),
    Case("partial", lambda: functools.partial(max, 1, key=[2]), lambda v: v.keywords["key"].append(1)),
    Case("partial, keywords", lambda: functools.partial(max, key=1), lambda v: v.keywords.update(key=2)),
    Case("partial, attributes", lambda: functools.partial(max), put("limit")),
    Case("enum member", lambda: Planet.EARTH, lambda v: v.moons.append("Lune")),
    Case("enum member, more", lambda: Colour.RED, lambda v: setattr(v, "rate", getattr(v, "rate", 0) + 1)),
    Case("flag, more", lambda: Mode.READ, lambda v: setattr(v, "rate", getattr(v, "rate", 0) + 1)),
    Case("instance", lambda: Plain(1), put("amount")),
    Case("instance, private", lambda: Plain(1, [1]), lambda v: v._note.append(2)),
    Case("instance, another attribute", lambda: Plain(1), put("other")),
    Case("instance, order", lambda: Plain(1), lambda v: v.__dict__.update(amount=v.__dict__.pop("amount"))),
    Case("instance, attribute gone", lambda: Plain(1), lambda v: v.__dict__.pop("_note")),
    Case("instance, mangled", lambda: Protected(1), lambda v: v.raise_to(2)),
    Case("instance with a function", lambda: Called(1), put("amount")),
    Case("instance, its function", lambda: Called(1), put("then", max)),
    Case("slots", lambda: Slotted(1), put("amount")),
    Case("slots, one unset", lambda: Slotted(1), put("note")),
    Case("slots and attributes", lambda: SlottedAndMore(1), put("extra")),
    Case("attributes and slots", lambda: Child(1), put("extra")),
    Case("generic", lambda: Boxed[int](1), put("item")),
    Case("mapping of one's own", lambda: Own(a=1), lambda v: v.kept.update(a=2)),
    Case("dataclass", lambda: Record(1), put("x")),
    Case("frozen dataclass", lambda: Frozen([1]), lambda v: v.x.append(2)),
    Case("slotted dataclass", lambda: SlottedRecord(1), put("x")),
    Case("attrs", lambda: Attrs(1), put("x")),
    Case("frozen attrs", lambda: FrozenAttrs({"a": 1}), lambda v: v.x.update(a=2)),
    Case("Struct", lambda: Wire(1), put("x")),
    Case("frozen Struct", lambda: FrozenWire([1]), lambda v: v.x.append(2)),
    Case("pydantic", lambda: Model(x=1), put("x")),
    Case("pydantic, extra", lambda: Model(x=1, more=1), put("more")),
    Case("pydantic, private", lambda: Model(x=1), put("_private")),
    Case("named tuple", lambda: Pair([1]), lambda v: v.x.append(2)),
    Case("exception", lambda: ValueError("a"), put("args", ("b",))),
    Case("exception, attribute", lambda: Failed("a", 1), put("amount")),
    Case("exception, note", lambda: ValueError("a"), lambda v: v.add_note("b")),
    Case("exception, cause", lambda: ValueError("a"), put("__cause__", KeyError("b"))),
    Case("OSError", lambda: OSError(2, "missing", "a"), put("filename", "b")),
    Case("ExceptionGroup", lambda: ExceptionGroup("a", [ValueError("b")]), lambda v: v.exceptions[0].add_note("c")),
    Case("Template", lambda: string.Template("a"), put("template", "b")),
    Case("Formatter's kin", lambda: types.SimpleNamespace(a=Plain(Slotted([1]))), lambda v: v.a.amount.amount.append(2)),
]  # fmt: skip
"""Kinds that are read in full: a change anywhere is noticed, and nothing but functions in them is opaque."""

PARTLY = [
    Case("cookie", lambda: http.cookies.SimpleCookie("a=1"), lambda v: v["a"].set("a", "2", "2")),
    Case("e-mail", message, lambda v: v.replace_header("To", "eve@example.com")),
    Case("str subclass", lambda: derived(str, "a"), put("target")),
    Case("int subclass", lambda: derived(int, 1), put("target")),
    Case("float subclass", lambda: derived(float, 1), put("target")),
    Case("bytes subclass", lambda: derived(bytes, b"a"), put("target")),
    Case("list subclass", lambda: derived(list, [1]), put("target")),
    Case("dict subclass", lambda: derived(dict, {"a": 1}), put("target")),
    Case("tuple subclass", lambda: derived(tuple, (1,)), put("target")),
    Case("named tuple, more", lambda: More(1), put("target")),
    Case("set subclass", lambda: derived(set, [1]), put("target")),
    Case("frozenset subclass", lambda: derived(frozenset, [1]), put("target")),
    Case("deque subclass", lambda: derived(collections.deque, [1]), put("target")),
    Case("UserDict, more", lambda: collections.UserDict(a=1), put("target")),
    Case("datetime subclass", lambda: derived(dt.datetime, 2026, 1, 1), put("target")),
    Case("Decimal subclass", lambda: derived(Decimal, 1), put("target")),
    Case("Fraction subclass", lambda: derived(Fraction, 1, 2), put("target")),
    Case("path subclass", lambda: derived(type(pathlib.Path()), "a"), put("target")),
    Case("StringIO, attribute", lambda: io.StringIO("a"), put("target")),
    Case("BytesIO subclass", lambda: derived(io.BytesIO, b"a"), put("target")),
    Case("partial subclass", lambda: derived(functools.partial, max), put("target")),
]
"""Kinds that hold more than is shown of them, and so are opaque: a change is noticed all the same."""


def _open() -> Any:
    return open(__file__, encoding="utf-8")  # it waits as an argument


def _thread_local() -> Any:
    made = threading.local()
    made.amount = 1
    return made


async def _later() -> None: ...


def _coroutine() -> Any:
    return _later()


OPAQUE = [
    Case("object", object, lambda _: None),
    Case("bare instance", Bare, lambda _: None),
    Case("generator", lambda: (each for each in [1, 2]), next),
    Case("iterator", lambda: iter([1, 2]), next),
    Case("map", lambda: map(str, [1, 2]), next),
    Case("count", itertools.count, next),
    Case("coroutine", _coroutine, lambda v: v.close()),
    Case("function", lambda: lambda: 1, put("limit")),
    Case("bound method", lambda: Plain([1]).amount.append, lambda v: v(2)),
    Case("class", lambda: type("Class", (), {}), put("limit")),
    Case("module", lambda: types.ModuleType("module"), put("limit")),
    Case("lock", threading.Lock, lambda v: v.acquire()),
    Case("event", threading.Event, lambda v: v.set()),
    Case("thread", threading.Thread, put("name", "other")),
    Case("thread-local", _thread_local, put("amount")),
    Case("queue", queue.Queue, lambda v: v.put(1)),
    Case("asyncio.Event", asyncio.Event, lambda v: v.set()),
    Case("file", _open, lambda v: v.read(1)),
    Case("socket", socket.socket, lambda v: v.settimeout(1)),
    Case("weak reference", over(weakref.ref, lambda: Plain(1)), under(put("amount"))),
    Case("WeakSet", weakref.WeakSet, lambda v: v.add(Plain)),
    Case("random", random.Random, lambda v: v.random()),
    Case("logger", lambda: logging.Logger("a"), lambda v: v.setLevel(10)),
    Case("mock", unittest.mock.Mock, lambda v: v(1)),
    Case("exit stack", contextlib.ExitStack, lambda v: v.callback(print)),
    Case("environment", lambda: os._Environ({}, *[str] * 4), lambda v: v.update(a="b")),
    Case("annotation", lambda: Annotated[TypeVar("Own"), 1], lambda _: None),
    Case("ctypes", lambda: Structure(1), put("amount")),
    Case("instance with a lock", Locked, put("amount")),
    Case("client", Client, lambda v: v.cache.update(b=2)),
    Case("instance in itself", Node, put("amount")),
    Case("very large instance", lambda: Plain("x" * (1 << 19)), put("_note")),
]
"""Kinds that cannot be read: they are said to be opaque."""

try:
    import numpy as np
except ImportError:  # it comes with another package of the environment, and is not needed
    pass
else:
    READ += [
        Case("ndarray", lambda: np.arange(4.0), lambda v: v.fill(1)),
        Case("ndarray of dates", lambda: np.zeros(2, "M8[s]"), lambda v: v.fill(np.datetime64(5, "s"))),
        Case("ndarray, shape", lambda: np.arange(4), put("shape", (2, 2))),
    ]
    OPAQUE += [Case("ndarray of objects", lambda: np.array([[]], dtype=object), lambda v: v.fill(1))]

WRAPS: dict[str, Callable[[Any], Any]] = {
    "list": lambda v: [0, v],
    "tuple": lambda v: (v, 1),
    "dict": lambda v: {"k": v},
    "dict by number": lambda v: {1: v},
    "deque": lambda v: collections.deque([v]),
    "OrderedDict": lambda v: collections.OrderedDict(z=1, a=v),
    "defaultdict": lambda v: collections.defaultdict(list, k=v),
    "SimpleNamespace": lambda v: types.SimpleNamespace(v=v),
    "UserDict": lambda v: collections.UserDict(v=v),
    "UserList": lambda v: collections.UserList([v]),
    "ChainMap": lambda v: collections.ChainMap({}, {"v": v}),
    "proxy": lambda v: types.MappingProxyType({"v": v}),
    "values": lambda v: {"v": v}.values(),
    "dataclass": Record,
    "frozen dataclass": Frozen,
    "attrs": Attrs,
    "Struct": FrozenWire,
    "pydantic": lambda v: Model.model_construct(x=v),
    "named tuple": Pair,
    "partial": lambda v: functools.partial(max, key=v),
    "exception": lambda v: ValueError("a", v),
    "instance": Plain,
    "slots": Slotted,
    "generic": Boxed,
}
"""What a value can lie in, so that it is changed deep inside."""

NOTICED = [*READ, *PARTLY]


def corpus(cases: list[Case]) -> list[tuple[Case, tuple[str, ...]]]:
    """Each kind bare and in three nestings, of one, two and three containers."""
    rng = random.Random(8)
    return [(case, tuple(rng.choices([*WRAPS], k=depth))) for case in cases for depth in range(4)]


def nested(value: Any, wraps: tuple[str, ...]) -> Any:
    for wrap in wraps:
        value = WRAPS[wrap](value)
    return value
