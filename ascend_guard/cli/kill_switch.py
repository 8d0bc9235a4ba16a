"""``ascend-guard kill-switch``: stop every agent, or one, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .command import YesOption, command
from .context import Declined, Refusal, Run, approver, nothing_yet

if TYPE_CHECKING:
    from ascend_guard.engine.control_plane import EmbeddedControlPlane
    from ascend_guard.model import KillSwitchState

app = typer.Typer(help="Stop every agent, or one, at once.", no_args_is_help=True, rich_markup_mode="rich")


def _an_agent(value: str | None) -> str | None:
    # An empty shell variable must not turn "this agent" into "every agent".
    if value is not None and not value.strip():
        raise typer.BadParameter("it is empty. Name an agent, or leave --agent out to mean every agent.")
    return value


AgentOption = Annotated[
    str | None,
    typer.Option("--agent", metavar="ID", callback=_an_agent, help="This agent only; else every agent."),
]


@command(app, "on")
def on(
    run: Run,
    reason: Annotated[
        str | None,
        typer.Option("--reason", "-r", metavar="TEXT", help="Why: agents and people are told. Please say."),
    ] = None,
    agent: AgentOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Accepted for habit's sake: stopping never asks.")
    ] = False,
) -> None:
    """Stop now. Never asks: no call starts once this returns, waits end, streams stop at their next chunk."""
    from . import killing

    missing = run.missing()
    who = approver()
    killed, known = killing.turn_on(run, agent, reason or f"{who} pulled it and gave no reason", who)
    run.emit(_record(killed) | killing.record(killed))
    killing.warn(run, agent, missing, known)
    run.say(*killing.view(killed, f"ascend-guard kill-switch off{_agent_option(agent)}"))


@command(app, "off")
def off(
    run: Run,
    reason: Annotated[
        str | None, typer.Option("--reason", "-r", metavar="TEXT", help="Why it is safe again.")
    ] = None,
    agent: AgentOption = None,
    yes: YesOption = False,
) -> None:
    """Let agents go on. Shows why they were stopped and asks first."""
    how = f"kill-switch off{_agent_option(agent)}"
    if not yes:
        run.require_person(how)
    who = approver()
    plane = run.existing()
    if plane is None:
        raise Refusal(nothing_yet(run.database()), 1)
    pulled = [state for state in plane.kill_switches() if state.agent_id == agent]
    if pulled and not yes:
        from .views import switch_banner

        for line in switch_banner(pulled):
            run.err.print(line)
        if not run.confirm(f"Let {_whom(agent)} go on, as {who}?"):
            raise Declined("Still on.")
    plane.release(reason=reason or f"{who} released it and gave no reason", by=who, agent_id=agent)
    left = _stopping(plane, agent)
    run.emit(_record(left) | {"released_by": who})
    if not run.json:
        from .output import shown
        from .views import switch_banner

        run.say(shown(f"Released: {_whom(agent)}. Recorded as {who}'s decision."))
        if left is not None:
            run.say(*switch_banner([left]), "It stops that agent as well.")


@command(app, "status")
def status(run: Run, agent: AgentOption = None) -> None:
    """Say who is stopped, since when and why."""
    from .killing import standing

    missing = run.missing()
    switches, state = ([], None) if missing else standing(run, agent)
    run.emit(_record(state) | {"kill_switches": [_record(switch) for switch in switches]})
    if run.json:
        return
    from .output import shown
    from .views import switch_banner

    run.say(*switch_banner(switches))
    if agent is not None:
        run.say(shown(f"Agent {agent} is {'stopped' if state else 'not stopped'}.", "" if state else "green"))
    elif not switches:
        run.say(shown("The kill switch is off.", "green"))
    if missing:
        run.say(nothing_yet(run.database()))


def _stopping(plane: EmbeddedControlPlane, agent: str | None) -> KillSwitchState | None:
    """The switch that stops this agent; without one, the switch for all."""
    from ascend_guard.engine.kill import EVERYONE, stopped

    return plane.read(lambda reader: stopped(reader, plane.organization, agent or EVERYONE))


def _record(state: KillSwitchState | None) -> dict[str, Any]:
    if state is None:
        return {"blocked": False, "reason": None}
    return {
        "blocked": state.blocked,
        "reason": state.reason,
        "agent_id": state.agent_id,
        "activated_at": state.activated_at,
        "activated_by": state.activated_by,
    }


def _whom(agent: str | None) -> str:
    return "every agent" if agent is None else f"agent {agent}"


def _agent_option(agent: str | None) -> str:
    import shlex

    return "" if agent is None else f" --agent {shlex.quote(agent)}"
