"""Follow pending actions, for people on a terminal and for programs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ascend_guard.cli.output import cell, print_json, risk, shown
from ascend_guard.cli.screen.decision import Changes
from ascend_guard.cli.screen.essentials import Line
from ascend_guard.cli.screen.lookup import arguments_of, listed, record
from ascend_guard.cli.screen.review import longest_waiting

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from ascend_guard.cli.context import Run
    from ascend_guard.engine.control_plane import EmbeddedControlPlane
    from ascend_guard.store.port import ActionRow

_MOST = 10_000
_ROOM = 200


def follow(run: Run, interval: float, *, bell: bool = True) -> None:
    """Show pending actions until the person leaves: a screen on a terminal, else one line for each new pending action.

    Args:
        run: the command.
        interval: seconds between two reads of the store.
        bell: ring the terminal's bell for each new pending action.
    """
    from ascend_guard.cli.screen.terminal import has_keyboard

    try:
        if run.json or not run.out.is_terminal:
            _lines(run, interval)
        elif has_keyboard() and not run.out.is_dumb_terminal:
            from ascend_guard.cli.screen.watching import Watch

            try:
                Watch(run, lambda: _open(run), interval, bell=bell).run()
            finally:
                run.named()  # on the screen
        else:
            _table(run, interval)
    except KeyboardInterrupt:  # the way to leave
        pass


def _lines(run: Run, interval: float) -> None:
    seen: set[int] = set()
    changes = Changes(lambda: _open(run))
    while True:
        rows = _pending(run)
        for row in rows:
            if row.id in seen:
                continue
            if run.json:
                print_json(record(row, None), one_line=True)
            else:
                run.out.print(_line(run, row), soft_wrap=True)
        seen = {row.id for row in rows}
        _pause(changes, interval)


def _line(run: Run, row: ActionRow) -> Text:
    """A new pending action, as one line."""
    from rich.text import Text

    plane = run.plane()
    arguments = Line(plane.read(lambda reader: arguments_of(reader, row))).fit(_ROOM)
    return Text.assemble(
        (f"{row.id} ", "bold"), cell(row.action_type), " by ", cell(row.tool_name), " on ", cell(row.resource),
        ", agent ", cell(row.agent_id), ", risk ", risk(row.risk_score, row.risk_level), ", ", arguments,
    )  # fmt: skip


def _table(run: Run, interval: float) -> None:
    """The list alone, where no key can be pressed."""
    from rich.live import Live

    changes = Changes(lambda: _open(run))
    with Live(_screen(run), console=run.out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            _pause(changes, interval)
            live.update(_screen(run), refresh=True)


def _pause(changes: Changes, interval: float) -> None:
    """Wait until something was committed, at most a second, because the time to the deadlines changes."""
    while True:
        time.sleep(interval)
        if changes.due():
            return


def _open(run: Run) -> EmbeddedControlPlane | None:
    return run.awaited()


def _pending(run: Run) -> list[ActionRow]:
    plane = _open(run)
    if plane is None:
        return []
    return plane.read(lambda reader: longest_waiting(reader, plane.organization, _MOST))


def _screen(run: Run) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ascend_guard.cli.screen.action_lists import pending_lines
    from ascend_guard.cli.screen.views import switch_banner

    plane = _open(run)
    rows = _pending(run)
    run.named()
    room = max(1, (run.out.height - 8) // 3)
    parts: list[RenderableType] = [shown(f"Database: {run.database()}", "dim")]
    parts += switch_banner(plane.kill_switches()) if plane is not None else []
    if plane is None:
        parts.append(Text("No agent has made a governed call yet."))
    elif rows:
        page = plane.read(lambda reader: [listed(reader, row) for row in rows[:room]])
        parts += pending_lines([page], run.out.width)
        if len(rows) > room:
            parts.append(Text(f"and {len(rows) - room} more", "yellow"))
    else:
        parts.append(Text("No action waits for a decision."))
    clock = time.strftime("%H:%M:%S")
    hint = f"\n{clock} · Ctrl-C leaves · decide elsewhere: ascend-guard approvals review"
    return Group(*parts, Text(hint, "dim"))
