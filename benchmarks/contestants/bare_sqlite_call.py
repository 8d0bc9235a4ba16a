"""The audit records of one governed call, byte for byte, written by sqlite3 alone. Usage: DURABILITY FOLDER.

Two records are durable before the tool runs and one after it, as for the governed call. Nothing else is
stored: no index, no row for the action, no check of the chain.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from plane import ARGUMENTS, control_plane
from serving import serve

from ascend_guard import governed

durability, folder = sys.argv[1:]


def recorded() -> list[tuple[int | None, str, bytes, bytes]]:
    plane = control_plane(Path(folder) / "sample", durability)

    @governed("refund", "payments", control_plane=plane)
    def refund(order_id: str, amount: int, note: str) -> None:
        return None

    refund("order-1234", *ARGUMENTS)
    rows = plane.read(lambda reader: list(reader.audit()))
    plane.close()
    return [(row.action_id, row.event, row.body, row.hash) for row in rows]


*before, after = recorded()
connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'power' else 'NORMAL'}")
connection.execute(
    "CREATE TABLE audit (seq INTEGER PRIMARY KEY, action_id INTEGER, event TEXT NOT NULL, "
    "body BLOB NOT NULL, hash BLOB NOT NULL)"
)
INSERT = "INSERT INTO audit VALUES (?, ?, ?, ?, ?)"
size = len(before) + 1


def call(number: int) -> None:
    seq = number * size
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(INSERT, [(seq + index, *row) for index, row in enumerate(before, 1)])
    connection.execute("COMMIT")
    # here the tool would run
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(INSERT, (seq + size, *after))
    connection.execute("COMMIT")


serve(call)
