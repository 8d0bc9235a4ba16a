"""The store that replicas share: one PostgreSQL database, one audit trail in it.

Every write passes the group commit of its process and then the lock on the head of the trail, which orders the processes
group by group. Readers need neither of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ascend_guard.errors import ConfigurationError, StoreError
from ascend_guard.interrupts import uninterrupted
from ascend_guard.model import Killed, KillSwitchState
from ascend_guard.redaction.hidden import HiddenKey
from ascend_guard.store.commits import Committer, fail
from ascend_guard.store.forks import forget, is_worker, remember
from ascend_guard.store.migrations import migrate_postgres
from ascend_guard.store.opening import CLOSED, FORKED, OPEN, OpenedStore
from ascend_guard.store.port import Reader, Transaction, running_calls, switch_on
from ascend_guard.store.writer import GroupCommit, Ticket

try:
    import psycopg

    from .connection import MAKING_TABLES, READING_LONG, WRITING, Address, Readers
    from .listener import Listener, alive
    from .queries import PostgresReader, PostgresSnapshot, PostgresTransaction, begin_logs
except ImportError as error:
    raise ConfigurationError(
        f"PostgreSQL needs its driver, which cannot be imported ({error}): pip install 'ascend-guard[postgres]'"
    ) from error

R = TypeVar("R")

READERS = 4
"""The most connections for reading. With the writer, the listener and a snapshot there are at most seven."""


class PostgresStore(OpenedStore):
    """A store in a PostgreSQL database (13 or later).

    Args:
        url: ``postgresql://user:password@host:port/database``. A pooler in between must keep sessions separate.
        secret: seals the audit trail and keys the digests; the same for all processes that share the database.
        clock: seconds since the epoch.

    Raises:
        ConfigurationError: the URL cannot be read, or there is no secret.
        StoreError: the database cannot be opened, read or written; the message says how to fix it.
    """

    def __init__(self, url: str, *, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        if not secret:
            raise ConfigurationError(
                "PostgresStore needs a secret that all replicas share, for instance secrets.token_bytes(32)."
            )
        self.secret: bytes = HiddenKey(secret)
        self.clock = clock
        self._address = Address(url)
        self.place = str(self._address)
        super().__init__()
        self._open()

    def __repr__(self) -> str:
        return f"PostgresStore({str(self._address)!r})"

    def _open(self) -> None:
        address = self._address
        self._runner = uuid.uuid4().hex
        try:
            with address.connect(MAKING_TABLES) as connection:
                self._require_utf8(connection)
                migrate_postgres(connection, str(address), self.secret)
                begin_logs(connection, self.secret, str(address))
            self._listener = Listener(address, self._runner)
        except psycopg.Error as error:
            raise address.explain(error) from error
        self._readers = Readers(address.connect, PostgresReader, READERS, self._busy)
        self._transaction = PostgresTransaction(
            partial(address.connect, WRITING), self.secret, address.explain
        )
        self._committer = Committer(self._transaction, self.clock, self._explain)
        self._writer = GroupCommit(self._commit)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="ascend-guard-reader")
        self._state = OPEN
        self._worker = is_worker()
        self._begun: set[tuple[str, str]] = set()
        remember(self)

    def _require_utf8(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"The database {self._address} is encoded as {encoding}, which cannot store every text. Create one with "
                f"createdb --encoding=UTF8 --template=template0."
            )

    # --- use -----------------------------------------------------------------------------------------------------

    @property
    def runner(self) -> str:
        """This process's name for other processes."""
        if self._state is FORKED:
            self._reopen()
        return self._runner

    def read(self, work: Callable[[Reader], R], *, latest: bool = True) -> R:
        if self._state is not OPEN:
            self._reopen()
        if latest:
            self._writer.flush()
        return self._answer(work)

    def _answer(self, work: Callable[[Any], R]) -> R:
        if self._state is not OPEN:
            raise self._gone()
        try:
            try:
                with uninterrupted(), self._readers.one() as reader:
                    return work(reader)
            except psycopg.OperationalError as error:
                if getattr(error, "sqlstate", None) in _ANSWERS:
                    raise
                with uninterrupted(), self._readers.one(fresh=True) as reader:
                    return work(reader)
        except psycopg.Error as error:
            raise self._address.explain(error) from error

    async def aread(self, work: Callable[[Reader], R], *, current: bool = False) -> R:
        if self._state is not OPEN:
            self._reopen()
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, partial(context.run, partial(self.read, work, latest=False))
        )

    def apart(self, work: Callable[[Reader], R]) -> R:
        return self.read(work, latest=False)

    def snapshot(self, work: Callable[[Reader], R]) -> R:
        if self._state is not OPEN:
            self._reopen()
        self._writer.flush()
        try:
            with self._address.connect(READING_LONG) as connection:
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                return work(PostgresSnapshot(connection))
        except psycopg.Error as error:
            raise self._address.explain(error) from error

    def changed(self) -> bool:
        """Return whether any process has committed something that a process may wait for, since the last call.

        That is: new pending actions, decisions, kill switches, and everything else that is not routine for a call.
        """
        if self._state is not OPEN:
            self._reopen()
        return self._listener.news()

    def alive(self, runner: str) -> bool:
        if runner == self.runner:
            return True
        return self._answer(lambda reader: alive(reader.connection, runner))

    # --- the kill switch -----------------------------------------------------------------------------------------

    def stopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        return self.read(partial(_stopped, organization=organization, agent_id=agent_id), latest=False)

    async def astopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        return await self.aread(partial(_stopped, organization=organization, agent_id=agent_id))

    def turns(self) -> object:
        return None  # ``changed`` reports every change

    def begin(self, organization: str, agent_id: str, action_id: str) -> KillSwitchState | None:
        # Listed as running before the switch is read: a process that turns it on reads the list afterwards.
        self._begun.add((organization, action_id))
        state: KillSwitchState | None = None
        begun = False
        try:
            state = self.stopped(organization, agent_id)
            begun = state is None
        finally:
            if not begun:
                self._begun.discard((organization, action_id))
        return state

    def ended(self, organization: str, action_id: str) -> None:
        self._begun.discard((organization, action_id))

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> Killed:
        def turn(tx: Transaction) -> KillSwitchState:
            switch_on(tx, organization, agent_id, reason, by)
            return tx.kill_switches(organization)[agent_id]

        on = self.write(turn)
        running = self.read(lambda reader: running_calls(reader, organization, agent_id), latest=False)
        return Killed(True, on.reason, on.agent_id, on.activated_at, on.activated_by, running=tuple(running))

    def require_released(self) -> None:
        pass  # what is committed is off

    # --- closing -------------------------------------------------------------------------------------------------

    def close(self, last: Callable[[Transaction, set[tuple[str, str]]], object] | None = None) -> None:
        if self._state is not OPEN:
            forget(self)
            self._state = CLOSED
            return
        self._writer.close(partial(self._close_connections, last))
        forget(self)
        self._threads.shutdown(wait=False)

    def _close_connections(
        self, last: Callable[[Transaction, set[tuple[str, str]]], object] | None = None
    ) -> None:
        if last is not None:  # nothing else can be committed any more
            begun = set(self._begun)
            self._commit([Ticket(lambda tx: last(tx, begun))])
        self._state = CLOSED
        self._transaction.close()
        self._readers.close()
        self._listener.close()

    # --- committing ----------------------------------------------------------------------------------------------

    def _commit(self, group: Sequence[Ticket[Any]]) -> None:
        if self._state is not OPEN:
            fail(group, self._gone())
        elif not self._committer.together(group):
            # A cached state was wrong, or the connection was lost before the commit: once more.
            self._committer.one_by_one(group)

    def _explain(self, error: Exception) -> Exception:
        return self._address.explain(error) if isinstance(error, psycopg.Error) else error

    # --- forking -------------------------------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Pause: a transaction that is open during a fork stays the parent's."""
        if self._state is not OPEN:
            return False
        self._writer.hold()
        return True

    def after_fork_in_parent(self) -> None:
        """Continue."""
        self._writer.let_go()

    def after_fork_in_child(self) -> None:
        """Release the parent's connections and threads, which do not exist here."""
        self._address.abandon()
        self._listener.abandon()
        self._forget(FORKED)

    def _gone(self) -> StoreError:
        return StoreError(
            f"The control plane on {self._address} was closed. Configure a new one before calling governed tools."
        )

    def _busy(self) -> StoreError:
        return StoreError(f"All {READERS} connections for reading from {self._address} are busy. Try again.")


_ANSWERS = frozenset(("55P03", "57014"))
"""Time-outs of a server that is reachable."""


def _stopped(reader: Reader, organization: str, agent_id: str) -> KillSwitchState | None:
    switches = reader.kill_switches(organization)
    return switches.get("") or switches.get(agent_id)
