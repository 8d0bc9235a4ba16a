"""How this process receives notifications from the others, and how they know that it is alive.

A separate connection listens for notifications and holds an advisory lock under this process's name. Both end with the
session, whatever ended it; a thread makes a new session at once. The same connection is the pulse: when it gets no answer,
this whole process knows within five seconds that the server hangs (``Address.silent``).
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
"""Seconds of silence after which the connection is tested."""

PULSE = 3.0
"""Seconds within which the test must be answered."""

_SILENCE = 10.0
"""Seconds of silence after which notifications may have been missed."""

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
    """Return whether the process of this name holds its lock."""
    number = _number(runner) % 2**64
    return connection.execute(_ALIVE, (number >> 32, number % 2**32)).fetchone() is not None


class Listener:
    """Receives notifications and shows that this process is alive.

    Args:
        address: the address of the database; it is informed whether the server answers.
        runner: this process's name.

    Raises:
        psycopg.Error: it cannot start.
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
        """Return whether there was a notification, or may have been, since the last call.

        Raises:
            StoreError: the connection is lost, so this is unknown.
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
        """End the session."""
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
            # Shared: a lost session of this same process may hold it for a while longer.
            connection.execute("SELECT pg_advisory_lock_shared(%s)", (_number(self._runner),))
            connection.execute(f"LISTEN {CHANNEL}".encode())
        except BaseException:
            connection.close()
            raise
        self._heard = time.monotonic()
        self._address.silent = False
        self._news = True  # earlier notifications could not be received
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
                connection.execute("SELECT 1")  # receives what has arrived
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
        """Sleep until one of them, or the pipe, is readable."""
        poll = select.poll()
        for file in (self._wake, *files):
            poll.register(file, select.POLLIN)
        poll.poll(seconds * 1000)
