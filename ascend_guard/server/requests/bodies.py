"""Limits on the bodies that are held and parsed at the same time.

1. Bodies are read after their caller is known, and the large bodies of one caller together may have ``PER_CALLER``
   bytes: so memory is limited, also for slow senders.
2. A body has at most ``MOST_VALUES`` values. Parsing is one call into C that blocks all other requests (2 MiB of
   ``[],[],...`` took 146 ms), and so is a policy condition that iterates over the values (0.3 ms for a thousand).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ascend_guard.server.access.limits import TooManyRequestsError
from ascend_guard.server.handling import Caller
from ascend_guard.server.limit_log import Notices

from .asgi import LARGEST_BODY
from .failures import RequestRefused
from .lanes import SMALL

PER_CALLER = 16 << 20
"""Bytes of bodies of one caller that are read or handled at the same time; small ones do not count."""

ALTOGETHER = 128 << 20
"""The same for all callers together."""

MOST_VALUES = 20_000

_FEW = 2 * MOST_VALUES
"""Bytes of a body that cannot have more values, because each takes two bytes."""


class Room:
    """Counts the large bodies that are being read or handled. Only for the event loop's thread.

    Args:
        notices: logs refused callers.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._held: dict[tuple[str, str], int] = {}
        self._total = 0

    @contextmanager
    def held(self, caller: Caller, headers: Mapping[str, str]) -> Iterator[None]:
        """Reserve room while a body is read and handled.

        Raises:
            TooManyRequestsError: there is no room for another large body.
        """
        declared = headers.get("content-length", "")
        known = "transfer-encoding" not in headers and declared.isascii() and declared.isdigit()
        size = min(int(declared), LARGEST_BODY) if known else LARGEST_BODY
        if size <= SMALL:
            yield
            return
        who = (caller.organization, caller.name)
        mine = self._held.get(who, 0)
        if mine + size > PER_CALLER or self._total + size > ALTOGETHER:
            whose = "its" if mine + size > PER_CALLER else "all callers'"
            self._notices.note(
                "bodies",
                "/".join(who),
                f"sent a body that exceeds the limit of {whose} bodies at the same time",
            )
            raise TooManyRequestsError(
                "Too many large bodies are being read at once. Send them one after the other.",
                retry_after=1.0,
                headers={},
            )
        self._held[who] = mine + size
        self._total += size
        try:
            yield
        finally:
            self._total -= size
            left = self._held[who] - size
            if left:
                self._held[who] = left
            else:
                del self._held[who]


def require_few_values(body: bytes) -> None:
    """Refuse a body with more values than may be parsed at once.

    Raises:
        RequestRefused: it has more than ``MOST_VALUES``.
    """
    if len(body) > _FEW and _values(body) > MOST_VALUES:
        raise RequestRefused(
            f"The body has more than {MOST_VALUES:,} values. Pass a reference (a path, an id) instead of the data, or send "
            f"long lists as one string.",
            status=422,
            code="TOO_MANY_VALUES",
        )


def _values(body: bytes) -> int:
    """Estimate the number of values and keys, at least one for each comma and bracket outside of strings."""
    if _marks(body) <= MOST_VALUES:
        return 0
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = body.count(b'"') // 2
    if strings > 2 * MOST_VALUES:  # each string is a value or a key
        return strings
    return _marks(b"".join(body.split(b'"')[::2]))


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")
