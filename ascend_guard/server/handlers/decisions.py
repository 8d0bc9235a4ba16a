"""A decision, an action and an approval in the form of the API: every field that some client reads."""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.api.actions import ActionBody, ActionDetailBody, DecisionBody, TrailEntry
from ascend_guard.api.approvals import ApprovalBody
from ascend_guard.engine.approve import as_it_runs, submitted
from ascend_guard.engine.history import all_steps
from ascend_guard.engine.registry.admission import Governance
from ascend_guard.engine.results import pending_approvers, result_of
from ascend_guard.engine.risk import Risk
from ascend_guard.model import ALREADY_RAN, ActionResult, Decision, iso
from ascend_guard.store.port import ActionRow, Reader

_WORDS = {Decision.APPROVED: "allowed", Decision.DENIED: "denied", Decision.PENDING: "pending"}


def decision_body(
    result: ActionResult,
    *,
    correlation_id: str | None = None,
    risk: Risk | None = None,
    governance: Governance | None = None,
    created_at: str | None = None,
    comments: str | None = None,
    milliseconds: float | None = None,
) -> DecisionBody:
    """The answer to the submission of an action, or to a request for its state."""
    status, reason = result.status, result.reason
    approved, denied, pending = result.is_approved(), result.is_denied(), result.is_pending()
    rules = [result.policy_matched] if result.policy_matched else []
    waits_for = result.metadata.get("pending_approvers", [])
    decided_at = result.timestamp if result.decided_by else None
    summary = f"Action {status.value}: {reason}" if reason else f"Action {status.value}"
    body = DecisionBody(
        id=int(result.action_id),
        action_id=result.action_id,
        status=status.value,
        decision=_WORDS[status],
        success=not denied,
        execution_allowed=approved,
        requires_approval=pending,
        risk_score=result.risk_score,
        risk_level=result.risk_level.value,
        reason=reason,
        summary=summary,
        message=summary,
        timestamp=result.timestamp,
        created_at=created_at or result.timestamp,
        updated_at=result.timestamp,
        correlation_id=correlation_id,
        policy_matched=result.policy_matched,
        policy_decision=status.value,
        matched_policies=rules,
        policy_violations=rules if denied and result.decided_by is None else [],
        denial_reason=reason if denied else None,
        approval_request_id=result.action_id if pending or result.decided_by else None,
        workflow_id=result.action_id if pending or result.decided_by else None,
        pending_approvers=waits_for,
        required_approvers=waits_for,
        quorum=result.metadata.get("quorum"),
        expires_at=result.metadata.get("expires_at"),
        approved_by=result.decided_by if approved else None,
        approved_at=decided_at if approved else None,
        reviewed_by=result.decided_by,
        reviewed_at=decided_at,
        decided_by=result.decided_by,
        comments=comments,
        enforcement_decision=status.value,
        enforcement_decision_source="approver" if result.decided_by else "policy",
        risk_score_source="control_plane",
        alert_triggered=denied and result.risk_level.value in ("high", "critical"),
        processing_time_ms=milliseconds,
        claimed=result.claimed,
        modified_arguments=result.modified_arguments,
    )
    if ALREADY_RAN in result.metadata:
        body.metadata = {ALREADY_RAN: result.metadata[ALREADY_RAN]}
    if risk is not None:
        _add_risk(body, risk)
    if governance is not None:
        body.mcp_governance = governance.mcp_governance
        body.model_governance = governance.model_governance
    return body


def _add_risk(body: DecisionBody, risk: Risk) -> None:
    controls, techniques = list(risk.nist_controls), list(risk.mitre_techniques)
    body.cvss_score = risk.cvss_score
    body.cvss_severity = risk.level.value
    body.cvss_vector = risk.cvss_vector
    body.nist_controls = controls
    body.nist_control = controls[0] if controls else None
    body.mitre_techniques = techniques
    body.mitre_technique = techniques[0] if techniques else None
    body.compliance_mapping = {"nist_800_53": controls, "mitre": techniques, "cvss": risk.cvss_vector}
    body.metadata = {**body.metadata, "risk_factors": list(risk.factors)}


def standing(reader: Reader, row: ActionRow, correlation_id: str | None = None) -> DecisionBody:
    """Return the present state of an action."""
    return decision_body(
        result_of(row),
        correlation_id=correlation_id,
        created_at=iso(row.created_at),
        comments=_comments(reader, row),
    )


def action_body(row: ActionRow) -> ActionBody:
    """An action in a list."""
    return ActionBody(**_listed(row))


def detail_body(reader: Reader, row: ActionRow) -> ActionDetailBody:
    """An action with its arguments and its history."""
    asked = submitted(reader, row).action
    trail = reader.trail(row.organization, row.id)
    runs = as_it_runs(record.body for record in trail)
    return ActionDetailBody(
        **_listed(row),
        resource_id=(runs or asked).resource_id,
        action_details=asked.action_details,
        context=asked.context,
        decided_by=row.decided_by,
        expires_at=None if row.expires_at is None else iso(row.expires_at),
        quorum=row.quorum,
        pending_approvers=pending_approvers(row) if row.status == "pending" else [],
        approvals=[
            {"approved_by": given.approver, "comments": given.comment, "approved_at": iso(given.at)}
            for given in reader.approvals(row.organization, row.id)
        ],
        modified_arguments=None if row.edits is None else msgspec.json.decode(row.edits),
        error=row.error,
        excluded=list(asked.excluded),
        vouched_decorators=list(asked.vouched_decorators),
        audit_trail=[entry for step in all_steps(trail) for entry in _entries(step)],
    )


def approval_body(reader: Reader, row: ActionRow) -> ApprovalBody:
    """The state of an approval. It has its action's identifier."""
    approved = row.status == "approved"
    rejected = row.status == "denied"
    return ApprovalBody(
        approval_id=str(row.id),
        approval_request_id=str(row.id),
        action_id=str(row.id),
        status=row.status,
        approved_by=row.decided_by if approved else None,
        rejected_by=row.decided_by if rejected else None,
        decided_at=None if row.decided_at is None else iso(row.decided_at),
        comments=_comments(reader, row),
        rejection_reason=row.reason if rejected else None,
    )


def _comments(reader: Reader, row: ActionRow) -> str | None:
    if row.decided_by is None:
        return None
    given = [approval.comment for approval in reader.approvals(row.organization, row.id) if approval.comment]
    return given[-1] if given else None


def _listed(row: ActionRow) -> dict[str, Any]:
    moments = [
        at for at in (row.created_at, row.decided_at, row.claimed_at, row.settled_at) if at is not None
    ]
    return {
        "id": row.id,
        "action_id": str(row.id),
        "agent_id": row.agent_id,
        "agent_name": row.agent_name,
        "action_type": row.action_type,
        "tool_name": row.tool_name,
        "resource": row.resource,
        "description": row.resource,
        "status": row.status,
        "risk_score": row.risk_score,
        "risk_level": row.risk_level,
        "reason": row.reason,
        "policy_matched": row.rule,
        "session_id": row.session_id,
        "orchestration_session_id": row.orchestration_session_id,
        "parent_action_id": row.parent_action_id,
        "orchestration_depth": row.depth,
        "outcome": row.outcome,
        "created_at": iso(row.created_at),
        "updated_at": iso(max(moments)),
    }


_FRAME = frozenset({"seq", "timestamp", "organization", "event", "actor", "action_id"})


AUTO = "auto"
"""The names for decisions of the policy alone (REST API document, "Get Action Details")."""


def _entries(record: dict[str, Any]) -> list[TrailEntry]:
    """Return a step as entries of the API: a submission contains a decision that the policy made at once."""
    at, event, decision = record["timestamp"], record["event"], record.get("decision")
    details = {name: value for name, value in record.items() if name not in _FRAME}
    steps = [TrailEntry(at, event, record["actor"], details)]
    if event == "submitted" and decision in ("approved", "denied"):
        why = {"rule": record.get("rule"), "reason": record.get("reason")}
        steps.append(TrailEntry(at, decision, AUTO, why))
    return steps
