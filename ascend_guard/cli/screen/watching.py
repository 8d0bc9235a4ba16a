"""Pending actions live on the whole screen: scroll, open one action, decide it. New ones ring the bell.

In the list no key decides anything: Enter opens the selected action, and it is decided there (``decision``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.text import Text

from ascend_guard.cli.context import approver
from ascend_guard.cli.output import shown

from .action_lists import pending_listing, pending_row
from .action_pages import with_lines
from .decision import LEFT, Changes, Decision, hints
from .lookup import listed
from .review import longest_waiting
from .terminal import DOWN, END, ENTER, ESCAPE, GONE, HOME, PAGE_DOWN, PAGE_UP, UP, Terminal
from .views import switch_banner

if TYPE_CHECKING:
    from ascend_guard.cli.context import Run
    from ascend_guard.engine.control_plane import EmbeddedControlPlane
    from ascend_guard.store.port import ActionRow

_MOST = 1_000
_MOST_BANNERS = 2
_SHORT = 14
_KEYS = (("↑↓", "select"), ("Enter", "look, decide"), ("q", "quit"))


class Watch:
    """The list on the screen, until the person leaves.

    Args:
        run: the command.
        opened: returns the control plane; None while there is no database.
        interval: seconds between two reads of the store.
        bell: ring for each new pending action.
    """

    def __init__(
        self,
        run: Run,
        opened: Callable[[], EmbeddedControlPlane | None],
        interval: float,
        *,
        bell: bool,
    ) -> None:
        self._run = run
        self._opened = opened
        self._plane: EmbeddedControlPlane | None = None
        self._interval = interval
        self._bell = bell
        self._who = approver()
        self._rows: list[ActionRow] = []
        self._total = 0
        self._known: set[int] | None = None
        self._selected = 0
        self._top = 0
        self._notice = Text()
        self._said: list[str] = []

    def run(self) -> None:
        """Run it. Raises ``KeyboardInterrupt`` for Ctrl-C, and ``StoreError``."""
        try:
            with Terminal(self._run.out) as terminal:
                self._follow(terminal)
        finally:
            for sentence in self._said:
                self._run.say(shown(sentence))

    def _follow(self, terminal: Terminal) -> None:
        changes = Changes(self._open)
        size = terminal.size
        while True:
            if changes.due() or terminal.size != size:
                size = terminal.size
                self._read(terminal)
                self._show(terminal)
            key = terminal.key(self._interval)
            if key in (GONE, "q", ESCAPE):
                return
            if key == ENTER and self._rows:
                self._look_at(terminal, self._rows[self._selected].id)
                self._read(terminal)
            elif key is not None:
                self._move(key, terminal)
            if key is not None:
                self._show(terminal)

    def _open(self) -> EmbeddedControlPlane | None:
        if self._plane is None:
            self._plane = self._opened()
        return self._plane

    def _read(self, terminal: Terminal) -> None:
        plane = self._open()
        if plane is None:
            return
        chosen = self._rows[self._selected].id if self._rows else None
        self._rows, self._total = plane.read(
            lambda reader: (
                longest_waiting(reader, plane.organization, _MOST),
                reader.count_actions(plane.organization, status="pending"),
            )
        )
        ids = [row.id for row in self._rows]
        if chosen in ids:
            self._selected = ids.index(chosen)
        self._selected = max(0, min(self._selected, len(ids) - 1))
        new = [] if self._known is None else [number for number in ids if number not in self._known]
        if new:
            several = f"{len(new)} new actions wait" if len(new) > 1 else f"Action {new[0]} is new"
            self._notice = Text(f"{several} · {time.strftime('%H:%M:%S')}", "bold yellow")
            if self._bell:
                terminal.bell()
        self._known = set(ids)

    def _look_at(self, terminal: Terminal, number: int) -> None:
        title = shown(f"Decide as {self._who} · {self._run.database()}", "dim", table=True)
        how, sentence = Decision(self._run, terminal, number, self._who, title).made()
        self._plane = self._run.plane()  # edited arguments were judged by a control plane with a policy
        self._notice = shown(sentence if how != LEFT else "", "bold", table=True)
        if sentence and how != LEFT:
            self._said.append(sentence)

    # --- what is on the screen ------------------------------------------------------------------------

    def _show(self, terminal: Terminal) -> None:
        plane = self._open()
        top, bottom = self._head(plane, terminal), [self._notice, hints(_KEYS, terminal.size[0])]
        width, height = terminal.size
        if not self._rows:
            text = "No action waits for a decision." if plane else "No agent has made a governed call yet."
            terminal.show(top, terminal.drawn(Text(text)), bottom)
            return
        assert plane is not None
        listing = pending_listing(width)
        room = self._room(terminal, len(top))
        self._top = max(0, min(self._top, self._selected, len(self._rows) - room))
        self._top = max(self._top, self._selected - room + 1)
        visible = self._rows[self._top : self._top + room]
        page = plane.read(lambda reader: [listed(reader, row) for row in visible])
        now = time.time()
        chosen = self._rows[self._selected].id
        rows = [
            pending_row(one, arguments, now, width, selected=one.row.id == chosen)
            for one, arguments in with_lines(page)
        ]
        listing.fit(rows)
        lines = [line for row in rows for line in listing.row(row)]
        headings = list(listing.headings()) if height >= _SHORT else []
        terminal.show([*top, *headings], terminal.drawn(*lines), bottom)

    def _head(self, plane: EmbeddedControlPlane | None, terminal: Terminal) -> list[Text]:
        clock = time.strftime("%H:%M:%S")
        shown_now = f"{self._selected + 1} of {self._total}" if self._rows else "0"
        title = shown(f"Waiting: {shown_now} · {clock} · {self._run.database()}", "dim", table=True)
        switches = plane.kill_switches() if plane is not None else []
        banners = list(switch_banner(switches[:_MOST_BANNERS]))
        if len(switches) > _MOST_BANNERS:
            banners.append(Text(f"■ and {len(switches) - _MOST_BANNERS} more kill switches", "bold red"))
        return [title, *banners]

    def _room(self, terminal: Terminal, top: int) -> int:
        """How many actions fit, at three lines each."""
        height = terminal.size[1]
        return max(1, (height - top - 2 - (2 if height >= _SHORT else 0)) // 3)

    def _move(self, key: str, terminal: Terminal) -> None:
        page = self._room(terminal, 1)
        last = len(self._rows) - 1
        steps = {UP: -1, DOWN: 1, PAGE_UP: -page, PAGE_DOWN: page, HOME: -last, END: last}
        self._selected = max(0, min(last, self._selected + steps.get(key, 0)))
