"""The endpoints of orchestration: topologies, sessions, and the cascading kill."""

from __future__ import annotations

from typing import Any

from ascend_guard.api.fields import PartQuery
from ascend_guard.api.orchestration import (
    CascadeAnswer,
    CascadeBody,
    McpTopologyBody,
    OrchestrationStats,
    SessionAction,
    SessionBody,
    SessionRisk,
    TopologyAnswer,
    TopologyBody,
    TopologyPage,
)
from ascend_guard.engine.registry import topology
from ascend_guard.engine.registry.records import Entry
from ascend_guard.engine.registry.topology import TOPOLOGIES, Sessions, Topology
from ascend_guard.errors import NotFoundError
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import behind, gather
from ascend_guard.store.port import ActionRow, Reader

from .resource import listing


async def register(request: Request[TopologyBody, None]) -> TopologyAnswer:
    """Set which agents work for an orchestrator."""
    body, by = request.body, request.caller.name
    entry = await request.write(
        lambda tx: topology.register(
            tx, request.organization, body.orchestrator_agent_id, body.worker_agent_ids, by
        )
    )
    return _answer(entry, f"{len(entry.value.workers)} agents work for {entry.name!r}.")


async def register_servers(request: Request[McpTopologyBody, None]) -> TopologyAnswer:
    """Set which MCP servers work for an orchestrator."""
    body, by = request.body, request.caller.name
    entry = await request.write(
        lambda tx: topology.register_servers(
            tx, request.organization, body.orchestrator_agent_id, body.mcp_server_ids, by
        )
    )
    return _answer(entry, f"{len(entry.value.mcp_servers)} MCP servers work for {entry.name!r}.")


async def session(request: Request[None, PartQuery]) -> SessionBody:
    """Get a session's actions."""
    first = behind(request.query.cursor)
    found = await _session(request)
    rows = found.actions
    shown = gather(rows, _action, request.query.limit, after=lambda row: first is None or row.id < first)
    return SessionBody(
        session_id=request.path["session_id"],
        action_count=len(rows),
        agent_count=len({row.agent_id for row in rows}),
        denied_count=_count(rows, "denied"),
        pending_count=_count(rows, "pending"),
        max_depth=max(row.depth for row in rows),
        started_at=iso(rows[-1].created_at),
        last_activity=iso(rows[0].created_at),
        complete=found.complete and first is None and shown.last is None,
        actions=shown.shown[::-1],
        next_cursor=None if shown.last is None else str(shown.last.id),
    )


async def session_risk(request: Request[None, None]) -> SessionRisk:
    """Get a session's risk."""
    found = await _session(request)
    ran = [row for row in found.actions if row.status != "denied"]
    worst = max(ran, key=lambda row: row.risk_score, default=None)
    total = sum(row.risk_score for row in ran)
    by_agent: dict[str, float] = {}
    for row in ran:
        by_agent[row.agent_id] = max(row.risk_score, by_agent.get(row.agent_id, 0.0))
    return SessionRisk(
        session_id=request.path["session_id"],
        risk_score=0.0 if worst is None else worst.risk_score,
        risk_level="low" if worst is None else worst.risk_level,
        cumulative_risk_score=min(100.0, round(total, 1)),
        average_risk_score=round(total / len(ran), 1) if ran else 0.0,
        action_count=len(found.actions),
        denied_count=len(found.actions) - len(ran),
        by_agent=by_agent,
        complete=found.complete,
    )


async def stats(request: Request[None, None]) -> OrchestrationStats:
    """Get statistics of all sessions. A key made for an agent gets those of its own actions."""
    own = request.caller.agent_id

    def look(reader: Reader) -> tuple[Sessions, int]:
        return topology.sessions(reader, request.organization), TOPOLOGIES.count(reader, request.organization)

    found, topologies = await request.read(look)
    rows = [row for row in found.actions if own in (None, row.agent_id)]
    return OrchestrationStats(
        total_sessions=len({row.orchestration_session_id for row in rows}),
        total_actions=len(rows),
        total_agents=len({row.agent_id for row in rows}),
        denied_actions=_count(rows, "denied"),
        pending_actions=_count(rows, "pending"),
        max_depth=max((row.depth for row in rows), default=0),
        topologies=topologies,
        complete=found.complete,
    )


async def cascade_kill(request: Request[CascadeBody, None]) -> CascadeAnswer:
    """Stop an orchestrator and all that work for it. Without ``confirm``, list them only."""
    orchestrator, body, by = request.path["orchestrator_id"], request.body, request.caller.name
    if body.confirm:
        reached = await request.write(
            lambda tx: topology.cascade_kill(tx, request.organization, orchestrator, body.reason, by)
        )
        message = "They are stopped."
    else:
        reached = await request.read(
            lambda reader: topology.reach(reader, request.organization, orchestrator)
        )
        message = (
            "No agent was stopped. This lists the agents that would be. Send confirm: true to stop them."
        )
    return CascadeAnswer(
        dry_run=not body.confirm,
        orchestrator_id=orchestrator,
        message=message,
        total=len(reached.agents) + len(reached.mcp_servers),
        agents=reached.agents,
        already_stopped=reached.stopped,
        mcp_servers=reached.mcp_servers,
    )


async def _session(request: Request[None, Any]) -> Sessions:
    """The session's actions. A key made for an agent sees that agent's only."""
    session_id, own = request.path["session_id"], request.caller.agent_id
    found = await request.read(lambda reader: topology.sessions(reader, request.organization, session_id))
    rows = [row for row in found.actions if own in (None, row.agent_id)]
    if not rows:
        raise NotFoundError(f"There is no orchestration session {session_id!r}.")
    return Sessions(rows, found.complete)


def _count(rows: list[ActionRow], status: str) -> int:
    return sum(row.status == status for row in rows)


def _action(row: ActionRow) -> SessionAction:
    return SessionAction(
        id=row.id,
        action_id=str(row.id),
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        action_type=row.action_type,
        tool_name=row.tool_name,
        resource=row.resource,
        status=row.status,
        reason=row.reason,
        risk_score=row.risk_score,
        risk_level=row.risk_level,
        outcome=row.outcome,
        parent_action_id=row.parent_action_id,
        orchestration_depth=row.depth,
        created_at=iso(row.created_at),
    )


def _answer(entry: Entry[Topology], message: str = "") -> TopologyAnswer:
    return TopologyAnswer(
        message=message,
        orchestrator_agent_id=entry.name,
        worker_agent_ids=entry.value.workers,
        mcp_server_ids=entry.value.mcp_servers,
        updated_at=iso(entry.updated_at),
    )


HANDLERS: dict[str, Handler] = {
    "register_topology": register,
    "list_topologies": listing(
        TOPOLOGIES, lambda topologies, about: TopologyPage(topologies=topologies, **about), _answer
    ),
    "register_mcp_topology": register_servers,
    "get_orchestration_session": session,
    "get_orchestration_session_risk": session_risk,
    "get_orchestration_stats": stats,
    "cascade_kill": cascade_kill,
}
