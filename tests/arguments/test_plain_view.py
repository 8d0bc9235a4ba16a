"""What people and policies see is plain, bounded, complete and free of secrets."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import enum
import functools
import io
import json
import pathlib
import re
import types
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Generic, TypeVar
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pydantic.v1
import pytest
from argument_values import (
    KEY,
    Attrs,
    Colour,
    Level,
    Model,
    Number,
    Point,
    Table,
    Text,
    Thing,
    Wire,
    arguments,
    values,
)
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from worker import Worker

from ascend_guard.arguments import Arguments, normalise
from ascend_guard.errors import ValidationError
from ascend_guard.redaction import REDACTED, Redact

MORE = settings(max_examples=4 * settings().max_examples)
Item = TypeVar("Item")


class Name(enum.StrEnum):
    PASSWORD = "password"


class Order:
    def __init__(self, amount: int, note: Any = None) -> None:
        self.amount, self._note = amount, note


class Parcel:
    __slots__ = ("label", "weight")

    def __init__(self, weight: int) -> None:
        self.weight = weight


moved = collections.OrderedDict(a=1, b=2)
moved.move_to_end("a")

SECRET_NAMES = ["password", "apiKey", "X-API-Key", "client_secret", "Authorization", "db_passwords"]


def view(value: Any, **options: Any) -> Any:
    return normalise({"value": value}, key=KEY, **options).plain["value"]


def depth(plain: Any) -> int:
    if isinstance(plain, dict):
        return 1 + max(map(depth, plain.values()), default=0)
    return 1 + max(map(depth, plain), default=0) if isinstance(plain, list) else 0


def is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str and is_plain(key) and is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is str:
        return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in value)
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    return value is None or type(value) is bool or (type(value) is float and value - value == 0)


@MORE
@given(arguments)
def test_the_view_is_plain_json(named: dict[str, Any]) -> None:
    """Only exact plain types, which the strictest encoders take."""
    plain = normalise(named, key=KEY).plain
    assert is_plain(plain)
    assert list(plain) == list(named)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert msgspec.json.decode(msgspec.json.encode(plain)) == plain


@pytest.fixture(scope="module")
def policies() -> Iterator[Worker]:
    worker = Worker("evaluate")
    yield worker
    worker.close()


@MORE
@given(arguments)
def test_the_view_never_crashes_the_policy_engine(policies: Worker, named: dict[str, Any]) -> None:
    """The CEL library ends the process on values that are not plain; on these it does not even raise."""
    policies.ask(normalise(named, key=KEY).plain)


def test_the_deepest_and_the_longest_view_do_not_crash_the_policy_engine(policies: Worker) -> None:
    """As deep and as long as the limits allow."""
    deep: Any = 1
    for index in range(63):
        deep = [deep] if index % 2 else {"a": deep}
    for value in (
        deep,
        list(range(100_000)),
        "x" * 1_000_000,
        "\0" * 1000,
        dict.fromkeys(map(str, range(50_000))),
    ):
        policies.ask({"value": view(value)})


@given(values, st.integers(1, 6))
@example({1: 2}, 2)
@example({1: 2}, 4)
@example(b"", 1)
def test_the_view_is_never_deeper_than_the_limit(value: Any, limit: int) -> None:
    """Counted in the view, with everything it wraps around what JSON cannot say."""
    try:
        plain = normalise({"value": value}, key=KEY, depth=limit).plain
    except ValidationError:
        assert depth(normalise({"value": value}, key=KEY).plain) > limit or isinstance(
            value, dict | set | frozenset
        )
    else:
        assert depth(plain) <= limit


@MORE
@given(
    st.recursive(values, lambda inner: st.dictionaries(st.sampled_from(SECRET_NAMES), inner), max_leaves=3),
    st.data(),
)
def test_no_secret_is_seen_at_any_depth(value: Any, data: st.DataObject) -> None:
    """A value under a secret name is nowhere in the view, and its text is among the secrets."""
    secret = data.draw(st.text(st.characters(categories=["Lu", "Nd"]), min_size=12, max_size=20))
    assume(secret not in repr(value))  # a public value of the same text may be seen
    name = data.draw(st.sampled_from(SECRET_NAMES))
    wraps = [
        lambda v: [value, v],
        lambda v: {"a": value, "b": v},
        lambda v: {1: v},
        lambda v: (v,),
        lambda v: Thing(v, value),
        lambda v: Model(x=v),
        lambda v: Point(value, v),
        lambda v: Wire(v),
        lambda v: Order(5, v),
        lambda v: Order(v),
        lambda v: collections.deque([value, v]),
        lambda v: collections.UserDict(a=v),
        lambda v: types.SimpleNamespace(a=v),
        lambda v: types.MappingProxyType({"a": v}),
        lambda v: collections.ChainMap({"a": value}, {"b": v}),
        lambda v: {"a": v}.values(),
        lambda v: functools.partial(max, key=v),
        lambda v: ValueError(value, v),
        lambda v: {"b": {Text("c"): v}},
    ]
    name = data.draw(st.sampled_from([name, Text(name), name.encode(), Name.PASSWORD]))
    holder: Any = {
        name: data.draw(
            st.sampled_from([secret, [secret], {"x": {"y": secret}}, Thing(secret), Text(secret)])
        )
    }
    for wrap in data.draw(st.lists(st.sampled_from(wraps), max_size=3)):
        holder = wrap(holder)
    arguments = normalise({"a": holder}, key=KEY)
    assert secret not in repr(arguments.plain)
    assert secret not in repr(arguments)
    assert secret in arguments.secrets


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (Colour.BLUE, "1"),
        (Level.LOW, 1),
        (dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "2026-01-02T03:00:00+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(minutes=1.5), 90.0),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (pathlib.PurePosixPath("/etc/x"), "/etc/x"),
        (Decimal("1.10"), 1.1),
        (Decimal("0.1000000000000000000001"), {"$decimal": "0.1000000000000000000001"}),
        (Decimal("NaN"), {"$decimal": "NaN"}),
        (Decimal("1E+400"), {"$decimal": "1E+400"}),
        (1 << 63, {"$integer": "9223372036854775808"}),
        (-(1 << 4000), {"$integer": hex(-(1 << 4000))}),
        (10**5000, {"$integer": hex(10**5000)}),
        (float("nan"), {"$float": "nan"}),
        (float("-inf"), {"$float": "-inf"}),
        (1 + 2j, {"$complex": "(1+2j)"}),
        (b"\xff", {"$bytes": "/w=="}),
        (bytearray(b"a"), {"$bytes": "YQ=="}),
        (memoryview(b"a"), {"$bytes": "YQ=="}),
        ("a\udcff", {"$text": "a\\udcff"}),
        ({1: "a"}, {"$map": [[1, "a"]]}),
        ({"$bytes": "a"}, {"$map": [["$bytes", "a"]]}),
        ({"a\udcff": 1}, {"$map": [[{"$text": "a\\udcff"}, 1]]}),
        ({"$other": 1}, {"$other": 1}),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Thing(1, Thing(2)), {"x": 1, "y": {"x": 2, "y": None}}),
        (Attrs(1), {"x": 1, "y": None}),
        (Wire(1), {"x": 1, "y": None}),
        (Model(x=1, extra=2), {"x": 1, "y": None, "extra": 2, "_private": 0}),
        (Text("a"), "a"),
        (Number(5), 5),
        (Table(a=1), {"a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (pydantic.SecretStr("hunter2"), REDACTED),
        (pydantic.SecretBytes(b"hunter2"), REDACTED),
        (Fraction(1, 2), 0.5),
        (Fraction(1, 3), {"$fraction": "1/3"}),
        (range(1, 9, 2), {"start": 1, "stop": 9, "step": 2}),
        (slice(3), {"start": None, "stop": 3, "step": None}),
        (re.compile("a+"), {"pattern": "a+", "flags": 32}),
        (collections.deque([1, "a"], 5), [1, "a"]),
        (array.array("d", [1.5]), [1.5]),
        (array.array("u", "hi"), ["h", "i"]),
        (types.SimpleNamespace(b=1, a=[2]), {"b": 1, "a": [2]}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.UserDict(a=1), {"a": 1}),
        (collections.UserList([1]), [1]),
        (collections.UserString("a"), "a"),
        (collections.ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
        (collections.ChainMap({"a": 1}, {2: 3}), [{"a": 1}, {"$map": [[2, 3]]}]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({1: 2}.values(), [2]),
        ({"a": 1}.items(), [["a", 1]]),
        ({1: 2}.items(), [[1, 2]]),
        (moved, {"b": 2, "a": 1}),
        (io.StringIO("text"), "text"),
        (io.BytesIO(b"\xff"), {"$bytes": "/w=="}),
        (
            functools.partial(int, "7", base=8),
            {"func": {"$opaque": "builtins.type"}, "args": ["7"], "keywords": {"base": 8}},
        ),
        (ZoneInfo("Europe/London"), "Europe/London"),
        (dt.UTC, "UTC"),
        (ValueError("a", 1), {"args": ["a", 1]}),
        (Order(5), {"amount": 5, "_note": None}),
        (Parcel(5), {"weight": 5}),
        (object(), {"$opaque": "builtins.object"}),
        (print, {"$opaque": "builtins.builtin_function_or_method"}),
        (int, {"$opaque": "builtins.type"}),
    ],
    ids=lambda _: "",
)
def test_how_each_type_is_shown(value: Any, shown: Any) -> None:
    """One row per kind of value."""
    assert repr(view(value)) == repr(shown)


def test_insertion_order_is_kept_for_people() -> None:
    """Although the digest goes by sorted keys."""
    assert list(view({"b": 1, "a": [1], "c": 2})) == ["b", "a", "c"]


def test_opaque_values_are_named_by_their_path() -> None:
    """So that an approver is told what could not be seen."""
    client = object()
    named = {
        "conn": client,
        "items": [1, 2, {"client": client}],
        "odd key": {"a b": client},
        "password": [client],
    }
    arguments = normalise(named, key=KEY)
    assert arguments.opaque == ("conn", "items[2].client", "['odd key']['a b']", "password")


class Handle(str):
    """Text that carries more than its text."""


def test_hidden_content_is_opaque_and_told_apart() -> None:
    """What a subclass adds to its base is not shown, so it is listed, and its digest still counts it."""
    one, other = Handle("a"), Handle("a")
    one.target, other.target = "/tmp", "/etc"
    first, second = normalise({"a": one}, key=KEY), normalise({"a": other}, key=KEY)
    assert first.plain == second.plain == {"a": "a"}
    assert first.opaque == ("a",)
    assert first.digest != second.digest
    assert normalise({"a": Handle("a")}, key=KEY).opaque == ()


@pytest.mark.parametrize(
    ("value", "mutable"),
    [
        ("a", False),
        ((1, (2.5, None)), False),
        (frozenset({1}), False),
        (Point(1, "a"), False),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), False),
        (Decimal(1), False),
        (pathlib.Path("a"), False),
        (range(3), False),
        (re.compile("a"), False),
        (slice(1), False),
        (Point(1, []), True),
        (Colour.RED, True),
        (slice([]), True),
        (Order(1), True),
        (types.MappingProxyType({}), True),
        (functools.partial(max), True),
        ([], True),
        ({}, True),
        (set(), True),
        (bytearray(), True),
        (memoryview(b""), True),
        (Thing(1), True),
        (Model(x=1), True),
        (object(), True),
        (Handle("a"), True),
        (pydantic.SecretStr("a"), True),
    ],
)
def test_what_could_change_while_a_person_decides(value: Any, mutable: bool) -> None:
    """Only scalars and tuples of them are certain not to."""
    assert normalise({"a": value}, key=KEY).mutable is mutable
    assert normalise({"a": (value,)}, key=KEY).mutable is mutable


@dataclasses.dataclass
class Login:
    user: str
    phrase: Annotated[str, Redact]
    hint: Annotated[str | None, Redact()] = None


@attrs.define
class AttrsLogin:
    user: str
    phrase: Annotated[str, Redact]


class WireLogin(msgspec.Struct):
    user: str
    phrase: Annotated[str, Redact]


class ModelLogin(pydantic.BaseModel):
    user: str
    phrase: Annotated[str, Redact]


@dataclasses.dataclass
class Box(Generic[Item]):
    item: Item


class LegacyModel(pydantic.v1.BaseModel):
    user: str
    phrase: pydantic.v1.SecretStr
    _hits: int = pydantic.v1.PrivateAttr(3)

    class Config:
        extra = "allow"


def test_records_of_every_kind_are_seen_in_full() -> None:
    """Extra and private attributes too, and nothing of them is opaque or secret without a reason."""
    legacy = LegacyModel(user="bob", phrase="open sesame", more=2)
    named = {
        "a": Box[int](1),
        "b": Model(x=1, more=2),
        "c": Wire(1),
        "d": Attrs(1),
        "e": legacy,
        "f": Point(1, 2),
    }
    arguments = normalise(named, key=KEY)
    assert arguments.opaque == ()
    assert arguments.secrets == ("open sesame",)
    assert arguments.plain["a"] == {"item": 1}
    assert arguments.plain["e"] == {"user": "bob", "phrase": REDACTED, "more": 2, "_hits": 3}


class PlainLogin:
    phrase: Annotated[str, Redact]

    def __init__(self, user: str, phrase: str) -> None:
        self.user, self.phrase = user, phrase


class SlottedLogin:
    __slots__ = ("phrase", "user")
    phrase: Annotated[str, Redact]

    def __init__(self, user: str, phrase: str) -> None:
        self.user, self.phrase = user, phrase


class PlainLoginByParameter:
    def __init__(self, user: str, phrase: Annotated[str, Redact]) -> None:
        self.user, self.phrase = user, phrase


@pytest.mark.parametrize(
    "kind",
    [Login, AttrsLogin, WireLogin, ModelLogin, PlainLogin, SlottedLogin, PlainLoginByParameter],
)
def test_annotated_fields_are_redacted(kind: Any) -> None:
    """In every kind of record, and only those."""
    arguments = normalise({"login": kind(user="bob", phrase="open sesame")}, key=KEY)
    assert arguments.plain["login"]["user"] == "bob"
    assert arguments.plain["login"]["phrase"] == REDACTED
    assert "open sesame" in arguments.secrets


def test_names_to_redact_count_at_any_depth() -> None:
    """As parameters, keys and fields."""
    named = {"x": 1, "a": {"x": "s1"}, "b": [Thing("s2", {"x": b"s3", "y": 4})]}
    arguments = normalise(named, key=KEY, redact=frozenset({"x"}))
    assert arguments.plain == {
        "x": REDACTED,
        "a": {"x": REDACTED},
        "b": [{"x": REDACTED, "y": {"x": REDACTED, "y": 4}}],
    }
    assert {"1", "s1", "s2", "s3"} <= set(arguments.secrets)


class Sealed:
    def __init__(self, phrase: Annotated[str, Redact], note: str) -> None:
        self._phrase, self.__note, self.api_key, self.safe = phrase, note, "k-4711", 1


def test_private_attributes_are_redacted_by_the_name_of_their_parameter() -> None:
    """Which is how instances keep what they are made with: under an underscore, or mangled."""
    arguments = normalise({"a": [Sealed("open sesame", "psst")]}, key=KEY, redact=frozenset({"note"}))
    assert arguments.plain["a"] == [
        {"_phrase": REDACTED, "_Sealed__note": REDACTED, "api_key": REDACTED, "safe": 1}
    ]
    assert {"open sesame", "psst", "k-4711"} <= set(arguments.secrets)


def test_keys_inside_a_secret_are_secret_unless_they_are_mere_names() -> None:
    """A table of tokens has them as keys; a record has only names there, which messages need."""
    named = {
        "tokens": {"tok-4711": {"user": "ann", "n": b"six"}, "first word": 1},
        "credentials": Thing("a", "b"),
    }
    secrets = normalise(named, key=KEY).secrets
    assert {"tok-4711", "ann", "six", "first word", "1", "a", "b"} <= set(secrets)
    assert {"user", "n", "x", "y", "$bytes"}.isdisjoint(secrets)


def test_the_arguments_themselves_do_not_print_their_values() -> None:
    """Neither the repr nor what rich makes of it."""
    arguments = normalise({"password": "hunter2", "email": "a@b.c"}, key=KEY)
    shown = repr(arguments) + repr(list(arguments.__rich_repr__()))
    assert "hunter2" not in shown
    assert "a@b.c" not in shown
    assert isinstance(arguments, Arguments)
