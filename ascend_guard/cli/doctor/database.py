"""The checks of ``doctor`` on a SQLite database, without changing it; and whether agents could open it."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ascend_guard.cli.screen.database_snapshot import looking
from ascend_guard.errors import AscendError

from .checks import Check, what_and_remedy

if TYPE_CHECKING:
    from ascend_guard.config import Settings
    from ascend_guard.store.port import Transaction
    from ascend_guard.store.sqlite.queries import SQLiteReader
    from ascend_guard.store.sqlite.store import SQLiteStore

_LITTLE, _TOO_LITTLE = 1 << 30, 64 << 20
_BUSY = 2.0
_OPENING = 10.0


def place(path: Path, *, works: bool = False) -> Iterator[Check]:
    """Check whether the folder is writable, and how much space is free.

    Args:
        path: the database.
        works: agents can use the database as it is, so a problem of the folder is only a warning.
    """
    from ascend_guard.store.failures import owned

    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not os.path.isdir(folder):
        yield Check(
            "folder",
            "wrong",
            f"{folder} is not a folder",
            "Move it away, or name another location with ASCEND_DATABASE_URL.",
        )
    elif not os.access(folder, os.W_OK | os.X_OK):
        remedy = f"{owned(folder)}Make it writable for this user, or name another location with ASCEND_DATABASE_URL."
        yield Check("folder", "warning" if works else "wrong", f"{folder} is not writable", remedy)
    elif os.path.lexists(path) and not os.path.exists(path):
        yield Check(
            "database",
            "wrong",
            f"{path} is a link to a file that does not exist",
            "Remove it, or restore the linked file.",
        )
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Check("disk", "warning", f"the free space of {folder} is unknown ({error})")
        return
    text = f"{free / (1 << 30):.1f} GiB free" if free >= _LITTLE else f"{free / (1 << 20):.0f} MiB free"
    remedy = "Free some space: a call whose decision cannot be recorded does not run."
    if free < _TOO_LITTLE:
        yield Check("disk", "wrong", text, remedy)
    else:
        yield Check("disk", "ok" if free >= _LITTLE else "warning", text, "" if free >= _LITTLE else remedy)


def database(settings: Settings, path: Path) -> Iterator[Check]:
    """Check an existing database."""
    from ascend_guard.store.failures import explain
    from ascend_guard.store.sqlite.queries import SQLiteReader, foreign
    from ascend_guard.store.sqlite.switch_file import SwitchFile, switch_path

    agents = _openable(
        settings, path
    )  # first: SQLite repairs what only looks wrong, such as an old log's mode
    yield _writable(path)
    yield from place(path, works=agents.state == "ok")
    try:
        yield from _private(path)
        with looking(path) as (connection, key):
            # An older version's database has no switch file yet.
            known = connection.execute("SELECT 1 FROM sqlite_master WHERE name='switch_file'").fetchone()
            file = SwitchFile(switch_path(path), key, sync=False, confirm=partial(foreign, path))
            damage = file.now().damage if known else None
            if damage is not None:
                yield Check(
                    "switch file",
                    "wrong",
                    f"{damage.what.rstrip('.')}. It is unknown which agents are stopped, so all agents are",
                    "Restore the file if it was moved away; otherwise: ascend-guard kill-switch off",
                )
            yield from _state(SQLiteReader(connection, file if known else None), key, path)
    except AscendError as error:
        yield Check("audit trail", "wrong", *what_and_remedy(error))
    except OSError as error:
        yield Check("audit trail", "wrong", *what_and_remedy(explain(error, path)))
    yield agents


def _openable(settings: Settings, path: Path) -> Check:
    """Check whether an agent can open it. It is opened as agents open it, so all their checks are made."""
    from ascend_guard.store.migrations import steps
    from ascend_guard.store.sqlite.store import SQLiteStore
    from ascend_guard.store.sqlite.switch_without_database import briefly

    def opening() -> SQLiteStore:
        store = settings.store()
        assert isinstance(store, SQLiteStore)
        return store

    try:
        have, knows = _schema(path), len(steps("sqlite"))
        if have < knows:  # opening it would change it
            return Check(
                "agents",
                "info",
                f"tables of version {have}: the next governed call upgrades them to version {knows}",
            )
        if briefly(opening, _written, _OPENING) is None:
            return Check(
                "agents",
                "wrong",
                f"opening {path} took longer than {_OPENING:g} s, so agents wait as well",
                "Another process holds its lock and makes no progress: look for a stopped process (ps, state "
                "T), or a disk "
                "that does not respond.",
            )
    except AscendError as error:
        return Check("agents", "wrong", *what_and_remedy(error))
    return Check("agents", "ok", "can open the database and write to it, as this user")


class _Undone(Exception):
    """A trial write that is rolled back."""


def _written(store: SQLiteStore) -> bool:
    def trial(tx: Transaction) -> None:
        tx.put_record("", "rate", "ascend-guard doctor", b"{}")
        raise _Undone

    with suppress(_Undone):
        store.write(trial)
    return True


def _schema(path: Path) -> int:
    from ascend_guard.store.failures import explain

    try:
        connection = sqlite3.connect(_uri(path, "ro"), uri=True, timeout=_BUSY)
        try:
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return version


def _uri(path: Path, mode: str) -> str:
    from urllib.parse import quote

    return f"file:{quote(str(path))}?mode={mode}"


def _writable(path: Path) -> Check:
    from ascend_guard.store.failures import explain

    try:
        size = f"{path.stat().st_size / (1 << 20):.1f} MiB"
        connection = sqlite3.connect(_uri(path, "rw"), uri=True, timeout=_BUSY, isolation_level=None)
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            connection.execute("BEGIN IMMEDIATE")
            [version] = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(
                f"PRAGMA user_version={version}"
            )  # BEGIN alone succeeds on a read-only database
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        return Check("database", "wrong", *what_and_remedy(explain(error, path)))
    if mode != "wal":
        return Check(
            "database", "warning", f"{path}, {size}, journal mode {mode}", "The next governed call sets WAL."
        )
    return Check("database", "ok", f"{path}, {size}, writable, WAL")


def _private(path: Path) -> Iterator[Check]:
    """Check permissions. A user who may write these files can approve; one who may read the key can forge the trail."""
    from ascend_guard.store.failures import BESIDE, user_name

    for file in (path, path.with_name(path.name + ".key")):
        if file.exists() and file.stat().st_mode & 0o077:
            yield Check(
                "permissions", "warning", f"others may use {file}", f"chmod 600 {shlex.quote(str(file))}"
            )
    owner = path.stat().st_uid
    if owner != os.geteuid():
        yield Check(
            "owner",
            "warning",
            f"{path} belongs to {user_name(owner)}; this runs as {user_name(os.geteuid())}",
            f"Run agents and this command line as {user_name(owner)}: files that other users create here would "
            f"be unusable for it.",
        )
    for suffix in (*BESIDE, ".switch"):
        file = path.with_name(path.name + suffix)
        if file.exists() and file.stat().st_uid != owner:
            whose = user_name(file.stat().st_uid)
            remedy = f"chown {user_name(owner)} {shlex.quote(str(file))}"
            yield Check(
                "owner", "warning", f"{file} belongs to {whose}, the database to {user_name(owner)}", remedy
            )


def _state(reader: SQLiteReader, key: bytes, path: Path) -> Iterator[Check]:
    import time

    from ascend_guard.cli.screen.views import switch_banner
    from ascend_guard.engine.control_plane import LOCAL
    from ascend_guard.store.log import sealed
    from ascend_guard.store.sqlite.locks import alive

    heads = reader.heads()
    if all(sealed(key, head.organization, head.seq, head.hash, head.mac) for head in heads):
        yield Check(
            "audit trail",
            "ok",
            f"{sum(head.seq for head in heads):,} records, every end sealed with our key (all: ascend-guard audit verify)",
        )
    else:
        yield Check(
            "audit trail",
            "wrong",
            "the seal of its end was not made with the store's key: records were cut, or the file was edited, or "
            "the key belongs to another database. No call runs",
            "See ascend-guard audit verify, and restore a backup.",
        )
    switches = reader.kill_switches(LOCAL).values()
    if not switches:
        yield Check("kill switch", "ok", "off")
    for switch in switches:
        [line] = switch_banner([switch])
        agent = "" if switch.agent_id is None else f" --agent {shlex.quote(switch.agent_id)}"
        said = line.plain.removeprefix("■ ")
        yield Check("kill switch", "warning", said, f"When it is safe: ascend-guard kill-switch off{agent}")
    now = time.time()
    pending = reader.count_actions(LOCAL, status="pending")
    overdue = sum(row.status == "pending" for row in reader.overdue(now))
    late = f", {overdue} of them past their deadline" if overdue else ""
    yield Check(
        "approvals", "info", f"{pending} waiting{late}", "ascend-guard approvals list" if pending else ""
    )
    runners = reader.runners()
    dead = [runner for runner in runners if not alive(path.with_name(path.name + ".runners"), runner)]
    left = sum(len(reader.running(runner)) for runner in dead)
    if left:
        yield Check(
            "processes",
            "warning",
            f"{len(dead)} ended with {left} {'call' if left == 1 else 'calls'} running, outcome unknown",
            "See their outcomes: ascend-guard actions list --status unknown",
        )
    else:
        yield Check(
            "processes", "info", f"{len(runners) - len(dead) or 'none'} with agents in them running now"
        )
