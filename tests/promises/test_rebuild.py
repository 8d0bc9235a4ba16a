"""The tables can be computed anew from the log, and never from a log that was changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from independent_replay import differences
from postgres_server import shared_server
from support import POLICY

from ascend_guard import ActionPendingError, EmbeddedControlPlane, StoreError, governed
from ascend_guard.engine import keys
from ascend_guard.engine.audit import verify
from ascend_guard.engine.policy import parse_policy
from ascend_guard.engine.rebuilding import rebuild
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.sqlite.store import SQLiteStore

SECRET = b"s" * 32
CHANGES = [
    "UPDATE actions SET status='denied', decided_by='eve'",
    "DELETE FROM actions WHERE outcome IS NOT NULL",
    "UPDATE actions SET resource='elsewhere', edits='{}'",
    "DELETE FROM approvals",
    "INSERT INTO approvals (action, approver, at) SELECT action, 'eve', 1.0 FROM approvals",
    "DELETE FROM kill_switches",
    "UPDATE kill_switches SET reason='none'",
    "DELETE FROM things WHERE kind='api_key'",
    "UPDATE things SET created_at=1.0, due_at=2.0",
    "UPDATE heads SET last_action=99, turns=99",
    "UPDATE heads SET projected=0 WHERE organization='local'",
    "UPDATE actions SET key=key+5 WHERE outcome IS NULL",
]
IN_THE_LOG = [
    "UPDATE log SET body=salt",
    "DELETE FROM log WHERE event='approved'",
    "UPDATE heads SET seq=seq-1",
]


@contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[SQLiteStore | PostgresStore, Any]]:
    """A store with a bit of everything, and a connection that goes round it."""
    if kind == "sqlite":
        store: SQLiteStore | PostgresStore = SQLiteStore(folder / "a.db", durability="process")
        fill(store)
        with closing(sqlite3.connect(folder / "a.db", isolation_level=None)) as connection, closing(store):
            yield store, connection
        return
    with shared_server().database() as url:
        store = PostgresStore(url, secret=SECRET)
        fill(store)
        with psycopg.connect(url, autocommit=True) as connection, closing(store):
            yield store, connection


def fill(store: SQLiteStore | PostgresStore) -> None:
    """Calls, people, switches and keys."""
    plane = EmbeddedControlPlane(store, parse_policy(POLICY))

    @governed("refund", control_plane=plane, on_pending="raise")
    def refund(amount: float) -> None: ...

    for amount in (1, 2, 3):
        refund(amount)
    for amount in (600, 700):
        with pytest.raises(ActionPendingError):
            refund(amount)
    plane.approve("4", approver="ann", arguments={"amount": 550})
    plane.kill(reason="fire", by="ann", agent_id="other")
    store.write(lambda tx: keys.make_organization(tx, "acme", "pro", "ann"))
    for organization in ("local", "acme"):
        store.write(
            lambda tx, name=organization: keys.make_key(tx, name, agent_id=None, role="admin", by="ann")  # type: ignore[misc]
        )
    store.write(lambda tx: None)


TABLES = ("actions", "approvals", "kill_switches", "things", "heads")


def contents(connection: Any, *, heads: bool = True) -> list[list[Any]]:
    """Every computed table, and the counters of the heads."""
    columns = {"heads": "organization, last_action, turns"}
    return [
        sorted(map(repr, connection.execute(f"SELECT {columns.get(table, '*')} FROM {table}").fetchall()))
        for table in TABLES
        if heads or table != "heads"
    ]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_tables_are_as_they_were(kind: str, tmp_path: Path) -> None:
    """After any change of them, and it is on record who did it."""
    with database(kind, tmp_path) as (store, connection):
        store.read(lambda reader: reader.heads())  # rows that were left for later are written
        was = contents(connection)
        for change in CHANGES:
            connection.execute(change)
            assert not store.snapshot(lambda reader: verify(reader, store.secret)).ok, change
            before = rebuild(store, "ann")
            assert before.problems, change
            report = store.snapshot(lambda reader: verify(reader, store.secret))
            assert report.ok, (change, report.problems)
            assert contents(connection) == was, change
        last = store.read(lambda reader: list(reader.log("")))[-1]
        assert last.event == "rebuilt"
        assert b'"actor":"ann"' in last.body
    if kind == "sqlite":
        key = bytes.fromhex((tmp_path / "a.db.key").read_text().strip())
        assert differences(tmp_path / "a.db", key) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("change", IN_THE_LOG)
def test_a_changed_log_is_not_used(kind: str, change: str, tmp_path: Path) -> None:
    """The tables stay as they are, and the error names the record."""
    with database(kind, tmp_path) as (store, connection):
        store.read(lambda reader: reader.heads())
        connection.execute(change)
        was = contents(connection)
        with pytest.raises(StoreError, match=r"Nothing was rebuilt|was not sealed"):
            rebuild(store, "ann")
        assert contents(connection) == was


def test_an_interrupted_rebuild_changes_nothing(tmp_path: Path) -> None:
    """It is one transaction."""
    with database("sqlite", tmp_path) as (store, connection):
        store.read(lambda reader: reader.heads())
        connection.execute(CHANGES[0])
        was = contents(connection)
        count = iter(range(100))

        def step() -> None:
            if next(count) == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rebuild(store, "ann", step)
        assert contents(connection) == was
