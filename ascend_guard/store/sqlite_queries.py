"""The store's questions and changes in SQLite's dialect."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from .mends import restored
from .port import ActionRow
from .queries import COLUMNS, Changes, Queries

_INSERT = f"INSERT INTO actions ({', '.join(COLUMNS[1:])}) VALUES ({', '.join('?' * (len(COLUMNS) - 1))})"


class SQLiteReader(Queries):
    """Answers from one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection.execute)


class SQLiteTransaction(Changes):
    """The one transaction of the process's writer."""

    def __init__(self, connection: sqlite3.Connection, key: bytes, path: Path) -> None:
        # One cursor for all statements: each result is read before the next statement, and making one takes time.
        super().__init__(connection.cursor().execute, key)
        self._change = self._do = self._execute
        self._connection = connection
        self._path = path

    def begin(self, now: float) -> None:
        """Start.

        Raises:
            StoreError: the trail does not end where its key holder ended it, or goes on from another one than this
                process has seen.
        """
        self._execute("BEGIN IMMEDIATE")
        head, last = self.head(), self._head
        self._begun(now, head)
        if last.seq > 0 and head.hash != last.hash:
            found = self._execute("SELECT hash FROM audit WHERE seq=?", (last.seq,)).fetchone()
            if found is None or found[0] != last.hash:
                self._head = last
                raise restored(self._path)

    def commit(self) -> None:
        """Make everything durable."""
        if self._trail:
            self._connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", self._trail)
        head = self._next_head()
        if head is not self._head:
            self._execute(
                "UPDATE head SET seq=?, hash=?, mac=?, kill_version=?", msgspec.structs.astuple(head)
            )
        self._execute("COMMIT")
        self._head = head

    def rollback(self) -> None:
        """Undo everything."""
        super().rollback()
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def changes(self) -> int:
        """A number that grows with everything written so far."""
        return self._connection.total_changes + len(self._trail)

    def insert_action(self, row: ActionRow) -> int:
        self._number(row)
        cursor = self._execute(_INSERT, msgspec.structs.astuple(row)[1:])
        number: int = cursor.lastrowid
        return number
