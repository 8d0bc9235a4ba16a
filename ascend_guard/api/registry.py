"""Wire types of agents, their health and commands, models and MCP servers (REST API document, "Agent Endpoints").

Fields the published SDK sends and reads are all here. A change leaves what is not named as it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ascend_guard.redaction.hidden import masks

from .endpoint import Cursor, Prose, Text

Object = dict[str, Any]

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^/?#\x00-\x1f\x7f]+$(?!\n)")]
"""A name that can stand in a path as it is: the published SDK does not quote it. Python's ``$`` lets a newline follow."""

Plain = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
"""A name without control characters, which not every database takes."""

Names = Annotated[list[Text], Meta(max_length=256)]
Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Reason = Annotated[str, Meta(max_length=1000)]
Place = Annotated[str, Meta(max_length=2000)]
Compliance = Literal["approved", "partially_approved", "pending", "denied"]


class Many(Struct, kw_only=True):
    """What every page of a list says of itself. ``next_cursor`` is the ``cursor`` of the next page, when there is one."""

    total: int
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None = None


class AgentRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Who an agent is."""

    agent_id: Name
    display_name: Annotated[str, Meta(max_length=255)] | None = None
    agent_type: Text = "supervised"
    environment: Text = "production"
    capabilities: Names = field(default_factory=list)
    allowed_resources: Names = field(default_factory=list)
    sdk_version: Annotated[str, Meta(max_length=255)] | None = None
    metadata: Object = field(default_factory=dict)


class AgentChange(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What to change of an agent. ``model_id`` is for admins: a model's number or identifier to link, null to link none."""

    model_id: Number | Text | UnsetType | None = UNSET
    display_name: Text | UnsetType = UNSET
    agent_type: Text | UnsetType = UNSET
    environment: Text | UnsetType = UNSET
    capabilities: Names | UnsetType = UNSET
    allowed_resources: Names | UnsetType = UNSET
    sdk_version: Text | UnsetType = UNSET
    metadata: Object | UnsetType = UNSET


class AgentBody(Struct, kw_only=True):
    """A registered agent; ``model_id`` is the number of the model it is linked to."""

    id: int
    agent_id: str
    display_name: str
    agent_type: str
    environment: str
    status: str
    status_reason: str | None
    trust_level: str
    capabilities: list[str]
    allowed_resources: list[str]
    sdk_version: str | None
    model_id: int | None
    metadata: Object
    registered_by: str
    created_at: str
    updated_at: str


class AgentDetail(AgentBody, kw_only=True):
    """A registered agent and what it has done so far."""

    last_activity: str | None
    action_count: int
    denial_count: int


class AgentAnswer(Struct, kw_only=True):
    """An agent as it is after a change."""

    success: bool = True
    message: str = ""
    agent: AgentBody


class AgentPage(Many, kw_only=True):
    """Agents, oldest first."""

    agents: list[AgentBody]


class WhyBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Why something is done, for the audit trail."""

    reason: Reason | None = None


class HeartbeatBody(Struct, omit_defaults=True):
    """A sign of life."""

    agent_id: Name
    sdk_version: Annotated[str, Meta(max_length=255)] | None = None
    timestamp: Annotated[str, Meta(max_length=255)] | None = None
    response_time_ms: Annotated[float, Meta(ge=0)] | None = None
    error_rate: Annotated[float, Meta(ge=0, le=1)] | None = None
    requests_count: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class HealthBody(Struct, kw_only=True):
    """How an agent is: suspended, deactivated, blocked, healthy, offline, or registered and never heard of."""

    agent_id: str
    status: str
    last_heartbeat: str | None
    uptime_seconds: int | None
    metadata: Object = field(default_factory=dict)
    success: bool = True


@masks("parameters")
class CommandIssue(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A command to an agent, or to all."""

    command_type: Literal["BLOCK", "UNBLOCK", "SUSPEND", "RATE_LIMIT", "QUARANTINE"]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    parameters: Object = field(default_factory=dict)
    expires_in: Annotated[int, Meta(ge=1, le=30 * 86_400)] = 86_400
    """Seconds for which it is delivered. What a command stopped stays stopped."""


@masks("parameters")
class CommandBody(Struct, kw_only=True):
    """A command as agents get it (SDK document, "Kill-switch HTTP fallback")."""

    command_id: str
    command_type: str
    target_type: Literal["agent", "organization"]
    reason: str
    parameters: Object
    status: Literal["pending"]
    issued_by: str
    issued_via: str
    created_at: str
    expires_at: str
    is_broadcast: bool


class CommandAnswer(Struct, kw_only=True):
    """A command that was given."""

    success: bool = True
    message: str = ""
    command: CommandBody


class Commands(Struct):
    """What an agent has not acknowledged yet."""

    commands: list[CommandBody]


class Acknowledged(Struct, kw_only=True):
    """That the receipt is recorded."""

    success: bool = True
    command_id: str
    agent_id: str
    message: str = ""


class ModelRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A model, under the identifier its users name it by."""

    model_id: Plain
    model_name: Annotated[str, Meta(max_length=255)] | None = None
    provider: Annotated[str, Meta(max_length=255)] | None = None
    version: Annotated[str, Meta(max_length=255)] | None = None
    description: Prose | None = None
    compliance_status: Compliance = "pending"
    compliance_notes: Prose | None = None
    metadata: Object = field(default_factory=dict)


class ModelChange(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What to change of a model."""

    compliance_status: Compliance | UnsetType = UNSET
    compliance_notes: Prose | UnsetType = UNSET
    model_name: Text | UnsetType = UNSET
    provider: Text | UnsetType = UNSET
    version: Text | UnsetType = UNSET
    description: Prose | UnsetType = UNSET
    metadata: Object | UnsetType = UNSET


class ModelBody(Struct, kw_only=True):
    """A registered model."""

    id: int
    model_id: str
    model_name: str
    provider: str | None
    version: str | None
    description: str | None
    compliance_status: str
    compliance_notes: str | None
    metadata: Object
    registered_by: str
    created_at: str
    updated_at: str


class ModelAnswer(Struct, kw_only=True):
    """A model as it is after a change."""

    success: bool = True
    message: str = ""
    model: ModelBody


class ModelPage(Many, kw_only=True):
    """Models, oldest first."""

    models: list[ModelBody]


class ServerRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """An MCP server. Its name is case-sensitive."""

    server_name: Name
    display_name: Annotated[str, Meta(max_length=255)] | None = None
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


class ServerAnswer(Struct, kw_only=True):
    """An MCP server as it is after a change."""

    success: bool = True
    message: str = ""
    server: ServerBody


class ServerPage(Many, kw_only=True):
    """MCP servers, oldest first."""

    servers: list[ServerBody]


class ServersQuery(Struct, kw_only=True):
    """Which part of the servers to list."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    cursor: Cursor | None = None


class Discovered(Struct, kw_only=True):
    """What a scan of the network found: nothing, because none is made. In the shape that the published clients read."""

    success: bool = False
    scanned: bool = False
    status: str = "not_configured"
    message: str
    discovered_count: int = 0
    scan_timestamp: str | None = None
    servers: list[ServerBody] = field(default_factory=list)


class ServersHealth(Struct, kw_only=True):
    """Which servers are registered as active. Nobody asked the servers themselves: ``status`` and ``checked`` say so."""

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
