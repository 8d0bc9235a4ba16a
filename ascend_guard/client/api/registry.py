"""The client's operations on what an organization registers, as generators of effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ascend_guard._version import __version__
from ascend_guard.client.http.exchange import Exchange
from ascend_guard.client.http.identity import Identity

from .answers import items_of, mapping_of
from .asking import Data, ask, plain, present, told


def register_agent(
    api: Identity,
    /,
    agent_id: str | None = None,
    display_name: str | None = None,
    agent_type: str = "supervised",
    environment: str | None = None,
    capabilities: Sequence[str] = (),
    allowed_resources: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Exchange[Data]:
    """Register an agent.

    Args:
        agent_id: the client's own agent when left out.
        display_name: its display name.
        agent_type: such as ``supervised``.
        environment: by default the client's own.
        capabilities: such as ``data_access``.
        allowed_resources: what it is meant to use.
        metadata: any further data.

    Raises:
        ConflictError: the agent is already registered.
    """
    found = api.require_agent(agent_id)
    own = api.agent_name if found == api.agent_id else None
    body = present(
        agent_id=found,
        display_name=display_name or own or found,
        agent_type=agent_type,
        environment=environment or api.environment,
        capabilities=list(capabilities),
        allowed_resources=list(allowed_resources),
        sdk_version=__version__,
        metadata=plain("metadata", metadata) or {},
    )
    return (yield from told(api, "register_agent", body=body))


def get_agent(api: Identity, /, agent_id: str | None = None) -> Exchange[Data]:
    """Get an agent: ``status``, ``trust_level``, ``action_count``, ``denial_count``.

    Args:
        agent_id: by default the client's own agent.
    """
    return (yield from told(api, "get_agent", agent_id=api.require_agent(agent_id)))


def update_agent(
    api: Identity,
    /,
    agent_id: str | None = None,
    display_name: str | None = None,
    agent_type: str | None = None,
    environment: str | None = None,
    capabilities: Sequence[str] | None = None,
    allowed_resources: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Exchange[Data]:
    """Update an agent. Fields that are left out stay as they are.

    Args:
        agent_id: the client's own agent when left out.
        display_name: its display name.
        agent_type: such as ``supervised``.
        environment: where it runs.
        capabilities: such as ``data_access``.
        allowed_resources: what it is meant to use.
        metadata: any further data.
    """
    body = present(
        display_name=display_name,
        agent_type=agent_type,
        environment=environment,
        capabilities=None if capabilities is None else list(capabilities),
        allowed_resources=None if allowed_resources is None else list(allowed_resources),
        metadata=plain("metadata", metadata),
    )
    return (yield from told(api, "update_agent", body=body, agent_id=api.require_agent(agent_id)))


def deregister_agent(api: Identity, /, agent_id: str | None = None) -> Exchange[Data]:
    """Delete an agent's registration. Its actions are kept.

    Args:
        agent_id: by default the client's own agent.
    """
    return (yield from told(api, "deregister_agent", agent_id=api.require_agent(agent_id)))


def link_model_to_agent(api: Identity, /, agent_id: str, model_id: int) -> Exchange[Data]:
    """Link a model to an agent: ``{"success", "agent", "message"}``.

    Args:
        agent_id: identifier of the agent.
        model_id: the model's number in the registry.
    """
    return (yield from told(api, "update_agent", body={"model_id": model_id}, agent_id=agent_id))


def heartbeat(
    api: Identity,
    /,
    agent_id: str | None = None,
    response_time_ms: float | None = None,
    error_rate: float | None = None,
    requests_count: int | None = None,
) -> Exchange[Data]:
    """Report that an agent is alive.

    Args:
        agent_id: the client's own agent when left out.
        response_time_ms: mean response time in milliseconds.
        error_rate: 0 to 1.
        requests_count: number of requests.
    """
    body = present(
        agent_id=api.require_agent(agent_id),
        sdk_version=__version__,
        timestamp=api.now(),
        response_time_ms=response_time_ms,
        error_rate=error_rate,
        requests_count=requests_count,
    )
    return (yield from told(api, "heartbeat", body=body))


def get_pending_commands(api: Identity, /, agent_id: str | None = None) -> Exchange[list[Data]]:
    """List the commands for an agent, broadcasts included: BLOCK, UNBLOCK, SUSPEND, RATE_LIMIT, QUARANTINE.

    Args:
        agent_id: by default the client's own agent.
    """
    parameters = {"agent_id": api.require_agent(agent_id)}
    answer = yield from ask(api, "list_commands", parameters=parameters)
    return items_of(answer.body, "commands")


def ack_command(api: Identity, /, command_id: str, agent_id: str | None = None) -> Exchange[bool]:
    """Acknowledge a command. True when the server recorded it.

    Args:
        command_id: identifier of the command.
        agent_id: the client's own agent when left out.
    """
    parameters = {"command_id": command_id, "agent_id": api.require_agent(agent_id)}
    answer = yield from ask(api, "acknowledge_command", body={}, parameters=parameters)
    return mapping_of(answer.body).get("success") is True


def register_supply_chain_component(
    api: Identity,
    /,
    component_id: str,
    component_name: str,
    component_type: str,
    provider: str | None = None,
    version: str | None = None,
    latest_version: str | None = None,
    license_type: str | None = None,
    source_url: str | None = None,
    provenance_verified: bool = False,
    risk_level: str = "medium",
    compliance_notes: str | None = None,
    package_name: str | None = None,
    package_ecosystem: str | None = None,
) -> Exchange[Data]:
    """Register a component that agents depend on. This needs an admin's key.

    Args:
        component_id: its identifier.
        component_name: its name.
        component_type: library, model, dataset, framework, tool or service.
        provider: its vendor.
        version: the version in use.
        latest_version: the newest version.
        license_type: such as ``Apache-2.0``.
        source_url: its origin.
        provenance_verified: whether the origin was verified.
        risk_level: low, medium, high or critical.
        compliance_notes: free text.
        package_name: name of its package.
        package_ecosystem: such as ``pypi``.
    """
    body = present(
        component_id=component_id,
        component_name=component_name,
        component_type=component_type,
        provider=provider,
        version=version,
        latest_version=latest_version,
        license_type=license_type,
        source_url=source_url,
        provenance_verified=provenance_verified,
        risk_level=risk_level,
        compliance_notes=compliance_notes,
        package_name=package_name,
        package_ecosystem=package_ecosystem,
    )
    return (yield from told(api, "register_component", body=body))


def register_mcp_server(
    api: Identity,
    /,
    server_name: str,
    display_name: str | None = None,
    description: str | None = None,
    server_url: str | None = None,
    transport_type: str = "stdio",
    connection_config: Mapping[str, Any] | None = None,
    governance_enabled: bool = True,
    auto_approve_tools: Sequence[str] | None = None,
    blocked_tools: Sequence[str] | None = None,
    tool_risk_overrides: Mapping[str, int] | None = None,
) -> Exchange[Data]:
    """Register an MCP server; without that, calls of its tools are refused. Its name is case-sensitive.

    Args:
        server_name: its name.
        display_name: its display name.
        description: free text.
        server_url: its address.
        transport_type: such as ``stdio``.
        connection_config: how to connect to it, without secrets.
        governance_enabled: whether ``auto_approve_tools`` and ``tool_risk_overrides`` apply.
        auto_approve_tools: tools that need no approval.
        blocked_tools: tools that are refused.
        tool_risk_overrides: minimum risk scores of tools.
    """
    body = present(
        server_name=server_name,
        display_name=display_name,
        description=description,
        server_url=server_url,
        transport_type=transport_type,
        connection_config=plain("connection_config", connection_config),
        governance_enabled=governance_enabled,
        auto_approve_tools=None if auto_approve_tools is None else list(auto_approve_tools),
        blocked_tools=None if blocked_tools is None else list(blocked_tools),
        tool_risk_overrides=plain("tool_risk_overrides", tool_risk_overrides),
    )
    return (yield from told(api, "register_mcp_server", body=body))


def list_mcp_servers(api: Identity, /) -> Exchange[Data]:
    """List the MCP servers."""
    return (yield from told(api, "list_mcp_servers"))


def get_mcp_server(api: Identity, /, server_name: str) -> Exchange[Data]:
    """Get an MCP server.

    Args:
        server_name: its registered name.
    """
    return (yield from told(api, "get_mcp_server", server_name=server_name))


def activate_mcp_server(api: Identity, /, server_name: str) -> Exchange[Data]:
    """Activate an MCP server: its tools may be called.

    Args:
        server_name: its registered name.
    """
    return (yield from told(api, "activate_mcp_server", server_name=server_name))


def deactivate_mcp_server(api: Identity, /, server_name: str, reason: str | None = None) -> Exchange[Data]:
    """Deactivate an MCP server: its tools are refused.

    Args:
        server_name: its registered name.
        reason: for the audit trail.
    """
    body = present(reason=reason) or None
    return (yield from told(api, "deactivate_mcp_server", body=body, server_name=server_name))


def delete_mcp_server(api: Identity, /, server_name: str) -> Exchange[Data]:
    """Delete an MCP server: its tools are refused.

    Args:
        server_name: its registered name.
    """
    return (yield from told(api, "delete_mcp_server", server_name=server_name))


def register_topology(
    api: Identity, /, orchestrator_agent_id: str, worker_agent_ids: Sequence[str]
) -> Exchange[Data]:
    """Set which agents work for an orchestrator.

    Args:
        orchestrator_agent_id: agent id of the orchestrator.
        worker_agent_ids: 1 to 20 agent ids.
    """
    body = {"orchestrator_agent_id": orchestrator_agent_id, "worker_agent_ids": list(worker_agent_ids)}
    return (yield from told(api, "register_topology", body=body))


def get_orchestration_session(api: Identity, /, session_id: str) -> Exchange[Data]:
    """Get the actions of an orchestration session.

    Args:
        session_id: its ``orchestration_session_id``.
    """
    return (yield from told(api, "get_orchestration_session", session_id=session_id))


def get_orchestration_session_risk(api: Identity, /, session_id: str) -> Exchange[Data]:
    """Get the risk of an orchestration session.

    Args:
        session_id: its ``orchestration_session_id``.
    """
    return (yield from told(api, "get_orchestration_session_risk", session_id=session_id))


def get_orchestration_stats(api: Identity, /) -> Exchange[Data]:
    """Get statistics of all orchestration sessions."""
    return (yield from told(api, "get_orchestration_stats"))


def scan_output(
    api: Identity, /, content: str, agent_id: str | None = None, action_id: int | None = None
) -> Exchange[Data]:
    """Scan an agent's output for sensitive data.

    Args:
        content: the output.
        agent_id: the client's own agent when left out.
        action_id: the action with this output.
    """
    body = present(content=content, agent_id=api.require_agent(agent_id), action_id=action_id)
    return (yield from told(api, "scan_output", body=body))


def get_resource_classifications(api: Identity, /, resource_type: str) -> Exchange[list[Data]]:
    """List the classifications of resources of a type: ``sensitivity_level``, ``compliance_tags``.

    Args:
        resource_type: such as ``database``.
    """
    answer = yield from ask(api, "list_classifications", query={"resource_type": resource_type})
    return items_of(answer.body, "classifications")
