"""``ascend-guard approvals``: show pending actions, and decide them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ascend_guard.cli.command import YesOption, command, typed_duration, typed_edits
from ascend_guard.cli.context import Declined, Run, approver
from ascend_guard.cli.screen.details import details_of

if TYPE_CHECKING:
    from rich.text import Text

    from ascend_guard.cli.screen.lookup import Details, Listed
    from ascend_guard.engine.control_plane import EmbeddedControlPlane

app = typer.Typer(
    help="Show the actions that wait for a person, and decide them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

ActionArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The action, as `approvals list` shows it.")
]
CommentOption = Annotated[
    str | None, typer.Option("--comment", "-m", metavar="TEXT", help="The reason, for the audit trail.")
]

_SHORT = 40


@command(app, "list")
def list_(
    run: Run,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most actions to show.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many of the newest to skip.")] = 0,
) -> None:
    """List pending actions, newest first."""

    from ascend_guard.cli.screen.lookup import find, records

    plane = run.existing()
    if run.json:
        found = plane.read(
            lambda reader: find(reader, plane.organization, status="pending", limit=limit, offset=offset)
        )
        run.emit(records(found, limit, offset))
        return
    run.stream(_lines(run, plane, limit, offset))


def _lines(run: Run, plane: EmbeddedControlPlane, limit: int, offset: int) -> Iterator[Text]:
    """Yield the pending actions as they are read, and below them what to do next."""
    from rich.text import Text

    from ascend_guard.cli.screen.action_lists import pending_lines
    from ascend_guard.cli.screen.action_pages import walk
    from ascend_guard.cli.screen.views import switch_banner

    width, count, last = run.out.width, 0, 0

    def counted() -> Iterator[list[Listed]]:
        nonlocal count, last
        for page in walk(plane, status="pending", limit=limit, offset=offset):
            count, last = count + len(page), page[-1].row.id
            yield page

    for banner in switch_banner(plane.kill_switches()):
        yield from banner.wrap(run.out, width)
    lines = pending_lines(counted(), width)
    headings = [next(lines), next(lines)]  # reads the first rows
    if count == 0:
        yield Text("No action waits for a decision.")
        return
    yield from headings
    yield from lines
    total = plane.read(lambda reader: reader.count_actions(plane.organization, status="pending"))
    yield Text()
    if total > count:
        yield Text(f"{count:,} of {total:,} shown.", "yellow")
    hint = f"Decide one after the other: ascend-guard approvals review. One: approvals approve {last}, or deny {last} -m WHY"
    yield from Text(hint, "dim").wrap(run.out, width)


@command(app, "show")
def show(run: Run, action_id: ActionArgument) -> None:
    """Show one action in full, with the earlier calls of its session."""
    from ascend_guard.cli.screen.lookup import full_record

    details = details_of(run, action_id)
    run.emit(full_record(details))
    if not run.json:
        from ascend_guard.cli.screen.views import action_view

        run.say(*action_view(details))


@command(app, "approve")
def approve(
    run: Run,
    action_id: ActionArgument,
    comment: CommentOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=JSON",
            help="Run with this argument value instead. The policy judges it here, and the whole edited call, with its "
            "resource described again, when it runs. Repeatable.",
        ),
    ] = None,
    yes: YesOption = False,
) -> None:
    """Approve an action. Shows what will run and asks for confirmation."""
    from ascend_guard.cli.screen.argument_tree import Brief
    from ascend_guard.cli.screen.views import action_view

    edits = typed_edits(set_ or [])
    how = f"approvals approve {action_id}"
    if not yes:
        run.require_person(how)
    details = details_of(run, action_id)
    who = approver()
    while details.row.status == "pending" and not (yes and run.json):
        brief = Brief(f"ascend-guard actions show {details.row.id}")
        for part in action_view(details, edits=edits, brief=brief):
            run.err.print(part)
        if yes:
            run.err.print()
            break
        row = details.row
        what = f"{_short(row.action_type)} by {_short(row.tool_name)} for {_short(row.agent_id)}"
        if not run.confirm(f"Approve action {row.id}, {what}, as {who}?"):
            raise Declined(f"Not approved: action {row.id} is still pending.")
        fresh = details_of(run, action_id)
        if _what_runs(fresh) == _what_runs(details):
            break
        run.warn("The action changed while you were looking. This is its present state:")
        details = fresh
    plane = run.plane(judging=bool(edits))
    plane.approve(
        str(details.row.id), approver=who, comment=comment, arguments=edits or None, seen=details.row
    )
    _report_approval(run, details_of(run, action_id), who)


@command(app, "deny")
def deny(run: Run, action_id: ActionArgument, comment: CommentOption = None) -> None:
    """Deny an action. It will not run, and the same call is denied as well until the denial ends."""
    from ascend_guard.cli.screen.lookup import find_row, record

    details = details_of(run, action_id)
    who = approver()
    plane = run.plane()
    plane.deny(str(details.row.id), approver=who, comment=comment)
    row = plane.read(lambda reader: find_row(reader, plane.organization, action_id))
    run.emit(record(row, None) | {"denial_reason": row.reason, "denied_by": who})
    if not run.json:
        from ascend_guard.cli.output import shown

        run.say(shown(f"Denied: action {row.id} will not run. Recorded as {who}'s decision."))


@command(app, "clear-denial")
def clear_denial(
    run: Run, action_id: ActionArgument, comment: CommentOption = None, yes: YesOption = False
) -> None:
    """Clear a denial that still answers the same call. The call made again waits for a person."""
    from ascend_guard.cli.output import shown
    from ascend_guard.cli.screen.lookup import find_row, record

    if not yes:
        run.require_person(f"approvals clear-denial {action_id}")
    details = details_of(run, action_id)
    who, row = approver(), details.row
    if not yes and not run.confirm(
        f"Clear the denial of action {row.id}, as {who}, so that the call is decided again?"
    ):
        raise Declined(f"Not cleared: the denial of action {row.id} is still in force.")
    plane = run.plane()
    plane.clear_denial(str(row.id), by=who, comment=comment)
    row = plane.read(lambda reader: find_row(reader, plane.organization, action_id))
    run.emit(record(row, None) | {"cleared_by": who})
    if not run.json:
        run.say(
            shown(
                f"Cleared: the denial of action {row.id} no longer answers the same call. The call made again "
                f"waits for a "
                f"person. Recorded as {who}'s decision."
            )
        )


@command(app, "watch")
def watch(
    run: Run,
    interval: Annotated[
        Any,
        typer.Option(
            metavar="DURATION",
            parser=typed_duration(0.02, 60, unit="s"),
            help="Time between two reads of the database, such as 100ms or 2s.",
        ),
    ] = "100ms",
    bell: Annotated[
        bool, typer.Option("--bell/--no-bell", help="Ring the terminal's bell for each new pending action.")
    ] = True,
) -> None:
    """Watch pending actions live, and decide them. In a pipe or with --json: one line for each new pending action."""
    from .approvals_watch import follow

    follow(run, interval, bell=bell)


@command(app, "review")
def review_(run: Run) -> None:
    """Review the pending actions one after the other, and decide with single keys."""
    from ascend_guard.cli.screen.review import review

    review(run)


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else text[:_SHORT] + "…"


def _what_runs(details: Details) -> tuple[object, ...]:
    row = details.row
    return row.status, row.edits, row.rule, row.quorum, row.requirements


def _report_approval(run: Run, details: Details, who: str) -> None:
    from ascend_guard.cli.output import shown
    from ascend_guard.cli.screen.lookup import record
    from ascend_guard.engine.approvers import normal, people
    from ascend_guard.model import iso

    row = details.row
    mine = [
        (given.comment, iso(given.at)) for given in details.approvals if normal(given.approver) == normal(who)
    ]
    comment, at = mine[-1] if mine else (None, iso(row.decided_at or row.created_at))
    run.emit(record(row, details.outcome) | {"approved_by": who, "approved_at": at, "comments": comment})
    if row.status == "pending":
        said = f"{who}'s approval of action {row.id} is recorded: {len(people(details.approvals))} of {row.quorum}."
        said += " The action is still pending."
    else:
        said = f"Approved: action {row.id} may run once, as it was shown. Recorded as {who}'s decision."
    run.say(shown(said))
    if details.edits:
        run.say(
            shown(
                "The agent's process describes the edited call again when it runs: its policy judges resource, risk and "
                "arguments, and may deny it or ask for more approval. Values that do not match the tool's "
                "types are refused."
            )
        )
    if details.switch is not None:
        run.warn("The kill switch is on: no call runs until it is off.")
