"""Every kind of tool, put to every decision: the body runs exactly when it may, and what is recorded is what happened.

Each kind is allowed, and is held and approved; edited arguments are in ``test_faces_pending``. Kinds differ in how a call is
bound to arguments and passed on to the body, which ends before anything is decided and begins again when the call may run.
A call that is denied, expires, is killed or fails goes through the code of its style alone (sync, async, stream, astream),
so those endings are put to ``BASE``, five kinds of each style; with the full profile, to each kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from face_kinds import BASE, KINDS, STREAMS, Body, Kind
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SCHEDULES
from world import Meanwhile, asked, events, rows, settled, story

from ascend_guard import (
    AuthorizationDeniedError,
    EmbeddedControlPlane,
    KillSwitchError,
    TimeoutError,
    governed,
)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
base_kind = pytest.mark.parametrize("kind", BASE, ids=str)
base_stream = pytest.mark.parametrize("kind", [kind for kind in STREAMS if kind in BASE], ids=str)

ARGUMENTS = {"order": "o-1", "amount": 900.0, "note": "n"}
RAN = [("o-1", 900.0, "n")]


@every_kind
def test_allowed_runs_once_and_completes(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """An allowed call runs, its result comes back, and its outcome is recorded."""
    body = Body()
    tool = kind.make(governed("order_read", "orders"), body)
    assert kind.run(tool, "o-1", 900.0) == kind.result("o-1", 900.0, "n")
    settled(plane)
    assert body.ran == RAN
    (row,) = rows(plane)
    assert (row.status, row.outcome, row.tool_name) == ("approved", "completed", "orders")
    assert asked(plane, row.id).action_details == ARGUMENTS
    assert events(plane) == ["submitted", "started", "completed"]


@base_kind
def test_denied_does_not_run(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """A denied call never touches the body."""
    body = Body()
    tool = kind.make(governed("order_delete", "orders"), body)
    with pytest.raises(AuthorizationDeniedError, match="Deletes are off"):
        kind.run(tool, "o-1", 900.0)
    settled(plane)
    assert body.ran == []
    (row,) = rows(plane)
    assert (row.status, row.claimed_at, row.outcome) == ("denied", None, None)
    assert asked(plane, row.id).action_details == ARGUMENTS
    assert events(plane) == ["submitted"]


@base_kind
def test_a_failing_tool_is_recorded_as_failed(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """The tool's own exception reaches the caller unchanged, and its type and message the trail."""
    body = Body(fails_after=0)
    tool = kind.make(governed("order_read", "orders"), body)
    with pytest.raises(ValueError, match="the tool failed") as caught:
        kind.run(tool, "o-1")
    assert type(caught.value) is ValueError
    settled(plane)
    (row,) = rows(plane)
    assert (row.outcome, row.error) == ("failed", "ValueError: the tool failed")


@every_kind
def test_pending_then_approved_runs(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """A held call waits, runs once a person says yes, and runs once."""
    body = Body()
    tool = kind.make(governed("refund", "orders"), body)

    def yes(row: Any) -> None:
        assert body.ran == []
        plane.approve(str(row.id), approver="ann")

    with Meanwhile(plane, yes):
        assert kind.run(tool, "o-1", 900.0) == kind.result("o-1", 900.0, "n")
    settled(plane)
    assert body.ran == RAN
    assert events(plane) == ["submitted", "approved", "started", "completed"]


@base_kind
def test_pending_then_denied_does_not_run(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """A held call that a person refuses does not run, and the person's words come with the error."""
    body = Body()
    tool = kind.make(governed("refund", "orders"), body)
    with (
        Meanwhile(plane, lambda row: plane.deny(str(row.id), approver="ann", comment="not today")),
        pytest.raises(AuthorizationDeniedError, match="ann denied it: not today"),
    ):
        kind.run(tool, "o-1", 900.0)
    settled(plane)
    assert body.ran == []
    assert events(plane) == ["submitted", "denied"]


@base_kind
def test_nobody_decides_in_time(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """A held call that nobody decides gives up without running; the action stays open for the same call later."""
    body = Body()
    tool = kind.make(governed("refund", "orders", timeout=0.001), body)
    with pytest.raises(TimeoutError, match="make the same call again") as caught:
        kind.run(tool, "o-1", 900.0)
    settled(plane)
    assert body.ran == []
    (row,) = rows(plane)
    assert (row.status, row.waiter, str(row.id)) == ("pending", None, caught.value.action_id)
    plane.approve(str(row.id), approver="ann")
    kind.run(tool, "o-1", 900.0)
    assert body.ran == RAN
    assert len(rows(plane)) == 1


@base_kind
def test_killed_before(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """Nothing starts under the kill switch, and everything does again after it."""
    body = Body()
    tool = kind.make(governed("order_read", "orders"), body)
    plane.kill(reason="fire drill", by="ann")
    with pytest.raises(KillSwitchError, match="fire drill"):
        kind.run(tool, "o-1")
    assert body.ran == []
    assert rows(plane) == []
    plane.release(reason="over", by="ann")
    kind.run(tool, "o-1")
    settled(plane)
    assert body.ran == [("o-1", 10.0, "n")]
    assert events(plane) == [
        "kill_switch.on",
        "blocked",
        "kill_switch.off",
        "submitted",
        "started",
        "completed",
    ]


@base_kind
def test_killed_while_waiting(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """The kill switch ends a wait at once, whoever approves later."""
    body = Body()
    tool = kind.make(governed("refund", "orders"), body)

    def kill_then_approve(row: Any) -> None:
        plane.kill(reason="fire", by="ann", agent_id="billing")
        plane.approve(str(row.id), approver="bob")

    with Meanwhile(plane, kill_then_approve), pytest.raises(KillSwitchError, match="fire"):
        kind.run(tool, "o-1", 900.0)
    settled(plane)
    assert body.ran == []
    assert "started" not in events(plane)


@base_stream
def test_killed_between_chunks(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """A stream stops at the next chunk after the kill switch; its tool cleans up and is recorded as failed."""
    body = Body()
    tool = kind.make(governed("order_read", "orders"), body)
    got: list[int] = []

    def kill() -> None:
        plane.kill(reason="fire", by="ann")

    with pytest.raises(KillSwitchError, match="was stopped half way"):
        _consume(kind, tool, got, kill)
    settled(plane)
    assert got == [0]
    assert body.cleaned == 1
    (row,) = rows(plane)
    assert row.outcome == "failed"
    assert row.error is not None
    assert row.error.startswith("KillSwitchError")
    assert detail(plane) == "stopped after 1 chunks"


def _consume(kind: Kind, tool: Callable[..., Any], got: list[int], after_first: Callable[[], None]) -> None:
    def step(chunk: int) -> None:
        got.append(chunk)
        if len(got) == 1:
            after_first()

    if kind.style == "stream":
        for chunk in tool("o-1"):
            step(chunk)
        return

    async def aconsume(order: str) -> None:
        async for chunk in tool(order):
            step(chunk)

    Kind("", "async", lambda *_: None).run(aconsume, "o-1")


def detail(plane: EmbeddedControlPlane) -> str | None:
    """How the last outcome came about."""
    return next((record.get("detail") for record in reversed(story(plane)) if "duration" in record), None)


@base_stream
def test_a_stream_that_fails_half_way(plane: EmbeddedControlPlane, kind: Kind) -> None:
    """A stream that breaks after a chunk is failed, not completed."""
    body = Body(fails_after=1)
    tool = kind.make(governed("order_read", "orders"), body)
    with pytest.raises(ValueError, match="the tool failed"):
        kind.run(tool, "o-1")
    settled(plane)
    (row,) = rows(plane)
    assert (row.outcome, row.error) == ("failed", "ValueError: the tool failed")
    assert body.cleaned == 1


# --- promise 7: the shape of a call never changes its decision -------------------------------------------------------------

values = st.one_of(
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text("abc", max_size=3), st.integers(), max_size=2),
)


@settings(max_examples=2 * SCHEDULES)
@given(
    kind=st.sampled_from(KINDS),
    order=values,
    amount=st.none() | values,
    shape=st.integers(0, 2),
    note=st.booleans(),
)
def test_the_shape_of_a_call_does_not_matter(
    plane: EmbeddedControlPlane, kind: Kind, order: Any, amount: Any, shape: int, note: bool
) -> None:
    """Positional, keyword or by default: the same arguments are recorded, with the same digest, as for a function."""
    given_ = {"order": order} | ({} if amount is None else {"amount": amount})
    args, kwargs = list(given_.values())[:shape], dict(list(given_.items())[shape:])
    body = Body()
    gate = governed("order_read", "orders")
    kind.run(kind.make(gate, body), *args, **kwargs, **({"note": "n"} if note else {}))
    KINDS[0].run(KINDS[0].make(gate, body), *given_.values())
    mine, theirs = plane.read(lambda reader: reader.actions("local", limit=2))
    assert mine.digest == theirs.digest
    left, right = asked(plane, mine.id).action_details, asked(plane, theirs.id).action_details
    assert left == right
    assert list(left) == list(right)
    assert body.ran[0] == body.ran[1]
