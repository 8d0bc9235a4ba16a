"""Alerts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .endpoint import Access, Endpoint
from .fields import Cursor


class AlertsQuery(Struct, kw_only=True):
    """Which alerts to list."""

    type: str | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    acknowledged: bool | None = None
    cursor: Cursor | None = None


class AlertBody(Struct, kw_only=True):
    """An audit record that needs attention. ``id`` is the number of the record."""

    id: str
    alert_id: str
    type: str
    alert_type: str
    severity: str
    event: str
    message: str
    actor: str
    agent_id: str | None
    action_id: str | None
    timestamp: str
    created_at: str
    acknowledged: bool
    acknowledged_by: str | None


class Alerts(Struct, kw_only=True):
    """Alerts, newest first."""

    total: int
    alerts: list[AlertBody]
    has_more: bool = False
    next_cursor: str | None = None


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "list_alerts", "GET", "/api/alerts", Alerts, query=AlertsQuery, refuses=(403,),
        summary="List alerts, newest first.",
    ),
    Endpoint(
        "acknowledge_alert", "POST", "/api/alerts/{alert_id}/acknowledge", AlertBody,
        access=Access.ADMIN, refuses=(404,), summary="Acknowledge an alert.",
    ),
)  # fmt: skip
