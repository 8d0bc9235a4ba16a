"""Webhooks: which address receives which events, and the results."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ascend_guard.redaction.hidden import masks

from .endpoint import Access, Endpoint
from .fields import Done, PageQuery, Text


@masks("secret")
class WebhookBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The address and the events of a new webhook. Without ``secret`` one is created and returned once."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    events: Annotated[list[str], Meta(min_length=1, max_length=64)]
    secret: Annotated[str, Meta(min_length=16, max_length=255)] | None = None
    agent_id: Text | None = None
    active: bool = True


@masks("secret")
class WebhookChange(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The fields of a webhook to change."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)] | UnsetType = UNSET
    events: Annotated[list[str], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    secret: Annotated[str, Meta(min_length=16, max_length=255)] | UnsetType = UNSET
    active: bool | UnsetType = UNSET


@masks("secret")
class WebhookAnswer(Struct, kw_only=True):
    """A webhook; ``secret`` only in the answer to its creation."""

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
    """The result of a test delivery."""

    success: bool
    status_code: int | None
    response_time_ms: float
    error: str | None


class Delivery(Struct, kw_only=True):
    """The delivery of one event to a webhook."""

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


class Webhooks(Struct):
    """An organization's webhooks."""

    webhooks: list[WebhookAnswer] = field(default_factory=list)
    total: int = 0
    has_more: bool = False
    next_cursor: str | None = None


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "configure_webhook", "POST", "/api/sdk/webhooks/configure", WebhookAnswer, WebhookBody,
        access=Access.ADMIN, status=201, aliases=("/api/webhooks/configure", "/api/webhooks"),
        summary="Register a webhook.",
    ),
    Endpoint(
        "list_webhooks", "GET", "/api/webhooks", Webhooks, access=Access.ADMIN, query=PageQuery,
        aliases=("/api/sdk/webhooks/configure", "/api/webhooks/configure"), summary="List webhooks.",
    ),
    Endpoint(
        "update_webhook", "PUT", "/api/webhooks/{webhook_id}", WebhookAnswer, WebhookChange,
        access=Access.ADMIN, refuses=(404,), summary="Update a webhook.",
    ),
    Endpoint(
        "delete_webhook", "DELETE", "/api/webhooks/{webhook_id}", Done, access=Access.ADMIN,
        refuses=(404,), summary="Delete a webhook.",
    ),
    Endpoint(
        "test_webhook", "POST", "/api/webhooks/{webhook_id}/test", WebhookTest, access=Access.ADMIN,
        refuses=(404,), summary="Send a test event.",
    ),
    Endpoint(
        "list_deliveries", "GET", "/api/webhooks/{webhook_id}/deliveries", Deliveries, access=Access.ADMIN,
        query=PageQuery, refuses=(404,), summary="List a webhook's deliveries and their results.",
    ),
)  # fmt: skip
