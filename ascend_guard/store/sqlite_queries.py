"""The store's questions and changes in SQLite's dialect."""

from __future__ import annotations

import sqlite3

import msgspec

from .port import ActionRow
from .queries import COLUMNS, Changes, Queries

_INSERT = f"INSERT INTO actions ({', '.join(COLUMNS[1:])}) VALUES ({', '.join('?' * (len(COLUMNS) - 1))})"


class SQLiteReader(Queries):
    """Answers from one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection.execute)


class SQLiteTransaction(Changes):
    """The one transaction of the process's writer."""

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        # One cursor for all statements: each result is read before the next statement, and making one takes time.
        super().__init__(connection.cursor().execute, key)
        self._change = self._do = self._execute
        self._connection = connection

    def begin(self, now: float) -> None:
        """Start.

        Raises:
            StoreError: the trail does not end where its key holder ended it.
        """
        self._execute("BEGIN IMMEDIATE")
        self._begun(now, self.head())

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
        cursor = self._execute(_INSERT, msgspec.structs.astuple(row)[1:])
        number: int = cursor.lastrowid
        return number
