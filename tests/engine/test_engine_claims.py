"""Every step around a permit, with all that it changes: in the action, and in the audit trail."""

from __future__ import annotations

from typing import Any

import pytest
from engine_world import ORG, START, Engine, answered, refund, submission

from ascend_guard.engine import claim, kill
from ascend_guard.engine.repeats import CALL
from ascend_guard.engine.risk import assess
from ascend_guard.errors import AuthorizationDeniedError, ConflictError, NotFoundError
from ascend_guard.flow import Claim, Withdraw
from ascend_guard.model import Decision, KillSwitchState, Outcome, OutcomeStatus

R = "r" * 64


def approved(engine: Engine, **other: Any) -> None:
    """Action 1 is approved, ten seconds after it was asked."""
    engine.submit(submission(refund(), **other))
    engine.now += 10
    engine.approve()
    engine.now += 10


def test_a_claim_changes_this_and_nothing_else(engine: Engine) -> None:
    """The permit is taken by the process that claims, for the digest that runs, and the deadline is gone."""
    approved(engine)
    change = engine.claim()
    assert answered(change).claimed
    assert answered(change).status is Decision.APPROVED
    assert change.columns == {
        "claimed_at": START + 20,
        "runner": "runner",
        "started_seq": 3,
        "waiter": None,
        "expires_at": None,
    }
    assert change.records == [{"event": "started", "action_id": 1, "actor": "billing", "digest": "d" * 64}]
    assert engine.store.read(lambda reader: reader.runners()) == ["runner"]
    assert [row.id for row in engine.store.read(lambda reader: reader.running("runner"))] == [1]


def test_the_row_that_is_taken_knows_who_took_it(engine: Engine) -> None:
    """What reads it in the same transaction sees the permit as taken."""
    approved(engine)
    row = engine.row()
    ran = {"rule": "middle", "resource": "as it runs", "risk": assess(refund(600.0))}
    engine.step(lambda tx: claim.take(tx, row, "runner", R, ran))
    assert (row.claimed_at, row.runner) == (START + 20, "runner")
    taken = engine.row()
    assert (taken.claimed_at, taken.runner, taken.resource) == (START + 20, "runner", "as it runs")


def test_an_edited_claim_records_what_runs(engine: Engine) -> None:
    """The record of the start has what the edited call acts on."""
    engine.submit(submission(refund()))
    engine.approve(edits={"amount": 600.0})
    change = engine.claim(refund(600.0), edits={"amount": 600.0})
    (started,) = change.records
    assert started["resource"] == "refund 600.0"
    assert started["arguments"] == {"amount": 600.0, "note": "n"}
    assert started["edits"] == {"amount": 600.0}
    assert started["digest"] == R
    assert answered(change).modified_arguments == {"amount": 600.0}
    assert engine.row().resource == "refund 600.0"


def test_an_edited_claim_that_is_refused_starts_nothing(engine: Engine) -> None:
    """A client that does not say what the edited call acts on has its approval withdrawn."""
    engine.submit(submission(refund()))
    engine.approve(edits={"amount": 600.0})
    change = engine.claim(refund(600.0))
    assert isinstance(change.answer, AuthorizationDeniedError)
    assert [record["event"] for record in change.records] == ["withdrawn"]
    assert engine.row().claimed_at is None


def test_a_second_claim_is_refused(engine: Engine) -> None:
    """One approval, one run, whatever came of it."""
    approved(engine)
    engine.claim()
    with engine.refusing(ConflictError, "has been used"):
        engine.claim()
    with engine.refusing(ConflictError, "has been used"):
        engine.claim(digest="other")


def test_a_claim_of_what_is_not_approved_is_refused(engine: Engine) -> None:
    """Pending, past its deadline or not, and denied."""
    engine.submit(submission(refund()))
    with engine.refusing(ConflictError, "is pending"):
        engine.claim()
    engine.now += 1800
    with engine.refusing(ConflictError, "is pending"):
        engine.claim()
    engine.now = START
    engine.deny()
    with engine.refusing(ConflictError, "is denied"):
        engine.claim()


def test_an_approval_without_a_deadline_is_good_for_ever(engine: Engine) -> None:
    """A rule may have none."""
    approved(engine)
    engine.give(1, expires_at=None)
    engine.now += 10**8
    assert answered(engine.claim()).claimed


@pytest.mark.parametrize(("after", "late"), [(1790, False), (1800, True), (1801, True)])
def test_an_approval_lapses_at_its_deadline(engine: Engine, after: int, late: bool) -> None:
    """Thirty minutes after the decision, to the second; the change is kept with the answer."""
    approved(engine)
    engine.now = START + 10 + after
    change = engine.claim()
    if not late:
        assert answered(change).claimed
        return
    assert isinstance(change.answer, AuthorizationDeniedError)
    assert change.answer.action_id == "1"
    why = "The approval was not used in time."
    assert change.columns == {
        "status": "denied",
        "reason": why,
        "decided_at": engine.now,
        "expires_at": None,
        "fingerprint": None,
    }
    assert change.records == [{"event": "expired", "action_id": 1, "actor": "system", "reason": why}]


def test_a_claim_for_other_arguments_is_refused(engine: Engine) -> None:
    """By one letter of the digest; and the approval is still there for the right ones."""
    approved(engine)
    with engine.refusing(AuthorizationDeniedError, "other arguments"):
        engine.claim(digest="d" * 63 + "e")
    assert answered(engine.claim()).claimed


def test_a_claim_under_the_kill_switch_is_blocked(engine: Engine) -> None:
    """The switch of the agent that asked counts, and it is recorded for this action."""
    approved(engine)
    engine.step(lambda tx: kill.pull(tx, ORG, "billing", "an exercise", "ann"))
    change = engine.claim()
    assert isinstance(change.answer, KillSwitchState)
    assert change.answer.blocked
    assert change.columns == {}
    assert change.records == [
        {"event": "blocked", "action_id": 1, "actor": "billing", "stage": "start", "reason": "an exercise"}
    ]


def test_a_name_that_has_run_withdraws_a_second_approval(engine: Engine) -> None:
    """Two actions of one name: the second is answered about itself, and can be used by nobody."""
    approved(engine, once="x")
    engine.submit(submission(refund(), once="x", digest="e" * 64, call_id="2"), number=2)
    engine.give(2, status="approved")
    engine.claim(once="x")
    change = engine.claim(number=2, digest="e" * 64, once="x")
    assert answered(change).status is Decision.DENIED
    assert answered(change).action_id == "2"
    assert answered(change).metadata["already_ran"]["action_id"] == "1"
    assert change.columns == {
        "status": "denied",
        "reason": answered(change).reason,
        "expires_at": None,
        "waiter": None,
        "fingerprint": None,
    }
    assert [record["event"] for record in change.records] == ["withdrawn"]


def test_a_claim_takes_the_name(engine: Engine) -> None:
    """Where it has one."""
    approved(engine, once="x")
    assert engine.store.read(lambda reader: reader.count_records(ORG, CALL)) == 0
    engine.claim(once="x")
    assert engine.store.read(lambda reader: reader.count_records(ORG, CALL)) == 1


def test_a_withdrawal_changes_this_and_nothing_else(engine: Engine) -> None:
    """It is denied with the reason, and neither waits nor is resumed."""
    approved(engine)
    change = engine.step(lambda tx: claim.withdraw(tx, ORG, Withdraw("1", "because")))
    assert change.columns == {
        "status": "denied",
        "reason": "because",
        "expires_at": None,
        "waiter": None,
        "fingerprint": None,
    }
    assert change.records == [{"event": "withdrawn", "action_id": 1, "actor": "billing", "reason": "because"}]


def test_what_has_started_cannot_be_withdrawn(engine: Engine) -> None:
    """Its permit is taken."""
    approved(engine)
    engine.claim()
    with engine.refusing(ConflictError, "has been started"):
        engine.step(lambda tx: claim.withdraw(tx, ORG, Withdraw("1", "because")))


def test_only_the_process_that_waits_stops_waiting(engine: Engine) -> None:
    """The action can be resumed then; one whose denial it was told of cannot."""
    engine.submit(submission(refund()))
    assert engine.step(lambda tx: claim.stop_waiting(tx, ORG, "1", "another")).columns == {}
    assert engine.step(lambda tx: claim.stop_waiting(tx, ORG, "2", "me")).columns == {}
    assert engine.step(lambda tx: claim.stop_waiting(tx, ORG, "1", "me")).columns == {"waiter": None}


def test_a_process_that_was_told_of_a_denial_leaves_nothing_to_resume(engine: Engine) -> None:
    """The same call made later is asked about anew, or answered by the denial that lasts."""
    engine.submit(submission(refund()))
    engine.deny()
    change = engine.step(lambda tx: claim.stop_waiting(tx, ORG, "1", "me"))
    assert change.columns == {"waiter": None, "fingerprint": None}


@pytest.mark.parametrize(("error", "detail"), [(None, None), ("ValueError: x", "it ended early")])
def test_an_outcome_is_recorded_once(engine: Engine, error: str | None, detail: str | None) -> None:
    """With its duration in microseconds, and with error and detail where there are any."""
    engine.submit(submission(refund(50.0)))
    engine.now += 5
    status = OutcomeStatus.COMPLETED if error is None else OutcomeStatus.FAILED
    outcome = Outcome(status, duration=1.23456789, error=error, detail=detail)
    change = engine.step(lambda tx: claim.settle(tx, ORG, "1", outcome))
    told = {"error": error, "detail": detail} if error else {}
    assert change.records == [
        {"event": status.value, "action_id": 1, "actor": "billing", "duration": 1.234568, **told}
    ]
    assert change.columns["outcome"] == status.value
    assert change.columns.get("error") == error
    for again in (outcome, Outcome(OutcomeStatus.UNKNOWN)):
        with engine.refusing(ConflictError, "outcome"):
            engine.step(lambda tx, again=again: claim.settle(tx, ORG, "1", again))


def test_an_unknown_outcome_gives_way_to_a_known_one(engine: Engine) -> None:
    """And never the other way round, nor to itself."""
    engine.submit(submission(refund(50.0)))
    engine.step(lambda tx: claim.settle(tx, ORG, "1", Outcome(OutcomeStatus.UNKNOWN)))
    with engine.refusing(ConflictError, "has an outcome"):
        engine.step(lambda tx: claim.settle(tx, ORG, "1", Outcome(OutcomeStatus.UNKNOWN)))
    change = engine.step(lambda tx: claim.settle(tx, ORG, "1", Outcome(OutcomeStatus.COMPLETED)))
    assert change.columns["outcome"] == "completed"
    with engine.refusing(ConflictError, "is completed"):
        engine.step(lambda tx: claim.settle(tx, ORG, "1", Outcome(OutcomeStatus.FAILED)))


def test_what_never_started_has_no_outcome(engine: Engine) -> None:
    """Neither has what does not exist."""
    engine.submit(submission(refund()))
    with engine.refusing(ConflictError, "was never started"):
        engine.step(lambda tx: claim.settle(tx, ORG, "1", Outcome(OutcomeStatus.COMPLETED)))
    for status in OutcomeStatus:
        with engine.refusing(NotFoundError, "no action"):
            engine.step(lambda tx, status=status: claim.settle(tx, ORG, "2", Outcome(status)))


def test_a_process_that_leaves_settles_what_never_began(engine: Engine) -> None:
    """What has begun may go on, and its process is remembered for as long as it does."""
    for number in (1, 2):
        engine.submit(submission(refund(50.0)), runner="runner", number=number)
        engine.step(lambda tx, number=number: tx.add_runner("runner", ORG, number), number)
    engine.step(lambda tx: claim.leave(tx, "runner", {(ORG, "2"), ("other", "1")}))
    assert (engine.row(1).outcome, engine.row(2).outcome) == ("failed", None)
    assert engine.row(1).error == "not started: the control plane was closed"
    assert engine.store.read(lambda reader: reader.runners()) == ["runner"]
    engine.step(lambda tx: claim.leave(tx, "runner", set()))
    assert engine.row(2).outcome == "failed"
    assert engine.store.read(lambda reader: reader.runners()) == []


def test_what_a_dead_process_had_started_is_unknown(engine: Engine) -> None:
    """Of each action it is recorded; a process that lives is left alone."""
    engine.submit(submission(refund(50.0)), runner="runner")
    engine.step(lambda tx: tx.add_runner("runner", ORG, 1))
    engine.now += 7
    alive = engine.step(lambda tx: claim.reap(tx, "runner", lambda name: name == "runner"))
    assert (alive.answer, alive.columns, alive.records) == (0, {}, [])
    assert engine.store.read(lambda reader: reader.runners()) == ["runner"]
    change = engine.step(lambda tx: claim.reap(tx, "runner", lambda name: name != "runner"))
    assert change.answer == 1
    assert change.columns == {"outcome": "unknown", "settled_at": START + 7}
    assert change.records == [
        {
            "event": "unknown",
            "action_id": 1,
            "actor": "system",
            "detail": "its process ended before it reported back",
        }
    ]
    assert engine.store.read(lambda reader: reader.runners()) == []


@pytest.mark.parametrize("wrong", ["", "2", "-1", "x", "1.0", "\u0661", "1" * 19, "9" * 40, " 1", "1 "])
def test_an_identifier_that_is_no_actions_is_unknown(engine: Engine, wrong: str) -> None:
    """Digits alone, and no more than a database's integer has."""
    engine.submit(submission(refund()))
    with engine.refusing(NotFoundError, "no action"):
        engine.store.read(lambda reader: claim.known(reader, ORG, wrong))


def test_the_longest_identifier_is_a_number() -> None:
    """Eighteen digits always fit; nineteen may not."""
    assert claim.number("9" * 18) == 10**18 - 1
    with pytest.raises(NotFoundError) as caught:
        claim.number("1" * 19)
    assert caught.value.action_id == "1" * 19


def test_another_organizations_action_is_unknown(engine: Engine) -> None:
    """The two cannot be told apart."""
    approved(engine)
    effect = Claim(refund(), "1", "d" * 64, "d" * 64)
    with engine.refusing(NotFoundError, "no action"):
        engine.step(lambda tx: claim.claim(tx, "other", "runner", effect, lambda action: None))  # type: ignore[arg-type, return-value]  # never judged
    assert engine.store.read(lambda reader: claim.known(reader, ORG, "1")).id == 1
