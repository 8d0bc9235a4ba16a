"""Whatever is changed in a value is noticed, or the value is said to be opaque; and reading has no effects."""

from __future__ import annotations

import array
import collections
import ctypes
import functools
import io
import itertools
import random
import socket
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest
from argument_changes import (
    NOTICED,
    OPAQUE,
    PARTLY,
    READ,
    WRAPS,
    Case,
    Locked,
    Node,
    Plain,
    Record,
    Slotted,
    corpus,
    nested,
)
from argument_values import KEY
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.arguments import Arguments, digest_of, normalise
from ascend_guard.arguments.objects import name_of
from ascend_guard.errors import ValidationError


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """A coroutine that is never awaited, or a file that is not closed, is what these tests are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read(value: Any) -> Arguments:
    return normalise({"value": value}, key=KEY)


def digest(value: Any) -> str:
    return digest_of({"value": value}, key=KEY)


def test_the_corpus_is_large() -> None:
    """At least 200 nested values of at least 60 types that are read, and at least 20 that are not."""
    values = corpus(NOTICED)
    assert len(values) >= 200
    # By name, because some cases make a class of their own each time.
    assert len({name_of(type(case.make())) for case, _ in values}) >= 60
    assert len({name_of(type(case.make())) for case in OPAQUE}) >= 20
    assert {wrap for _, wraps in values for wrap in wraps} == {*WRAPS}


@pytest.mark.parametrize("case", NOTICED, ids=lambda case: case.name)
def test_a_change_of_any_kind_is_noticed_in_any_nesting(case: Case) -> None:
    """The digest differs afterwards, before it was stable, and a value that can change says that it can."""
    for _, wraps in corpus([case]):
        value = case.make()
        whole = nested(value, wraps)
        before = read(whole)
        assert before.mutable
        assert before.digest == digest(whole), wraps
        case.change(value)
        assert digest(whole) != before.digest, wraps


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_what_is_read_is_not_opaque(case: Case) -> None:
    """But for functions inside it."""
    value = case.make()
    assert set(read(value).opaque) <= {"value.func", "value.then"}


@given(
    case=st.sampled_from(NOTICED),
    wraps=st.lists(st.sampled_from([*WRAPS]), max_size=6).map(tuple),
    others=st.lists(st.sampled_from(READ), max_size=3),
)
def test_a_change_is_noticed_among_others(case: Case, wraps: tuple[str, ...], others: list[Case]) -> None:
    """In any nesting, beside values of any kind."""
    value = case.make()
    whole = [*(other.make() for other in others), nested(value, wraps)]
    before = digest(whole)
    assert digest(whole) == before
    case.change(value)
    assert digest(whole) != before


@pytest.mark.parametrize("case", OPAQUE, ids=lambda case: case.name)
def test_what_cannot_be_read_is_said_to_be_opaque(case: Case) -> None:
    """In any nesting; it is told apart from every other one, and a change of it is no change of the arguments."""
    for _, wraps in corpus([case]):
        value = case.make()
        whole = nested(value, wraps)
        before = read(whole)
        assert before.opaque
        assert before.mutable
        assert digest(nested(case.make(), wraps)) != before.digest
        case.change(value)
        assert digest(whole) == before.digest, wraps


@pytest.mark.parametrize("case", PARTLY, ids=lambda case: case.name)
def test_what_is_not_shown_is_opaque(case: Case) -> None:
    """Although its digest counts it."""
    value = case.make()
    case.change(value)
    assert read(value).opaque


def test_reading_moves_nothing() -> None:
    """Not the position of a file in memory, nor an iterator, nor the members a flag is asked for."""
    text, content, items = io.StringIO("one\r\ntwo", newline=""), io.BytesIO(b"one"), iter([1, 2])
    text.readline()
    content.read(2)
    queue = collections.deque([1, 2], 2)
    instance = Plain(collections.OrderedDict(b=1, a=2))
    before = text.tell(), content.tell(), vars(instance).copy(), list(instance.amount)
    read([text, content, items, queue, instance])
    assert (text.tell(), content.tell(), vars(instance), list(instance.amount)) == before
    assert (text.read(), content.read(), next(items), [*queue]) == ("two", b"e", 1, [1, 2])
    content.write(b"more")  # nothing holds its buffer


def _bomb(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("code of a hostile class ran")


_METHODS = (
    *(
        "__repr__",
        "__str__",
        "__eq__",
        "__ne__",
        "__lt__",
        "__hash__",
        "__bool__",
        "__iter__",
        "__next__",
        "__len__",
    ),
    *(
        "__contains__",
        "__getitem__",
        "__getattr__",
        "__getattribute__",
        "__copy__",
        "__deepcopy__",
        "__reduce__",
    ),
    *(
        "__reduce_ex__",
        "__getstate__",
        "__sizeof__",
        "__length_hint__",
        "__reversed__",
        "__call__",
        "__dir__",
    ),
    *("items", "keys", "values", "copy", "get", "getvalue", "tell", "read", "seek", "tobytes", "tolist"),
)


def hostile(base: type, *args: Any) -> Any:
    """An instance of a subclass whose every method raises from now on."""

    class Evil(base):  # type: ignore[misc]
        pass

    made = Evil(*args)
    for name in _METHODS:
        setattr(Evil, name, _bomb)
    return made


@pytest.mark.parametrize(
    ("base", "args", "shown"),
    [
        (Plain, (1,), {"amount": 1, "_note": None}),
        (Slotted, (1,), {"amount": 1}),
        (collections.deque, ([1],), [1]),
        (collections.OrderedDict, ({"a": 1},), {"a": 1}),
        (collections.defaultdict, (list, {"a": 1}), {"a": 1}),
        (collections.UserDict, ({"a": 1},), {"a": 1}),
        (collections.UserList, ([1],), [1]),
        (collections.UserString, ("a",), "a"),
        (collections.ChainMap, ({"a": 1},), {"a": 1}),
        (types.SimpleNamespace, (), {}),
        (array.array, ("i", [1]), [1]),
        (io.StringIO, ("a",), "a"),
        (io.BytesIO, (b"a",), {"$bytes": "YQ=="}),
        (functools.partial, (int, 1), {"func": {"$opaque": "builtins.type"}, "args": [1], "keywords": {}}),
        (ValueError, ("a",), {"args": ["a"]}),
        (Fraction, (1, 2), 0.5),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)  # fmt: skip
def test_no_code_of_a_hostile_class_runs(base: type, args: tuple[Any, ...], shown: Any) -> None:
    """Nothing raises, nothing lies, and behind a proxy or a view neither."""
    value = hostile(base, *args)
    assert read(value).plain == {"value": shown}
    assert digest(value) == digest(value)
    if issubclass(base, collections.OrderedDict | collections.UserDict | Plain):
        with_mapping = types.MappingProxyType(value) if base is not Plain else [value]
        assert read(with_mapping).plain["value"] in (shown, [shown])
    if issubclass(base, dict):
        assert read(dict.values(value)).plain == {"value": [1]}


def test_keys_of_an_ordered_dict_are_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its iterator would; such a dict is read, and its own order is said to be unseen."""

    class Key:
        def __hash__(self) -> int:
            return 1

    value = collections.OrderedDict({Key(): 1})
    monkeypatch.setattr(Key, "__hash__", _bomb)
    assert read(value).opaque == ("value", "value[...]")


class Tree:
    def __init__(self, depth: int) -> None:
        self.child = Tree(depth - 1) if depth else None


class Deep:
    def __init__(self, content: Any) -> None:
        self.a = types.SimpleNamespace(b=[{"c": content}])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Deep(open(__file__, encoding="utf-8")),  # noqa: SIM115
        lambda: Deep(Node()),
        lambda: Deep(socket.socket()),
        lambda: Plain(Plain(Plain(Locked()))),
        lambda: Plain([Plain({1: (each for each in [])})]),
        lambda: Tree(200),
        lambda: Plain([0] * (1 << 22)),
        lambda: Plain({str(each): each for each in range(100_000)}),
        lambda: Plain([0.5] * 50_000),
    ],
    ids=["file", "cycle", "socket", "lock", "generator", "deep", "long", "wide", "of floats"],
)
def test_an_instance_that_cannot_be_read_in_full_is_opaque_as_a_whole(make: Callable[[], Any]) -> None:
    """It says nothing about what it holds, takes none of the limit, and everything beside it is read."""
    value = make()
    arguments = read([1, value, {"b": 2}])
    assert arguments.opaque == ("value[1]",)
    assert arguments.plain["value"][::2] == [1, {"b": 2}]
    assert [*arguments.plain["value"][1]] == ["$opaque"]
    assert arguments.secrets == ()
    assert normalise({"value": [value] * 20 + ["x" * 500_000]}, key=KEY).opaque
    aside = {Plain(1): value, 2: {value, Plain(Slotted({"a": 1}))}}
    assert digest(aside) == digest(aside)


def test_many_instances_that_cannot_be_read_do_not_take_for_ever() -> None:
    """What is read in vain counts against the limit, so a list of ten thousand of them is refused."""
    index = [[0] * 100] * 1200
    opaque = read([Plain(index) for _ in range(3)]).opaque
    assert opaque == ("value[0]", "value[1]", "value[2]")
    with pytest.raises(ValidationError, match="larger than"):
        read([Plain(index) for _ in range(10_000)])


def test_what_an_ordered_dict_does_not_show_is_read() -> None:
    """An entry made behind its back is found by name, so it counts; one removed so is refused."""
    value = collections.OrderedDict(b=1, a=2)
    before = digest(value)
    dict.__setitem__(value, "c", 3)
    assert read(value).plain["value"] == {"b": 1, "a": 2, "c": 3}
    assert digest(value) != before
    dict.__delitem__(value, "b")
    with pytest.raises(ValidationError, match="changed while it was read"):
        read(value)


def test_padding_hides_no_instance() -> None:
    """Arguments that are large beside an instance are refused; the instance does not become opaque."""
    passed = refused = 0
    for size in range((1 << 20) - 1000, (1 << 20) + 100, 7):
        try:
            arguments = normalise({"a": "x" * size, "value": Plain(1)}, key=KEY)
        except ValidationError:
            refused += 1
        else:
            passed += not arguments.opaque
    assert passed
    assert refused
    assert passed + refused == len(range((1 << 20) - 1000, (1 << 20) + 100, 7))


def test_shared_parts_are_read_each_time() -> None:
    """Only what contains itself is a cycle."""
    shared = Plain([1])
    arguments = read(Plain(shared, [shared, shared]))
    assert arguments.opaque == ()
    assert arguments.plain["value"]["_note"] == [{"amount": [1], "_note": None}] * 2


def test_an_instance_that_changes_its_attributes_dict_is_read() -> None:
    """Whatever class the dict is of, and an attribute whose name is not text makes it opaque."""
    value = Plain(1)
    value.__dict__ = hostile(dict, {"amount": 5})
    assert read(value).plain["value"] == {"amount": 5}
    value.__dict__ = {1: 2}
    assert read(value).opaque == ("value",)
    assert read(Plain(value)).opaque == ("value",)


def test_hidden_fields_of_a_compiled_class_are_never_overlooked() -> None:
    """Where Python adds attributes to a compiled class, the room they take does not stand for what is hidden."""
    bases: list[Any] = [
        itertools.count,
        random.Random,
        socket.socket,
        threading.local,
        ctypes.c_int,
        zip,
        super,
        property,
    ]
    for base in bases:
        made = type("Own", (base,), {"__slots__": ("more",)})
        for kind in (type("Own", (base,), {}), made, type("Own", (made,), {})):
            value = kind.__new__(kind)
            kind.more = 1
            assert read(value).opaque == ("value",), base


def test_the_error_names_the_path_and_what_to_write() -> None:
    """Smaller, flatter, or left out."""
    record: Any = Record(1)
    record.x = [record]
    with pytest.raises(ValidationError, match=r"value\.x\[0\].*pass a flatter value.*exclude=\('value',\)"):
        read(record)
    with pytest.raises(ValidationError, match=r"value\.x.*pass a reference.*exclude=\('value',\)"):
        read(Record("x" * (1 << 21)))
