"""What this process hears from the others, and how they know that it lives.

One connection of its own listens for announcements and holds an advisory lock under this process's name. Both end with the
session, whatever ended it; a thread makes a new one at once. The same connection is the pulse: when it gets no answer,
everything in this process knows within five seconds that the server hangs (``Address.silent``).
"""

from __future__ import annotations

import hashlib
import os
import select
import threading
import time

import psycopg

from ascend_guard.errors import StoreError

from .connection import Address, Connection, Silent
from .queries import CHANNEL

_HEARTBEAT = 2.0
"""Seconds of silence after which the connection is tried."""

PULSE = 3.0
"""Seconds that an answer to that may take."""

_SILENCE = 10.0
"""Seconds of silence after which nobody knows what was missed."""

_RETRY = 0.1
"""Seconds between two attempts to connect again."""

_ALIVE = """
SELECT 1 FROM pg_locks WHERE locktype='advisory' AND granted AND objsubid=1
AND database=(SELECT oid FROM pg_database WHERE datname=current_database())
AND classid=%s::bigint::oid AND objid=%s::bigint::oid
LIMIT 1
"""


def _number(runner: str) -> int:
    name = f"ascend-guard runner {runner}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big", signed=True)


def alive(connection: Connection, runner: str) -> bool:
    """Whether the process of this name holds its lock."""
    number = _number(runner) % 2**64
    return connection.execute(_ALIVE, (number >> 32, number % 2**32)).fetchone() is not None


class Listener:
    """Hears announcements and shows that this process lives.

    Args:
        address: where the database is; told whether it answers.
        runner: this process's name.

    Raises:
        psycopg.Error: it cannot begin.
    """

    def __init__(self, address: Address, runner: str) -> None:
        self._address = address
        self._runner = runner
        self._closing = False
        self._lost: str | None = None
        self._news = True
        self._heard = time.monotonic()
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC)
        try:
            self._connection: Connection | None = self._attach()
        except BaseException:
            self._close_pipe()
            raise
        self._thread = threading.Thread(target=self._listen, name="ascend-guard-listener", daemon=True)
        self._thread.start()

    def news(self) -> bool:
        """Whether anything was announced, or may have been, since this was last asked.

        Raises:
            StoreError: the connection is lost, so nobody knows.
        """
        if self._lost is not None:
            raise StoreError(self._lost)
        silence = time.monotonic() - self._heard
        if silence > _SILENCE:
            raise self._address.explain(
                psycopg.OperationalError(f"connection is lost: silent for {silence:.0f} s")
            )
        if self._news:
            self._news = False
            return True
        return False

    def close(self) -> None:
        """Take leave."""
        self._closing = True
        os.write(self._woken, b"x")
        self._thread.join()
        self._close_pipe()

    def abandon(self) -> None:
        """In a forked child, whose thread stayed in the parent."""
        self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._wake)
        os.close(self._woken)

    def _attach(self) -> Connection:
        connection = self._address.connect(pulse=PULSE)
        try:
            connection.add_notify_handler(self._hear)
            # Shared: a lost session of this very process may hold it for a while longer.
            connection.execute("SELECT pg_advisory_lock_shared(%s)", (_number(self._runner),))
            connection.execute(f"LISTEN {CHANNEL}".encode())
        except BaseException:
            connection.close()
            raise
        self._heard = time.monotonic()
        self._address.silent = False
        self._news = True  # what was announced before could not be heard
        self._lost = None
        return connection

    def _hear(self, notify: psycopg.Notify) -> None:
        self._news = True

    def _listen(self) -> None:
        while not self._closing:
            try:
                connection = self._connection or self._attach()
                self._connection = connection
                self._sleep(_HEARTBEAT, connection.fileno())
                connection.execute("SELECT 1")  # brings what has arrived
                self._heard = time.monotonic()
            except Exception as error:
                self._address.silent = isinstance(error, Silent | psycopg.errors.ConnectionTimeout)
                self._lost = str(self._address.explain(error))
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
                else:
                    self._sleep(_RETRY)
        if self._connection is not None:
            self._connection.close()

    def _sleep(self, seconds: float, *files: int) -> None:
        """Until one of them, or the pipe, has something to say."""
        poll = select.poll()
        for file in (self._wake, *files):
            poll.register(file, select.POLLIN)
        poll.poll(seconds * 1000)
