"""What people and programs see: safe text, the terminal, JSON.

Names, arguments, reasons and comments come from agents, and whoever wrote them may want an approver to see
something else than what is there. So nothing of the data reaches a terminal except through ``safe`` or a
relative of it, and strings are never read as markup.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Printable as far as Unicode goes, but nothing is seen of them: joiners, fillers, selectors, blank Braille.
_INVISIBLE = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0))
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_MOST_MARKS = 4
_OVERLAY = 1
_ESCAPED = "bold red"
_LONGEST_CELL = 400


def safe(text: str, *, table: bool = False) -> str:
    """The text as it may be shown: one line, with escapes for whatever a terminal would act upon or hide.

    Escaped are control and format characters (ESC, bidirectional controls, zero-width characters, ...), line
    breaks, spaces other than the plain one, unassigned and private characters, lone surrogates, letters
    without an image, and marks that would cover or bury what stands before them.

    Args:
        text: any text.
        table: it goes beside other text, where right-to-left letters would swap it with its neighbours on
            terminals that reorder; they are escaped too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(piece for piece, _ in _pieces(text, table))


def shown(text: str, style: str = "", *, table: bool = False) -> Text:
    """The same for rich, with the escapes standing out."""
    from rich.text import Text

    # No style of the line's own: it would go over to whatever is appended.
    if text.isascii() and text.isprintable():
        return Text().append(text, style)
    line = Text()
    for piece, escaped in _runs(_pieces(text, table)):
        line.append(piece, _ESCAPED if escaped else style)
    return line


def cell(text: str | None, style: str = "") -> Text:
    """The same for one cell of a table, and no longer than any cell."""
    text = text or ""
    if len(text) > _LONGEST_CELL:
        text = text[:_LONGEST_CELL] + "…"
    return shown(text, style, table=True)


def _pieces(text: str, table: bool) -> Iterator[tuple[str, bool]]:
    marks = 1 + _MOST_MARKS  # a mark in front would sit on what is printed before the text
    for char in text:
        plain = char.isprintable() and char not in _INVISIBLE
        if plain and not char.isascii():
            category = unicodedata.category(char)
            if category[0] == "M":
                marks += 1
                plain = marks <= _MOST_MARKS and category != "Me" and unicodedata.combining(char) != _OVERLAY
            else:
                marks = 0
            if table and unicodedata.bidirectional(char) in ("R", "AL", "AN"):
                plain = False
        else:
            marks = 0 if plain else 1 + _MOST_MARKS
        yield (char, False) if plain else (_escape(char), True)


def _runs(pieces: Iterator[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    held: list[str] = []
    kind = False
    for piece, escaped in pieces:
        if escaped is not kind and held:
            yield "".join(held), kind
            held.clear()
        kind = escaped
        held.append(piece)
    if held:
        yield "".join(held), kind


def _escape(char: str) -> str:
    code = ord(char)
    wide = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _NAMED.get(char, wide)


# --- the terminal ---------------------------------------------------------------------------------

_PIPED_WIDTH = 120
_ENDLESS = 100_000


def console(*, stderr: bool = False) -> Console:
    """Where things are printed. Reads no markup, follows NO_COLOR, and is plain when it is no terminal."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would leave with a status of its own

    made = Plain(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ and not any(map(_is_terminal, (0, 1, 2))):
        made.width = _PIPED_WIDTH
    return made


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Print one JSON value, in ASCII, so that nothing in it can act on a terminal."""
    separators = (",", ":") if one_line else None
    sys.stdout.write(json.dumps(value, indent=None if one_line else 2, separators=separators))
    sys.stdout.write("\n")  # by itself: one large write that a closed pipe cuts short raises nothing
    sys.stdout.flush()


def unread() -> int:
    """Whoever read the answer has seen enough: let the rest go nowhere. The exit status of whom SIGPIPE ends."""
    # Python would complain again when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def table(*headings: str) -> Table:
    """An empty table in the house style: where it is too wide, columns with a ratio share what is left."""
    from rich import box
    from rich.console import ConsoleOptions, RenderResult
    from rich.table import Table

    class Fitting(Table):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            natural = self.__rich_measure__(console, options.update(max_width=_ENDLESS)).maximum
            self.expand = natural > options.max_width
            return super().__rich_console__(console, options)

    return Fitting(*headings, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)


# --- words ----------------------------------------------------------------------------------------

_COLOURS = {
    "pending": "yellow",
    "approved": "green",
    "allow": "green",
    "completed": "green",
    "denied": "red",
    "deny": "red",
    "failed": "red",
    "handed_over": "yellow",
    "blocked": "bold red",
    "unknown": "magenta",
    "running": "cyan",
    "require_approval": "yellow",
    "low": "green",
    "medium": "yellow",
    "high": "red",
    "critical": "bold red",
}


def badge(word: str) -> Text:
    """A status, an effect or a risk level in its colour."""
    return cell(word, _COLOURS.get(word, ""))


def risk(score: float, level: str, *, bar: bool = False) -> Text:
    """A risk score and its level, with a bar where there is room."""
    from rich.text import Text

    colour = _COLOURS.get(level, "")
    text = Text()
    if bar:
        full = max(0, min(10, round(score / 10)))
        text.append("▰" * full, colour).append("▱" * (10 - full), "bright_black").append(" ")
    return text.append(f"{score:g} " if bar else f"{score:.0f} ").append_text(badge(level))


_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """A length of time, rounded down to two units at most: ``1 h 57 min``."""
    left = max(0, int(seconds))
    words: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
        elif words:
            break
    return " ".join(words[:2]) or "0 s"


def ago(at: float, now: float | None = None) -> str:
    """How long ago that was, in the largest unit."""
    words = span((time.time() if now is None else now) - at).split()
    return f"{words[0]} {words[1]} ago"


def moment(at: float) -> str:
    """A time in full, in this machine's zone."""
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def timestamp(text: str | None) -> float:
    """Seconds since the epoch of an ISO 8601 time; 0 for what is none."""
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return 0.0


_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*(?=@)")


def masked(value: str, *, secret: bool) -> str:
    """A setting as it may be shown: of a secret its beginning at most, of an address no credentials."""
    if secret:
        return f"{value[:6]}…" if len(value) >= 20 else "…"
    return _CREDENTIALS.sub("…", value)
