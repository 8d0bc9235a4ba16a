"""Turning the kill switch on from the command line, and saying what it did not stop.

Neither this nor ``status`` waits for a lock of the database that a stopped process may hold; see ``store.beside``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.text import Text

from ascend_guard.engine.agents import AGENTS
from ascend_guard.engine.control_plane import LOCAL
from ascend_guard.engine.kill import EVERYONE, stopped
from ascend_guard.engine.presence import behind_http
from ascend_guard.model import Killed, KillSwitchState, RunningCall
from ascend_guard.store.port import Reader, running_calls

from .context import Run
from .output import ago, cell, shown, table, timestamp

_NEWEST = 1000
"""Actions that are asked for the names of agents."""


class Aftermath(Struct, frozen=True):
    """What the database says once a switch is on.

    Args:
        agents: names that it knows.
        behind: calls of agents behind HTTP that are running.
    """

    agents: set[str]
    behind: tuple[RunningCall, ...] = ()


def turn_on(run: Run, agent: str | None, reason: str, by: str) -> tuple[Killed, set[str] | None]:
    """Turn the switch on; the agents that the database knows, where that can be had at once."""
    beside = run.beside()
    if beside is None:
        plane = run.plane()
        killed = plane.kill(reason=reason, by=by, agent_id=agent)
        return killed, plane.read(_agents)
    killed = beside.kill(LOCAL, agent or EVERYONE, reason, by)
    if killed.remark is not None:
        return killed, None

    def ask(reader: Reader) -> Aftermath:
        return Aftermath(_agents(reader), tuple(running_calls(reader, LOCAL, agent or EVERYONE, behind_http)))

    after = beside.followed(lambda store: store.read(ask))
    if after is None:
        return killed, None
    running = (*killed.running, *after.behind)
    return msgspec.structs.replace(killed, recorded=True, running=running), after.agents


def standing(run: Run, agent: str | None) -> tuple[list[KillSwitchState], KillSwitchState | None]:
    """The switches that are on, and the one that stops this agent, or every agent."""
    beside = run.beside()
    if beside is not None:
        return beside.switches(LOCAL), beside.stopped(LOCAL, agent or EVERYONE)
    plane = run.existing()
    if plane is None:
        return [], None
    state = plane.read(lambda reader: stopped(reader, plane.organization, agent or EVERYONE))
    return plane.kill_switches(), state


def warn(run: Run, agent: str | None, missing: Path | None, known: set[str] | None) -> None:
    """Say when this may have stopped nothing that runs."""
    if missing:
        run.warn(
            f"There was no database at {missing} until now, so no agent has used it yet. "
            f"If agents are running, they use another one: check with ascend-guard doctor."
        )
    elif agent is not None and known is not None and agent not in known:
        near = difflib.get_close_matches(agent, known, n=3)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        run.warn(
            f"No agent called {agent} has used this database yet, so no agent that runs is stopped.{meant} "
            f"To stop every agent: ascend-guard kill-switch on"
        )


def record(killed: Killed) -> dict[str, Any]:
    """What a program is told besides the switch."""
    names = ("action_id", "agent_id", "pid", "begun", "since", "state")
    calls = [{name: getattr(call, name) for name in names} for call in killed.running]
    return {"running": calls, "recorded": killed.recorded, "remark": killed.remark}


def view(killed: Killed, off: str) -> Iterator[RenderableType]:
    """What people are told."""
    whom = "every agent" if killed.agent_id is None else f"agent {killed.agent_id}"
    yield shown(f"■ Stopped: {whom}. No call starts until the kill switch is off.", "bold red")
    if killed.remark is not None:
        yield shown(killed.remark, "yellow")
    elif not killed.recorded:
        yield shown(
            "The audit trail does not have it yet, because the database is locked. The next process that writes to the "
            "database records it.",
            "yellow",
        )
    begun = [call for call in killed.running if call.begun]
    held = len(killed.running) - len(begun)
    if begun:
        yield shown(
            f"{len(begun)} {'call was' if len(begun) == 1 else 'calls were'} running already and may still act; "
            f"streams stop at their next chunk:"
        )
        yield _table(begun)
    else:
        yield shown("No call was running.")
    if held:
        yield shown(
            f"{held} more {'was' if held == 1 else 'were'} held up before starting, and cannot start any more."
        )
    yield shown(f"When it is safe: {off}")


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
    "stopped": "stopped: the call goes on when the process is resumed",
    "ended": "ended",
    "unknown": "unknown (behind HTTP, or in another container)",
}


def _agents(reader: Reader) -> set[str]:
    newest = {row.agent_id for row in reader.actions(LOCAL, limit=_NEWEST)}
    return newest | {entry.name for entry in AGENTS.all(reader, LOCAL)}
