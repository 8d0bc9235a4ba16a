"""People's decisions: approve, deny, clear a denial (REST API document, "Approval Endpoints")."""

from __future__ import annotations

from msgspec import Struct

from ascend_guard.redaction.hidden import masks

from .endpoint import Access, Endpoint
from .fields import Object, Prose


@masks("arguments")
class ApproveBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Approve an action. ``arguments`` replace the caller's. The policy judges them now, and the whole edited call,
    with its resource described again, when it runs."""

    comments: Prose | None = None
    comment: Prose | None = None
    arguments: Object | None = None


class DenyBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Deny an action. The denial answers the same call until it ends or is cleared."""

    comments: Prose | None = None
    comment: Prose | None = None
    reason: Prose | None = None


class ClearBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Clear a denial: the same call made again requests a new decision."""

    comments: Prose | None = None
    comment: Prose | None = None


class DecidedAnswer(Struct, omit_defaults=True):
    """The result of a person's decision; ``pending`` when more people must approve."""

    action_id: str
    status: str
    approved_by: str | None = None
    approved_at: str | None = None
    denied_by: str | None = None
    denied_at: str | None = None
    comments: str | None = None
    reason: str = ""
    approvals: int = 0
    quorum: int = 1


class ApprovalBody(Struct, kw_only=True):
    """The state of an approval (REST API document, "Check Approval Status")."""

    approval_id: str
    approval_request_id: str
    action_id: str
    status: str
    approved_by: str | None = None
    rejected_by: str | None = None
    decided_at: str | None = None
    comments: str | None = None
    rejection_reason: str | None = None


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "approve_action", "POST", "/api/actions/{action_id}/approve", DecidedAnswer, ApproveBody,
        access=Access.PERSON, refuses=(403, 404, 409),
        aliases=("/api/governance/workflows/{action_id}/approve",), summary="Approve an action.",
    ),
    Endpoint(
        "deny_action", "POST", "/api/actions/{action_id}/deny", DecidedAnswer, DenyBody,
        access=Access.PERSON, refuses=(403, 404, 409), body_optional=True,
        aliases=("/api/governance/workflows/{action_id}/deny",), summary="Deny an action.",
    ),
    Endpoint(
        "clear_denial", "POST", "/api/actions/{action_id}/clear-denial", DecidedAnswer, ClearBody,
        access=Access.PERSON, refuses=(403, 404, 409), body_optional=True,
        summary="Clear a denial: the same call asks for approval again.",
    ),
    Endpoint(
        "get_approval", "GET", "/api/sdk/approval/{approval_id}", ApprovalBody,
        refuses=(404,), summary="Get the state of an approval.",
    ),
)  # fmt: skip
