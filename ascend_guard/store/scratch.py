"""Registered things as a log says they are, in a temporary file: the memory of verification does not grow with them."""

from __future__ import annotations

import sqlite3

from .projections import Drop, Put
from .rows import Record


class Scratch:
    """The registered things of one organization, computed again; only for the thread that made it."""

    def __init__(self, organization: str) -> None:
        self._organization = organization
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute(
            "CREATE TABLE things (kind TEXT, name TEXT, id, body, created_at, updated_at, due_at, "
            "PRIMARY KEY (kind, name)) WITHOUT ROWID"
        )

    def put(self, seq: int, at: float, put: Put) -> None:
        """Write a thing; see ``projections.State``."""
        self._connection.execute(
            "INSERT INTO things VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET "
            "body=excluded.body, updated_at=excluded.updated_at, due_at=excluded.due_at",
            (
                *(put.kind, put.name, put.number or seq, bytes(put.value)),
                *(put.created_at or at, put.updated_at or at, put.due_at),
            ),
        )

    def drop(self, drop: Drop) -> None:
        """Remove a thing, if it exists."""
        self._connection.execute("DELETE FROM things WHERE kind=? AND name=?", (drop.kind, drop.name))

    def find(self, kind: str, name: str) -> Record | None:
        """Return a thing; None if it does not exist."""
        columns = "id, ?, kind, name, body, created_at, updated_at, due_at"
        row = self._connection.execute(
            f"SELECT {columns} FROM things WHERE kind=? AND name=?",  # noqa: S608 - our own names
            (self._organization, kind, name),
        ).fetchone()
        return None if row is None else Record(*row)

    def count(self) -> int:
        """Return how many things there are."""
        count: int = self._connection.execute("SELECT count(*) FROM things").fetchone()[0]
        return count

    def close(self) -> None:
        """Remove the file."""
        self._connection.close()
