"""``ascend-guard actions``: list and show what agents requested, the decisions and the outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from ascend_guard.cli.command import command
from ascend_guard.cli.context import Run

if TYPE_CHECKING:
    from rich.text import Text

    from ascend_guard.cli.screen.lookup import Listed
    from ascend_guard.engine.control_plane import EmbeddedControlPlane

app = typer.Typer(
    help="List actions: what agents requested, the decisions and the outcomes.",
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
    agent: Annotated[str | None, typer.Option(metavar="ID", help="Only actions of this agent.")] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only actions of this session.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most actions to show.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many of the newest to skip.")] = 0,
) -> None:
    """List actions, newest first."""
    from ascend_guard.cli.screen.lookup import find, records

    plane = run.existing()
    if run.json:
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
        return
    run.stream(_lines(run, plane, status, agent, session, limit, offset))


def _lines(
    run: Run,
    plane: EmbeddedControlPlane,
    status: str | None,
    agent: str | None,
    session: str | None,
    limit: int,
    offset: int,
) -> Iterator[Text]:
    """Yield the list as it is read, and below it the number of actions."""
    from rich.text import Text

    from ascend_guard.cli.screen.action_lists import action_lines
    from ascend_guard.cli.screen.action_pages import walk
    from ascend_guard.cli.screen.lookup import OUTCOMES

    count = 0

    def counted() -> Iterator[list[Listed]]:
        nonlocal count
        # One more than is shown says whether there are more; counting them all would mean reading them all.
        for page in walk(
            plane, status=status, agent_id=agent, session_id=session, limit=limit + 1, offset=offset
        ):
            page = page[: limit + 1 - count]
            count += len(page)
            yield page[: len(page) - max(0, count - limit)]

    lines = action_lines(counted(), run.out.width)
    headings = [next(lines), next(lines)]  # reads the first rows
    if count == 0:
        narrowed = status or agent or session or offset
        yield Text("No such actions." if narrowed else "No actions yet: no agent has made a governed call.")
        return
    yield from headings
    yield from lines
    shown, more = f"{min(count, limit):,}", ""
    if count > limit:
        if session is None and status not in OUTCOMES:
            total = plane.read(
                lambda reader: reader.count_actions(plane.organization, status=status, agent_id=agent)
            )
            shown += f" of {total:,}"
        more = f", more with --offset {offset + limit}"
    elif offset:
        shown += f" of {count + offset:,}"
    noun = "action" if count == 1 and not offset else "actions"
    hint = f"{shown} {noun}{more}. One in full: ascend-guard actions show ID"
    yield Text()
    yield from Text(hint, "dim").wrap(run.out, run.out.width)


@command(app, "show")
def show(run: Run, action_id: Annotated[str, typer.Argument(metavar="ID", help="The action.")]) -> None:
    """Show one action in full: the call, the agent, its risk, its arguments, and its audit trail."""
    from ascend_guard.cli.screen.details import details_of
    from ascend_guard.cli.screen.lookup import full_record

    details = details_of(run, action_id)
    run.emit(full_record(details))
    if not run.json:
        from ascend_guard.cli.screen.columns import as_lines
        from ascend_guard.cli.screen.views import action_view, timeline

        trail = timeline(details.trail, run.out.width)
        run.stream(chain(as_lines(run.out, action_view(details)), trail))
