"""An edited call of every callable shape: types come from the code that runs, and a class of the caller's own is kept."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import typing
from collections import Counter, UserDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard import ActionPendingError, EmbeddedControlPlane, ValidationError, governed
from ascend_guard.arguments import normalise
from ascend_guard.callables.type_hints import undeclared
from ascend_guard.edits import converted
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore

if TYPE_CHECKING:
    from sqlite3 import Connection as Session

ASK = "version: 1\nrules:\n  - {name: ask, actions: [ask], effect: require_approval, timeout: 30m}\n"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[EmbeddedControlPlane]:
    plane = EmbeddedControlPlane(
        SQLiteStore(tmp_path / "a.db", durability="process"), parse_policy(ASK), agent_id="a"
    )
    yield plane
    plane.close()


def edited(plane: EmbeddedControlPlane, call: Callable[[], Any], **values: Any) -> Any:
    """The result of a call whose approver edited it."""
    with pytest.raises(ActionPendingError) as held:
        call()
    assert held.value.action_id is not None
    plane.approve(held.value.action_id, approver="p", arguments=values)
    return call()


def ask(plane: EmbeddedControlPlane, **declared: Any) -> Callable[[Any], Any]:
    return governed("ask", "tool", on_pending="raise", control_plane=plane, **declared)


class Keywords(TypedDict):
    amount: float


def test_the_types_are_those_of_the_overload_that_runs(plane: EmbeddedControlPlane) -> None:
    """An overload of ``singledispatch`` declares its own; an edit cannot bring a value of another overload's type to it."""

    @functools.singledispatch
    def tool(x: object, amount: float = 1.0) -> tuple[Any, ...]:
        return "base", x, amount

    @tool.register(int)
    def _(x: Any, amount: Decimal = Decimal("40.5")) -> tuple[Any, ...]:
        return "int", x, amount

    @tool.register(list)
    def _(x: int | list[int], amount: Decimal = Decimal(1)) -> tuple[Any, ...]:
        return "list", x, amount

    guarded = ask(plane)(tool)
    assert edited(plane, lambda: guarded(1), amount=2.5) == ("int", 1, Decimal("2.5"))
    assert type(edited(plane, lambda: guarded(1), amount=3)[2]) is Decimal
    assert edited(plane, lambda: guarded("a"), amount=3) == ("base", "a", 3.0)
    assert edited(plane, lambda: guarded([1]), x=[2]) == ("list", [2], Decimal(1))
    with pytest.raises(ValidationError, match="overload"):
        edited(plane, lambda: guarded([3]), x=4)
    with pytest.raises(ValidationError, match="an integer"):
        edited(plane, lambda: guarded(5), x="text")


def test_one_annotation_that_cannot_be_resolved_takes_no_other_along(plane: EmbeddedControlPlane) -> None:
    """A context that is imported for type checkers only is excluded; the other types still count, in closures too."""

    class Local(enum.Enum):
        A = "a"
        B = "b"

    @ask(plane, exclude=("session",))
    def tool(session: Session, amount: float, which: Local | None = None) -> Any:
        return session, amount, Local(which) if which else None

    assert edited(plane, lambda: tool("S", 5), amount=5.5) == ("S", 5.5, None)
    assert edited(plane, lambda: tool("S", 6), which="b") == ("S", 6, Local.B)


def test_keywords_declared_by_a_typed_dict(plane: EmbeddedControlPlane) -> None:
    """``**kwargs: Unpack[...]`` declares each keyword's type."""

    @ask(plane)
    def tool(**more: Unpack[Keywords]) -> Any:
        return more

    assert edited(plane, lambda: tool(amount=5), amount=5.5) == {"amount": 5.5}


# --- the caller's own classes ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Event:
    n: int


class Refund(Event):
    pass


class Charge(Event):
    pass


class Money(float):
    pass


class Names(list[Any]):
    pass


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Patch(pydantic.BaseModel):
    a: int = 1
    b: int | None = None


def convert(hint: Any, own: Any, edit: Any) -> Any:
    seen = normalise({"x": own}, key=b"").plain
    return converted({"x": edit}, {"x": own}, seen, undeclared if hint is None else lambda _: hint)["x"]


@pytest.mark.parametrize(
    ("hint", "own", "edit"),
    [
        (Event, Refund(1), {"n": 2}),
        (Event | None, Refund(1), {"n": 2}),
        (Sequence[Event], (Refund(1),), [{"n": 2}]),
        (set[Event], {Refund(1)}, [{"n": 2}]),
        (Mapping[str, Event], {"a": Refund(1)}, {"a": {"n": 2}}),
        (float, Money(1.5), 2.5),
        (float | None, Money(1.5), 2.5),
        (list[Decimal], Names(), ["1.5"]),
        (str, Colour.RED, "blue"),
        (dt.date, dt.datetime(2026, 1, 1, 5, tzinfo=dt.UTC), "2026-01-02T05:00:00+00:00"),
        (Iterable[int], deque([1], 3), [2]),
    ],
)
def test_a_derived_class_stays(hint: Any, own: Any, edit: Any) -> None:
    """Tools ask which class an argument has; an edit of what it holds must not change that."""

    def kinds(value: Any) -> Any:
        inner = value.values() if isinstance(value, dict) else value
        return type(value), {type(each) for each in inner} if isinstance(own, tuple | set | dict) else None

    made = convert(hint, own, edit)
    assert kinds(made) == kinds(own)
    assert made != own


def test_what_holds_more_than_is_shown_cannot_be_edited() -> None:
    """An attribute beside the value, private attributes, values that only look like JSON: refused, never dropped."""
    money = Money(5)
    money.currency = "EUR"  # type: ignore[attr-defined]
    for hint, own, edit in (
        (None, money, 6.0),
        (float, money, 6.0),
        (str, Colour.RED, "green"),
        (Mapping[str, int], UserDict(a=1), {"a": 2}),
        (Sequence[int], range(3), [1, 2]),
        (None, range(3), {"start": 0, "stop": 9, "step": 1}),
    ):
        with pytest.raises(ValidationError, match="must be"):
            convert(hint, own, edit)


def test_a_partial_update_stays_partial() -> None:
    """Which fields of a pydantic model were set is what a partial update writes."""
    made = convert(Patch, Patch(a=5), {"a": 6, "b": None})
    assert made.model_dump(exclude_unset=True) == {"a": 6}
    assert convert(Patch, Patch(), {"a": 1, "b": 2}).model_dump(exclude_unset=True) == {"b": 2}


def test_an_item_that_is_left_stays_what_it_was() -> None:
    """Whatever an approver takes out of a collection, the rest are the caller's own objects."""
    taken: Counter[bool] = Counter()
    items = st.lists(
        st.tuples(st.sampled_from([Refund, Charge, Event]), st.integers(0, 30)),
        unique_by=lambda item: item[1],
    )

    @given(
        made=items,
        whole=st.booleans(),
        keep=st.lists(st.booleans(), min_size=30, max_size=30),
        kind=st.sampled_from([list, tuple, deque, set, frozenset]),
        declared=st.booleans(),
    )
    def take_out(made: list[Any], whole: bool, keep: list[bool], kind: Any, declared: bool) -> None:
        own = kind([each(number) for each, number in made])
        shown = normalise({"x": own}, key=b"").plain["x"]
        edit = [item for item, kept in zip(shown, keep, strict=False) if kept or whole]
        hint = None if not declared else (tuple[Event, ...] if kind is tuple else kind[Event])
        left = convert(hint, own, edit)
        by_number = {each.n: each for each in own}
        assert {each.n for each in left} == {each["n"] for each in edit}
        assert all(each is by_number[each.n] for each in left)
        taken[len(edit) < len(own)] += 1

    take_out()
    assert min(taken[False], taken[True]) > 5


def test_a_changed_item_among_several_classes_needs_its_place() -> None:
    """With items added or taken out, which class a changed one is to have cannot be told."""
    own = [Refund(1), Charge(2)]
    assert convert(list[Event], own, [{"n": 1}, {"n": 9}]) == [Refund(1), Charge(9)]
    for hint in (list[Event], None):
        for edit in ([{"n": 9}], [{"n": 1}, {"n": 2}, {"n": 3}]):
            with pytest.raises(ValidationError, match="same length"):
                convert(hint, own, edit)
    assert convert(list[int | str], [1, "a"], [1, "a", "b"]) == [1, "a", "b"]
    assert convert(typing.Any, [1, 2], [1, 2, 3]) == [1, 2, 3]


def test_a_zero_keeps_the_sign_an_approver_writes() -> None:
    """Equal numbers that a tool can tell apart are an edit."""
    assert str(convert(float, -0.0, 0.0)) == "0.0"
    assert str(convert(None, 0.0, -0.0)) == "-0.0"


def test_excluded_keywords_keep_their_place(plane: EmbeddedControlPlane) -> None:
    """A tool sees the order of its keywords; an edit of another one leaves it as the caller wrote it."""

    @ask(plane, exclude=("session",))
    def tool(**more: Any) -> Any:
        return list(more.items())

    ran = edited(plane, lambda: tool(b=1, session="S", a=2), a=3)
    assert ran == [("b", 1), ("session", "S"), ("a", 3)]
