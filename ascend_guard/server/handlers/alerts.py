"""The endpoints of alerts and of resource classifications."""

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
from ascend_guard.engine.registry.classifications import Classification
from ascend_guard.engine.registry.records import Entry
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import behind, gather
from ascend_guard.store.port import Reader

from .registered import fields_of, number, part


async def listed(request: Request[None, AlertsQuery]) -> Alerts:
    """List alerts. Like the audit trail, they are not for keys made for one agent."""
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
    shown = gather(found, lambda alert: alert, query.limit)
    last = None if shown.last is None else shown.last.id
    return Alerts(total=len(shown.shown), alerts=shown.shown, has_more=last is not None, next_cursor=last)


async def acknowledge(request: Request[None, None]) -> AlertBody:
    """Acknowledge an alert."""
    seq, by = number(request.path["alert_id"], "alert"), request.caller.name
    return await request.write(lambda tx: alerts.acknowledge(tx, request.organization, seq, by))


async def classified(request: Request[None, ClassificationsQuery]) -> Classifications:
    """List classifications."""
    kind, limit, first = request.query.resource_type, request.query.limit, behind(request.query.cursor)

    def look(reader: Reader) -> Classifications:
        matching = classifications.listed(reader, request.organization, kind)
        found, cursor = part(matching, _classification, limit, first)
        return Classifications(found.shown, cursor is not None, cursor)

    return await request.read(look)


async def classify(request: Request[ClassificationRegistration, None]) -> ClassificationAnswer:
    """Classify a resource."""
    said, by = Classification(**fields_of(request.body)), request.caller.name
    entry = await request.write(lambda tx: classifications.classify(tx, request.organization, said, by))
    return ClassificationAnswer(message="The resource is classified.", classification=_classification(entry))


async def declassify(request: Request[None, None]) -> Done:
    """Delete a classification."""
    which, by = number(request.path["classification_id"], "resource classification"), request.caller.name
    await request.write(lambda tx: classifications.remove(tx, request.organization, which, by))
    return Done(message="The resource is no longer classified.")


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
