"""A person at a terminal: the whole screen, single keys, and lines of text.

1. Keys that were typed before a screen was shown do not answer it (promise 6). A new screen accepts keys only after it was
   shown and no key was pressed for ``_QUIET`` seconds: a key that is held down decides nothing on the next screen.
2. Several keys that arrive together were pasted, or typed ahead. They can only scroll, and decide nothing.
3. The terminal is restored however the command ends: at its end, with an error, by Ctrl-C, SIGTERM or Ctrl-Z.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

from rich.control import Control
from rich.screen import Screen
from rich.segment import Segment
from rich.text import Text

from ascend_guard.cli.context import Refusal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from ascend_guard.cli.context import Run

UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END, ENTER, ESCAPE, GONE = (
    *("up", "down", "page up", "page down", "home", "end", "enter", "escape"),
    "gone",
)
MOVES = frozenset((UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END))
"""Keys that only scroll."""

_QUIET = 0.4
_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)|.", re.DOTALL)
_NAMED = {
    "\x1b[A": UP, "\x1bOA": UP, "k": UP, "\x1b[B": DOWN, "\x1bOB": DOWN, "j": DOWN,
    "\x1b[5~": PAGE_UP, "b": PAGE_UP, "\x1b[6~": PAGE_DOWN, " ": PAGE_DOWN,
    "\x1b[H": HOME, "\x1bOH": HOME, "\x1b[1~": HOME, "g": HOME,
    "\x1b[F": END, "\x1bOF": END, "\x1b[4~": END, "G": END,
    "\r": ENTER, "\n": ENTER, "\x1b": ESCAPE, "\x04": GONE,
}  # fmt: skip

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None

Drawn: TypeAlias = list[list[Segment]]
"""A drawing as the lines of a screen."""


def has_keyboard() -> bool:
    """Return whether a person's keys can be read, and the output is their screen."""
    try:
        return sys.stdin is not None and os.isatty(sys.stdin.fileno()) and os.isatty(sys.stdout.fileno())
    except (OSError, ValueError):
        return False


def require_keyboard(run: Run, instead: str) -> None:
    """Require a person at a terminal.

    Args:
        run: the command.
        instead: what to do without a terminal.

    Raises:
        Refusal: there is no terminal, or the output is for a program.
    """
    if run.json or not has_keyboard() or run.out.is_dumb_terminal:
        raise Refusal(f"This command reads single keys, so it needs a terminal. {instead}")


class Terminal:
    """The terminal in full-screen mode: see the rules of this module.

    Args:
        console: the console of the terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._keyboard = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._keyboard)
        self._moves: list[str] = []
        self._handlers: list[tuple[signal.Signals, _Handler]] = []

    def __enter__(self) -> Terminal:
        for number, handler in ((signal.SIGTERM, _ended), (signal.SIGTSTP, self._stopped)):
            self._handlers.append((number, signal.signal(number, handler)))
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._handlers:
            signal.signal(number, handler)

    def _take(self) -> None:
        tty.setcbreak(self._keyboard, termios.TCSAFLUSH)
        self.console.set_alt_screen(True)
        self.console.show_cursor(False)

    def _give_back(self) -> None:
        self.console.set_alt_screen(False)
        self.console.show_cursor(True)
        termios.tcsetattr(self._keyboard, termios.TCSAFLUSH, self._before)

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    # --- the screen -----------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, both at least as large as the smallest usable screen."""
        return max(self.console.width, 20), max(self.console.height, 6)

    def drawn(self, *parts: RenderableType) -> Drawn:
        """Return these as lines of the screen's width."""
        from rich.console import Group

        options = self.console.options.update(width=self.size[0], height=None)
        return self.console.render_lines(Group(*parts), options, pad=False)

    def show(self, top: Sequence[Text], body: Drawn, bottom: Sequence[Text]) -> None:
        """Show a screen: lines at the top, lines at the bottom, and between them as many as fit."""
        width, height = self.size
        room = max(0, height - len(top) - len(bottom))
        filled = [*body[:room], *([[]] * (room - len(body)))]
        lines = [*(self._line(text, width) for text in top), *filled]
        lines += [self._line(text, width) for text in bottom]
        self.console.control(Control.home())
        self.console.print(Screen(_Lines(lines), application_mode=True), end="")

    def _line(self, text: Text, width: int) -> list[Segment]:
        text = text.copy()
        text.truncate(width, overflow="ellipsis")
        return [segment for segment in text.render(self.console, "") if segment.text]

    def bell(self) -> None:
        """Ring the bell."""
        self.console.bell()

    # --- the keyboard ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until no key has been pressed for a moment, and discard those that were."""
        self._moves.clear()
        until = time.monotonic() + _QUIET
        while (left := until - time.monotonic()) > 0:
            if select.select([self._keyboard], [], [], left)[0]:
                if not self._read():
                    return
                until = time.monotonic() + _QUIET

    def key(self, seconds: float) -> str | None:
        """Return the next key: a character, or the name of one of the keys above. None when none is pressed in time.

        ``GONE`` when the terminal was closed.
        """
        if self._moves:
            return self._moves.pop(0)
        if not select.select([self._keyboard], [], [], seconds)[0]:
            return None
        typed = self._read()
        if not typed:
            return GONE
        text: list[str] = _KEY.findall(typed.decode(errors="replace"))
        keys = [_NAMED.get(one, one) for one in text]
        if len(keys) > 1 and not MOVES.issuperset(keys):
            return None
        self._moves = keys[1:]
        return keys[0]

    def _read(self) -> bytes:
        try:
            return os.read(self._keyboard, 4096)
        except OSError:  # the terminal was closed
            return b""

    def ask(self, question: str) -> str | None:
        """Return a line of text, edited as the terminal edits lines; None without an answer: an empty line, Ctrl-D, Ctrl-C.

        Args:
            question: one line.
        """
        with self._typing():
            height = self.size[1]
            self.console.control(Control.move_to(0, height - 1))
            self.console.print(" " * (self.size[0] - 1), end="\r")
            self.console.print(Text(f"{question} ", "bold"), end="", soft_wrap=True)
            try:
                typed = self._read()
            except KeyboardInterrupt:
                return None
        text = typed.decode(errors="replace")
        # An arrow key arrives as an escape sequence, not as text.
        text = "".join(one for one in _KEY.findall(text) if one.isprintable())
        return text.strip() or None

    @contextmanager
    def _typing(self) -> Iterator[None]:
        self.console.show_cursor(True)
        termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)
        try:
            yield
        finally:
            tty.setcbreak(self._keyboard, termios.TCSADRAIN)
            self.console.show_cursor(False)


class _Lines:
    def __init__(self, lines: Drawn) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in enumerate(self._lines):
            if number:
                yield Segment.line()
            yield from line


def _ended(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
