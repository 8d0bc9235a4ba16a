"""Check which replies of a control plane the flow accepts. Any other is a control plane error, and blocks (promise 1).

1. A reply has the type that its effect requires, and each field has its declared type. A value that is merely truthy or
   falsy, or equal to a member of an enumeration, is not accepted.
2. A decision is about the requested action, once that action has an identifier.
3. A permit has no other edits than those with which the call was changed (promise 2).
4. A risk score is from 0 to 100.
5. A kill switch that is off is off for this agent, and not for another one.

``flow`` decides what an accepted reply means. Tested by ``tests/promises/test_faulty_plane.py``.
"""

from __future__ import annotations

from typing import Any

from .errors import ServerError, not_run, remedies
from .model import ActionResult, AgentAction, Decision, KillSwitchState, RiskLevel

__all__ = ["accepted", "accepted_permit", "accepted_state"]

_OFF = KillSwitchState(False)
_NUMBERS = frozenset((int, float))
_TEXT_OR_NONE = frozenset((str, type(None)))


def accepted(action: AgentAction, reply: ActionResult, action_id: str | None = None) -> ActionResult:
    """Return the decision, if it can be used.

    Args:
        action: the submitted action.
        reply: the reply of the control plane; it may be anything.
        action_id: the action that it must be about; None when the control plane gives its id here for the first time.

    Raises:
        ServerError: it cannot be used.
    """
    fault = _fault(reply, action_id)
    if fault is not None:
        raise _unusable(action, action_id, fault)
    return reply


def accepted_permit(
    action: AgentAction, reply: ActionResult, action_id: str, edits: dict[str, Any] | None
) -> ActionResult:
    """Return the reply to a claim, if it can be used. Arguments as for ``accepted``; ``edits`` are the call's.

    Raises:
        ServerError: it cannot be used.
    """
    accepted(action, reply, action_id)
    if reply.modified_arguments and reply.modified_arguments != edits:
        raise _unusable(
            action, action_id, "its modified_arguments are not those that the approver decided on"
        )
    return reply


def accepted_state(reply: KillSwitchState, agent_id: str) -> KillSwitchState:
    """Return the state of the kill switch, if it can be used.

    Args:
        reply: the reply of the control plane; it may be anything.
        agent_id: the agent of the request.

    Raises:
        ServerError: it cannot be used. The kill switch then counts as on.
    """
    if reply == _OFF and type(reply) is KillSwitchState and reply.blocked is False:
        return reply  # by far the most frequent case
    if not isinstance(reply, KillSwitchState):
        raise ServerError(f"the reply is a {type(reply).__name__}, not a state of the kill switch")
    if type(reply.blocked) is not bool:
        raise ServerError("its blocked is neither true nor false")
    for text in (reply.agent_id, reply.reason, reply.activated_at, reply.activated_by):
        if type(text) not in _TEXT_OR_NONE:
            raise ServerError("one of its fields is not text")
    if not reply.blocked and reply.agent_id and reply.agent_id != agent_id:
        raise ServerError("it is about another agent")
    return reply


def _fault(reply: object, asked: str | None) -> str | None:
    if not isinstance(reply, ActionResult):
        return f"it is a {type(reply).__name__}, not a decision"
    named, score, edits = reply.action_id, reply.risk_score, reply.modified_arguments
    if type(named) is not str or not (named.isascii() and named.isdigit()):
        return "its action_id is not a number, written as text"
    if asked is not None and named != asked:
        return f"it is about action {named}"
    if type(reply.status) is not Decision or type(reply.claimed) is not bool:
        return "its status or claimed is of the wrong type"
    if reply.claimed and reply.status is not Decision.APPROVED:
        return f"it is claimed, and {reply.status}"
    if not (edits is None or type(edits) is dict) or type(reply.metadata) is not dict:
        return "its modified_arguments or metadata is of the wrong type"
    if type(score) not in _NUMBERS or not 0 <= score <= 100 or type(reply.risk_level) is not RiskLevel:
        return "its risk is not a score from 0 to 100 and a level"
    if type(reply.reason) is not str or type(reply.timestamp) is not str:
        return "its reason or timestamp is not text"
    if type(reply.policy_matched) not in _TEXT_OR_NONE or type(reply.decided_by) not in _TEXT_OR_NONE:
        return "its policy_matched or decided_by is not text"
    return None


def _unusable(action: AgentAction, action_id: str | None, fault: str) -> ServerError:
    about = f" (action {action_id})" if action_id else ""
    return ServerError(
        f"Blocked: {not_run.what(action)}{about} did not run, because the control plane's reply cannot be used: {fault}. "
        f"Repair the control plane, then call again.",
        action_id=action_id,
        remedy=remedies.inspect(action_id) if action_id else None,
    )
