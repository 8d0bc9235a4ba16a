"""A stored action in the form of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ascend_guard.model import ActionResult, Decision, RiskLevel, iso
from ascend_guard.store.port import ActionRow

from .policy import Requirement
from .risk import Risk

_DECISIONS = {decision.value: decision for decision in Decision}
_LEVELS = {level.value: level for level in RiskLevel}


def encoded(requirements: Sequence[Requirement]) -> str:
    """Requirements in their stored form."""
    return msgspec.json.encode(requirements).decode()


def requirements_of(row: ActionRow) -> list[Requirement]:
    """The requirement of each rule that asked for approval."""
    return msgspec.json.decode(row.requirements or "[]", type=list[Requirement])


def pending_approvers(row: ActionRow) -> list[str]:
    """The groups from which an approval is still needed, each once."""
    return list(dict.fromkeys(group for wanted in requirements_of(row) for group in wanted.approvers))


def result_of(
    row: ActionRow, *, claimed: bool = False, risk: Risk | None = None, timestamp: str | None = None
) -> ActionResult:
    """Return the present decision on an action. ``timestamp`` avoids formatting the time again."""
    metadata: dict[str, Any] = {}
    if row.status == "pending":
        metadata["pending_approvers"] = pending_approvers(row)
        metadata["quorum"] = row.quorum
        if row.expires_at is not None:
            metadata["expires_at"] = iso(row.expires_at)
    if risk is not None:
        metadata["cvss_vector"] = risk.cvss_vector
        metadata["nist_controls"] = risk.nist_controls
        metadata["mitre_techniques"] = risk.mitre_techniques
    return ActionResult(
        action_id=str(row.id),
        status=_DECISIONS[row.status],
        risk_score=row.risk_score,
        risk_level=_LEVELS[row.risk_level],
        reason=row.reason,
        policy_matched=row.rule,
        timestamp=timestamp or iso(row.created_at if row.decided_at is None else row.decided_at),
        metadata=metadata,
        claimed=claimed,
        modified_arguments=None if row.edits is None else msgspec.json.decode(row.edits),
        decided_by=row.decided_by,
    )
