"""Decide an action: judge policy and risk, then record the decision and its consequences in one transaction.

The rules:

1. Policy and risk are judged outside the transaction, from the action alone (promise 1).
2. Inside it, in this order: the kill switch, an earlier run of the same named call, the parent of an orchestration, and for
   a call that needs approval an earlier action of the same call and a denial in force; then the action is stored with its
   decision.
3. An approval without people is claimed by the same record: one durable write before the tool (promises 3 and 5).
4. A detached pending action may be resumed by the same call, never by another one (``same_call``, promise 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ascend_guard.errors import AuthorizationDeniedError, ValidationError
from ascend_guard.flow import Submit
from ascend_guard.model import MAX_ORCHESTRATION_DEPTH, ActionResult, AgentAction, Decision, KillSwitchState
from ascend_guard.store.port import ActionRow, Transaction
from ascend_guard.store.projections import SUBMITTED, Put

from . import denials
from .approve import expire
from .claim import take, waiting
from .kill import block, stopped
from .policy import DEFAULT_TIMEOUT, Policy, Requirement, RuleEffect, Verdict
from .repeats import already_ran, begins
from .results import encoded, result_of
from .risk import Risk, assess
from .same_call import approval_key, call_key

_STATUS = {
    RuleEffect.ALLOW: Decision.APPROVED,
    RuleEffect.DENY: Decision.DENIED,
    RuleEffect.REQUIRE_APPROVAL: Decision.PENDING,
}


class Judgement(msgspec.Struct, frozen=True):
    """The result of policy and risk for an action. It needs no database, so it is made outside the transaction.

    Args:
        policy: the digest of the policy.
        denials_last: seconds for which a person's denial answers the same call.
    """

    action: AgentAction
    risk: Risk
    verdict: Verdict
    policy: str
    denials_last: float


def judge(action: AgentAction, policy: Policy, risk: Risk | None = None) -> Judgement:
    """Assess the risk of an action, if it is not known already, and apply the policy to it.

    Raises:
        ValidationError: its depth is out of range (SDK document: 0..5).
    """
    require_depth(action, action.orchestration_depth)
    risk = risk or assess(action)
    verdict = policy.decide(action, risk)
    if verdict.effect is RuleEffect.ALLOW and action.context.get("require_human_approval") is True:
        # The published decorators have this option. A caller may require more than the policy does, never less.
        verdict = Verdict(
            RuleEffect.REQUIRE_APPROVAL,
            verdict.rule,
            verdict.rules,
            "The caller requires a person's approval.",
            timeout=DEFAULT_TIMEOUT,
            requirements=(Requirement("require_human_approval", (), 1),),
        )
    return Judgement(action, risk, verdict, policy.digest, policy.denials_last)


def require_depth(action: AgentAction, depth: int) -> None:
    """Check the depth (SDK document, "Multi-agent orchestration": 0..5).

    Raises:
        ValidationError: it is out of range.
    """
    if not 0 <= depth <= MAX_ORCHESTRATION_DEPTH:
        raise ValidationError(
            f"Blocked: {action.action_type} by {action.tool_name} is nested {depth} governed calls "
            f"deep; at most {MAX_ORCHESTRATION_DEPTH} are allowed. Reduce the nesting.",
            reason="orchestration depth out of range",
        )


def submit(
    tx: Transaction,
    organization: str,
    runner: str,
    alive: Callable[[str], bool],
    judgement: Judgement,
    effect: Submit,
    keep: Callable[[int], Iterable[Put]] = lambda action_id: (),
) -> ActionResult | KillSwitchState:
    """Record a judged action. An approved one is claimed at once. A pending one is resumed if it exists, or answered by a
    denial in force.

    ``keep`` returns what is registered together with the action, such as the request's idempotency key.
    """
    action, verdict = judgement.action, judgement.verdict
    state = stopped(tx, organization, action.agent_id)
    if state is not None:
        block(tx, organization, action, "submit", None, state)
        return state
    repeat = already_ran(tx, organization, action.agent_id, effect.once)
    if repeat is not None:
        return repeat
    graft = None
    depth = action.orchestration_depth
    if action.parent_action_id is not None:
        parent = foreign_parent(tx, organization, action)
        if isinstance(parent, ActionRow):
            depth = max(depth, parent.depth + 1)  # a caller can only understate its depth
            require_depth(action, depth)
        else:
            graft = parent
            verdict = Verdict(effect=RuleEffect.DENY, rule=None, rules=(), reason=graft.reason or "")
    status = _STATUS[verdict.effect]
    row = ActionRow(
        id=0,
        organization=organization,
        status=status.value,
        agent_id=action.agent_id,
        agent_name=action.agent_name,
        action_type=action.action_type,
        tool_name=action.tool_name,
        resource=action.resource,
        risk_score=judgement.risk.score,
        risk_level=judgement.risk.level.value,
        rule=verdict.rule,
        reason=verdict.reason,
        session_id=action.session_id,
        orchestration_session_id=action.orchestration_session_id,
        # The audit record of the rejection names a parent of another organization, without a link.
        parent_action_id=None if graft else action.parent_action_id,
        depth=depth,
        digest=effect.digest,
        created_at=tx.now,
    )
    call = None
    if status is Decision.PENDING:
        call = call_key(effect)
        if effect.repeatable:
            row.fingerprint = approval_key(effect, verdict)
            earlier = _resume(tx, row, runner, alive, effect, keep)
            if earlier is not None:
                return earlier
        denied = denials.answer(tx, organization, call, effect, judgement.denials_last)
        if denied is not None:
            _keep(tx, organization, action, keep(int(denied.action_id)))
            return denied
        row.requirements = encoded(verdict.requirements)
        row.quorum = verdict.quorum
        row.timeout = verdict.timeout
        row.expires_at = None if verdict.timeout is None else tx.now + verdict.timeout
        row.waiter = None if effect.detached else runner
    elif status is Decision.APPROVED:
        row.runner = runner
    row.id = tx.next_action(organization)
    put = [*keep(row.id)]
    if status is Decision.APPROVED:
        put += begins(action.agent_id, effect.once, row.id)
    _record(tx, row, judgement, verdict, call, put)
    return result_of(row, claimed=status is Decision.APPROVED, risk=judgement.risk, timestamp=tx.timestamp)


def _keep(tx: Transaction, organization: str, action: AgentAction, put: Iterable[Put]) -> None:
    """Register this together with an answer that is not a new action."""
    things = list(put)
    if things:
        tx.record("answered", organization=organization, actor=action.agent_id, put=things)


_STATED = ("runner", "fingerprint", "timeout", "expires_at", "waiter")
"""Columns of a new action that the record states as they are; ``projections`` reads the others from its other fields."""


def _record(
    tx: Transaction,
    row: ActionRow,
    judgement: Judgement,
    verdict: Verdict,
    call: str | None,
    put: list[Put],
) -> None:
    action = judgement.action
    stated = {name: value for name in _STATED if (value := getattr(row, name)) is not None}
    if row.parent_action_id != action.parent_action_id:
        stated["parent_action_id"] = row.parent_action_id
    if row.depth != action.orchestration_depth:
        stated["depth"] = row.depth
    extra: dict[str, Any] = {"errors": verdict.errors} if verdict.errors else {}
    if row.status == "pending":
        extra |= {
            "approvers": verdict.approvers,
            "quorum": verdict.quorum,
            "requirements": verdict.requirements,
            "call": call,
            "denials_last": judgement.denials_last,
        }
    if stated:
        extra["set"] = stated
    if put:
        extra["put"] = put
    tx.record(
        SUBMITTED,
        organization=row.organization,
        actor=row.agent_id,
        action_id=row.id,
        decision=row.status,
        rule=row.rule,
        reason=row.reason,
        digest=row.digest,
        action=action,
        risk=judgement.risk,
        policy=judgement.policy,
        **extra,
    )


def _resume(
    tx: Transaction,
    asked: ActionRow,
    runner: str,
    alive: Callable[[str], bool],
    effect: Submit,
    keep: Callable[[int], Iterable[Put]],
) -> ActionResult | None:
    """Continue an earlier action of the same call, if there is one."""
    assert asked.fingerprint is not None
    for row in tx.repeatable(asked.organization, asked.fingerprint):
        if row.waiter is not None and alive(row.waiter):
            continue
        if row.expires_at is not None and row.expires_at <= tx.now:
            lapsed = row.status == "approved"
            expire(tx, row)
            if lapsed:
                continue
        put = [*keep(row.id)]
        if row.status == "denied":
            if effect.call_id is None:
                waiting(tx, row, {"fingerprint": None})  # reported once; ``denials`` has those in force
                if not denials.fresh(row, tx.now):
                    continue
            _keep(tx, asked.organization, effect.action, put)
            return result_of(row)
        # Calls inside this one belong to the orchestration of the present call.
        changes = {
            name: getattr(asked, name) for name in ("orchestration_session_id", "parent_action_id", "depth")
        }
        if row.status == "approved" and row.edits is None:
            put += begins(effect.action.agent_id, effect.once, row.id)
            take(tx, row, runner, row.digest, changes=changes, put=put)
            return result_of(row, claimed=True)
        waiting(tx, row, changes | {"waiter": None if effect.detached else runner}, put)
        return result_of(row)
    return None


class OrchestrationRejected(AuthorizationDeniedError):
    """An action names a parent that is not its own. ``code`` is also the name of the audit event."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(f"Denied: {reason}", reason=reason)
        self.code = code


def foreign_parent(
    tx: Transaction, organization: str, action: AgentAction
) -> ActionRow | OrchestrationRejected:
    """Check the parent (SDK document, "Server-enforced security"): same organization, same orchestration session.

    Returns the parent, or the rejection, which is recorded.
    """
    assert action.parent_action_id is not None
    parent = tx.action(organization, action.parent_action_id) if 0 < action.parent_action_id < 2**63 else None
    if parent is None:
        event, reason = (
            "ORCHESTRATION_FIELD_REJECTED",
            "The parent action does not exist in this organization.",
        )
    elif parent.orchestration_session_id != action.orchestration_session_id:
        event, reason = (
            "ORCHESTRATION_GRAFT_ATTEMPT",
            "The parent action belongs to another orchestration session.",
        )
    else:
        return parent
    tx.record(
        event,
        organization=organization,
        actor=action.agent_id,
        parent_action_id=action.parent_action_id,
        orchestration_session_id=action.orchestration_session_id,
    )
    return OrchestrationRejected(reason, event)
