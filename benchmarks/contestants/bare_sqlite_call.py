"""What one governed call writes to its log, byte for byte, written by sqlite3 alone. Usage: DURABILITY FOLDER.

A record and the new end of its log are durable before the tool runs, and another record and end after it, as for the
governed call. Nothing else is stored: no index, no row for the action, no check of the end.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from plane import ARGUMENTS, control_plane
from serving import serve

from ascend_guard import governed
from ascend_guard.store.log import key_of
from ascend_guard.store.port import Head, LogRow

durability, folder = sys.argv[1:]


def recorded() -> tuple[list[LogRow], Head]:
    plane = control_plane(Path(folder) / "sample", durability)

    @governed("refund", "payments", control_plane=plane)
    def refund(order_id: str, amount: int, note: str) -> None:
        return None

    refund("order-1234", *ARGUMENTS)
    rows, head = plane.read(
        lambda reader: (list(reader.log(plane.organization)), reader.head(plane.organization))
    )
    plane.close()
    return rows, head


(before, after), head = recorded()
connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'power' else 'NORMAL'}")
connection.execute(
    "CREATE TABLE heads (number INTEGER PRIMARY KEY, organization TEXT NOT NULL, seq INTEGER NOT NULL, "
    "hash BLOB NOT NULL, mac BLOB NOT NULL, last_action INTEGER NOT NULL, turns INTEGER NOT NULL)"
)
connection.execute(
    "CREATE TABLE log (key INTEGER PRIMARY KEY, action INTEGER, event TEXT NOT NULL, body BLOB NOT NULL, "
    "salt BLOB NOT NULL, leaf BLOB NOT NULL)"
)
connection.execute(
    "INSERT INTO heads VALUES (?, ?, 0, ?, ?, 0, 0)", (head.number, head.organization, head.hash, head.mac)
)


def write(seq: int, action: int, row: LogRow) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)",
        (key_of(head.number, seq), key_of(head.number, action), row.event, row.body, row.salt, row.leaf),
    )
    connection.execute(
        "UPDATE heads SET seq=?, hash=?, mac=?, last_action=? WHERE number=?",
        (seq, head.hash, head.mac, action, head.number),
    )
    connection.execute("COMMIT")


def call(number: int) -> None:
    write(2 * number + 1, number + 1, before)
    # here the tool would run
    write(2 * number + 2, number + 1, after)


serve(call)
