"""The endpoints of agents: their registration, their status and their heartbeats."""

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
    HeartbeatBody,
)
from ascend_guard.api.fields import Done, PageQuery
from ascend_guard.engine.registry import agents
from ascend_guard.engine.registry.agents import AGENTS, Agent, AgentStatus
from ascend_guard.engine.registry.records import Entry
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request
from ascend_guard.store.port import Reader, Transaction

from .registered import fields_of, one_page, require_own, shown
from .resource import registering, turning


def _fields(entry: Entry[Agent]) -> dict[str, Any]:
    fields = shown(entry, "agent_id")
    return {"model_id": fields.pop("model"), **fields}


def _body(entry: Entry[Agent]) -> AgentBody:
    return AgentBody(**_fields(entry))


def _turning(status: AgentStatus) -> Handler:
    def answer(entry: Entry[Agent]) -> AgentAnswer:
        return AgentAnswer(message=f"The agent is {status}.", agent=_body(entry))

    return turning(agents.set_status, status, "agent_id", answer, require_own)


async def listed(request: Request[None, PageQuery]) -> AgentPage:
    """List agents. A key made for an agent sees only that one."""
    own = request.caller.agent_id

    def look(reader: Reader) -> AgentPage:
        entries, about = one_page(AGENTS, reader, request)
        if own is not None:
            found = AGENTS.find(reader, request.organization, own)
            entries = [found] if found is not None and request.query.offset == 0 else []
            about |= {"total": int(found is not None), "has_more": False, "next_cursor": None}
        return AgentPage(agents=[_body(entry) for entry in entries], **about)

    return await request.read(look)


async def get(request: Request[None, None]) -> AgentDetail:
    """Get an agent and the numbers of its actions."""
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
    changes = fields_of(request.body)
    links = "model_id" in changes
    model_id = changes.pop("model_id", None)
    if links and not request.caller.admin:
        raise AuthorizationDeniedError(
            "Only an admin decides which model an agent is linked to. Use an admin's key."
        )

    def work(tx: Transaction) -> Entry[Agent]:
        entry = AGENTS.get(tx, request.organization, agent_id)
        if changes:
            entry = AGENTS.update(tx, request.organization, agent_id, changes, by)
        if model_id is not None:
            entry = agents.link_model(tx, request.organization, agent_id, model_id, by)
        elif links:
            entry = agents.unlink_model(tx, request.organization, agent_id, by)
        return entry

    entry = await request.write(work)
    message = "The model is linked." if model_id is not None else "The agent is changed."
    return AgentAnswer(message=message, agent=_body(entry))


async def deregister(request: Request[None, None]) -> Done:
    """Delete an agent's registration."""
    agent_id, caller = request.path["agent_id"], request.caller
    require_own(caller, agent_id)
    await request.write(
        lambda tx: agents.remove(tx, request.organization, agent_id, caller.name, admin=caller.admin)
    )
    return Done(message=f"The agent {agent_id!r} is no longer registered.")


async def heartbeat(request: Request[HeartbeatBody, None]) -> AgentHealth:
    """Store a heartbeat, and get the agent's health."""
    agent_id = request.body.agent_id
    require_own(request.caller, agent_id)
    report = msgspec.structs.asdict(request.body)
    del report["agent_id"], report["timestamp"]  # the time that counts is the server's

    def work(tx: Transaction) -> AgentHealth:
        agents.beat(tx, request.organization, agent_id, **report)
        return agents.health(tx, request.organization, agent_id, tx.now)

    return await request.write(work)


async def health(request: Request[None, None]) -> AgentHealth:
    """Get an agent's health."""
    agent_id = request.path["agent_id"]
    request.caller.require_agent(agent_id)
    now = request.services.clock()
    return await request.read(lambda reader: agents.health(reader, request.organization, agent_id, now))


HANDLERS: dict[str, Handler] = {
    "register_agent": registering(AGENTS, "agent_id", "display_name", _body, require_own),
    "list_agents": listed,
    "get_agent": get,
    "update_agent": update,
    "deregister_agent": deregister,
    "activate_agent": _turning(AgentStatus.ACTIVE),
    "suspend_agent": _turning(AgentStatus.SUSPENDED),
    "deactivate_agent": _turning(AgentStatus.DEACTIVATED),
    "heartbeat": heartbeat,
    "get_agent_health": health,
}
