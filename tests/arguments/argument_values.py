"""Values of every type a tool may be called with, and what makes two of them different to a tool."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pathlib
import struct
import uuid
import zoneinfo
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
from hypothesis import strategies as st

KEY = b"k" * 32


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Octets(bytes):
    pass


class Row(list):
    pass


class Table(dict):
    pass


class Pair(tuple):
    __slots__ = ()


class Bag(set):
    pass


class Moment(dt.datetime):
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = "1"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    ONE = "1"


class Flags(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Thing:
    x: Any
    y: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class OtherThing:
    x: Any
    y: Any = None


@attrs.define
class Attrs:
    x: Any
    y: Any = None


class Wire(msgspec.Struct):
    x: Any
    y: Any = None


class Model(pydantic.BaseModel):
    model_config = {"extra": "allow", "arbitrary_types_allowed": True}
    x: Any
    y: Any = None
    _private: int = pydantic.PrivateAttr(default=0)


RECORDS: tuple[Callable[..., Any], ...] = (Thing, OtherThing, Attrs, Wire, Model, Point)
UTC = dt.UTC
NAIVE = dt.datetime.combine(dt.date(2026, 1, 1), dt.time())
SCALARS: list[Any] = [
    None, False, True, 0, 1, -1, 0.0, -0.0, 1.0, "0", "1", "", "None", "n", b"0", b"1", b"", bytearray(b"1"),
    memoryview(b"1"), "MQ==", Decimal("0"), Decimal("-0"), Decimal("1.10"), Decimal("1.1"), "1.10", 1.1,
    Decimal("1E+1"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), float("nan"), float("inf"),
    float("-inf"), -float("nan"), 1 << 63, (1 << 63) - 1, -(1 << 63), -(1 << 63) - 1, 10**600, 1j,
    complex(0, -0.0), complex("nan"), "é", "e\u0301", "\ud800", "\\ud800", "\U0001f600", "\ud83d\ude00",
    "\x00", Text("1"), Number(1), Real(1.0), Octets(b"1"), Colour.RED, Colour.BLUE, Level.LOW, Word.ONE,
    Flags.A, Flags.A | Flags.B, Flags(0), uuid.UUID(int=1), str(uuid.UUID(int=1)), pathlib.PurePosixPath("a"),
    pathlib.PureWindowsPath("a"), pathlib.Path("a"), "a", NAIVE.date(), NAIVE, NAIVE.replace(fold=1),
    NAIVE.replace(tzinfo=UTC), NAIVE.replace(tzinfo=zoneinfo.ZoneInfo("UTC")), str(NAIVE.date()),
    NAIVE.replace(tzinfo=dt.timezone(dt.timedelta(0), "X")), Moment(2026, 1, 1, tzinfo=UTC), dt.time(1),
    dt.time(1, fold=1), dt.timedelta(1), dt.timedelta(0, 86399, 10**6 - 1), 86400.0,
]  # fmt: skip
HASHABLE = [
    value
    for value in SCALARS
    if not isinstance(value, bytearray) and not (isinstance(value, Decimal) and value.is_snan())
]

# Text that looks like the encoding itself, where a missing length would show.
_tricky = st.text(alphabet="0123456789:;{}suiltednkO-+$\ud800é", max_size=8)
scalars = st.one_of(
    st.sampled_from(SCALARS),
    _tricky,
    st.integers(),
    st.floats(),
    st.binary(max_size=6),
    st.decimals(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.text(max_size=6),
)
_hashable = st.sampled_from(HASHABLE) | _tricky | st.integers()
keys = st.sampled_from(
    ["a", "b", "1", "$bytes", "$text", "$map", "\ud800", "é", Text("a"), 1, 2.5, None, b"a", Word.ONE]
)
names = st.sampled_from(["a", "b", "c", "value", "items", "$bytes", "é", "\udcff"]) | st.text(max_size=5)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=3)
    hashables = st.lists(_hashable | st.tuples(_hashable), max_size=3)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(Row),
        lists.map(Pair),
        hashables.map(set),
        hashables.map(frozenset),
        hashables.map(Bag),
        st.dictionaries(names, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(names, inner, max_size=3).map(Table),
        st.dictionaries(names, inner, max_size=3).map(OrderedDict),
        st.builds(
            lambda kind, x, y: kind(x, y),
            st.sampled_from([Thing, OtherThing, Attrs, Wire, Point]),
            inner,
            inner,
        ),
        st.builds(lambda x: Model(x=x), inner),
        st.builds(lambda x, y: Model(x=x, y=y), inner, inner),
    )


values = st.recursive(scalars, _containers, max_leaves=6)
arguments = st.dictionaries(st.sampled_from(["a", "b", "c", "value"]), values, max_size=3)


def essence(value: Any, *, ordered: bool = True) -> Any:
    """All that a tool could tell about a value, but for the order of sets; slow and literal.

    Without ``ordered``, not the order of dicts either.
    """
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return name, _content(value, ordered)


def _content(value: Any, ordered: bool) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return str(value), essence(value.value, ordered=ordered)
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, complex):
        return struct.pack("<dd", value.real, value.imag)
    if isinstance(value, str):
        return [ord(letter) for letter in value]
    if isinstance(value, memoryview):
        return value.format, value.shape, value.readonly, value.tobytes()
    if isinstance(value, bytes | bytearray):
        return [*value]
    if isinstance(value, dict):
        pairs = [repr((essence(k, ordered=ordered), essence(v, ordered=ordered))) for k, v in value.items()]
        return pairs if ordered else sorted(pairs)
    if isinstance(value, list | tuple):
        return [essence(item, ordered=ordered) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(essence(item, ordered=ordered)) for item in value)
    if isinstance(value, Decimal):
        return repr(value.as_tuple())
    if isinstance(value, dt.datetime | dt.time):
        return value.replace(tzinfo=None).isoformat(), value.fold, repr(value.tzinfo)
    if isinstance(value, pydantic.BaseModel):
        state = [value.__dict__, value.__pydantic_extra__, value.__pydantic_private__, value.model_fields_set]
        return [essence(part, ordered=ordered) for part in state]
    if isinstance(value, Thing | OtherThing | Attrs | Wire):
        return essence(value.x, ordered=ordered), essence(value.y, ordered=ordered)
    return repr(value)
