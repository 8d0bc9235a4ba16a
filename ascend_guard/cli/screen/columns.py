"""Long lists: each line is printed as soon as it is known, in columns whose widths are fixed before the first line.

rich measures a whole table before it prints it, which takes a millisecond a row and the memory of all rows. Here the widths
come from the first rows (``fit``), and later cells are cut to them, with ``…`` for the removed part. So the first line
appears at once, memory does not grow, and ten thousand rows take little more than reading them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_GAP = 2
_SAMPLE = 100
_TOGETHER = 50
_LEAST = 4


class Fitted(Protocol):
    """A cell that adapts to the width that it gets."""

    @property
    def natural(self) -> int:
        """The width that it would like, in columns of a terminal."""
        ...

    def fit(self, width: int) -> Text:
        """The cell, at most this many columns wide."""
        ...


Cell: TypeAlias = Text | Fitted


class Column(NamedTuple):
    """A column of a list.

    Args:
        heading: the text above it.
        share: its share of the remaining width when not all columns fit; 0 for one that always keeps its width.
        right: its cells are right-aligned.
        least: the width of its longest cell, if that is known before the rows.
    """

    heading: str
    share: int = 0
    right: bool = False
    least: int = 0


class Row(NamedTuple):
    """A row of a list.

    Args:
        lines: its lines, each with one cell for each column.
        below: a cell under all of them, from the second column to the right edge.
    """

    lines: Sequence[Sequence[Cell]]
    below: Cell | None = None


class Listing:
    """A list in columns.

    Args:
        columns: its columns, from the left.
        width: the width of the terminal.
    """

    def __init__(self, columns: Sequence[Column], width: int) -> None:
        self._columns = columns
        self._width = width
        self._widths = [max(len(column.heading), column.least) for column in columns]

    def lines(self, rows: Iterable[Row], *, headings: bool = True) -> Iterator[Text]:
        """Yield the list line by line, as the rows arrive. The first hundred rows determine the widths."""
        coming = iter(rows)
        sample = list(islice(coming, _SAMPLE))
        self.fit(sample)
        if headings:
            yield from self.headings()
        for row in chain(sample, coming):
            yield from self.row(row)

    def fit(self, sample: Iterable[Row]) -> None:
        """Determine the widths from these rows."""
        for row in sample:
            for line in row.lines:
                for number, cell in enumerate(line):
                    natural = cell.cell_len if isinstance(cell, Text) else cell.natural
                    self._widths[number] = max(self._widths[number], natural)
        excess = sum(self._widths) + _GAP * (len(self._columns) - 1) - self._width
        flexible = [number for number, column in enumerate(self._columns) if column.share]
        if excess <= 0 or not flexible:
            return
        left = sum(self._widths[number] for number in flexible) - excess
        # The column that needs least of its share first: the others get the rest.
        shares = sum(self._columns[number].share for number in flexible)
        for number in sorted(flexible, key=lambda number: self._widths[number] / self._columns[number].share):
            share = self._columns[number].share
            self._widths[number] = max(_LEAST, min(self._widths[number], left * share // shares))
            left -= self._widths[number]
            shares -= share

    def headings(self) -> Iterator[Text]:
        """The line of headings, and a rule under it."""
        yield self._line([Text(column.heading, "bold") for column in self._columns])
        yield Text("─" * min(self._width, sum(self._widths) + _GAP * (len(self._widths) - 1)), "bright_black")

    def row(self, row: Row) -> Iterator[Text]:
        """The lines of one row."""
        for line in row.lines:
            yield self._line(line)
        if row.below is not None:
            indent = min(self._widths[0] + _GAP, self._width // 2)
            room = self._width - indent
            below = row.below if isinstance(row.below, Text) else row.below.fit(room)
            yield Text(" " * indent).append_text(_cut(below, room))

    def _line(self, cells: Sequence[Cell]) -> Text:
        line = Text()
        for number, (cell, width) in enumerate(zip(cells, self._widths, strict=True)):
            text = _cut(cell if isinstance(cell, Text) else cell.fit(width), width)
            padding = " " * (width - text.cell_len)
            if self._columns[number].right:
                line.append(padding).append_text(text)
            else:
                line.append_text(text).append(padding)
            line.append(" " * _GAP)
        line.rstrip()
        return _cut(line, self._width)


def _cut(text: Text, width: int) -> Text:
    if text.cell_len > width:
        text.truncate(width, overflow="ellipsis")
    return text


# --- printing it ------------------------------------------------------------------------------------


def as_lines(console: Console, parts: Iterable[RenderableType]) -> Iterator[Text]:
    """What rich draws, line by line."""
    for part in parts:
        for line in console.render_lines(part, pad=False):
            yield Text.assemble(
                *((segment.text, segment.style or "") for segment in line if not segment.control)
            )


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print lines as they arrive, without wrapping: through a pager if the output is a terminal and the lines exceed
    its height.

    Args:
        console: the output.
        lines: none wider than the console.
    """
    coming = iter(lines)
    command = _pager(console)
    if command is None:
        _print(console, coming)
        return
    first = list(islice(coming, max(1, console.height - 1)))
    following = next(coming, None)
    if following is None:
        _print(console, first)
        return
    try:
        pager = subprocess.Popen(  # noqa: S603 - the person's own PAGER, without a shell
            command, stdin=subprocess.PIPE, text=True, errors="backslashreplace", env=_environment()
        )
    except OSError:  # a pager that cannot be started must not hide the list
        _print(console, chain(first, (following,), coming))
        return
    assert pager.stdin is not None
    with _left_to(pager):
        try:
            _print(_on(pager.stdin, console), chain(first, (following,), coming))
            pager.stdin.close()
        except BrokenPipeError:  # the person closed the pager
            pass


def _print(console: Console, lines: Iterable[Text]) -> None:
    coming = iter(lines)
    while together := list(islice(coming, _TOGETHER)):
        if console.color_system is None:  # rendering without styles takes as long as all other work
            console.file.write("\n".join(line.plain for line in together) + "\n")
        else:
            console.print(Text("\n").join(together), no_wrap=True, overflow="ignore", crop=False)


def _pager(console: Console) -> list[str] | None:
    """The command of the pager; None if the output is not a terminal."""
    if not console.is_terminal or console.is_dumb_terminal or not _are_terminals(0, 1):
        return None
    given = os.environ.get("PAGER")
    try:
        command = ["less"] if given is None else shlex.split(given)
    except ValueError:
        return None
    return command if command and command != ["cat"] and shutil.which(command[0]) else None


def _are_terminals(*descriptors: int) -> bool:
    try:
        return all(map(os.isatty, descriptors))
    except OSError:
        return False


def _environment() -> dict[str, str]:
    # As git does: colours, no clearing of the screen, and exit if everything fits.
    return {"LESS": "FRX", "LV": "-c", **os.environ}


def _on(file: IO[str], console: Console) -> Console:
    """The same console, writing to the pager's input."""
    from ascend_guard.cli.output import console as made

    onto = made()
    onto.file = file
    onto.width = console.width
    return onto


@contextmanager
def _left_to(pager: subprocess.Popen[str]) -> Iterator[None]:
    """The pager gets Ctrl-C while it runs, and restores the terminal before anything else is printed."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        try:
            if pager.stdin is not None:
                pager.stdin.close()
        except BrokenPipeError:
            pass
        pager.wait()
        signal.signal(signal.SIGINT, before)
        sys.stdout.flush()
