"""Agents and their health (REST API document, "Agent Endpoints").

All fields that the published SDK sends and reads are here. A change leaves the fields that it does not have as they are.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from .endpoint import Access, Endpoint
from .fields import Done, Many, Name, Names, Number, Object, PageQuery, Reason, Short, Text


class AgentRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """An agent to register."""

    agent_id: Name
    display_name: Short | None = None
    agent_type: Text = "supervised"
    environment: Text = "production"
    capabilities: Names = field(default_factory=list)
    allowed_resources: Names = field(default_factory=list)
    sdk_version: Short | None = None
    metadata: Object = field(default_factory=dict)


class AgentChange(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Fields of an agent to change. Only admins set ``model_id``: a model's number or identifier, or null for none."""

    model_id: Number | Text | UnsetType | None = UNSET
    display_name: Text | UnsetType = UNSET
    agent_type: Text | UnsetType = UNSET
    environment: Text | UnsetType = UNSET
    capabilities: Names | UnsetType = UNSET
    allowed_resources: Names | UnsetType = UNSET
    sdk_version: Text | UnsetType = UNSET
    metadata: Object | UnsetType = UNSET


class AgentBody(Struct, kw_only=True):
    """A registered agent. ``model_id`` is the number of the model that it is linked to."""

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
    """A registered agent and the numbers of its actions."""

    last_activity: str | None
    action_count: int
    denial_count: int


class AgentAnswer(Done, kw_only=True):
    """An agent after a change."""

    agent: AgentBody


class AgentPage(Many, kw_only=True):
    """Agents, oldest first."""

    agents: list[AgentBody]


class WhyBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The reason for a change, for the audit trail."""

    reason: Reason | None = None


class HeartbeatBody(Struct, omit_defaults=True):
    """A heartbeat of an agent."""

    agent_id: Name
    sdk_version: Short | None = None
    timestamp: Short | None = None
    response_time_ms: Annotated[float, Meta(ge=0)] | None = None
    error_rate: Annotated[float, Meta(ge=0, le=1)] | None = None
    requests_count: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class AgentHealth(Struct, kw_only=True):
    """An agent's health. ``status``: suspended, deactivated, blocked, healthy, offline, or registered (no heartbeat yet)."""

    agent_id: str
    status: str
    last_heartbeat: str | None
    uptime_seconds: int | None
    metadata: Object = field(default_factory=dict)
    success: bool = True


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "register_agent", "POST", "/api/registry/agents", AgentBody, AgentRegistration,
        status=201, refuses=(403, 409), summary="Register an agent.",
    ),
    Endpoint(
        "list_agents", "GET", "/api/registry/agents", AgentPage, query=PageQuery,
        summary="List agents, oldest first.",
    ),
    Endpoint(
        "get_agent", "GET", "/api/registry/agents/{agent_id}", AgentDetail, refuses=(403, 404),
        summary="Get an agent and its statistics.",
    ),
    Endpoint(
        "update_agent", "PUT", "/api/registry/agents/{agent_id}", AgentAnswer, AgentChange,
        refuses=(403, 404), summary="Update an agent, or link a model to it.",
    ),
    Endpoint(
        "deregister_agent", "DELETE", "/api/registry/agents/{agent_id}", Done, refuses=(403, 404),
        summary="Delete an agent's registration.",
    ),
    Endpoint(
        "activate_agent", "POST", "/api/registry/agents/{agent_id}/activate", AgentAnswer,
        WhyBody, access=Access.ADMIN, refuses=(403, 404), body_optional=True, summary="Activate an agent.",
    ),
    Endpoint(
        "suspend_agent", "POST", "/api/registry/agents/{agent_id}/suspend", AgentAnswer,
        WhyBody, access=Access.ADMIN, refuses=(403, 404), body_optional=True,
        summary="Suspend an agent: its submissions are refused until it is activated.",
    ),
    Endpoint(
        "deactivate_agent", "POST", "/api/registry/agents/{agent_id}/deactivate", AgentAnswer,
        WhyBody, access=Access.ADMIN, refuses=(403, 404), body_optional=True,
        summary="Deactivate an agent: its submissions are refused.",
    ),
    Endpoint(
        "heartbeat", "POST", "/api/agents/health/heartbeat", AgentHealth, HeartbeatBody,
        refuses=(403,), tolerant=True, summary="Report that an agent is alive.",
    ),
    Endpoint(
        "get_agent_health", "GET", "/api/agents/health/{agent_id}", AgentHealth, refuses=(403, 404),
        summary="Get an agent's health.",
    ),
)  # fmt: skip
