"""The digest tells apart whatever a tool could tell apart, and nothing else."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import hashlib
import hmac
import pickle
import random
import time
import types
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from argument_values import KEY, RECORDS, SCALARS, Model, Wire, arguments, essence, values
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worker import Worker

from ascend_guard.arguments import digest_of, normalise
from ascend_guard.errors import ValidationError

AROUND: dict[str, Callable[[Any], Any]] = {
    "list": lambda v: [1, v],
    "tuple": lambda v: (v,),
    "dict": lambda v: {"b": v, "a": 1},
    "other keys": lambda v: {2: v, 1: v},
    "secret": lambda v: {"password": v},
    "set": lambda v: {Boxed(v)},
    "key": lambda v: {Boxed(v): 1},
    "record": lambda v: Wire(v),
    "deque": lambda v: collections.deque([v]),
    "UserDict": lambda v: collections.UserDict(v=v),
    "proxy": lambda v: types.MappingProxyType({"v": v}),
    "OrderedDict": lambda v: collections.OrderedDict(v=v),
    "instance": lambda v: Boxed(v),
}
MORE = settings(max_examples=4 * settings().max_examples)


class Boxed:
    def __init__(self, value: Any) -> None:
        self.value = value


def digest(value: Any) -> str:
    return digest_of({"value": value}, key=KEY)


def identity(value: Any) -> str:
    return normalise({"value": value}, key=KEY).identity


@MORE
@given(values, values)
def test_different_values_have_different_digests_and_equal_ones_equal_digests(one: Any, other: Any) -> None:
    """Two values have the same digest exactly when no tool could tell them apart."""
    assert (digest(one) == digest(other)) == (essence(one) == essence(other))
    same = essence(one, ordered=False) == essence(other, ordered=False)
    assert (identity(one) == identity(other)) == same


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


@MORE
@given(
    st.dictionaries(st.text(max_size=3) | st.integers(), values, min_size=2, max_size=5),
    st.lists(st.sampled_from([*AROUND]), max_size=4),
    st.randoms(use_true_random=False),
)
def test_the_order_of_a_dict_counts_at_every_depth(
    content: dict[Any, Any], around: list[str], rng: random.Random
) -> None:
    """A dict in another order makes another digest, however deep it lies, and the same identity."""
    items = list(content.items())
    rng.shuffle(items)
    one, other = content, dict(items)
    for name in around:
        one, other = AROUND[name](one), AROUND[name](other)
    moved = items != list(content.items())
    assert (digest(one) != digest(other)) == moved
    assert identity(one) == identity(other)
    named = {str(key): value for key, value in content.items()}
    turned = dict(reversed(named.items()))
    assert (digest_of(named, key=KEY) != digest_of(turned, key=KEY)) == (len(named) > 1)
    assert normalise(named, key=KEY).identity == normalise(turned, key=KEY).identity


def test_the_identity_is_the_digest_when_every_dict_is_in_the_order_of_its_keys() -> None:
    """So recognising a call costs nothing more, and approvals of earlier releases are recognised."""
    named = {"a": {"x": 1, "y": [{"k": 1, "l": {}}]}, "b": {1: 2, 3: 4}, "c": {3, 1}}
    arguments = normalise(named, key=KEY)
    assert arguments.unordered is None
    assert arguments.identity == arguments.digest
    assert normalise({"b": 1, "a": 2}, key=KEY).identity == digest_of({"a": 2, "b": 1}, key=KEY)


def test_which_of_two_dicts_is_in_another_order_counts() -> None:
    """An order belongs to one dict, also among the members of a set and the keys of a dict, which have no place."""

    @dataclasses.dataclass(frozen=True, eq=False)
    class Key:
        name: str
        content: dict[str, int]

    ab, ba = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    pairs = [(ab, ab), (ab, ba), (ba, ab), (ba, ba)]
    makes: list[Callable[[Any, Any], Any]] = [
        lambda x, y: [x, y],
        lambda x, y: [[x], y],
        lambda x, y: {"x": x, "y": y},
        lambda x, y: {"y": x, "x": y},
        lambda x, y: {1: x, 2: y},
        lambda x, y: {Key("x", x): 1, Key("y", y): 2},
        lambda x, y: {Key("x", x), Key("y", y)},
        lambda x, y: frozenset((Key("x", x), Key("y", y))),
        lambda x, y: {"x": {1: {2: x}}, "y": {Key("z", y)}},
        lambda x, y: collections.deque([{"v": x}, types.SimpleNamespace(v=y)]),
    ]
    for make in makes:
        assert len({digest(make(*pair)) for pair in pairs}) == 4
        assert len({identity(make(*pair)) for pair in pairs}) == 1
        # Sets and dicts that are filled the other way round iterate in another order; members say which is which.
        assert digest({Key("x", ab), Key("y", ba)}) == digest({Key("y", ba), Key("x", ab)})


@given(st.permutations(["a", "password", "x y", "$bytes", "é"]))
def test_what_is_redacted_makes_no_difference_to_the_order(names: list[str]) -> None:
    """Redaction changes how a dict is read, not what its digest is."""
    named = {"value": [{name: {"b": 1, "a": {"d": 1, "c": 2}} for name in names}, {"b": 1, "a": 2}]}
    assert len({normalise(named, key=KEY, redact=frozenset(names[:n])).digest for n in range(5)}) == 1
    assert len({normalise(named, key=KEY, redact=frozenset(names[:n])).identity for n in range(5)}) == 1


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
    """Approvals outlive an upgrade: these were written down when the encoding, and the order in it, were made."""
    named = {"a": [None, True, 1, 1.5, "é", b"x"], "b": {"k": (1 << 70,), 3: {1, 2}}}
    assert (
        normalise(named, key=KEY).identity
        == "d03d20f66f3e9348af0cf434ab80779b23b7c39dcffae8d1536abf885b18234b"
    )
    assert digest_of(named, key=KEY) == "421a568137519ea742359a73cffcc5d857ba6d8fac05f98fa3783f05585fdaca"
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
