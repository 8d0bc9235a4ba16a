"""Group commit: many callers, one writer, one transaction for all who came while the last one was being synced.

There is no writer thread to hand a synchronous caller's work to. Whoever gets the lock commits for everybody in the queue,
so a single caller pays no thread switch and thirty-two share one fsync. Coroutines cannot wait for a lock; for them one
background thread takes it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from ascend_guard.errors import ServerError

from .port import Transaction

R = TypeVar("R")
Work = Callable[[Transaction], R]

WAITING, DONE, ABANDONED = range(3)
LARGEST_GROUP = 256


class ReentrantError(ServerError):
    """The thread that is committing was interrupted by code that wants to commit."""


class Ticket(Generic[R]):
    """One piece of work in the queue, and later its result."""

    __slots__ = ("_lock", "error", "future", "loop", "orphaned", "result", "state", "work")

    def __init__(self, work: Work[R], orphaned: Callable[[R], None] | None = None) -> None:
        self.work = work
        self.orphaned = orphaned
        self.result: R
        self.error: BaseException | None = None
        self.state = WAITING
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[R] | None = None
        self._lock = threading.Lock()

    def finish(self) -> None:
        """The group is durable, or has failed."""
        with self._lock:
            abandoned = self.state is ABANDONED
            self.state = DONE
        if abandoned:
            self.orphan()

    def abandon(self) -> None:
        """Its caller is gone: skip it, or if it is too late for that, tell ``orphaned``."""
        with self._lock:
            done = self.state is DONE
            if not done:
                self.state = ABANDONED
        if done:
            self.orphan()

    def orphan(self) -> None:
        if self.error is None and self.orphaned is not None:
            self.orphaned(self.result)

    def take(self) -> R:
        if self.error is not None:
            raise self.error
        return self.result


class GroupCommit:
    """Runs tickets in groups.

    Args:
        commit: runs a group in one transaction and leaves ``result`` or ``error`` in each ticket. It does not raise,
            except for what is not an ``Exception``.
    """

    def __init__(self, commit: Callable[[Sequence[Ticket[Any]]], None]) -> None:
        self._commit = commit
        self._queue: deque[Ticket[Any]] = deque()
        # Re-entrant, because a signal handler may come between taking the lock and saying who leads.
        self._lock = threading.RLock()
        self._leader = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._signal = threading.Event()
        self._closing = False

    def run(self, work: Work[R], orphaned: Callable[[R], None] | None = None) -> R:
        """Commit this, and whatever else waits, from the calling thread."""
        ticket = Ticket(work, orphaned)
        me = threading.get_ident()
        if self._leader == me:
            # A signal handler or a finaliser interrupted this very thread in the middle of a commit.
            raise ReentrantError(
                "A governed call cannot begin in the middle of another one's commit (from a signal handler or "
                "a finaliser): do it from ordinary code."
            )
        self._queue.append(ticket)
        try:
            with self._lock:
                self._leader = me
                try:
                    while ticket.state is WAITING:
                        self._commit_group()
                finally:
                    self._leader = 0
        except BaseException:
            ticket.abandon()
            raise
        return ticket.take()

    async def arun(
        self, work: Work[R], orphaned: Callable[[R], None] | None = None, *, essential: bool = False
    ) -> R:
        """Commit this from the background thread; when ``essential``, also if the caller is cancelled meanwhile."""
        ticket = Ticket(work, orphaned)
        loop = ticket.loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        ticket.future = future
        self._queue.append(ticket)
        self._wake()
        try:
            return await future
        except asyncio.CancelledError:
            if not essential:
                ticket.abandon()
            raise

    def post(self, work: Work[Any]) -> None:
        """Commit this soon, from the background thread. Safe in finalisers: it never waits for a commit."""
        self._queue.append(Ticket(work))
        self._wake()

    def close(self) -> None:
        """Commit what is queued and stop the background thread."""
        self._closing = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._signal.set()
            thread.join()
        with self._lock:
            while self._queue:
                self._commit_group()

    def _wake(self) -> None:
        if self._thread is None and not self._closing:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._work, name="ascend-guard-writer", daemon=True
                    )
                    self._thread.start()
        self._signal.set()

    def _work(self) -> None:
        while not self._closing:
            self._signal.wait()
            self._signal.clear()
            with self._lock:
                self._leader = threading.get_ident()
                try:
                    while self._queue:
                        self._commit_group()
                finally:
                    self._leader = 0

    def _commit_group(self) -> None:
        group: list[Ticket[Any]] = []
        queue = self._queue
        while queue and len(group) < LARGEST_GROUP:
            ticket = queue.popleft()
            if ticket.state is not ABANDONED:
                group.append(ticket)
        if not group:
            return
        try:
            self._commit(group)
        except BaseException as error:
            for ticket in group:
                ticket.error = error
            raise
        finally:
            self._deliver(group)

    @staticmethod
    def _deliver(group: Sequence[Ticket[Any]]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Ticket[Any]]] = {}
        for ticket in group:
            ticket.finish()
            if ticket.loop is not None:
                by_loop.setdefault(ticket.loop, []).append(ticket)
        for loop, tickets in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, tickets)
            except RuntimeError:  # the loop was closed while its calls were being committed
                for ticket in tickets:
                    ticket.orphan()


def _resolve(tickets: Sequence[Ticket[Any]]) -> None:
    for ticket in tickets:
        future = ticket.future
        assert future is not None
        if future.done():
            continue
        if ticket.error is not None:
            future.set_exception(ticket.error)
        else:
            future.set_result(ticket.result)
