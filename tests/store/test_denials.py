"""A denial lasts, on both kinds of database: nobody is asked again for the same call until it ends or a person clears it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from postgres_server import database
from recorded import trail_of
from store_kinds import NOW, Database

from ascend_guard import (
    ActionPendingError,
    AgentAction,
    AuthenticationError,
    AuthorizationDeniedError,
    ConflictError,
    EmbeddedControlPlane,
    NotFoundError,
    governed,
)
from ascend_guard.engine.denials import DENIAL
from ascend_guard.engine.policy import parse_policy
from ascend_guard.flow import Submit

HOUR = 3600.0
POLICY = "version: 1\ndefault: require_approval\n"
ALLOWS = POLICY + "rules: [{name: now-allowed, effect: allow}]\n"
DENIES = POLICY + "rules: [{name: now-denied, effect: deny}]\n"
ASKS_TWO = POLICY + "rules: [{name: two, effect: require_approval, quorum: 2, approvers: [finance]}]\n"

CALLS = st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 3])
steps = st.lists(
    st.one_of(
        *[st.tuples(st.just("call"), CALLS, st.just(False), st.just(True))] * 3,
        st.tuples(st.just("call"), CALLS, st.booleans(), st.booleans()),
        *[st.tuples(st.sampled_from(["deny", "deny", "clear", "approve"]), CALLS)] * 3,
        st.tuples(st.just("pass"), st.sampled_from([1.0, 1.0, 12 * HOUR, 24 * HOUR + 1])),
    ),
    min_size=12,
    max_size=30,
)

ALL_OF_IT: list[tuple[Any, ...]] = [
    *[("call", 0, False, True), ("call", 0, False, True), ("deny", 0), ("call", 0, False, True)],
    *[
        ("call", 0, True, True),
        ("clear", 0),
        ("call", 0, False, True),
        ("approve", 0),
        ("call", 0, False, True),
    ],
    *[("call", 0, False, True), ("pass", 24 * HOUR + 1), ("call", 0, False, True)],
    *[
        ("call", 1, False, True),
        ("deny", 1),
        ("pass", 12 * HOUR),
        ("pass", 12 * HOUR),
        ("call", 1, False, True),
    ],
    *[("deny", 1), ("pass", 24 * HOUR + 1), ("clear", 1), ("clear", 1)],
]
"""Everything the model counts, once, whatever else is drawn."""


class World:
    """A database with a clock, and a model of it: what is open, approved or denied of each of four calls."""

    def __init__(self, db: Database, lasts: str = "24h") -> None:
        self.now = NOW
        self.policy = POLICY + f"denials_last: {lasts}\n"
        self.store = db.open(lambda: self.now)
        self.plane = self.open(self.policy)
        self.mark = os.urandom(8).hex()
        self.open_action: dict[int, tuple[str, float]] = {}
        self.approved: dict[int, tuple[str, float]] = {}
        self.denied: dict[int, tuple[str, float]] = {}
        self.last: dict[int, str] = {}
        self.seen: Counter[str] = Counter()

    def open(self, policy: str) -> EmbeddedControlPlane:
        return EmbeddedControlPlane(self.store, parse_policy(policy), clock=lambda: self.now)

    def submit(self, call: int, *, readable: bool = True, name: str | None = None, by: Any = None) -> Any:
        """Calls differ in the agent, or in the context."""
        agent, environment = ("a", "b")[call & 1], ("staging", "production")[call >> 1]
        action = AgentAction(
            agent,
            agent,
            "refund",
            self.mark,
            "t",
            context={"environment": environment, "trace_id": os.urandom(4).hex()},
        )
        effect = Submit(action, "a" * 64, detached=True, repeatable=readable, call_id=name)
        return (by or self.plane).perform(effect)

    def call(self, call: int, named: bool, readable: bool) -> None:
        """Calls with a name of their own ask for themselves, unless a denial answers; unreadable ones as well."""
        own = named or not readable
        result = self.submit(call, readable=readable, name=os.urandom(4).hex() if named else None)
        denied = self.denied.get(call)
        holds = denied is not None and self.now < denied[1] + 24 * HOUR
        if not own and call in self.approved:
            assert (result.claimed, result.action_id) == (True, self.approved.pop(call)[0])
            self.seen["ran"] += 1
        elif not own and call in self.open_action:
            assert (result.is_pending(), result.action_id) == (True, self.open_action[call][0])
            self.seen["resumed"] += 1
        elif holds and denied is not None:
            assert (result.is_denied(), result.action_id) == (True, denied[0])
            assert "Decided by ann" in result.reason or "denied it" in result.reason
            self.seen["answered"] += 1
        else:
            assert result.is_pending(), result
            self.seen["asked"] += 1
            self.last[call] = result.action_id
            if not own:
                self.open_action[call] = (result.action_id, self.now)
            else:
                self.seen["asked anew by another name"] += 1
                self.plane.approve(result.action_id, approver="bob")  # and nobody uses it

    def deny(self, call: int) -> None:
        if call in self.open_action:
            action_id, _ = self.open_action.pop(call)
            self.plane.deny(action_id, approver="ann", comment="no")
            self.denied[call] = (action_id, self.now)
            self.seen["denied"] += 1

    def approve(self, call: int) -> None:
        if call in self.open_action:
            action_id, _ = self.open_action.pop(call)
            self.plane.approve(action_id, approver="bob")
            self.approved[call] = (action_id, self.now)

    def clear(self, call: int) -> None:
        denied = self.denied.pop(call, None)
        if denied is None:
            if call in self.last:
                with pytest.raises(ConflictError, match="no denial in force"):
                    self.plane.clear_denial(self.last[call], by="bob")
            return
        if self.now < denied[1] + 24 * HOUR:
            self.plane.clear_denial(denied[0], by="bob", comment="a mistake")
            self.seen["cleared"] += 1

    def passes(self, seconds: float) -> None:
        """Deadlines and unused approvals are a day as well. What nobody decided is nobody's denial."""
        self.now += seconds
        for held in (self.open_action, self.approved):
            for call, (_, since) in list(held.items()):
                if self.now >= since + 24 * HOUR:
                    del held[call]
                    if held is self.open_action:  # the call is told of it once
                        assert self.submit(call).is_denied()
                        self.seen["lapsed"] += 1
        self.plane.housekeep()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One database of each kind for all examples: each has calls of its own."""
    if request.param == "sqlite":
        with Database(path=tmp_path_factory.mktemp("db") / "a.db").closing() as db:
            yield db
    else:
        with database() as url, Database(url=url).closing() as db:
            yield db


def test_a_denial_answers_until_it_ends(shared: Database) -> None:
    """Calls, denials, approvals, clearings and time in any order: who is asked and what answers is what a model says."""
    seen: Counter[str] = Counter()
    world = World(shared)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @example(ALL_OF_IT)
    @given(steps)
    def run(steps: list[tuple[Any, ...]]) -> None:
        world.mark = os.urandom(8).hex()
        for held in (world.open_action, world.approved, world.denied, world.last):
            held.clear()
        for what, *how in steps:
            {"call": world.call, "deny": world.deny, "approve": world.approve, "clear": world.clear}.get(
                what, world.passes
            )(*how)
        seen.update(world.seen)
        world.seen.clear()

    run()
    for event in ("asked", "resumed", "denied", "answered", "cleared", "ran", "lapsed"):
        assert seen[event] > 0, seen
    assert world.plane.verify_audit().ok


@pytest.mark.parametrize(("policy", "answer"), [(ALLOWS, "approved"), (DENIES, "denied"), (ASKS_TWO, "held")])
def test_the_policy_decides_first(db: Database, policy: str, answer: str) -> None:
    """A policy that allows or denies the call by now decides; one that asks somebody else meets the denial."""
    world = World(db)
    first = world.submit(0).action_id
    world.plane.deny(first, approver="ann", comment="not now")
    world.submit(0)  # it is told
    result = world.submit(0, by=world.open(policy))
    if answer == "held":
        assert (result.is_denied(), result.action_id) == (True, first)
        assert "not now" in result.reason
    else:
        assert result.status.value == answer
        assert result.action_id != first


@pytest.mark.parametrize("lasts", ["0", "1h", "7d"])
def test_how_long_is_the_policys(db: Database, lasts: str) -> None:
    """As long as it says; with 0 a call that did not wait is told once, and asks anew."""
    world = World(db, lasts)
    first = world.submit(0).action_id
    world.plane.deny(first, approver="ann")
    assert world.submit(0).action_id == first
    seconds = {"0": 0.0, "1h": HOUR, "7d": 7 * 24 * HOUR}[lasts]
    if seconds:
        world.now += seconds - 1
        assert world.submit(0).action_id == first
        world.now += 1
    assert world.submit(0).is_pending()
    world.plane.housekeep()
    assert world.store.read(lambda reader: reader.count_records("local", DENIAL)) == 0


def test_a_shorter_time_counts_at_once(db: Database) -> None:
    """A policy that lets denials end sooner ends those that were kept under the longer time."""
    world = World(db, "7d")
    first = world.submit(0).action_id
    world.plane.deny(first, approver="ann")
    world.submit(0)
    world.now += 2 * HOUR
    assert world.submit(0).action_id == first
    assert world.submit(0, by=world.open(POLICY + "denials_last: 1h\n")).is_pending()


def test_every_order_of_keys_is_denied(db: Database) -> None:
    """The digest that ignores order recognises a denied call whatever order its keys come in."""

    class Ordered(Submit):
        """With the second digest, as the guard sends it."""

        __slots__ = ("identity",)

    world = World(db)

    def submit(digest: str) -> Any:
        effect = Ordered(AgentAction("a", "a", "refund", "r", "t"), digest, detached=True, repeatable=True)
        effect.identity = "c" * 64
        judged = world.plane._judge(effect.action)
        from ascend_guard.engine import decide

        return world.store.write(
            lambda tx: decide.submit(tx, "local", world.store.runner, lambda runner: True, judged, effect)
        )

    first = submit("1" * 64)
    world.plane.deny(first.action_id, approver="ann")
    assert [submit(digest).action_id for digest in ("1" * 64, "2" * 64, "3" * 64)] == [first.action_id] * 3


def test_repeats_and_clearing_are_recorded(db: Database) -> None:
    """Each repeat, and who cleared the denial and why."""
    world = World(db)
    first = world.submit(0).action_id
    world.plane.deny(first, approver="ann")
    for _ in range(3):
        world.submit(0)
    world.plane.clear_denial(first, by="bob", comment="the customer called")
    trail = [
        msgspec.json.decode(row.body) for row in world.plane.read(lambda reader: trail_of(reader, first))
    ]
    assert [entry["event"] for entry in trail] == [
        "submitted",
        "denied",
        "repeated",
        "repeated",
        "denial_cleared",
    ]
    assert (trail[-1]["actor"], trail[-1]["comment"]) == ("bob", "the customer called")
    assert world.submit(0).is_pending()
    with pytest.raises(ConflictError):
        world.plane.clear_denial(first, by="bob")
    with pytest.raises(NotFoundError):
        world.plane.clear_denial("999", by="bob")


def test_no_tool_clears_a_denial(db: Database) -> None:
    """Inside a governed call nobody is a person."""
    world = World(db)
    plane = world.open(ALLOWS)
    first = world.submit(0).action_id
    world.plane.deny(first, approver="ann")

    @governed("clean", control_plane=plane)
    def tool() -> None:
        world.plane.clear_denial(first, by="agent")

    with pytest.raises(AuthenticationError):
        tool()
    assert world.submit(0).action_id == first


def test_another_organization_is_not_concerned(db: Database) -> None:
    """The same call of another tenant asks its own people, and a number names its own action."""
    world = World(db)
    theirs = EmbeddedControlPlane(
        world.store, parse_policy(POLICY), organization="theirs", clock=lambda: world.now
    )
    denied = [world.submit(kind).action_id for kind in (0, 1)]
    for action_id in denied:
        world.plane.deny(action_id, approver="ann")
    assert world.submit(0, by=theirs).is_pending()
    with pytest.raises(ConflictError, match="no denial in force"):
        theirs.clear_denial(denied[0], by="eve")
    with pytest.raises(NotFoundError):
        theirs.clear_denial(denied[1], by="eve")
    assert [world.submit(kind).action_id for kind in (0, 1)] == denied


def test_a_loop_of_equal_calls_asks_one_person_once(tmp_path: Path) -> None:
    """With an argument that cannot be read as well, as long as it is the same object."""
    with Database(path=tmp_path / "b.db").closing() as db:
        plane = World(db).plane

        class Client:
            """Nothing of it can be read."""

            __slots__ = ("__weakref__",)

        client, asked = Client(), 0
        answered: list[str | None] = []
        tool = governed("refund", on_pending="raise", control_plane=plane)(lambda client, amount: None)
        for _ in range(8):
            try:
                tool(client, 7)
            except ActionPendingError as error:
                asked += 1
                plane.deny(str(error.action_id), approver="ann")
            except AuthorizationDeniedError as error:
                answered.append(error.action_id)
        assert (asked, answered) == (1, ["1"] * 7)
