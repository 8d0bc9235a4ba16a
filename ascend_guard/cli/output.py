"""Output for people and programs: safe text, the terminal, JSON.

Names, arguments, reasons and comments come from agents. Their author may want an approver to see something else than the
real text. So data reaches a terminal only through ``safe`` or a related function, and strings are never read as markup.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, TextIO

from ascend_guard.printable import pieces
from ascend_guard.printable import safe as safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_ESCAPED = "bold red"
_LONGEST_CELL = 400


def shown(text: str, style: str = "", *, table: bool = False) -> Text:
    """The same for rich, with highlighted escapes."""
    from rich.text import Text

    # No style for the line itself: it would apply to appended text, too.
    if text.isascii() and text.isprintable():
        return Text().append(text, style)
    line = Text()
    for piece, escaped in _runs(pieces(text, table)):
        line.append(piece, _ESCAPED if escaped else style)
    return line


def cell(text: str | None, style: str = "") -> Text:
    """The same for one cell of a table, cut to the length of a cell."""
    text = text or ""
    if len(text) > _LONGEST_CELL:
        text = text[:_LONGEST_CELL] + "…"
    return shown(text, style, table=True)


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


# --- the terminal ---------------------------------------------------------------------------------

_PIPED_WIDTH = 120
_ENDLESS = 100_000


def console(*, stderr: bool = False, into: IO[str] | None = None) -> Console:
    """Return a console. It reads no markup, follows NO_COLOR, and prints plain text if it is not a terminal.

    Args:
        stderr: standard error, not standard output.
        into: this file instead.
    """
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(
                errno.EPIPE, os.strerror(errno.EPIPE)
            )  # rich would exit with its own status

    made = Plain(file=into, stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ and not any(map(_is_terminal, (0, 1, 2))):
        made.width = _PIPED_WIDTH
    return made


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Print one JSON value in ASCII, so that nothing in it can control a terminal."""
    separators = (",", ":") if one_line else None
    sys.stdout.write(json.dumps(value, indent=None if one_line else 2, separators=separators))
    sys.stdout.write("\n")  # separate: one large write that a closed pipe cuts raises no error
    sys.stdout.flush()


class Unwritable(Exception):
    """The answer cannot be printed.

    Args:
        error: the system's error.
    """

    def __init__(self, error: OSError) -> None:
        closed = error.errno == errno.EPIPE
        why = (
            "was closed before all of it was written"
            if closed
            else f"cannot be written ({error.strerror or error})"
        )
        super().__init__(f"The output {why}. The work that the command did before is done.")


OUTPUT = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""The system's errors for an output that accepts no more data."""


@contextmanager
def printing() -> Iterator[None]:
    """Raise ``Unwritable`` for errors of the output: they contain no file name, unlike errors of files."""
    try:
        yield
    except OSError as error:
        if type(error).__module__ != "builtins" or error.filename is not None or error.errno not in OUTPUT:
            raise
        raise Unwritable(error) from None


def open_streams() -> None:
    """Open a stream that was closed before we started: a database must not be opened under its file descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def give_up(*streams: TextIO) -> None:
    """Discard what was not written: Python would report the error again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for stream in streams:
            with suppress(OSError, ValueError):  # without a descriptor there is nothing to report
                os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


def table(*headings: str) -> Table:
    """An empty table in the common style: if it is too wide, columns with a ratio share the remaining width."""
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
    """A risk score and its level, with a bar if ``bar`` is set."""
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


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number and its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def ago(at: float, now: float | None = None) -> str:
    """How long ago a time was, in the largest unit."""
    words = span((time.time() if now is None else now) - at).split()
    return f"{words[0]} {words[1]} ago"


def moment(at: float) -> str:
    """A time in full, in local time."""
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def timestamp(text: str | None) -> float:
    """Seconds since the epoch of an ISO 8601 time; 0 if it is not one."""
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return 0.0


_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*(?=@)")


def masked(value: str, *, secret: bool) -> str:
    """A setting for display: at most the beginning of a secret, and no credentials in an address."""
    if secret:
        return f"{value[:6]}…" if len(value) >= 20 else "…"
    return _CREDENTIALS.sub("…", value)
