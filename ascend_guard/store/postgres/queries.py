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

from ascend_guard.errors import StoreError
from ascend_guard.store.chain import GENESIS, seal, sealed
from ascend_guard.store.commits import Undecided
from ascend_guard.store.port import ActionRow, Head
from ascend_guard.store.queries import COLUMNS, Changes, Queries

from .connection import PATIENCE, Connection, Silent

CHANNEL = "ascend_guard"
"""The channel on which commits that a process may wait for are announced."""

_QUIET = frozenset(("submitted", "started", "completed", "failed", "handed_over"))
"""Events of every call, which no process waits for; announcing them would take time."""

_LOCK = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
    b"SELECT seq, hash, mac, kill_version, last_action, pg_current_xact_id()::text FROM head FOR UPDATE"
)
_INSERT = (
    f"INSERT INTO actions ({', '.join(COLUMNS)}) "
    f"SELECT {', '.join(COLUMNS)} FROM json_populate_recordset(NULL::actions, %s)"
).encode()
# Division by zero is how a statement aborts a transaction: a row is not as this process left it.
_SETTLE = b"""
WITH given AS (
    SELECT * FROM json_to_recordset(%s) AS given (
        id bigint, organization text, outcome text, duration double precision, error text, completed_seq bigint
    )
), done AS (
    UPDATE actions SET outcome=given.outcome, settled_at=%s, duration=given.duration, error=given.error,
        completed_seq=given.completed_seq
    FROM given WHERE actions.id=given.id AND actions.organization=given.organization
        AND actions.claimed_at IS NOT NULL AND (actions.outcome IS NULL OR actions.outcome='unknown')
    RETURNING 1
)
SELECT 1/(count(*)=%s)::integer FROM done
"""
_RECORD = b"""
INSERT INTO audit (seq, action_id, event, body, hash, organization)
SELECT seq, action_id, event, body, hash, organization
FROM unnest(%b::bigint[], %b::bigint[], %s::text[], %b::bytea[], %b::bytea[], %s::text[])
    AS given (seq, action_id, event, body, hash, organization)
"""
_REMEMBERED = 100_000
"""How many claims of this process have their agents remembered until they are settled."""

_encode = msgspec.json.Encoder().encode
_NUL = re.compile(rb"\\(?:u000([01])|.)", re.DOTALL)


Statement: TypeAlias = tuple[bytes, Sequence[Any]]


class Settlement(msgspec.Struct):
    """The outcome of an action that this process has claimed."""

    id: int
    organization: str
    outcome: str
    duration: float
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
        self._names = count()

    def _fetch(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with self.connection.cursor(name=f"rows_{next(self._names)}") as cursor:
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
        self._last_action = 0
        self._written = 0
        self._announce = False
        self._inserted: list[bytes] = []
        self._first_inserted = 0
        self._settled: list[bytes] = []
        self._waiting: list[Statement] = []
        self._claiming: dict[int, tuple[str, str]] = {}
        self._claimed: dict[int, tuple[str, str]] = {}

    # --- the life of a transaction -----------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Wait for the other replicas, and start.

        Raises:
            StoreError: the end of the trail is not sealed with the store's key.
            psycopg.Error: it cannot be started.
        """
        *head, self._last_action, self._id = self._lock()
        self._begun(now, Head(*head))
        self._first_inserted = self._last_action + 1

    def _lock(self) -> tuple[Any, ...]:
        if self._connection is not None and not self._connection.closed:
            try:
                return _locked(self._connection)
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
        self._connection = self._connect()  # the first, or the previous one was lost while idle
        return _locked(self._connection)

    def commit(self) -> None:
        """Make everything durable.

        Raises:
            Undecided: the answer was lost, and the server cannot be asked for the result.
            psycopg.Error: nothing was committed.
        """
        head = self._next_head()
        last: list[Statement] = []
        if self._trail:
            last.append((_RECORD, self._columns()))
        if head is not self._head or self._inserted or self._last_action >= self._first_inserted:
            last.append(
                (
                    b"UPDATE head SET seq=%s, hash=%s, mac=%s, kill_version=%s, last_action=%s",
                    (*msgspec.structs.astuple(head), self._last_action),
                )
            )
        if self._announce or self._killed or any(row[2] not in _QUIET for row in self._trail):
            last.append((f"NOTIFY {CHANNEL}".encode(), ()))
        last.append((b"COMMIT", ()))
        assert self._connection is not None
        try:
            self._send(last)
        except psycopg.Error as error:
            if not self._connection.closed or not self._was_committed(error):
                raise
        self._head = head
        for number, claim in self._claiming.items():
            self._claimed[number] = claim
        while len(self._claimed) > _REMEMBERED:
            del self._claimed[next(iter(self._claimed))]
        self._clear()

    def _columns(self) -> Sequence[Any]:
        return tuple(map(list, zip(*self._trail, strict=True)))

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
                    connection.execute(_LOCK, prepare=False)
                    if self._trail:
                        seq, *_, hash_, _ = self._trail[-1]
                        found = connection.execute("SELECT hash FROM audit WHERE seq=%s", (seq,)).fetchone()
                        return found is not None and found[0] == hash_
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
        self._claimed.clear()
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
        self._claiming.clear()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def changes(self) -> int:
        """A number that grows with everything written so far."""
        return self._written + len(self._trail)

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
        statement = _SETTLE, (json_text(self._settled), self.now, len(self._settled))
        self._settled.clear()
        return statement

    # --- changes -----------------------------------------------------------------------------------------------------

    def action(self, organization: str, action_id: int) -> ActionRow | None:
        if self._inserted and not self._waiting and not self._settled and action_id < self._first_inserted:
            # A row that existed before need not wait for new ones.
            inserted, self._inserted = self._inserted, []
            try:
                return super().action(organization, action_id)
            finally:
                self._inserted = inserted
        return super().action(organization, action_id)

    def last_action(self) -> int:
        return self._last_action

    def update_action(self, action_id: int, **columns: Any) -> None:
        if action_id <= self._last_action:  # a row that is not stored yet cannot be another row
            super().update_action(action_id, **columns)

    def insert_action(self, row: ActionRow) -> int:
        self._number(row)
        number = self._last_action + 1
        self._inserted.append(_encode(msgspec.structs.replace(row, id=number)))
        self._last_action = number
        self._written += 1
        if row.status == "pending":
            self._announce = True  # a process may wait for it, and its deadline must be known
        elif row.claimed_at is not None and row.outcome is None:
            self._claiming[number] = row.organization, row.agent_id
        return number

    def settle_action(
        self, organization: str, action_id: int, outcome: str, duration: float, error: str | None
    ) -> str | None:
        claim = self._claimed.get(action_id)
        if claim is None or claim[0] != organization:
            return super().settle_action(organization, action_id, outcome, duration, error)
        completed_seq = self.next_seq if outcome == "completed" else None
        self._settled.append(
            _encode(Settlement(action_id, organization, outcome, duration, error, completed_seq))
        )
        del self._claimed[action_id]
        self._written += 1
        return claim[1]


def _locked(connection: Connection) -> tuple[Any, ...]:
    cursor = connection.execute(_LOCK, prepare=False)
    cursor.nextset()
    row = cursor.fetchone()
    if row is None:
        raise StoreError("The end of the audit trail is missing: see `ascend-guard audit verify`.")
    return row


def begin_trail(connection: Connection, key: bytes, where: str) -> None:
    """Create the head of an empty trail, or check that this key sealed it.

    Raises:
        StoreError: another key sealed it, or the trail was cut.
    """
    connection.execute(
        "INSERT INTO head VALUES (1, 0, %s, %s, 0, 0) ON CONFLICT DO NOTHING",
        (GENESIS, seal(key, 0, GENESIS)),
    )
    row = connection.execute("SELECT seq, hash, mac FROM head").fetchone()
    if row is None or not sealed(key, *row):
        raise StoreError(
            f"The end of the audit trail in {where} was not sealed with this secret key. All replicas must be "
            f"given the same one; if they are, records were cut or the database was edited. No call runs until this is "
            f"resolved: see `ascend-guard audit verify`."
        )
