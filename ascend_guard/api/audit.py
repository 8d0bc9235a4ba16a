"""The audit trail."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .endpoint import Endpoint
from .fields import Cursor, Object, Offset


class AuditQuery(Struct, kw_only=True):
    """Filters for audit records."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    offset: Offset = 0
    cursor: Cursor | None = None


class AuditEvent(Struct, kw_only=True):
    """One audit record."""

    event_id: str
    id: str
    event_type: str
    timestamp: str
    actor: str
    resource: str | None
    action: str | None
    outcome: str | None
    details: Object
    hash: str


class AuditPage(Struct, kw_only=True):
    """Audit records, newest first, under every name that a client reads."""

    events: list[AuditEvent]
    total: int
    page: int
    page_size: int
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None = None


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "list_audit_log", "GET", "/api/audit/logs", AuditPage, query=AuditQuery,
        aliases=("/audit/logs",), refuses=(403,), summary="List audit records, newest first.",
    ),
)  # fmt: skip
