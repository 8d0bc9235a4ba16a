"""Wire types of the supply chain and of orchestration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from .endpoint import Cursor, Offset, Prose, Text
from .registry import Many, Name, Number, Place, Plain

Level = Literal["low", "medium", "high", "critical"]
ComponentKind = Literal["library", "model", "dataset", "framework", "tool", "service"]
Short = Annotated[str, Meta(max_length=255)]


class VulnerabilityBody(Struct, omit_defaults=True):
    """A known weakness of a component, as somebody recorded it."""

    vulnerability_id: Text
    severity: Level
    description: Prose | None = None
    fixed_version: Short | None = None


class Weakness(VulnerabilityBody, omit_defaults=True, forbid_unknown_fields=True):
    """A known weakness of a component, as it is recorded."""


Vulnerabilities = Annotated[list[Weakness], Meta(max_length=256)]


class ComponentRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A component (SDK document, "Register a supply-chain component")."""

    component_id: Plain
    component_name: Annotated[str, Meta(min_length=1, max_length=500)]
    component_type: ComponentKind
    provider: Short | None = None
    version: Short | None = None
    latest_version: Short | None = None
    license_type: Short | None = None
    source_url: Place | None = None
    provenance_verified: bool = False
    risk_level: Level = "medium"
    compliance_notes: Prose | None = None
    package_name: Short | None = None
    package_ecosystem: Short | None = None
    vulnerabilities: Vulnerabilities = field(default_factory=list)


class ComponentChange(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What to change of a component."""

    version: Text | UnsetType = UNSET
    latest_version: Text | UnsetType = UNSET
    provenance_verified: bool | UnsetType = UNSET
    risk_level: Level | UnsetType = UNSET
    compliance_notes: Prose | UnsetType = UNSET
    vulnerabilities: Vulnerabilities | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class ComponentBody(Struct, kw_only=True):
    """A registered component."""

    id: int
    component_id: str
    component_name: str
    component_type: str
    provider: str | None
    version: str | None
    latest_version: str | None
    license_type: str | None
    source_url: str | None
    provenance_verified: bool
    risk_level: str
    compliance_notes: str | None
    package_name: str | None
    package_ecosystem: str | None
    vulnerabilities: list[VulnerabilityBody]
    has_vulnerabilities: bool
    outdated: bool
    active: bool
    registered_by: str
    created_at: str
    updated_at: str


class ComponentAnswer(Struct, kw_only=True):
    """A component as it is after a change."""

    success: bool = True
    message: str = ""
    component: ComponentBody


class ComponentsQuery(Struct, kw_only=True):
    """Which components to list."""

    component_type: ComponentKind | None = None
    risk_level: Level | None = None
    has_vulnerabilities: bool | None = None
    active_only: bool = True
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Offset = 0
    cursor: Cursor | None = None


class ComponentPage(Many, kw_only=True):
    """Components, oldest first."""

    components: list[ComponentBody]


class ComponentStats(Struct, kw_only=True):
    """Numbers about all active components."""

    total_components: int
    by_type: dict[str, int]
    by_risk_level: dict[str, int]
    vulnerable_components: int
    total_vulnerabilities: int
    vulnerabilities_by_severity: dict[str, int]
    provenance_verified: int
    outdated: int


class Impact(Struct, kw_only=True):
    """Which agents a component is in."""

    component: ComponentBody
    affected_count: int
    affected_agents: list[str]
    has_more: bool = False
    next_cursor: str | None = None


class PartQuery(Struct, kw_only=True):
    """Which part of a long answer."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000
    cursor: Cursor | None = None


class DependenciesBody(Struct, forbid_unknown_fields=True):
    """What an agent is built of: components by their identifiers."""

    component_ids: Annotated[list[Text], Meta(max_length=1000)]


class DependenciesAnswer(Struct, kw_only=True):
    """What an agent is built of."""

    success: bool = True
    agent_id: str
    total: int
    dependencies: list[ComponentBody]
    has_more: bool = False
    next_cursor: str | None = None


class SyncStatus(Struct, kw_only=True):
    """How vulnerabilities get in: people and their tools record them, no feed is read."""

    enabled: bool
    status: str
    last_sync: str | None
    message: str


class TopologyBody(Struct, forbid_unknown_fields=True):
    """Who works for an orchestrator."""

    orchestrator_agent_id: Name
    worker_agent_ids: Annotated[list[Plain], Meta(min_length=1, max_length=20)]


class McpTopologyBody(Struct, forbid_unknown_fields=True):
    """Which MCP servers work for an orchestrator."""

    orchestrator_agent_id: Name
    mcp_server_ids: Annotated[list[Number], Meta(min_length=1, max_length=20)]


class TopologyAnswer(Struct, kw_only=True):
    """Who works for an orchestrator."""

    success: bool = True
    message: str = ""
    orchestrator_agent_id: str
    worker_agent_ids: list[str]
    mcp_server_ids: list[int]
    updated_at: str


class TopologyPage(Many, kw_only=True):
    """Topologies, oldest first."""

    topologies: list[TopologyAnswer]


class SessionAction(Struct, kw_only=True):
    """An action of an orchestration session."""

    id: int
    action_id: str
    agent_id: str
    agent_name: str
    action_type: str
    tool_name: str
    resource: str
    status: str
    reason: str
    risk_score: float
    risk_level: str
    outcome: str | None
    parent_action_id: int | None
    orchestration_depth: int
    created_at: str


class SessionBody(Struct, kw_only=True):
    """An orchestration session: ``actions`` are its newest thousand at most, in order; ``cursor`` leads to older ones.

    ``complete``: nothing older was left out.
    """

    session_id: str
    action_count: int
    agent_count: int
    denied_count: int
    pending_count: int
    max_depth: int
    started_at: str
    last_activity: str
    complete: bool
    actions: list[SessionAction]
    next_cursor: str | None = None


class SessionRisk(Struct, kw_only=True):
    """What a session puts at stake.

    ``risk_score`` is its riskiest action's, ``cumulative_risk_score`` the sum of all, at most 100; denied actions count in
    neither, for they did not run.
    """

    session_id: str
    risk_score: float
    risk_level: str
    cumulative_risk_score: float
    average_risk_score: float
    action_count: int
    denied_count: int
    by_agent: dict[str, float]
    complete: bool


class OrchestrationStats(Struct, kw_only=True):
    """Numbers about all orchestration sessions."""

    total_sessions: int
    total_actions: int
    total_agents: int
    denied_actions: int
    pending_actions: int
    max_depth: int
    topologies: int
    complete: bool


class CascadeBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Why everybody below an orchestrator is stopped; without ``confirm`` nothing happens, and the answer says to whom."""

    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    confirm: bool = False


class CascadeAnswer(Struct, kw_only=True):
    """Whom a cascading kill stopped, or would stop."""

    success: bool = True
    dry_run: bool
    orchestrator_id: str
    message: str
    total: int
    agents: list[str]
    already_stopped: list[str]
    mcp_servers: list[str]
