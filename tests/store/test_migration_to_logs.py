"""A database of the version before one log per organization is upgraded without loss, or not at all.

``version_4.sql`` has the rows of a database which that version wrote. They are loaded into tables made by the old steps.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from independent_replay import differences
from postgres_server import shared_server
from recorded import every_action, every_record

from ascend_guard import AgentAction, EmbeddedControlPlane, StoreError
from ascend_guard.engine import keys, webhooks
from ascend_guard.engine.audit import verify
from ascend_guard.engine.policy import parse_policy
from ascend_guard.flow import Submit
from ascend_guard.store.migrations import steps, to_logs
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.queries import COLUMNS
from ascend_guard.store.sqlite.store import SQLiteStore

HERE = Path(__file__).parent
KEY = bytes.fromhex((HERE / "version_4.key").read_text().strip())
OLD = 4
"""The version of SQLite's tables before."""

OLD_IN_POSTGRES = 2
COMPARED = [name for name in COLUMNS if name not in ("started_seq", "submitted_seq", "completed_seq")]
POLICY = parse_policy(
    "{version: 1, rules: [{name: ask, actions: [ask], effect: require_approval, timeout: 30m}]}"
)


def rows_of(connection: Any, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, by their columns' names."""
    cursor = connection.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The old database in a file, with its key and its switch file."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        for step in steps("sqlite")[:OLD]:
            connection.executescript(step)
        connection.executescript((HERE / "version_4.sql").read_text())
        connection.execute(f"PRAGMA user_version={OLD}")
        connection.commit()
    shutil.copy(HERE / "version_4.key", tmp_path / "a.db.key")
    shutil.copy(HERE / "version_4.switch", tmp_path / "a.db.switch")
    return path


def contents(path: Path) -> list[str]:
    """Everything in a database."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def before(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The old tables."""
    with closing(sqlite3.connect(path)) as connection:
        tables = ("actions", "approvals", "kill_switches", "records", "audit")
        return {table: rows_of(connection, f"SELECT * FROM {table}") for table in tables}


@pytest.fixture(params=["sqlite", "postgres"])
def migrated(
    request: pytest.FixtureRequest, old: Path
) -> Iterator[tuple[dict[str, list[dict[str, Any]]], SQLiteStore | PostgresStore]]:
    """The old tables, and the store that has upgraded them."""
    was = before(old)
    if request.param == "sqlite":
        store: SQLiteStore | PostgresStore = SQLiteStore(old, durability="process")
        yield was, store
        store.close()
        return
    with shared_server().database() as url:
        _into_postgres(url, old)
        store = PostgresStore(url, secret=KEY)
        yield was, store
        store.close()


def _into_postgres(url: str, old: Path) -> None:
    """The same rows in the old tables of PostgreSQL."""
    with psycopg.connect(url, autocommit=True) as connection, closing(sqlite3.connect(old)) as source:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.execute("CREATE TABLE ascend_guard_schema (version integer PRIMARY KEY)")
        for number, step in enumerate(steps("postgres")[:OLD_IN_POSTGRES], 1):
            connection.execute(step.encode())
            connection.execute("INSERT INTO ascend_guard_schema VALUES (%s)", (number,))
        for table in ("actions", "approvals", "kill_switches", "records", "audit", "runners"):
            for row in rows_of(source, f"SELECT * FROM {table}"):
                names, places = ", ".join(row), ", ".join(["%s"] * len(row))
                identity = "OVERRIDING SYSTEM VALUE" if table == "records" else ""
                insert = f"INSERT INTO {table} ({names}) {identity} VALUES ({places})"
                connection.execute(insert.encode(), list(row.values()))
        [head] = rows_of(source, "SELECT seq, hash, mac, kill_version FROM head")
        newest = source.execute("SELECT max(id) FROM actions").fetchone()[0]
        connection.execute("INSERT INTO head VALUES (1, %s, %s, %s, %s, %s)", (*head.values(), newest))


def test_everything_is_there(migrated: tuple[dict[str, Any], SQLiteStore | PostgresStore]) -> None:
    """Every action, approval, switch, registered thing and record, with the same contents, and all of it verifies."""
    was, store = migrated
    report = store.snapshot(lambda reader: verify(reader, store.secret))
    assert report.ok, report.problems
    new = {row.id: row for row in store.read(every_action)}
    assert set(new) == {row["id"] for row in was["actions"]}
    for row in was["actions"]:
        now = new[row["id"]]
        assert now.organization == row["organization"]
        for name in COMPARED:
            expected = row[name]
            if isinstance(expected, float):
                expected = pytest.approx(expected, abs=1e-6)  # records state microseconds
            assert getattr(now, name) == expected, (row["id"], name)
        given = store.read(lambda reader, now=now: reader.approvals(now.organization, now.id))  # type: ignore[misc]
        then = [one for one in was["approvals"] if one["action_id"] == row["id"]]
        assert [(one.approver, one.comment, one.groups, one.identity) for one in given] == [
            (one["approver"], one["comment"], one["groups"], one["identity"]) for one in then
        ]
    for organization in ("local", "acme"):
        on = {
            row["agent_id"]: row["reason"]
            for row in was["kill_switches"]
            if row["organization"] == organization
        }
        switches = store.read(lambda reader, name=organization: reader.kill_switches(name))  # type: ignore[misc]
        assert {agent: state.reason for agent, state in switches.items()} == on
        _compare_records(was, store, organization)
        _compare_things(was, store, organization)
    assert store.read(lambda reader: [one.name for one in keys.organizations(reader)]) == ["local", "acme"]


def _compare_records(was: dict[str, Any], store: SQLiteStore | PostgresStore, organization: str) -> None:
    """An organization's records have the same contents, in the same order, and are numbered without a gap."""
    then = [msgspec.json.decode(row["body"]) for row in was["audit"] if row["organization"] == organization]
    now = [
        msgspec.json.decode(row.body) for row in store.read(lambda reader: every_record(reader, organization))
    ]
    kept = [record for record in now if record["event"] != "imported"]
    assert len(kept) == len(then)
    for old, new in zip(then, kept, strict=True):
        assert {name: value for name, value in old.items() if name != "seq"} == {
            name: new[name] for name in old if name != "seq"
        }
    rows = store.read(lambda reader: [row.seq for row in reader.log(organization)])
    assert rows == list(range(1, len(rows) + 1))


def _compare_things(was: dict[str, Any], store: SQLiteStore | PostgresStore, organization: str) -> None:
    for row in was["records"]:
        if row["organization"] != organization or row["kind"] in ("cursor", "alert"):
            continue
        now = store.read(lambda reader, row=row: reader.record_of(organization, row["kind"], row["name"]))  # type: ignore[misc]
        assert now is not None, row
        assert (now.created_at, now.updated_at) == (
            row["created_at"],
            row["updated_at"] if row["kind"] != "heartbeat" else now.updated_at,
        )
        old, new = msgspec.json.decode(row["body"]), msgspec.json.decode(now.body)
        if row["kind"] == "webhook":
            assert old.pop("leases", {}) == webhooks_sending(store, organization, row["name"])
            old.pop("since"), new.pop("since")
        assert new == old
        if row["kind"] != "heartbeat":
            assert now.id == row["id"]


def webhooks_sending(store: SQLiteStore | PostgresStore, organization: str, name: str) -> dict[str, float]:
    """What is being sent to a webhook."""
    return store.read(lambda reader: webhooks.sending(reader, organization, name).leases)


def test_it_goes_on(old: Path) -> None:
    """Numbers continue, the call of the dead process is unknown, an approval is used by the same call, and once."""
    newest = max(row["id"] for row in before(old)["actions"])
    plane = EmbeddedControlPlane(SQLiteStore(old, durability="process"), POLICY)
    try:
        plane.release(reason="over", by="ann", agent_id="other")
        outcomes = {row.id: row.outcome for row in plane.read(every_action) if row.action_type == "refund"}
        assert "unknown" in outcomes.values()
        action = AgentAction("default-agent", "default-agent", "ask", "r", "t", action_details={"x": 1})
        number = int(plane.perform(Submit(action, "d" * 64, detached=True, repeatable=True)).action_id)
        assert number > max(
            row.id for row in plane.read(every_action) if row.id != number and row.organization == "local"
        )
        assert number <= newest + 1
        assert plane.verify_audit().ok
    finally:
        plane.close()
    assert differences(old, KEY) == []


@pytest.mark.parametrize("at", [1, 2, 20, 60])
@pytest.mark.parametrize("how", ["an error", "the process ends"])
def test_interrupted_anywhere_the_old_database_is_whole(old: Path, at: int, how: str) -> None:
    """Nothing is lost, and the next process upgrades it."""
    was = contents(old)
    child = multiprocessing.get_context("fork").Process(target=_interrupted, args=(old, at, how))
    child.start()
    child.join(60)
    assert child.exitcode == 7
    assert contents(old) == was
    store = SQLiteStore(old, durability="process")
    try:
        assert store.snapshot(lambda reader: verify(reader, store.secret)).ok
    finally:
        store.close()


def _interrupted(path: Path, at: int, how: str) -> None:
    count, again = iter(range(1, 10_000)), to_logs.Migrating.again

    def failing(tx: to_logs.Migrating, record: dict[str, Any], **more: Any) -> int:
        if next(count) == at:
            if how == "the process ends":
                os._exit(7)
            raise OSError("the disk is gone")
        return again(tx, record, **more)

    to_logs.Migrating.again = failing  # type: ignore[method-assign, assignment]
    try:
        SQLiteStore(path, durability="process")
    except (OSError, StoreError):
        os._exit(7)
    os._exit(0)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET body=replace(CAST(body AS TEXT), 'refund', 'rebate') WHERE seq=3",
        "DELETE FROM audit WHERE seq=5",
        "DELETE FROM audit WHERE seq=(SELECT max(seq) FROM audit)",
        "UPDATE head SET mac=zeroblob(32)",
        "DELETE FROM head",
        "UPDATE actions SET status='approved' WHERE status='pending'",
        "UPDATE actions SET outcome='failed' WHERE id=1",
        "UPDATE actions SET digest='00' WHERE id=8",
        "DELETE FROM actions WHERE id=3",
        "DELETE FROM kill_switches",
        "INSERT INTO kill_switches VALUES ('local', 'friend', 'r', 1.0, 'eve')",
    ],
)
def test_what_was_tampered_with_is_not_upgraded(old: Path, change: str) -> None:
    """The error says how to look at it, and nothing is changed."""
    with closing(sqlite3.connect(old)) as connection:
        connection.execute(change)
        connection.commit()
    was = contents(old)
    with pytest.raises(StoreError, match="was not upgraded: its audit trail was changed"):
        SQLiteStore(old)
    assert contents(old) == was
