"""Requests that no call waits for: outcomes that the server did not accept at once, and waits that ended.

One thread sends them in order, while the process lives and for a few seconds more. What is lost with the process shows as
``unknown`` on the server, never as completed.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from ascend_guard.client.http.exchange import Exchange, Sender, run
from ascend_guard.errors import (
    ConflictError,
    NetworkError,
    RateLimitError,
    ServerError,
    TimeoutError,
)
from ascend_guard.processes import renewed_in_children

_log = logging.getLogger("ascend_guard.client")

LARGEST = 10_000
"""The most messages that may wait; further messages are discarded."""

TRANSIENT = (NetworkError, TimeoutError, ServerError, RateLimitError)
"""Failures that may be over at the next attempt."""

GOODBYE = 5.0
"""Seconds that closing waits for unsent messages."""

_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)


class Outbox:
    """Sends exchanges that no call waits for.

    Args:
        transport: sends the requests.
    """

    def __init__(self, transport: Sender) -> None:
        self._transport = transport
        self._closing = threading.Event()
        self.renew()
        renewed_in_children(self)
        _open.add(self)

    def renew(self) -> None:
        """Start with nothing to send. The parent process sends its own messages."""
        closed = self._closing.is_set()
        self._queue: deque[Callable[[], Exchange[Any]]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._finished = False
        self._closing = threading.Event()
        if closed:
            self._closing.set()

    def post(self, make: Callable[[], Exchange[Any]], *, always: bool = False) -> None:
        """Send what ``make`` makes, with as many attempts as needed; ``always``: also when the queue is full."""
        with self._lock:
            if self._thread is None:
                if self._closing.is_set():
                    _log.error("The guard is closed; a message for the control plane was discarded.")
                    return
                self._finish_with_worker()
                thread = threading.Thread(target=self._work, name="ascend-guard-outbox", daemon=True)
                thread.start()
                self._thread = thread
            if len(self._queue) >= LARGEST and not always:
                _log.error("The queue of messages for the control plane is full; a message was discarded.")
                return
            self._queue.append(make)

    def close(self, seconds: float | None = None) -> None:
        """Send what is left, for at most ``seconds`` (by default ``GOODBYE``). It may be called twice."""
        _open.discard(self)
        self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(GOODBYE if seconds is None else seconds)
        left = len(self._queue)
        if left:
            _log.error("The control plane did not accept %d messages. Outcomes show as unknown.", left)

    def _work(self) -> None:
        failures = 0
        ends: float | None = None
        while True:
            if self._closing.is_set() and ends is None:
                ends = time.monotonic() + GOODBYE
            with self._lock:
                if not self._queue or (ends is not None and time.monotonic() > ends):
                    self._thread = None
                    return
                make = self._queue[0]
            try:
                run(make(), self._transport, self._pause)
            except ConflictError:
                pass  # the server has it: the answer to an earlier attempt was lost
            except TRANSIENT as error:
                if failures == 0:
                    _log.warning(
                        "The control plane did not accept a message; it will be sent again: %s", error
                    )
                self._pause(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1
                if failures > len(_PAUSES) and isinstance(error, ServerError):
                    with self._lock:
                        self._queue.rotate(-1)  # the server may be unable to accept this message only
                continue
            except Exception as error:
                _log.error("The control plane refused a message, which was discarded: %s", error)
            failures = 0
            with self._lock:
                if self._queue and self._queue[0] is make:
                    self._queue.popleft()

    def _finish_with_worker(self) -> None:
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None and not self._finished:
            self._finished = True  # forked workers run no atexit handlers
            multiprocessing.Finalize(None, _finish, exitpriority=0)

    def _pause(self, seconds: float) -> None:
        if self._closing.is_set():
            time.sleep(min(seconds, 0.2))
        else:
            self._closing.wait(seconds)


_open: weakref.WeakSet[Outbox] = weakref.WeakSet()


def _finish() -> None:
    ends = time.monotonic() + GOODBYE
    left = list(_open)
    for outbox in left:
        outbox._closing.set()  # all of them share the remaining time
    for outbox in left:
        outbox.close(max(0.0, ends - time.monotonic()))


atexit.register(_finish)
