"""Judge an edited call as it will run.

1. The whole call is judged, as the agent's process describes it with the approver's values: resource, resource id and
   arguments. Everything else is as submitted (promise 2).
2. It is judged by the policy of the claim, which is the agent's, and its risk is assessed again.
3. Denied: the approval is withdrawn with the reason. If it needs more approval than it has for these arguments, the
   action is pending again, with the resource of the edited call; approvals given for these arguments still count.
4. The start is recorded with what runs: resource, resource id, arguments, edits, risk, rule and policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ascend_guard.errors import AscendError, AuthorizationDeniedError, remedies
from ascend_guard.flow import Claim
from ascend_guard.model import ActionResult, AgentAction
from ascend_guard.store.port import ActionRow, Transaction

from .approve import submitted
from .approvers import people, satisfied
from .policy import RuleEffect
from .results import encoded, result_of
from .risk import Risk

if TYPE_CHECKING:
    from .decide import Judgement

Judge = Callable[[AgentAction], "Judgement"]


def judged(
    tx: Transaction, row: ActionRow, effect: Claim, judge: Judge
) -> dict[str, Any] | ActionResult | AscendError:
    """Judge the edited call. Return the fields for the record of its start when it may run.

    Otherwise return the answer, which belongs to a change that must be committed: the action as it is pending again, or why
    it was withdrawn.
    """
    edits = msgspec.json.decode(row.edits or "{}")
    if effect.edits is None:
        return refused(
            tx,
            row,
            "an approver edited the arguments, and this client does not say what the edited call acts on",
            "Update ascend-guard in the agent's process, or deny the action and say what to change.",
        )
    asked = submitted(tx, row).action
    names = effect.action.action_details.keys()
    if (
        effect.edits != edits
        or names != asked.action_details.keys()
        or _others(effect.action, edits) != _others(asked, edits)
    ):
        return refused(tx, row, "the edited call is not the one that was approved")
    action = msgspec.structs.replace(
        asked,
        resource=effect.action.resource,
        resource_id=effect.action.resource_id,
        action_details=effect.action.action_details,
        orchestration_session_id=row.orchestration_session_id,
        parent_action_id=row.parent_action_id,
        orchestration_depth=row.depth,
    )
    judgement = judge(action)
    verdict, risk = judgement.verdict, judgement.risk
    if verdict.effect is RuleEffect.DENY:
        return refused(
            tx, row, f"the policy denies the edited call: {verdict.reason.rstrip('.')}", rule=verdict.rule
        )
    row.resource, row.risk_score, row.risk_level = action.resource, risk.score, risk.level.value
    ran = {
        "resource": action.resource,
        "resource_id": action.resource_id,
        "arguments": action.action_details,
        "edits": edits,
        "rule": verdict.rule,
        "risk": risk,
        "policy": judgement.policy,
    }
    if verdict.effect is RuleEffect.REQUIRE_APPROVAL and not _approved(tx, row, judgement):
        return _reopened(tx, row, judgement, ran)
    return ran


def refused(
    tx: Transaction, row: ActionRow, why: str, advice: str | None = None, *, rule: str | None = None
) -> AscendError:
    """Withdraw an approval that its own call cannot use, so that no other call uses it."""
    record_withdrawn(tx, row, why)
    return AuthorizationDeniedError(
        f"Blocked: action {row.id} did not run, because {why}.",
        action_id=str(row.id),
        rule=rule,
        reason=why,
        remedy=advice or remedies.inspect(str(row.id)),
    )


def record_withdrawn(tx: Transaction, row: ActionRow, why: str) -> None:
    """Record that an approval is withdrawn."""
    tx.record(
        "withdrawn",
        organization=row.organization,
        actor=row.agent_id,
        action_id=row.id,
        reason=why,
        set={"status": "denied", "reason": why, "expires_at": None, "waiter": None, "fingerprint": None},
    )


def set_by(ran: dict[str, Any]) -> dict[str, Any]:
    """The columns of an action that change when an edited call is judged again."""
    risk: Risk = ran["risk"]
    return {"resource": ran["resource"], "risk_score": risk.score, "risk_level": risk.level.value}


def _others(action: AgentAction, edits: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in action.action_details.items() if name not in edits}


def _approved(tx: Transaction, row: ActionRow, judgement: Judgement) -> bool:
    given, verdict = tx.approvals(row.organization, row.id), judgement.verdict
    return len(people(given)) >= verdict.quorum and satisfied(verdict.requirements, given)


def _reopened(tx: Transaction, row: ActionRow, judgement: Judgement, ran: dict[str, Any]) -> ActionResult:
    verdict = judgement.verdict
    row.status, row.rule, row.reason = "pending", verdict.rule, verdict.reason
    row.requirements, row.quorum, row.timeout = (
        encoded(verdict.requirements),
        verdict.quorum,
        verdict.timeout,
    )
    row.decided_at = row.decided_by = None
    row.expires_at = None if verdict.timeout is None else tx.now + verdict.timeout
    changed = ("status", "rule", "reason", "requirements", "quorum", "timeout", "decided_at", "decided_by")
    tx.record(
        "reopened",
        organization=row.organization,
        actor=row.agent_id,
        action_id=row.id,
        decision=row.status,
        reason=verdict.reason,
        approvers=verdict.approvers,
        quorum=verdict.quorum,
        requirements=verdict.requirements,
        **ran,
        set={name: getattr(row, name) for name in (*changed, "expires_at")} | set_by(ran),
    )
    return result_of(row, risk=judgement.risk)
