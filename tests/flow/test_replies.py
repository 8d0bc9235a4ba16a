"""Which replies of a control plane count: the right ones come back as they are, and each wrong field is named."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ascend_guard.errors import ServerError
from ascend_guard.model import ActionResult, AgentAction, Decision, KillSwitchState, RiskLevel
from ascend_guard.replies import accepted, accepted_permit, accepted_state

ACTION = AgentAction("agent", "agent", "refund", "refund", "refund", action_details={"amount": 5})
RIGHT = ActionResult("7", Decision.APPROVED, claimed=True)
ID = "its action_id is not a number"
KIND = "its status or claimed is of the wrong type"
EDITS = "its modified_arguments or metadata is of the wrong type"
RISK = "its risk is not a score from 0 to 100 and a level"
TEXT = "its reason or timestamp is not text"
NAMES = "its policy_matched or decided_by is not text"


class Text(str):
    """Text that somebody else's class may compare as it likes."""


class Number(float):
    """Likewise."""


class LooksOff:
    """Equal to everything, and off."""

    blocked = False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # as a class with __eq__ has it


RIGHT_REPLIES: list[dict[str, Any]] = [
    {},
    {"claimed": False},
    {"status": Decision.PENDING, "claimed": False},
    {
        "status": Decision.DENIED,
        "claimed": False,
        "reason": "no",
        "policy_matched": "rule",
        "decided_by": "ann",
    },
    {"risk_score": 0},
    {"risk_score": 0.0},
    {"risk_score": 100},
    {"risk_score": 99.5, "risk_level": RiskLevel.CRITICAL},
    {"modified_arguments": {"amount": 1}},
    {"modified_arguments": {}},
    {"metadata": {"already_ran": True}},
]

WRONG_FIELDS: list[tuple[str, Any, str]] = [
    *(("action_id", value, ID) for value in (None, "", "x", "-7", "7 ", "1.5", "²", "٧", 7, Text("7"), b"7")),
    *(("status", value, KIND) for value in (None, "approved", Text("approved"), True, 1)),
    *(("claimed", value, KIND) for value in (None, 1, 0, "true", [])),
    *(("modified_arguments", value, EDITS) for value in ([], "amount", (), True, msgspec.UNSET)),
    *(("metadata", value, EDITS) for value in (None, [], "{}")),
    *(("risk_score", value, RISK) for value in (None, "0", True, -0.5, 100.5, math.nan, math.inf, Number(5))),
    *(("risk_level", value, RISK) for value in (None, "low", 1)),
    *(("reason", value, TEXT) for value in (None, 1, Text("no"))),
    *(("timestamp", value, TEXT) for value in (None, 1.0)),
    *(("policy_matched", value, NAMES) for value in (1, True, Text("rule"))),
    *(("decided_by", value, NAMES) for value in (1, [])),
]


@pytest.mark.parametrize("fields", RIGHT_REPLIES, ids=str)
def test_a_right_reply_comes_back_as_it_is(fields: dict[str, Any]) -> None:
    """The same object, whether or not the action had an identifier before."""
    reply = msgspec.structs.replace(RIGHT, **fields)
    assert accepted(ACTION, reply) is reply
    assert accepted(ACTION, reply, "7") is reply


@pytest.mark.parametrize(("field", "value", "fault"), WRONG_FIELDS, ids=lambda part: str(part)[:20])
def test_a_wrong_field_is_named(field: str, value: Any, fault: str) -> None:
    """Each field has its declared type exactly, and a score is between its bounds."""
    reply = msgspec.structs.replace(RIGHT, **{field: value})
    with pytest.raises(ServerError, match=fault) as caught:
        accepted(ACTION, reply)
    assert caught.value.action_id is None
    with pytest.raises(ServerError, match="cannot be used"):
        accepted_permit(ACTION, reply, "7", None)


@pytest.mark.parametrize(
    "reply", [None, True, {}, KillSwitchState(False), SimpleNamespace(**msgspec.structs.asdict(RIGHT))]
)
def test_only_a_decision_is_a_decision(reply: Any) -> None:
    """Something that has the same fields is none."""
    with pytest.raises(ServerError, match=f"it is a {type(reply).__name__}, not a decision"):
        accepted(ACTION, reply)


def test_a_reply_is_about_the_action_that_was_asked_about() -> None:
    """Another number is refused, by an error that names the action that was meant and how to look at it."""
    with pytest.raises(ServerError, match="it is about action 7") as caught:
        accepted(ACTION, RIGHT, "8")
    assert caught.value.action_id == "8"
    assert caught.value.remedy is not None
    assert "(action 8)" in str(caught.value)


@pytest.mark.parametrize("status", [Decision.PENDING, Decision.DENIED])
def test_only_what_is_approved_is_claimed(status: Decision) -> None:
    """A permit for anything else is a contradiction."""
    with pytest.raises(ServerError, match=f"it is claimed, and {status}"):
        accepted(ACTION, msgspec.structs.replace(RIGHT, status=status))


def test_a_permit_has_no_other_edits_than_the_calls() -> None:
    """None at all, or exactly those that the call was changed by."""
    edited = msgspec.structs.replace(RIGHT, modified_arguments={"amount": 1})
    for reply, edits in ((RIGHT, None), (RIGHT, {"amount": 1}), (edited, {"amount": 1})):
        assert accepted_permit(ACTION, reply, "7", edits) is reply
    for edits in (None, {"amount": 2}, {"amount": 1, "to": "b"}):
        with pytest.raises(ServerError, match="are not those that the approver decided on"):
            accepted_permit(ACTION, edited, "7", edits)


RIGHT_STATES = [
    KillSwitchState(False),
    KillSwitchState(False, agent_id="me"),
    KillSwitchState(False, agent_id=""),
    KillSwitchState(False, reason="over", activated_at="now", activated_by="ann"),
    KillSwitchState(True),
    KillSwitchState(True, agent_id="me", reason="fire", activated_at="now", activated_by="ann"),
    KillSwitchState(True, agent_id="other"),  # it stops this agent all the same
]


@pytest.mark.parametrize("state", RIGHT_STATES, ids=str)
def test_a_right_state_comes_back_as_it_is(state: KillSwitchState) -> None:
    """Off for this agent, or on for anybody."""
    assert accepted_state(state, "me") is state


@pytest.mark.parametrize(
    "state",
    [None, False, True, {"blocked": False}, LooksOff(), SimpleNamespace(blocked=False), RIGHT],
    ids=lambda state: type(state).__name__,
)
def test_only_a_state_is_a_state(state: Any) -> None:
    """Something that is equal to one, or has its fields, is none."""
    with pytest.raises(ServerError, match="not a state of the kill switch"):
        accepted_state(state, "me")


@pytest.mark.parametrize("blocked", [None, 0, 1, "", "false", 0.0, [], [False]], ids=str)
def test_blocked_is_true_or_false(blocked: Any) -> None:
    """What counts as false is not False."""
    with pytest.raises(ServerError, match="neither true nor false"):
        accepted_state(KillSwitchState(blocked), "me")


@pytest.mark.parametrize("field", ["agent_id", "reason", "activated_at", "activated_by"])
@pytest.mark.parametrize("blocked", [True, False])
def test_the_fields_of_a_state_are_text(field: str, blocked: bool) -> None:
    """Or absent."""
    for wrong in (0, 5, [], {}, b"me", Text("me")):
        with pytest.raises(ServerError, match="one of its fields is not text"):
            accepted_state(msgspec.structs.replace(KillSwitchState(blocked), **{field: wrong}), "me")


def test_a_switch_that_is_off_for_another_agent_says_nothing() -> None:
    """It counts as unknown, which counts as on."""
    with pytest.raises(ServerError, match="about another agent"):
        accepted_state(KillSwitchState(False, agent_id="other"), "me")
