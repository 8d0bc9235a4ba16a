"""The supply chain: components, what agents are built of, and whom a component touches."""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.api.supply_chain import (
    ComponentAnswer,
    ComponentBody,
    ComponentChange,
    ComponentPage,
    ComponentRegistration,
    ComponentsQuery,
    ComponentStats,
    DependenciesAnswer,
    DependenciesBody,
    Impact,
    PartQuery,
    SyncStatus,
    VulnerabilityBody,
)
from ascend_guard.engine.registry import supply_chain
from ascend_guard.engine.registry.agents import AGENTS
from ascend_guard.engine.registry.records import Entry
from ascend_guard.engine.registry.supply_chain import COMPONENTS, Component, ComponentType
from ascend_guard.model import RiskLevel
from ascend_guard.redaction import scrub
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import Gathered, behind, gather, page
from ascend_guard.store.port import Reader, Transaction

from .registered import changes, when


async def register(request: Request[ComponentRegistration, None]) -> ComponentAnswer:
    """Register a component."""
    body, by = request.body, request.caller.name
    component = msgspec.convert(body, Component, from_attributes=True)
    if body.source_url is not None:
        component = msgspec.structs.replace(component, source_url=scrub(body.source_url))
    entry = await request.write(
        lambda tx: supply_chain.register(tx, request.organization, body.component_id, component, by)
    )
    return ComponentAnswer(message="The component is registered.", component=_body(entry))


async def listed(request: Request[None, ComponentsQuery]) -> ComponentPage:
    """The components that fit."""
    query = request.query
    kind = None if query.component_type is None else ComponentType(query.component_type)
    level = None if query.risk_level is None else RiskLevel(query.risk_level)
    first = behind(query.cursor)

    def look(reader: Reader) -> Gathered[Entry[Component], ComponentBody]:
        found = supply_chain.listed(
            reader,
            request.organization,
            component_type=kind,
            risk_level=level,
            has_vulnerabilities=query.has_vulnerabilities,
            active_only=query.active_only,
        )
        return gather(
            found, _body, query.limit, offset=query.offset, after=lambda entry: entry.number > (first or 0)
        )

    found = await request.read(look)
    next_cursor = None if found.last is None else str(found.last.number)
    about = page(found.total, len(found.shown), query.limit, query.offset, next_cursor)
    return ComponentPage(components=found.shown, **about)


async def get(request: Request[None, None]) -> ComponentBody:
    """One component."""
    component_id = request.path["component_id"]
    return _body(
        await request.read(lambda reader: COMPONENTS.pick(reader, request.organization, component_id))
    )


async def update(request: Request[ComponentChange, None]) -> ComponentAnswer:
    """Change a component."""
    component_id, by, given = request.path["component_id"], request.caller.name, changes(request.body)
    entry = await request.write(
        lambda tx: supply_chain.update(tx, request.organization, component_id, given, by)
    )
    return ComponentAnswer(message="The component is changed.", component=_body(entry))


async def stats(request: Request[None, None]) -> ComponentStats:
    """Numbers about all components."""
    numbers = await request.read(lambda reader: supply_chain.statistics(reader, request.organization))
    return ComponentStats(**numbers)


async def impact(request: Request[None, PartQuery]) -> Impact:
    """Which agents a component is in; a key made for an agent learns that of its own."""
    component_id, own, query = request.path["component_id"], request.caller.agent_id, request.query

    def look(reader: Reader) -> Impact:
        entry = COMPONENTS.pick(reader, request.organization, component_id)
        agents = supply_chain.affected(reader, request.organization, entry)
        seen = [agent for agent in agents if own in (None, agent)]
        found = gather(seen, str, query.limit, after=lambda agent: agent > (query.cursor or ""))
        return Impact(
            component=_body(entry),
            affected_count=found.total,
            affected_agents=found.shown,
            has_more=found.last is not None,
            next_cursor=found.last,
        )

    return await request.read(look)


async def dependencies(request: Request[None, PartQuery]) -> DependenciesAnswer:
    """What an agent is built of."""
    first, limit = behind(request.query.cursor), request.query.limit

    def look(reader: Reader) -> DependenciesAnswer:
        agent_id = _agent(reader, request)
        return _built_of(
            agent_id, supply_chain.dependencies(reader, request.organization, agent_id), limit, first
        )

    return await request.read(look)


async def declare(request: Request[DependenciesBody, None]) -> DependenciesAnswer:
    """Say what an agent is built of."""
    component_ids, by = request.body.component_ids, request.caller.name

    def work(tx: Transaction) -> DependenciesAnswer:
        agent_id = _agent(tx, request)
        return _built_of(
            agent_id, supply_chain.declare(tx, request.organization, agent_id, component_ids, by)
        )

    return await request.write(work)


async def sync_status(request: Request[None, None]) -> SyncStatus:
    """How vulnerabilities get in."""
    return SyncStatus(
        enabled=False,
        status="not_configured",
        last_sync=None,
        message="No feed of vulnerabilities is read. Record them: PUT /api/v1/supply-chain/components/{id}.",
    )


def _agent(reader: Reader, request: Request[Any, Any]) -> str:
    name = request.path["agent_id"]
    if request.caller.agent_id is not None:  # such a key names its agent; a number could be another's
        request.caller.require_agent(name)
        return AGENTS.get(reader, request.organization, name).name
    return AGENTS.pick(reader, request.organization, name).name


def _built_of(
    agent_id: str, entries: list[Entry[Component]], limit: int = 1000, first: int | None = None
) -> DependenciesAnswer:
    entries = sorted(entries, key=lambda entry: entry.number)
    found = gather(entries, _body, limit, after=lambda entry: entry.number > (first or 0))
    return DependenciesAnswer(
        agent_id=agent_id,
        total=found.total,
        dependencies=found.shown,
        has_more=found.last is not None,
        next_cursor=None if found.last is None else str(found.last.number),
    )


def _body(entry: Entry[Component]) -> ComponentBody:
    fields: dict[str, Any] = msgspec.structs.asdict(entry.value)
    fields["vulnerabilities"] = [
        VulnerabilityBody(**msgspec.structs.asdict(weakness)) for weakness in entry.value.vulnerabilities
    ]
    return ComponentBody(
        id=entry.number,
        component_id=entry.name,
        has_vulnerabilities=bool(entry.value.vulnerabilities),
        outdated=entry.value.outdated,
        **fields,
        **when(entry),
    )


HANDLERS: dict[str, Handler] = {
    "register_component": register,
    "list_components": listed,
    "get_component": get,
    "update_component": update,
    "get_component_stats": stats,
    "get_component_impact": impact,
    "get_agent_dependencies": dependencies,
    "set_agent_dependencies": declare,
    "get_cve_sync_status": sync_status,
}
