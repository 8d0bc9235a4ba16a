"""Create and upgrade the tables, in numbered steps from an empty database, one folder per dialect."""

from __future__ import annotations

import sqlite3
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ascend_guard.errors import StoreError

if TYPE_CHECKING:
    import psycopg

_MIGRATING = int.from_bytes(b"ascend-g", "big")
"""The advisory lock of the process that creates the tables."""


@cache
def steps(dialect: str) -> tuple[str, ...]:
    """Return the numbered files of a dialect (``sqlite`` or ``postgres``), in order; read once."""
    files = sorted(resources.files(__name__).joinpath(dialect).iterdir(), key=lambda entry: entry.name)
    return tuple(file.read_text() for file in files if file.name.endswith(".sql"))


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Upgrade an old or empty database, one numbered file after the other, each in a transaction."""
    have: int = connection.execute("PRAGMA user_version").fetchone()[0]
    files = steps("sqlite")
    if have > len(files):
        raise StoreError(
            f"{path} was written by a newer ascend-guard (schema {have}; this one knows up to {len(files)}). "
            f"Upgrade: pip install --upgrade ascend-guard."
        )
    ours = connection.execute("SELECT 1 FROM sqlite_master WHERE name='head'").fetchone()
    if not ours and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError(
            f"{path} is a SQLite database, but not an ascend-guard database. Name another file, "
            f"for instance database_url='sqlite:///.ascend/ascend.db'."
        )
    for number, step in enumerate(files, 1):
        if number > have:
            connection.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version={number};\nCOMMIT;")


def migrate_postgres(connection: psycopg.Connection[tuple[Any, ...]], where: str) -> None:
    """The same in PostgreSQL: all missing steps in one transaction, by one process at a time.

    Raises:
        StoreError: a newer version created the tables, or they are not ascend-guard's.
        psycopg.Error: the upgrade failed.
    """
    files = steps("postgres")
    if _version(connection, where, len(files)) == len(files):
        return
    # Taken before the transaction begins, which would otherwise not see everything that its holder has created.
    connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATING,))
    try:
        with connection.transaction():
            _step(connection, where, files)
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_MIGRATING,))


def _step(connection: psycopg.Connection[tuple[Any, ...]], where: str, files: tuple[str, ...]) -> None:
    have = _version(connection, where, len(files))
    if not have:
        if any(_there(connection, table) for table in _TABLES):
            raise StoreError(
                f"{where} has tables of another program with the same names. Give ascend-guard a separate database, "
                f"or a schema: add ?options=-csearch_path%3Dascend to the URL."
            )
        connection.execute("CREATE TABLE ascend_guard_schema (version integer PRIMARY KEY)")
    for number, step in enumerate(files, 1):
        if number > have:
            connection.execute(step.encode())
            connection.execute("INSERT INTO ascend_guard_schema VALUES (%s)", (number,))


_TABLES = ("actions", "audit", "head", "records", "runners", "approvals", "kill_switches")


def _there(connection: psycopg.Connection[tuple[Any, ...]], table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return row is not None and bool(row[0])


def _version(connection: psycopg.Connection[tuple[Any, ...]], where: str, known: int) -> int:
    """Return the step of the tables; 0 when there are none."""
    if not _there(connection, "ascend_guard_schema"):
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM ascend_guard_schema").fetchone()
    have: int = 0 if row is None else row[0]
    if have > known:
        raise StoreError(
            f"{where} was written by a newer ascend-guard (schema {have}; this one knows up to {known}). "
            f"Upgrade: pip install --upgrade ascend-guard."
        )
    return have
