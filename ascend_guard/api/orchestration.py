"""Orchestrators, the agents and MCP servers that work for them, and orchestration sessions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .endpoint import Access, Endpoint
from .fields import Done, Many, Name, Number, PageQuery, PartQuery, Plain


class TopologyBody(Struct, forbid_unknown_fields=True):
    """The agents that work for an orchestrator."""

    orchestrator_agent_id: Name
    worker_agent_ids: Annotated[list[Plain], Meta(min_length=1, max_length=20)]


class McpTopologyBody(Struct, forbid_unknown_fields=True):
    """The MCP servers that work for an orchestrator."""

    orchestrator_agent_id: Name
    mcp_server_ids: Annotated[list[Number], Meta(min_length=1, max_length=20)]


class TopologyAnswer(Done, kw_only=True):
    """The agents and MCP servers that work for an orchestrator."""

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
    """An orchestration session. ``actions`` are at most its newest thousand, in order; ``cursor`` leads to older ones.

    ``complete``: no older action was left out.
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
    """The risk of a session.

    ``risk_score`` is the highest of its actions, ``cumulative_risk_score`` the sum of all, at most 100. Denied actions count
    in neither, because they did not run.
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
    """Statistics of all orchestration sessions."""

    total_sessions: int
    total_actions: int
    total_agents: int
    denied_actions: int
    pending_actions: int
    max_depth: int
    topologies: int
    complete: bool


class CascadeBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Why an orchestrator and its agents are stopped. Without ``confirm`` none is stopped; the answer lists them."""

    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    confirm: bool = False


class CascadeAnswer(Struct, kw_only=True):
    """The agents that a cascading kill stopped, or would stop."""

    success: bool = True
    dry_run: bool
    orchestrator_id: str
    message: str
    total: int
    agents: list[str]
    already_stopped: list[str]
    mcp_servers: list[str]


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "register_topology", "POST", "/api/v1/orchestration/topology", TopologyAnswer,
        TopologyBody, access=Access.ADMIN, refuses=(409,), summary="Register which agents work for an orchestrator.",
    ),
    Endpoint(
        "list_topologies", "GET", "/api/v1/orchestration/topology", TopologyPage, query=PageQuery,
        summary="List orchestrators and their agents.",
    ),
    Endpoint(
        "register_mcp_topology", "POST", "/api/v1/orchestration/topology/mcp", TopologyAnswer,
        McpTopologyBody, access=Access.ADMIN, refuses=(404, 409),
        summary="Register which MCP servers an orchestrator uses.",
    ),
    Endpoint(
        "get_orchestration_session", "GET", "/api/v1/orchestration/sessions/{session_id}",
        SessionBody, query=PartQuery, refuses=(404,), summary="Get a session's actions.",
    ),
    Endpoint(
        "get_orchestration_session_risk", "GET", "/api/v1/orchestration/sessions/{session_id}/risk",
        SessionRisk, refuses=(404,), summary="Get a session's risk.",
    ),
    Endpoint(
        "get_orchestration_stats", "GET", "/api/v1/orchestration/stats", OrchestrationStats,
        summary="Get statistics of all sessions.",
    ),
    Endpoint(
        "cascade_kill", "POST", "/api/v1/orchestration/cascade-kill/{orchestrator_id}", CascadeAnswer,
        CascadeBody, access=Access.PERSON_ADMIN, refuses=(404,),
        summary="Stop an orchestrator and all agents that work for it. For people only.",
    ),
)  # fmt: skip
