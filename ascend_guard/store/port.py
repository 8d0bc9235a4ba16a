"""What the engine asks of a store. One implementation per database, each a small dialect of the same tables."""

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
    """Questions, answered from the last committed state (or, inside a transaction, from that transaction's)."""

    def action(self, organization: str, action_id: int) -> ActionRow | None:
        """The action, unless it does not exist or is another organization's."""
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
        """Newest first. ``status`` may be a word for some of the approved ones: see ``queries.STATUSES``."""
        ...

    def every_action(self) -> Iterator[ActionRow]:
        """All actions of all organizations, in order."""
        ...

    def count_actions(
        self, organization: str, *, status: str | None = None, agent_id: str | None = None
    ) -> int:
        """How many ``actions`` would list without a limit."""
        ...

    def repeatable(self, organization: str, fingerprint: str) -> list[ActionRow]:
        """Actions of the very same call that nobody has claimed, and whose denial nobody has heard of, oldest first."""
        ...

    def overdue(self, now: float) -> list[ActionRow]:
        """Actions whose deadline has passed: still pending, or approved and never claimed."""
        ...

    def last_action(self) -> int:
        """The newest action's id, of any organization; 0 when there is none."""
        ...

    def next_deadline(self) -> float | None:
        """When the next undecided action falls due."""
        ...

    def runners(self) -> list[str]:
        """Processes that have claimed actions and not yet taken their leave."""
        ...

    def running(self, runner: str) -> list[ActionRow]:
        """What this process has claimed and not settled."""
        ...

    def approvals(self, action_id: int) -> list[Approval]:
        """Those so far, the earliest first."""
        ...

    def kill_switches(self, organization: str) -> dict[str, KillSwitchState]:
        """Those that are on, by agent; ``''`` is every agent."""
        ...

    def trail(self, action_id: int) -> list[AuditRow]:
        """The audit records of one action, in order."""
        ...

    def audit(self, after: int = 0) -> Iterator[AuditRow]:
        """All audit records after this one, in order."""
        ...

    def audit_page(
        self, organization: str, limit: int, offset: int = 0, page: Page = WHOLE
    ) -> list[AuditRow]:
        """One organization's audit records, newest first."""
        ...

    def audit_record(self, organization: str, seq: int) -> AuditRow | None:
        """This record, when it is the organization's."""
        ...

    def count_audit(self, organization: str) -> int:
        """How many audit records an organization has."""
        ...

    def events(self, after: int) -> list[tuple[int, int | None, str]]:
        """(seq, action_id, event) of the audit records after this one."""
        ...

    def events_since(self, after: int, organization: str | None = None, *, limit: int = 2**31) -> list[Event]:
        """The audit records after this one: of one organization, or of all."""
        ...

    def head(self) -> Head:
        """The end of the audit trail."""
        ...

    def seen(self, runner: str) -> float | None:
        """When a process behind HTTP was last heard of; None when it never was."""
        ...

    def record_of(self, organization: str, kind: str, name: str) -> Record | None:
        """What is registered under this name, unless it does not exist or is another organization's."""
        ...

    def record_number(self, organization: str, kind: str, number: int) -> Record | None:
        """The same by its number."""
        ...

    def find_record(self, kind: str, name: str) -> Record | None:
        """What is registered under this name in any organization: for names nobody can guess, such as a key's hash."""
        ...

    def records(
        self, organization: str, kind: str, *, limit: int = 1000, offset: int = 0, page: Page = WHOLE
    ) -> list[Record]:
        """Everything of one kind, oldest first."""
        ...

    def count_records(self, organization: str, kind: str) -> int:
        """How many ``records`` would list without a limit."""
        ...

    def due_records(self, kind: str, now: float, *, limit: int = 100) -> list[Record]:
        """Those of any organization that something must be done about, the longest due first."""
        ...


class Transaction(Reader, Protocol):
    """Changes that become durable together, or not at all."""

    now: float
    timestamp: str
    next_seq: int

    def insert_action(self, row: ActionRow) -> int:
        """Keep a new action and return its number; the one in ``row`` is ignored.

        The next record must be its ``submitted``, and the one after it its ``started`` when it is claimed already."""
        ...

    def settle_action(
        self, organization: str, action_id: int, outcome: str, duration: float, error: str | None
    ) -> str | None:
        """Give a claimed action its outcome and return its agent; None when there is no such action without one."""
        ...

    def update_action(self, action_id: int, **columns: Any) -> None:
        """Set these columns."""
        ...

    def add_runner(self, runner: str, since: int) -> None:
        """This process may claim this action and later ones."""
        ...

    def remove_runner(self, runner: str) -> None:
        """Nothing this process claimed is left without an outcome."""
        ...

    def see_runner(self, runner: str) -> None:
        """This process behind HTTP was heard of now."""
        ...

    def put_record(
        self, organization: str, kind: str, name: str, body: bytes, *, due_at: float | None = None
    ) -> int:
        """Register something, or replace what has this name; its number, which replacing does not change."""
        ...

    def remove_record(self, organization: str, kind: str, name: str) -> bool:
        """Forget it; False when there was none."""
        ...

    def approve(
        self,
        action_id: int,
        approver: str,
        comment: str | None,
        groups: str | None = None,
        identity: str | None = None,
    ) -> None:
        """Keep one person's approval. A second one of the same name and identity replaces the first; others are kept, for
        they tell which names and identities belong together."""
        ...

    def clear_approvals(self, action_id: int) -> None:
        """Forget the approvals so far: they were for other arguments."""
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
        """This process, by the name other processes know it by."""
        ...

    def read(self, work: Callable[[Reader], R], *, latest: bool = True) -> R:
        """Answer a question; when ``latest``, after what was posted here is committed. Raises ``StoreError``."""
        ...

    async def aread(self, work: Callable[[Reader], R]) -> R:
        """Answer a question from a coroutine, by the last committed state. Raises ``StoreError``."""
        ...

    def apart(self, work: Callable[[Reader], R]) -> R:
        """The same for a question that may take long: other readers do not wait for it. Raises ``StoreError``."""
        ...

    def snapshot(self, work: Callable[[Reader], R]) -> R:
        """Answer a long question from one moment's state, without holding up anybody. Raises ``StoreError``."""
        ...

    def write(self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None) -> R:
        """Run ``work``, which may run more than once, in a transaction and return once it is durable.

        ``orphaned``: the result is durable, but its caller has gone. Raises ``StoreError``, or what ``work`` raised."""
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

        It is tried again while the process lives. ``what`` begins the log's sentences about that. ``failed``: given up."""
        ...

    def changed(self) -> bool:
        """Whether anything was committed, by any process, since this was last asked (by the one watcher there is)."""
        ...

    def alive(self, runner: str) -> bool:
        """Whether that process still runs."""
        ...

    def stopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        """The switch that stops this agent at this moment, or None. Never waits for a lock. Raises ``StoreError``."""
        ...

    async def astopped(self, organization: str, agent_id: str) -> KillSwitchState | None:
        """The same from a coroutine."""
        ...

    def turns(self) -> object:
        """Something that is another object after a kill switch was turned that ``changed`` may not tell of."""
        ...

    def begin(self, organization: str, agent_id: str, action_id: str) -> KillSwitchState | None:
        """The last check of a claimed call: None when it has begun, and runs until ``ended``; else what blocks it.

        Raises ``StoreError``, and then it has not begun."""
        ...

    def ended(self, action_id: str) -> None:
        """A call that may have begun in this process runs no more. Never raises, also when the store is closed."""
        ...

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> Killed:
        """Turn a kill switch on; ``''`` is every agent. No call that it stops passes ``begin`` once this has returned.

        Raises ``StoreError``: agents are not stopped, or the switch is not kept."""
        ...

    def require_released(self) -> None:
        """After a write that turned a switch off: make sure that it is off. Raises ``StoreError``."""
        ...

    def close(self, last: Callable[[Transaction, set[str]], object] | None = None) -> None:
        """Finish what was posted and let go of the database. No call of this process begins any more.

        ``last``: what is written at the very end; it gets the actions that have begun here and not ended."""
        ...


def running_calls(
    reader: Reader, organization: str, agent_id: str, among: Callable[[str], bool] = bool
) -> list[RunningCall]:
    """What has been claimed and has no outcome, by processes ``among`` these; ``''`` is every agent."""
    return [
        RunningCall(str(row.id), row.agent_id, True, iso(row.claimed_at or row.created_at))
        for runner in reader.runners()
        if among(runner)
        for row in reader.running(runner)
        if row.organization == organization and agent_id in ("", row.agent_id)
    ]


def switch_on(tx: Transaction, organization: str, agent_id: str, reason: str, by: str) -> None:
    """Turn a kill switch on, and record it; ``''`` is every agent's."""
    tx.kill(organization, agent_id, reason, by)
    tx.record("kill_switch.on", organization=organization, actor=by, agent_id=agent_id or None, reason=reason)
