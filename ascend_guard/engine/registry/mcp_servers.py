"""The MCP servers of an organization. Only tools of registered, active servers are let through."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from ascend_guard.store.port import Transaction

from .records import Entry, Shelf


class McpServer(Struct, frozen=True):
    """A registered MCP server.

    Args:
        display_name: for people.
        description: for people.
        server_url: where it is; credentials in it are redacted.
        transport_type: stdio, http, ...
        connection_config: how it is reached, redacted.
        governance_enabled: whether ``auto_approve_tools`` and ``tool_risk_overrides`` mean anything. Registration,
            activation and ``blocked_tools`` hold either way: there is no switch that opens.
        auto_approve_tools: tools for which its owner wants no approval.
        blocked_tools: tools that are refused.
        tool_risk_overrides: the least risk score of some tools, 0 to 100.
        active: whether its tools may be called at all.
        status_reason: why it was deactivated.
        registered_by: who registered it.
    """

    display_name: str
    description: str | None = None
    server_url: str | None = None
    transport_type: str = "stdio"
    connection_config: dict[str, Any] = field(default_factory=dict)
    governance_enabled: bool = True
    auto_approve_tools: list[str] = field(default_factory=list)
    blocked_tools: list[str] = field(default_factory=list)
    tool_risk_overrides: dict[str, int] = field(default_factory=dict)
    active: bool = True
    status_reason: str | None = None
    registered_by: str = ""

    def blocks(self, *names: str) -> bool:
        """Whether one of these names of a call is a blocked tool's, alone or behind a prefix (``files.delete``)."""
        return not _forms(names).isdisjoint(self.blocked_tools)

    def auto_approves(self, tool: str) -> bool:
        """Whether this very tool needs no approval."""
        return self.governance_enabled and tool in self.auto_approve_tools

    def risk_of(self, *names: str) -> int | None:
        """The least risk score of a call, by any of its names."""
        if not self.governance_enabled:
            return None
        scores = [
            self.tool_risk_overrides[name] for name in _forms(names) if name in self.tool_risk_overrides
        ]
        return max(scores, default=None)


def _forms(names: tuple[str, ...]) -> set[str]:
    # Clients put a server's or a namespace's name before a tool's: files.delete, files/delete, files:delete, files__delete.
    forms = set(names)
    for name in names:
        for mark in (".", "/", ":", "__"):
            forms.add(name.rpartition(mark)[2])
            forms.add(name.partition(mark)[2])
    return forms - {""}


MCP_SERVERS = Shelf("mcp_server", McpServer, "MCP server")


def register(
    tx: Transaction, organization: str, server_name: str, server: McpServer, by: str
) -> Entry[McpServer]:
    """Register a server; it is active at once. Names are case-sensitive.

    Raises:
        ConflictError: it is registered already, or there are too many.
    """
    entry = MCP_SERVERS.add(tx, organization, server_name, msgspec.structs.replace(server, registered_by=by))
    tx.record(
        "MCP_SERVER_REGISTERED",
        organization=organization,
        actor=by,
        mcp_server_name=server_name,
        server=entry.value,
    )
    return entry


def set_active(
    tx: Transaction, organization: str, server_name: str, active: bool, reason: str | None, by: str
) -> Entry[McpServer]:
    """Let a server's tools be called, or not.

    Raises:
        NotFoundError: there is no such server.
    """
    server = MCP_SERVERS.get(tx, organization, server_name)
    entry = MCP_SERVERS.put(
        tx,
        organization,
        server.name,
        msgspec.structs.replace(server.value, active=active, status_reason=reason),
    )
    tx.record(
        "MCP_SERVER_ACTIVATED" if active else "MCP_SERVER_DEACTIVATED",
        organization=organization,
        actor=by,
        mcp_server_name=server.name,
        reason=reason,
    )
    return entry


def remove(tx: Transaction, organization: str, server_name: str, by: str) -> None:
    """Forget a server: its tools are refused from then on.

    Raises:
        NotFoundError: there is no such server.
    """
    server = MCP_SERVERS.get(tx, organization, server_name)
    MCP_SERVERS.remove(tx, organization, server.name)
    tx.record("MCP_SERVER_REMOVED", organization=organization, actor=by, mcp_server_name=server.name)
