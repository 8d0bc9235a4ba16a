"""Turn the kill switch on from the command line, and report what it reached and what it did not.

Neither this nor ``status`` waits for a lock of the database that a stopped process may hold; see ``store.beside``.

1. The switch is turned on first. Afterwards the command reads what it reached; that never prevents turning it on.
2. If nothing shows that it reached an agent, the exit status is 1, although the switch is on.
"""

from __future__ import annotations

import difflib
import shlex
import time
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.text import Text

from ascend_guard.cli.context import Run
from ascend_guard.cli.databases import never_used, used
from ascend_guard.cli.output import ago, cell, counted, shown, table, timestamp
from ascend_guard.engine.control_plane import LOCAL
from ascend_guard.engine.keys import keys, organizations
from ascend_guard.engine.kill import EVERYONE, stopped
from ascend_guard.engine.liveness import behind_http, living
from ascend_guard.engine.registry.agents import AGENTS
from ascend_guard.model import Killed, KillSwitchState, RunningCall
from ascend_guard.store.port import Reader, Store, running_calls
from ascend_guard.store.sqlite.switch_turning import RECORDING
from ascend_guard.store.sqlite.switch_without_database import OPENING

_NEWEST = 1000
"""How many actions are searched for the names of agents."""

_NAMES = 5


class Reached(Struct, frozen=True):
    """What the database contains about the agents that a switch stops.

    Args:
        agents: all names of agents in it.
        known: the switch's agent is one of them, or it stops every agent.
        used: an agent has used the database.
        processes: how many have it open, or sent a request over HTTP lately.
        elsewhere: organizations whose agents this command does not stop.
    """

    agents: frozenset[str]
    known: bool
    used: bool
    processes: int
    elsewhere: tuple[str, ...] = ()


class Turned(Struct, frozen=True):
    """A switch that was turned on.

    Args:
        killed: the switch, and the calls that had begun.
        place: its database.
        reached: the agents that it stops; None if the database could not be read at once.
        doubt: why this may be the wrong database; None without such a sign.
    """

    killed: Killed
    place: str
    reached: Reached | None
    doubt: str | None = None

    @property
    def certain(self) -> bool:
        """Return whether it stops agents that are known to exist."""
        if self.doubt is not None:
            return False
        if self.killed.agent_id is None or self.killed.running:
            return True
        return self.reached is not None and self.reached.known


def turn_on(run: Run, agent: str | None, reason: str, by: str) -> Turned:
    """Turn the switch on, and find out what it reaches.

    Raises:
        Refusal: there is no database, so there is nothing to stop.
    """
    refusal = run.absent_policy()
    absent = None if refusal is None else refusal.message
    beside = run.beside()
    if beside is None:
        run.require_database()
        plane = run.plane()
        killed = plane.kill(reason=reason, by=by, agent_id=agent)
        reached = plane.read(lambda reader: _reached(plane.store, reader, agent, 0))
        return _turned(run, killed, reached, absent, 0)
    processes = run.others()
    killed = beside.kill(LOCAL, agent or EVERYONE, reason, by)
    if killed.remark is not None:
        return _turned(run, killed, None, absent, processes)

    def behind(reader: Reader) -> tuple[RunningCall, ...]:
        return tuple(running_calls(reader, LOCAL, agent or EVERYONE, behind_http))

    # Only a process that has it open can hold its lock for long.
    more = beside.followed(lambda store: store.read(behind), RECORDING if processes else OPENING)
    if more is None:
        return _turned(run, killed, None, absent, processes)
    killed = msgspec.structs.replace(killed, recorded=True, running=(*killed.running, *more))
    asked = beside.followed(
        lambda store: store.read(lambda reader: _reached(store, reader, agent, processes)), OPENING
    )
    return _turned(run, killed, asked, absent, processes)


def _turned(run: Run, killed: Killed, reached: Reached | None, absent: str | None, processes: int) -> Turned:
    place = run.database()
    if absent is None and reached is None and not (processes or killed.running):
        absent = (
            f"The database {place} could not be read, and no process has it open, so it is unknown whether an "
            f"agent has used it. "
            f"Check again: {command('status', None)}"
        )
    elif absent is None and reached is not None and not (reached.used or reached.processes or killed.running):
        absent = never_used(place).message
    elif absent is None and reached is not None and reached.elsewhere and not reached.agents:
        absent = f"No agent of the organization {LOCAL} has used the database. {_not_stopped(reached)}"
    return Turned(killed, place, reached, absent)


def _not_stopped(reached: Reached) -> str:
    names = ", ".join(reached.elsewhere[:_NAMES])
    more = f" and {len(reached.elsewhere) - _NAMES} more" if len(reached.elsewhere) > _NAMES else ""
    return (
        f"Not stopped: agents of {names}{more}. The people of an organization stop its agents over the API."
    )


def _reached(store: Store, reader: Reader, agent: str | None, processes: int) -> Reached:
    alive = living(store, reader, time.time())
    named = {row.agent_id for row in reader.actions(LOCAL, limit=_NEWEST)}
    named |= {entry.name for entry in AGENTS.all(reader, LOCAL)}
    named |= {info.agent_id for info in keys(reader, LOCAL) if info.agent_id is not None}
    known = agent is None or agent in named or bool(reader.actions(LOCAL, agent_id=agent, limit=1))
    others = [runner for runner in reader.runners() if runner != store.runner and alive(runner)]
    heard = [runner for runner in others if not processes or behind_http(runner)]
    elsewhere = tuple(made.name for made in organizations(reader) if made.name != LOCAL)
    return Reached(frozenset(named), known, used(reader), processes + len(heard), elsewhere)


def standing(run: Run, agent: str | None) -> tuple[list[KillSwitchState], KillSwitchState | None]:
    """Return the switches that are on, and the one that stops this agent, or every agent.

    Raises:
        Refusal: there is no database.
    """
    beside = run.beside()
    if beside is not None:
        return beside.switches(LOCAL), beside.stopped(LOCAL, agent or EVERYONE)
    plane = run.existing(unused=True)
    state = plane.read(lambda reader: stopped(reader, plane.organization, agent or EVERYONE))
    return plane.kill_switches(), state


def asked(run: Run, agent: str | None, processes: int) -> Reached | None:
    """Return what there is to stop; None if the database cannot be read at once.

    Args:
        run: the command.
        agent: the agent, or None for every agent.
        processes: how many had the database open, before this command opened it.
    """
    beside = run.beside()
    if beside is None:
        plane = run.plane()
        return plane.read(lambda reader: _reached(plane.store, reader, agent, processes))
    return beside.followed(lambda store: store.read(lambda reader: _reached(store, reader, agent, processes)))


def unknown(agent: str, reached: Reached) -> str:
    """The text for a name that no agent has used."""
    near = closest(agent, reached.agents)
    return f"No agent called {agent} has used this database." + (
        f" Did you mean {' or '.join(near)}?" if near else ""
    )


def doubt(turned: Turned) -> str | None:
    """Return why this may have stopped no running call; None if it is certain that it did."""
    agent, reached = turned.killed.agent_id, turned.reached
    if turned.doubt is not None:
        return f"The switch is on, but it may have stopped no agent. {turned.doubt}"
    if turned.certain or agent is None:
        return None
    if reached is None:
        return (
            f"The switch for agent {agent} is on, but the database could not be read, so it is unknown whether "
            f"an agent of this name exists. "
            f"To stop every agent: {command('on', None)}"
        )
    return (
        f"{unknown(agent, reached)} So no running agent is stopped; the switch is on for an agent that starts "
        f"with this name later. "
        f"To stop every agent: {command('on', None)}"
    )


def closest(name: str, known: frozenset[str]) -> list[str]:
    """Return the known names that were probably meant, in any spelling, the nearest first."""

    def plain(text: str) -> str:
        return unicodedata.normalize("NFKC", text).strip().casefold().replace("_", "-").replace(" ", "-")

    plains: dict[str, list[str]] = {}
    for one in sorted(known):
        plains.setdefault(plain(one), []).append(one)
    return [one for found in difflib.get_close_matches(plain(name), plains, n=3) for one in plains[found]][:3]


def command(name: str, agent: str | None) -> str:
    """A command of ``kill-switch``, for people to type."""
    return f"ascend-guard kill-switch {name}" + ("" if agent is None else f" --agent {shlex.quote(agent)}")


def record(turned: Turned) -> dict[str, Any]:
    """The result for a program, besides the switch."""
    names = ("action_id", "agent_id", "pid", "begun", "since", "state")
    killed, reached = turned.killed, turned.reached
    calls = [{name: getattr(call, name) for name in names} for call in killed.running]
    agent = killed.agent_id
    return {
        "database": turned.place,
        "running": calls,
        "recorded": killed.recorded,
        "remark": killed.remark,
        "agents": None
        if reached is None
        else sorted(reached.agents if agent is None else {agent} & reached.agents),
        "processes": None if reached is None else reached.processes,
        "reached": turned.certain,
        "organizations_not_stopped": [] if reached is None else list(reached.elsewhere),
        "doubt": doubt(turned),
        "nearest_agents": []
        if reached is None or reached.known or agent is None
        else closest(agent, reached.agents),
    }


def headline(turned: Turned) -> Text:
    """The line that says who is stopped, and in which database."""
    whom = "every agent" if turned.killed.agent_id is None else f"agent {turned.killed.agent_id}"
    if turned.reached is not None and turned.reached.elsewhere:
        whom += f" of the organization {LOCAL},"
    if not turned.certain:
        return shown(f"■ The switch is on for {whom} in {turned.place}. It stops no known agent.", "bold red")
    return shown(
        f"■ Stopped: {whom} in {turned.place}. No call starts until the kill switch is off.", "bold red"
    )


def view(turned: Turned) -> Iterator[RenderableType]:
    """The further output for people."""
    killed = turned.killed
    if killed.remark is not None:
        yield shown(killed.remark, "yellow")
    elif not killed.recorded:
        yield shown(
            "It is not in the audit trail yet, because the database is locked. The next process that writes to the "
            "database records it.",
            "yellow",
        )
    if turned.reached is not None:
        yield shown(f"Reached: {_reach(turned.reached, killed.agent_id)}.")
        if turned.reached.elsewhere and turned.doubt is None:
            yield shown(_not_stopped(turned.reached), "yellow")
    begun = [call for call in killed.running if call.begun]
    held = len(killed.running) - len(begun)
    if begun:
        yield shown(
            f"{len(begun)} {'call was' if len(begun) == 1 else 'calls were'} already running and may still act; "
            f"streams stop at their next chunk:"
        )
        yield _table(begun)
    else:
        yield shown("No call was running.")
    if held:
        yield shown(
            f"{held} more {'was' if held == 1 else 'were'} about to start, and cannot start any more."
        )
    yield shown(f"When it is safe: {command('off', killed.agent_id)}")


def _reach(reached: Reached, agent: str | None) -> str:
    if agent is None:
        names = sorted(reached.agents)
        more = f", and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        said = f" ({', '.join(names[:_NAMES])}{more})" if names else ""
        agents = counted(len(names), "known agent") + said
    else:
        agents = f"agent {agent}, which is known here" if reached.known else "no agent that is known here"
    if not reached.processes:
        return f"{agents}; no process has the database open now"
    has = "has" if reached.processes == 1 else "have"
    return f"{agents}; {counted(reached.processes, 'process', 'processes')} {has} the database open now"


def _table(calls: list[RunningCall]) -> RenderableType:
    listed = table()
    listed.add_column("PID", justify="right", no_wrap=True)
    listed.add_column("Agent", no_wrap=True, ratio=2)
    listed.add_column("Action", justify="right", no_wrap=True)
    listed.add_column("Since", no_wrap=True)
    listed.add_column("Process", ratio=3)
    for call in calls:
        listed.add_row(
            "–" if call.pid is None else str(call.pid),
            cell(call.agent_id),
            Text(call.action_id, "bold"),
            Text(ago(timestamp(call.since)), "dim"),
            Text(_STATES.get(call.state, call.state)),
        )
    return listed


_STATES = {
    "stopped": "stopped: the call continues when the process is resumed",
    "ended": "ended",
    "unknown": "unknown (behind HTTP, or in another container)",
}
