"""MCP servers: registered, activated, deactivated, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ascend_guard.api.agents import WhyBody
from ascend_guard.api.fields import Done, PageQuery
from ascend_guard.api.mcp_servers import (
    Discovered,
    ServerAnswer,
    ServerBody,
    ServerPage,
    ServerRegistration,
    ServersHealth,
    ServersQuery,
)
from ascend_guard.engine.registry import mcp_servers
from ascend_guard.engine.registry.mcp_servers import MCP_SERVERS, McpServer
from ascend_guard.engine.registry.records import Entry, cleaned
from ascend_guard.model import iso
from ascend_guard.redaction import scrub
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import Gathered, behind, gather
from ascend_guard.store.port import Reader

from .registered import one_page, when


async def register(request: Request[ServerRegistration, None]) -> ServerAnswer:
    """Register a server."""
    body, by = request.body, request.caller.name
    server = McpServer(
        display_name=body.display_name or body.server_name,
        description=body.description,
        server_url=None if body.server_url is None else scrub(body.server_url),
        transport_type=body.transport_type,
        connection_config=cleaned(body.connection_config),
        governance_enabled=body.governance_enabled,
        auto_approve_tools=body.auto_approve_tools,
        blocked_tools=body.blocked_tools,
        tool_risk_overrides=body.tool_risk_overrides,
    )
    entry = await request.write(
        lambda tx: mcp_servers.register(tx, request.organization, body.server_name, server, by)
    )
    return ServerAnswer(message="The MCP server is registered and active.", server=_body(entry))


async def listed(request: Request[None, PageQuery]) -> ServerPage:
    """The organization's servers."""

    def look(reader: Reader) -> ServerPage:
        entries, about = one_page(MCP_SERVERS, reader, request)
        return ServerPage(servers=[_body(entry) for entry in entries], **about)

    return await request.read(look)


async def get(request: Request[None, None]) -> ServerBody:
    """One server."""
    name = request.path["server_name"]
    return _body(await request.read(lambda reader: MCP_SERVERS.get(reader, request.organization, name)))


async def delete(request: Request[None, None]) -> Done:
    """Forget a server."""
    name, by = request.path["server_name"], request.caller.name
    await request.write(lambda tx: mcp_servers.remove(tx, request.organization, name, by))
    return Done(message=f"The MCP server {name!r} is no longer registered; its tools are refused.")


async def activate(request: Request[WhyBody, None]) -> ServerAnswer:
    """Let a server's tools be called."""
    return await _turn(request, True)


async def deactivate(request: Request[WhyBody, None]) -> ServerAnswer:
    """Refuse a server's tools."""
    return await _turn(request, False)


async def _turn(request: Request[WhyBody, None], active: bool) -> ServerAnswer:
    name, by, reason = request.path["server_name"], request.caller.name, request.body.reason
    entry = await request.write(
        lambda tx: mcp_servers.set_active(tx, request.organization, name, active, reason, by)
    )
    state = "active" if active else "inactive; its tools are refused"
    return ServerAnswer(message=f"The MCP server is {state}.", server=_body(entry))


async def discovered(request: Request[None, None]) -> Discovered:
    """That no scan is made: what is found on a network says nothing about what is allowed."""
    return Discovered(
        message="Nothing was scanned: this server does not search the network. Tools of MCP servers that are not registered "
        "are refused. GET /api/registry/mcp-servers lists the registered ones."
    )


async def health(request: Request[None, ServersQuery]) -> ServersHealth:
    """Which servers are registered as active."""
    limit, first = request.query.limit, behind(request.query.cursor)
    active = 0

    def counted(entries: Iterator[Entry[McpServer]]) -> Iterator[Entry[McpServer]]:
        nonlocal active
        for entry in entries:
            active += entry.value.active
            yield entry

    def look(reader: Reader) -> Gathered[Entry[McpServer], ServerBody]:
        entries = counted(MCP_SERVERS.all(reader, request.organization))
        return gather(entries, _body, limit, after=lambda entry: entry.number > (first or 0))

    found = await request.read(look)
    return ServersHealth(
        message="The servers themselves were not asked: this says which ones are registered as active.",
        timestamp=iso(request.services.clock()),
        total_servers=found.total,
        active_servers=active,
        inactive_servers=found.total - active,
        servers=found.shown,
        has_more=found.last is not None,
        next_cursor=None if found.last is None else str(found.last.number),
    )


def _body(entry: Entry[McpServer]) -> ServerBody:
    fields: dict[str, Any] = msgspec.structs.asdict(entry.value)
    active = fields.pop("active")
    return ServerBody(
        id=entry.number,
        server_name=entry.name,
        status="active" if active else "inactive",
        is_active=active,
        **fields,
        **when(entry),
    )


HANDLERS: dict[str, Handler] = {
    "register_mcp_server": register,
    "list_mcp_servers": listed,
    "get_mcp_server": get,
    "delete_mcp_server": delete,
    "activate_mcp_server": activate,
    "deactivate_mcp_server": deactivate,
    "scan_mcp_network": discovered,
    "get_mcp_scan_results": discovered,
    "get_mcp_health": health,
}
