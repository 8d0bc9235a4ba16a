"""The embedded store: one SQLite file in WAL mode, shared by threads, tasks and processes.

Every write passes the group commit of its process and then the turnstile between processes, so nobody ever meets
``database is locked``. Readers need neither.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from ascend_guard.errors import AscendError, ConfigurationError, StoreError

from .chain import GENESIS, seal, sealed
from .locks import Presence, Turnstile, alive
from .port import Reader, Transaction
from .sqlite_queries import SQLiteReader, SQLiteTransaction
from .writer import GroupCommit, Ticket

R = TypeVar("R")

_OPEN, _CLOSED, _FORKED = range(3)

Durability = Literal["power", "process"]
_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL"}

BUSY_TIMEOUT = 5.0
"""Seconds to wait for a foreign program (a database browser) that holds the file; our own processes queue elsewhere."""


class SQLiteStore:
    """A store in one file.

    Args:
        path: the database file; it and its folder are made when missing, readable by their owner only.
        durability: ``power``: a decision survives a power cut (fsync before the tool starts). ``process``: it survives
            the death of every process, but not of the machine; several times faster.
        clock: seconds since the epoch.

    Raises:
        StoreError: the file cannot be opened, read or written; the message names the mend.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "power",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if durability not in _SYNCHRONOUS:
            raise ConfigurationError(f"durability is 'power' or 'process', not {durability!r}.")
        self.path = Path(path).absolute()
        self.durability = durability
        self.clock = clock
        self._runners = self.path.with_name(self.path.name + ".runners")
        self._state = _CLOSED
        self._reopening = threading.Lock()
        self._open()
        _opened.add(self)

    # --- opening -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._prepare()
        except StoreError:
            raise
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.path) from error
        self._state = _OPEN

    def _prepare(self) -> None:
        folder = self.path.parent
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700)
            (folder / ".gitignore").write_text("*\n")
        if not self.path.exists():
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._turnstile = Turnstile(self.path.with_name(self.path.name + ".lock"))
        with self._turnstile:
            self._connection = self._connect()
            _migrate(self._connection, self.path)
            self.secret = self._load_secret()
            self.runner = uuid.uuid4().hex
            self._presence = Presence(self._runners, self.runner)
            self._forget_dead_presences()
            self._found_trail()
        self._reader_connection = self._connect()
        self._watch_connection = self._connect()
        self._watched = -1
        self._reader_lock = threading.RLock()
        self._watch_lock = threading.Lock()
        self._reader = SQLiteReader(self._reader_connection)
        self._writer = GroupCommit(self._commit)
        self._transaction = SQLiteTransaction(self._connection, self.secret)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"journal mode {mode}: the file system does not support WAL")
        connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS[self.durability]}")
        return connection

    def _load_secret(self) -> bytes:
        path = self.path.with_name(self.path.name + ".key")
        try:
            return bytes.fromhex(path.read_text().strip())
        except FileNotFoundError:
            if self._connection.execute("SELECT 1 FROM head").fetchone():
                raise StoreError(
                    f"The key of the audit trail, {path}, is missing. Restore it from a backup. Without it nobody can "
                    f"tell whether the trail in {self.path} was cut; to begin a new trail, move that file away."
                ) from None
        except ValueError:
            raise StoreError(f"The key file {path} is damaged. Restore it from a backup.") from None
        secret = secrets.token_bytes(32)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w") as out:
            out.write(secret.hex() + "\n")
            out.flush()
            os.fsync(file)
        return secret

    def _found_trail(self) -> None:
        row = self._connection.execute("SELECT seq, hash, mac FROM head").fetchone()
        if row is None:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "INSERT INTO head VALUES (1, 0, ?, ?, 0)", (GENESIS, seal(self.secret, 0, GENESIS))
            )
            self._connection.execute("COMMIT")
        elif not sealed(self.secret, *row):
            raise tampered(self.path)

    def _forget_dead_presences(self) -> None:
        for name in os.listdir(self._runners):
            if name != self.runner:
                alive(self._runners, name)

    # --- use -----------------------------------------------------------------------------------------------------

    def read(self, work: Callable[[Reader], R]) -> R:
        if self._state is not _OPEN:
            self._reopen()
        try:
            with self._reader_lock:
                return work(self._reader)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def snapshot(self, work: Callable[[Reader], R]) -> R:
        try:
            connection = self._connect()
            try:
                connection.execute("BEGIN")
                return work(SQLiteReader(connection))
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def write(self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None) -> R:
        if self._state is not _OPEN:
            self._reopen()
        return self._writer.run(work, orphaned)

    async def awrite(
        self,
        work: Callable[[Transaction], R],
        orphaned: Callable[[R], None] | None = None,
        *,
        essential: bool = False,
    ) -> R:
        if self._state is not _OPEN:
            self._reopen()
        return await self._writer.arun(work, orphaned, essential=essential)

    def post(self, work: Callable[[Transaction], object]) -> None:
        if self._state is not _OPEN:
            self._reopen()
        self._writer.post(work)

    def changed(self) -> bool:
        if self._state is not _OPEN:
            self._reopen()
        try:
            with self._watch_lock:
                version: int = self._watch_connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        if version == self._watched:
            return False
        self._watched = version
        return True

    def alive(self, runner: str) -> bool:
        return runner == self.runner or alive(self._runners, runner)

    def close(self) -> None:
        _opened.discard(self)
        if self._state is not _OPEN:
            self._state = _CLOSED
            return
        self._writer.close()
        self._state = _CLOSED
        for connection in (self._watch_connection, self._reader_connection, self._connection):
            connection.close()
        self._presence.leave()
        self._turnstile.close()

    # --- committing ----------------------------------------------------------------------------------------------

    def _commit(self, group: Sequence[Ticket[Any]]) -> None:
        if self._state is not _OPEN:
            for ticket in group:
                ticket.error = self._gone()
            return
        try:
            with self._turnstile:
                if len(group) > 1 and self._commit_together(group):
                    return
                for ticket in group:
                    self._commit_one(ticket)
        except OSError as error:
            for ticket in group:
                ticket.error = explain(error, self.path)

    def _commit_together(self, group: Sequence[Ticket[Any]]) -> bool:
        """All in one transaction; False, with nothing done, when any of them fails."""
        transaction = self._transaction
        try:
            transaction.begin(self.clock())
            for ticket in group:
                before = transaction.changes()
                try:
                    ticket.result = ticket.work(transaction)
                except AscendError as error:
                    if transaction.changes() != before:
                        raise
                    ticket.error = error  # a refusal that touched nothing need not trouble the others
            transaction.commit()
        except Exception:
            transaction.rollback()
            for ticket in group:
                ticket.error = None
            return False
        except BaseException:
            transaction.rollback()
            raise
        transaction.committed()
        return True

    def _commit_one(self, ticket: Ticket[Any]) -> None:
        transaction = self._transaction
        try:
            transaction.begin(self.clock())
            ticket.result = ticket.work(transaction)
            transaction.commit()
        except sqlite3.Error as error:
            transaction.rollback()
            ticket.error = explain(error, self.path)
        except Exception as error:
            transaction.rollback()
            ticket.error = error
        except BaseException:
            transaction.rollback()
            raise
        else:
            transaction.committed()

    # --- forking -------------------------------------------------------------------------------------------------

    def _after_fork(self) -> None:
        # Neither connections nor locks may cross a fork. The parent's are kept unclosed: closing would touch its files.
        if self._state is _OPEN:
            _inherited.append((self._connection, self._reader_connection, self._watch_connection))
            self._turnstile.close()
            self._presence.abandon()
            self._state = _FORKED
        self._reopening = threading.Lock()

    def _reopen(self) -> None:
        with self._reopening:
            if self._state is _CLOSED:
                raise self._gone()
            if self._state is _FORKED:
                self._open()

    def _gone(self) -> StoreError:
        return StoreError(
            f"The control plane on {self.path} was closed. Configure a new one before calling governed tools."
        )


_opened: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
_inherited: list[object] = []


def _let_go_after_fork() -> None:
    for store in list(_opened):
        store._after_fork()


os.register_at_fork(after_in_child=_let_go_after_fork)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring an old or empty database up to date, one numbered file after the other, each in a transaction."""
    have: int = connection.execute("PRAGMA user_version").fetchone()[0]
    files = sorted(
        (
            entry
            for entry in resources.files("ascend_guard.store").joinpath("migrations").iterdir()
            if entry.name.endswith(".sql")
        ),
        key=lambda entry: entry.name,
    )
    if have > len(files):
        raise StoreError(
            f"{path} was written by a newer ascend-guard (schema {have}; this one knows up to {len(files)}). "
            f"Upgrade: pip install --upgrade ascend-guard."
        )
    if have == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError(
            f"{path} is a SQLite database, but not one of ours. Name another file, "
            f"for instance database_url='sqlite:///.ascend/ascend.db'."
        )
    for number, file in enumerate(files, 1):
        if number > have:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{file.read_text()}\nPRAGMA user_version={number};\nCOMMIT;"
            )


def tampered(path: Path) -> StoreError:
    """The error for a trail whose head nobody with the key has written."""
    return StoreError(
        f"The end of the audit trail in {path} was not written by the holder of its key: records were cut, or the file "
        f"was edited, or the key file belongs to another database. Nothing runs until this is cleared up: see "
        f"`ascend-guard audit verify`."
    )


def explain(error: Exception, path: Path) -> StoreError:
    """What a database or operating-system error means for the user, and how to mend it."""
    text = str(error)
    if "full" in text or getattr(error, "errno", None) == 28:
        mend = "The disk is full. Free some space; nothing runs until decisions can be recorded."
    elif "not a database" in text or "malformed" in text:
        mend = "The file is damaged or is not a database. Restore it from a backup, or move it away to begin a new one."
    elif "readonly" in text or isinstance(error, PermissionError) or getattr(error, "errno", None) == 30:
        mend = (
            "It cannot be written. Decisions must be recorded before a tool runs: make the folder writable for this "
            "user, or name another place with database_url or ASCEND_DATABASE_URL."
        )
    elif "unable to open" in text or isinstance(
        error, FileNotFoundError | NotADirectoryError | FileExistsError
    ):
        mend = (
            "It cannot be opened. Check that the folder exists and is writable, or name another place with "
            "database_url or ASCEND_DATABASE_URL."
        )
    elif "locked" in text:
        mend = f"Another program has kept it locked for over {BUSY_TIMEOUT:g} s. Close whatever else has the file open."
    elif "WAL" in text:
        mend = "Put it on a local disk: network file systems cannot be shared safely."
    elif "I/O" in text or isinstance(error, OSError):
        mend = "The disk does not take it: check free space, quotas and the disk's health."
    else:
        mend = "See `ascend-guard doctor`."
    return StoreError(f"The database {path} failed ({type(error).__name__}: {text}). {mend}")
