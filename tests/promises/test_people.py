"""Promises 6 and 9: an agent cannot approve itself, and organizations never see each other. And what people may do when."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import every_record, trail_of
from support import POLICY

from ascend_guard import (
    ActionPendingError,
    AgentAction,
    AscendError,
    AuthenticationError,
    ConflictError,
    EmbeddedControlPlane,
    NotFoundError,
    ValidationError,
    governed,
)
from ascend_guard.engine.policy import parse_policy
from ascend_guard.flow import Claim, Settle, Submit
from ascend_guard.model import Outcome, OutcomeStatus
from ascend_guard.store.sqlite.store import SQLiteStore


def ask(plane: EmbeddedControlPlane) -> str:
    """Make a call that waits for a person; the action's id."""

    @governed("refund", on_pending="raise", control_plane=plane)
    def refund(amount: float) -> None: ...

    with pytest.raises(ActionPendingError) as pending:
        refund(900)
    assert pending.value.action_id is not None
    return pending.value.action_id


def test_a_governed_tool_cannot_approve_deny_or_release(plane: EmbeddedControlPlane) -> None:
    """Inside a governed call nobody is a person; stopping, however, anybody may."""
    action_id = ask(plane)
    attempts: list[Callable[[], object]] = [
        lambda: plane.approve(action_id, approver="agent"),
        lambda: plane.deny(action_id, approver="agent"),
        lambda: plane.release(reason="please", by="agent"),
    ]

    @governed("file_read")
    def tool() -> None:
        for attempt in attempts:
            with pytest.raises(AuthenticationError):
                attempt()
        plane.kill(reason="I am out of control", by="agent")

    tool()
    assert plane.read(lambda reader: reader.actions("local", status="pending"))[0].id == int(action_id)
    assert plane.kill_switches()[0].blocked


@given(guess=st.one_of(st.integers(-3, 50).map(str), st.text(max_size=20), st.just("9" * 40)))
def test_no_guess_reaches_another_organizations_action(
    tmp_path_factory: pytest.TempPathFactory, guess: str
) -> None:
    """Whatever identifier is tried, by whatever operation: not found, in the same words as for one that does not exist."""
    store = SQLiteStore(tmp_path_factory.mktemp("tenants") / "a.db", durability="process")
    ours = EmbeddedControlPlane(store, parse_policy(POLICY), organization="ours")
    theirs = EmbeddedControlPlane(store, parse_policy(POLICY), organization="theirs")
    existing = ask(theirs)
    before = theirs.read(lambda reader: list(reader.every_action("theirs")))
    action = AgentAction("a", "a", "refund", "r", "refund")
    for action_id in (existing, guess):
        for attempt in (
            lambda action_id=action_id: ours.approve(action_id, approver="ann"),
            lambda action_id=action_id: ours.deny(action_id, approver="ann"),
            lambda action_id=action_id: ours.perform(Claim(action, action_id, "d", "d")),
        ):
            with pytest.raises(NotFoundError) as error:
                attempt()
            assert str(error.value).replace(repr(action_id), "") == "There is no action ."
            assert error.value.remedy == "See `ascend-guard actions list`."
    ours.perform(
        Settle(existing, Outcome(OutcomeStatus.COMPLETED))
    )  # nobody waits for an outcome; this one goes nowhere
    linked = AgentAction("a", "a", "file_read", "r", "file", parent_action_id=int(existing))
    assert ours.perform(Submit(linked, "d", detached=False, repeatable=True)).is_denied()
    ours.kill(reason="ours only", by="ann")
    assert theirs.kill_switches() == []
    (own,) = ours.read(lambda reader: reader.actions("ours"))
    assert str(own.id) == existing  # each organization counts from one: now this number names their own
    with pytest.raises(ConflictError, match="was denied"):
        ours.approve(existing, approver="ann")
    assert theirs.read(lambda reader: list(reader.every_action("theirs"))) == before
    trail = theirs.read(lambda reader: trail_of(reader, existing, "theirs"))
    assert [row.event for row in trail] == ["submitted"]
    assert ours.verify_audit().ok
    store.close()


def test_two_approvers_clicking_together_approve_once(plane: EmbeddedControlPlane) -> None:
    """One of them is told that it was decided already."""
    action_id = ask(plane)
    results: list[object] = []

    def click(who: str) -> None:
        try:
            results.append(plane.approve(action_id, approver=who).status)
        except ConflictError as error:
            results.append(type(error))

    clicks = [threading.Thread(target=click, args=(who,)) for who in ("ann", "bob")]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert sorted(map(str, results)) == sorted(["approved", str(ConflictError)])
    events = [row.event for row in plane.read(lambda reader: trail_of(reader, action_id))]
    assert events == ["submitted", "approved"]


def test_one_person_is_no_quorum_of_two(tmp_path: Path) -> None:
    """The same person saying yes twice counts once."""
    policy = parse_policy(POLICY.replace("approvers: [finance]", "approvers: [finance]\n    quorum: 2"))
    plane = EmbeddedControlPlane(SQLiteStore(tmp_path / "a.db"), policy)
    action_id = ask(plane)
    assert plane.approve(action_id, approver="ann").is_pending()
    assert plane.approve(action_id, approver="ann").is_pending()
    assert plane.approve(action_id, approver="bob").is_approved()
    plane.close()


def test_a_foreign_or_missing_parent_is_refused_and_recorded(plane: EmbeddedControlPlane) -> None:
    """SDK document, "Multi-agent orchestration": rejected fields and graft attempts are audit events."""
    root = AgentAction("a", "a", "file_read", "r", "file", orchestration_session_id="s1")
    result = plane.perform(Submit(root, "d", detached=False, repeatable=True))
    graft = AgentAction(
        "a",
        "a",
        "file_read",
        "r",
        "file",
        orchestration_session_id="s2",
        parent_action_id=int(result.action_id),
    )
    orphan = AgentAction("a", "a", "file_read", "r", "file", parent_action_id=4711)
    assert plane.perform(Submit(graft, "d", detached=False, repeatable=True)).is_denied()
    assert plane.perform(Submit(orphan, "d", detached=False, repeatable=True)).is_denied()
    events = plane.read(lambda reader: [row.event for row in every_record(reader)])
    assert "ORCHESTRATION_GRAFT_ATTEMPT" in events
    assert "ORCHESTRATION_FIELD_REJECTED" in events
    with pytest.raises(AscendError, match="at most 5"):
        plane.perform(
            Submit(
                AgentAction("a", "a", "file_read", "r", "file", orchestration_depth=6),
                "d",
                detached=False,
                repeatable=True,
            )
        )


def test_a_yes_does_not_count_for_what_somebody_edited_meanwhile(tmp_path: Path) -> None:
    """Promise 2 for approvers: what one has seen is what one approves."""
    policy = parse_policy(POLICY.replace("approvers: [finance]", "approvers: [finance]\n    quorum: 2"))
    plane = EmbeddedControlPlane(SQLiteStore(tmp_path / "a.db"), policy)
    action_id = ask(plane)
    seen = plane.pending()[0]
    plane.approve(action_id, approver="bob", arguments={"amount": 100_000})
    with pytest.raises(ConflictError, match="Look again"):
        plane.approve(action_id, approver="ann", seen=seen)
    assert plane.pending()
    assert plane.approve(action_id, approver="ann", seen=plane.pending()[0]).is_approved()
    plane.close()


def test_a_denial_does_not_count_for_what_somebody_edited_meanwhile(tmp_path: Path) -> None:
    """As for an approval: it is refused, the action still waits, and a denial of what it is now counts."""
    policy = parse_policy(POLICY.replace("approvers: [finance]", "quorum: 2"))
    plane = EmbeddedControlPlane(SQLiteStore(tmp_path / "a.db"), policy)
    action_id = ask(plane)
    seen = plane.pending()[0]
    plane.approve(action_id, approver="mallory", arguments={"amount": 7})
    with pytest.raises(ConflictError, match="changed"):
        plane.deny(action_id, approver="ann", seen=seen)
    assert plane.pending()[0].status == "pending"
    assert plane.deny(action_id, approver="ann", seen=plane.pending()[0]).is_denied()
    plane.close()


def test_an_empty_agent_name_is_not_everybody(plane: EmbeddedControlPlane) -> None:
    """An unset variable must neither stop nor release all agents."""
    with pytest.raises(ValidationError):
        plane.kill(reason="oops", by="ann", agent_id="")
    with pytest.raises(ValidationError):
        plane.release(reason="oops", by="ann", agent_id="")
