"""The tables, as numbered steps from an empty database, one folder per dialect."""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

from ascend_guard.errors import StoreError


def steps(dialect: str) -> list[str]:
    """The numbered files of a dialect (``sqlite`` or ``postgres``), in order."""
    files = sorted(resources.files(__name__).joinpath(dialect).iterdir(), key=lambda entry: entry.name)
    return [file.read_text() for file in files if file.name.endswith(".sql")]


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring an old or empty database up to date, one numbered file after the other, each in a transaction."""
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
            f"{path} is a SQLite database, but not one of ours. Name another file, "
            f"for instance database_url='sqlite:///.ascend/ascend.db'."
        )
    for number, step in enumerate(files, 1):
        if number > have:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version={number};\nCOMMIT;"
            )
