"""The interface between the engine and a database. One implementation per database, each a small dialect of the same
tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from ascend_guard.model import Killed, KillSwitchState, RunningCall, iso

from .paging import WHOLE, Page
from .rows import ActionRow, Approval, AuditRow, Event, Head, Record

R = TypeVar("R")

__all__ = [
    "ActionRow",
    "Approval",
    "AuditRow",
    "Event",
    "Head",
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

    def every_action(self) -> Iterator[ActionRow]:
        """Yield all actions of all organizations, in order."""
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

    def last_action(self) -> int:
        """Return the newest action's id, of any organization; 0 when there is none."""
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

    def approvals(self, action_id: int) -> list[Approval]:
        """Return the approvals so far, the earliest first."""
        ...

    def kill_switches(self, organization: str) -> dict[str, KillSwitchState]:
        """Return the kill switches that are on, by agent; ``''`` is every agent."""
        ...

    def trail(self, action_id: int) -> list[AuditRow]:
        """Return the audit records of one action, in order."""
        ...

    def audit(self, after: int = 0) -> Iterator[AuditRow]:
        """Yield all audit records after this one, in order."""
        ...

    def audit_page(
        self, organization: str, limit: int, offset: int = 0, page: Page = WHOLE
    ) -> list[AuditRow]:
        """Return one organization's audit records, newest first."""
        ...

    def audit_record(self, organization: str, seq: int) -> AuditRow | None:
        """Return this record, if it belongs to the organization."""
        ...

    def count_audit(self, organization: str) -> int:
        """Return how many audit records an organization has."""
        ...

    def events(self, after: int) -> list[tuple[int, int | None, str]]:
        """Return (seq, action_id, event) of the audit records after this one."""
        ...

    def events_since(self, after: int, organization: str | None = None, *, limit: int = 2**31) -> list[Event]:
        """Return the audit records after this one: of one organization, or of all."""
        ...

    def head(self) -> Head:
        """Return the end of the audit trail."""
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
    next_seq: int

    def insert_action(self, row: ActionRow) -> int:
        """Store a new action and return its number; the number in ``row`` is ignored.

        The next record must be its ``submitted``, and the one after it its ``started`` when it is already claimed."""
        ...

    def settle_action(
        self, organization: str, action_id: int, outcome: str, duration: float, error: str | None
    ) -> str | None:
        """Set the outcome of a claimed action and return its agent; None when there is no such action without an
        outcome."""
        ...

    def update_action(self, action_id: int, **columns: Any) -> None:
        """Set these columns."""
        ...

    def add_runner(self, runner: str, since: int) -> None:
        """Note that this process may claim this action and later ones."""
        ...

    def remove_runner(self, runner: str) -> None:
        """Note that everything which this process claimed has an outcome."""
        ...

    def see_runner(self, runner: str) -> None:
        """Note that this process behind HTTP was heard of now."""
        ...

    def put_record(
        self, organization: str, kind: str, name: str, body: bytes, *, due_at: float | None = None
    ) -> int:
        """Register something, or replace what has this name. Returns its number, which stays the same when it is
        replaced."""
        ...

    def remove_record(self, organization: str, kind: str, name: str) -> bool:
        """Delete it; False when it did not exist."""
        ...

    def approve(
        self,
        action_id: int,
        approver: str,
        comment: str | None,
        groups: str | None = None,
        identity: str | None = None,
    ) -> None:
        """Store one person's approval. A second one with the same name and identity replaces the first; others are
        kept, because they show which names and identities belong together."""
        ...

    def clear_approvals(self, action_id: int) -> None:
        """Delete the approvals so far: they were for other arguments."""
        ...

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> None:
        """Turn a kill switch on."""
        ...

    def revive(self, organization: str, agent_id: str) -> bool:
        """Turn a kill switch off; False when it was not on."""
        ...

    def record(
        self, event: str, *, organization: str, actor: str, action_id: int | None = None, **data: Any
    ) -> None:
        """Append an audit record."""
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
        """Read; when ``latest``, after posted work of this process is committed. Raises ``StoreError``."""
        ...

    async def aread(self, work: Callable[[Reader], R]) -> R:
        """Read from a coroutine, from the last committed state. Raises ``StoreError``."""
        ...

    def apart(self, work: Callable[[Reader], R]) -> R:
        """The same for a read that may take long: other readers do not wait for it. Raises ``StoreError``."""
        ...

    def snapshot(self, work: Callable[[Reader], R]) -> R:
        """Run a long read on the state of one moment, without delaying others. Raises ``StoreError``."""
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

    def ended(self, action_id: str) -> None:
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

    def close(self, last: Callable[[Transaction, set[str]], object] | None = None) -> None:
        """Finish posted work and close the database. No call of this process begins after that.

        ``last``: the last write; it receives the actions that have begun here and not ended."""
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
