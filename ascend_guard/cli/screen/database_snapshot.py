"""Read one snapshot of the database without changing it.

``audit verify`` and ``doctor`` must be able to read a database that the store refuses to open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ascend_guard.errors import StoreError

if TYPE_CHECKING:
    import sqlite3


@contextmanager
def looking(path: Path) -> Iterator[tuple[sqlite3.Connection, bytes]]:
    """Yield a read-only connection in its own transaction, and the key of the audit trail.

    Raises:
        StoreError: the database cannot be read, or its key cannot.
    """
    import sqlite3

    from ascend_guard.store.failures import explain

    if not path.exists():
        raise StoreError(
            f"There is no database at {path}. The first governed call creates it; --database-url names another."
        )
    key = _key(path.with_name(path.name + ".key"))
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("BEGIN")
            tables = "SELECT name FROM sqlite_master WHERE name IN ('head', 'heads')"
            found = connection.execute(tables).fetchone()
            if found is not None and found[0] == "head":
                raise StoreError(
                    f"{path} has the tables of an older version. The next governed call upgrades it; until then, use the "
                    f"ascend-guard that wrote it to look at it or to verify it."
                )
            if found is None:
                raise StoreError(
                    f"{path} is a SQLite database, but not an ascend-guard database. Name another file."
                )
            yield connection, key
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _key(path: Path) -> bytes:
    try:
        return bytes.fromhex(path.read_text().strip())
    except FileNotFoundError:
        raise StoreError(
            f"The key of the audit trail, {path}, is missing. Restore it from a backup: without it, it is "
            f"unknown whether the trail was cut."
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"The key of the audit trail, {path}, cannot be used ({error}). Restore it from a backup."
        ) from error
