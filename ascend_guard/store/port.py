"""The interface between the engine and a database. One implementation per database, each a small dialect of the same
tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from ascend_guard.model import Killed, KillSwitchState, RunningCall, iso

from .paging import WHOLE, Page
from .rows import ActionRow, Approval, Event, Head, LogRow, Record

R = TypeVar("R")

__all__ = [
    "ActionRow",
    "Approval",
    "Event",
    "Head",
    "LogRow",
    "Reader",
    "Record",
    "Store",
    "Transaction",
    "running_calls",
]


class Reader(Protocol):
    """Reads from the last committed state (or, inside a transaction, from that transaction's state)."""

    def action(self, organization: str, action_id: int) -> ActionRow | None:
        """Return the action; None if it does not exist or belongs to another organization."""
        ...

    def actions(
        self,
        organization: str,
        *,
        status: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        before: int | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> list[ActionRow]:
        """Return actions, newest first. ``status`` may be a word for a part of the approved ones: see
        ``queries.STATUSES``."""
        ...

    def every_action(self, organization: str) -> Iterator[ActionRow]:
        """Yield all actions of an organization, in order."""
        ...

    def count_actions(
        self, organization: str, *, status: str | None = None, agent_id: str | None = None
    ) -> int:
        """Return how many ``actions`` would return without a limit."""
        ...

    def repeatable(self, organization: str, fingerprint: str) -> list[ActionRow]:
        """Return unclaimed actions of the same call, whose denial was not reported yet, oldest first."""
        ...

    def overdue(self, now: float) -> list[ActionRow]:
        """Return actions whose deadline has passed: still pending, or approved and never claimed."""
        ...

    def last_action(self, organization: str) -> int:
        """Return the number of an organization's newest action; 0 when there is none."""
        ...

    def next_deadline(self) -> float | None:
        """Return the next deadline of an undecided action."""
        ...

    def runners(self) -> list[str]:
        """Return processes that have claimed actions and are not removed yet."""
        ...

    def running(self, runner: str) -> list[ActionRow]:
        """Return what this process has claimed and not settled."""
        ...

    def approvals(self, organization: str, action_id: int) -> list[Approval]:
        """Return the approvals so far, the earliest first."""
        ...

    def kill_switches(self, organization: str) -> dict[str, KillSwitchState]:
        """Return the kill switches that are on, by agent; ``''`` is every agent."""
        ...

    def trail(self, organization: str, action_id: int) -> list[LogRow]:
        """Return the records of one action, in order."""
        ...

    def log(self, organization: str, after: int = 0) -> Iterator[LogRow]:
        """Yield an organization's records after this one, in order."""
        ...

    def stored(self, number: int, after: int = 0) -> Iterator[tuple[int, Any, Any, Any, Any, Any]]:
        """Yield the rows of a log as they are stored: key, action, event, body, salt, leaf. ``number``: its head's."""
        ...

    def log_page(self, organization: str, limit: int, offset: int = 0, page: Page = WHOLE) -> list[LogRow]:
        """Return an organization's records, newest first."""
        ...

    def log_record(self, organization: str, seq: int) -> LogRow | None:
        """Return this record of an organization."""
        ...

    def count_log(self, organization: str) -> int:
        """Return how many records an organization has."""
        ...

    def events_since(self, organization: str, after: int, *, limit: int = 2**31) -> list[Event]:
        """Return an organization's records after this one."""
        ...

    def head(self, organization: str) -> Head:
        """Return the end of an organization's log; with a negative ``number`` when it has none."""
        ...

    def behind(self) -> list[str]:
        """Return the organizations whose tables are not computed up to the end of their log."""
        ...

    def heads(self) -> list[Head]:
        """Return the ends of all logs; the system's first."""
        ...

    def tally(self, organization: str) -> dict[str, int]:
        """Return how many rows of the tables that are computed from the log belong to an organization."""
        ...

    def every_thing(self, organization: str) -> Iterator[Record]:
        """Yield everything that an organization has registered, of every kind."""
        ...

    def switch_rows(self, organization: str) -> list[tuple[str, str, float, str]]:
        """Return the table of the kill switches that are recorded as on: agent, reason, since when, by whom."""
        ...

    def strays(self) -> list[str]:
        """Return a text for each table with rows that belong to no log."""
        ...

    def seen(self, runner: str) -> float | None:
        """Return when a process behind HTTP was last heard of; None if it never was."""
        ...

    def record_of(self, organization: str, kind: str, name: str) -> Record | None:
        """Return what is registered under this name; None if it does not exist or belongs to another organization."""
        ...

    def record_number(self, organization: str, kind: str, number: int) -> Record | None:
        """The same by its number."""
        ...

    def find_record(self, kind: str, name: str) -> Record | None:
        """Return what is registered under this name in any organization: for names that cannot be guessed, such as a
        key's hash."""
        ...

    def records(
        self, organization: str, kind: str, *, limit: int = 1000, offset: int = 0, page: Page = WHOLE
    ) -> list[Record]:
        """Return everything of one kind, oldest first."""
        ...

    def count_records(self, organization: str, kind: str) -> int:
        """Return how many ``records`` would return without a limit."""
        ...

    def due_records(self, kind: str, now: float, *, limit: int = 100) -> list[Record]:
        """Return the records of any organization that are due, the longest due first."""
        ...


class Transaction(Reader, Protocol):
    """Changes that become durable together, or not at all."""

    now: float
    timestamp: str

    def next_seq(self, organization: str) -> int:
        """Return the number of an organization's next record."""
        ...

    def record(
        self, event: str, *, organization: str, actor: str, action_id: int | None = None, **data: Any
    ) -> int:
        """Append an audit record, make its changes (see ``projections``), and return its number.

        ``data``: among the rest, ``set``: columns of the action and their new values; ``given``: an approval;
        ``cleared``: whether the approvals so far were for other arguments; ``put`` and ``drop``: registered things."""
        ...

    def next_action(self, organization: str) -> int:
        """Return the number of an organization's next new action, which its ``submitted`` record then has."""
        ...

    def running_agent(self, organization: str, action_id: int) -> str | None:
        """Return the agent of an action that has started and has no outcome, or the outcome ``unknown``; None when
        there is no such action."""
        ...

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> None:
        """Prepare to turn a kill switch on; the record does it."""
        ...

    def revive(self, organization: str, agent_id: str) -> bool:
        """Prepare to turn a kill switch off; the record does it. False when it was not on."""
        ...

    def catch_up(self, organization: str) -> None:
        """Write the rows of actions that were left for later, of one organization."""
        ...

    def catch_up_all(self) -> None:
        """Write the rows of actions that were left for later, by any process."""
        ...

    def delete_strays(self) -> None:
        """Delete the rows that belong to no log."""
        ...

    def rebuild(self, organization: str, step: Callable[[], None]) -> None:
        """Write all tables of an organization that are computed from its log anew. ``step``: called for each record."""
        ...

    def add_runner(self, runner: str, organization: str, since: int) -> None:
        """Note that this process may claim this action and later ones of an organization."""
        ...

    def remove_runner(self, runner: str) -> None:
        """Note that everything which this process claimed has an outcome."""
        ...

    def see_runner(self, runner: str, organization: str) -> None:
        """Note that this process behind HTTP was heard of now, for an organization."""
        ...

    def put_record(
        self, organization: str, kind: str, name: str, body: bytes, *, due_at: float | None = None
    ) -> None:
        """Write something of a kind that is not in the log (``queries.is_bookkeeping``), or replace what has this name."""
        ...

    def remove_record(self, organization: str, kind: str, name: str) -> None:
        """Delete something of a kind that is not in the log, if it exists."""
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call this once everything is durable; not at all otherwise."""
        ...


class Store(Protocol):
    """A database of actions."""

    secret: bytes
    place: str  # for people, without a password

    @property
    def runner(self) -> str:
        """This process's name for other processes."""
        ...

    def read(self, work: Callable[[Reader], R], *, latest: bool = True) -> R:
        """Read; when ``latest``, after posted work of this process is committed, and after rows that were left for later
        are written. Without it, actions that a rule allowed may be missing. Raises ``StoreError``."""
        ...

    async def aread(self, work: Callable[[Reader], R], *, current: bool = False) -> R:
        """Read from a coroutine, from the last committed state; when ``current``, after rows that were left for later are
        written. Without it, actions that a rule allowed may be missing. Raises ``StoreError``."""
        ...

    def apart(self, work: Callable[[Reader], R]) -> R:
        """The same for a read that may take long: other readers do not wait for it. Raises ``StoreError``."""
        ...

    def snapshot(self, work: Callable[[Reader], R]) -> R:
        """Run a long read on the state of one moment, without delaying others; rows that were left for later are not
        written before it. Raises ``StoreError``."""
        ...

    def write(self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None) -> R:
        """Run ``work``, which may run more than once, in a transaction and return once it is durable.

        ``orphaned``: called when the result is durable, but its caller is gone. Raises ``StoreError``, or as ``work``."""
        ...

    async def awrite(
        self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None
    ) -> R:
        """The same, without blocking the event loop."""
        ...

    def post(
        self,
        work: Callable[[Transaction], object],
        what: str,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Run ``work`` before any later write of this process, and within milliseconds, without waiting for it.

        It is retried while the process lives. ``what`` begins the log messages about that. ``failed``: called when it
        is given up."""
        ...

    def changed(self) -> bool:
        """Return whether any process has committed anything since the last call (by the only watcher)."""
        ...

    def alive(self, runner: str) -> bool:
        """Return whether that process still runs."""
        ...

    def stopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        """Return the switch that stops this agent at this moment, or None. Never waits for a lock. Raises
        ``StoreError``."""
        ...

    async def astopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        """The same from a coroutine."""
        ...

    def turns(self) -> object:
        """Return an object that is replaced after a change of a kill switch that ``changed`` may not report."""
        ...

    def begin(self, organization: str, agent_id: str, action_id: str) -> KillSwitchState | None:
        """Make the last check of a claimed call: None when it has begun, and runs until ``ended``; else what blocks it.

        Raises ``StoreError``, and then it has not begun."""
        ...

    def ended(self, organization: str, action_id: str) -> None:
        """Note that a call that may have begun in this process runs no more. Never raises, even when the store is
        closed."""
        ...

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> Killed:
        """Turn a kill switch on; ``''`` is every agent. After this has returned, no call that it stops passes ``begin``.

        Raises ``StoreError``: agents are not stopped, or the switch is not stored."""
        ...

    def require_released(self) -> None:
        """After a write that turned a switch off: make sure that it is off. Raises ``StoreError``."""
        ...

    def close(self, last: Callable[[Transaction, set[tuple[str, str]]], object] | None = None) -> None:
        """Finish posted work and close the database. No call of this process begins after that.

        ``last``: the last write; it receives the actions that have begun here and not ended, each with its organization."""
        ...


def running_calls(
    reader: Reader, organization: str, agent_id: str, among: Callable[[str], bool] = bool
) -> list[RunningCall]:
    """Return the claimed actions without an outcome, by processes ``among`` these; ``''`` is every agent."""
    return [
        RunningCall(str(row.id), row.agent_id, True, iso(row.claimed_at or row.created_at))
        for runner in reader.runners()
        if among(runner)
        for row in reader.running(runner)
        if row.organization == organization and agent_id in ("", row.agent_id)
    ]


def switch_on(tx: Transaction, organization: str, agent_id: str, reason: str, by: str) -> None:
    """Turn a kill switch on, and record it; ``''`` is every agent."""
    tx.kill(organization, agent_id, reason, by)
    tx.record("kill_switch.on", organization=organization, actor=by, agent_id=agent_id or None, reason=reason)
