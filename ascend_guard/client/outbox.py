"""What is sent beside the calls: outcomes the server did not take at once, and waits that were given up.

One thread sends them in order, for as long as the process lives and a few seconds more. What is lost with the process shows
as ``unknown`` on the server, never as completed.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from ascend_guard.errors import (
    AscendError,
    ConflictError,
    NetworkError,
    RateLimitError,
    ServerError,
    TimeoutError,
)

from .exchange import Exchange, Sender, run

_log = logging.getLogger("ascend_guard.client")

LARGEST = 10_000
"""Messages that may wait; the oldest are given up first."""

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
        self._begin()
        _open.add(self)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._queue: deque[Callable[[], Exchange[Any]]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def post(self, make: Callable[[], Exchange[Any]]) -> None:
        """Send what ``make`` makes, as often as it takes."""
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            if len(self._queue) >= LARGEST:
                self._queue.popleft()
                _log.error("Too much is waiting to be sent to the control plane; an outcome is given up.")
            self._queue.append(make)
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._work, name="ascend-guard-outbox", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Send what is left, for at most ``GOODBYE`` seconds. Closing twice is no error."""
        _open.discard(self)
        if self._process != os.getpid():
            return
        self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(GOODBYE)

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
            except (NetworkError, TimeoutError, ServerError, RateLimitError) as error:
                if failures == 0:
                    _log.warning("The control plane did not take a message; it is sent again: %s", error)
                self._pause(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1
                continue
            except AscendError as error:
                _log.error("The control plane refused a message, which is given up: %s", error)
            failures = 0
            with self._lock:
                if self._queue and self._queue[0] is make:
                    self._queue.popleft()

    def _pause(self, seconds: float) -> None:
        self._closing.wait(seconds if not self._closing.is_set() else min(seconds, 0.2))


_open: weakref.WeakSet[Outbox] = weakref.WeakSet()


def _finish() -> None:
    for outbox in list(_open):
        outbox.close()


atexit.register(_finish)
