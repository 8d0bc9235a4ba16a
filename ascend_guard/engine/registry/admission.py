"""Checks an action against the registry, before any policy: its agent, its MCP server, its model.

REST API document, "Optional Governance Fields":

1. An agent that is registered must be active. An agent need not be registered.
2. An MCP server that an action names must be registered and active, and must not block the tool.
3. The model that an action names, or that its agent is linked to, must be registered and compliant.

The checks only read, so they run in the transaction that decides the action (promise 1).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.model import AgentAction
from ascend_guard.store.port import Reader, Transaction

from .agents import AGENTS, Agent, AgentStatus
from .mcp_servers import MCP_SERVERS, McpServer
from .models import COMPLIANT, MODELS, ComplianceStatus

VIOLATIONS = frozenset(
    {
        "AGENT_SUSPENDED_DENY",
        "AGENT_DEACTIVATED_DENY",
        "MCP_SERVER_UNREGISTERED_DENY",
        "MCP_SERVER_DEACTIVATED_DENY",
        "MCP_TOOL_BLOCKED_DENY",
        "MODEL_UNREGISTERED_DENY",
        "MODEL_NONCOMPLIANT_DENY",
    }
)
"""The audit events of violations."""


class Governance(Struct, frozen=True):
    """What the registry adds to an action that it allows.

    Args:
        model_id: the model that the action names, or that its agent is linked to.
        mcp_governance: the answer's field of this name; None when the action names no server.
        model_governance: the answer's field of this name; None when there is no model.
        auto_approve: the server needs no approval for this tool.
        least_risk: the minimum risk score that the server sets for this tool, 0 to 100.
    """

    model_id: str | None = None
    mcp_governance: dict[str, Any] | None = None
    model_governance: dict[str, Any] | None = None
    auto_approve: bool = False
    least_risk: int | None = None


class GovernanceViolation(AuthorizationDeniedError):
    """The registry refuses an action.

    ``detail`` is that of the documented body; the handler of the request fills in its ``correlation_id``.

    Args:
        error: the kind of violation, such as "MCP server governance violation".
        why: what is wrong, and how to fix it.
        event: name of its audit event, one of ``VIOLATIONS``.
        about: the thing that is refused: ``mcp_server_name``, ``model_id`` or ``agent_id``.
    """

    code = "POLICY_VIOLATION"

    def __init__(self, error: str, why: str, event: str, about: dict[str, str]) -> None:
        super().__init__(f"{error}: {why}", reason=why)
        self.event = event
        self.detail: dict[str, Any] = {"error": error, "detail": why, **about, "correlation_id": None}


def govern(reader: Reader, organization: str, action: AgentAction) -> Governance | GovernanceViolation:
    """Check an action. A violation is returned, not raised: raising would undo the transaction with its audit record."""
    agent = AGENTS.find(reader, organization, action.agent_id)
    refused = None if agent is None else _standing(action.agent_id, agent.value)
    if refused is not None:
        return refused
    server = None
    if action.mcp_server_name is not None:
        found = MCP_SERVERS.find(reader, organization, action.mcp_server_name)
        server = None if found is None else found.value
        refused = _server_violation(action, server)
        if refused is not None:
            return refused
    linked = None if agent is None else agent.value.model
    if action.model_id is not None:
        model = MODELS.find(reader, organization, action.model_id)
    elif linked is not None:
        model = MODELS.numbered(reader, organization, linked)
    else:
        return _governance(action, server)
    if model is None:
        return _model_violation(
            action.model_id or f"#{linked}",
            "Model is not registered in the organization model registry.",
            "MODEL_UNREGISTERED_DENY",
        )
    status = model.value.compliance_status
    if status not in COMPLIANT:
        return _model_violation(
            model.name,
            f"Model compliance status is {status}. It must be approved or partially_approved.",
            "MODEL_NONCOMPLIANT_DENY",
        )
    return _governance(action, server, model.name, status)


def record_violation(
    tx: Transaction, organization: str, action: AgentAction, violation: GovernanceViolation
) -> None:
    """Record that an action was refused, and why."""
    tx.record(
        violation.event,
        organization=organization,
        actor=action.agent_id,
        detail=violation.detail,
        action=action,
    )


def _standing(agent_id: str, agent: Agent) -> GovernanceViolation | None:
    if agent.status is AgentStatus.ACTIVE:
        return None
    why = f"Agent is {agent.status}. An admin activates it again."
    event = "AGENT_SUSPENDED_DENY" if agent.status is AgentStatus.SUSPENDED else "AGENT_DEACTIVATED_DENY"
    return GovernanceViolation("Agent governance violation", why, event, {"agent_id": agent_id})


def _server_violation(action: AgentAction, server: McpServer | None) -> GovernanceViolation | None:
    if server is None:
        # REST API document, "mcp_server_name": these very words.
        why, event = (
            "MCP server is not registered. Register at Agent Registry → MCP Servers.",
            "MCP_SERVER_UNREGISTERED_DENY",
        )
    elif not server.active:
        why, event = (
            "MCP server is deactivated. Activate at Agent Registry → MCP Servers.",
            "MCP_SERVER_DEACTIVATED_DENY",
        )
    elif server.blocks(*_names(action)):
        why, event = f"Tool {action.tool_name!r} is blocked on this MCP server.", "MCP_TOOL_BLOCKED_DENY"
    elif server.blocked_tools and not action.tool_name:
        why, event = (
            "The action names no tool, and tools of this MCP server are blocked.",
            "MCP_TOOL_BLOCKED_DENY",
        )
    else:
        return None
    return GovernanceViolation(
        "MCP server governance violation", why, event, {"mcp_server_name": action.mcp_server_name or ""}
    )


def _names(action: AgentAction) -> list[str]:
    """The fields in which a call may name its tool: the published SDK has no field of its own for it."""
    said = (action.action_details.get("tool_name"), action.context.get("tool_name"))
    return [action.tool_name, action.action_type, *(name for name in said if isinstance(name, str))]


def _model_violation(model_id: str, why: str, event: str) -> GovernanceViolation:
    return GovernanceViolation("Model governance violation", why, event, {"model_id": model_id})


def _governance(
    action: AgentAction,
    server: McpServer | None,
    model_id: str | None = None,
    status: ComplianceStatus | None = None,
) -> Governance:
    auto_approve, least_risk = False, None
    mcp: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    if server is not None:
        auto_approve = server.auto_approves(action.tool_name)
        least_risk = server.risk_of(*_names(action))
        # SDK document, "Model & MCP Governance": these words.
        mcp = {
            "server_registered": True,
            "enforcement": "Layer 13",
            "mcp_server_name": action.mcp_server_name,
            "governance_enabled": server.governance_enabled,
            "auto_approve": auto_approve,
            "risk_override": least_risk,
        }
    if status is not None:
        model = {
            "registry_checked": True,
            "compliance_status": status.value,
            "enforcement": "SR-11-7/EU-AI-ACT-ART9",
            "model_id": model_id,
            "auto_resolved": action.model_id is None,
        }
    return Governance(model_id, mcp, model, auto_approve, least_risk)
