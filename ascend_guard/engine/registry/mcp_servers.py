"""The MCP servers of an organization. Only calls of tools of registered, active servers are allowed."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from ascend_guard.store.port import Transaction

from .records import Entry, Registry


class McpServer(Struct, frozen=True):
    """A registered MCP server.

    Args:
        display_name: display name.
        description: free text.
        server_url: its address; credentials in it are redacted.
        transport_type: stdio, http, ...
        connection_config: how to connect to it, redacted.
        governance_enabled: whether ``auto_approve_tools`` and ``tool_risk_overrides`` apply. Registration, activation and
            ``blocked_tools`` apply either way: no setting turns them off.
        auto_approve_tools: tools that need no approval.
        blocked_tools: tools that are refused.
        tool_risk_overrides: minimum risk scores of tools, 0 to 100.
        active: whether its tools may be called.
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
        """Whether one of a call's names is the name of a blocked tool, alone or after a prefix (``files.delete``)."""
        return not _forms(names).isdisjoint(self.blocked_tools)

    def auto_approves(self, tool: str) -> bool:
        """Whether exactly this tool needs no approval."""
        return self.governance_enabled and tool in self.auto_approve_tools

    def risk_of(self, *names: str) -> int | None:
        """The minimum risk score of a call, by any of its names."""
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


MCP_SERVERS = Registry("mcp_server", McpServer, "MCP server", key="mcp_server_name", field="server")
"""A server is active as soon as it is registered. Names are case-sensitive."""


def set_active(
    tx: Transaction, organization: str, server_name: str, active: bool, reason: str | None, by: str
) -> Entry[McpServer]:
    """Activate or deactivate a server.

    Raises:
        NotFoundError: there is no such server.
    """
    server = MCP_SERVERS.get(tx, organization, server_name)
    changes = {"active": active, "status_reason": reason}
    event = "MCP_SERVER_ACTIVATED" if active else "MCP_SERVER_DEACTIVATED"
    return MCP_SERVERS.change(tx, organization, server, changes, by, event, {"reason": reason})
