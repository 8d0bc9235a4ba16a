"""The digest tells apart whatever a tool could tell apart, and nothing else."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import decimal
import hashlib
import hmac
import pickle
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from argument_values import KEY, RECORDS, SCALARS, Model, arguments, essence, values
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worker import Worker

from ascend_guard.arguments import digest_of, normalise
from ascend_guard.errors import ValidationError

MORE = settings(max_examples=4 * settings().max_examples)


def digest(value: Any) -> str:
    return digest_of({"value": value}, key=KEY)


@MORE
@given(values, values)
def test_different_values_have_different_digests_and_equal_ones_equal_digests(one: Any, other: Any) -> None:
    """Two values have the same digest exactly when no tool could tell them apart."""
    assert (digest(one) == digest(other)) == (essence(one) == essence(other))


def test_every_two_confusable_scalars_have_different_digests() -> None:
    """None, False, 0, 0.0, "0", b"0" and their like are all told apart."""
    assert len({digest(value) for value in SCALARS}) == len(SCALARS)


@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: {1: v}, *RECORDS]
)
def test_confusable_scalars_stay_apart_inside_containers(wrap: Any) -> None:
    """Whatever they are wrapped in."""
    wrapped = [wrap(value) if wrap not in RECORDS else wrap(x=value, y=None) for value in SCALARS]
    assert len({digest(value) for value in wrapped}) == len(SCALARS)


@MORE
@given(values, st.data())
def test_a_change_anywhere_inside_changes_the_digest(value: Any, data: st.DataObject) -> None:
    """One list, dict or set inside a value that is changed in place makes another digest."""
    try:
        mutable = copy.deepcopy(value)
    except TypeError:  # a memoryview cannot be copied
        return
    places = [place for place in _places(mutable) if isinstance(place, list | dict | set | bytearray)]
    if not places:
        return
    before = digest(mutable)
    place = data.draw(st.sampled_from(places))
    if isinstance(place, list | bytearray):
        place.append(7)
    elif isinstance(place, dict):
        place["something else"] = None
    else:
        place.add("something else")
    assert digest(mutable) != before


def _places(value: Any) -> Iterator[Any]:
    yield value
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif type(value) in RECORDS:
        inner = (value.x, value.y)
    for each in inner:
        yield from _places(each)


@given(
    st.dictionaries(st.text(max_size=3) | st.integers(), values, max_size=5),
    st.randoms(use_true_random=False),
)
def test_the_order_of_a_dict_makes_no_difference(content: dict[Any, Any], rng: random.Random) -> None:
    """Dicts that differ only in insertion order have the same digest, and so have keyword arguments."""
    items = list(content.items())
    rng.shuffle(items)
    assert digest(content) == digest(dict(items))
    named = {str(key): value for key, value in items}
    assert digest_of(named, key=KEY) == digest_of(dict(reversed(named.items())), key=KEY)


@given(st.sets(st.text(max_size=3) | st.integers(0, 1 << 70), max_size=8))
def test_the_order_of_a_set_makes_no_difference(content: set[Any]) -> None:
    """Sets filled in another order, with other things in between, have the same digest."""
    other: set[Any] = set(range(100))
    for item in reversed(list(content)):
        other.add(item)
    other -= set(range(100)) - content
    assert digest(content) == digest(other)


@MORE
@given(arguments, st.sets(st.sampled_from(["a", "b", "c", "x"])))
def test_digest_of_is_the_digest_of_normalise(named: dict[str, Any], redact: set[str]) -> None:
    """Both give one digest, and what is redacted makes no difference to it."""
    expected = digest_of(named, key=KEY)
    assert normalise(named, key=KEY).digest == expected
    assert normalise(named, key=KEY, redact=frozenset(redact)).digest == expected
    assert digest_of(named, key=KEY, redact=frozenset(redact)) == expected


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Worker]:
    worker = Worker("digest")
    yield worker
    worker.close()


@given(arguments)
def test_another_process_finds_the_same_digest(elsewhere: Worker, named: dict[str, Any]) -> None:
    """Neither the process nor its hash seed makes a difference."""
    try:
        pickle.dumps(named)
    except TypeError:  # a memoryview cannot travel
        return
    assert elsewhere.ask(named) == digest_of(named, key=KEY)


def test_digests_do_not_change_between_releases() -> None:
    """Approvals outlive an upgrade: these digests were written down when the encoding was made."""
    named = {"a": [None, True, 1, 1.5, "é", b"x"], "b": {"k": (1 << 70,), 3: {1, 2}}}
    assert digest_of(named, key=KEY) == "d03d20f66f3e9348af0cf434ab80779b23b7c39dcffae8d1536abf885b18234b"
    assert digest(uuid.UUID(int=5)) == "415f83c76ebc5124d4645f0688b1a60b4e96dc3862fd8af881b1340619583f42"


@given(st.binary(max_size=200), st.text(max_size=100).filter(str.isascii))
@example(b"k" * 100, "a")
def test_the_digest_is_a_keyed_one(key: bytes, text: str) -> None:
    """It is HMAC-SHA256 as the standard library computes it, so without the key no guess can be tested."""
    encoding = f"{{1:1:as{len(text)}:{text}".encode()
    assert digest_of({"a": text}, key=key) == hmac.new(key, encoding, hashlib.sha256).hexdigest()


def test_opaque_objects_are_told_apart_while_they_live_and_after() -> None:
    """An object that takes the address of a dead one does not take over its digest."""

    class Client:
        pass

    client = Client()
    assert digest(client) == digest(client) != digest(Client())
    assert len({digest(Client()) for _ in range(50)}) == 50


def test_classes_of_the_same_content_are_told_apart() -> None:
    """The class of a record counts."""
    assert len({digest(kind(x=1, y=2)) for kind in RECORDS}) == len(RECORDS)


def test_which_fields_of_a_pydantic_model_were_set_counts() -> None:
    """A partial update writes only those."""
    assert digest(Model(x=1)) != digest(Model(x=1, y=None))
    assert digest(Model(x=1, y=2)) != digest(Model(x=1, y=2, z=3))


def test_time_zones_with_the_same_offset_are_told_apart() -> None:
    """Two zones may agree today and differ tomorrow."""
    zones = [None, dt.UTC, dt.timezone(dt.timedelta(0), "UTC "), ZoneInfo("UTC"), ZoneInfo("Europe/London")]
    assert len({digest(dt.datetime(2026, 1, 1, tzinfo=zone)) for zone in zones}) == len(zones)
    assert len({digest(dt.time(1, tzinfo=zone)) for zone in zones}) == len(zones)


@pytest.mark.parametrize("name", [1, b"a", None, type("Text", (str,), {})("a")])
def test_argument_names_must_be_text(name: Any) -> None:
    """Exactly text: a subclass could lie about equality."""
    with pytest.raises(ValidationError, match="not text"):
        digest_of({name: 1}, key=KEY)


def test_integers_of_any_size() -> None:
    """Beyond what Python turns into decimal digits."""
    sizes = [0, 1, 63, 64, 65, 14_000, 15_000, 1_000_000]
    numbers = {sign * ((1 << size) + step) for size in sizes for step in (0, 1) for sign in (1, -1)}
    assert len({digest(number) for number in numbers}) == len(numbers)


def test_a_decimal_is_the_same_in_every_context() -> None:
    """The context of a thread decides how a decimal prints, not what it is."""
    with decimal.localcontext(decimal.Context(prec=1, capitals=0)):
        there = digest(decimal.Decimal("1.23E+500"))
    assert there == digest(decimal.Decimal("1.23E+500"))


class Handle(str):
    """Text that can carry more than its text."""


def test_what_a_subclass_adds_counts() -> None:
    """Attributes of an instance, and defaults of a defaultdict."""
    one, other = Handle("a"), Handle("a")
    assert digest(one) == digest(other)
    one.target, other.target = "/tmp", "/etc"  # type: ignore[attr-defined]
    assert len({digest("a"), digest(Handle("a")), digest(one), digest(other)}) == 4
    assert digest(collections.defaultdict(int)) != digest(collections.defaultdict(list))
    clock = time.gmtime(0)
    assert digest(clock) != digest(time.struct_time(tuple(clock)))
