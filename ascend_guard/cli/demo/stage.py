"""The output of the demo: titled scenes, labelled lines, and claims that are printed after they are checked."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from io import StringIO
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ascend_guard.cli.output import badge, console

if TYPE_CHECKING:
    from ascend_guard.engine.policy import Policy
    from ascend_guard.store.port import ActionRow

_WIDTH = 100
_MARGIN = 9
_BREATH = 0.35


class Unproven(Exception):
    """A claim of the demo is not true."""


class Stage:
    """The output: colours and boxes on a terminal, elsewhere plain text in a hundred columns.

    Args:
        silent: nothing is shown, only kept in ``told``, for programs.

    Attributes:
        told: the scenes, with the labelled lines of each.
        error: why it was stopped, if it was.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.console: Console = console(into=StringIO() if silent else None)
        self.told: list[dict[str, Any]] = []
        self.error: str | None = None
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self.console.width = min(self.console.width, _WIDTH) if self.console.is_terminal else _WIDTH
        unicode = self.console.encoding.lower().startswith("utf")
        self._yes, self._no = ("✓", "✗") if unicode else ("ok", "NO")
        self._scenes = 0
        self.proofs = 0

    # --- the frame ------------------------------------------------------------------------------------------

    def box(self, title: str, *what: RenderableType) -> None:
        """Show a box before or after the scenes."""
        inside = Group(*what)
        if self.live:
            panel = Panel(inside, title=Text(title, "bold"), title_align="left", padding=(1, 2))
            self.console.print("", panel, sep="\n")
        else:
            self._print(Text(f"\n{title}\n"), Padding(inside, (0, 2)))

    def scene(self, title: str) -> None:
        """Begin the next scene."""
        self._scenes += 1
        self.told.append({"scene": title, "lines": []})
        if self.live:
            # Leave time to read the previous scene before it scrolls away.
            time.sleep(_BREATH)
            rule = Rule(Text(f"{self._scenes}  {title}", "bold"), align="left", style="bright_black")
            self.console.print("", rule, sep="\n")
        else:
            self.console.print(Text(f"\n{self._scenes}. {title}"))

    def _print(self, *what: RenderableType) -> None:
        if self.live:
            self.console.print(*what)
            return
        with self.console.capture() as captured:
            self.console.print(*what)
        # rich pads lines with spaces, which is noise in a log.
        for line in captured.get().splitlines():
            self.console.out(line.rstrip())

    # --- what happens ---------------------------------------------------------------------------------------

    def line(self, label: str | Text, *what: RenderableType | str, style: str = "bold") -> None:
        """Show a line with a label in the margin."""
        if self.told:
            text = "\n".join(map(self._plain, what))
            name = label if isinstance(label, str) else label.plain
            self.told[-1]["lines"].append({"label": name, "text": text, "proved": name == self._yes})
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=_MARGIN, justify="right", no_wrap=True)
        grid.add_column(ratio=1)
        first: str | Text = Text(label, style) if isinstance(label, str) else label
        for part in what:
            grid.add_row(first, Text(part) if isinstance(part, str) else part)
            first = ""
        self._print(grid)

    def _plain(self, part: RenderableType) -> str:
        if isinstance(part, str | Text):
            return str(part)
        with self.console.capture() as captured:
            self.console.print(part)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def agent(self, words: str) -> None:
        """Show the agent's words."""
        self.line("Agent", words, style="bold cyan")

    def call(self, tool: str, arguments: dict[str, Any]) -> None:
        """Show a call of the agent."""
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        self.line("call", f"{tool}({given})", style="bright_black")

    def decision(self, row: ActionRow) -> None:
        """Show the decision on an action, and its rule."""
        said = Text.assemble("rule ", (row.rule or "none", "bold"))
        if not row.reason.startswith("The rule "):
            said.append(f": {row.reason}")
        about = Text(f"(action {row.id}, risk {row.risk_score:g} {row.risk_level})", "bright_black")
        if said.cell_len + about.cell_len + _MARGIN + 4 <= self.console.width:
            self.line(badge(row.status), said.append("  ").append_text(about))
        else:
            self.line(badge(row.status), said, about)

    def person(self, who: str, command: str, pid: int) -> None:
        """Show a command that a person ran in another process."""
        about = f"process {pid}; the agent is process {os.getpid()}"
        self.line(who, Text(f"$ {command}"), Text(about, "bright_black"), style="bold yellow")

    def prove(self, holds: bool, claim: str, otherwise: object) -> None:
        """Show a claim, if it holds.

        Args:
            holds: whether it is true.
            claim: its text.
            otherwise: what was found instead.

        Raises:
            Unproven: it is not true.
        """
        if not holds:
            raise Unproven(f"expected: {claim}; found: {otherwise}")
        self.proofs += 1
        self.line(Text(self._yes, "bold green"), claim)

    def failed(self, error: Exception) -> None:
        """Report that the demo failed."""
        self.error = str(error)
        self.line(Text(self._no, "bold red"), Text(str(error), "red"))
        what = "\nThe demo stopped, because a claim was not true. Please report the text above."
        self.console.print(Text(what, "bold red"))

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Show a spinner for work that takes a moment."""
        return self.console.status(Text(what, "bright_black")) if self.live else nullcontext()

    def progress(self, what: str) -> Progress:
        """Show a progress bar that disappears afterwards."""
        columns = (TextColumn(" " * _MARGIN), BarColumn(), MofNCompleteColumn(), TextColumn(what))
        return Progress(*columns, console=self.console, transient=True, disable=not self.live)

    # --- pictures -------------------------------------------------------------------------------------------

    def code(self, text: str) -> RenderableType:
        """Python code."""
        return Syntax(text, "python", theme="ansi_dark", background_color="default", word_wrap=True)

    def rules(self, policy: Policy) -> RenderableType:
        """An overview of a policy: what each rule decides on which calls, and its reason."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
        for heading in ("rule", "calls", "effect", "reason"):
            table.add_column(heading, no_wrap=heading != "reason")
        for rule in policy.rules:
            table.add_row(rule.name, " ".join(rule.actions), badge(rule.effect.value), rule.reason)
        table.add_row(Text("anything else", "italic"), "", badge(policy.default.value), "")
        return table

    def trace(self, rows: list[ActionRow], parents: dict[int, int | None]) -> None:
        """Show actions as a tree.

        Args:
            rows: all actions of one trace, oldest first.
            parents: the parent of each action.
        """
        root, *others = rows
        branches = {root.id: Tree(_node(root, 0), guide_style="bright_black")}
        for row in others:
            parent = parents[row.id]
            if parent not in branches:
                raise Unproven(f"action {row.id} links to {parent}, which is not in its trace")
            branches[row.id] = branches[parent].add(_node(row, row.depth))
        self.line("trace", branches[root.id])


def _node(row: ActionRow, depth: int) -> Text:
    name = f"{row.action_type} {row.resource}"
    took = "" if row.duration is None else f"{row.duration * 1000:.1f} ms"
    line = Text.assemble((f"{row.id} ", "bright_black"), (name, "bold"))
    line.pad_right(38 - 4 * depth - line.cell_len)
    return line.append_text(badge(row.status)).append(f"{took:>9}  ").append_text(badge(row.outcome or ""))
