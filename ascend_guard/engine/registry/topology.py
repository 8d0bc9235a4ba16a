"""Orchestrators: which agents and MCP servers work for them, their sessions, and stopping all of them at once."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from ascend_guard.errors import ValidationError
from ascend_guard.store.port import ActionRow, Reader, Transaction, switch_on

from .agents import AGENTS
from .mcp_servers import MCP_SERVERS, set_active
from .records import Entry, Logged

WORKERS = 20
"""The most agents, and the most MCP servers, that work for one orchestrator (published SDK: 1..20)."""

_PAGE = 1000
_LOOKED_AT = 100_000


class Topology(Struct, frozen=True):
    """What works for an orchestrator: agents by name, MCP servers by number."""

    workers: list[str] = field(default_factory=list)
    mcp_servers: list[int] = field(default_factory=list)


class Reach(Struct, frozen=True):
    """What a cascading kill stops.

    Args:
        agents: the orchestrator first, then the others by distance.
        stopped: those whose own kill switch is on already.
        mcp_servers: names of the servers that work for any of them.
    """

    agents: list[str]
    stopped: list[str]
    mcp_servers: list[str]


class Sessions(Struct, frozen=True):
    """Actions of orchestration sessions.

    Args:
        actions: newest first.
        complete: whether all actions were searched, not only the newest hundred thousand.
    """

    actions: list[ActionRow]
    complete: bool


TOPOLOGIES = Logged("topology", Topology, "topology")


def register(
    tx: Transaction, organization: str, orchestrator: str, worker_ids: list[str], by: str
) -> Entry[Topology]:
    """Set which agents work for an orchestrator.

    Raises:
        ValidationError: an agent is named twice, or would work for itself.
        ConflictError: too many orchestrators are registered.
    """
    _require_different(worker_ids)
    if orchestrator in worker_ids:
        raise ValidationError(
            f"The agent {orchestrator!r} cannot work for itself. Leave it out of worker_agent_ids."
        )
    before = TOPOLOGIES.find(tx, organization, orchestrator)
    servers = [] if before is None else before.value.mcp_servers
    return _put(tx, organization, orchestrator, Topology(worker_ids, servers), by)


def register_servers(
    tx: Transaction, organization: str, orchestrator: str, numbers: list[int], by: str
) -> Entry[Topology]:
    """Set which MCP servers work for an orchestrator.

    Raises:
        ValidationError: a server is named twice.
        NotFoundError: there is no such server.
        ConflictError: too many orchestrators are registered.
    """
    _require_different(numbers)
    for number in numbers:
        MCP_SERVERS.get(tx, organization, number)
    before = TOPOLOGIES.find(tx, organization, orchestrator)
    workers = [] if before is None else before.value.workers
    return _put(tx, organization, orchestrator, Topology(workers, numbers), by)


def _require_different(names: list[Any]) -> None:
    if len(set(names)) != len(names):
        raise ValidationError("A worker is named twice. Name each once.")


def _put(
    tx: Transaction, organization: str, orchestrator: str, topology: Topology, by: str
) -> Entry[Topology]:
    about = {"agent_id": orchestrator, "topology": topology}
    return TOPOLOGIES.write(tx, organization, orchestrator, topology, "TOPOLOGY_REGISTERED", by, about)


def reach(reader: Reader, organization: str, orchestrator: str) -> Reach:
    """What a cascading kill of this orchestrator would stop. Each agent once, also when agents work for each other.

    Raises:
        NotFoundError: it is neither a registered agent nor has a topology.
    """
    topology = TOPOLOGIES.find(reader, organization, orchestrator)
    if topology is None and AGENTS.find(reader, organization, orchestrator) is None:
        raise AGENTS.missing(orchestrator)
    agents = {orchestrator: None}
    numbers: dict[int, None] = {}
    waiting = [orchestrator]
    for agent_id in waiting:
        found = TOPOLOGIES.find(reader, organization, agent_id)
        if found is None:
            continue
        new = [worker for worker in found.value.workers if worker not in agents]
        agents |= dict.fromkeys(new)
        numbers |= dict.fromkeys(found.value.mcp_servers)
        waiting += new
    switches = reader.kill_switches(organization)
    servers = [MCP_SERVERS.numbered(reader, organization, number) for number in numbers]
    return Reach(
        list(agents),
        [agent_id for agent_id in agents if agent_id in switches],
        [server.name for server in servers if server is not None],
    )


def cascade_kill(tx: Transaction, organization: str, orchestrator: str, reason: str, by: str) -> Reach:
    """Stop an orchestrator and all that work for it, directly or not: agents by their kill switch, servers by deactivation.

    Raises:
        NotFoundError: there is no such orchestrator.
    """
    reached = reach(tx, organization, orchestrator)
    for agent_id in reached.agents:
        if agent_id in reached.stopped:  # the record of who stopped it, and why, is kept
            continue
        # Not by pull(), which reads all switches back: for thousands of agents that takes minutes.
        switch_on(tx, organization, agent_id, reason, by)
    for name in reached.mcp_servers:
        if MCP_SERVERS.get(tx, organization, name).value.active:
            set_active(tx, organization, name, False, reason, by)
    tx.record(
        "CASCADE_KILL",
        organization=organization,
        actor=by,
        agent_id=orchestrator,
        reason=reason,
        agents=reached.agents,
        mcp_servers=reached.mcp_servers,
    )
    return reached


def sessions(reader: Reader, organization: str, session_id: str | None = None) -> Sessions:
    """The actions of one orchestration session, or of all of them, among the newest hundred thousand actions."""
    found: list[ActionRow] = []
    before = None
    for _ in range(_LOOKED_AT // _PAGE):
        rows = reader.actions(organization, before=before, limit=_PAGE)
        found += [
            row
            for row in rows
            if row.orchestration_session_id is not None and session_id in (None, row.orchestration_session_id)
        ]
        if len(rows) < _PAGE:
            return Sessions(found, True)
        before = rows[-1].id
    return Sessions(found, False)
