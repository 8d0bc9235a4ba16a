"""What is sent beside the calls: outcomes the server did not take at once, and waits that were given up.

One thread sends them in order, for as long as the process lives and a few seconds more. What is lost with the process shows
as ``unknown`` on the server, never as completed.
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
"""Messages that may wait; what comes after that is given up."""

TRANSIENT = (NetworkError, TimeoutError, ServerError, RateLimitError)
"""What the next attempt may find fixed."""

GOODBYE = 5.0
"""Seconds that closing waits for what is still to be sent."""

_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)


class Outbox:
    """Sends exchanges nobody waits for.

    Args:
        transport: by which.
    """

    def __init__(self, transport: Sender) -> None:
        self._transport = transport
        self._closing = threading.Event()
        self.renew()
        renewed_in_children(self)
        _open.add(self)

    def renew(self) -> None:
        """Begin with nothing to send. What a parent process has to send, the parent sends."""
        closed = self._closing.is_set()
        self._queue: deque[Callable[[], Exchange[Any]]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._finished = False
        self._closing = threading.Event()
        if closed:
            self._closing.set()

    def post(self, make: Callable[[], Exchange[Any]], *, always: bool = False) -> None:
        """Send what ``make`` makes, as often as it takes; ``always``: even where too much waits already."""
        with self._lock:
            if self._thread is None:
                if self._closing.is_set():
                    _log.error("The guard is closed; a message for the control plane is given up.")
                    return
                self._finish_with_worker()
                thread = threading.Thread(target=self._work, name="ascend-guard-outbox", daemon=True)
                thread.start()
                self._thread = thread
            if len(self._queue) >= LARGEST and not always:
                _log.error("Too much is waiting to be sent to the control plane; a message is given up.")
                return
            self._queue.append(make)

    def close(self, seconds: float | None = None) -> None:
        """Send what is left, for at most so many seconds, or ``GOODBYE``. Closing twice is no error."""
        _open.discard(self)
        self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(GOODBYE if seconds is None else seconds)
        left = len(self._queue)
        if left:
            _log.error("The control plane did not take %d messages. Outcomes show as unknown.", left)

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
                pass  # the server has it: an earlier attempt's answer was lost
            except TRANSIENT as error:
                if failures == 0:
                    _log.warning("The control plane did not take a message; it is sent again: %s", error)
                self._pause(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1
                if failures > len(_PAUSES) and isinstance(error, ServerError):
                    with self._lock:
                        self._queue.rotate(-1)  # it may be this one alone that the server cannot take
                continue
            except Exception as error:
                _log.error("The control plane refused a message, which is given up: %s", error)
            failures = 0
            with self._lock:
                if self._queue and self._queue[0] is make:
                    self._queue.popleft()

    def _finish_with_worker(self) -> None:
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None and not self._finished:
            self._finished = True  # forked workers run nothing of atexit's
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
        outbox._closing.set()  # all of them share the time there is
    for outbox in left:
        outbox.close(max(0.0, ends - time.monotonic()))


atexit.register(_finish)
