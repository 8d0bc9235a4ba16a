"""MCP servers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from .agents import WhyBody
from .endpoint import Access, Endpoint
from .fields import Cursor, Done, Many, Name, Names, Object, PageQuery, Place, Prose, Short, Text


class ServerRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """An MCP server to register. Its name is case-sensitive."""

    server_name: Name
    display_name: Short | None = None
    description: Prose | None = None
    server_url: Place | None = None
    transport_type: Text = "stdio"
    connection_config: Object = field(default_factory=dict)
    governance_enabled: bool = True
    auto_approve_tools: Names = field(default_factory=list)
    blocked_tools: Names = field(default_factory=list)
    tool_risk_overrides: Annotated[dict[Text, Annotated[int, Meta(ge=0, le=100)]], Meta(max_length=256)] = (
        field(default_factory=dict)
    )


class ServerBody(Struct, kw_only=True):
    """A registered MCP server."""

    id: int
    server_name: str
    display_name: str
    description: str | None
    server_url: str | None
    transport_type: str
    connection_config: Object
    governance_enabled: bool
    auto_approve_tools: list[str]
    blocked_tools: list[str]
    tool_risk_overrides: dict[str, int]
    status: Literal["active", "inactive"]
    is_active: bool
    status_reason: str | None
    registered_by: str
    created_at: str
    updated_at: str


class ServerAnswer(Done, kw_only=True):
    """An MCP server after a change."""

    server: ServerBody


class ServerPage(Many, kw_only=True):
    """MCP servers, oldest first."""

    servers: list[ServerBody]


class ServersQuery(Struct, kw_only=True):
    """Which part of the servers to get."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    cursor: Cursor | None = None


class Discovered(Struct, kw_only=True):
    """The result of a scan of the network: nothing, because none is made. Published clients read these fields."""

    success: bool = False
    scanned: bool = False
    status: str = "not_configured"
    message: str
    discovered_count: int = 0
    scan_timestamp: str | None = None
    servers: list[ServerBody] = field(default_factory=list)


class ServersHealth(Struct, kw_only=True):
    """The servers that are registered as active. The servers themselves are not asked: see ``status`` and ``checked``."""

    success: bool = True
    checked: bool = False
    status: str = "not_monitored"
    message: str
    timestamp: str
    total_servers: int
    active_servers: int
    inactive_servers: int
    servers: list[ServerBody]
    has_more: bool = False
    next_cursor: str | None = None


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "register_mcp_server", "POST", "/api/registry/mcp-servers", ServerAnswer,
        ServerRegistration, access=Access.ADMIN, status=201, refuses=(409,),
        summary="Register an MCP server; it is active at once.",
    ),
    Endpoint(
        "list_mcp_servers", "GET", "/api/registry/mcp-servers", ServerPage, query=PageQuery,
        summary="List MCP servers, oldest first.",
    ),
    Endpoint(
        "get_mcp_server", "GET", "/api/registry/mcp-servers/{server_name}", ServerBody,
        refuses=(404,), summary="Get an MCP server.",
    ),
    Endpoint(
        "delete_mcp_server", "DELETE", "/api/registry/mcp-servers/{server_name}", Done,
        access=Access.ADMIN, refuses=(404,), summary="Delete an MCP server. Its tools are refused from then on.",
    ),
    Endpoint(
        "activate_mcp_server", "POST", "/api/registry/mcp-servers/{server_name}/activate",
        ServerAnswer, WhyBody, access=Access.ADMIN, refuses=(404,), body_optional=True,
        summary="Activate an MCP server: its tools may be called.",
    ),
    Endpoint(
        "deactivate_mcp_server", "POST", "/api/registry/mcp-servers/{server_name}/deactivate",
        ServerAnswer, WhyBody, access=Access.ADMIN, refuses=(404,), body_optional=True,
        summary="Deactivate an MCP server: its tools are refused.",
    ),
    Endpoint(
        "scan_mcp_network", "POST", "/api/authorization/mcp-discovery/scan-network", Discovered,
        aliases=("/api/discovery/mcp/scan",), summary="Not configured: the network is not searched for MCP servers.",
    ),
    Endpoint(
        "get_mcp_scan_results", "GET", "/api/discovery/mcp/results", Discovered,
        summary="Not configured: the network is not searched for MCP servers.",
    ),
    Endpoint(
        "get_mcp_health", "GET", "/api/authorization/mcp-discovery/health-monitor", ServersHealth,
        aliases=("/api/authorization/mcp-discovery/server-status",), query=ServersQuery,
        summary="List the MCP servers that are registered as active. The servers themselves are not asked.",
    ),
)  # fmt: skip
