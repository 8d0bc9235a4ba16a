"""Promise 3, at its narrowest point: the claim."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from recorded import asked_in, trail_of
from support import POLICY

from ascend_guard import (
    ActionPendingError,
    AgentAction,
    AscendError,
    AuthorizationDeniedError,
    ConflictError,
    EmbeddedControlPlane,
    KillSwitchError,
    governed,
)
from ascend_guard.engine.policy import parse_policy
from ascend_guard.flow import Begin, Claim, Submit
from ascend_guard.store.sqlite.store import SQLiteStore

BIG = AgentAction("billing", "billing", "refund", "refund", "refund", action_details={"amount": 900})
DIGEST, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def approved(plane: EmbeddedControlPlane) -> Iterator[str]:
    """An approved action that nobody has claimed."""
    asked = plane.perform(Submit(BIG, DIGEST, detached=True, repeatable=True))
    plane.approve(asked.action_id, approver="ann")
    yield asked.action_id


def claims(plane: EmbeddedControlPlane, action_id: str) -> list[str]:
    """The actions's trail, by event."""
    return [row.event for row in plane.read(lambda reader: trail_of(reader, action_id))]


def test_of_many_claims_at_once_one_succeeds(
    plane: EmbeddedControlPlane, approved: str, tmp_path: Path
) -> None:
    """From many threads on two stores of the same file, as from two processes."""
    second = EmbeddedControlPlane(SQLiteStore(tmp_path / "ascend.db"), parse_policy(POLICY))
    won: list[object] = []
    lost: list[object] = []
    barrier = threading.Barrier(16)

    def claim(control_plane: EmbeddedControlPlane) -> None:
        barrier.wait()
        try:
            won.append(control_plane.perform(Claim(BIG, approved, DIGEST, DIGEST)))
        except ConflictError as error:
            lost.append(error)

    threads = [threading.Thread(target=claim, args=((plane, second)[index % 2],)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 15)
    assert claims(plane, approved) == ["submitted", "approved", "started"]
    second.close()


def test_a_claim_with_other_arguments_is_refused(plane: EmbeddedControlPlane, approved: str) -> None:
    """An approval is good for the digest it was asked for."""
    with pytest.raises(AuthorizationDeniedError, match="other arguments"):
        plane.perform(Claim(BIG, approved, OTHER, OTHER))
    assert plane.perform(Claim(BIG, approved, DIGEST, DIGEST)).claimed


def test_a_claim_to_run_other_arguments_than_were_approved_is_refused(
    plane: EmbeddedControlPlane, approved: str
) -> None:
    """Only an approver's edits make other arguments run; a claim cannot bring its own."""
    for claim in (
        Claim(BIG, approved, DIGEST, OTHER),
        Claim(BIG, approved, DIGEST, OTHER, {"amount": 1}),
        Claim(BIG, approved, DIGEST, DIGEST, {"amount": 1}),
    ):
        with pytest.raises(AuthorizationDeniedError, match="no approver edited"):
            plane.perform(claim)
    assert claims(plane, approved) == ["submitted", "approved"]
    assert plane.perform(Claim(BIG, approved, DIGEST, DIGEST)).claimed


def test_a_permit_begins_only_with_the_arguments_it_was_taken_for(
    plane: EmbeddedControlPlane, approved: str
) -> None:
    """The digest in the permit is that of the claim, or of the submission that was approved at once."""
    plane.perform(Claim(BIG, approved, DIGEST, DIGEST))
    small = msgspec.structs.replace(BIG, action_details={"amount": 5})
    at_once = plane.perform(Submit(small, OTHER, detached=False, repeatable=False))
    for action_id, right, wrong in ((approved, DIGEST, OTHER), (at_once.action_id, OTHER, DIGEST)):
        with pytest.raises(ConflictError, match="other arguments"):
            plane.perform(Begin(BIG, action_id, wrong))
        assert not plane.perform(Begin(BIG, action_id, right)).blocked


@pytest.mark.parametrize("agent", [None, "billing"])
def test_a_claim_under_the_kill_switch_is_refused_and_recorded(
    plane: EmbeddedControlPlane, approved: str, agent: str | None
) -> None:
    """The switch wins in the very transaction that would have given the permit."""
    plane.kill(reason="fire", by="ann", agent_id=agent)
    with pytest.raises(KillSwitchError, match="fire"):
        plane.perform(Claim(BIG, approved, DIGEST, DIGEST))
    assert claims(plane, approved) == ["submitted", "approved", "blocked"]


def test_a_submit_under_the_kill_switch_is_refused_and_recorded(plane: EmbeddedControlPlane) -> None:
    """Also when the switch was turned after the check before it."""
    plane.kill(reason="fire", by="ann")
    with pytest.raises(KillSwitchError, match="fire"):
        plane.perform(Submit(BIG, DIGEST, detached=False, repeatable=True))
    assert plane.read(lambda reader: reader.actions("local")) == []


def test_an_approval_nobody_used_lapses(tmp_path: Path) -> None:
    """It is good for as long as the approver had to decide."""
    now = [1_800_000_000.0]
    store = SQLiteStore(tmp_path / "a.db", clock=lambda: now[0])
    plane = EmbeddedControlPlane(store, parse_policy(POLICY), clock=lambda: now[0])
    asked = plane.perform(Submit(BIG, DIGEST, detached=True, repeatable=True))
    now[0] += 29 * 60
    plane.approve(asked.action_id, approver="ann")
    now[0] += 31 * 60
    with pytest.raises(AscendError, match="not used in time"):
        plane.perform(Claim(BIG, asked.action_id, DIGEST, DIGEST))
    assert claims(plane, asked.action_id) == ["submitted", "approved", "expired"]
    again = plane.perform(Submit(BIG, DIGEST, detached=True, repeatable=True))
    assert again.is_pending()
    assert again.action_id != asked.action_id
    plane.close()


def test_two_detached_calls_racing_for_an_edited_approval_run_once(plane: EmbeddedControlPlane) -> None:
    """Edited approvals are claimed after being taken up; two callers may hold the same one for a moment."""
    ran: list[float] = []

    @governed("refund", on_pending="raise")
    def refund(amount: float) -> None:
        ran.append(amount)

    with pytest.raises(ActionPendingError) as pending:
        refund(900)
    plane.approve(pending.value.action_id or "", approver="ann", arguments={"amount": 10})
    held = [
        plane.perform(Submit(_same(plane), _digest(plane), detached=True, repeatable=True)) for _ in range(2)
    ]
    assert [result.modified_arguments for result in held] == [{"amount": 10}] * 2
    refund(900)
    with pytest.raises(ActionPendingError):
        refund(900)
    assert ran == [10]


def _same(plane: EmbeddedControlPlane) -> AgentAction:

    return plane.read(lambda reader: asked_in(reader, 1))


def _digest(plane: EmbeddedControlPlane) -> str:
    return plane.read(lambda reader: reader.actions("local"))[0].digest


def test_a_call_whose_arguments_changed_leaves_a_reason_and_no_usable_approval(
    plane: EmbeddedControlPlane,
) -> None:
    """Blocked, recorded as withdrawn, and the approval cannot be taken up by anybody."""
    ran: list[int] = []

    @governed("refund", timeout=30)
    def refund(amount: float, lines: list[str]) -> None:
        ran.append(1)

    lines = ["two frames"]

    def person() -> None:
        while not plane.pending():
            pass
        lines.append("and a bribe")
        plane.approve(str(plane.pending()[0].id), approver="ann")

    approver = threading.Thread(target=person)
    approver.start()
    with pytest.raises(AuthorizationDeniedError, match="arguments changed"):
        refund(900, lines)
    approver.join()
    assert ran == []
    assert claims(plane, "1") == ["submitted", "approved", "withdrawn"]
    del lines[1:]
    assert (
        plane.perform(Submit(_same(plane), _digest(plane), detached=True, repeatable=True)).action_id == "2"
    )
    assert plane.verify_audit().ok
