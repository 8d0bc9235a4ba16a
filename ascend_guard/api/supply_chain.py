"""The components that agents consist of."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from .endpoint import Access, Endpoint
from .fields import Cursor, Done, Level, Many, Offset, PartQuery, Place, Plain, Prose, Short, Text

ComponentKind = Literal["library", "model", "dataset", "framework", "tool", "service"]


class VulnerabilityBody(Struct, omit_defaults=True):
    """A known vulnerability of a component."""

    vulnerability_id: Text
    severity: Level
    description: Prose | None = None
    fixed_version: Short | None = None


class Weakness(VulnerabilityBody, omit_defaults=True, forbid_unknown_fields=True):
    """A known vulnerability of a component, to be recorded."""


Vulnerabilities = Annotated[list[Weakness], Meta(max_length=256)]


class ComponentRegistration(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A component to register (SDK document, "Register a supply-chain component")."""

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
    """Fields of a component to change."""

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


class ComponentAnswer(Done, kw_only=True):
    """A component after a change."""

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
    """Statistics of all active components."""

    total_components: int
    by_type: dict[str, int]
    by_risk_level: dict[str, int]
    vulnerable_components: int
    total_vulnerabilities: int
    vulnerabilities_by_severity: dict[str, int]
    provenance_verified: int
    outdated: int


class Impact(Struct, kw_only=True):
    """The agents that contain a component."""

    component: ComponentBody
    affected_count: int
    affected_agents: list[str]
    has_more: bool = False
    next_cursor: str | None = None


class DependenciesBody(Struct, forbid_unknown_fields=True):
    """The components of an agent, by their identifiers."""

    component_ids: Annotated[list[Text], Meta(max_length=1000)]


class DependenciesAnswer(Struct, kw_only=True):
    """The components of an agent."""

    success: bool = True
    agent_id: str
    total: int
    dependencies: list[ComponentBody]
    has_more: bool = False
    next_cursor: str | None = None


class SyncStatus(Struct, kw_only=True):
    """How vulnerabilities are updated: people and their tools record them; no feed is read."""

    enabled: bool
    status: str
    last_sync: str | None
    message: str


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "register_component", "POST", "/api/v1/supply-chain/components", ComponentAnswer,
        ComponentRegistration, access=Access.ADMIN, status=201, refuses=(409,),
        summary="Register a component.",
    ),
    Endpoint(
        "list_components", "GET", "/api/v1/supply-chain/components", ComponentPage,
        query=ComponentsQuery, summary="List components, oldest first.",
    ),
    Endpoint(
        "get_component", "GET", "/api/v1/supply-chain/components/{component_id}", ComponentBody,
        refuses=(404,), summary="Get a component by identifier or number.",
    ),
    Endpoint(
        "update_component", "PUT", "/api/v1/supply-chain/components/{component_id}", ComponentAnswer,
        ComponentChange, access=Access.ADMIN, refuses=(404,),
        summary="Update a component, for example its vulnerabilities.",
    ),
    Endpoint(
        "get_component_stats", "GET", "/api/v1/supply-chain/stats", ComponentStats,
        summary="Get statistics of all components.",
    ),
    Endpoint(
        "get_component_impact", "GET", "/api/v1/supply-chain/impact/{component_id}", Impact,
        query=PartQuery, refuses=(404,), summary="List the agents that contain a component.",
    ),
    Endpoint(
        "get_agent_dependencies", "GET", "/api/v1/supply-chain/agents/{agent_id}/dependencies",
        DependenciesAnswer, query=PartQuery, refuses=(403, 404),
        summary="Get the components of an agent.",
    ),
    Endpoint(
        "set_agent_dependencies", "PUT", "/api/v1/supply-chain/agents/{agent_id}/dependencies",
        DependenciesAnswer, DependenciesBody, access=Access.ADMIN, refuses=(404, 409),
        summary="Set the components of an agent.",
    ),
    Endpoint(
        "get_cve_sync_status", "GET", "/api/v1/supply-chain/sync/status", SyncStatus,
        summary="Get how vulnerability data is updated.",
    ),
)  # fmt: skip
