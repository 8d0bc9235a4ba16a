"""The endpoints of MCP servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ascend_guard.api.mcp_servers import (
    Discovered,
    ServerAnswer,
    ServerBody,
    ServerPage,
    ServersHealth,
    ServersQuery,
)
from ascend_guard.engine.registry.mcp_servers import MCP_SERVERS, McpServer, set_active
from ascend_guard.engine.registry.records import Entry
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import Gathered, behind
from ascend_guard.store.port import Reader

from .registered import part, shown
from .resource import deleting, getting, listing, registering, turning


def _body(entry: Entry[McpServer]) -> ServerBody:
    fields = shown(entry, "server_name")
    active = fields.pop("active")
    return ServerBody(status="active" if active else "inactive", is_active=active, **fields)


def _answer(state: str) -> Callable[[Entry[McpServer]], ServerAnswer]:
    return lambda entry: ServerAnswer(message=f"The MCP server is {state}.", server=_body(entry))


async def discovered(request: Request[None, None]) -> Discovered:
    """Answer that no scan is made. A server is not allowed because it is found on a network."""
    return Discovered(
        message="Nothing was scanned: this server does not search the network. Tools of MCP servers that are not registered "
        "are refused. GET /api/registry/mcp-servers lists the registered ones."
    )


async def health(request: Request[None, ServersQuery]) -> ServersHealth:
    """List the servers, and how many of them are active."""
    limit, first = request.query.limit, behind(request.query.cursor)
    active = 0

    def counted(entries: Iterator[Entry[McpServer]]) -> Iterator[Entry[McpServer]]:
        nonlocal active
        for entry in entries:
            active += entry.value.active
            yield entry

    def look(reader: Reader) -> tuple[Gathered[Entry[McpServer], ServerBody], str | None]:
        return part(counted(MCP_SERVERS.all(reader, request.organization)), _body, limit, first)

    found, cursor = await request.read(look)
    return ServersHealth(
        message="The servers themselves were not asked: this says which ones are registered as active.",
        timestamp=iso(request.services.clock()),
        total_servers=found.total,
        active_servers=active,
        inactive_servers=found.total - active,
        servers=found.shown,
        has_more=cursor is not None,
        next_cursor=cursor,
    )


HANDLERS: dict[str, Handler] = {
    "register_mcp_server": registering(
        MCP_SERVERS, "server_name", "display_name", _answer("registered and active")
    ),
    "list_mcp_servers": listing(
        MCP_SERVERS, lambda servers, about: ServerPage(servers=servers, **about), _body
    ),
    "get_mcp_server": getting(MCP_SERVERS, "server_name", _body),
    "delete_mcp_server": deleting(MCP_SERVERS, "server_name", "; its tools are refused"),
    "activate_mcp_server": turning(set_active, True, "server_name", _answer("active")),
    "deactivate_mcp_server": turning(
        set_active, False, "server_name", _answer("inactive; its tools are refused")
    ),
    "scan_mcp_network": discovered,
    "get_mcp_scan_results": discovered,
    "get_mcp_health": health,
}
