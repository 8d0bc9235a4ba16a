"""The endpoints of the supply chain: components, the components of an agent, and the agents with a component."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ascend_guard.api.fields import PartQuery
from ascend_guard.api.supply_chain import (
    ComponentAnswer,
    ComponentBody,
    ComponentPage,
    ComponentsQuery,
    ComponentStats,
    DependenciesAnswer,
    DependenciesBody,
    Impact,
    SyncStatus,
    VulnerabilityBody,
)
from ascend_guard.engine.registry import supply_chain
from ascend_guard.engine.registry.agents import AGENTS
from ascend_guard.engine.registry.records import Entry
from ascend_guard.engine.registry.supply_chain import COMPONENTS, Component, ComponentType
from ascend_guard.model import RiskLevel
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import behind, gather, page
from ascend_guard.store.port import Reader, Transaction

from .registered import part, shown
from .resource import changing, getting, registering


def _body(entry: Entry[Component]) -> ComponentBody:
    fields, known = shown(entry, "component_id"), entry.value.vulnerabilities
    fields["vulnerabilities"] = [VulnerabilityBody(**msgspec.structs.asdict(one)) for one in known]
    return ComponentBody(has_vulnerabilities=bool(known), outdated=entry.value.outdated, **fields)


def _answer(state: str) -> Callable[[Entry[Component]], ComponentAnswer]:
    return lambda entry: ComponentAnswer(message=f"The component is {state}.", component=_body(entry))


async def listed(request: Request[None, ComponentsQuery]) -> ComponentPage:
    """List the components that match the query."""
    query = request.query
    kind = None if query.component_type is None else ComponentType(query.component_type)
    level = None if query.risk_level is None else RiskLevel(query.risk_level)
    first = behind(query.cursor)

    def look(reader: Reader) -> ComponentPage:
        matching = supply_chain.listed(
            reader,
            request.organization,
            component_type=kind,
            risk_level=level,
            has_vulnerabilities=query.has_vulnerabilities,
            active_only=query.active_only,
        )
        found, cursor = part(matching, _body, query.limit, first, query.offset)
        about = page(found.total, len(found.shown), query.limit, query.offset, cursor)
        return ComponentPage(components=found.shown, **about)

    return await request.read(look)


async def stats(request: Request[None, None]) -> ComponentStats:
    """Get statistics of all active components."""
    return await request.read(lambda reader: supply_chain.statistics(reader, request.organization))


async def impact(request: Request[None, PartQuery]) -> Impact:
    """List the agents that contain a component. A key made for an agent sees only that one."""
    component_id, own, query = request.path["component_id"], request.caller.agent_id, request.query

    def look(reader: Reader) -> Impact:
        entry = COMPONENTS.named(reader, request.organization, component_id)
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
    """Get the components of an agent."""
    first, limit = behind(request.query.cursor), request.query.limit

    def look(reader: Reader) -> DependenciesAnswer:
        agent_id = _agent(reader, request)
        return _built_of(
            agent_id, supply_chain.dependencies(reader, request.organization, agent_id), limit, first
        )

    return await request.read(look)


async def declare(request: Request[DependenciesBody, None]) -> DependenciesAnswer:
    """Set the components of an agent."""
    component_ids, by = request.body.component_ids, request.caller.name

    def work(tx: Transaction) -> DependenciesAnswer:
        agent_id = _agent(tx, request)
        return _built_of(
            agent_id, supply_chain.declare(tx, request.organization, agent_id, component_ids, by)
        )

    return await request.write(work)


async def sync_status(request: Request[None, None]) -> SyncStatus:
    """Get how vulnerabilities are updated."""
    return SyncStatus(
        enabled=False,
        status="not_configured",
        last_sync=None,
        message="No feed of vulnerabilities is read. Record them: PUT /api/v1/supply-chain/components/{id}.",
    )


def _agent(reader: Reader, request: Request[Any, Any]) -> str:
    name = request.path["agent_id"]
    if (
        request.caller.agent_id is not None
    ):  # such a key uses its agent's name: a number could be another agent's
        request.caller.require_agent(name)
        return AGENTS.get(reader, request.organization, name).name
    return AGENTS.get(reader, request.organization, name, by_number=True).name


def _built_of(
    agent_id: str, entries: list[Entry[Component]], limit: int = 1000, first: int | None = None
) -> DependenciesAnswer:
    entries = sorted(entries, key=lambda entry: entry.number)
    found, cursor = part(entries, _body, limit, first)
    return DependenciesAnswer(
        agent_id=agent_id,
        total=found.total,
        dependencies=found.shown,
        has_more=cursor is not None,
        next_cursor=cursor,
    )


HANDLERS: dict[str, Handler] = {
    "register_component": registering(COMPONENTS, "component_id", "component_name", _answer("registered")),
    "list_components": listed,
    "get_component": getting(COMPONENTS, "component_id", _body),
    "update_component": changing(COMPONENTS, "component_id", _answer("changed")),
    "get_component_stats": stats,
    "get_component_impact": impact,
    "get_agent_dependencies": dependencies,
    "set_agent_dependencies": declare,
    "get_cve_sync_status": sync_status,
}
