"""Alerts, and how sensitive resources are."""

from __future__ import annotations

import msgspec

from ascend_guard.api.alerts import AlertBody, Alerts, AlertsQuery
from ascend_guard.api.classifications import (
    ClassificationAnswer,
    ClassificationBody,
    ClassificationRegistration,
    Classifications,
    ClassificationsQuery,
)
from ascend_guard.api.fields import Done
from ascend_guard.engine.registry import alerts, classifications
from ascend_guard.engine.registry.alerts import Alert
from ascend_guard.engine.registry.classifications import Classification
from ascend_guard.engine.registry.records import Entry, cleaned
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import Gathered, behind, gather
from ascend_guard.store.port import Reader

from .registered import number


async def listed(request: Request[None, AlertsQuery]) -> Alerts:
    """What somebody should look at; like the audit trail, not for keys made for one agent."""
    if request.caller.agent_id is not None:
        raise AuthorizationDeniedError("A key made for an agent does not see alerts. Use another key.")
    query = request.query
    before = behind(query.cursor)
    found = await request.read(
        lambda reader: alerts.alerts(
            reader,
            request.organization,
            type=query.type,
            acknowledged=query.acknowledged,
            limit=query.limit + 1,
            before=before,
        ),
    )
    shown = gather(found, _alert, query.limit)
    last = None if shown.last is None else str(shown.last.seq)
    return Alerts(total=len(shown.shown), alerts=shown.shown, has_more=last is not None, next_cursor=last)


async def acknowledge(request: Request[None, None]) -> AlertBody:
    """Say that an alert was seen."""
    seq, by = number(request.path["alert_id"], "alert"), request.caller.name
    return _alert(await request.write(lambda tx: alerts.acknowledge(tx, request.organization, seq, by)))


async def classified(request: Request[None, ClassificationsQuery]) -> Classifications:
    """How sensitive resources are."""
    kind, limit, first = request.query.resource_type, request.query.limit, behind(request.query.cursor)

    def look(reader: Reader) -> Gathered[Entry[Classification], ClassificationBody]:
        entries = classifications.listed(reader, request.organization, kind)
        return gather(entries, _classification, limit, after=lambda entry: entry.number > (first or 0))

    found = await request.read(look)
    last = None if found.last is None else str(found.last.number)
    return Classifications(found.shown, last is not None, last)


async def classify(request: Request[ClassificationRegistration, None]) -> ClassificationAnswer:
    """Say how sensitive a resource is."""
    body, by = request.body, request.caller.name
    said = Classification(
        resource_type=body.resource_type,
        resource_id=body.resource_id,
        sensitivity_level=body.sensitivity_level,
        compliance_tags=body.compliance_tags,
        metadata=cleaned(body.metadata),
    )
    entry = await request.write(lambda tx: classifications.classify(tx, request.organization, said, by))
    return ClassificationAnswer(message="The resource is classified.", classification=_classification(entry))


async def declassify(request: Request[None, None]) -> Done:
    """Forget how sensitive a resource is."""
    which, by = number(request.path["classification_id"], "resource classification"), request.caller.name
    await request.write(lambda tx: classifications.remove(tx, request.organization, which, by))
    return Done(message="The resource is no longer classified.")


def _alert(alert: Alert) -> AlertBody:
    return AlertBody(
        id=str(alert.seq),
        alert_id=str(alert.seq),
        type=alert.type,
        alert_type=alert.type,
        severity=alert.severity,
        event=alert.event,
        message=alert.message,
        actor=alert.actor,
        agent_id=alert.agent_id,
        action_id=None if alert.action_id is None else str(alert.action_id),
        timestamp=alert.timestamp,
        created_at=alert.timestamp,
        acknowledged=alert.acknowledged_by is not None,
        acknowledged_by=alert.acknowledged_by,
    )


def _classification(entry: Entry[Classification]) -> ClassificationBody:
    return ClassificationBody(
        id=entry.number, updated_at=iso(entry.updated_at), **msgspec.structs.asdict(entry.value)
    )


HANDLERS: dict[str, Handler] = {
    "list_alerts": listed,
    "acknowledge_alert": acknowledge,
    "list_classifications": classified,
    "classify_resource": classify,
    "delete_classification": declassify,
}
