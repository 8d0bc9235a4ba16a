"""Lists of actions: the pending ones, all of them, and the earlier ones of a session, each with its important arguments."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.text import Text

from ascend_guard.cli.output import ago, badge, cell, risk, span
from ascend_guard.store.port import ActionRow

from .action_pages import with_lines
from .columns import Cell, Column, Listing, Row
from .essentials import Line
from .lookup import Listed

_WIDE = 100
_NARROW = 60
_NOW, _SOON = 120, 600


def state_of(row: ActionRow, outcome: str | None) -> str:
    """The word for the state of an action."""
    return row.status if row.status == "pending" or outcome is None else outcome


def call(action_type: str, tool_name: str) -> Text:
    """``refund by stripe``, for a list."""
    return Text.assemble(cell(action_type, "bold"), (" by ", "dim"), cell(tool_name))


def deadline(at: float | None, now: float, *, short: bool = False) -> Text:
    """The time that is left to decide."""
    if at is None:
        return Text("no deadline", "dim")
    left = at - now
    if left <= 0:
        return Text("overdue: denied", "red")
    words = span(left).split()[: 2 if short and left >= _SOON else 4]
    return Text(f"{' '.join(words)} left", "bold red" if left < _NOW else "yellow" if left < _SOON else "dim")


def action_lines(pages: Iterable[list[Listed]], width: int) -> Iterator[Text]:
    """Yield actions as they are read: one line each if the terminal is wide enough, else with a second line of
    arguments."""
    wide = width >= _WIDE
    columns = [Column("ID", right=True), Column("Status", least=11), Column("Call", 3)]
    columns += [Column("Resource", 2), Column("Arguments", 4)] if wide else []
    columns += [
        Column("Agent", 2),
        Column("Risk", right=True, least=11),
        Column("Asked", right=True, least=9),
    ]

    def rows() -> Iterator[Row]:
        for page in pages:
            for one, arguments in with_lines(page):
                row = one.row
                beside: list[Cell] = [cell(row.resource, "dim"), arguments] if wide else []
                line: list[Cell] = [
                    Text(str(row.id)),
                    badge(state_of(row, one.outcome)),
                    call(row.action_type, row.tool_name),
                    *beside,
                    cell(row.agent_id),
                    risk(row.risk_score, row.risk_level),
                    Text(ago(row.created_at), "dim"),
                ]
                yield Row([line], None if wide else arguments)

    return Listing(columns, width).lines(rows())


def pending_lines(pages: Iterable[list[Listed]], width: int) -> Iterator[Text]:
    """Yield pending actions, as they are read."""
    now = time.time()
    rows = (pending_row(one, arguments, now, width) for page in pages for one, arguments in with_lines(page))
    return pending_listing(width).lines(rows)


def pending_listing(width: int) -> Listing:
    """The columns of pending actions."""
    if width < _NARROW:
        return Listing([Column("ID", right=True), Column("What wants to run", 1), Column("Left")], width)
    columns = [Column("ID", right=True), Column("What wants to run", 5), Column("Agent, session", 3)]
    return Listing([*columns, Column("Risk"), Column("Asked, left"), Column("Yes", right=True)], width)


def pending_row(one: Listed, arguments: Line, now: float, width: int, *, selected: bool | None = None) -> Row:
    """One pending action: what, for whom and until when, on two lines; below them, the important arguments.

    Args:
        one: the action.
        arguments: the important arguments.
        now: seconds since the epoch.
        width: the width of the terminal.
        selected: whether keys act on it; None in a list without selection.
    """
    row = one.row
    number = Text(str(row.id), "bold reverse" if selected else "bold")
    if selected is not None:
        number = Text("▸ " if selected else "  ", "bold").append_text(number)
    what, nothing = call(row.action_type, row.tool_name), Text()
    left = deadline(row.expires_at, now, short=True)
    if width < _NARROW:
        whose = Text.assemble(cell(row.resource), (" for ", "dim"), cell(row.agent_id), style="dim")
        return Row([[number, what, left], [nothing, whose, badge(row.risk_level)]], arguments)
    first = [
        number,
        what,
        cell(row.agent_id),
        badge(row.risk_level),
        Text(ago(row.created_at, now)),
        Text(f"{one.approvals} of {row.quorum or 1}"),
    ]
    score = Text(f"{row.risk_score:.0f}", "dim")
    second = [nothing, cell(row.resource, "dim"), cell(row.session_id, "dim"), score, left, nothing]
    return Row([first, second], arguments)


def history_lines(calls: list[Listed], width: int) -> Iterator[Text]:
    """Yield the calls of a session or an agent: one line each; the arguments on a second line if they do not fit."""
    wide = width >= _WIDE
    columns = [Column("", right=True), Column("", least=11), Column("", 3), Column("", 2)]
    columns += [Column("", 4)] if wide else []

    def rows() -> Iterator[Row]:
        for one, arguments in with_lines(calls):
            row = one.row
            line: list[Cell] = [
                Text(str(row.id), "dim"),
                badge(state_of(row, one.outcome)),
                call(row.action_type, row.tool_name),
                Text.assemble(cell(row.resource, "dim"), (f"  {ago(row.created_at)}", "dim")),
                *([arguments] if wide else []),
            ]
            yield Row([line], None if wide else arguments)

    return Listing(columns, width).lines(rows(), headings=False)
