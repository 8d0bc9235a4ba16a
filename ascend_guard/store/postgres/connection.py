"""Connections to PostgreSQL: how they are made, their settings, their time-outs, and how they encode text.

The rules about waiting, and their promise (1: a fault blocks, within a limited time):

1. No round trip waits longer than ``ANSWER`` seconds. TCP alone does not end such a wait: the kernel of a machine whose
   database process hangs continues to acknowledge, and so does a proxy that stopped forwarding.
2. The server ends what takes too long a little earlier, so that a slow answer can be distinguished from a missing one.
3. While the pulse (``postgres.listener``) gets no answer, no other connection is made: each attempt would wait in vain.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ascend_guard.errors import ConfigurationError, StoreError
from ascend_guard.store.failures import explain_postgres

R = TypeVar("R")
Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

ANSWER = 6.5
"""Seconds that one round trip may take, the server's own time-outs included."""

PATIENCE = 5.0
"""Seconds to wait for a connection, and for a free one among the readers."""

_DEFAULTS = {
    "application_name": "ascend-guard",
    "connect_timeout": "4",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "6000",
    "target_session_attrs": "read-write",
}

# A replica that stands still in the middle of a transaction holds up all others: the server ends it, and its lock goes.
# Those that wait for its lock wait longer than that. A request may wait so twice, and is answered within ten seconds.
# The server's keepalives are for replicas whose machine is gone.
_SETTINGS = {
    "idle_in_transaction_session_timeout": "4s",
    "lock_timeout": "4800ms",
    "statement_timeout": "6s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",  # a plan made for empty tables is unsuitable for full ones
}
WRITING = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""For the writer, whose plans must stay right when the tables grow: it finds everything by an index."""

READING_LONG = {"idle_in_transaction_session_timeout": "10min", "statement_timeout": "1min"}
"""For snapshots, which block nothing, and whose reader may do other work between two rows."""

MAKING_TABLES = {"lock_timeout": "10min", "statement_timeout": "0"}
"""For schema upgrades, which rewrite tables and wait for another replica that upgrades."""

_PATIENT = 65.0
"""Seconds that one round trip of ``READING_LONG`` may take."""

_TRANSACTION_TIMEOUT = 170_000
"""The server version that can also end a transaction whose client hangs between the messages of one request."""


class TextDumper(Dumper):
    """PostgreSQL's text cannot contain NUL. It is stored as ``\\x01\\x01``, and ``\\x01`` itself as ``\\x01\\x02``, which
    also keeps the order of texts."""

    def dump(self, obj: str) -> bytes:
        data = obj.encode()
        if b"\0" in data or b"\1" in data:
            return data.replace(b"\1", b"\1\2").replace(b"\0", b"\1\1")
        return data


class TextLoader(Loader):
    """The reverse of ``TextDumper``."""

    def load(self, data: Buffer) -> str:
        text = str(data, "utf-8")
        return text.replace("\1\1", "\0").replace("\1\2", "\1") if "\1" in text else text


@cache
def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_dumper(str, TextDumper)
    adapters.register_loader("text", TextLoader)
    return adapters


class Silent(psycopg.OperationalError):
    """The server is reachable, but does not answer."""


class _Bounded(psycopg.Connection[tuple[Any, ...]]):
    """Closes itself when a round trip takes longer than ``answer_within`` seconds (None: never)."""

    answer_within: float | None = ANSWER

    def wait(self, gen: PQGen[R], *args: Any, **options: Any) -> R:
        """Run one of the driver's exchanges with the server. Raises ``Silent``."""
        if self.answer_within is None:
            return super().wait(gen, *args, **options)
        return super().wait(self._within(gen, self.answer_within), *args, **options)

    def _within(self, gen: PQGen[R], seconds: float) -> PQGen[R]:
        ends = time.monotonic() + seconds
        try:
            wanted = next(gen)
            while True:
                # The driver calls this ten times a second, with nothing ready.
                ready = yield wanted
                if not ready and time.monotonic() >= ends:
                    self.pgconn.finish()  # its answer may come later, to another query
                    raise Silent(f"connection is lost: no answer within {seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            answer: R = done.value
            return answer


class _Context:
    """Passes adapters to a connection, as psycopg requires it."""

    connection = None

    @property
    def adapters(self) -> AdaptersMap:
        return _adapters()


class Address:
    """The address of the database, without showing its secrets.

    Args:
        url: ``postgresql://user:password@host:port/database``, with any of libpq's parameters.

    Raises:
        ConfigurationError: it is not such a URL.
    """

    def __init__(self, url: str) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:  # its message would quote the URL
            raise ConfigurationError(
                "The database URL cannot be read. It looks like postgresql://user:password@host:5432/database; "
                "write special characters of the password as %40 for @, %2F for /, %23 for #."
            ) from None
        self._conninfo = make_conninfo("", **{**_DEFAULTS, **given, "client_encoding": "utf8"})
        self._password = str(given.get("password") or os.environ.get("PGPASSWORD") or "")
        host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "localhost"
        port = given.get("port") or os.environ.get("PGPORT") or 5432
        self._name = f"{host}:{port}/{given.get('dbname') or os.environ.get('PGDATABASE') or ''}"
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._abandoned: list[Connection] = []
        self.silent = False

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"Address({self._name!r})"

    def connect(self, settings: dict[str, str] | None = None, *, pulse: float = 0.0) -> Connection:
        """Return a new connection in autocommit mode.

        Args:
            settings: session settings besides those of every connection.
            pulse: for the connection that checks whether the server answers: seconds that it waits for an answer. Such a
                connection is tried even while ``silent``.

        Raises:
            psycopg.Error: it cannot be made; ``Silent`` when the server is known not to answer.
        """
        if self.silent and not pulse:
            raise Silent("connection is lost: the server gives no answer")
        connection = _Bounded.connect(self._conninfo, autocommit=True, context=_Context())
        self._open.add(connection)
        try:
            if pulse:
                connection.answer_within = pulse
            wanted = {**_SETTINGS, **(settings or {})}
            if connection.info.server_version >= _TRANSACTION_TIMEOUT and settings not in (
                READING_LONG,
                MAKING_TABLES,
            ):
                wanted["transaction_timeout"] = "60s"
            # An answer means durable, whatever the server's default is; a stronger setting stays.
            connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
            connection.execute(
                b"SELECT " + b", ".join([b"set_config(%s, %s, false)"] * len(wanted)),
                [part for setting in wanted.items() for part in setting],
            )
            if settings is READING_LONG:
                connection.answer_within = _PATIENT
            elif settings is MAKING_TABLES:
                connection.answer_within = None
        except BaseException:
            connection.close()
            raise
        return connection

    def explain(self, error: Exception) -> StoreError:
        """Return the error to raise instead of the driver's. It does not contain the password."""
        text = str(error).replace(self._password, "***") if self._password else str(error)
        return explain_postgres(type(error).__name__, text, getattr(error, "sqlstate", None), str(self))

    def abandon(self) -> None:
        """In a forked child: release the parent's connections without sending anything to the server.

        Closing them would end the parent's sessions; keeping their sockets open would keep the sessions alive after the
        parent's death.
        """
        self.silent = False  # the child checks for itself
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for connection in list(self._open):
            if not connection.closed:
                os.dup2(nowhere, connection.fileno(), inheritable=False)
                self._abandoned.append(connection)
        os.close(nowhere)
        self._open = weakref.WeakSet()


class Readers:
    """A few connections for reading, each with its reader.

    Args:
        open_one: makes a connection.
        reader: makes the reader on it.
        size: the most connections.
        busy: returns the error when all of them stay busy.
    """

    def __init__(
        self,
        open_one: Callable[[], Connection],
        reader: Callable[[Connection], Any],
        size: int,
        busy: Callable[[], StoreError],
    ) -> None:
        self._open_one = open_one
        self._reader = reader
        self._busy = busy
        self._free = threading.Semaphore(size)
        self._idle: list[tuple[Connection, Any]] = []
        self._closed = False

    @contextmanager
    def one(self, *, fresh: bool = False) -> Iterator[Any]:
        """Lend a reader; ``fresh``: on a new connection, because idle ones were found lost."""
        if not self._free.acquire(timeout=PATIENCE):
            raise self._busy()
        try:
            if fresh:
                self.drop_idle()
            try:
                connection, reader = self._idle.pop()
            except IndexError:
                connection = self._open_one()
                reader = self._reader(connection)
            try:
                yield reader
            finally:
                # Interrupted in the middle of a query, it would return that query's answer to the next one.
                if (
                    connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
                    and not self._closed
                ):
                    self._idle.append((connection, reader))
                else:
                    connection.close()
        finally:
            self._free.release()

    def drop_idle(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[0].close()

    def close(self) -> None:
        """Close all connections; those in use when they are returned."""
        self._closed = True
        self.drop_idle()
