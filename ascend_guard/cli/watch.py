"""Following what waits, for people on a terminal and for programs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .lookup import record
from .output import cell, print_json, risk, shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ascend_guard.engine.control_plane import EmbeddedControlPlane
    from ascend_guard.store.port import ActionRow

    from .context import Run

_TIDY_EVERY = 1.0
_MOST = 500


def follow(run: Run, interval: float) -> None:
    """Show what waits until Ctrl-C: a live table on a terminal, else a line for each that begins to wait.

    Args:
        run: the command.
        interval: seconds between two looks at the store.
    """
    try:
        if run.json or not run.out.is_terminal:
            _lines(run, interval)
        else:
            _table(run, interval)
    except KeyboardInterrupt:  # the way to leave
        pass


def _lines(run: Run, interval: float) -> None:
    seen: set[int] = set()
    while True:
        rows = _pending(run)
        for row in reversed(rows):
            if row.id in seen:
                continue
            if run.json:
                print_json(record(row, None), one_line=True)
            else:
                what = cell(row.action_type).append(" by ").append_text(cell(row.tool_name))
                what.append(" on ").append_text(cell(row.resource)).append(", agent ").append_text(
                    cell(row.agent_id)
                )
                what.append(", risk ").append_text(risk(row.risk_score, row.risk_level))
                run.out.print(f"{row.id} ", what, soft_wrap=True)
        seen = {row.id for row in rows}
        _pause(run, interval)


def _table(run: Run, interval: float) -> None:
    from rich.live import Live

    with Live(_screen(run), console=run.out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            _pause(run, interval)
            live.update(_screen(run), refresh=True)


def _pause(run: Run, interval: float) -> None:
    """Wait until something was committed, and at most a second: deadlines come nearer by themselves."""
    until = time.monotonic() + _TIDY_EVERY
    plane = _open(run)
    while time.monotonic() < until:
        time.sleep(interval)
        if plane is not None and plane.store.changed():
            return
    if plane is not None:
        plane.tidy()


def _open(run: Run) -> EmbeddedControlPlane | None:
    return run.awaited()


def _pending(run: Run) -> list[ActionRow]:
    plane = _open(run)
    if plane is None:
        return []
    return plane.read(lambda reader: reader.actions(plane.organization, status="pending", limit=_MOST))


def _screen(run: Run) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from .views import pending_table, switch_banner

    plane = _open(run)
    rows = _pending(run)
    run.named()
    room = max(1, (run.out.height - 10) // 2)
    parts: list[RenderableType] = [shown(f"Database: {run.database()}", "dim")]
    parts += switch_banner(plane.kill_switches()) if plane is not None else []
    if plane is None:
        parts.append(Text("No agent has made a governed call yet."))
    elif rows:
        # Those that have waited longest come first here: they are the next to fall due.
        first = rows[::-1][:room]
        so_far = plane.read(lambda reader: [len(reader.approvals(row.id)) for row in first])
        parts.append(pending_table(zip(first, so_far, strict=True), time.time()))
        if len(rows) > room:
            parts.append(Text(f"and {len(rows) - room} more", "yellow"))
    else:
        parts.append(Text("Nothing waits for a decision."))
    clock = time.strftime("%H:%M:%S")
    hint = f"\n{clock} · Ctrl-C leaves · decide elsewhere: ascend-guard approvals approve ID"
    return Group(*parts, Text(hint, "dim"))
