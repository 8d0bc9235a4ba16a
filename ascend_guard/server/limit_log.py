"""Log entries for limits that were reached: at most one a minute for each limit."""

from __future__ import annotations

import logging
import time

from ascend_guard.redaction import scrub

EVERY = 60.0
"""Seconds between two log entries about the same limit."""

_log = logging.getLogger("ascend_guard.server")


class Notices:
    """Writes the entries. Only for the event loop's thread."""

    def __init__(self) -> None:
        self._noted: dict[str, tuple[float, int]] = {}

    def note(self, limit: str, who: str, what: str) -> None:
        """Log that a caller or an address has reached a limit.

        Args:
            limit: its name: each is logged at most once a minute, with the number of times.
            who: an address, or an organization and a caller.
            what: the text after ``who``.
        """
        now = time.monotonic()
        at, hits = self._noted.get(limit, (-EVERY, 0))
        if now - at < EVERY:
            self._noted[limit] = (at, hits + 1)
            return
        self._noted[limit] = (now, 0)
        more = f" This limit was reached {hits} more times in the minute before." if hits else ""
        _log.warning("Limit: %s %s.%s", _plain(who), what, more)


def _plain(text: str) -> str:
    """A caller's own text as one line of a log."""
    return scrub("".join(char if char.isprintable() else "?" for char in text[:300]))
