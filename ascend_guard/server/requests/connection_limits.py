"""Limits on open connections and streams, and on the file descriptors for them."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ascend_guard.server.access.limits import TooManyRequestsError, network
from ascend_guard.server.handling import Caller
from ascend_guard.server.limit_log import Notices

MOST_FILES = 65_536
_OTHER_FILES = 128
"""File descriptors for other uses: the database, webhooks, the listening socket, the log."""

_FEWEST = 16


class Doors:
    """Counts connections by address. Only for the event loop's thread.

    Args:
        notices: logs refused connections.
        most: connections in all.
        per_address: connections of one address (for IPv6: of one network of 64 bits); None for half of all, so that no
            address can take all of them.
    """

    def __init__(self, notices: Notices, most: int, per_address: int | None = None) -> None:
        self._notices = notices
        self.most = most
        self.per_address = most // 2 if per_address is None else per_address
        self._open: Counter[str] = Counter()
        self._total = 0

    def enter(self, address: str) -> bool:
        """Count a connection; False when there are too many, and then it is not counted."""
        whose = network(address)
        if self._open[whose] >= self.per_address:
            self._notices.note(
                "connections of an address",
                address,
                f"has {self.per_address} connections open; more are refused",
            )
            return False
        if self._total >= self.most:
            self._notices.note(
                "connections",
                address,
                f"was refused: {self.most} connections are open, the maximum (ulimit -n)",
            )
            return False
        self._open[whose] += 1
        self._total += 1
        return True

    def leave(self, address: str) -> None:
        """Count a closed connection."""
        whose = network(address)
        self._total -= 1
        self._open[whose] -= 1
        if not self._open[whose]:
            del self._open[whose]


class Streams:
    """Counts the pushed streams of each key and person. Only for the event loop's thread.

    Args:
        notices: logs refused streams.
        most: streams of each.
    """

    def __init__(self, notices: Notices, most: int) -> None:
        self._notices = notices
        self._most = most
        self._open: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """Count a stream while it is open.

        Raises:
            TooManyRequestsError: the caller has too many.
        """
        who = (caller.organization, caller.name)
        if self._open[who] >= self._most:
            self._notices.note("streams", "/".join(who), f"has {self._most} streams open; more are refused")
            raise TooManyRequestsError(
                f"This key has {self._most} streams open. Use one for each process, or a key for each agent.",
                retry_after=5.0,
                headers={},
            )
        self._open[who] += 1
        try:
            yield
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]


def room_for_connections() -> int:
    """Return how many connections the process may have open. Raises its limit of open files to the system's maximum."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = MOST_FILES if soft == resource.RLIM_INFINITY else min(soft, MOST_FILES)
    return max(files - _OTHER_FILES, _FEWEST)
