"""Agents: registered, changed, held back, heard of."""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.api.agents import (
    AgentAnswer,
    AgentBody,
    AgentChange,
    AgentDetail,
    AgentHealth,
    AgentPage,
    AgentRegistration,
    HeartbeatBody,
    WhyBody,
)
from ascend_guard.api.fields import Done, PageQuery
from ascend_guard.engine.registry import agents
from ascend_guard.engine.registry.agents import AGENTS, Agent, AgentStatus, Health
from ascend_guard.engine.registry.records import Entry, cleaned
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request
from ascend_guard.store.port import Reader, Transaction

from .registered import changes, one_page, require_own, when


async def register(request: Request[AgentRegistration, None]) -> AgentBody:
    """Register an agent."""
    body, caller = request.body, request.caller
    require_own(caller, body.agent_id)
    agent = Agent(
        display_name=body.display_name or body.agent_id,
        agent_type=body.agent_type,
        environment=body.environment,
        capabilities=body.capabilities,
        allowed_resources=body.allowed_resources,
        sdk_version=body.sdk_version,
        metadata=cleaned(body.metadata),
    )
    entry = await request.write(
        lambda tx: agents.register(tx, request.organization, body.agent_id, agent, caller.name)
    )
    return AgentBody(**_fields(entry))


async def listed(request: Request[None, PageQuery]) -> AgentPage:
    """Agents; a key made for an agent sees that one."""
    own = request.caller.agent_id

    def look(reader: Reader) -> AgentPage:
        entries, about = one_page(AGENTS, reader, request)
        if own is not None:
            found = AGENTS.find(reader, request.organization, own)
            entries = [found] if found is not None and request.query.offset == 0 else []
            about |= {"total": int(found is not None), "has_more": False, "next_cursor": None}
        return AgentPage(agents=[AgentBody(**_fields(entry)) for entry in entries], **about)

    return await request.read(look)


async def get(request: Request[None, None]) -> AgentDetail:
    """One agent and what it has done so far."""
    agent_id = request.path["agent_id"]
    request.caller.require_agent(agent_id)

    def look(reader: Reader) -> AgentDetail:
        entry = AGENTS.get(reader, request.organization, agent_id)
        done = agents.activity(reader, request.organization, entry.name)
        return AgentDetail(
            last_activity=None if done.last is None else iso(done.last),
            action_count=done.actions,
            denial_count=done.denials,
            **_fields(entry),
        )

    return await request.read(look)


async def update(request: Request[AgentChange, None]) -> AgentAnswer:
    """Change an agent, or link a model to it."""
    agent_id, by = request.path["agent_id"], request.caller.name
    require_own(request.caller, agent_id)
    given = changes(request.body)
    links = "model_id" in given
    model_id = given.pop("model_id", None)
    if links and not request.caller.admin:
        raise AuthorizationDeniedError(
            "Only an admin decides which model an agent is linked to. Use an admin's key."
        )

    def work(tx: Transaction) -> Entry[Agent]:
        entry = AGENTS.get(tx, request.organization, agent_id)
        if given:
            entry = agents.update(tx, request.organization, agent_id, given, by)
        if model_id is not None:
            entry = agents.link_model(tx, request.organization, agent_id, model_id, by)
        elif links:
            entry = agents.unlink_model(tx, request.organization, agent_id, by)
        return entry

    entry = await request.write(work)
    message = "The model is linked." if model_id is not None else "The agent is changed."
    return AgentAnswer(message=message, agent=AgentBody(**_fields(entry)))


async def deregister(request: Request[None, None]) -> Done:
    """Forget an agent's registration."""
    agent_id, caller = request.path["agent_id"], request.caller
    require_own(caller, agent_id)
    await request.write(
        lambda tx: agents.remove(tx, request.organization, agent_id, caller.name, admin=caller.admin)
    )
    return Done(message=f"The agent {agent_id!r} is no longer registered.")


async def activate(request: Request[WhyBody, None]) -> AgentAnswer:
    """Let an agent act."""
    return await _turn(request, AgentStatus.ACTIVE)


async def suspend(request: Request[WhyBody, None]) -> AgentAnswer:
    """Refuse what an agent submits, for a while."""
    return await _turn(request, AgentStatus.SUSPENDED)


async def deactivate(request: Request[WhyBody, None]) -> AgentAnswer:
    """Refuse what an agent submits, for good."""
    return await _turn(request, AgentStatus.DEACTIVATED)


async def _turn(request: Request[WhyBody, None], status: AgentStatus) -> AgentAnswer:
    agent_id, by, reason = request.path["agent_id"], request.caller.name, request.body.reason
    request.caller.require_agent(agent_id)
    entry = await request.write(
        lambda tx: agents.set_status(tx, request.organization, agent_id, status, reason, by)
    )
    return AgentAnswer(message=f"The agent is {status}.", agent=AgentBody(**_fields(entry)))


async def heartbeat(request: Request[HeartbeatBody, None]) -> AgentHealth:
    """An agent's sign of life."""
    body = request.body
    require_own(request.caller, body.agent_id)

    def work(tx: Transaction) -> Health:
        agents.beat(
            tx,
            request.organization,
            body.agent_id,
            sdk_version=body.sdk_version,
            response_time_ms=body.response_time_ms,
            error_rate=body.error_rate,
            requests_count=body.requests_count,
        )
        return agents.health(tx, request.organization, body.agent_id, tx.now)

    return _health(body.agent_id, await request.write(work))


async def health(request: Request[None, None]) -> AgentHealth:
    """How an agent is."""
    agent_id = request.path["agent_id"]
    request.caller.require_agent(agent_id)
    now = request.services.clock()
    return _health(
        agent_id,
        await request.read(lambda reader: agents.health(reader, request.organization, agent_id, now)),
    )


def _health(agent_id: str, found: Health) -> AgentHealth:
    heard = found.heartbeats
    if heard is None:
        return AgentHealth(agent_id=agent_id, status=found.status, last_heartbeat=None, uptime_seconds=None)
    said = msgspec.structs.asdict(heard)
    last, since = said.pop("last"), said.pop("since")
    return AgentHealth(
        agent_id=agent_id,
        status=found.status,
        last_heartbeat=iso(last),
        uptime_seconds=int(last - since),
        metadata={name: value for name, value in said.items() if value is not None},
    )


def _fields(entry: Entry[Agent]) -> dict[str, Any]:
    fields = msgspec.structs.asdict(entry.value)
    model = fields.pop("model")
    return {"id": entry.number, "agent_id": entry.name, "model_id": model, **fields, **when(entry)}


HANDLERS: dict[str, Handler] = {
    "register_agent": register,
    "list_agents": listed,
    "get_agent": get,
    "update_agent": update,
    "deregister_agent": deregister,
    "activate_agent": activate,
    "suspend_agent": suspend,
    "deactivate_agent": deactivate,
    "heartbeat": heartbeat,
    "get_agent_health": health,
}
