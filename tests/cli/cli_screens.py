"""The command line on a real pseudo-terminal, as a person sees it: pyte draws the screen from what the command writes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

import pyte

COMMAND = "import sys; from ascend_guard.cli import main; sys.exit(main())"
PATIENCE = 30.0
_WHOLE = 0.1
"""Seconds without output after which a screen is whole: a part of the next one may have the last line of the one before."""
SIZES = [(80, 24), (40, 10)]

# All that the command may write besides text: colours, the cursor, erasing, the other screen, and the bell.
_CONTROLS = re.compile(rb"\x1b\[[0-9;]*[mHJK]|\x1b\[\?(?:25|1049)[hl]|[\r\n\x07]")


class Screen:
    """A command on a terminal of a given size.

    Args:
        words: the command's arguments.
        size: columns and lines.
        command: the Python code that runs it.
        environment: what it gets besides this process's.
    """

    def __init__(
        self, *words: str, size: tuple[int, int] = (80, 24), command: str = COMMAND, **environment: str
    ) -> None:
        columns, lines = size
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        ready, go = os.pipe()
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.read(ready, 1)  # the terminal has its size by then
            kept = {
                name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "PAGER")
            }
            os.execve(
                sys.executable,
                [sys.executable, "-c", command, *words],
                {**kept, "TERM": "xterm-256color", **environment},
            )
        self.resize(size)
        self.modes = termios.tcgetattr(self._terminal)
        os.write(go, b"x")
        os.close(ready)
        os.close(go)

    def resize(self, size: tuple[int, int]) -> None:
        """Make the window another size."""
        columns, lines = size
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen.resize(lines, columns)

    @property
    def lines(self) -> list[str]:
        """What the person sees."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    def type(self, text: str) -> None:
        """Press keys, all at once."""
        os.write(self._terminal, text.encode())

    def press(self, *keys: str) -> None:
        """Press keys one after the other, as a person does: those that arrive together decide nothing."""
        for key in keys:
            self.type(key)
            self.reads(0.3)

    def until(self, seen: Callable[[str], bool]) -> str:
        """Read until the screen is so; the screen."""
        self._read(lambda: seen(self.text))
        assert seen(self.text), self.text
        return self.text

    def shows(self, *texts: str) -> str:
        """Read until all of this is on the screen; the screen."""
        return self.until(lambda screen: all(text in screen for text in texts))

    def ready(self, *texts: str, keys: str = "d deny") -> str:
        """Read until all of this is on the screen, and it takes these keys; the screen."""
        return self.until(
            lambda screen: keys in screen.split("\n")[-1] and all(text in screen for text in texts)
        )

    def reads(self, seconds: float) -> str:
        """Read for so long; the screen."""
        self._read(lambda: False, seconds)
        return self.text

    def to_the_end(self, *keys: str) -> str:
        """Turn pages until the action on the screen can be approved; the last page."""
        for _ in range(200):
            screen = self.until(lambda screen: "d deny" in screen.split("\n")[-1])
            if "a approve" in screen.split("\n")[-1]:
                return screen
            before = screen
            self.type(" ")
            self.until(lambda screen, before=before: screen != before)  # type: ignore[misc]
        raise AssertionError(self.text)

    def modes_now(self) -> list[Any]:
        """How the terminal is set."""
        return termios.tcgetattr(self._terminal)

    def end(self) -> int:
        """Read to the end; the exit status."""
        if not self._read(lambda: False):
            os.kill(self.process, signal.SIGKILL)
        status = os.waitpid(self.process, 0)[1]
        self.modes_after = termios.tcgetattr(self._terminal)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)

    @property
    def strange(self) -> bytes:
        """What the command wrote that is neither text nor one of the controls it may use."""
        return re.sub(rb"[ -~\x80-\xff]", b"", _CONTROLS.sub(b"", self.raw))

    def _read(self, enough: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Read until a whole screen is enough; whether the command has ended."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if not select.select([self._terminal], [], [], min(_WHOLE, patience))[0]:
                if enough():
                    return False
                continue
            try:
                data = os.read(self._terminal, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                return True
            self.raw += data
            self._stream.feed(data)
        return False
