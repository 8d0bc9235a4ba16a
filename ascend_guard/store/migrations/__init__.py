"""Create and upgrade the tables, in numbered steps from an empty database, one folder per dialect."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

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


def sealed_before(connection: sqlite3.Connection) -> bool:
    """Return whether the database has a record or an end of a log, and so a key that sealed it."""
    tables = "SELECT name FROM sqlite_master WHERE type='table' AND name IN ('head', 'heads', 'audit', 'log')"
    return any(
        connection.execute(f"SELECT 1 FROM {name}").fetchone()  # noqa: S608 - one of four names
        for (name,) in connection.execute(tables).fetchall()
    )


_TO_LOGS = {"sqlite": 5, "postgres": 3}
"""The step after which the new tables are filled from the old ones."""

_OLD = ("audit", "head", "old_actions", "old_approvals", "old_kill_switches", "old_records", "old_runners")


def migrate(connection: sqlite3.Connection, path: Path, key: bytes | None) -> None:
    """Upgrade an old or empty database, one numbered file after the other, each in a transaction.

    ``key``: the store's secret; None for a database that has none yet, which is empty.
    """
    have: int = connection.execute("PRAGMA user_version").fetchone()[0]
    files = steps("sqlite")
    if have > len(files):
        raise StoreError(
            f"{path} was written by a newer ascend-guard (schema {have}; this one knows up to {len(files)}). "
            f"Upgrade: pip install --upgrade ascend-guard."
        )
    ours = connection.execute("SELECT 1 FROM sqlite_master WHERE name IN ('head', 'heads')").fetchone()
    if not ours and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError(
            f"{path} is a SQLite database, but not an ascend-guard database. Name another file, "
            f"for instance database_url='sqlite:///.ascend/ascend.db'."
        )
    for number, step in enumerate(files, 1):
        if number > have:
            try:
                connection.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version={number};")
                if number == _TO_LOGS["sqlite"]:
                    _to_logs(connection, path, key)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it
                    connection.execute("ROLLBACK")
                raise


def _to_logs(connection: sqlite3.Connection, path: Path, key: bytes | None) -> None:
    from ascend_guard.store.log import first_heads

    from .to_logs import migrate_to_logs

    if key is not None:
        for head in first_heads(key):
            connection.execute(
                "INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(head)
            )
        migrate_to_logs(connection.execute, connection.cursor().execute, key, str(path))
    for table in _OLD:
        connection.execute(f"DROP TABLE {table}")


def migrate_postgres(connection: psycopg.Connection[tuple[Any, ...]], where: str, key: bytes) -> None:
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
            _step(connection, where, files, key)
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_MIGRATING,))


def _step(
    connection: psycopg.Connection[tuple[Any, ...]], where: str, files: tuple[str, ...], key: bytes
) -> None:
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
            if number == _TO_LOGS["postgres"]:
                _to_logs_in_postgres(connection, where, key, fresh=not have)


def _to_logs_in_postgres(
    connection: psycopg.Connection[tuple[Any, ...]], where: str, key: bytes, *, fresh: bool
) -> None:
    from ascend_guard.store.log import first_heads

    from .to_logs import migrate_to_logs

    def execute(sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        return connection.execute(sql.replace("?", "%s").encode(), values)

    def stream(sql: str) -> Iterator[Any]:
        with connection.cursor(name="old_trail") as cursor:
            cursor.itersize = 1000
            cursor.execute(sql.encode())
            yield from cursor

    if not fresh:
        for head in first_heads(key):
            execute("INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(head))
        migrate_to_logs(execute, stream, key, where)
    for table in _OLD:
        connection.execute(f"DROP TABLE {table}".encode())


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
