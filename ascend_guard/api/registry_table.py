"""The endpoints of what an organization registers: agents, servers, models, components."""

from __future__ import annotations

from . import output, oversight, registry, system
from .endpoint import Access, Endpoint

_AGENTS = (
    Endpoint(
        "register_agent", "POST", "/api/registry/agents", registry.AgentBody, registry.AgentRegistration,
        status=201, refuses=(403, 409), summary="Register an agent.",
    ),
    Endpoint(
        "list_agents", "GET", "/api/registry/agents", registry.AgentPage, query=system.Page,
        summary="The organization's agents, oldest first.",
    ),
    Endpoint(
        "get_agent", "GET", "/api/registry/agents/{agent_id}", registry.AgentDetail, refuses=(403, 404),
        summary="An agent, and what it has done so far.",
    ),
    Endpoint(
        "update_agent", "PUT", "/api/registry/agents/{agent_id}", registry.AgentAnswer, registry.AgentChange,
        refuses=(403, 404), summary="Change an agent, or link a model to it.",
    ),
    Endpoint(
        "deregister_agent", "DELETE", "/api/registry/agents/{agent_id}", system.Done, refuses=(403, 404),
        summary="Forget an agent's registration.",
    ),
    Endpoint(
        "activate_agent", "POST", "/api/registry/agents/{agent_id}/activate", registry.AgentAnswer,
        registry.WhyBody, access=Access.ADMIN, refuses=(403, 404), body_optional=True, summary="Let an agent act.",
    ),
    Endpoint(
        "suspend_agent", "POST", "/api/registry/agents/{agent_id}/suspend", registry.AgentAnswer,
        registry.WhyBody, access=Access.ADMIN, refuses=(403, 404), body_optional=True,
        summary="Refuse what an agent submits, for a while.",
    ),
    Endpoint(
        "deactivate_agent", "POST", "/api/registry/agents/{agent_id}/deactivate", registry.AgentAnswer,
        registry.WhyBody, access=Access.ADMIN, refuses=(403, 404), body_optional=True,
        summary="Refuse what an agent submits, for good.",
    ),
    Endpoint(
        "heartbeat", "POST", "/api/agents/health/heartbeat", registry.HealthBody, registry.HeartbeatBody,
        refuses=(403,), tolerant=True, summary="An agent's sign of life.",
    ),
    Endpoint(
        "get_agent_health", "GET", "/api/agents/health/{agent_id}", registry.HealthBody, refuses=(403, 404),
        summary="How an agent is.",
    ),
    Endpoint(
        "issue_command", "POST", "/api/registry/agents/{agent_id}/commands", registry.CommandAnswer,
        registry.CommandIssue, access=Access.ADMIN, status=201, refuses=(403, 404, 409),
        summary="Give an agent a command; one that stops does so at once.",
    ),
    Endpoint(
        "broadcast_command", "POST", "/api/registry/commands", registry.CommandAnswer, registry.CommandIssue,
        access=Access.ADMIN, status=201, refuses=(403, 409), summary="Give every agent a command.",
    ),
    Endpoint(
        "list_commands", "GET", "/api/registry/agents/{agent_id}/commands", registry.Commands, refuses=(403,),
        summary="What an agent has not acknowledged yet, broadcasts included.",
    ),
    Endpoint(
        "acknowledge_command", "POST", "/api/registry/agents/{agent_id}/commands/{command_id}/ack",
        registry.Acknowledged, refuses=(403, 409), summary="An agent has received a command.",
    ),
    Endpoint(
        "register_model", "POST", "/api/registry/models", registry.ModelAnswer, registry.ModelRegistration,
        access=Access.ADMIN, status=201, refuses=(409,), summary="Register a model.",
    ),
    Endpoint(
        "list_models", "GET", "/api/registry/models", registry.ModelPage, query=system.Page, refuses=(403,),
        summary="The organization's models, oldest first; for people and admins.",
    ),
    Endpoint(
        "get_model", "GET", "/api/registry/models/{model_id}", registry.ModelBody, refuses=(403, 404),
        summary="A model, by its identifier or its number; for people and admins.",
    ),
    Endpoint(
        "update_model", "PUT", "/api/registry/models/{model_id}", registry.ModelAnswer, registry.ModelChange,
        access=Access.ADMIN, refuses=(404,), summary="Change a model, its compliance above all.",
    ),
    Endpoint(
        "delete_model", "DELETE", "/api/registry/models/{model_id}", system.Done, access=Access.ADMIN,
        refuses=(404,), summary="Forget a model.",
    ),
)  # fmt: skip

_SERVERS = (
    Endpoint(
        "register_mcp_server", "POST", "/api/registry/mcp-servers", registry.ServerAnswer,
        registry.ServerRegistration, access=Access.ADMIN, status=201, refuses=(409,),
        summary="Register an MCP server; it is active at once.",
    ),
    Endpoint(
        "list_mcp_servers", "GET", "/api/registry/mcp-servers", registry.ServerPage, query=system.Page,
        summary="The organization's MCP servers, oldest first.",
    ),
    Endpoint(
        "get_mcp_server", "GET", "/api/registry/mcp-servers/{server_name}", registry.ServerBody,
        refuses=(404,), summary="An MCP server.",
    ),
    Endpoint(
        "delete_mcp_server", "DELETE", "/api/registry/mcp-servers/{server_name}", system.Done,
        access=Access.ADMIN, refuses=(404,), summary="Forget an MCP server; its tools are refused from then on.",
    ),
    Endpoint(
        "activate_mcp_server", "POST", "/api/registry/mcp-servers/{server_name}/activate",
        registry.ServerAnswer, registry.WhyBody, access=Access.ADMIN, refuses=(404,), body_optional=True,
        summary="Let an MCP server's tools be called.",
    ),
    Endpoint(
        "deactivate_mcp_server", "POST", "/api/registry/mcp-servers/{server_name}/deactivate",
        registry.ServerAnswer, registry.WhyBody, access=Access.ADMIN, refuses=(404,), body_optional=True,
        summary="Refuse an MCP server's tools.",
    ),
    Endpoint(
        "scan_mcp_network", "POST", "/api/authorization/mcp-discovery/scan-network", registry.Discovered,
        aliases=("/api/discovery/mcp/scan",), summary="Not configured: the network is not searched for MCP servers.",
    ),
    Endpoint(
        "get_mcp_scan_results", "GET", "/api/discovery/mcp/results", registry.Discovered,
        summary="Not configured: the network is not searched for MCP servers.",
    ),
    Endpoint(
        "get_mcp_health", "GET", "/api/authorization/mcp-discovery/health-monitor", registry.ServersHealth,
        aliases=("/api/authorization/mcp-discovery/server-status",), query=registry.ServersQuery,
        summary="Which MCP servers are registered as active; the servers themselves are not asked.",
    ),
)  # fmt: skip

_SUPPLY_CHAIN = (
    Endpoint(
        "register_component", "POST", "/api/v1/supply-chain/components", oversight.ComponentAnswer,
        oversight.ComponentRegistration, access=Access.ADMIN, status=201, refuses=(409,),
        summary="Register a component.",
    ),
    Endpoint(
        "list_components", "GET", "/api/v1/supply-chain/components", oversight.ComponentPage,
        query=oversight.ComponentsQuery, summary="The organization's components, oldest first.",
    ),
    Endpoint(
        "get_component", "GET", "/api/v1/supply-chain/components/{component_id}", oversight.ComponentBody,
        refuses=(404,), summary="A component, by its identifier or its number.",
    ),
    Endpoint(
        "update_component", "PUT", "/api/v1/supply-chain/components/{component_id}", oversight.ComponentAnswer,
        oversight.ComponentChange, access=Access.ADMIN, refuses=(404,),
        summary="Change a component, its vulnerabilities above all.",
    ),
    Endpoint(
        "get_component_stats", "GET", "/api/v1/supply-chain/stats", oversight.ComponentStats,
        summary="Numbers about all components.",
    ),
    Endpoint(
        "get_component_impact", "GET", "/api/v1/supply-chain/impact/{component_id}", oversight.Impact,
        query=oversight.PartQuery, refuses=(404,), summary="Which agents a component is in.",
    ),
    Endpoint(
        "get_agent_dependencies", "GET", "/api/v1/supply-chain/agents/{agent_id}/dependencies",
        oversight.DependenciesAnswer, query=oversight.PartQuery, refuses=(403, 404),
        summary="What an agent is built of.",
    ),
    Endpoint(
        "set_agent_dependencies", "PUT", "/api/v1/supply-chain/agents/{agent_id}/dependencies",
        oversight.DependenciesAnswer, oversight.DependenciesBody, access=Access.ADMIN, refuses=(404, 409),
        summary="Say what an agent is built of.",
    ),
    Endpoint(
        "get_cve_sync_status", "GET", "/api/v1/supply-chain/sync/status", oversight.SyncStatus,
        summary="How vulnerabilities get in.",
    ),
)  # fmt: skip

_ORCHESTRATION = (
    Endpoint(
        "register_topology", "POST", "/api/v1/orchestration/topology", oversight.TopologyAnswer,
        oversight.TopologyBody, access=Access.ADMIN, refuses=(409,), summary="Say who works for an orchestrator.",
    ),
    Endpoint(
        "list_topologies", "GET", "/api/v1/orchestration/topology", oversight.TopologyPage, query=system.Page,
        summary="Who works for whom.",
    ),
    Endpoint(
        "register_mcp_topology", "POST", "/api/v1/orchestration/topology/mcp", oversight.TopologyAnswer,
        oversight.McpTopologyBody, access=Access.ADMIN, refuses=(404, 409),
        summary="Say which MCP servers work for an orchestrator.",
    ),
    Endpoint(
        "get_orchestration_session", "GET", "/api/v1/orchestration/sessions/{session_id}",
        oversight.SessionBody, query=oversight.PartQuery, refuses=(404,), summary="What a session did.",
    ),
    Endpoint(
        "get_orchestration_session_risk", "GET", "/api/v1/orchestration/sessions/{session_id}/risk",
        oversight.SessionRisk, refuses=(404,), summary="What a session puts at stake.",
    ),
    Endpoint(
        "get_orchestration_stats", "GET", "/api/v1/orchestration/stats", oversight.OrchestrationStats,
        summary="Numbers about all sessions.",
    ),
    Endpoint(
        "cascade_kill", "POST", "/api/v1/orchestration/cascade-kill/{orchestrator_id}", oversight.CascadeAnswer,
        oversight.CascadeBody, access=Access.PERSON_ADMIN, refuses=(404,),
        summary="Stop an orchestrator and all that work for it; for people only.",
    ),
)  # fmt: skip

_OUTPUT = (
    Endpoint(
        "get_output_filter_config", "GET", "/api/v1/output-filter/config", output.FilterBody,
        summary="How output is filtered.",
    ),
    Endpoint(
        "set_output_filter_config", "PUT", "/api/v1/output-filter/config", output.FilterBody,
        output.FilterConfig, access=Access.ADMIN, summary="Say how output is filtered.",
    ),
    Endpoint(
        "scan_output", "POST", "/api/v1/output-filter/scan", output.ScanAnswer, output.ScanBody,
        refuses=(403, 404), tolerant=True, summary="Look through an output. A scan that fails blocks it.",
    ),
    Endpoint(
        "list_findings", "GET", "/api/v1/output-filter/findings", output.FindingsPage,
        query=output.FindingsQuery, summary="What was found, newest first; never the data itself.",
    ),
    Endpoint(
        "list_action_findings", "GET", "/api/v1/output-filter/findings/{action_id}", output.FindingsPage,
        query=output.FindingsQuery, refuses=(404,), summary="What was found in an action's output.",
    ),
)  # fmt: skip

_ALERTS = (
    Endpoint(
        "list_alerts", "GET", "/api/alerts", output.Alerts, query=output.AlertsQuery, refuses=(403,),
        summary="What in the audit trail somebody should look at, newest first.",
    ),
    Endpoint(
        "acknowledge_alert", "POST", "/api/alerts/{alert_id}/acknowledge", output.AlertBody,
        access=Access.ADMIN, refuses=(404,), summary="Say that an alert was seen.",
    ),
    Endpoint(
        "list_classifications", "GET", "/api/v1/resource-classifications", output.Classifications,
        query=output.ClassificationsQuery, summary="How sensitive resources are.",
    ),
    Endpoint(
        "classify_resource", "POST", "/api/v1/resource-classifications", output.ClassificationAnswer,
        output.ClassificationRegistration, access=Access.ADMIN, refuses=(409,),
        summary="Say how sensitive a resource is.",
    ),
    Endpoint(
        "delete_classification", "DELETE", "/api/v1/resource-classifications/{classification_id}", system.Done,
        access=Access.ADMIN, refuses=(404,), summary="Forget how sensitive a resource is.",
    ),
)  # fmt: skip

REGISTRY: tuple[Endpoint, ...] = (
    *_AGENTS,
    *_SERVERS,
    *_SUPPLY_CHAIN,
    *_ORCHESTRATION,
    *_OUTPUT,
    *_ALERTS,
)
