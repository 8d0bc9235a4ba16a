"""``ascend-guard actions``: what agents asked, what was decided, what came of it."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import command
from .context import Run

app = typer.Typer(
    help="What agents asked, what was decided, and what came of it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_STATUSES = (
    "pending",
    "approved",
    "denied",
    "running",
    "completed",
    "failed",
    "handed_over",
    "unknown",
    "blocked",
)


def _a_status(value: str | None) -> str | None:
    if value is not None and value not in _STATUSES:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(_STATUSES)}.")
    return value


@command(app, "list")
def list_(
    run: Run,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            callback=_a_status,
            help="A decision (pending, approved, denied), or an outcome (running, completed, failed, "
            "handed_over, unknown, blocked).",
        ),
    ] = None,
    agent: Annotated[str | None, typer.Option(metavar="ID", help="Only this agent's.")] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only this session's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many of the newest to leave out.")] = 0,
) -> None:
    """List actions, newest first."""
    from .lookup import find, records

    plane = run.existing()
    found = plane.read(
        lambda reader: find(
            reader,
            plane.organization,
            status=status,
            agent_id=agent,
            session_id=session,
            limit=limit,
            offset=offset,
        )
    )
    run.emit(records(found, limit, offset))
    if run.json:
        return
    from rich.text import Text

    from .views import action_table

    if not found.rows:
        narrowed = status or agent or session or offset
        run.say("No such actions." if narrowed else "No actions yet: no agent has made a governed call.")
        return
    run.say(action_table(zip(found.rows, found.outcomes, strict=True), run.out.width))
    shown = f"{len(found.rows)} of {found.total:,}" if found.total > len(found.rows) else f"{found.total:,}"
    more = f", more with --offset {offset + limit}" if offset + len(found.rows) < found.total else ""
    run.say(Text(f"\n{shown} actions{more}. One in full: ascend-guard actions show ID", "dim"))


@command(app, "show")
def show(run: Run, action_id: Annotated[str, typer.Argument(metavar="ID", help="The action.")]) -> None:
    """Show one action in full: what was asked, by whom, its risk, its arguments, and its audit trail."""
    from .approvals import details_of
    from .lookup import full_record

    details = details_of(run, action_id)
    run.emit(full_record(details))
    if not run.json:
        from .views import action_view, timeline

        run.say(*action_view(details), timeline(details.trail))
