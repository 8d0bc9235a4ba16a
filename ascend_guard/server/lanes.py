"""Lanes: where requests are handled that may take more than a moment, so that the event loop stays free for the others.

The rules, and the promises they keep (1: a decision always comes; 4: so does the kill switch):

1. Only the endpoints of ``LIGHT``, with a body of at most ``SMALL`` bytes, are handled on the event loop: their time is
   bounded by one action. Everything else, and every endpoint that is added later, is handled in a lane: decoded, judged,
   answered and encoded in a thread, on an event loop of its own.
2. What stops agents (the kill switch) and what decides about them (submit, status, claim, approve) never waits for a lane.
3. A caller uses one lane at a time, and so does an organization. Whose turn it is next goes by who came first, so callers
   of one organization take turns, and organizations do. An organization that has more waiting rests twice as long as its
   last request took: lanes share the interpreter with the event loop, and no organization gets more than a third of it.
4. Lanes read on connections of their own. The lock on the one that SQLite's other readers share is never held for long.
5. No call into C that a lane makes with what a caller sent holds the interpreter for long: see ``bodies``, and the bounds
   of pages in ``paging``.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from ascend_guard.store.port import Reader, Store

from .handling import Caller
from .limits import TooManyRequestsError
from .notices import Notices

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
"""Bytes of a body that is decoded on the event loop: the worst ones take 3 ms to decode, redact and digest."""

LANES = 2
LONGEST_REST = 1.0
"""Seconds."""

MOST_WAITING = 256
"""Requests of one caller that may wait for a lane."""


class Lanes:
    """A few threads, shared fairly.

    Args:
        notices: where it is logged that a caller was refused.
    """

    def __init__(self, notices: Notices) -> None:
        self._pool = ThreadPoolExecutor(LANES, thread_name_prefix="ascend-guard-lane")
        self._free = asyncio.Semaphore(LANES)
        self._turns: dict[tuple[str, str], _Turn] = {}
        self._notices = notices

    async def run(self, caller: Caller, work: Callable[[], R], most: int = MOST_WAITING) -> R:
        """Do this in a lane.

        Args:
            caller: whose request it is.
            work: what to do, in a thread.
            most: how many requests of this caller may wait at once.

        Raises:
            TooManyRequestsError: more of them wait already.
        """
        waiting = self._turns.get((caller.organization, caller.name))
        if waiting is not None and waiting.users >= most:
            self._notices.note(
                "lane", f"{caller.organization}/{caller.name}", "has too many long requests waiting"
            )
            raise TooManyRequestsError(
                f"{waiting.users} of your long requests wait already (lists, large bodies). Send them one after the other.",
                retry_after=1.0,
                headers={},
            )
        context = contextvars.copy_context()
        async with (
            self._turn((caller.organization, caller.name)),
            self._turn((caller.organization, "")) as turn,
        ):
            loop = asyncio.get_running_loop()
            if (rest := turn.rests_until - loop.time()) > 0:
                await asyncio.sleep(rest)
            async with self._free:
                began = loop.time()
                try:
                    return await loop.run_in_executor(self._pool, lambda: context.run(work))
                finally:
                    ended = loop.time()
                    turn.rests_until = ended + min(2 * (ended - began), LONGEST_REST)

    def close(self) -> None:
        """Let the threads end with what they are doing."""
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


class _Turn:
    __slots__ = ("lock", "rests_until", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.rests_until = 0.0


def apart(store: Store) -> Store:
    """The same store, as handlers in a lane use it: its questions are answered in their own thread."""
    return cast(Store, _Apart(store))  # the rest of its methods are the store's own


class _Apart:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def aread(self, work: Callable[[Reader], R]) -> R:
        return self._store.apart(work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
