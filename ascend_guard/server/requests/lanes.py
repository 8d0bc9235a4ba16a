"""Lanes: threads for requests that may take more than a moment, so that the event loop stays free for the others.

The rules, and their promises (1: a decision always arrives; 4: so does the kill switch):

1. Only the endpoints of ``LIGHT``, with a body of at most ``SMALL`` bytes, are handled on the event loop: their time is
   limited by one action. Everything else, and every endpoint that is added later, is handled in a lane: decoded, judged,
   answered and encoded in a thread, on that thread's own event loop.
2. Endpoints that stop agents (the kill switch) or decide about them (submit, status, claim, approve) never wait for a lane.
3. A caller uses one lane at a time, and so does an organization. The order is first come, first served, so callers of one
   organization take turns, and organizations do. Lanes share the interpreter with the event loop: while it answers other
   callers, an organization pauses four times as long as its last request in a lane took, so that it gets no more than a
   fifth.
4. Lanes read on their own connections. The lock of the connection that SQLite's other readers share is never held for long.
5. While a lane works, threads switch after ``SWITCH_INTERVAL``. A submission releases the interpreter some twenty times
   (each statement, each message) and waits that long each time to get it back.
6. No call into C that a lane makes with a caller's data holds the interpreter for long: see ``bodies``, and the limits of
   pages in ``paging``.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from ascend_guard.server.access.limits import TooManyRequestsError
from ascend_guard.server.handling import Caller
from ascend_guard.server.limit_log import Notices
from ascend_guard.store.port import Reader, Store

R = TypeVar("R")

LIGHT = frozenset(
    (
        *("submit_action", "submit_mcp_action", "get_action_status", "claim_action", "withdraw_action"),
        *("detach_action", "complete_action", "fail_action", "report_outcomes", "evaluate_policy"),
        *("approve_action", "deny_action", "clear_denial", "get_approval"),
        *("get_kill_switch", "trigger_kill_switch", "release_kill_switch", "cascade_kill"),
        *("issue_command", "broadcast_command", "list_commands", "acknowledge_command"),
        *("suspend_agent", "deactivate_agent", "deactivate_mcp_server"),
        *("health", "ready", "deployment_info", "heartbeat"),
        *(
            "configure_webhook",
            "update_webhook",
            "test_webhook",
        ),  # they wait for the network, in their own threads
    )
)
"""The endpoints that are handled on the event loop."""

SMALL = 8 << 10
"""Bytes of a body that is decoded on the event loop: the worst bodies take 3 ms to decode, redact and digest."""

LANES = 2

SWITCH_INTERVAL = 0.00005
"""Seconds. With the 0.0005 of ``serve``, the median of a submission beside large bodies was 20 ms instead of 1.4."""

REST = 4.0
"""The pause, as a multiple of the time of the last request."""

LONGEST_REST = 1.0
"""Seconds."""

RECENT = 1.0
"""Seconds for which a caller that the event loop answered counts as one that lanes must leave room for."""

MOST_WAITING = 256
"""The most requests of one caller that may wait for a lane."""


class Lanes:
    """A few threads, shared fairly.

    Args:
        notices: logs refused callers.
    """

    def __init__(self, notices: Notices) -> None:
        self._pool = ThreadPoolExecutor(LANES, thread_name_prefix="ascend-guard-lane")
        self._free = asyncio.Semaphore(LANES)
        self._turns: dict[tuple[str, str], _Turn] = {}
        self._rests_until: dict[str, float] = {}
        self._on_loop = _OnLoop()
        self._notices = notices

    def answers(self, caller: Caller) -> None:
        """Note that the event loop answers this caller: lanes leave room for it."""
        self._on_loop.note(_who(caller), asyncio.get_running_loop().time())

    async def run(self, caller: Caller, work: Callable[[], R], most: int = MOST_WAITING) -> R:
        """Run this in a lane.

        Args:
            caller: the caller of the request.
            work: the work, run in a thread.
            most: the most requests of this caller that may wait at once.

        Raises:
            TooManyRequestsError: that many already wait.
        """
        who = _who(caller)
        waiting = self._turns.get(who)
        if waiting is not None and waiting.users >= most:
            self._notices.note("lane", "/".join(who), "has too many long requests waiting")
            raise TooManyRequestsError(
                f"{waiting.users} of your long requests already wait (lists, large bodies). Send them one "
                f"after the other.",
                retry_after=1.0,
                headers={},
            )
        context = contextvars.copy_context()
        async with self._turn(who), self._turn((caller.organization, "")):
            await self._rest(who)
            async with self._free:
                loop = asyncio.get_running_loop()
                began = loop.time()
                try:
                    with _QUICKLY:
                        return await loop.run_in_executor(self._pool, lambda: context.run(work))
                finally:
                    ended = loop.time()
                    self._rests_until[caller.organization] = ended + min(REST * (ended - began), LONGEST_REST)

    async def _rest(self, who: tuple[str, str]) -> None:
        now = asyncio.get_running_loop().time()
        rest = self._rests_until.get(who[0], now) - now
        self._rests_until = {name: until for name, until in self._rests_until.items() if until > now}
        if rest > 0 and self._on_loop.others(who, now - RECENT):
            await asyncio.sleep(rest)

    def close(self) -> None:
        """Let the threads end after their present work."""
        self._pool.shutdown(wait=False)

    @asynccontextmanager
    async def _turn(self, whose: tuple[str, str]) -> AsyncIterator[_Turn]:
        turn = self._turns.get(whose)
        if turn is None:
            turn = self._turns[whose] = _Turn()
        turn.users += 1
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[whose]


def _who(caller: Caller) -> tuple[str, str]:
    return caller.organization, caller.name


class _Turn:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class _SwitchingQuickly:
    """Shortens the interpreter's switch interval while at least one lane of this process works."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._working = 0
        self._usual = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._working:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual, SWITCH_INTERVAL))
            self._working += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._working -= 1
            if not self._working:
                sys.setswitchinterval(self._usual)


_QUICKLY = _SwitchingQuickly()


class _OnLoop:
    """The last two callers that the event loop answered, and when: enough to find out whether there is another one."""

    def __init__(self) -> None:
        self._last = self._before = (("", ""), -math.inf)

    def note(self, who: tuple[str, str], now: float) -> None:
        if who != self._last[0]:
            self._before = self._last
        self._last = (who, now)

    def others(self, who: tuple[str, str], since: float) -> bool:
        """Return whether a caller other than this one was answered since then."""
        return any(whose != who and when >= since for whose, when in (self._last, self._before))


def apart(store: Store) -> Store:
    """Return the same store for handlers in a lane: it reads in the lane's own thread."""
    return cast(Store, _Apart(store))  # its other methods are the store's own


class _Apart:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def aread(self, work: Callable[[Reader], R], *, current: bool = False) -> R:
        return self._store.apart(work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
