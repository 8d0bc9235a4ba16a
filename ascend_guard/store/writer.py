"""Group commit: many callers, one writer, one transaction for all who came while the last one was being synced.

There is no writer thread to hand a synchronous caller's work to. Whoever gets the lock commits for everybody in the queue,
so a single caller pays no thread switch and thirty-two share one fsync. Coroutines cannot wait for a lock; for them one
background thread takes it. Work that nobody waits for lies in the queue for a moment: the next commit takes it along.
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

LINGER = 0.01
"""Seconds that work nobody waits for may lie in the queue before the background thread commits it."""


class Ticket(Generic[R]):
    """One piece of work in the queue, and later its result."""

    __slots__ = ("_lock", "error", "failed", "future", "loop", "orphaned", "result", "state", "work")

    def __init__(
        self,
        work: Work[R],
        orphaned: Callable[[R], None] | None = None,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.work = work
        self.orphaned = orphaned
        self.failed = failed
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
        if self.failed is not None and self.error is not None:
            self.failed(self.error)

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
        self._urgent = threading.Event()
        self._closing = False

    def run(self, work: Work[R], orphaned: Callable[[R], None] | None = None) -> R:
        """Commit this, and whatever else waits, from the calling thread."""
        ticket = Ticket(work, orphaned)
        me = threading.get_ident()
        if self._leader == me:
            # A signal handler or a finaliser interrupted this very thread in the middle of a commit.
            raise ServerError(
                "A governed call cannot begin in the middle of another one's commit (from a signal handler or "
                "a finaliser): do it from ordinary code."
            )
        self._queue.append(ticket)
        try:
            with self._lock:
                if ticket.state is not WAITING:  # somebody else has committed it; make way for the next
                    return ticket.take()
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

    async def arun(self, work: Work[R], orphaned: Callable[[R], None] | None = None) -> R:
        """Commit this from the background thread."""
        ticket = Ticket(work, orphaned)
        loop = ticket.loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        ticket.future = future
        self._queue.append(ticket)
        # What is set already was not yet seen by the thread, which looks at the queue after it clears it.
        if not self._urgent.is_set():
            self._urgent.set()
        if not self._signal.is_set() or self._thread is None:
            self._wake()
        try:
            return await future
        except asyncio.CancelledError:
            ticket.abandon()
            raise

    def post(self, work: Work[Any], failed: Callable[[BaseException], None] | None = None) -> None:
        """Commit this with the next commit, ``LINGER`` seconds from now at the latest. Safe in finalisers."""
        self._queue.append(Ticket(work, failed=failed))
        if not self._signal.is_set() or self._thread is None:
            self._wake()

    def hurry(self) -> None:
        """Do not let what was posted lie in the queue: somebody waits for it, but not for ever."""
        self._urgent.set()

    def flush(self) -> None:
        """Return once what was posted is committed, by this thread or another, unless this very thread is committing."""
        if self._leader != threading.get_ident():
            with self._lock:
                self._lead()

    def hold(self) -> None:
        """Let nothing be committed until ``let_go``."""
        self._lock.acquire()

    def let_go(self) -> None:
        """Go on."""
        self._lock.release()

    def close(self, then: Callable[[], None]) -> None:
        """Commit what is queued, stop the background thread, and call ``then`` while nothing can be committed."""
        with self._starting:
            self._closing = True
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._urgent.set()
            self._signal.set()
            thread.join()
        with self._lock:
            self._lead()
            then()

    def _wake(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None and not self._closing:
                    thread = threading.Thread(target=self._work, name="ascend-guard-writer", daemon=True)
                    thread.start()
                    self._thread = thread
        self._signal.set()

    def _work(self) -> None:
        while not self._closing:
            self._signal.wait()
            self._urgent.wait(LINGER)
            self._signal.clear()
            self._urgent.clear()
            with self._lock:
                self._lead()

    def _lead(self) -> None:
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
