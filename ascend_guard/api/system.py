"""Wire types of health, errors, audit log and webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ascend_guard.redaction.hidden import masks

from .endpoint import Cursor, Offset, Text

Object = dict[str, Any]


class ErrorBody(Struct):
    """Every error's body (REST API document, "Error Format")."""

    detail: Any
    error_code: str
    status_code: int


class HealthBody(Struct):
    """That the server lives."""

    status: str
    timestamp: str


class DeploymentBody(Struct):
    """What this server is, and what it can do besides the documented API (``features``)."""

    version: str
    environment: str
    region: str
    features: list[str]


class AuditQuery(Struct, kw_only=True):
    """Which audit records to list."""

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
    """Audit records, newest first, under every name that clients read."""

    events: list[AuditEvent]
    total: int
    page: int
    page_size: int
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None = None


@masks("secret")
class WebhookBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Where to send which events. Without ``secret`` one is made and shown once."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    events: Annotated[list[str], Meta(min_length=1, max_length=64)]
    secret: Annotated[str, Meta(min_length=16, max_length=255)] | None = None
    agent_id: Text | None = None
    active: bool = True


@masks("secret")
class WebhookChange(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What to change of a webhook."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)] | UnsetType = UNSET
    events: Annotated[list[str], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    secret: Annotated[str, Meta(min_length=16, max_length=255)] | UnsetType = UNSET
    active: bool | UnsetType = UNSET


@masks("secret")
class WebhookAnswer(Struct, kw_only=True):
    """A webhook; ``secret`` only in the answer that made it."""

    webhook_id: str
    id: str
    url: str
    events: list[str]
    active: bool
    created_at: str
    agent_id: str | None = None
    secret: str | None = None
    success: bool = True


class WebhookTest(Struct):
    """How a test delivery went."""

    success: bool
    status_code: int | None
    response_time_ms: float
    error: str | None


class Delivery(Struct, kw_only=True):
    """One event on its way to a webhook."""

    delivery_id: str
    event: str
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    status_code: int | None = None
    error: str | None = None
    created_at: str
    updated_at: str
    next_attempt_at: str | None = None


class Deliveries(Struct):
    """A webhook's deliveries, newest first."""

    deliveries: list[Delivery]
    total: int
    has_more: bool = False
    next_cursor: str | None = None


class Page(Struct, kw_only=True):
    """A part of a list."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Offset = 0
    cursor: Cursor | None = None


class Done(Struct, kw_only=True):
    """That it was done."""

    success: bool = True
    message: str = ""


class Webhooks(Struct):
    """An organization's webhooks."""

    webhooks: list[WebhookAnswer] = field(default_factory=list)
    total: int = 0
    has_more: bool = False
    next_cursor: str | None = None
