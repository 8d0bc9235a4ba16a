"""People's decisions: each with all that it changes, and each refusal with the reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine_world import ANN, BOB, ORG, START, Engine, answered, refund, submission

from ascend_guard.engine import approve
from ascend_guard.engine.approvers import Approver
from ascend_guard.engine.denials import DENIAL
from ascend_guard.engine.liveness import API
from ascend_guard.errors import AuthorizationDeniedError, ConflictError, ValidationError
from ascend_guard.model import ActionResult, Decision
from ascend_guard.redaction import REDACTED

D = "d" * 64
SIGNED_IN = Approver("Ann", frozenset(("finance", "board")), "https://issuer", "sub-1")
STRANGER = Approver("Eve", frozenset(("sales",)), "https://issuer", "sub-2")


def asked(engine: Engine, amount: float = 500.0, **other: Any) -> None:
    """Action 1 is pending, ten seconds ago."""
    engine.submit(submission(refund(amount, **other)))
    engine.now += 10


def test_an_approval_changes_this_and_nothing_else(engine: Engine) -> None:
    """Status, who and when; the deadline for using it begins now."""
    asked(engine)
    change = engine.approve(comment="ok")
    assert answered(change).status is Decision.APPROVED
    assert answered(change).decided_by == "ann"
    assert answered(change).timestamp == "2027-01-15T08:00:10Z"
    assert change.columns == {
        "status": "approved",
        "decided_at": START + 10,
        "decided_by": "ann",
        "expires_at": START + 10 + 1800,
    }
    assert change.records == [
        {
            "event": "approved",
            "action_id": 1,
            "actor": "ann",
            "digest": D,
            "approvals": 1,
            "quorum": 1,
            "comment": "ok",
        }
    ]


def test_an_approval_without_a_comment_records_none(engine: Engine) -> None:
    """And one by somebody who signed in records who they are; their groups are kept with it."""
    asked(engine)
    change = engine.approve(SIGNED_IN)
    (record,) = change.records
    assert record == {
        "event": "approved",
        "action_id": 1,
        "actor": "Ann",
        "digest": D,
        "approvals": 1,
        "quorum": 1,
        "identity": {"issuer": "https://issuer", "subject": "sub-1"},
    }
    (given,) = engine.store.read(lambda reader: reader.approvals(ORG, 1))
    assert (given.approver, given.groups) == ("Ann", '["board","finance"]')
    assert given.identity == '["https://issuer","sub-1"]'


def test_an_approval_without_a_deadline_has_none(engine: Engine) -> None:
    """A rule's timeout may be left out of an action."""
    asked(engine)
    engine.give(1, timeout=None)
    engine.approve()
    assert engine.row().expires_at is None


def test_two_of_the_board_must_approve(engine: Engine) -> None:
    """One is recorded and decides nothing; two different people decide."""
    asked(engine, 2000.0)
    first = engine.approve(ANN)
    assert answered(first).status is Decision.PENDING
    assert first.columns == {}
    assert first.records == [
        {"event": "approval", "action_id": 1, "actor": "ann", "digest": D, "approvals": 1, "quorum": 2}
    ]
    assert answered(engine.approve(ANN)).status is Decision.PENDING
    second = engine.approve(BOB)
    assert answered(second).status is Decision.APPROVED
    assert second.columns["decided_by"] == "ann, bob"
    assert second.records[0]["approvals"] == 2


def test_each_rule_wants_its_own_people(engine: Engine) -> None:
    """Enough people are not enough when none is of the group that the rule asks for."""
    asked(engine)
    wanted = [
        {"rule": "a", "approvers": ["finance"], "quorum": 1},
        {"rule": "b", "approvers": ["sales"], "quorum": 1},
    ]
    engine.give(1, requirements=msgspec.json.encode(wanted).decode())
    assert answered(engine.approve(STRANGER)).status is Decision.PENDING
    assert answered(engine.approve(SIGNED_IN)).status is Decision.APPROVED


def test_an_action_without_a_quorum_needs_one_person(engine: Engine) -> None:
    """As rows of older databases have it."""
    asked(engine)
    engine.give(1, quorum=None)
    change = engine.approve()
    assert answered(change).status is Decision.APPROVED
    assert change.records[0]["quorum"] == 1


def test_a_quorum_counts_where_no_rule_is_kept(engine: Engine) -> None:
    """As rows of older databases have it: a number of people, and no requirements."""
    asked(engine)
    engine.give(1, quorum=2, requirements=None)
    assert answered(engine.approve(ANN)).status is Decision.PENDING
    assert answered(engine.approve(BOB)).status is Decision.APPROVED


def test_who_is_not_asked_cannot_approve(engine: Engine) -> None:
    """And is told whom to ask."""
    asked(engine)
    with engine.refusing(AuthorizationDeniedError, "needs an approver from finance"):
        engine.approve(STRANGER)


def test_a_denial_changes_this_and_nothing_else(engine: Engine) -> None:
    """It is kept for the same call, for as long as the policy says."""
    asked(engine)
    change = engine.deny(comment="no")
    assert answered(change).status is Decision.DENIED
    assert answered(change).reason == "ann denied it: no"
    assert answered(change).decided_by == "ann"
    assert answered(change).timestamp == "2027-01-15T08:00:10Z"
    assert change.columns == {
        "status": "denied",
        "decided_at": START + 10,
        "decided_by": "ann",
        "reason": "ann denied it: no",
        "expires_at": None,
    }
    assert change.records == [
        {"event": "denied", "action_id": 1, "actor": "ann", "reason": "ann denied it: no", "comment": "no"}
    ]
    assert engine.store.read(lambda reader: reader.count_records(ORG, DENIAL)) == 1


def test_a_denial_without_a_comment_says_who(engine: Engine) -> None:
    """And by whose word, when they signed in."""
    asked(engine)
    change = engine.deny(SIGNED_IN)
    assert change.columns["reason"] == "Ann denied it."
    assert change.records == [
        {
            "event": "denied",
            "action_id": 1,
            "actor": "Ann",
            "reason": "Ann denied it.",
            "identity": {"issuer": "https://issuer", "subject": "sub-1"},
        }
    ]


@pytest.mark.parametrize("decide", ["approve", "deny"])
def test_what_is_decided_stays_decided(engine: Engine, decide: str) -> None:
    """The refusal says what was decided, and by whom where it was a person."""
    asked(engine)
    engine.approve()
    with engine.refusing(ConflictError, "was approved by ann already"):
        getattr(engine, decide)()
    with pytest.raises(ConflictError) as caught:
        getattr(engine, decide)()
    assert caught.value.reason == "Finance decides."
    engine.now += 10**6  # that it can be used no more does not make it undecided
    with engine.refusing(ConflictError, "was approved by ann already"):
        getattr(engine, decide)()
    engine.give(1, decided_by=None)
    with engine.refusing(ConflictError, "was approved already"):
        getattr(engine, decide)()


@pytest.mark.parametrize("decide", ["approve", "deny"])
@pytest.mark.parametrize(("after", "late"), [(1799, False), (1800, True), (1801, True)])
def test_a_decision_after_the_deadline_is_too_late(
    engine: Engine, decide: str, after: int, late: bool
) -> None:
    """To the second. The expiry is kept; the same call is told of it once, so it keeps its fingerprint."""
    engine.submit(submission(refund()))
    engine.now = START + after
    change = getattr(engine, decide)()
    assert isinstance(change.answer, ConflictError if late else ActionResult)
    if late:
        why = "No decision was made before the deadline."
        assert why in str(change.answer)
        assert change.columns == {
            "status": "denied",
            "decided_at": engine.now,
            "reason": why,
            "expires_at": None,
        }
        assert change.records == [{"event": "expired", "action_id": 1, "actor": "system", "reason": why}]


@pytest.mark.parametrize("decide", ["approve", "deny"])
def test_an_action_without_a_deadline_is_never_too_late(engine: Engine, decide: str) -> None:
    """A pending action may have none."""
    asked(engine)
    engine.give(1, expires_at=None)
    engine.now += 10**8
    assert isinstance(getattr(engine, decide)().answer, ActionResult)


def test_the_row_that_expired_says_so(engine: Engine) -> None:
    """What reads it in the same transaction sees it as it is stored."""
    asked(engine)
    row = engine.row()
    engine.step(lambda tx: approve.expire(tx, row))
    assert (row.status, row.expires_at, row.decided_at) == ("denied", None, START + 10)
    assert row == engine.row()


@pytest.mark.parametrize("decide", ["approve", "deny"])
@pytest.mark.parametrize(
    "column", [{"digest": "e" * 64}, {"resource": "x"}, {"rule": "x"}, {"quorum": 2}, {"edits": "{}"}]
)
def test_a_decision_is_for_what_was_seen(engine: Engine, decide: str, column: dict[str, Any]) -> None:
    """Any change of what a person looked at makes them look again."""
    asked(engine)
    seen = engine.row()
    changed = msgspec.structs.replace(seen, **column)
    with engine.refusing(ConflictError, "was changed since you looked"):
        getattr(engine, decide)(seen=changed)
    assert isinstance(getattr(engine, decide)(seen=seen).answer, ActionResult)


def test_a_late_decision_on_what_has_changed_is_late(engine: Engine) -> None:
    """The deadline is looked at first, and its expiry is kept."""
    asked(engine)
    engine.now += 10**6
    change = engine.approve(seen=msgspec.structs.replace(engine.row(), digest="x"))
    assert "No decision was made" in str(change.answer)


# --- edits ---------------------------------------------------------------------------------------------------------------


def test_an_edit_is_judged_and_kept(engine: Engine) -> None:
    """It sets aside the approvals that were given before it."""
    asked(engine, 2000.0)
    engine.approve(BOB)
    change = engine.approve(ANN, {"amount": 3000.0})
    assert answered(change).status is Decision.PENDING
    assert change.columns == {"edits": '{"amount":3000.0}'}
    assert change.records[0]["edits"] == {"amount": 3000.0}
    assert change.records[0]["approvals"] == 1
    assert answered(engine.approve(BOB)).status is Decision.APPROVED


def test_an_edit_upon_an_edit_keeps_both(engine: Engine) -> None:
    """The later value of one argument, and what was edited before of another."""
    asked(engine, 2000.0)
    engine.approve(ANN, {"amount": 3000.0})
    engine.approve(BOB, {"note": "m"})
    assert engine.row().edits == '{"amount":3000.0,"note":"m"}'
    engine.approve(ANN, {"note": "k"})
    assert engine.row().edits == '{"amount":3000.0,"note":"k"}'


def test_an_edit_that_needs_more_people_asks_them(engine: Engine) -> None:
    """Rule, quorum and groups become those of the edited call."""
    asked(engine)
    change = engine.approve(ANN, {"amount": 2000.0})
    assert answered(change).status is Decision.PENDING
    assert change.columns == {
        "edits": '{"amount":2000.0}',
        "rule": "big",
        "quorum": 2,
        "requirements": engine.row().requirements,
    }
    wanted = msgspec.json.decode(engine.row().requirements or "")
    assert [requirement["rule"] for requirement in wanted] == ["big", "middle"]


def test_an_edit_that_is_allowed_keeps_who_was_asked(engine: Engine) -> None:
    """The rule that asked for approval still does."""
    asked(engine)
    before = engine.row()
    change = engine.approve(ANN, {"amount": 50.0})
    assert answered(change).status is Decision.APPROVED
    after = engine.row()
    assert (after.rule, after.quorum, after.requirements) == (before.rule, before.quorum, before.requirements)


def test_an_edit_that_the_policy_denies_is_refused(engine: Engine) -> None:
    """With the rule and its reason."""
    asked(engine)
    with engine.refusing(AuthorizationDeniedError, "denies action 1 with these arguments: Too much."):
        engine.approve(ANN, {"amount": 6000.0})


def test_an_edit_needs_a_policy(engine: Engine) -> None:
    """Nothing judges it otherwise."""
    asked(engine)
    with engine.refusing(ValidationError, "none is configured"):
        engine.approve(ANN, {"amount": 600.0}, policy=None)
    assert isinstance(engine.approve(ANN, policy=None).answer, ActionResult)


def test_an_edit_names_an_argument_of_the_call(engine: Engine) -> None:
    """The refusal lists them."""
    asked(engine)
    with engine.refusing(ValidationError, "no argument 'x'; it has amount, note."):
        engine.approve(ANN, {"x": 1})


def test_an_argument_that_was_left_out_cannot_be_edited(engine: Engine) -> None:
    """Nobody saw it when it was decided."""
    asked(engine, excluded=("note",))
    with engine.refusing(ValidationError, "excluded from the decision"):
        engine.approve(ANN, {"note": "m"})


def test_a_client_that_knows_of_no_edits_gets_none(engine: Engine) -> None:
    """It would run its own arguments."""
    engine.submit(submission(refund()), runner=API)
    with engine.refusing(ValidationError, "does not support edited arguments"):
        engine.approve(ANN, {"amount": 600.0})


B64 = {"$bytes": "AAEC"}
EDITABLE = [
    (1, 2),
    (1, 2.5),
    (1, {"$decimal": "1.10"}),
    (1.5, {"$integer": "9"}),
    (2, {"$float": "nan"}),
    ("a", "b"),
    (None, True),
    ([1], [2, {"$decimal": "1.1"}]),
    ({"a": 1, "b": {"c": 2}}, {"c": 5}),
    (B64, {"$bytes": "AAEA"}),
    ([B64], [B64, B64]),
    ({"a": {"$decimal": "1.1"}}, {"a": {"$decimal": "1.2"}}),
]
NOT_EDITABLE = [
    (1, {"a": 1}),
    ("a", {"$decimal": "1.10"}),
    (True, {"$decimal": "1.10"}),
    ({"a": "x"}, {"a": {"$decimal": "1.1"}}),
    ({"a": 1}, {"b": 1}),
    ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}),
    (["a"], [B64]),
    ({"a": {"$decimal": "1.1"}}, {"a": B64}),
    ([{"$decimal": "1.1"}], [{"$integer": "1"}]),
    ("a", [{"b": 1}]),
    (B64, {"$bytes": "AAEA", "x": 1}),
    ({"a": 1}, {5: 1}),
    ({"a": 1}, {(1, 2): 1}),
    ({"a": 1}, {b"a": 1}),
]


@pytest.mark.parametrize(("original", "value"), EDITABLE)
def test_an_edit_may_have_this_value(engine: Engine, original: Any, value: Any) -> None:
    """Plain JSON with the original's fields, or a written form of what the original may be."""
    asked(engine, action_details={"amount": 500.0, "x": original})
    engine.approve(ANN, {"x": value})
    assert msgspec.json.decode(engine.row().edits or "") == {"x": value}


@pytest.mark.parametrize(("original", "value"), NOT_EDITABLE)
def test_an_edit_may_not_have_this_value(engine: Engine, original: Any, value: Any) -> None:
    """New fields, and forms of another type than the original's."""
    asked(engine, action_details={"amount": 500.0, "x": original})
    with engine.refusing(ValidationError, "is not plain JSON data with the same fields"):
        engine.approve(ANN, {"x": value})


@pytest.mark.parametrize(
    "original",
    [
        REDACTED,
        [1, REDACTED],
        {"a": [REDACTED]},
        {"$opaque": "object"},
        {"$map": [[1, 2]]},
        {"a": {"$float": 1}},
        {"a": 1, "$b": 2},
    ],
)
def test_an_argument_that_was_not_read_whole_cannot_be_edited(engine: Engine, original: Any) -> None:
    """An edited value would not be of its type."""
    asked(engine, action_details={"amount": 500.0, "x": original})
    with engine.refusing(ValidationError, "cannot be edited: its content is redacted"):
        engine.approve(ANN, {"x": 1})


@pytest.mark.parametrize("value", [object(), "\ud800", {"password": "hunter2"}, [{"token": "abc"}]])
def test_an_edit_is_plain_and_holds_no_secret(engine: Engine, value: Any) -> None:
    """It is stored and shown, and a policy judges all of it."""
    asked(engine, action_details={"amount": 500.0, "x": {"password": "a", "token": "b"}})
    with engine.refusing(ValidationError, ""):
        engine.approve(ANN, {"x": value})


def test_an_edit_that_cannot_be_read_names_the_action(engine: Engine) -> None:
    """Whatever is wrong with it."""
    asked(engine)
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    with engine.refusing(ValidationError, "Action 1 cannot be edited like this"):
        engine.approve(ANN, {"note": deep})
    with engine.refusing(ValidationError, "Action 1 cannot be edited like this"):
        engine.approve(ANN, {5: 1})  # type: ignore[dict-item]  # as a client of ours could pass
    with engine.refusing(ValidationError, "Action 1 cannot be edited like this: note"):
        engine.approve(ANN, {"note": object()})
    with engine.refusing(ValidationError, "Action 1 cannot be edited like this: a value is secret"):
        engine.approve(ANN, {"note": {"password": "hunter2"}})


# --- what is read back ---------------------------------------------------------------------------------------------------


def test_what_was_asked_is_read_from_the_trail(engine: Engine) -> None:
    """The submission, whatever came after it."""
    asked(engine)
    engine.approve()
    row = engine.row()
    found = engine.store.read(lambda reader: approve.submitted(reader, row))
    assert (found.action, found.approvers) == (refund(), ["finance"])
    other = msgspec.structs.replace(row, id=2)
    with engine.refusing(ConflictError, "no record of action 2"):
        engine.store.read(lambda reader: approve.submitted(reader, other))


def body(event: str, **told: Any) -> bytes:
    """An audit record."""
    return msgspec.json.encode({"event": event, **told})


@pytest.mark.parametrize("event", ["started", "reopened"])
def test_the_newest_description_of_an_edited_call_counts(event: str) -> None:
    """Only records of the start or of a new decision have one, and only of edited calls."""
    first = body(event, arguments={"a": 1}, resource="one")
    second = body("reopened", arguments={"a": 2}, resource="two", resource_id="id", risk={"score": 1})
    assert approve.as_it_runs([]) is None
    assert approve.as_it_runs([body(event), body("approved", arguments={"a": 3})]) is None
    assert approve.as_it_runs([first, body("completed")]) == approve.AsItRuns("one", None, {"a": 1})
    found = approve.as_it_runs([first, second, body(event)])
    assert found == approve.AsItRuns("two", "id", {"a": 2}, {"score": 1})
