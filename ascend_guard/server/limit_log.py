"""Notices in the log that a limit was hit: one a minute for each limit, however often it is hit."""

from __future__ import annotations

import logging
import time

from ascend_guard.redaction import scrub

EVERY = 60.0
"""Seconds between two notices about the same limit."""

_log = logging.getLogger("ascend_guard.server")


class Notices:
    """Writes them. For the event loop's thread only."""

    def __init__(self) -> None:
        self._noted: dict[str, tuple[float, int]] = {}

    def note(self, limit: str, who: str, what: str) -> None:
        """Say that a caller or an address has hit a limit.

        Args:
            limit: which one: each is noted at most once a minute, with how often it was hit.
            who: an address, or an organization and a caller.
            what: in words, after ``who``.
        """
        now = time.monotonic()
        at, hits = self._noted.get(limit, (-EVERY, 0))
        if now - at < EVERY:
            self._noted[limit] = (at, hits + 1)
            return
        self._noted[limit] = (now, 0)
        more = f" This limit was hit {hits} times more in the minute before." if hits else ""
        _log.warning("Limit: %s %s.%s", _plain(who), what, more)


def _plain(text: str) -> str:
    """Somebody's own words as one line of a log."""
    return scrub("".join(char if char.isprintable() else "?" for char in text[:300]))
