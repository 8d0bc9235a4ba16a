"""Group commit: many callers, one writer, one transaction for all that arrived during the previous commit.

There is no writer thread for the work of synchronous callers. The thread that gets the lock commits for the whole
queue, so a single caller needs no thread switch, and thirty-two share one fsync. Coroutines cannot wait for a lock; for
them one background thread takes it. Work that no caller waits for stays in the queue for a moment: the next commit
includes it.

The rules, and the promise of each:

1. The main thread leads, and takes and releases the lock, inside a section of ``interrupts``. A wait for another thread's
   or process's commit ends at once with the exception of a signal handler. Then nothing of the group was done: it returns
   to the front of the queue for the next leader (promise 5: an interrupt reaches only the call that it interrupted).
2. State that threads outside a section use, the queue and the wake-up channel, is changed by single calls of C functions.
   An interrupt comes before or after such a call, never in the middle.
3. Posted work that failed because of the database is kept, and precedes all other work until it succeeds or the process
   ends (promise 5: a finished call's outcome is not lost while its process lives). Work that a caller waits for is not
   kept.
4. A coroutine that queues its work while the writer closes commits it itself, or gets the error that it is closed, because
   no other thread looks at the queue again (promise 5: no call waits for ever).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import get_ident
from typing import Any, Generic, TypeVar

from ascend_guard.errors import ConflictError, ServerError, StoreError
from ascend_guard.interrupts import hold, interruptibly, release, uninterrupted

from .failures import LastingStoreError
from .port import Transaction

_log = logging.getLogger("ascend_guard")

R = TypeVar("R")
Work = Callable[[Transaction], R]

WAITING, DONE, ABANDONED = range(3)
LARGEST_GROUP = 256

LINGER = 0.01
"""Seconds that work without a waiting caller may stay in the queue before the background thread commits it."""

LONGEST_PAUSE = 5.0
"""The most seconds between two attempts to record kept work."""

PARTING = 10.0
"""Seconds for which closing, and the end of the process, try to record kept work."""

_LATER, _NOW = range(2)
"""Why the background thread is woken: for work that may wait a moment, or for work that may not."""

_ASLEEP, _LINGERING = range(2)


class Ticket(Generic[R]):
    """One piece of work in the queue, and later its result.

    Args:
        work: the work to do in the transaction.
        orphaned: called with the result when it is durable and its caller is gone.
        posted: a description for the log, when no caller waits.
        failed: called when posted work will not be tried again.
    """

    __slots__ = (
        *("_lock", "attempts", "error", "failed", "future", "loop", "orphaned", "posted", "result", "state"),
        "work",
    )

    def __init__(
        self,
        work: Work[R],
        orphaned: Callable[[R], None] | None = None,
        posted: str | None = None,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.work = work
        self.orphaned = orphaned
        self.posted = posted
        self.failed = failed
        self.attempts = 0
        self.result: R
        self.error: BaseException | None = None
        self.state = WAITING
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[R] | None = None
        self._lock = threading.Lock()

    def finish(self) -> None:
        """Note that the group is durable, or has failed."""
        with self._lock:
            abandoned = self.state is ABANDONED
            self.state = DONE
        if abandoned:
            self.orphan()

    def abandon(self) -> None:
        """Note that its caller is gone: skip the work, or if it is too late for that, call ``orphaned``."""
        with self._lock:
            done = self.state is DONE
            if not done:
                self.state = ABANDONED
        if done:
            self.orphan()

    def orphan(self) -> None:
        orphaned, self.orphaned = self.orphaned, None  # once; its loop may be closed
        if self.error is None and orphaned is not None:
            orphaned(self.result)

    def take(self) -> R:
        if self.error is not None:
            raise self.error
        return self.result


class GroupCommit:
    """Runs tickets in groups.

    Args:
        commit: runs a group in one transaction and sets ``result`` or ``error`` of each ticket. When it raises, nothing
            of the group was done.
        idle: called by the background thread, which leads, when it has committed what was posted.
    """

    def __init__(
        self, commit: Callable[[Sequence[Ticket[Any]]], None], idle: Callable[[], None] = lambda: None
    ) -> None:
        self._commit = commit
        self._idle = idle
        self._queue: deque[Ticket[Any]] = deque()
        self._kept: list[Ticket[Any]] = []
        self._lock = threading.RLock()
        self._leader = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._wakes: SimpleQueue[int] = SimpleQueue()
        self._thread_is = _ASLEEP
        self._pause = 0.0
        self._closing = False

    def run(self, work: Work[R], orphaned: Callable[[R], None] | None = None) -> R:
        """Commit this, and everything else in the queue, from the calling thread."""
        ticket = Ticket(work, orphaned)
        me = get_ident()
        if self._leader == me:
            # A finaliser interrupted this same thread in the middle of a commit.
            raise ServerError(
                "A governed call cannot begin in the middle of another call's commit (from a finaliser): make it from "
                "ordinary code."
            )
        error: BaseException | None = None
        before = hold()
        try:
            self._queue.append(ticket)
            self._take_turn()
            try:
                if ticket.state is WAITING:  # otherwise another thread has committed it
                    self._leader = me
                    while ticket.state is WAITING:
                        self._commit_group()
            finally:
                self._leader = 0
                self._lock.release()
        except BaseException as raised:
            ticket.abandon()
            error = raised
        release(before, error, ticket.abandon if error is None else None)
        return ticket.take()

    async def arun(self, work: Work[R], orphaned: Callable[[R], None] | None = None) -> R:
        """Commit this from the background thread."""
        ticket = Ticket(work, orphaned)
        loop = ticket.loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        ticket.future = future
        try:
            self._queue.append(ticket)
            self._wake(_NOW)
            if (
                self._closing
            ):  # the background thread may have ended, and closing may have emptied the queue before
                self.flush()
            return await future
        except BaseException:
            ticket.abandon()
            raise

    def post(self, work: Work[Any], what: str, failed: Callable[[BaseException], None] | None = None) -> None:
        """Commit this with the next commit, at the latest ``LINGER`` seconds from now. Safe in finalisers."""
        self._queue.append(Ticket(work, posted=what, failed=failed))
        if self._thread_is is _ASLEEP:
            self._wake(_LATER)

    def hurry(self) -> None:
        """Commit posted work soon: a caller waits for it, with a time limit."""
        self._wake(_NOW)

    def flush(self) -> None:
        """Return when posted work is committed, by this thread or another, unless this same thread is committing."""
        if self._leader != get_ident():
            with uninterrupted():
                self._take_turn()
                try:
                    self._lead()
                finally:
                    self._lock.release()

    def hold(self) -> None:
        """Prevent commits until ``let_go``."""
        self._lock.acquire()

    def let_go(self) -> None:
        """Allow commits again."""
        self._lock.release()

    def close(self, then: Callable[[], None]) -> None:
        """Commit what is queued, stop the background thread, and call ``then`` while nothing can be committed."""
        with uninterrupted():
            with self._starting:
                self._closing = True
                thread = self._thread
            try:
                if thread is not None and thread is not threading.current_thread():
                    self._wakes.put(_NOW)
                    interruptibly(thread.join)
                self._take_turn()
            except BaseException:  # interrupted: it is still open
                self._closing, self._thread = False, None
                raise
            try:
                self._part()
            finally:
                try:
                    then()
                finally:
                    self._lock.release()

    def finish(self) -> None:
        """The process ends: commit posted work, for a limited time, and log what could not be committed."""
        if self._leader != get_ident():
            with uninterrupted():
                self._take_turn()
                try:
                    self._part()
                finally:
                    self._lock.release()

    # --- turns -------------------------------------------------------------------------------------------------------

    def _take_turn(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        try:
            interruptibly(self._lock.acquire)
        except BaseException:
            if self._lock._is_owned():  # type: ignore[attr-defined]  # threading.Condition relies on it as well
                self._lock.release()
            raise

    def _wake(self, why: int) -> None:
        self._wakes.put(why)
        if self._thread is None and not self._closing:
            with uninterrupted(), self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._work, name="ascend-guard-writer", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:  # the interpreter is ending, or there are too many threads
                        self.flush()
                        return
                    self._thread = thread

    def _work(self) -> None:
        """Lead when there is work without a waiting caller.

        Only this thread changes ``_thread_is``. It announces that it sleeps before it checks the queue, so work that was
        queued without a wake-up, because it was not asleep, is seen.
        """
        wakes = self._wakes
        while not self._closing:
            try:
                why = wakes.get(timeout=self._pause or None)
            except Empty:
                why = _NOW  # time to retry kept work
            self._thread_is = _LINGERING
            until = time.monotonic() + LINGER
            while why is _LATER:
                try:
                    why = wakes.get(timeout=max(0.0, until - time.monotonic()))
                except Empty:
                    break
            while not wakes.empty():
                wakes.get()
            self._thread_is = _ASLEEP
            with self._lock:
                self._lead()
                if not self._kept:
                    self._rest()
                self._pause = min(max(2 * self._pause, 0.1), LONGEST_PAUSE) if self._kept else 0.0

    def _rest(self) -> None:
        try:
            self._idle()
        except Exception:  # this thread must go on
            _log.exception("Rows could not be written; their readers will try again")

    # --- committing --------------------------------------------------------------------------------------------------

    def _lead(self) -> None:
        self._leader = get_ident()
        try:
            again = bool(self._kept)
            while self._queue or again:
                self._commit_group()
                again = False
        finally:
            self._leader = 0

    def _part(self) -> None:
        """Commit everything, repeatedly for ``PARTING`` seconds, then give up the rest."""
        until = time.monotonic() + PARTING
        try:
            self._lead()
            while self._kept and time.monotonic() < until:
                interruptibly(time.sleep, 0.1)
                self._lead()
        finally:
            kept, self._kept = self._kept, []
            for ticket in kept:
                self._give_up(ticket, "this process closed the database and could not record it")

    def _commit_group(self) -> None:
        group, self._kept = self._kept, []  # posted before everything in the queue
        for ticket in group:
            ticket.error = None
        queue = self._queue
        while queue and len(group) < LARGEST_GROUP:
            ticket = queue.popleft()
            if ticket.state is not ABANDONED:
                group.append(ticket)
        if not group:
            return
        try:
            self._commit(group)
        except Exception as error:
            for ticket in group:
                ticket.error = error
        except BaseException:
            for ticket in group:
                ticket.error = None
            queue.extendleft(reversed(group))
            self._wake(_NOW)
            raise
        self._deliver(group)

    def _deliver(self, group: Sequence[Ticket[Any]]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Ticket[Any]]] = {}
        for ticket in group:
            if ticket.posted is not None and (ticket.error is not None or ticket.attempts):
                self._posted(ticket)
                continue
            ticket.finish()
            if ticket.loop is not None:
                by_loop.setdefault(ticket.loop, []).append(ticket)
        for loop, tickets in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, tickets)
            except RuntimeError:  # the loop was closed during the commit
                for ticket in tickets:
                    ticket.orphan()

    def _posted(self, ticket: Ticket[Any]) -> None:
        """Keep posted work that the database did not accept; log that once, and again when it has succeeded."""
        error = ticket.error
        ticket.attempts += 1
        if error is None:
            _log.warning("%s: recorded now, with attempt %d.", ticket.posted, ticket.attempts)
        elif isinstance(error, StoreError) and not isinstance(error, LastingStoreError):
            if ticket.attempts == 1:
                _log.error(
                    "%s, but that could not be recorded yet. It will be retried while this process runs: %s",
                    ticket.posted,
                    error,
                )
            self._kept.append(ticket)
            thread = self._thread
            if thread is None or thread.ident != get_ident():  # that thread checks by itself after it has led
                self._wake(_LATER)
        elif not (
            ticket.attempts > 1 and isinstance(error, ConflictError)
        ):  # an attempt was recorded after all
            self._give_up(ticket, "that could not be recorded")

    @staticmethod
    def _give_up(ticket: Ticket[Any], why: str) -> None:
        _log.error("%s, but %s: %s", ticket.posted, why, ticket.error)
        if ticket.failed is not None and ticket.error is not None:
            ticket.failed(ticket.error)


def _resolve(tickets: Sequence[Ticket[Any]]) -> None:
    with uninterrupted():
        for ticket in tickets:
            future = ticket.future
            assert future is not None
            if future.done():
                continue
            if ticket.error is not None:
                future.set_exception(ticket.error)
            else:
                future.set_result(ticket.result)
