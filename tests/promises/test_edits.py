"""Promise 2 for edited arguments: what runs has the parameter's type, is what was judged, and is what the record says."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import inspect
import json
import os
import pathlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import asked_in, trail_of

from ascend_guard import (
    ActionPendingError,
    AscendError,
    AuthorizationDeniedError,
    EmbeddedControlPlane,
    ValidationError,
    governed,
    guard,
)
from ascend_guard.arguments import normalise
from ascend_guard.callables.type_hints import hints_of, undeclared
from ascend_guard.edits import converted
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore
from ascend_guard.testing import ScriptedControlPlane

POLICY = """
version: 1
default: deny
rules:
  - {name: never-vip, resources: ["orders/VIP-*"], effect: deny, reason: Not for VIPs.}
  - {name: ask, actions: [refund], effect: require_approval, timeout: 30m}
  - {name: two-for-b, actions: [refund], resources: ["orders/B-*"], effect: require_approval, quorum: 2}
"""


class Colour(enum.Enum):
    RED = "red"
    BLUE = Decimal("2.5")


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Order:
    number: int
    price: Decimal


@attrs.define
class Address:
    street: str
    _floor: int


class Model(pydantic.BaseModel):
    name: str
    at: dt.date = pydantic.Field(alias="when")


class Struct(msgspec.Struct):
    path: pathlib.Path


class Point(NamedTuple):
    x: float
    y: float


class Shape(TypedDict, total=False):
    sides: int


Account = NewType("Account", str)

DAY, NOON = dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
NONE = inspect.Parameter.empty

CASES: list[tuple[Any, Any, Any]] = [
    # annotation, the caller's value, an edit that fits
    (Decimal, Decimal("10.50"), "12.50"),
    (NONE, Decimal("10.50"), 12.5),
    (dt.date, DAY, "2026-02-01"),
    (NONE, DAY, "2026-02-01"),
    (dt.datetime, NOON, "2026-02-01T12:00:00+00:00"),
    (dt.time, dt.time(12), "13:30:00"),
    (dt.timedelta, dt.timedelta(seconds=90), 120),
    (uuid.UUID, uuid.UUID(int=1), str(uuid.UUID(int=2))),
    (pathlib.Path, pathlib.Path("/a"), "/b"),
    (NONE, pathlib.Path("/a"), "/b"),
    (Colour, Colour.RED, 2.5),
    (NONE, Colour.RED, "BLUE"),
    (Level, Level.LOW, 2),
    (bytes, b"a", {"$bytes": "AAAA"}),
    (bool, True, False),
    (int, 5, 6),
    (NONE, 2**70, {"$integer": str(2**71)}),
    (float, 1.5, 2),
    (NONE, 1.5, 2),
    (str, "a", "b"),
    (Account, Account("a"), "b"),
    (Literal["a", "b"], "a", "b"),
    (Decimal | float | None, Decimal("1.1"), 2.5),
    (dt.date | None, DAY, None),
    (Annotated[int, msgspec.Meta(ge=0)], 5, 0),
    (Annotated[int, pydantic.Field(gt=1)], 5, 2),
    (tuple[int, Decimal], (1, Decimal("2.5")), [2, 3.5]),
    (NONE, (1, 2), [1, 3]),
    (set[int], {1, 2}, [1, 1]),
    (frozenset[dt.date], frozenset([DAY]), ["2026-02-01"]),
    (list[Decimal], [Decimal("1.1")], [1.1, "2.2"]),
    (NONE, [DAY], ["2026-01-31", "2026-02-01"]),
    (dict[str, Decimal], {"a": Decimal("1.1")}, {"a": "2.20"}),
    (dict, {"a": DAY, "b": 1}, {"a": "2026-02-01", "b": 1}),
    (collections.OrderedDict[str, int], collections.OrderedDict(a=1), {"a": 2}),
    (Order, Order(1, Decimal("2.5")), {"number": 2, "price": "3.5"}),
    (NONE, Order(1, Decimal("2.5")), {"number": 2, "price": 2.5}),
    (list[Order], [Order(1, Decimal("2.5"))], [{"number": 1, "price": 9}]),
    (Address, Address("a", 1), {"street": "b", "_floor": 2}),
    (Model, Model(name="a", when=DAY), {"name": "b", "at": "2026-02-01"}),
    (Struct, Struct(pathlib.Path("a")), {"path": "b"}),
    (Point, Point(1.0, 2.0), {"x": 2, "y": 2.0}),
    (Shape, {"sides": 3}, {"sides": 4}),
]


def names(case: tuple[Any, Any, Any]) -> str:
    return f"{'unannotated' if case[0] is NONE else case[0]}-{type(case[1]).__name__}"


def tool_of(annotation: Any, ran: list[Any]) -> Callable[..., None]:
    def tool(x: Any) -> None:
        ran.append(x)

    tool.__annotations__ = {} if annotation is NONE else {"x": annotation}
    return tool


def edited(annotation: Any, given: Any, edit: Any) -> Any:
    seen = normalise({"x": given}, key=b"").plain
    return converted({"x": edit}, {"x": given}, seen, hints_of(tool_of(annotation, [])))["x"]


def same_kind(given: Any, ran: Any) -> bool:
    """An independent look at what ran: the caller's type, all the way down."""
    if type(ran) is not type(given):
        return False
    if dataclasses.is_dataclass(given):
        return all(same_kind(getattr(given, f.name), getattr(ran, f.name)) for f in dataclasses.fields(given))
    if isinstance(given, dict):
        return all(name not in given or same_kind(given[name], item) for name, item in ran.items())
    if isinstance(given, list):
        return not given or all(same_kind(given[0], item) for item in ran)
    if isinstance(given, tuple):
        return all(map(same_kind, given, ran))
    return True


@pytest.mark.parametrize("case", CASES, ids=names)
def test_a_valid_edit_keeps_the_type(case: tuple[Any, Any, Any]) -> None:
    """Whatever JSON cannot say comes back as the tool's own type, and says what the approver wrote."""
    annotation, given_value, edit = case
    ran = edited(annotation, given_value, edit)
    assert (edit is None and ran is None) or same_kind(given_value, ran)
    assert ran != given_value


@pytest.mark.parametrize("case", CASES, ids=names)
def test_what_was_left_as_it_was_is_the_callers_own(case: tuple[Any, Any, Any]) -> None:
    """An argument that is sent back as it was shown is the very object the caller passed."""
    annotation, given_value, _ = case
    assert edited(annotation, given_value, normalise({"x": given_value}, key=b"").plain["x"]) is given_value


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["zzz", "five", "", "2026-02-30", "1.5", "NaN", "a", "red", "AAAA"])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abxy"), inner, max_size=3),
    max_leaves=4,
)


def test_any_edit_runs_with_the_type_or_not_at_all() -> None:
    """A random edit of every kind of parameter: of the type, or refused with the type that was expected."""
    ends: Counter[str] = Counter()

    @settings(max_examples=300)
    @given(
        case=st.sampled_from(CASES),
        edit=json_values | st.sampled_from([edit for *_, edit in CASES]),
        fitting=st.booleans(),
    )
    def edit_it(case: tuple[Any, Any, Any], edit: Any, fitting: bool) -> None:
        annotation, given_value, fits = case
        edit = fits if fitting else edit
        try:
            ran = edited(annotation, given_value, edit)
        except ValidationError:  # what it says is tested below
            ends["refused"] += 1
            return
        ends["ran"] += 1
        if ran is None:
            assert None in getattr(annotation, "__args__", ()) or type(None) in annotation.__args__
        elif annotation == Decimal | float | None:
            assert type(ran) in (Decimal, float)
        else:
            assert same_kind(given_value, ran)
            again = normalise({"x": ran}, key=b"").plain["x"]
            assert edited(annotation, ran, again) is ran

    edit_it()
    assert min(ends["refused"], ends["ran"]) > 15


@pytest.mark.parametrize(
    ("annotation", "given_value", "edit"),
    [
        (NONE, uuid.UUID(int=1), "x"),
        (NONE, 5, "five"),
        (NONE, 5, None),
        (NONE, 5, 5.5),
        (NONE, True, 1.5),
        (NONE, True, 1),
        (NONE, Colour.RED, "zzz"),
        (NONE, None, "x"),
        (NONE, NOON.replace(tzinfo=None), "2026-01-01T00:00:00Z"),
        (NONE, NOON, "2026-01-01T00:00:00"),
        (NONE, (1, "a"), [1, "a", 3]),
        (int, 5, True),
        (int, 5, 6.0),
        (float, 5.0, 2**53 + 1),
        (float, 5.0, False),
        (Decimal, Decimal(1), "NaN"),
        (Decimal, Decimal(1), "1,5"),
        (bytes, b"a", "YQ=="),
        (dt.date, DAY, "2026-02-30"),
        (Literal[1], 1, True),
        (Annotated[int, msgspec.Meta(ge=0)], 5, -1),
        (Annotated[str, msgspec.Meta(max_length=2)], "a", "abc"),
        (Annotated[int, pydantic.Field(gt=1)], 5, 1),
        (Order, Order(1, Decimal(1)), {"number": 2}),
        (Order, Order(1, Decimal(1)), {"number": "2", "price": 1}),
        (Order, Order(1, Decimal(1)), {"number": 2, "price": 1, "more": 1}),
        (Model, Model(name="a", when=DAY), {"name": 1, "at": "2026-01-31"}),
        (object(), object(), "x"),
        (complex, 1j, 2),
    ],
)
def test_what_does_not_fit_is_refused(annotation: Any, given_value: Any, edit: Any) -> None:
    """With the name of the argument and what it must be."""
    with pytest.raises(ValidationError, match=r"x.* must be "):
        edited(annotation, given_value, edit)


def test_a_validator_that_changes_a_value_is_no_approval() -> None:
    """What would run is not what the approver wrote: refused."""

    class Upper(pydantic.BaseModel):
        name: str

        @pydantic.field_validator("name")
        @classmethod
        def _upper(cls, value: str) -> str:
            return value.upper()

    class Loud(str):
        def __new__(cls, text: str) -> Loud:
            return str.__new__(cls, text.upper())

    assert edited(Upper, Upper(name="a"), {"name": "B"}) == Upper(name="B")
    for kind, own, edit in ((Upper, Upper(name="a"), {"name": "b"}), (Loud, Loud("a"), "b")):
        with pytest.raises(ValidationError, match="takes as it is"):
            edited(kind, own, edit)


def test_a_call_without_a_function_goes_by_the_callers_values() -> None:
    """As ``guard`` does, where parameters are only named."""
    given_values = {"at": DAY, "n": 1}
    seen = normalise(given_values, key=b"").plain
    made = converted({"at": "2026-02-01"}, given_values, seen, undeclared)
    assert made == {"at": dt.date(2026, 2, 1)}


# --- through the whole governed call ---------------------------------------------------------------------------------


@pytest.fixture
def asking(tmp_path: pathlib.Path) -> Iterator[EmbeddedControlPlane]:
    """A control plane that asks for refunds."""
    plane = EmbeddedControlPlane(SQLiteStore(tmp_path / "a.db"), parse_policy(POLICY))
    yield plane
    assert plane.verify_audit().ok
    plane.close()


def trail(plane: EmbeddedControlPlane, action_id: str) -> list[dict[str, Any]]:
    return [json.loads(row.body) for row in plane.read(lambda reader: trail_of(reader, action_id))]


def refunds(plane: EmbeddedControlPlane, ran: list[Any]) -> Callable[..., None]:
    @governed(
        "refund",
        "billing",
        resource="orders/{order}",
        resource_id="{order}",
        on_pending="raise",
        control_plane=plane,
    )
    def refund(order: str, amount: Decimal) -> None:
        ran.append((order, amount))

    return refund


def held(call: Callable[[], object]) -> str:
    with pytest.raises(ActionPendingError) as caught:
        call()
    return str(caught.value.action_id)


def test_what_ran_is_what_was_judged_and_recorded(asking: EmbeddedControlPlane) -> None:
    """A denied resource never runs, one that needs two people waits for the second, and the record says what ran."""
    ends: Counter[str] = Counter()
    ran: list[Any] = []
    refund = refunds(asking, ran)

    @settings(max_examples=60, deadline=None)
    @given(
        order=st.sampled_from(["A-1", "VIP-1", "B-2"]),
        amount=st.sampled_from([5, 7.25, "9.10", "5000.00", "many", True]),
        second=st.booleans(),
    )
    def edit(order: str, amount: Any, second: bool) -> None:
        ran.clear()
        unique = "A-" + os.urandom(8).hex()
        fits = amount not in ("many", True)
        first = held(lambda: refund(unique, Decimal("1.10")))
        assert asking.approve(
            first, approver="ann", arguments={"order": order, "amount": amount}
        ).is_approved()
        if order == "B-2" and fits:
            assert held(lambda: refund(unique, Decimal("1.10"))) == first
            assert trail(asking, first)[-1]["event"] == "reopened"
            row = asking.read(lambda reader: reader.action("local", int(first)))
            assert row is not None
            assert (row.resource, row.quorum, row.rule) == ("orders/B-2", 2, "ask")
            ends["reopened"] += 1
            if not second:
                return
            assert asking.approve(first, approver="bob").is_approved()
        try:
            refund(unique, Decimal("1.10"))
        except AuthorizationDeniedError:
            assert order == "VIP-1"
            assert fits
            ends["denied"] += 1
        except ValidationError:
            assert not fits
            ends["unfit"] += 1
        else:
            assert fits
            assert ran == [(order, Decimal(str(amount)))]
            assert type(ran[0][1]) is Decimal
            _check_record(asking, first, order, amount)
            ends["ran"] += 1
            return
        assert ran == []
        assert trail(asking, first)[-1]["event"] == "withdrawn"

    edit()
    assert min(ends[end] for end in ("ran", "denied", "unfit", "reopened")) > 2, ends


def _check_record(plane: EmbeddedControlPlane, action_id: str, order: str, amount: Any) -> None:
    started = next(event for event in trail(plane, action_id) if event["event"] == "started")
    assert (started["resource"], started["resource_id"]) == (f"orders/{order}", order)
    assert started["arguments"] == {"order": order, "amount": float(amount)}
    assert started["edits"] == {"order": order, "amount": amount}
    assert started["risk"]["score"] > 0
    row = plane.read(lambda reader: reader.action("local", int(action_id)))
    assert row is not None
    assert (row.resource, row.risk_score) == (started["resource"], started["risk"]["score"])


def test_a_waiting_call_goes_back_to_people(asking: EmbeddedControlPlane) -> None:
    """A call that waits goes on waiting when the edited call needs more approval, and runs when it has it."""
    import threading

    ran: list[Any] = []

    @governed("refund", "billing", resource="orders/{order}", control_plane=asking, timeout=60)
    def refund(order: str, amount: Decimal) -> None:
        ran.append((order, amount))

    def people() -> None:
        def wait(true: Callable[[], bool]) -> None:
            while not true():
                threading.Event().wait(0.005)

        wait(lambda: bool(asking.pending()))
        asking.approve("1", approver="ann", arguments={"order": "B-2"})
        wait(lambda: any(event["event"] == "reopened" for event in trail(asking, "1")))
        asking.approve("1", approver="bob")

    thread = threading.Thread(target=people)
    thread.start()
    refund("A-1", Decimal(1))
    thread.join()
    assert ran == [("B-2", Decimal(1))]
    events = [event["event"] for event in trail(asking, "1")]
    assert events[:5] == ["submitted", "approved", "reopened", "approved", "started"]


def test_an_edit_upon_an_edit(asking: EmbeddedControlPlane) -> None:
    """The second person edits again: the first approval is set aside, both edits run, and both are recorded."""
    ran: list[Any] = []
    refund = refunds(asking, ran)
    first = held(lambda: refund("B-1", Decimal(1)))
    assert asking.approve(first, approver="ann", arguments={"amount": 2000}).is_pending()
    assert asking.approve(first, approver="bob", arguments={"order": "B-2"}).is_pending()
    assert asking.approve(first, approver="ann").is_approved()
    refund("B-1", Decimal(1))
    assert ran == [("B-2", Decimal(2000))]
    started = next(event for event in trail(asking, first) if event["event"] == "started")
    assert started["edits"] == {"amount": 2000, "order": "B-2"}


def test_a_resource_that_a_callable_tells_is_told_again(asking: EmbeddedControlPlane) -> None:
    """Not only templates: and one that cannot be told any more blocks the call."""
    ran: list[Any] = []

    @governed(
        "refund",
        resource=lambda args: "orders/" + args["order"].upper()[:20],
        on_pending="raise",
        control_plane=asking,
    )
    def refund(order: str | None) -> None:
        ran.append(order)

    for edit, error in (("vip-1", AuthorizationDeniedError), (None, ValidationError), ("b", None)):
        own = os.urandom(4).hex()
        first = held(lambda own=own: refund(own))
        asking.approve(first, approver="ann", arguments={"order": edit})
        if error is None:
            refund(own)
        else:
            with pytest.raises(error):
                refund(own)
    assert ran == ["b"]


def test_a_block_is_edited_by_the_callers_values(asking: EmbeddedControlPlane) -> None:
    """``guard`` gives its body the converted value, under the resource that was described."""

    def block() -> Any:
        with guard("refund", on_pending="raise", control_plane=asking, parameters={"at": DAY}) as permit:
            return permit.parameters["at"]

    first = held(block)
    asking.approve(first, approver="ann", arguments={"at": "2026-02-01"})
    assert block() == dt.date(2026, 2, 1)


@pytest.mark.parametrize(
    ("declared", "runs"),
    [
        ({"resource": "orders/A-1"}, False),
        ({"resource_id": "A-1"}, False),
        ({"risk_indicators": {"order": "A-1"}}, False),
        ({"resource": lambda args: "orders/" + args["order"]}, True),
        ({"context": {"environment": "production"}, "risk_level": "high"}, True),
        ({}, True),
    ],
)
def test_a_block_that_says_its_resource_as_text_is_not_edited(
    asking: EmbeddedControlPlane, declared: dict[str, Any], runs: bool
) -> None:
    """What was said of the caller's arguments may not be true of the edited ones, so nothing is run on it."""

    def block() -> Any:
        with guard(
            "refund", on_pending="raise", control_plane=asking, parameters={"order": "A-1"}, **declared
        ) as permit:
            return permit.parameters["order"]

    first = held(block)
    asking.approve(first, approver="ann", arguments={"order": "C-1"})
    if runs:
        assert block() == "C-1"
        return
    with pytest.raises(AuthorizationDeniedError, match="fixed values") as refused:
        block()
    assert "lambda" in str(refused.value.remedy)
    assert trail(asking, first)[-1]["event"] == "withdrawn"


def test_a_script_sees_what_ran() -> None:
    """The control plane for tests keeps the whole edited call."""
    import threading

    plane = ScriptedControlPlane()
    plane.pending("refund")
    tool = governed("refund", resource="orders/{order}", control_plane=plane)(lambda order: order)

    def person() -> None:
        from ascend_guard.model import Decision

        while not plane.asked:
            threading.Event().wait(0.005)
        plane.decide("1", Decision.APPROVED, {"order": "B-2"})

    thread = threading.Thread(target=person)
    thread.start()
    assert tool("A-1") == "B-2"
    thread.join()
    assert plane.ran["1"].resource == "orders/B-2"
    assert plane.asked[0].resource == "orders/A-1"


def test_a_claim_that_describes_another_call_is_refused(asking: EmbeddedControlPlane) -> None:
    """A claim of edited arguments must be made with the recorded edits, and change nothing else."""
    from ascend_guard.flow import Claim

    refund = refunds(asking, [])
    for number, wrong in enumerate(("none", "edits", "other"), 1):
        first = held(lambda number=number: refund(f"A-{number}", Decimal(1)))
        assert first == str(number)
        asking.approve(first, approver="ann", arguments={"amount": 2})
        row = asking.read(lambda reader, number=number: reader.action("local", number))  # type: ignore[misc]
        assert row is not None
        action = asking.read(lambda reader, number=number: asked_in(reader, number))  # type: ignore[misc]
        details = {**action.action_details, "amount": 2.0}
        if wrong == "other":
            details["order"] = "VIP-1"
        action = msgspec.structs.replace(action, action_details=details)
        edits = {"none": None, "edits": {"amount": 3}, "other": {"amount": 2}}[wrong]
        with pytest.raises(AscendError, match="edited"):
            asking.perform(Claim(action, first, row.digest, "b" * 64, edits))
        assert trail(asking, first)[-1]["event"] == "withdrawn"
