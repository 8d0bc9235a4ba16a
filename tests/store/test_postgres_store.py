"""What is PostgreSQL's own: processes, forks, mistakes of newcomers, and what must not be told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from postgres_server import GUARDED, PASSWORD, PostgresServer
from recorded import every_action, length, settle, trail_of
from store_kinds import SECRET, approve, insert

from ascend_guard.engine.audit import verify
from ascend_guard.engine.kill import release
from ascend_guard.errors import ConfigurationError, NotFoundError, StoreError
from ascend_guard.store import migrations
from ascend_guard.store.log import key_of
from ascend_guard.store.port import Transaction, switch_on
from ascend_guard.store.postgres.store import PostgresStore

ROOT = Path(__file__).parents[2]


@contextmanager
def opened(url: str, secret: bytes = SECRET) -> Iterator[PostgresStore]:
    """A store, closed at the end."""
    store = PostgresStore(url, secret=secret)
    try:
        yield store
    finally:
        store.close()


def whole(store: PostgresStore) -> bool:
    """Whether the chain is as it was written."""
    return store.snapshot(lambda reader: verify(reader, store.secret)).ok


def until(true: Callable[[], bool]) -> None:
    """Wait for it; the test's time-out ends what never comes."""
    while not true():
        threading.Event().wait(0.01)


# --- processes -----------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from recorded import settle
from store_kinds import SECRET, insert
from ascend_guard.store.postgres.store import PostgresStore
store = PostgresStore(sys.argv[1], secret=SECRET)
print(store.runner, flush=True)
for _ in range(int(sys.argv[2])):
    number = store.write(insert)
    store.post(lambda tx: settle(tx, "local", number, "completed", 0.1, None), "It ended")
if sys.argv[3] == "stay":
    sys.stdin.read()
store.close()
"""


def process(url: str, count: int, end: str) -> subprocess.Popen[str]:
    """Another process that writes."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(count), end],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_write_at_once_keep_one_chain(server: PostgresServer) -> None:
    """On a database that was empty when all of them started."""
    with server.database(template="template0") as url:
        workers = [process(url, 40, "go") for _ in range(4)]
        assert [worker.wait(60) for worker in workers] == [0] * 4
        with opened(url) as store:
            assert store.read(lambda reader: reader.last_action("local")) == 160
            outcomes = store.read(lambda reader: [found.outcome for found in every_action(reader)])
            assert outcomes == ["completed"] * 160
            trail = store.snapshot(lambda reader: [record.seq for record in reader.log("local")])
            assert trail == list(range(1, 321))
            assert whole(store)
        for worker in workers:
            worker.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_not_alive(url: str, how: signal.Signals) -> None:
    """Nobody has to guess how long silence may last."""
    with opened(url) as store:
        worker = process(url, 1, "stay")
        assert worker.stdout is not None
        runner = worker.stdout.readline().strip()
        assert store.alive(runner)
        worker.send_signal(how)
        worker.communicate()
        until(lambda: not store.alive(runner))


def forked(store: PostgresStore, pipe: int) -> None:
    """What a child does."""
    store.write(insert)
    store.read(lambda reader: reader.heads())
    os.write(pipe, store.runner.encode())
    os.close(pipe)


def test_connections_do_not_cross_a_fork(url: str) -> None:
    """The child opens its own under its own name, and the parent's go on."""
    with opened(url) as store:
        store.write(insert)
        store.read(lambda reader: reader.heads())
        mine = store.runner
        out, into = os.pipe()
        child = multiprocessing.get_context("fork").Process(target=forked, args=(store, into))
        child.start()
        os.close(into)
        theirs = os.read(out, 100).decode()
        os.close(out)
        child.join()
        assert child.exitcode == 0
        assert len(theirs) == len(mine)
        assert theirs != mine
        assert store.runner == mine
        assert store.alive(mine)
        until(lambda: not store.alive(theirs))
        assert store.write(insert) == 3
        with opened(url) as other:
            assert other.alive(mine)
        assert whole(store)


def test_a_child_does_not_keep_its_dead_parent_alive(url: str) -> None:
    """A child inherits its parent's sockets; the parent's session must end with the parent all the same."""
    program = f"""
import os, sys, time
from store_kinds import SECRET, insert
from ascend_guard.store.postgres.store import PostgresStore
store = PostgresStore({url!r}, secret=SECRET)
store.write(insert)
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
print(store.runner, flush=True)
os._exit(0)
"""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]),
    }
    with opened(url) as store:
        parent = subprocess.Popen(
            [sys.executable, "-c", program], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        assert parent.stdin is not None
        runner = parent.stdout.readline().strip()
        parent.wait()
        until(lambda: not store.alive(runner))
        parent.stdin.close()
        parent.stdout.close()


# --- what cannot be ------------------------------------------------------------------------------------------------------

HUGE = [2**63, -(2**63) - 1, 2**64, 10**30]


@pytest.mark.parametrize("number", HUGE)
def test_numbers_no_database_holds_name_nothing(url: str, number: int) -> None:
    """There is no such action, record or trail."""
    with opened(url) as store:
        store.write(insert)
        assert store.read(lambda reader: reader.action("local", number)) is None
        assert store.read(lambda reader: reader.record_number("local", "agent", number)) is None
        assert store.read(lambda reader: trail_of(reader, number)) == []
        assert store.read(lambda reader: reader.approvals("local", number)) == []
        assert store.write(lambda tx: tx.action("local", number)) is None
        assert store.write(lambda tx: settle(tx, "local", number, "failed", 1.0, None)) is None
        assert store.read(lambda reader: reader.log_record("local", number)) is None
        assert whole(store)


def test_names_have_no_bound(url: str) -> None:
    """A kill switch for an agent whose name no index could take; its twin is not meant."""
    long = os.urandom(100_000).hex()
    with opened(url) as store:

        def work(tx: Transaction) -> None:
            number = insert(tx, agent_id=long, session_id=long, status="pending", claimed_at=None)
            approve(tx, number, long, long)
            switch_on(tx, "local", long, "fire", long)

        store.write(work)
        assert list(store.read(lambda reader: reader.kill_switches("local"))) == [long]
        assert len(store.read(lambda reader: reader.actions("local", session_id=long))) == 1
        assert [one.comment for one in store.read(lambda reader: reader.approvals("local", 1))] == [long]
        with pytest.raises(NotFoundError):
            store.write(lambda tx: release(tx, "local", long + "x", "out", "ann"))
        store.write(lambda tx: release(tx, "local", long, "out", "ann"))
        assert store.read(lambda reader: reader.kill_switches("local")) == {}
        assert whole(store)


def test_durable_means_durable(server: PostgresServer, url: str) -> None:
    """Also where the server's own default is to answer before that."""
    name = url.rpartition("/")[2]
    server.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with opened(url) as store:
        assert store.write(lambda tx: settings_of(tx, "synchronous_commit")) == "on"
        assert store.write(lambda tx: settings_of(tx, "idle_in_transaction_session_timeout")) == "4s"
        assert store.read(lambda reader: settings_of(reader, "statement_timeout")) == "6s"


def settings_of(reader: object, name: str) -> str:
    """A setting of the session behind a reader."""
    value: str = reader._execute("SELECT current_setting(?)", (name,)).fetchone()[0]  # type: ignore[attr-defined]
    return value


# --- mistakes ------------------------------------------------------------------------------------------------------------


def refusal(url: str, secret: bytes = SECRET) -> str:
    """The message, which tells no password wherever one looks."""
    with pytest.raises((StoreError, ConfigurationError)) as caught:
        PostgresStore(url, secret=secret).close()
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "horse" not in told
    return str(caught.value)


def test_a_wrong_password(server: PostgresServer) -> None:
    """And none at all."""
    for password in ("wrong%20horse", None):
        said = refusal(server.url("migrated", user=GUARDED, password=password))
        assert "check the user and the password" in said
        assert f"127.0.0.1:{server.port}/migrated" in said


def test_the_right_password_without_rights(server: PostgresServer, url: str) -> None:
    """A role that may connect and do no more; once granted, it works, and its password is nowhere to be seen."""
    name = url.rpartition("/")[2]
    theirs = server.url(name, user=GUARDED, password=PASSWORD.replace(" ", "%20"))
    assert "GRANT" in refusal(theirs)
    server.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {GUARDED}", name=name)
    with opened(theirs) as store:
        store.write(insert)
        assert whole(store)
        assert "horse" not in repr(store) + repr(store._address) + str(store._address)
    server.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {GUARDED}", name=name)


def test_no_server(server: PostgresServer) -> None:
    """Nobody listens there."""
    said = refusal("postgresql://ann:correct%20horse@127.0.0.1:1/ascend")
    assert "cannot be reached" in said
    assert "127.0.0.1:1/ascend" in said
    assert "cannot be reached" in refusal("postgresql://ann:correct%20horse@nowhere.invalid/ascend")


def test_no_database(server: PostgresServer) -> None:
    """It has to be made first."""
    assert "createdb" in refusal(server.url("nothing_here"))


def test_no_url() -> None:
    """The driver would quote it, password and all."""
    assert "looks like" in refusal("postgresql://ann:correct horse@%zz/ascend")
    assert "looks like" in refusal("correct horse")


def test_too_many_connections(server: PostgresServer, url: str) -> None:
    """Ours or others'."""
    name = url.rpartition("/")[2]
    server.execute(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {GUARDED}",
        f"ALTER DATABASE {name} CONNECTION LIMIT 0",
        name=name,
    )
    assert "max_connections" in refusal(server.url(name, user=GUARDED, password=PASSWORD.replace(" ", "%20")))


def test_a_session_that_may_only_read(server: PostgresServer, url: str) -> None:
    """As on a standby."""
    server.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    assert "primary" in refusal(url)


def test_another_secret(url: str) -> None:
    """All replicas seal one trail."""
    with opened(url) as store:
        store.write(insert)
    assert "All replicas" in refusal(url, b"another")
    assert "secret" in refusal(url, b"")


def test_a_trail_that_was_cut_stops_everything(server: PostgresServer, url: str) -> None:
    """At the next transaction of a process that runs, and when one starts."""
    with opened(url) as store:
        for _ in range(3):
            store.write(insert)
        end = key_of(1, 2)
        server.execute(
            f"DELETE FROM log WHERE key>{end}",
            "UPDATE heads SET seq=2 WHERE organization='local'",
            name=url.rpartition("/")[2],
        )
        with pytest.raises(StoreError, match="audit verify"):
            store.write(insert)
    assert "audit verify" in refusal(url)


def test_somebody_who_holds_the_lock(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator with an open transaction is named as such, and nothing is written meanwhile."""
    from ascend_guard.store.postgres import connection as postgres_connection

    monkeypatch.setitem(postgres_connection._SETTINGS, "lock_timeout", "200ms")
    with opened(url) as store, psycopg.connect(url) as theirs:
        theirs.execute("SELECT * FROM writing FOR UPDATE")
        with pytest.raises(StoreError, match="pg_stat_activity"):
            store.write(insert)
        theirs.rollback()
        assert store.write(insert) == 1


# --- tables --------------------------------------------------------------------------------------------------------------


def test_replicas_that_start_together_make_the_tables_once(server: PostgresServer) -> None:
    """On an empty database."""
    with server.database(template="template0") as url:
        stores: list[PostgresStore] = []
        threads = [
            threading.Thread(target=lambda: stores.append(PostgresStore(url, secret=SECRET)))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(stores) == 6
        for store in stores:
            store.write(insert)
        assert stores[0].read(lambda reader: length(reader)) == 6
        assert whole(stores[0])
        for store in stores:
            store.close()


def test_tables_of_a_newer_version_are_left_alone(server: PostgresServer, url: str) -> None:
    """With the command that helps."""
    server.execute("INSERT INTO ascend_guard_schema VALUES (99)", name=url.rpartition("/")[2])
    assert "pip install --upgrade" in refusal(url)


def test_tables_that_are_not_ours_are_left_alone(server: PostgresServer) -> None:
    """Somebody else's database with a table of the same name; a schema of our own in it is fine."""
    with server.database(template="template0") as url:
        name = url.rpartition("/")[2]
        server.execute("CREATE TABLE actions (theirs text)", "CREATE SCHEMA ascend", name=name)
        assert "tables of another program" in refusal(url)
        with opened(f"{url}?options=-csearch_path%3Dascend") as store:
            store.write(insert)
            assert whole(store)
        server.execute("INSERT INTO public.actions VALUES ('untouched')", name=name)


def test_a_database_that_cannot_hold_every_text(server: PostgresServer) -> None:
    """Its encoding must be UTF-8."""
    server.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    assert "UTF8" in refusal(server.url("latin"))
    server.execute("DROP DATABASE latin")


def test_both_dialects_have_the_same_tables(url: str, tmp_path: Path) -> None:
    """Columns, in order; only SQLite has a switch file, and only PostgreSQL a lock and its own table of versions."""
    import sqlite3

    connection = sqlite3.connect(tmp_path / "a.db")
    migrations.migrate(connection, tmp_path / "a.db", None)
    found = connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
    tables = {name for (name,) in found} - {"sqlite_sequence"}
    with psycopg.connect(url) as postgres:
        theirs = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        assert {name for (name,) in theirs} ^ tables == {"switch_file", "writing", "ascend_guard_schema"}
        for table in sorted(tables - {"switch_file"}):
            ours = [found[1] for found in connection.execute(f"PRAGMA table_info({table})")]
            found = postgres.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name=%s ORDER BY ordinal_position",
                (table,),
            )
            assert [name for (name,) in found] == ours, table
    connection.close()


def test_without_the_driver_the_remedy_is_named() -> None:
    """It is an extra."""
    program = """
import sys
sys.modules["psycopg"] = None
from ascend_guard.errors import ConfigurationError
try:
    import ascend_guard.store.postgres.store
except ConfigurationError as error:
    assert "pip install 'ascend-guard[postgres]'" in str(error), error
else:
    raise SystemExit("it was imported")
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
