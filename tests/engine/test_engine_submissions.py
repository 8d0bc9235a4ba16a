"""What follows from a submission: the row, the records and the answer of each kind, and which earlier action answers it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine_world import ORG, START, Engine, answered, refund, submission

from ascend_guard.engine import decide, kill
from ascend_guard.engine.policy import DEFAULT_TIMEOUT, Requirement, RuleEffect
from ascend_guard.engine.repeats import CALL
from ascend_guard.engine.risk import Risk, assess
from ascend_guard.errors import ValidationError
from ascend_guard.model import ActionResult, AgentAction, Decision, KillSwitchState

D = "d" * 64
WAITING = {"event": "waiting", "action_id": 1, "actor": "billing"}
"""The record of a change in who waits for a decision."""
WHEN = "2027-01-15T08:00:00Z"
FULL = {
    "session_id": "session",
    "orchestration_session_id": "orchestration",
    "orchestration_depth": 2,
    "context": {"environment": "test"},
}


def row_of(action: AgentAction, risk: Risk, **other: Any) -> dict[str, Any]:
    """The columns that a submission fills from what is asked."""
    return {
        "id": 1,
        "organization": ORG,
        "agent_id": "billing",
        "agent_name": "Billing",
        "action_type": "refund",
        "tool_name": "pay",
        "resource": action.resource,
        "risk_score": risk.score,
        "risk_level": risk.level.value,
        "session_id": "session",
        "orchestration_session_id": "orchestration",
        "depth": 2,
        "digest": D,
        "created_at": START,
        "submitted_seq": 1,
        **other,
    }


def submitted(engine: Engine, action: AgentAction, **other: Any) -> dict[str, Any]:
    """The record of a submission."""
    return {
        "event": "submitted",
        "action_id": 1,
        "actor": "billing",
        "digest": D,
        "action": msgspec.to_builtins(action),
        "risk": msgspec.json.decode(msgspec.json.encode(assess(action))),
        "policy": engine.policy.digest,
        **other,
    }


def test_an_allowed_action_is_claimed_in_the_same_step(engine: Engine) -> None:
    """The whole row, both steps in one record, and an answer that says it is claimed."""
    action = refund(50.0, **FULL)
    risk = assess(action)
    change = engine.submit(submission(action))
    why = {"rule": "small", "reason": "The rule small allows it."}
    claimed = {"status": "approved", "runner": "me", "claimed_at": START, "started_seq": 1}
    row = row_of(action, risk, **claimed, **why)
    assert {name: value for name, value in change.columns.items() if value is not None} == row
    started = {"event": "started", "action_id": 1, "actor": "billing", "digest": D}
    assert change.records == [submitted(engine, action, decision="approved", **why), started]
    assert change.answer == ActionResult(
        "1",
        Decision.APPROVED,
        risk.score,
        risk.level,
        why["reason"],
        "small",
        WHEN,
        {
            "cvss_vector": risk.cvss_vector,
            "nist_controls": risk.nist_controls,
            "mitre_techniques": risk.mitre_techniques,
        },
        claimed=True,
    )


def test_a_denied_action_is_recorded_and_nothing_more(engine: Engine) -> None:
    """Nothing is claimed, and it has no deadline."""
    action = refund(6000.0, **FULL)
    change = engine.submit(submission(action, once="x"))
    why = {"rule": "huge", "reason": "Too much."}
    row = row_of(action, assess(action), status="denied", **why)
    assert {name: value for name, value in change.columns.items() if value is not None} == row
    assert change.records == [submitted(engine, action, decision="denied", **why)]
    assert not answered(change).claimed
    assert answered(change).status is Decision.DENIED
    assert engine.store.read(lambda reader: reader.count_records(ORG, CALL)) == 0


@pytest.mark.parametrize("detached", [True, False])
def test_a_pending_action_waits(engine: Engine, detached: bool) -> None:
    """With its deadline, with whom it waits for, and with the process that waits where one does."""
    action = refund(500.0, **FULL)
    change = engine.submit(submission(action, detached=detached))
    wanted = [{"rule": "middle", "approvers": ["finance"], "quorum": 1}]
    why = {"rule": "middle", "reason": "Finance decides."}
    assert {name: value for name, value in change.columns.items() if value is not None} == row_of(
        action,
        assess(action),
        status="pending",
        fingerprint=engine.row().fingerprint,
        requirements=msgspec.json.encode(wanted).decode(),
        quorum=1,
        timeout=1800.0,
        expires_at=START + 1800.0,
        **why,
        **({} if detached else {"waiter": "me"}),
    )
    (record,) = change.records
    assert len(record.pop("call")) == 64
    assert record == submitted(
        engine,
        action,
        decision="pending",
        approvers=["finance"],
        quorum=1,
        requirements=wanted,
        denials_last=engine.policy.denials_last,
        **why,
    )
    assert answered(change).status is Decision.PENDING
    assert not answered(change).claimed
    assert len(engine.row().fingerprint or "") == 64


def test_an_action_that_cannot_be_repeated_has_no_fingerprint(engine: Engine) -> None:
    """So nothing resumes it."""
    engine.submit(submission(refund(), repeatable=False, detached=True))
    assert engine.row().fingerprint is None
    engine.submit(submission(refund(), repeatable=False, detached=True), number=2)
    assert engine.row(2).status == "pending"


def test_errors_of_conditions_are_recorded(engine: Engine) -> None:
    """A condition that cannot be evaluated asks or denies, and the record says so."""
    change = engine.submit(submission(refund(action_details={"amount": "much"})))
    assert change.records[0]["errors"]


def test_an_action_without_a_timeout_has_no_deadline(engine: Engine) -> None:
    """As a policy may say."""
    judgement = decide.judge(refund(), engine.policy)
    verdict = msgspec.structs.replace(judgement.verdict, timeout=None)
    judgement = msgspec.structs.replace(judgement, verdict=verdict)
    effect = submission(refund())
    engine.step(lambda tx: decide.submit(tx, ORG, "me", lambda name: True, judgement, effect))
    assert (engine.row().timeout, engine.row().expires_at) == (None, None)


def test_a_submission_under_the_kill_switch_is_blocked(engine: Engine) -> None:
    """And recorded with what was asked, since there is no action."""
    engine.step(lambda tx: kill.pull(tx, ORG, "billing", "an exercise", "ann"))
    action = refund(50.0)
    change = engine.submit(submission(action))
    assert isinstance(change.answer, KillSwitchState)
    assert change.answer.blocked
    assert change.columns == {}
    assert change.records == [
        {
            "event": "blocked",
            "actor": "billing",
            "stage": "submit",
            "reason": "an exercise",
            "action": msgspec.to_builtins(action),
        }
    ]


def test_a_name_that_has_run_is_answered(engine: Engine) -> None:
    """Without a record; another name runs."""
    engine.submit(submission(refund(50.0), once="x"))
    again = engine.submit(submission(refund(50.0), once="x"), number=2)
    assert answered(again).status is Decision.DENIED
    assert answered(again).metadata["already_ran"]["action_id"] == "1"
    assert (again.columns, again.records) == ({}, [])
    assert answered(engine.submit(submission(refund(50.0), once="y"), number=2)).claimed


# --- judging -------------------------------------------------------------------------------------------------------------


def test_a_caller_can_ask_for_more_than_the_policy_does(engine: Engine) -> None:
    """An allowed call whose caller wants a person's approval waits for anybody, for the usual time."""
    action = refund(50.0, context={"require_human_approval": True})
    verdict = decide.judge(action, engine.policy).verdict
    assert (verdict.effect, verdict.rule) == (RuleEffect.REQUIRE_APPROVAL, "small")
    assert verdict.reason == "The caller requires a person's approval."
    assert verdict.rules == decide.judge(refund(50.0), engine.policy).verdict.rules
    assert verdict.timeout == DEFAULT_TIMEOUT
    assert verdict.requirements == (Requirement("require_human_approval", (), 1),)
    assert verdict.quorum == 1


@pytest.mark.parametrize("value", [False, None, "true", 1, "yes"])
def test_only_true_asks_for_a_person(engine: Engine, value: object) -> None:
    """A context is plain data; nothing else means it."""
    action = refund(50.0, context={"require_human_approval": value})
    assert decide.judge(action, engine.policy).verdict.effect is RuleEffect.ALLOW


@pytest.mark.parametrize(("amount", "rule"), [(6000.0, "huge"), (500.0, "middle")])
def test_a_caller_cannot_ask_for_less(engine: Engine, amount: float, rule: str) -> None:
    """What the policy denies or asks for stays as it is."""
    action = refund(amount, context={"require_human_approval": True})
    plain = decide.judge(refund(amount), engine.policy).verdict
    verdict = decide.judge(action, engine.policy).verdict
    assert (verdict.effect, verdict.rule, verdict.requirements) == (plain.effect, rule, plain.requirements)


def test_a_risk_that_is_known_is_not_assessed_again(engine: Engine) -> None:
    """And a judgement has everything that was judged, and cannot be changed."""
    action = refund()
    known = msgspec.structs.replace(assess(action), score=99.0)
    judgement = decide.judge(action, engine.policy, known)
    assert judgement.risk is known
    assert judgement.action is action
    assert (judgement.policy, judgement.denials_last) == (engine.policy.digest, engine.policy.denials_last)
    assert decide.judge(action, engine.policy).risk == assess(action)
    with pytest.raises(AttributeError):
        judgement.policy = "x"  # type: ignore[misc]  # that it cannot be set is the test


@pytest.mark.parametrize(("depth", "fits"), [(-1, False), (0, True), (5, True), (6, False)])
def test_calls_are_nested_five_deep(engine: Engine, depth: int, fits: bool) -> None:
    """SDK document, "Multi-agent orchestration": depth 0..5."""
    action = refund(50.0, orchestration_depth=depth)
    if fits:
        assert decide.judge(action, engine.policy).action is action
        return
    with pytest.raises(ValidationError) as caught:
        decide.judge(action, engine.policy)
    assert caught.value.reason == "orchestration depth out of range"


# --- parents -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("claimed", "real"), [(0, 3), (3, 3), (4, 4)])
def test_a_call_is_at_least_one_deeper_than_its_parent(engine: Engine, claimed: int, real: int) -> None:
    """Whatever its caller says of its depth."""
    engine.submit(submission(refund(50.0, orchestration_depth=2, orchestration_session_id="o")))
    child = refund(50.0, orchestration_depth=claimed, parent_action_id=1, orchestration_session_id="o")
    assert answered(engine.submit(submission(child), number=2)).claimed
    assert (engine.row(2).depth, engine.row(2).parent_action_id) == (real, 1)


def test_a_call_below_the_deepest_is_refused(engine: Engine) -> None:
    """Although its caller says it is a root."""
    engine.submit(submission(refund(50.0, orchestration_depth=5)))
    with engine.refusing(ValidationError, "nested 6 governed calls deep"):
        engine.submit(submission(refund(50.0, parent_action_id=1)), number=2)


@pytest.mark.parametrize(
    ("parent", "code", "why"),
    [
        (1, "ORCHESTRATION_GRAFT_ATTEMPT", "The parent action belongs to another orchestration session."),
        *(
            (wrong, "ORCHESTRATION_FIELD_REJECTED", "The parent action does not exist in this organization.")
            for wrong in (0, -1, 7, 2**63 - 1, 2**63, 2**70)
        ),
    ],
)
def test_a_parent_that_is_not_its_own_denies_a_call(engine: Engine, parent: int, code: str, why: str) -> None:
    """It is recorded, and the denied action is not linked to it, nor judged by a rule."""
    engine.submit(submission(refund(50.0, orchestration_session_id="mine")))
    child = refund(50.0, parent_action_id=parent, orchestration_session_id="o", orchestration_depth=1)
    change = engine.submit(submission(child), number=2)
    rejection, record = change.records
    assert rejection == {
        "event": code,
        "actor": "billing",
        "parent_action_id": parent,
        "orchestration_session_id": "o",
    }
    assert (record["event"], record["decision"], record["rule"], record["reason"]) == (
        "submitted",
        "denied",
        None,
        why,
    )
    assert answered(change).status is Decision.DENIED
    row = engine.row(2)
    assert (row.parent_action_id, row.depth, row.rule, row.reason) == (None, 1, None, why)


def test_a_rejection_says_why_in_three_ways(engine: Engine) -> None:
    """As text, as a reason, and by the name of its event."""
    action = refund(parent_action_id=7)
    change = engine.step(lambda tx: decide.foreign_parent(tx, ORG, action))
    error = change.answer
    assert isinstance(error, decide.OrchestrationRejected)
    assert str(error) == f"Denied: {error.reason}"
    assert error.code == "ORCHESTRATION_FIELD_REJECTED"


# --- the same call again -------------------------------------------------------------------------------------------------


def again(engine: Engine, runner: str = "you", number: int = 1, **other: Any) -> Any:
    """The same call, made by another process ten seconds later."""
    engine.now += 10
    return engine.submit(submission(other.pop("action", refund()), **other), runner, number)


def test_a_call_whose_process_lives_is_not_resumed(engine: Engine) -> None:
    """Two processes that make the same call at once are asked about twice."""
    engine.submit(submission(refund()))
    assert answered(again(engine, number=2)).action_id == "2"


@pytest.mark.parametrize("detached", [True, False])
def test_a_call_that_nobody_waits_for_is_resumed(engine: Engine, detached: bool) -> None:
    """Under the same number, without a new decision; the process that made it again waits for it, which is recorded."""
    engine.submit(submission(refund(), detached=True))
    change = again(engine, detached=detached)
    assert answered(change).action_id == "1"
    assert answered(change).status is Decision.PENDING
    assert change.records == ([] if detached else [WAITING])
    assert change.columns == ({} if detached else {"waiter": "you"})


def test_a_call_whose_process_is_dead_is_resumed(engine: Engine) -> None:
    """And a caller that will not wait leaves it without one who does."""
    engine.submit(submission(refund()))
    engine.dead.add("me")
    assert again(engine, detached=True).columns == {"waiter": None}


def test_a_resumed_call_belongs_to_where_it_is_made_now(engine: Engine) -> None:
    """Calls made inside it link to the orchestration of today."""
    engine.submit(submission(refund(50.0, orchestration_session_id="new", orchestration_depth=2)), number=1)
    engine.submit(submission(refund(orchestration_session_id="old"), detached=True), number=2)
    child = refund(orchestration_session_id="new", parent_action_id=1, orchestration_depth=3)
    change = again(engine, number=2, action=child)
    assert change.columns == {
        "orchestration_session_id": "new",
        "parent_action_id": 1,
        "depth": 3,
        "waiter": "you",
    }


def test_an_approved_call_is_claimed_when_it_is_resumed(engine: Engine) -> None:
    """For the digest it was approved for, under its name."""
    engine.submit(submission(refund(), detached=True, once="x"))
    engine.approve()
    change = again(engine, once="x")
    assert answered(change).claimed
    assert answered(change).status is Decision.APPROVED
    assert change.columns == {"claimed_at": START + 10, "runner": "you", "started_seq": 3, "expires_at": None}
    assert change.records == [{"event": "started", "action_id": 1, "actor": "billing", "digest": D}]
    assert engine.store.read(lambda reader: reader.count_records(ORG, CALL)) == 1


def test_a_pending_call_takes_no_name_when_it_is_resumed(engine: Engine) -> None:
    """It has not begun."""
    engine.submit(submission(refund(), detached=True, once="x"))
    again(engine, once="x")
    assert engine.store.read(lambda reader: reader.count_records(ORG, CALL)) == 0


def test_an_edited_call_is_claimed_by_itself(engine: Engine) -> None:
    """Its edits must be made and judged first."""
    engine.submit(submission(refund(), detached=True))
    engine.approve(edits={"amount": 600.0})
    change = again(engine)
    assert not answered(change).claimed
    assert answered(change).modified_arguments == {"amount": 600.0}
    assert change.columns == {"waiter": "you"}


@pytest.mark.parametrize(("after", "late"), [(1799, False), (1800, True)])
def test_an_approval_that_lapsed_is_asked_about_anew(engine: Engine, after: int, late: bool) -> None:
    """Not used in time is no person's denial."""
    engine.submit(submission(refund(), detached=True))
    engine.approve()
    engine.now = START + after - 10
    change = again(engine, number=2)
    assert answered(change).action_id == ("2" if late else "1")
    assert engine.row(1).status == ("denied" if late else "approved")
    if late:
        assert [record["event"] for record in change.records] == ["expired", "submitted"]


def test_a_call_without_a_deadline_is_resumed_at_any_time(engine: Engine) -> None:
    """Nothing expires that has none."""
    engine.submit(submission(refund(), detached=True))
    engine.give(1, expires_at=None)
    engine.now += 10**7
    assert answered(again(engine)).action_id == "1"


def test_a_pending_call_that_expired_is_told_of_once(engine: Engine) -> None:
    """Then it is asked about anew."""
    engine.submit(submission(refund(), detached=True))
    engine.now += 2000
    told = again(engine)
    assert (answered(told).action_id, answered(told).status) == ("1", Decision.DENIED)
    assert told.columns["fingerprint"] is None
    assert [record["event"] for record in told.records] == ["expired", "waiting"]
    assert answered(again(engine, number=2)).action_id == "2"


def test_a_denied_call_is_told_of_once_and_then_by_the_denial_that_lasts(engine: Engine) -> None:
    """Only the second answer is recorded as a repetition."""
    engine.submit(submission(refund(), detached=True))
    engine.deny()
    told = again(engine)
    assert (answered(told).action_id, told.columns, told.records) == ("1", {"fingerprint": None}, [WAITING])
    later = again(engine)
    assert answered(later).status is Decision.DENIED
    assert [record["event"] for record in later.records] == ["repeated"]


def test_a_stale_denial_is_not_told_of(engine: Engine) -> None:
    """After the time that an approval would have been good for, the lasting denial answers, or people are asked."""
    engine.submit(submission(refund(), detached=True))
    engine.deny()
    engine.now += 2 * 86400
    change = again(engine, number=2)
    assert answered(change).action_id == "2"
    assert engine.row(1).fingerprint is None


def test_a_named_call_is_told_of_its_denial_however_often(engine: Engine) -> None:
    """A graph that runs it again must get the same answer; so it keeps its fingerprint."""
    engine.submit(submission(refund(), detached=True, call_id="c"))
    engine.deny()
    engine.now += 10**6
    for _ in range(2):
        change = again(engine, call_id="c")
        assert (answered(change).action_id, change.columns, change.records) == ("1", {}, [])
