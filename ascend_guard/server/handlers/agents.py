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
from ascend_guard.api.fields import Done, Page
from ascend_guard.engine.registry import agents
from ascend_guard.engine.registry.agents import AGENTS, Agent, AgentStatus, Health
from ascend_guard.engine.registry.records import Entry, cleaned
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.model import iso
from ascend_guard.server.handling import Call, Handler
from ascend_guard.store.port import Reader, Transaction

from .registered import changes, one_page, require_own, when


async def register(call: Call[AgentRegistration, None]) -> AgentBody:
    """Register an agent."""
    body, caller = call.body, call.caller
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
    entry = await call.write(
        lambda tx: agents.register(tx, call.organization, body.agent_id, agent, caller.name)
    )
    return AgentBody(**_fields(entry))


async def listed(call: Call[None, Page]) -> AgentPage:
    """Agents; a key made for an agent sees that one."""
    own = call.caller.agent_id

    def look(reader: Reader) -> AgentPage:
        entries, about = one_page(AGENTS, reader, call)
        if own is not None:
            found = AGENTS.find(reader, call.organization, own)
            entries = [found] if found is not None and call.query.offset == 0 else []
            about |= {"total": int(found is not None), "has_more": False, "next_cursor": None}
        return AgentPage(agents=[AgentBody(**_fields(entry)) for entry in entries], **about)

    return await call.read(look)


async def get(call: Call[None, None]) -> AgentDetail:
    """One agent and what it has done so far."""
    agent_id = call.path["agent_id"]
    call.caller.require_agent(agent_id)

    def look(reader: Reader) -> AgentDetail:
        entry = AGENTS.get(reader, call.organization, agent_id)
        done = agents.activity(reader, call.organization, entry.name)
        return AgentDetail(
            last_activity=None if done.last is None else iso(done.last),
            action_count=done.actions,
            denial_count=done.denials,
            **_fields(entry),
        )

    return await call.read(look)


async def update(call: Call[AgentChange, None]) -> AgentAnswer:
    """Change an agent, or link a model to it."""
    agent_id, by = call.path["agent_id"], call.caller.name
    require_own(call.caller, agent_id)
    given = changes(call.body)
    links = "model_id" in given
    model_id = given.pop("model_id", None)
    if links and not call.caller.admin:
        raise AuthorizationDeniedError(
            "Only an admin decides which model an agent is linked to. Use an admin's key."
        )

    def work(tx: Transaction) -> Entry[Agent]:
        entry = AGENTS.get(tx, call.organization, agent_id)
        if given:
            entry = agents.update(tx, call.organization, agent_id, given, by)
        if model_id is not None:
            entry = agents.link_model(tx, call.organization, agent_id, model_id, by)
        elif links:
            entry = agents.unlink_model(tx, call.organization, agent_id, by)
        return entry

    entry = await call.write(work)
    message = "The model is linked." if model_id is not None else "The agent is changed."
    return AgentAnswer(message=message, agent=AgentBody(**_fields(entry)))


async def deregister(call: Call[None, None]) -> Done:
    """Forget an agent's registration."""
    agent_id, caller = call.path["agent_id"], call.caller
    require_own(caller, agent_id)
    await call.write(
        lambda tx: agents.remove(tx, call.organization, agent_id, caller.name, admin=caller.admin)
    )
    return Done(message=f"The agent {agent_id!r} is no longer registered.")


async def activate(call: Call[WhyBody, None]) -> AgentAnswer:
    """Let an agent act."""
    return await _turn(call, AgentStatus.ACTIVE)


async def suspend(call: Call[WhyBody, None]) -> AgentAnswer:
    """Refuse what an agent submits, for a while."""
    return await _turn(call, AgentStatus.SUSPENDED)


async def deactivate(call: Call[WhyBody, None]) -> AgentAnswer:
    """Refuse what an agent submits, for good."""
    return await _turn(call, AgentStatus.DEACTIVATED)


async def _turn(call: Call[WhyBody, None], status: AgentStatus) -> AgentAnswer:
    agent_id, by, reason = call.path["agent_id"], call.caller.name, call.body.reason
    call.caller.require_agent(agent_id)
    entry = await call.write(
        lambda tx: agents.set_status(tx, call.organization, agent_id, status, reason, by)
    )
    return AgentAnswer(message=f"The agent is {status}.", agent=AgentBody(**_fields(entry)))


async def heartbeat(call: Call[HeartbeatBody, None]) -> AgentHealth:
    """An agent's sign of life."""
    body = call.body
    require_own(call.caller, body.agent_id)

    def work(tx: Transaction) -> Health:
        agents.beat(
            tx,
            call.organization,
            body.agent_id,
            sdk_version=body.sdk_version,
            response_time_ms=body.response_time_ms,
            error_rate=body.error_rate,
            requests_count=body.requests_count,
        )
        return agents.health(tx, call.organization, body.agent_id, tx.now)

    return _health(body.agent_id, await call.write(work))


async def health(call: Call[None, None]) -> AgentHealth:
    """How an agent is."""
    agent_id = call.path["agent_id"]
    call.caller.require_agent(agent_id)
    now = call.services.clock()
    return _health(
        agent_id, await call.read(lambda reader: agents.health(reader, call.organization, agent_id, now))
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
