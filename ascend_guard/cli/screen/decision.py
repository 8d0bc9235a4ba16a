"""One action on the screen, and a person's decision about it, with single keys.

1. A person decides exactly what was shown (promises 2 and 6). Approving works only after every line of the action has been
   on the screen, and nothing of it is left out (``v`` shows all of it).
2. The decision names the action as it was shown, and the store refuses it if the action has changed since.
3. If the action changes, is decided, or expires while it is shown, the screen says so. No key decides anything until the
   person has confirmed that with Enter.
4. Keys that were pressed before the action was shown decide nothing (``terminal``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from ascend_guard.cli.command import typed_edits
from ascend_guard.cli.output import shown
from ascend_guard.errors import AscendError

from .argument_tree import Brief
from .details import details_of
from .lookup import find_row
from .terminal import DOWN, END, ENTER, ESCAPE, GONE, HOME, MOVES, PAGE_DOWN, PAGE_UP, UP, Drawn, Terminal
from .views import action_view

if TYPE_CHECKING:
    from ascend_guard.cli.context import Run
    from ascend_guard.engine.control_plane import EmbeddedControlPlane
    from ascend_guard.store.port import ActionRow, Reader

    from .lookup import Details

LOOK_EVERY = 0.1
_TIDY_EVERY = 1.0
_NARROW = 64
_MOST_NOTICE = 3

DECIDED, SKIPPED, LEFT = "decided", "skipped", "left"


class Changes:
    """Says when to read the store again: something was committed, or a second has passed.

    Args:
        plane: returns the control plane; None while there is no database.
    """

    def __init__(self, plane: Callable[[], EmbeddedControlPlane | None]) -> None:
        self._plane = plane
        self._until = 0.0

    def due(self) -> bool:
        """Return whether to read now. Actions whose deadlines have passed are expired first."""
        plane = self._plane()
        overdue = time.monotonic() >= self._until
        if plane is None:
            changed = False
        else:
            changed = plane.store.changed()
            if overdue:
                plane.housekeep()
        if overdue:
            self._until = time.monotonic() + _TIDY_EVERY
        return changed or overdue


class Decision:
    """An action on the screen, until a person decides it or leaves it.

    Args:
        run: the command.
        terminal: the screen.
        action_id: the action.
        who: the person.
        title: the text at the top.
    """

    def __init__(self, run: Run, terminal: Terminal, action_id: int, who: str, title: Text) -> None:
        self._run = run
        self._terminal = terminal
        self._who = who
        self._title = title
        self._details = self._read(str(action_id))
        self._edits: dict[str, Any] = {}
        self._whole = False
        self._notice = Text()
        self._to_confirm = False
        self._size = (0, 0)
        self._top = 0
        self._lines: Drawn = []
        self._shown: set[int] = set()
        self._hidden = False

    def made(self) -> tuple[str, str]:
        """Let the person decide. Returns ``DECIDED``, ``SKIPPED`` or ``LEFT``, and a sentence about it.

        Raises:
            StoreError: the database cannot be read.
        """
        changes = Changes(self._run.plane)
        self._draw_anew()
        while True:
            if self._terminal.size != self._size:
                self._draw_anew()
            key = self._terminal.key(LOOK_EVERY)
            if key is None:
                if changes.due():
                    self._look_again()
                continue
            answer = self._pressed(key)
            if answer is not None:
                return answer
            self._show()

    # --- what is on the screen ------------------------------------------------------------------------

    def _draw_anew(self) -> None:
        """Show it from the top. No line counts as shown before, and no earlier key as an answer."""
        brief = None if self._whole else Brief("v shows all")
        parts = action_view(self._details, edits=self._edits, brief=brief)
        self._size = self._terminal.size
        self._lines = self._terminal.drawn(*parts)
        self._hidden = brief is not None and brief.hidden
        self._shown.clear()
        self._top = 0
        self._show(ready=False)
        self._terminal.settle()
        self._show()

    def _show(self, *, ready: bool = True) -> None:
        room = self._room()
        self._top = max(0, min(self._top, len(self._lines) - room))
        self._shown.update(range(self._top, min(self._top + room, len(self._lines))))
        bottom = [*self._said(), self._keys() if ready else Text()]
        self._terminal.show([self._title], self._lines[self._top :], bottom)

    def _room(self) -> int:
        return max(1, self._terminal.size[1] - 2 - len(self._said()))

    def _said(self) -> list[Text]:
        return list(self._notice.wrap(self._terminal.console, self._size[0]))[:_MOST_NOTICE] or [Text()]

    def _keys(self) -> Text:
        if self._to_confirm:
            return hints([("Enter", "continue")], self._size[0])
        offered = [("d", "deny"), ("e", "edit"), ("s", "skip"), ("q", "quit")]
        if self._edits:
            offered.insert(2, ("u", "undo"))
        if not self._all_shown():
            end, count = min(self._top + self._room(), len(self._lines)), len(self._lines)
            offered.insert(
                0, ("space", f"{end}/{count}" if self._size[0] < _NARROW else f"more ({end} of {count})")
            )
        elif self._hidden:
            offered.insert(0, ("v", "all"))
        else:
            offered.insert(0, ("a", "approve"))
        if self._size[0] >= _NARROW and offered[0][0] != "v":
            offered.insert(-1, ("v", "brief" if self._whole else "all"))
        return hints(offered, self._size[0])

    def _all_shown(self) -> bool:
        return len(self._shown) >= len(self._lines)

    def _read(self, action_id: str) -> Details:
        # Read the state before the action: a change in between is noticed at the next check.
        self._stands = self._stand_now(action_id)
        return details_of(self._run, action_id)

    def _stand_now(self, action_id: str) -> tuple[object, ...]:
        plane = self._run.plane()
        return plane.read(lambda reader: _stand(reader, plane.organization, action_id))

    # --- what changes meanwhile -----------------------------------------------------------------------

    def _look_again(self) -> None:
        try:
            if self._stand_now(str(self._details.row.id)) == self._stands:
                return
            fresh = self._read(str(self._details.row.id))
        except AscendError as error:
            self._say(f"The action cannot be read again: {error.message}", "red")
            self._show()
            return
        before, self._details = self._details, fresh
        row = fresh.row
        self._to_confirm = True
        if row.status != "pending":
            by = f" by {row.decided_by}" if row.decided_by else ""
            self._say(
                f"Meanwhile action {row.id} was {row.status}{by}. Nothing was decided here.", "bold yellow"
            )
        elif _what_runs(row) != _what_runs(before.row):
            self._edits = {}
            self._say("The action changed while you were looking. This is its present state.", "bold yellow")
        else:
            self._say("The approvals or the kill switch changed while you were looking.", "bold yellow")
        self._draw_anew()

    # --- keys -----------------------------------------------------------------------------------------

    def _pressed(self, key: str) -> tuple[str, str] | None:
        row = self._details.row
        if not self._to_confirm:
            self._notice = Text()
        if key in MOVES:
            self._move(key)
        elif key in (GONE, "q", ESCAPE):
            return LEFT, f"Action {row.id} is still pending." if row.status == "pending" else ""
        elif self._to_confirm:
            if key == ENTER:
                self._to_confirm = False
                self._notice = Text()
                if row.status != "pending":
                    return DECIDED, f"Action {row.id} was decided elsewhere: {row.status}."
        elif key == "s":
            return SKIPPED, f"Skipped: action {row.id} is still pending."
        elif key == "v":
            self._whole = not self._whole
            self._draw_anew()
        elif key == "u" and self._edits:
            self._edits = {}
            self._say("The values are the submitted ones again.")
            self._draw_anew()
        elif key == "e":
            self._edit()
        elif key in ("a", "d"):
            return self._decide(key)
        return None

    def _move(self, key: str) -> None:
        page = max(1, self._room() - 1)
        steps = {
            UP: -1,
            DOWN: 1,
            PAGE_UP: -page,
            PAGE_DOWN: page,
            HOME: -len(self._lines),
            END: len(self._lines),
        }
        self._top += steps[key]

    def _edit(self) -> None:
        text = self._terminal.ask("NAME=JSON to run with instead (leave empty to go back):")
        if text is None:
            return
        try:
            self._edits |= typed_edits([text])
        except typer.BadParameter as error:
            self._say(error.message, "red")
            return
        unknown = self._edits.keys() - self._details.asked.action_details.keys()
        if unknown:
            name = unknown.pop()
            del self._edits[name]
            self._say(f"The action has no argument {name!r}.", "red")
            return
        self._say("Nothing is decided yet: a approves it with this value, u undoes the edit.", "yellow")
        self._draw_anew()

    def _decide(self, key: str) -> tuple[str, str] | None:
        if key == "a" and not self._all_shown():
            left = len(self._lines) - len(self._shown)
            self._say(f"Not approved: {left} lines not seen yet. space: more.", "yellow")
            return None
        if key == "a" and self._hidden:
            self._say("Not approved: part of it is left out. v shows all.", "yellow")
            return None
        try:
            return self._approved() if key == "a" else self._denied()
        except AscendError as error:
            self._say(error.message, "bold red")
            self._look_again()
            return None

    def _approved(self) -> tuple[str, str]:
        row = self._details.row
        plane = self._run.plane(judging=bool(self._edits))
        plane.approve(str(row.id), approver=self._who, arguments=self._edits or None, seen=row)
        fresh = details_of(self._run, str(row.id))
        after = " The kill switch is on: no call runs until it is off." if fresh.switch is not None else ""
        if fresh.row.status == "pending":
            count = f"{len(fresh.approvals)} of {fresh.row.quorum}"
            return (
                DECIDED,
                f"Recorded: {self._who}'s approval of action {row.id}, {count}. The action is still pending.{after}",
            )
        edited = " with edited arguments" if fresh.edits else ""
        return DECIDED, f"Approved: action {row.id} may run once{edited}.{after}"

    def _denied(self) -> tuple[str, str] | None:
        row = self._details.row
        reason = self._terminal.ask("Why is it denied (leave empty to go back)?")
        if reason is None:
            self._say("Not denied: no reason was given.", "yellow")
            return None
        self._run.plane().deny(str(row.id), approver=self._who, comment=reason, seen=row)
        return DECIDED, f"Denied: action {row.id} will not run."

    def _say(self, text: str, style: str = "") -> None:
        self._notice = shown(text, style, table=True)


def hints(keys: Sequence[tuple[str, str]], width: int) -> Text:
    """Keys and their functions, on one line of this width."""
    gap = " " if width < _NARROW else "   "
    return Text(gap).join(Text.assemble((key, "bold cyan"), f" {what}") for key, what in keys)


def _what_runs(row: ActionRow) -> tuple[object, ...]:
    return row.digest, row.edits, row.resource, row.rule, row.quorum, row.requirements, row.risk_score


def _stand(reader: Reader, organization: str, action_id: str) -> tuple[object, ...]:
    """The state that must not change unseen between reading and deciding: the action, its approvals, the kill switch."""
    from ascend_guard.engine.kill import stopped

    row = find_row(reader, organization, action_id)
    approvers = tuple(given.approver for given in reader.approvals(row.organization, row.id))
    switch = stopped(reader, organization, row.agent_id)
    return row.status, _what_runs(row), approvers, None if switch is None else switch.agent_id or ""
