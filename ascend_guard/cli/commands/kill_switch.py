"""``ascend-guard kill-switch``: stop every agent, or one agent, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ascend_guard.cli.command import YesOption, command
from ascend_guard.cli.context import Declined, Refusal, Run, approver
from ascend_guard.errors import StoreError

if TYPE_CHECKING:
    from ascend_guard.engine.control_plane import EmbeddedControlPlane
    from ascend_guard.model import KillSwitchState

app = typer.Typer(
    help="Stop every agent, or one agent, at once.", no_args_is_help=True, rich_markup_mode="rich"
)


def _an_agent(value: str | None) -> str | None:
    # An empty shell variable must not turn "this agent" into "every agent".
    if value is not None and not value.strip():
        raise typer.BadParameter("it is empty. Name an agent, or remove --agent to mean every agent.")
    return value


AgentOption = Annotated[
    str | None,
    typer.Option(
        "--agent", metavar="ID", callback=_an_agent, help="This agent only; by default every agent."
    ),
]


@command(app, "on")
def on(
    run: Run,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason", "-r", metavar="TEXT", help="The reason, shown to agents and people. Please give one."
        ),
    ] = None,
    agent: AgentOption = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Accepted, without effect: stopping never asks for confirmation."),
    ] = False,
) -> int:
    """Stop now, without confirmation. Once it returns, no call starts, waits end, streams stop at their next chunk.

    The exit status is 1, although the switch is on, when it stops no agent that is known here.
    """
    from . import kill_switch_on

    who = approver()
    try:
        turned = kill_switch_on.turn_on(run, agent, reason or f"{who} turned it on without a reason", who)
    except Refusal as refusal:
        raise Refusal(f"NOT stopped. {refusal.message}", refusal.code) from None
    except StoreError as error:
        if error.message.startswith(("NOT stopped", "The kill switch")):  # it states the switch
            raise
        raise StoreError(f"NOT stopped. {error.message}", remedy=error.remedy) from error
    run.emit(_record(turned.killed) | kill_switch_on.record(turned))
    run.named()
    doubt = kill_switch_on.doubt(turned)
    if doubt is not None and not run.json:
        run.warn(doubt)
    run.line(kill_switch_on.headline(turned))
    run.say(*kill_switch_on.view(turned))
    return 0 if turned.certain else 1


@command(app, "off")
def off(
    run: Run,
    reason: Annotated[
        str | None, typer.Option("--reason", "-r", metavar="TEXT", help="The reason why it is safe again.")
    ] = None,
    agent: AgentOption = None,
    yes: YesOption = False,
) -> None:
    """Turn the kill switch off. Shows why agents were stopped and asks for confirmation."""
    from .kill_switch_on import command as typed

    how = typed("off", agent).removeprefix("ascend-guard ")
    if not yes:
        run.require_person(how)
    who = approver()
    plane = run.existing(unused=True)
    pulled = [state for state in plane.kill_switches() if state.agent_id == agent]
    if pulled and not yes:
        from ascend_guard.cli.screen.views import switch_banner

        for line in switch_banner(pulled):
            run.err.print(line)
        if not run.confirm(f"Turn the kill switch off for {_whom(agent)}, as {who}?"):
            raise Declined("Still on.")
    plane.release(reason=reason or f"{who} turned it off without a reason", by=who, agent_id=agent)
    left = _stopping(plane, agent)
    run.emit(_record(left) | {"released_by": who})
    if not run.json:
        from ascend_guard.cli.output import shown
        from ascend_guard.cli.screen.views import switch_banner

        run.line(shown(f"Released: {_whom(agent)} of {run.database()}. Recorded as {who}'s decision."))
        run.named()
        if left is not None:
            run.say(*switch_banner([left]), "It stops that agent as well.")


@command(app, "status")
def status(run: Run, agent: AgentOption = None) -> int:
    """Show who is stopped, since when and why. The exit status is 1 when that is no agent that is known here."""
    from ascend_guard.cli.databases import never_used

    from .kill_switch_on import asked, standing, unknown

    run.require_database()
    processes = run.others()
    switches, state = standing(run, agent)
    reached = asked(run, agent, processes)
    doubt = None
    if reached is not None and not reached.used and not reached.processes:
        doubt = never_used(run.database()).message
    elif reached is not None and agent is not None and not reached.known:
        doubt = unknown(agent, reached)
    run.emit(_record(state) | {"kill_switches": [_record(switch) for switch in switches], "doubt": doubt})
    if not run.json:
        from ascend_guard.cli.output import shown
        from ascend_guard.cli.screen.views import switch_banner

        run.say(*switch_banner(switches))
        if agent is not None:
            run.say(
                shown(f"Agent {agent} is {'stopped' if state else 'not stopped'}.", "" if state else "green")
            )
        elif not switches:
            run.say(shown("The kill switch is off.", "green"))
        if doubt is not None:
            run.warn(doubt)
    return 0 if doubt is None else 1


def _stopping(plane: EmbeddedControlPlane, agent: str | None) -> KillSwitchState | None:
    """Return the switch that stops this agent; without an agent, the switch for all."""
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
