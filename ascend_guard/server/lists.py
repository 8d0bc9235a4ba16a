"""Looking: actions, one action, the audit trail."""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.api.actions import ActionDetailBody, ActionPage, ActionsQuery
from ascend_guard.api.system import AuditEvent, AuditPage, AuditQuery
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.store.port import AuditRow, Reader

from .actions import visible
from .decisions import action_body, detail_body
from .handling import Call, Handler


async def actions(call: Call[None, ActionsQuery]) -> ActionPage:
    """Actions, newest first; a key made for an agent sees that agent's."""
    query = call.query
    agent_id = call.caller.agent_id or query.agent_id
    if query.agent_id is not None and query.agent_id != agent_id:
        return ActionPage([], 0, query.limit, query.offset, False)

    def look(reader: Reader) -> ActionPage:
        rows = reader.actions(
            call.organization, status=query.status, agent_id=agent_id, limit=query.limit, offset=query.offset
        )
        total = reader.count_actions(call.organization, status=query.status, agent_id=agent_id)
        more = query.offset + len(rows) < total
        return ActionPage([action_body(row) for row in rows], total, query.limit, query.offset, more)

    return await call.read(look)


async def action(call: Call[None, None]) -> ActionDetailBody:
    """One action with its arguments and its story."""
    row = await visible(call)
    return await call.read(lambda reader: detail_body(reader, row))


async def audit(call: Call[None, AuditQuery]) -> AuditPage:
    """The organization's audit trail, newest first."""
    if call.caller.agent_id is not None:
        raise AuthorizationDeniedError(
            "A key made for an agent does not see the whole audit trail. Use a key without an agent, or a person's token."
        )
    query = call.query

    def look(reader: Reader) -> AuditPage:
        rows = reader.audit_page(call.organization, limit=query.limit, offset=query.offset)
        total = reader.count_audit(call.organization)
        return AuditPage(
            events=[_event(row) for row in rows],
            total=total,
            page=query.offset // query.limit + 1,
            page_size=query.limit,
            limit=query.limit,
            offset=query.offset,
            has_more=query.offset + len(rows) < total,
        )

    return await call.read(look)


def _event(row: AuditRow) -> AuditEvent:
    record: dict[str, Any] = msgspec.json.decode(row.body)
    asked = record.get("action")
    about = asked if isinstance(asked, dict) else {}
    return AuditEvent(
        event_id=str(row.seq),
        id=str(row.seq),
        event_type=row.event,
        timestamp=record["timestamp"],
        actor=record["actor"],
        resource=about.get("resource"),
        action=about.get("action_type"),
        outcome=record.get("decision"),
        details=record,
        hash=row.hash.hex(),
    )


HANDLERS: dict[str, Handler] = {"list_actions": actions, "get_action": action, "list_audit_log": audit}
