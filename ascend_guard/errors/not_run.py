"""The errors of a call that did not run. A model may read them; what an operator can do is in their ``remedy``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ascend_guard.model import (
    ALREADY_RAN,
    NOT_STARTED,
    ActionResult,
    AgentAction,
    Decision,
    KillSwitchState,
    Outcome,
    OutcomeStatus,
)

from . import (
    ActionPendingError,
    AlreadyRanError,
    AscendError,
    AuthorizationDeniedError,
    ConflictError,
    KillSwitchError,
    ServerError,
    TimeoutError,
    remedies,
)

__all__ = [
    "changed",
    "denied",
    "not_started",
    "pending",
    "stopped",
    "timed_out",
    "unjudged",
    "used_up",
    "what",
]

UNJUDGED = "the control plane gave a permit for edited arguments that were never judged as a whole call"


def what(action: AgentAction) -> str:
    """Describe a call, without its arguments."""
    tool = "" if action.tool_name == action.action_type else f" by {action.tool_name}"
    return f"{action.action_type}{tool} for agent {action.agent_id!r}"


def not_started(why: object) -> Outcome:
    """The outcome of a call that had its permit and never began."""
    return Outcome(OutcomeStatus.FAILED, error=f"{NOT_STARTED}{why}")


def changed(action: AgentAction, result: ActionResult) -> AscendError:
    """The error for a call whose arguments changed while it waited."""
    return AuthorizationDeniedError(
        f"Blocked: {what(action)} (action {result.action_id}) did not run, because its arguments changed "
        f"after it was submitted. Only what was approved may run: call it again with the arguments you mean.",
        action_id=result.action_id,
        rule=result.policy_matched,
        reason="arguments changed after the action was submitted",
    )


def unjudged(action: AgentAction, result: ActionResult) -> AscendError:
    """The error for a permit before the claim: edited arguments are judged when they are claimed."""
    return ServerError(
        f"Blocked: {what(action)} (action {result.action_id}) did not run: {UNJUDGED}.",
        action_id=result.action_id,
        remedy=remedies.inspect(result.action_id),
    )


def ended(action: AgentAction, stage: str) -> str:
    """What the kill switch did to a call; ``stage`` as in ``CheckKillSwitch``: a call that streams has begun."""
    return f"{what(action)} was stopped half way" if stage == "stream" else f"{what(action)} did not run"


def stopped(
    action: AgentAction, state: KillSwitchState, action_id: str | None, stage: str
) -> KillSwitchError:
    """The error for a call that the kill switch stopped; ``stage`` as in ``CheckKillSwitch``."""
    whom = f"agent {state.agent_id!r}" if state.agent_id else "every agent"
    because = f": {state.reason}" if state.reason else ""
    return KillSwitchError(
        f"Blocked: {ended(action, stage)}. The kill switch is on for {whom}{because}. "
        f"Stop, and tell the people who run this agent.",
        action_id=action_id,
        reason=state.reason or "kill switch on",
        remedy=remedies.release(state),
    )


def denied(action: AgentAction, result: ActionResult) -> AscendError:
    """The error for a denial, or for an answer that is no decision."""
    earlier = result.metadata.get(ALREADY_RAN)
    if isinstance(earlier, dict):
        return _already_ran(action, result, earlier)
    if result.status is not Decision.DENIED:
        return ServerError(
            f"Blocked: {what(action)} (action {result.action_id}) did not run: "
            f"the control plane answered {result.status!s} without a permit; only approved or denied are valid here.",
            action_id=result.action_id,
            remedy=remedies.inspect(result.action_id),
        )
    reason = result.reason or "no reason given"
    return AuthorizationDeniedError(
        f"Denied: {what(action)} (action {result.action_id}) did not run. {reason}{_by_rule(result)}",
        action_id=result.action_id,
        rule=result.policy_matched,
        reason=reason,
        remedy=remedies.forget(result.action_id) if result.decided_by else remedies.inspect(result.action_id),
    )


def _already_ran(action: AgentAction, result: ActionResult, earlier: Mapping[str, Any]) -> AlreadyRanError:
    action_id = str(earlier.get("action_id") or result.action_id)
    error = AlreadyRanError(
        f"Already ran, action {action_id}: {what(action)} was not run again. {result.reason}",
        action_id=action_id,
        reason=result.reason,
        remedy=remedies.inspect(action_id),
    )
    error.outcome = str(earlier.get("outcome") or "unknown")
    return error


def pending(action: AgentAction, result: ActionResult, repeatable: bool) -> AscendError:
    """The error for a call that does not wait, while its action is pending."""
    again = (
        "After the decision, make the same call again: it resumes this action."
        if repeatable
        else "This call has an argument whose content cannot be read, so the same call cannot be recognised later: pass "
        'plain data, or use on_pending="wait".'
    )
    error = ActionPendingError(
        f"Pending: {what(action)} (action {result.action_id}) did not run; it waits for a person. "
        f"{result.reason}{_by_rule(result)} {again}",
        action_id=result.action_id,
        rule=result.policy_matched,
        reason=result.reason,
        remedy=remedies.repeat(result.action_id, repeatable),
    )
    error.repeatable = repeatable
    return error


def timed_out(action: AgentAction, result: ActionResult, timeout: float | None) -> TimeoutError:
    """The error for a call that waited its timeout, or as long as it could, without a decision."""
    return TimeoutError(
        f"Timed out: {what(action)} (action {result.action_id}) did not run: no decision was made within "
        f"{timeout:g} s. It still waits for a person: after the decision, make the same call again."
        if timeout is not None
        else f"Timed out: {what(action)} (action {result.action_id}) did not run; it is still pending.",
        action_id=result.action_id,
        rule=result.policy_matched,
        reason="no decision in time",
        remedy=remedies.repeat(result.action_id, True),
    )


def _by_rule(result: ActionResult) -> str:
    return f" (rule {result.policy_matched})" if result.policy_matched else ""


def inherited(action: AgentAction, action_id: str) -> ConflictError:
    """The error for a call whose permit was taken by the process that this one was forked from."""
    return ConflictError(
        f"Blocked: {what(action)} (action {action_id}) did not run here. Its permit was taken by the parent of this "
        f"process, which continues the call. Call again to request approval again.",
        action_id=action_id,
        reason="the permit is another process's",
    )


def used_up(action: AgentAction, action_id: str) -> ConflictError:
    """The error for a second use of a permit."""
    return ConflictError(
        f"Blocked: the permit of {action.action_type} by {action.tool_name} (action {action_id}) has been used. "
        f"A permit is good for one run: call the governed tool again.",
        action_id=action_id,
        reason="the permit has been used",
    )
