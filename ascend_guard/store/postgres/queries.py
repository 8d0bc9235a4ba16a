"""The store's reads and changes in PostgreSQL's dialect.

A group of works takes two round trips, however large it is: one that locks and reads the head, and one that sends all
writes together with the commit. A read in between takes another round trip, and before it everything is written that it
could see.
"""

# ruff: noqa: S608 - statements are composed of our own names

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, TypeAlias

import msgspec
import psycopg
from psycopg.sql import Literal

from ascend_guard.errors import StoreError
from ascend_guard.store.changes import Changes
from ascend_guard.store.commits import Undecided
from ascend_guard.store.log import first_heads, key_of, sealed
from ascend_guard.store.log_queries import HEAD
from ascend_guard.store.queries import COLUMNS, Queries
from ascend_guard.store.rows import ActionRow, Head

from .connection import PATIENCE, Connection, Silent

CHANNEL = "ascend_guard"
"""The channel on which commits that a process may wait for are announced."""

_QUIET = frozenset(("submitted", "started", "completed", "failed", "handed_over", "waiting", "forgotten"))
"""Events of every call, which no process waits for; announcing them would take time."""

_LOCK = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_current_xact_id()::text FROM writing FOR UPDATE; "
    f"{HEAD} WHERE organization IN ("
)
_PREFETCHED = 50
"""How many heads are read together with the lock: those of the organizations that this process wrote for last."""

_INSERT = (
    f"INSERT INTO actions (key, {', '.join(COLUMNS)}) "
    f"SELECT key, {', '.join(COLUMNS)} FROM json_populate_recordset(NULL::actions, %s)"
).encode()
# Division by zero is how a statement aborts a transaction: a row is not as this process left it.
_SETTLE = b"""
WITH given AS (
    SELECT * FROM json_to_recordset(%s) AS given (
        key bigint, outcome text, settled_at double precision, duration double precision, error text,
        completed_seq bigint
    )
), done AS (
    UPDATE actions SET outcome=given.outcome, settled_at=given.settled_at, duration=given.duration, error=given.error,
        completed_seq=given.completed_seq
    FROM given WHERE actions.key=given.key
        AND actions.claimed_at IS NOT NULL AND (actions.outcome IS NULL OR actions.outcome='unknown')
    RETURNING 1
)
SELECT 1/(count(*)=%s)::integer FROM done
"""
_APPEND = b"""
INSERT INTO log (key, action, event, body, salt, leaf)
SELECT key, action, event, body, salt, leaf
FROM unnest(%b::bigint[], %b::bigint[], %s::text[], %b::bytea[], %b::bytea[], %b::bytea[])
    AS given (key, action, event, body, salt, leaf)
"""
_PART = "SELECT key, action, event, body, salt, leaf FROM log WHERE key>? AND key<? ORDER BY key LIMIT 1000"
_NEW_HEAD = (
    b"INSERT INTO heads (organization, seq, hash, mac, last_action, turns, projected, number) "
    b"VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)
_NEXT_HEAD = (
    b"UPDATE heads SET seq=%s, hash=%s, mac=%s, last_action=%s, turns=%s, projected=%s WHERE number=%s"
)
_encode = msgspec.json.Encoder().encode
_NUL = re.compile(rb"\\(?:u000([01])|.)", re.DOTALL)


Statement: TypeAlias = tuple[bytes, Sequence[Any]]


class Settlement(msgspec.Struct):
    """The outcome of an action that this process has claimed."""

    key: int
    outcome: str
    settled_at: float
    duration: float | None
    error: str | None
    completed_seq: int | None


@lru_cache(maxsize=256)
def _translated(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def json_text(parts: Sequence[bytes]) -> str:
    """Return JSON values as one list, with NUL encoded as by ``TextDumper``."""
    text = b"[" + b",".join(parts) + b"]"
    if b"\\u000" in text:
        text = _NUL.sub(_kept, text)
    return text.decode()


def _kept(match: re.Match[bytes]) -> bytes:
    which = match.group(1)
    if which is None:
        return match.group()
    return b"\\u0001\\u0001" if which == b"0" else b"\\u0001\\u0002"


class PostgresReader(Queries):
    """Reads on one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        super().__init__(self._ask)

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        return self.connection.execute(_translated(sql), values)


class PostgresSnapshot(PostgresReader):
    """Reads the state of one moment, in an open transaction; long results arrive in parts."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._stream = self._fetch
        self._cursors = count()

    def _fetch(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with self.connection.cursor(name=f"rows_{next(self._cursors)}") as cursor:
            cursor.itersize = 1000
            cursor.execute(_translated(sql), values)
            yield from cursor


class PostgresTransaction(Changes):
    """The only transaction of the process's writer.

    Args:
        connect: makes a connection for writing. Raises ``psycopg.Error``.
        key: the store's secret.
        explain: returns the error to raise instead of the driver's.
    """

    def __init__(
        self, connect: Callable[[], Connection], key: bytes, explain: Callable[[Exception], StoreError]
    ) -> None:
        super().__init__(self._ask, key)
        self._connect = connect
        self._explain = explain
        self._connection: Connection | None = None
        self._change = self._ask_change
        self._do = self._later
        self._id = ""
        self._fetched: dict[str, Head] = {}
        self._recent: dict[str, None] = {}
        self._written = 0
        self._announce = False
        self._inserted: list[bytes] = []
        self._settled: list[bytes] = []
        self._waiting: list[Statement] = []

    # --- the life of a transaction -----------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Wait for the other replicas, and start.

        Raises:
            psycopg.Error: it cannot be started.
        """
        self._id, heads = self._lock()
        self._fetched = {head.organization: head for head in heads}
        self._begun(now)

    def _lock(self) -> tuple[str, list[Head]]:
        recent = list(self._recent)[-_PREFETCHED:]
        if self._connection is not None and not self._connection.closed:
            try:
                return _locked(self._connection, recent)
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
        self._connection = self._connect()  # the first, or the previous one was lost while idle
        return _locked(self._connection, recent)

    def head(self, organization: str) -> Head:
        fetched = self._fetched.get(organization)
        if fetched is not None:
            return fetched
        head = super().head(organization)
        if head.number >= 0:
            self._fetched[organization] = head
        return head

    def commit(self) -> None:
        """Make everything durable.

        Raises:
            Undecided: the answer was lost, and the server cannot be asked for the result.
            psycopg.Error: nothing was committed.
        """
        heads = self._next_heads()
        last: list[Statement] = []
        if self._log:
            last.append((_APPEND, self._columns()))
        for head, new in heads:
            number, organization, *values = msgspec.structs.astuple(head)
            last.append(
                (_NEW_HEAD, (organization, *values, number)) if new else (_NEXT_HEAD, (*values, number))
            )
        if self._announce or any(row[2] not in _QUIET for row in self._log):
            last.append((f"NOTIFY {CHANNEL}".encode(), ()))
        last.append((b"COMMIT", ()))
        assert self._connection is not None
        try:
            self._send(last)
        except psycopg.Error as error:
            if not self._connection.closed or not self._was_committed(error):
                raise
        self._remember(heads)
        for head, _ in heads:
            self._recent.pop(head.organization, None)
            self._recent[head.organization] = None
        while len(self._recent) > 2 * _PREFETCHED:
            del self._recent[next(iter(self._recent))]
        self._clear()

    def _columns(self) -> Sequence[Any]:
        return tuple(map(list, zip(*self._log, strict=True)))

    def _was_committed(self, lost: Exception) -> bool:
        """Return whether a commit succeeded whose connection was lost.

        The old session holds the lock on the head until it ends, either way; the next holder of the lock sees the result.
        A server that does not answer is not asked again, because its callers have waited long enough.
        """
        until = time.monotonic() + 2 * PATIENCE
        while True:
            try:
                if isinstance(lost, Silent):
                    raise lost
                with self._connect() as connection:
                    _locked(connection, [])
                    if self._log:
                        key, *_, leaf = self._log[-1]
                        found = connection.execute("SELECT leaf FROM log WHERE key=%s", (key,)).fetchone()
                        return found is not None and found[0] == leaf
                    found = connection.execute("SELECT pg_xact_status(%s::xid8)", (self._id,)).fetchone()
                    return found is not None and found[0] == "committed"
            except psycopg.Error as error:
                if time.monotonic() > until or isinstance(error, Silent):
                    why = str(self._explain(lost))
                    raise Undecided(
                        StoreError(f"{why} Whether this was recorded is unknown; check before you repeat it.")
                    ) from lost
                time.sleep(0.05)

    def rollback(self) -> None:
        """Undo everything, and forget all cached state."""
        super().rollback()
        self._clear()
        connection = self._connection
        if connection is None or connection.closed:
            return
        try:
            if connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()

    def _clear(self) -> None:
        self._announce = False
        self._inserted.clear()
        self._settled.clear()
        self._waiting.clear()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def changes(self) -> int:
        """A number that grows with everything written so far."""
        return self._written + len(self._log)

    # --- what is written later ---------------------------------------------------------------------------------------

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        assert self._connection is not None
        if self._inserted or self._settled or self._waiting:
            self._send([])
        return self._connection.execute(_translated(sql), values)

    def _ask_change(self, sql: str, values: Sequence[Any]) -> psycopg.Cursor[tuple[Any, ...]]:
        cursor = self._ask(sql, values)
        self._written += cursor.rowcount
        return cursor

    def _later(self, sql: str, values: Sequence[Any]) -> None:
        if self._settled:
            self._waiting.append(self._settlements())
        self._waiting.append((_translated(sql), values))
        self._written += 1

    def _send(self, last: Sequence[Statement]) -> None:
        """Write pending statements, in order, and these, in one round trip; new actions first, to which no earlier one
        refers."""
        statements = [*self._waiting, *([self._settlements()] if self._settled else ()), *last]
        if self._inserted:
            statements.insert(0, (_INSERT, (json_text(self._inserted),)))
            self._inserted.clear()
        self._waiting.clear()
        assert self._connection is not None
        if len(statements) == 1:
            self._connection.execute(*statements[0])
            return
        first: Exception | None = None
        try:
            with self._connection.pipeline():
                try:
                    for sql, values in statements:
                        self._connection.execute(sql, values)
                except Exception as error:
                    first = error
        except psycopg.Error as error:  # those that follow from the first
            raise first or error from None
        if first is not None:
            raise first

    def _settlements(self) -> Statement:
        statement = _SETTLE, (json_text(self._settled), len(self._settled))
        self._settled.clear()
        return statement

    # --- changes -----------------------------------------------------------------------------------------------------

    def action(self, organization: str, action_id: int) -> ActionRow | None:
        end = self._ends.get(organization)
        before = end is None or action_id <= end.head.last_action
        if self._inserted and not self._waiting and not self._settled and before:
            # A row that existed before need not wait for new ones.
            inserted, self._inserted = self._inserted, []
            try:
                return super().action(organization, action_id)
            finally:
                self._inserted = inserted
        return super().action(organization, action_id)

    def stored(self, number: int, after: int = 0) -> Iterator[tuple[int, Any, Any, Any, Any, Any]]:
        # In parts: this connection fetches whole results.
        until, key = key_of(number + 1, 0), key_of(number, after)
        while rows := self._execute(_PART, (key, until)).fetchall():
            yield from rows
            key = rows[-1][0]

    def _insert_action(self, row: ActionRow) -> None:
        key = self._key_of(row.organization, row.id)
        self._inserted.append(b'{"key":%d,' % key + _encode(row)[1:])
        self._written += 1
        if row.status == "pending":
            self._announce = True  # a process may wait for it, and its deadline must be known

    def settle_action(self, organization: str, action_id: int, columns: dict[str, Any]) -> None:
        # The rows of running actions may be changed by other replicas: the statement checks that they were not.
        self._claimed.pop((organization, action_id), None)
        self._claiming.pop((organization, action_id), None)
        self._settled.append(_encode(Settlement(self._key_of(organization, action_id), **columns)))
        self._written += 1

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> None:
        pass  # the record does it

    def revive(self, organization: str, agent_id: str) -> bool:
        return self.is_on(organization, agent_id)


def _locked(connection: Connection, organizations: Sequence[str]) -> tuple[str, list[Head]]:
    """Wait for the lock of all writers, and read the heads of these organizations."""
    names = b", ".join(Literal(name).as_bytes(connection) for name in organizations)
    cursor = connection.execute(_LOCK.encode() + (names or b"NULL") + b")", prepare=False)
    cursor.nextset()
    row = cursor.fetchone()
    if row is None:
        raise StoreError("The lock of this database's writers is missing: see `ascend-guard audit verify`.")
    cursor.nextset()
    return row[0], [Head(*head) for head in cursor.fetchall()]


def begin_logs(connection: Connection, key: bytes, where: str) -> None:
    """Create the ends of the logs of a new database, or check that this key sealed all ends.

    Raises:
        StoreError: another key sealed one, or a log was cut.
    """
    reader = PostgresReader(connection)
    headless = reader.is_headless()
    if not headless and not reader.heads():
        for head in first_heads(key):
            connection.execute(
                "INSERT INTO heads (number, organization, seq, hash, mac, last_action, turns, projected) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                msgspec.structs.astuple(head),
            )
    if headless or not all(
        sealed(key, head.organization, head.seq, head.hash, head.mac) for head in reader.heads()
    ):
        raise StoreError(
            f"The end of the audit trail in {where} was not sealed with this secret key. All replicas must be "
            f"given the same one; if they are, records were cut or the database was edited. No call runs until this is "
            f"resolved: see `ascend-guard audit verify`."
        )
