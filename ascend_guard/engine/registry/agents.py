"""The agents of an organization: who they are, whether they may act, and when they were last heard of."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from ascend_guard.engine.kill import stopped
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.store.port import Reader, Transaction

from .models import COMPLIANT, MODELS
from .records import Entry, Shelf


class AgentStatus(StrEnum):
    """Whether an agent may act."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"


class Agent(Struct, frozen=True):
    """A registered agent.

    Args:
        display_name: for people.
        agent_type: supervised, autonomous, ...
        environment: where it runs.
        capabilities: what it can do, in its own words.
        allowed_resources: what it is meant to touch, in its own words; policies decide, not this list.
        sdk_version: what it registered with.
        metadata: whatever else it said, redacted.
        status: whether it may act.
        status_reason: why, in the words of whoever changed it.
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
    """An agent's signs of life.

    Args:
        since: the first of those without a gap, in seconds since the epoch.
        last: the last one.
        sdk_version: as the agent said.
        response_time_ms: likewise.
        error_rate: likewise, 0 to 1.
        requests_count: likewise.
    """

    since: float
    last: float
    sdk_version: str | None = None
    response_time_ms: float | None = None
    error_rate: float | None = None
    requests_count: int | None = None


class Activity(Struct, frozen=True):
    """What an agent has asked to do so far; ``last`` is in seconds since the epoch."""

    last: float | None
    actions: int
    denials: int


class Health(Struct, frozen=True):
    """How an agent is: suspended, deactivated, blocked, healthy, offline, or registered and never heard of."""

    status: str
    heartbeats: Heartbeats | None


AGENTS = Shelf("agent", Agent, "agent", "AGENT_NOT_FOUND")
_HEARTBEATS = Shelf("heartbeat", Heartbeats, "agent", "AGENT_NOT_FOUND")

GAP = 180.0
"""Seconds without a heartbeat after which an agent counts as offline: three of the published SDK's intervals."""

_EVENTS = {
    AgentStatus.ACTIVE: "AGENT_ACTIVATED",
    AgentStatus.SUSPENDED: "AGENT_SUSPENDED",
    AgentStatus.DEACTIVATED: "AGENT_DEACTIVATED",
}


def register(tx: Transaction, organization: str, agent_id: str, agent: Agent, by: str) -> Entry[Agent]:
    """Register an agent.

    Raises:
        ConflictError: it is registered already, or there are too many.
    """
    entry = AGENTS.add(tx, organization, agent_id, msgspec.structs.replace(agent, registered_by=by))
    tx.record("AGENT_REGISTERED", organization=organization, actor=by, agent_id=agent_id, agent=entry.value)
    return entry


def update(
    tx: Transaction, organization: str, agent_id: str, changes: dict[str, Any], by: str
) -> Entry[Agent]:
    """Change what is said of an agent.

    Raises:
        NotFoundError: there is no such agent.
    """
    agent = AGENTS.get(tx, organization, agent_id)
    entry = AGENTS.put(tx, organization, agent.name, msgspec.structs.replace(agent.value, **changes))
    tx.record("AGENT_UPDATED", organization=organization, actor=by, agent_id=agent.name, changes=changes)
    return entry


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
    entry = AGENTS.put(tx, organization, agent.name, msgspec.structs.replace(agent.value, model=model.number))
    tx.record(
        "AGENT_MODEL_LINKED",
        organization=organization,
        actor=by,
        agent_id=agent.name,
        model_id=model.name,
        model=model.number,
        compliance_status=model.value.compliance_status,
    )
    return entry


def unlink_model(tx: Transaction, organization: str, agent_id: str, by: str) -> Entry[Agent]:
    """Link an agent to no model.

    Raises:
        NotFoundError: there is no such agent.
    """
    agent = AGENTS.get(tx, organization, agent_id)
    entry = AGENTS.put(tx, organization, agent.name, msgspec.structs.replace(agent.value, model=None))
    tx.record(
        "AGENT_MODEL_UNLINKED",
        organization=organization,
        actor=by,
        agent_id=agent.name,
        model=agent.value.model,
    )
    return entry


def set_status(
    tx: Transaction, organization: str, agent_id: str, status: AgentStatus, reason: str | None, by: str
) -> Entry[Agent]:
    """Let an agent act, or not. What it has under way goes on; the kill switch stops that.

    Raises:
        NotFoundError: there is no such agent.
    """
    agent = AGENTS.get(tx, organization, agent_id)
    entry = AGENTS.put(
        tx,
        organization,
        agent.name,
        msgspec.structs.replace(agent.value, status=status, status_reason=reason),
    )
    tx.record(_EVENTS[status], organization=organization, actor=by, agent_id=agent.name, reason=reason)
    return entry


def remove(tx: Transaction, organization: str, agent_id: str, by: str, *, admin: bool) -> None:
    """Forget an agent's registration.

    Args:
        admin: whoever asks may also remove one that is held back: registered anew, it would be free of that.

    Raises:
        NotFoundError: there is no such agent.
        AuthorizationDeniedError: it is suspended, deactivated, or governed by a linked model.
    """
    agent = AGENTS.get(tx, organization, agent_id)
    if not admin and (agent.value.status is not AgentStatus.ACTIVE or agent.value.model is not None):
        raise AuthorizationDeniedError(
            f"The agent {agent.name!r} is {agent.value.status}"
            f"{' and linked to a model' if agent.value.model is not None else ''}; only an admin removes it."
        )
    AGENTS.remove(tx, organization, agent.name)
    _HEARTBEATS.remove(tx, organization, agent.name)
    tx.record("AGENT_REMOVED", organization=organization, actor=by, agent_id=agent.name)


def activity(reader: Reader, organization: str, agent_id: str) -> Activity:
    """What the agent has asked to do so far."""
    newest = reader.actions(organization, agent_id=agent_id, limit=1)
    return Activity(
        newest[0].created_at if newest else None,
        reader.count_actions(organization, agent_id=agent_id),
        reader.count_actions(organization, status="denied", agent_id=agent_id),
    )


def beat(tx: Transaction, organization: str, agent_id: str, **said: Any) -> Heartbeats:
    """Keep a sign of life; of ten thousand agents, registered or not, the one first heard of gives way.

    It is no change of anything, so it leaves no audit record.
    """
    before = _HEARTBEATS.find(tx, organization, agent_id)
    if before is None:
        _HEARTBEATS.make_room(tx, organization)
    alive = before is not None and tx.now - before.value.last <= GAP
    heartbeats = Heartbeats(before.value.since if before and alive else tx.now, tx.now, **said)
    return _HEARTBEATS.put(tx, organization, agent_id, heartbeats).value


def health(reader: Reader, organization: str, agent_id: str, now: float) -> Health:
    """How an agent is.

    Raises:
        NotFoundError: it is neither registered nor was it ever heard of.
    """
    agent = AGENTS.find(reader, organization, agent_id)
    heard = _HEARTBEATS.find(reader, organization, agent_id)
    if agent is None:
        heard = heard or _HEARTBEATS.get(reader, organization, agent_id)
    heartbeats = None if heard is None else heard.value
    if agent is not None and agent.value.status is not AgentStatus.ACTIVE:
        return Health(agent.value.status, heartbeats)
    if stopped(reader, organization, agent_id) is not None:
        return Health("blocked", heartbeats)
    if heartbeats is None:
        return Health("registered", None)
    return Health("healthy" if now - heartbeats.last <= GAP else "offline", heartbeats)
