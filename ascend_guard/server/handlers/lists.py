"""The endpoints that list actions, show one action, and list the audit trail."""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.api.actions import ActionDetailBody, ActionPage, ActionsQuery
from ascend_guard.api.audit import AuditEvent, AuditPage, AuditQuery
from ascend_guard.engine.history import told
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import LARGEST_PAGE, behind, gather, page
from ascend_guard.store.paging import Page
from ascend_guard.store.port import LogRow, Reader

from .actions import visible
from .decisions import action_body, detail_body


async def actions(request: Request[None, ActionsQuery]) -> ActionPage:
    """List actions, newest first. A key made for an agent sees that agent's only."""
    query = request.query
    agent_id = request.caller.agent_id or query.agent_id
    before = behind(query.cursor)
    if query.agent_id is not None and query.agent_id != agent_id:
        return ActionPage([], 0, query.limit, query.offset, False)

    def look(reader: Reader) -> ActionPage:
        rows = reader.actions(
            request.organization,
            status=query.status,
            agent_id=agent_id,
            before=before,
            limit=query.limit + 1,
            offset=query.offset,
        )
        total = reader.count_actions(request.organization, status=query.status, agent_id=agent_id)
        found = gather(rows, action_body, query.limit)
        last = None if found.last is None else str(found.last.id)
        return ActionPage(
            actions=found.shown, **page(total, len(found.shown), query.limit, query.offset, last)
        )

    return await request.read(look)


async def action(request: Request[None, None]) -> ActionDetailBody:
    """Get an action with its arguments and its history."""
    row = await visible(request)
    return await request.read(lambda reader: detail_body(reader, row))


async def audit(request: Request[None, AuditQuery]) -> AuditPage:
    """List the organization's audit trail, newest first."""
    if request.caller.agent_id is not None:
        raise AuthorizationDeniedError(
            "A key made for an agent does not see the whole audit trail. Use a key without an agent, or a person's token."
        )
    query, ours = request.query, request.organization
    first = Page(behind(query.cursor), LARGEST_PAGE)

    def look(reader: Reader) -> AuditPage:
        rows = reader.log_page(ours, query.limit, query.offset, first)
        more = bool(rows) and bool(reader.log_page(ours, 1, 0, Page(rows[-1].seq)))
        last = str(rows[-1].seq) if more else None
        about = page(reader.count_log(ours), len(rows), query.limit, query.offset, last)
        return AuditPage(
            events=[_event(row) for row in rows],
            page=query.offset // query.limit + 1,
            page_size=about["limit"],
            **about,
        )

    return await request.read(look)


class _About(msgspec.Struct):
    resource: Any = None
    action_type: Any = None


class _Told(msgspec.Struct):
    """The fields of a record that an event repeats. The arguments in it are skipped, not decoded."""

    timestamp: str
    actor: str
    action: msgspec.Raw = msgspec.Raw(b"null")
    decision: Any = None


_read = msgspec.json.Decoder(_Told).decode
_read_about = msgspec.json.Decoder(_About).decode


def _event(row: LogRow) -> AuditEvent:
    record = _read(row.body)
    about = _read_about(record.action) if memoryview(record.action)[:1].tobytes() == b"{" else _About()
    return AuditEvent(
        event_id=str(row.seq),
        id=str(row.seq),
        event_type=row.event,
        timestamp=record.timestamp,
        actor=record.actor,
        resource=about.resource,
        action=about.action_type,
        outcome=record.decision,
        details=msgspec.Raw(told(row.body)),  # type: ignore[arg-type]  # it is JSON already
        hash=row.leaf.hex(),
    )


HANDLERS: dict[str, Handler] = {"list_actions": actions, "get_action": action, "list_audit_log": audit}
