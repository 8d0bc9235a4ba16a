"""``on_pending="raise"``: the call ends, the action stays, and the very same call takes it up later, once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_kinds import BASE, KINDS, Body, Kind
from hypothesis import given
from hypothesis import strategies as st
from support import POLICY
from world import Meanwhile, asked, events, rows, settled, waiting

import ascend_guard
from ascend_guard import (
    ActionPendingError,
    AuthorizationDeniedError,
    EmbeddedControlPlane,
    TimeoutError,
    ValidationError,
    governed,
    guard,
    scope,
)
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore


def held(call: Callable[[], object]) -> str:
    """Make a call that has to wait for a person; the action it waits for."""
    with pytest.raises(ActionPendingError) as caught:
        call()
    assert caught.value.action_id is not None
    assert "approvals" not in str(caught.value)
    assert f"approvals approve {caught.value.action_id}" in str(caught.value.remedy)
    return caught.value.action_id


@pytest.mark.parametrize("kind", BASE, ids=str)
def test_the_same_call_takes_the_action_up(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """Asked again and again there is one action; approved, the next call runs it; after that, a new one is asked."""
    body = Body()
    tool = kind.make(governed("refund", "orders", on_pending="raise"), body)
    first = held(lambda: kind.run(tool, "o-1", 900.0))
    assert held(lambda: kind.run(tool, "o-1", 900.0)) == first
    assert held(lambda: kind.run(tool, order="o-1", amount=900.0)) == first
    assert body.ran == []
    plane.approve(first, approver="ann")
    assert kind.run(tool, "o-1", amount=900.0) == kind.result("o-1", 900.0, "n")
    assert held(lambda: kind.run(tool, "o-1", 900.0)) != first
    settled(plane)
    assert body.ran == [("o-1", 900.0, "n")]
    assert [row.outcome for row in rows(plane)] == ["completed", None]


def test_a_denial_lasts(plane: EmbeddedControlPlane) -> None:
    """However often a denied call is made again, the denial answers it, and nobody is asked."""
    body = Body()
    tool = governed("refund", on_pending="raise")(body.act)
    first = held(lambda: tool("o-1", 900.0))
    plane.deny(first, approver="ann", comment="not this one")
    for _ in range(8):
        with pytest.raises(AuthorizationDeniedError, match="not this one") as denied:
            tool("o-1", 900.0)
        assert denied.value.action_id == first
    assert body.ran == []
    assert [str(row.id) for row in rows(plane)] == [first]


def test_a_denial_lasts_for_one_that_waited(plane: EmbeddedControlPlane) -> None:
    """However the call waits for a person, before the denial and after it."""
    body = Body()
    tool = governed("refund")(body.act)
    with (
        Meanwhile(plane, lambda row: plane.deny(str(row.id), approver="ann")),
        pytest.raises(AuthorizationDeniedError),
    ):
        tool("o-1", 900.0)
    for again in (tool, governed("refund", on_pending="raise")(body.act)):
        with pytest.raises(AuthorizationDeniedError, match="Decided by ann") as denied:
            again("o-1", 900.0)
        assert denied.value.action_id == "1"
    assert body.ran == []


@given(
    change=st.sampled_from(["order", "amount", "type", "agent", "session", "tool", "action", "resource"]),
    approved=st.booleans(),
)
def test_another_call_does_not(plane: EmbeddedControlPlane, change: str, approved: bool) -> None:
    """Another argument, type, agent, session, tool, action or resource is another call: it asks for itself."""
    ran: list[Any] = []

    def body(order: str, amount: Any) -> None:
        ran.append((order, amount))

    def gate(action: str = "refund", tool: str = "orders", resource: str | None = None) -> Any:
        return governed(action, tool, resource=resource, on_pending="raise")(body)

    unique = os.urandom(8).hex()
    first = held(lambda: gate()(unique, 900))
    if approved:
        plane.approve(first, approver="ann")
    other: dict[str, Callable[[], Any]] = {
        "order": lambda: gate()(unique + "x", 900),
        "amount": lambda: gate()(unique, 901),
        "type": lambda: gate()(unique, 900.0),
        "agent": lambda: gate()(unique, 900),
        "session": lambda: gate()(unique, 900),
        "tool": lambda: gate(tool="other")(unique, 900),
        "action": lambda: gate("refund")(unique, 900.5),
        "resource": lambda: gate(resource="elsewhere")(unique, 900),
    }
    agent = "someone" if change == "agent" else None
    session = "another" if change == "session" else None
    with scope(agent_id=agent, session_id=session):
        assert held(other[change]) != first
    assert ran == []
    if approved:
        gate()(unique, 900)
        assert ran == [(unique, 900)]


def test_the_error_says_everything(plane: EmbeddedControlPlane) -> None:
    """Action, rule, reason, and how to decide are in the error and its message."""
    with pytest.raises(ActionPendingError) as caught:
        governed("refund", "orders", on_pending="raise")(lambda amount: None)(900.0)
    error = caught.value
    assert (error.rule, error.reason, error.action_id) == (
        "big-refunds",
        "Refunds above 500 need finance.",
        "1",
    )
    assert "did not run" in str(error)
    assert "make the same call again" in str(error)
    assert isinstance(error, PermissionError)


def test_an_opaque_argument_says_so(plane: EmbeddedControlPlane) -> None:
    """A call whose arguments cannot be seen cannot be recognised later: the error says it, and nothing is mixed up."""

    class Client:
        pass

    ran: list[object] = []
    tool = governed("refund", on_pending="raise")(lambda amount, client: ran.append(client))
    client = Client()
    with pytest.raises(ActionPendingError, match="content cannot be read") as first:
        tool(900.0, client)
    with pytest.raises(ActionPendingError, match='on_pending="wait"') as second:
        tool(900.0, client)
    assert first.value.action_id != second.value.action_id
    plane.approve(str(first.value.action_id), approver="ann")
    with pytest.raises(ActionPendingError):
        tool(900.0, client)
    assert ran == []


def test_an_approval_is_used_once_by_many_at_once(plane: EmbeddedControlPlane) -> None:
    """However many tasks make the approved call together, one runs; the others ask anew."""
    ran: list[int] = []

    @governed("refund", on_pending="raise")
    async def refund(amount: float) -> None:
        ran.append(1)

    first = held(lambda: asyncio.run(refund(900.0)))
    plane.approve(first, approver="ann")

    async def main() -> list[Any]:
        return await asyncio.gather(*(refund(900.0) for _ in range(8)), return_exceptions=True)

    ends = asyncio.run(main())
    assert len(ran) == 1
    assert [type(end) for end in ends if end is not None] == [ActionPendingError] * 7
    assert {row.status for row in rows(plane)} == {"approved", "pending"}
    settled(plane)


def test_equal_calls_that_wait_are_two_calls(plane: EmbeddedControlPlane) -> None:
    """Two equal refunds waiting at the same time may both be meant: each has its own action and its own approval."""
    ran: list[int] = []

    @governed("refund")
    async def refund(amount: float) -> None:
        ran.append(1)

    async def main() -> None:
        both = [asyncio.create_task(refund(900.0)) for _ in range(2)]
        found = await asyncio.to_thread(waiting, plane, 2)
        plane.approve(str(found[0].id), approver="ann")
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        assert len(ran) == 1
        plane.approve(str(found[1].id), approver="ann")
        await asyncio.gather(*both)

    asyncio.run(main())
    assert len(ran) == 2
    assert [row.outcome for row in rows(plane)] == ["completed", "completed"]


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
def test_a_wait_that_was_given_up_is_taken_up(plane: EmbeddedControlPlane, how: str) -> None:
    """After a time-out or a cancellation the action still waits, and the same call finds it."""
    ran: list[int] = []

    @governed("refund", timeout=0.001 if how == "timeout" else None)
    async def refund(amount: float) -> None:
        ran.append(1)

    async def give_up() -> None:
        if how == "timeout":
            with pytest.raises(TimeoutError):
                await refund(900.0)
            return
        task = asyncio.create_task(refund(900.0))
        await asyncio.to_thread(waiting, plane)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    settled(plane)
    (row,) = rows(plane)
    assert (row.status, row.waiter) == ("pending", None)
    plane.approve(str(row.id), approver="ann")
    asyncio.run(refund(900.0))
    assert ran == [1]
    assert len(rows(plane)) == 1


def test_a_waiting_call_resumes_what_was_detached(plane: EmbeddedControlPlane) -> None:
    """The two ways of pending share actions: detached first, waited for later."""
    ran: list[int] = []

    def body(amount: float) -> None:
        ran.append(1)

    first = held(lambda: governed("refund", "orders", on_pending="raise")(body)(900.0))
    with Meanwhile(plane, lambda row: plane.approve(str(row.id), approver="ann")):
        governed("refund", "orders")(body)(900.0)
    assert ran == [1]
    assert [str(row.id) for row in rows(plane)] == [first]


def test_guard_takes_up_too(plane: EmbeddedControlPlane) -> None:
    """A block is recognised by its parameters."""

    def block() -> None:
        with guard("refund", on_pending="raise", parameters={"amount": 900.0}):
            entered.append(1)

    entered: list[int] = []
    first = held(block)
    assert held(block) == first
    plane.approve(first, approver="ann")
    block()
    assert entered == [1]


# --- what was approved is what runs ------------------------------------------------------------------------------------


def test_arguments_changed_while_waiting_block_the_call(plane: EmbeddedControlPlane) -> None:
    """The approval was for other arguments: nothing runs, and the error says why."""
    items = ["a"]
    ran: list[Any] = []
    tool = governed("refund")(lambda amount, items: ran.append(items))

    def change_then_approve(row: Any) -> None:
        items.append("b")
        plane.approve(str(row.id), approver="ann")

    with (
        Meanwhile(plane, change_then_approve),
        pytest.raises(AuthorizationDeniedError, match="arguments changed"),
    ):
        tool(900.0, items)
    assert ran == []


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_approver_edits_the_arguments(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """The edited values run, in every kind of tool, and only those."""
    body = Body()
    tool = kind.make(governed("refund", "orders"), body)
    with Meanwhile(plane, lambda row: plane.approve(str(row.id), approver="ann", arguments={"amount": 5.0})):
        assert kind.run(tool, "o-1", 900.0) == kind.result("o-1", 5.0, "n")
    assert body.ran == [("o-1", 5.0, "n")]
    assert rows(plane)[0].outcome == "completed"


def test_edits_reach_the_permit_of_a_block(plane: EmbeddedControlPlane) -> None:
    """What a block acts with is what the permit says, edits included."""
    with (
        Meanwhile(plane, lambda row: plane.approve(str(row.id), approver="ann", arguments={"amount": 5.0})),
        guard("refund", parameters={"amount": 900.0, "order": "o-1"}) as permit,
    ):
        assert permit.parameters == {"amount": 5.0, "order": "o-1"}
        assert permit.edited == {"amount"}


@pytest.mark.parametrize(
    "edits",
    [
        {"unknown": 1},
        {"password": "other"},
        {"order": object()},
        {"order": [object()]},
        {"order": {1: 2}},
        {"order": "\ud800"},
        {"order": 10**30},
    ],
    ids=["unknown", "redacted", "object", "nested object", "keys", "surrogate", "huge"],
)
def test_edits_that_make_no_sense_are_refused(plane: EmbeddedControlPlane, edits: dict[str, Any]) -> None:
    """An approver's mistake is the approver's error; the action still waits for a better decision."""
    with pytest.raises(ActionPendingError):
        governed("refund", on_pending="raise")(lambda amount, order, password: None)(900.0, "o", "pw")
    with pytest.raises(ValidationError):
        plane.approve("1", approver="ann", arguments=edits)
    assert rows(plane)[0].status == "pending"
    settled(plane)


@pytest.mark.parametrize("nesting", ["cyclic", "deep"])
def test_edits_without_end_are_refused_and_nobody_crashes(tmp_path: Path, nesting: str) -> None:
    """A list in itself, or nested beyond reason, is refused before anything native looks at it."""
    outcome = python(
        tmp_path,
        f"""
        from ascend_guard import ValidationError
        endless = []
        if {nesting!r} == "cyclic":
            endless.append(endless)
        else:
            for _ in range(100_000):
                endless = [endless]
        try:
            governed("refund", on_pending="raise")(lambda amount, order: None)(900.0, "o")
        except ActionPendingError as error:
            try:
                plane.approve(error.action_id, approver="ann", arguments={{"order": endless}})
            except ValidationError:
                print("refused")
        """,
    )
    assert outcome == "refused"


# --- across control planes and processes -------------------------------------------------------------------------------


def test_a_new_control_plane_on_the_same_database(tmp_path: Path) -> None:
    """What one control plane left pending, the next ones on the database take up and finish."""
    ran: list[int] = []
    tool = governed("refund", on_pending="raise")(lambda amount: ran.append(1))

    def begin() -> EmbeddedControlPlane:
        store = SQLiteStore(tmp_path / "ascend.db", durability="process")
        plane = EmbeddedControlPlane(store, parse_policy(POLICY))
        ascend_guard.configure(control_plane=plane)
        return plane

    for turn in range(3):
        plane = begin()
        if turn == 2:
            plane.approve("1", approver="ann")
            tool(900.0)
            assert [row.outcome for row in rows(plane)] == ["completed"]
        else:
            assert held(lambda: tool(900.0)) == "1"
        settled(plane)
        plane.close()
    assert ran == [1]


_PRELUDE = """
import sys
import ascend_guard
from ascend_guard import ActionPendingError, EmbeddedControlPlane, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore

folder = sys.argv[1]
plane = EmbeddedControlPlane(SQLiteStore(folder + "/ascend.db"), parse_policy(open(folder + "/policy.yaml").read()),
                             agent_id="billing")
ascend_guard.configure(control_plane=plane)
"""


def python(folder: Path, code: str) -> str:
    """Run code in a process of its own, with a control plane on this folder; what it prints."""
    (folder / "policy.yaml").write_text(POLICY)
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + textwrap.dedent(code), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


AGENT = """
import dataclasses, datetime, decimal, enum, os

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Order:
    name: str
    due: datetime.date

@governed("refund", "orders", on_pending="raise")
def refund(amount, order, colours, prices):
    print("ran", end=" ")

try:
    refund(900.0, Order("o-1", datetime.date(2026, 1, 2)), {"b", "a", Colour.RED}, [decimal.Decimal("1.10"), b"x"])
    print("done")
except ActionPendingError as error:
    print("pending", error.action_id, flush=True)
"""


def test_a_restarted_agent_takes_its_action_up(tmp_path: Path) -> None:
    """Really another process, with other addresses and hash seeds: pending, still pending, approved elsewhere, ran, anew."""
    assert python(tmp_path, AGENT) == "pending 1"
    assert python(tmp_path, AGENT + "\nos._exit(0)") == "pending 1"
    approver = EmbeddedControlPlane(SQLiteStore(tmp_path / "ascend.db"), parse_policy(POLICY))
    approver.approve("1", approver="ann")
    assert python(tmp_path, AGENT) == "ran done"
    assert python(tmp_path, AGENT) == "pending 2"
    assert events(approver) == ["submitted", "approved", "started", "completed", "submitted"]
    assert asked(approver, 1).action_details["amount"] == 900.0
    settled(approver)
    approver.close()


def test_a_process_that_dies_while_waiting_leaves_its_action_to_be_taken_up(tmp_path: Path) -> None:
    """Killed in the middle of a wait: the next process finds the action, and a person's answer to it."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    code = """
governed("refund", "orders")(lambda amount: print("ran"))(900.0)
"""
    process = subprocess.Popen([sys.executable, "-c", _PRELUDE + code, str(tmp_path)], stdout=subprocess.PIPE)
    approver = None
    while approver is None:
        if (tmp_path / "ascend.db.key").exists():
            approver = EmbeddedControlPlane(SQLiteStore(tmp_path / "ascend.db"), parse_policy(POLICY))
    (row,) = waiting(approver)
    process.kill()
    process.communicate()
    approver.approve(str(row.id), approver="ann")
    assert python(tmp_path, code) == "ran"
    assert [row.outcome for row in rows(approver)] == ["completed"]
    settled(approver)
    approver.close()


def test_a_process_that_dies_in_the_tool_leaves_an_unknown_outcome(tmp_path: Path) -> None:
    """Begun and never reported: unknown, never completed; the same call asks a person again."""
    assert python(tmp_path, "import os\ngoverned('order_read')(lambda: os._exit(0))()") == ""
    survivor = EmbeddedControlPlane(SQLiteStore(tmp_path / "ascend.db"), parse_policy(POLICY))
    (row,) = rows(survivor)
    assert (row.status, row.outcome) == ("approved", "unknown")
    assert events(survivor) == ["submitted", "started", "unknown"]
    settled(survivor)
    survivor.close()
