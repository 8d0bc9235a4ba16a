"""The agents of an organization: their registration, whether they may act, and their heartbeats."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from ascend_guard.api.agents import AgentHealth
from ascend_guard.engine.kill import stopped
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.model import iso
from ascend_guard.store.port import Reader, Transaction

from .models import COMPLIANT, MODELS
from .records import Entry, Registry, Unlogged


class AgentStatus(StrEnum):
    """Whether an agent may act."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"


class Agent(Struct, frozen=True):
    """A registered agent.

    Args:
        display_name: display name.
        agent_type: supervised, autonomous, ...
        environment: where it runs.
        capabilities: what it can do, as it declares itself.
        allowed_resources: what it is meant to use, as it declares itself. Policies decide, not this list.
        sdk_version: the version of the SDK that registered it.
        metadata: any further data, redacted.
        status: whether it may act.
        status_reason: why the status was set.
        trust_level: ``standard`` (REST API document, "Register Agent").
        model: number of the model it is linked to.
        registered_by: who registered it.
    """

    display_name: str
    agent_type: str = "supervised"
    environment: str = "production"
    capabilities: list[str] = field(default_factory=list)
    allowed_resources: list[str] = field(default_factory=list)
    sdk_version: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    status: AgentStatus = AgentStatus.ACTIVE
    status_reason: str | None = None
    trust_level: str = "standard"
    model: int | None = None
    registered_by: str = ""


class Heartbeats(Struct, frozen=True):
    """An agent's heartbeats. Times are seconds since the epoch.

    Args:
        since: the first heartbeat after which there was no gap.
        last: the last heartbeat.
        sdk_version: as the agent reports it.
        response_time_ms: mean response time, as the agent reports it.
        error_rate: 0 to 1, as the agent reports it.
        requests_count: number of requests, as the agent reports it.
    """

    since: float
    last: float
    sdk_version: str | None = None
    response_time_ms: float | None = None
    error_rate: float | None = None
    requests_count: int | None = None


class Activity(Struct, frozen=True):
    """The actions that an agent has submitted so far; ``last`` is in seconds since the epoch."""

    last: float | None
    actions: int
    denials: int


AGENTS = Registry("agent", Agent, "agent", key="agent_id", missing="AGENT_NOT_FOUND")
_HEARTBEATS = Unlogged("heartbeat", Heartbeats, "agent", "AGENT_NOT_FOUND")

GAP = 180.0
"""Seconds without a heartbeat after which an agent counts as offline: three of the published SDK's intervals."""

_EVENTS = {
    AgentStatus.ACTIVE: "AGENT_ACTIVATED",
    AgentStatus.SUSPENDED: "AGENT_SUSPENDED",
    AgentStatus.DEACTIVATED: "AGENT_DEACTIVATED",
}


def link_model(
    tx: Transaction, organization: str, agent_id: str, model_id: int | str, by: str
) -> Entry[Agent]:
    """Link a model to an agent; it must be the organization's and compliant (SDK document, "Link a model").

    Raises:
        NotFoundError: there is no such agent or model.
        AuthorizationDeniedError: the model is not compliant.
    """
    agent = AGENTS.get(tx, organization, agent_id)
    model = MODELS.get(tx, organization, model_id)
    if model.value.compliance_status not in COMPLIANT:
        raise AuthorizationDeniedError(
            f"The model {model.name!r} is {model.value.compliance_status}. "
            f"Only an approved or partially approved model can be linked."
        )
    about = {
        "model_id": model.name,
        "model": model.number,
        "compliance_status": model.value.compliance_status,
    }
    return AGENTS.change(tx, organization, agent, {"model": model.number}, by, "AGENT_MODEL_LINKED", about)


def unlink_model(tx: Transaction, organization: str, agent_id: str, by: str) -> Entry[Agent]:
    """Remove the link from an agent to its model.

    Raises:
        NotFoundError: there is no such agent.
    """
    agent = AGENTS.get(tx, organization, agent_id)
    about = {"model": agent.value.model}
    return AGENTS.change(tx, organization, agent, {"model": None}, by, "AGENT_MODEL_UNLINKED", about)


def set_status(
    tx: Transaction, organization: str, agent_id: str, status: AgentStatus, reason: str | None, by: str
) -> Entry[Agent]:
    """Decide whether an agent may act. Its running calls continue; only the kill switch stops those.

    Raises:
        NotFoundError: there is no such agent.
    """
    agent = AGENTS.get(tx, organization, agent_id)
    changes = {"status": status, "status_reason": reason}
    return AGENTS.change(tx, organization, agent, changes, by, _EVENTS[status], {"reason": reason})


def remove(tx: Transaction, organization: str, agent_id: str, by: str, *, admin: bool) -> None:
    """Delete an agent's registration and its heartbeats.

    Args:
        admin: whether the caller is an admin. Only an admin removes an agent that is restricted: after a new registration
            it would be free of the restriction.

    Raises:
        NotFoundError: there is no such agent.
        AuthorizationDeniedError: it is suspended, deactivated, or linked to a model, and the caller is no admin.
    """
    agent = AGENTS.get(tx, organization, agent_id)
    if not admin and (agent.value.status is not AgentStatus.ACTIVE or agent.value.model is not None):
        raise AuthorizationDeniedError(
            f"The agent {agent.name!r} is {agent.value.status}"
            f"{' and linked to a model' if agent.value.model is not None else ''}; only an admin removes it."
        )
    AGENTS.remove(tx, organization, agent.name, by)
    _HEARTBEATS.forget(tx, organization, agent.name)


def activity(reader: Reader, organization: str, agent_id: str) -> Activity:
    """The actions that the agent has submitted so far."""
    newest = reader.actions(organization, agent_id=agent_id, limit=1)
    return Activity(
        newest[0].created_at if newest else None,
        reader.count_actions(organization, agent_id=agent_id),
        reader.count_actions(organization, status="denied", agent_id=agent_id),
    )


def beat(tx: Transaction, organization: str, agent_id: str, **said: Any) -> Heartbeats:
    """Store a heartbeat, also of an agent that is not registered. Above ``MOST`` agents the oldest heartbeat is deleted.

    A heartbeat changes nothing that is registered, so it has no audit record.
    """
    before = _HEARTBEATS.find(tx, organization, agent_id)
    if before is None:
        _HEARTBEATS.make_room(tx, organization)
    alive = before is not None and tx.now - before.value.last <= GAP
    heartbeats = Heartbeats(before.value.since if before and alive else tx.now, tx.now, **said)
    return _HEARTBEATS.put(tx, organization, agent_id, heartbeats)


def health(reader: Reader, organization: str, agent_id: str, now: float) -> AgentHealth:
    """An agent's health, from its status, its kill switch and its heartbeats.

    Raises:
        NotFoundError: it is not registered and there was never a heartbeat.
    """
    agent = AGENTS.find(reader, organization, agent_id)
    find = _HEARTBEATS.find if agent is not None else _HEARTBEATS.get
    heard = find(reader, organization, agent_id)
    if agent is not None and agent.value.status is not AgentStatus.ACTIVE:
        status: str = agent.value.status
    elif stopped(reader, organization, agent_id) is not None:
        status = "blocked"
    elif heard is None:
        status = "registered"
    else:
        status = "healthy" if now - heard.value.last <= GAP else "offline"
    if heard is None:
        return AgentHealth(agent_id=agent_id, status=status, last_heartbeat=None, uptime_seconds=None)
    report = msgspec.structs.asdict(heard.value)
    last, since = report.pop("last"), report.pop("since")
    return AgentHealth(
        agent_id=agent_id,
        status=status,
        last_heartbeat=iso(last),
        uptime_seconds=int(last - since),
        metadata={name: value for name, value in report.items() if value is not None},
    )
