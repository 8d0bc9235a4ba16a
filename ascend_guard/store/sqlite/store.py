"""The embedded store: one SQLite file in WAL mode, shared by threads, tasks and processes.

Every write passes the group commit of its process and then the lock between processes, so no caller ever gets
``database is locked``. Readers need neither. The kill switch does not need the database; see ``barrier``.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ascend_guard.errors import ConfigurationError, StoreError
from ascend_guard.interrupts import uninterrupted
from ascend_guard.model import Killed, KillSwitchState
from ascend_guard.redaction.hidden import HiddenKey
from ascend_guard.store.commits import Committer, fail
from ascend_guard.store.failures import BESIDE, BUSY_TIMEOUT, emptied, explain, replaced, tampered
from ascend_guard.store.forks import forget, is_worker, remember
from ascend_guard.store.log import first_heads, sealed
from ascend_guard.store.migrations import migrate, sealed_before
from ascend_guard.store.opening import CLOSED, FORKED, OPEN, OpenedStore
from ascend_guard.store.port import Reader, Transaction
from ascend_guard.store.queries import Queries
from ascend_guard.store.writer import GroupCommit, Ticket

from . import barrier
from .keyfile import load_secret
from .locks import FairLock, LivenessFile, alive
from .queries import NEW_HEAD, SQLiteReader, SQLiteTransaction, foreign, found_switches
from .switch_file import SwitchFile, switch_path
from .switch_turning import Place, turn_on
from .watched_files import Watched

R = TypeVar("R")

Durability = Literal["power", "process"]
_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL"}


class SQLiteStore(OpenedStore):
    """A store in one file.

    Args:
        path: the database file; it and its folder are created when missing, readable by their owner only.
        durability: ``power``: a decision survives a power cut (fsync before the tool starts). ``process``: it survives
            the death of every process, but not of the machine; several times faster.
        clock: seconds since the epoch.

    Raises:
        StoreError: the file cannot be opened, read or written; the message says how to fix it.
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
        self.place = os.fspath(self.path)
        self.durability = durability
        self.clock = clock
        self._runners = barrier.runners_path(self.path)
        super().__init__()
        self._open()

    # --- opening -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        with uninterrupted():
            undo: list[Callable[[], None]] = []
            try:
                self._prepare(undo)
                self._state = OPEN
                self._worker = is_worker()
                remember(self)
            except BaseException as error:
                for close in reversed(undo):
                    close()
                if isinstance(error, StoreError) or not isinstance(error, sqlite3.Error | OSError):
                    raise
                raise explain(error, self.path) from error

    def _prepare(self, undo: list[Callable[[], None]]) -> None:
        folder = self.path.parent
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        ignore = folder / ".gitignore"
        if folder.name == ".ascend" and not (ignore.exists() and ignore.stat().st_size):
            ignore.write_text("*\n")  # prevents publishing the key by accident
        self._fair_lock = FairLock(self._beside(".lock"))
        undo.append(self._fair_lock.close)
        key = self._beside(".key")
        with self._fair_lock:
            if not self.path.exists():
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            elif key.exists() and self.path.stat().st_size == 0:
                raise emptied(self.path)
            self._connection = self._connect()
            undo.append(self._connection.close)
            begun = sealed_before(self._connection)
            self.secret: bytes = HiddenKey(load_secret(key, may_make=not begun))
            migrate(self._connection, self.path, self.secret if begun else None)
            self._liveness = LivenessFile(self._runners, uuid.uuid4().hex)
            undo.append(self._liveness.leave)
            self._forget_dead_liveness_files()
            self._found_trail()
            self._switches = SwitchFile(
                switch_path(self.path),
                self.secret,
                sync=self.durability == "power",
                confirm=partial(foreign, self.path),
                turn=self._liveness.slots.turn,
            )
            found_switches(self._connection, self._switches)
        self._reader_connection = self._connect()
        undo.append(self._reader_connection.close)
        self._watch_connection = self._connect()
        undo.append(self._watch_connection.close)
        self._watched = -1
        self._reader_lock = threading.RLock()
        self._watch_lock = threading.RLock()
        self._reader = SQLiteReader(self._reader_connection, self._switches)
        self._writer = GroupCommit(self._commit, self._catch_up)
        self._transaction = SQLiteTransaction(
            self._connection, self.secret, self.path, self._switches, self._runners
        )
        self._committer = Committer(self._transaction, self.clock, self._explain)
        present = self._runners / self._liveness.name  # without it this process seems dead
        self._files = Watched(folder, (self.path, *map(self._beside, BESIDE), present))

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _require_files(self) -> None:
        if not self._files.unchanged():
            raise replaced(self.path)

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

    def _found_trail(self) -> None:
        reader = SQLiteReader(self._connection)
        if reader.is_headless():
            raise tampered(self.path)
        heads = reader.heads()
        if not heads:
            self._connection.execute("BEGIN IMMEDIATE")
            for head in first_heads(self.secret):
                self._connection.execute(NEW_HEAD, msgspec.structs.astuple(head))
            self._connection.execute("COMMIT")
        elif not all(sealed(self.secret, one.organization, one.seq, one.hash, one.mac) for one in heads):
            raise tampered(self.path)

    def _forget_dead_liveness_files(self) -> None:
        for name in os.listdir(self._runners):
            if name != self._liveness.name:
                alive(self._runners, name)

    # --- use -----------------------------------------------------------------------------------------------------

    def read(self, work: Callable[[Reader], R], *, latest: bool = True) -> R:
        if self._state is not OPEN:
            self._reopen()
        if latest:
            self._writer.flush()
            if self._read(Queries.behind):
                self.write(_catch_up)
        return self._read(work)

    def _read(self, work: Callable[[Any], R]) -> R:
        try:
            # Interrupted in the middle of a read, the connection would keep that moment's snapshot.
            with uninterrupted(), self._reader_lock:
                if self._state is not OPEN:
                    raise self._gone()
                self._require_files()
                return work(self._reader)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    async def aread(self, work: Callable[[Reader], R], *, current: bool = False) -> R:
        # Microseconds: a thread switch would take longer. Waiting for a commit in progress would take even longer.
        if self._state is not OPEN:
            self._reopen()
        if current and self._read(Queries.behind):
            await self.awrite(_catch_up)
        return self._read(work)

    def snapshot(self, work: Callable[[Reader], R]) -> R:
        self._writer.flush()
        return self._apart(work)

    def apart(self, work: Callable[[Reader], R]) -> R:
        if self._read(Queries.behind):
            self.write(_catch_up)
        return self._apart(work)

    def _apart(self, work: Callable[[Reader], R]) -> R:
        self._require_files()
        try:
            connection = self._connect()
            try:
                connection.execute("BEGIN")
                return work(SQLiteReader(connection, self._switches))
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def changed(self) -> bool:
        if self._state is not OPEN:
            self._reopen()
        try:
            with self._watch_lock:
                if self._state is not OPEN:
                    raise self._gone()
                self._require_files()
                version: int = self._watch_connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        if version == self._watched:
            return False
        self._watched = version
        return True

    @property
    def runner(self) -> str:
        """This process's name for other processes."""
        if self._state is FORKED:
            self._reopen()
        return self._liveness.name

    def alive(self, runner: str) -> bool:
        return runner == self.runner or alive(self._runners, runner)

    # --- the kill switch -----------------------------------------------------------------------------------------

    def stopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        if self._state is not OPEN:
            self._reopen()
        return self._switches.stopped(organization, agent_id)

    async def astopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        return self.stopped(organization, agent_id)

    def turns(self) -> object:
        return self._switches.now()

    def begin(self, organization: str, agent_id: str, action_id: str) -> KillSwitchState | None:
        if self._state is not OPEN:
            self._reopen()
        try:
            state = barrier.begin(self._switches, self._liveness, organization, agent_id, action_id)
        except barrier.Closing:
            raise self._gone() from None
        except OSError as error:
            raise error if isinstance(error, StoreError) else explain(error, self.path) from error
        return state

    def ended(self, organization: str, action_id: str) -> None:
        self._liveness.ended(organization, action_id)

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> Killed:
        if self._state is not OPEN:
            self._reopen()
        place = Place(self._switches, self._runners, self._writer)
        return turn_on(place, organization, agent_id, reason, by, self.clock())

    def require_released(self) -> None:
        failed, self._switches.unreleased = self._switches.unreleased, None
        if failed is not None:
            raise explain(failed, self._switches.path) from failed

    # --- closing -------------------------------------------------------------------------------------------------

    def close(self, last: Callable[[Transaction, set[tuple[str, str]]], object] | None = None) -> None:
        with uninterrupted():
            if self._state is OPEN:
                barrier.shut(self._liveness)
                self._writer.close(lambda: self._close_connections(last))
                self._liveness.leave()
                self._fair_lock.close()
            self._state = CLOSED
            forget(self)

    def _close_connections(
        self, last: Callable[[Transaction, set[tuple[str, str]]], object] | None = None
    ) -> None:
        if last is not None:  # nothing else can be committed any more
            begun = self._liveness.slots.begun
            self._commit([Ticket(lambda tx: last(tx, begun))])
        self._catch_up()
        # With every lock held: closing a connection that another thread uses crashes the process.
        with self._reader_lock, self._watch_lock:
            self._state = CLOSED
            for connection in (self._watch_connection, self._reader_connection, self._connection):
                connection.close()

    # --- committing ----------------------------------------------------------------------------------------------

    def _commit(self, group: Sequence[Ticket[Any]]) -> None:
        if self._state is not OPEN:
            fail(group, self._gone())
            return
        try:
            with self._fair_lock:
                self._require_files()
                if len(group) == 1 or not self._committer.together(group):
                    self._committer.one_by_one(group)
        except (OSError, sqlite3.Error) as error:
            fail(group, error if isinstance(error, StoreError) else explain(error, self.path))

    def _catch_up(self) -> None:
        """Write the rows of actions that this process has left for later. If that fails, a reader does it."""
        if self._transaction.is_behind:
            # After a power cut, the log is there and the rows are computed again: no need to wait for the disk.
            self._connection.execute("PRAGMA synchronous=NORMAL")
            try:
                self._commit([Ticket(_catch_up)])
            finally:
                self._connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS[self.durability]}")

    def _explain(self, error: Exception) -> Exception:
        return explain(error, self.path) if isinstance(error, sqlite3.Error) else error

    # --- forking -------------------------------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Pause: a transaction that is open during a fork would stay open in the child for ever."""
        if self._state is not OPEN:
            return False
        self._writer.hold()
        self._reader_lock.acquire()
        self._watch_lock.acquire()
        return True

    def after_fork_in_parent(self) -> None:
        """Continue."""
        self._watch_lock.release()
        self._reader_lock.release()
        self._writer.let_go()

    def after_fork_in_child(self) -> None:
        """Release the parent's connections and locks.

        No connection may be shared across a fork: SQLite would assume that this process holds the locks of its parent, and
        closing them would remove the write-ahead log that the parent uses. Idle connections can be closed safely.
        """
        for connection in (self._watch_connection, self._reader_connection, self._connection):
            connection.close()
        self._fair_lock.close()
        self._liveness.abandon()
        self._forget(FORKED)

    def _gone(self) -> StoreError:
        return StoreError(
            f"The control plane on {self.path} was closed. Configure a new one before calling governed tools."
        )


def _catch_up(tx: Transaction) -> None:
    tx.catch_up_all()
