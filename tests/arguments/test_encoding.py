"""The canonical encoding, byte by byte: what is written, what is charged against the limits, and what is seen of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Any

import pytest

from ascend_guard.arguments import _walk
from ascend_guard.arguments.canonical import _SHAPES, hide, join_order, visit
from ascend_guard.arguments.walk import Walk, where
from ascend_guard.errors import ValidationError
from ascend_guard.redaction import REDACTED, Redact


def walked(
    value: Any, *, limit: int = 10_000, depth: int = 9, redact: Iterable[str] = ()
) -> tuple[Walk, Any]:
    """The state of a walk over one value, and the value's plain view."""
    walk = _walk(frozenset(redact), limit, depth)
    return walk, visit(walk, value, None, 1)


BIG, SMALL = 1 << 63, -(1 << 63) - 1

# Value, encoding, plain view, bytes charged, containers it needs.
SCALARS: list[tuple[Any, str, Any, int, int]] = [
    (None, "n", None, 0, 0),
    (True, "t", True, 0, 0),
    (False, "f", False, 0, 0),
    (0, "i0;", 0, 0, 0),
    (-1, "i-1;", -1, 0, 0),
    (BIG - 1, "i9223372036854775807;", BIG - 1, 0, 0),
    (BIG, "I8000000000000000;", {"$integer": "9223372036854775808"}, 16, 1),
    (SMALL + 1, "i-9223372036854775808;", SMALL + 1, 0, 0),
    (SMALL, "I-8000000000000001;", {"$integer": "-9223372036854775809"}, 16, 1),
    (1.5, "d3ff8000000000000", 1.5, 0, 0),
    (float("inf"), "d7ff0000000000000", {"$float": "inf"}, 0, 1),
    (1 + 2j, "j3ff00000000000004000000000000000", {"$complex": "(1+2j)"}, 0, 1),
    ("ab", "s2:ab", "ab", 2, 0),
    ("é", "s1:é", "é", 1, 0),
    ("\ud800", "s1:\ud800", {"$text": "\\ud800"}, 1, 1),
    (b"ab", "b4:YWI=", {"$bytes": "YWI="}, 2, 1),
    (bytearray(b"ab"), "B4:YWI=", {"$bytes": "YWI="}, 2, 1),
    (memoryview(b"ab"), "v1:B18:((2,), (1,), True)b4:YWI=", {"$bytes": "YWI="}, 2, 1),
]
CONTAINERS: list[tuple[Any, str, Any, int, int]] = [
    ([], "l0:", [], 3, 1),
    ([1, "a", None, [2]], "l4:i1;s1:anl1:i2;", [1, "a", None, [2]], 12, 2),
    ([BIG], "l1:I8000000000000000;", [{"$integer": "9223372036854775808"}], 20, 2),
    ([SMALL + 1, BIG - 1], f"l2:i{SMALL + 1};i{BIG - 1};", [SMALL + 1, BIG - 1], 5, 1),
    ((1, "é"), "u2:i1;s1:é", [1, "é"], 6, 1),
    (({},), "u1:{0:", [{}], 7, 2),
    ({2, 1}, "e2:i1;i2;", [1, 2], 5, 1),
    ({(1,)}, "e1:u1:i1;", [[1]], 8, 2),
    (frozenset(("b", "a")), "z2:s1:as1:b", ["a", "b"], 7, 1),
    ({}, "{0:", {}, 3, 1),
    (
        {"a": "x", "b": 1, "c": None, "d": True, "e": 1.5, "f": [1], "g": False, "h": BIG},
        "{8:1:as1:x1:bi1;1:cn1:dt1:ed3ff80000000000001:fl1:i1;1:gf1:hI8000000000000000;",
        {
            "a": "x",
            "b": 1,
            "c": None,
            "d": True,
            "e": 1.5,
            "f": [1],
            "g": False,
            "h": {"$integer": "9223372036854775808"},
        },
        3 + 16 + 16 + 1 + 4 + 16,
        2,
    ),
    ({"a": BIG - 1}, f"{{1:1:ai{BIG - 1};", {"a": BIG - 1}, 7, 1),
    ({"a": SMALL + 1}, f"{{1:1:ai{SMALL + 1};", {"a": SMALL + 1}, 7, 1),
    ({"$x": 1}, "{1:2:$xi1;", {"$x": 1}, 8, 1),
    ({"é": 1}, "{1:1:éi1;", {"é": 1}, 7, 1),
    ({1: 2, "a": 3}, "m2:i1;i2;s1:ai3;", {"$map": [[1, 2], ["a", 3]]}, 8, 3),
    ({1: []}, "m1:i1;l0:", {"$map": [[1, []]]}, 8, 4),
    ({(): 1}, "m1:u0:i1;", {"$map": [[[], 1]]}, 8, 4),
    ({"password": "p", "n": 5}, "{2:1:ni5;8:passwords1:p", {"password": REDACTED, "n": 5}, 19, 1),
    ({b"token": "t"}, "m1:b8:dG9rZW4=s1:t", {"$map": [[{"$bytes": "dG9rZW4="}, REDACTED]]}, 11, 4),
    ({"password": [1]}, "{1:8:passwordl1:i1;", {"password": REDACTED}, 18, 2),
    ({"token": [1], 5: 2}, "m2:i5;i2;s5:tokenl1:i1;", {"$map": [["token", REDACTED], [5, 2]]}, 16, 4),
]


UNUSUAL: list[tuple[Any, str, Any, int, int]] = [
    ({"$bytes": 1}, "m1:s6:$bytesi1;", {"$map": [["$bytes", 1]]}, 11, 3),
    ({"\ud800": 1}, "m1:s1:\ud800i1;", {"$map": [[{"$text": "\\ud800"}, 1]]}, 6, 4),
]
"""Names that JSON cannot say, or that mean something in a view. They must fit before the keys are read one by one."""


@pytest.mark.parametrize(("value", "code", "view", "charged", "deep"), UNUSUAL)
def test_a_dict_with_unusual_names_is_written_as_pairs(
    value: Any, code: str, view: Any, charged: int, deep: int
) -> None:
    """Its names are looked at twice, and charged once."""
    walk, shown = walked(value)
    assert ("".join(walk.out), shown, walk.limit - walk.left) == (code, view, charged)
    assert walked(value, limit=charged + 1, depth=deep)[1] == view
    with pytest.raises(ValidationError, match="are larger than"):
        walked(value, limit=charged)
    with pytest.raises(ValidationError, match="containers"):
        walked(value, depth=deep - 1)


@pytest.mark.parametrize(("value", "code", "view", "charged", "deep"), SCALARS + CONTAINERS)
def test_a_value_is_written_shown_and_charged_like_this(
    value: Any, code: str, view: Any, charged: int, deep: int
) -> None:
    """Exactly; one byte or one container less than it needs, and it is refused."""
    walk, shown = walked(value)
    assert "".join(walk.out) == code
    assert shown == view
    assert type(shown) is type(view)
    assert walk.limit - walk.left == charged
    assert walk.opaque == []
    assert walked(value, limit=charged, depth=deep)[1] == view
    if charged:
        with pytest.raises(ValidationError, match="are larger than"):
            walked(value, limit=charged - 1)
    if deep:
        with pytest.raises(ValidationError, match="containers"):
            walked(value, depth=deep - 1)


@pytest.mark.parametrize(
    "wrap", [lambda value: [value], lambda value: {"k": value}, lambda value: {5: value}]
)
@pytest.mark.parametrize(("value", "code", "view", "charged", "deep"), SCALARS + CONTAINERS)
def test_a_value_inside_is_written_as_outside(
    wrap: Any, value: Any, code: str, view: Any, charged: int, deep: int
) -> None:
    """Common values inside of lists and dicts are read in place; it makes no difference."""
    walk, shown = walked(wrap(value))
    head = {list: "l1:", dict: "{1:1:k"}[type(wrap(0))] if 5 not in wrap(0) else "m1:i5;"
    assert "".join(walk.out) == head + code
    empty = walked(wrap(None))[0]
    assert empty.left - walk.left == charged
    where = {"l": [view], "{": {"k": view}, "m": {"$map": [[5, view]]}}[head[0]]
    assert shown == where
    used = walk.limit - walk.left
    with pytest.raises(ValidationError, match="are larger than"):
        walked(wrap(value), limit=used - 1)
    assert walked(wrap(value), limit=used)[0].left == 0


@pytest.mark.parametrize(
    ("value", "order"),
    [
        ({"a": 1, "b": 2}, [""]),
        ({"b": 1, "a": 2}, ["('b', 'a')"]),
        ({"b": {"d": 1, "c": 2}, "a": 0}, ["('b', 'a')", "('d', 'c')"]),
        ({"z": 1, 5: 2}, ["[1, 0]"]),
        ({5: 2, "z": 1}, [""]),
        ({5: {"b": 1, "a": 2}, 4: 1}, ["[1, 0]&1:110:('b', 'a')"]),
        ({4: 1, 5: {"b": 1, "a": 2}}, ["&1:110:('b', 'a')"]),
        ({2, 1}, [""]),
        (frozenset((1, (2,))), [""]),
        ([{"b": 1, "a": 2}, {"a": 1}], ["('b', 'a')", ""]),
    ],
)
def test_the_order_of_a_mapping_is_kept_beside(value: Any, order: list[str]) -> None:
    """One line for each mapping and set, empty where it is the sorted order."""
    walk, _ = walked(value)
    assert walk.order == order
    assert join_order(walk.order) == ("\n".join(order) if any(order) else "")


class Keyed(dict):  # type: ignore[type-arg]  # of anything
    """A dict that can be a member of a set, where it lies in the order of insertion."""

    __hash__ = lambda self: 1  # type: ignore[assignment]  # so that it can be a member
    __eq__ = object.__eq__


def test_the_order_inside_of_a_set_is_that_of_its_member() -> None:
    """Members go in the order of their encodings, each with its own stream."""
    one = Keyed({"b": 1, "a": 2})
    walk, _ = walked({one, 5})
    assert len(walk.order) == 1
    assert "('b', 'a')" in walk.order[0]
    assert walk.order[0].startswith("&1:")


def test_members_that_differ_in_their_order_alone_go_in_one_order() -> None:
    """However the set iterates, it is written in the same way."""
    one, other = Keyed({"a": 1, "b": 2}), Keyed({"b": 2, "a": 1})
    assert next(iter({one, other})) is one
    assert next(iter({other, one})) is other
    first, second = walked({one, other})[0], walked({other, one})[0]
    assert first.out == second.out
    assert first.order == second.order
    assert walked({one, Keyed(one)})[1] == [one, one]


def test_keys_with_one_encoding_go_in_the_order_of_their_values() -> None:
    """The same call, whichever came first; which one did is kept beside."""
    one, other = float("nan"), float("nan")
    in_order, turned = walked({one: 1, other: 2})[0], walked({one: 2, other: 1})[0]
    assert "".join(in_order.out) == "".join(turned.out) == "m2:d7ff8000000000000i1;d7ff8000000000000i2;"
    assert (in_order.order, turned.order) == ([""], ["[1, 0]"])
    same = {one: {"a": 1}, other: {"a": 1}}
    assert walked(same)[1] == {"$map": [[{"$float": "nan"}, {"a": 1}]] * 2}


def test_a_value_that_cannot_be_seen_is_named_by_its_key() -> None:
    """By a text or a number; not by a key that is neither."""
    thing = iter(())
    walk, _ = walked({5: thing, "a": [thing], (): thing})
    assert [where(path) for path in walk.opaque] == ["[5]", "a[0]", "[...]"]


@pytest.mark.parametrize(
    ("value", "mutable"),
    [
        (b"a", False),
        ((1, "a"), False),
        (frozenset((1,)), False),
        (bytearray(b"a"), True),
        (memoryview(b"a"), True),
        ([], True),
        ({}, True),
        (set(), True),
        (([],), True),
        (frozenset(((),)), False),
    ],
)
def test_what_can_change_is_known(value: Any, mutable: bool) -> None:
    """At any depth."""
    assert walked(value)[0].mutable is mutable


@pytest.mark.parametrize(("bits", "shown"), [(1989, str), (1990, hex), (1991, hex)])
def test_an_integer_of_many_digits_is_shown_in_hexadecimal(bits: int, shown: Any) -> None:
    """Below every limit that an interpreter can have for decimal ones."""
    value = 1 << (bits - 1)
    walk, view = walked(value)
    assert view == {"$integer": shown(value)}
    assert "".join(walk.out) == f"I{value:x};"
    assert walk.limit - walk.left == bits >> 2


def test_a_view_of_memory_is_charged_before_it_is_copied() -> None:
    """By all its bytes, and written with its shape."""
    matrix = memoryview(bytearray(12)).cast("i")
    walk, _ = walked(matrix)
    assert "".join(walk.out).startswith("v1:i19:((3,), (4,), False)b16:")
    assert walk.limit - walk.left == 12
    with pytest.raises(ValidationError, match="are larger than"):
        walked(matrix, limit=11)


SECRETS: list[tuple[Any, list[str]]] = [
    ("p", ["p", "p"]),
    (5, ["5"]),
    (1.5, ["1.5"]),
    (None, []),
    (True, []),
    (b"ab", ["ab", "YWI="]),
    (b"\xff", ["\\xff", "/w=="]),
    ([1, ["x"]], ["1", "x"]),
    ({"name": "x"}, ["x"]),
    ({"a b": 1}, ["1", "a b"]),
    ({"a1": 1}, ["1", "a1"]),
    ({"a" * 24: 1}, ["1"]),
    ({"a" * 25: 1}, ["1", "a" * 25]),
    ({"password": "x"}, ["x", "x"]),
    (float("inf"), []),
    (BIG, ["9223372036854775808"]),
    ({5: "x"}, ["5", "x"]),
]


@pytest.mark.parametrize(("value", "texts"), SECRETS)
def test_the_texts_of_a_secret_are_kept_for_scrubbing(value: Any, texts: list[str]) -> None:
    """Every text and number in it, and keys that are no mere names."""
    walk = _walk(frozenset(), 10_000, 9)
    assert hide(walk, value, None, 1) is REDACTED
    assert walk.secrets == texts
    assert "".join(walk.out) == "".join(walked(value)[0].out)


@pytest.mark.parametrize("wrap", [lambda inner: inner, lambda inner: {5: 1, **inner}])
@pytest.mark.parametrize(
    ("redact", "value", "hidden"),
    [
        (["card"], {"card": 1}, ["card"]),
        (["card"], {"cards": 1}, []),
        (["card.number"], {"number": 1}, []),
        ([], {"card": 1, "password": 2}, ["password"]),
    ],
)
def test_names_to_redact_count_in_their_place(wrap: Any, redact: list[str], value: Any, hidden: Any) -> None:
    """In a dict that JSON can say and in one that it cannot."""
    _, view = walked(wrap(value), redact=redact)
    found = dict(map(tuple, view["$map"])) if "$map" in view else view
    assert [name for name, item in found.items() if item == REDACTED] == hidden


def test_one_place_of_a_name_is_redacted_alone() -> None:
    """Also where the dict has keys that are no text."""
    for extra in ({}, {5: 1}):
        card = {"number": 1, **extra}
        _, view = walked({"card": card, "number": 2}, redact=["card.number"])
        inner = view["card"]
        found = dict(map(tuple, inner["$map"])) if extra else inner
        assert found["number"] == REDACTED
        assert view["number"] == 2


@dataclasses.dataclass
class Card:
    """A class that says itself what is secret."""

    number: Annotated[int, Redact]


def test_what_a_class_redacts_is_redacted_everywhere() -> None:
    """Also where the same name is to be redacted in another place only."""
    _, view = walked({"other": Card(1), "number": 2}, redact=["card.number"])
    assert view == {"other": {"number": REDACTED}, "number": 2}


def test_what_is_kept_of_names_fills_no_memory() -> None:
    """Neither many dicts nor long names of an agent's data stay."""
    _SHAPES.clear()
    walked({"x" * 511: 1})
    assert len(_SHAPES) == 1
    walked({"x" * 512: 1})
    assert len(_SHAPES) == 1
    for number in range(1023):
        walked({f"n{number}": 1})
    assert len(_SHAPES) == 1024
    walked({"one more": 1})
    assert list(_SHAPES) == [("one more",)]


def test_names_that_are_too_long_are_refused_before_anything_is_made_of_them() -> None:
    """By what the limit has left."""
    _SHAPES.clear()
    with pytest.raises(ValidationError, match="are larger than"):
        walked({"x" * 50: 1}, limit=55)
    assert not _SHAPES or ("x" * 50,) in _SHAPES
    assert walked({"x" * 50: 1}, limit=56)[0].left == 0
