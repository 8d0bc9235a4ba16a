"""Stores of both kinds, and works to put to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ascend_guard.model import AgentAction
from ascend_guard.store.port import ActionRow, Transaction
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.projections import Given
from ascend_guard.store.sqlite.store import SQLiteStore

SECRET = b"s" * 32
NOW = 1_800_000_000.0

AnyStore = SQLiteStore | PostgresStore


@dataclass
class Database:
    """One database, in a file or behind a URL, and the stores that were opened on it."""

    path: Path | None = None
    url: str = ""
    stores: list[AnyStore] = field(default_factory=list)

    def open(self, clock: Callable[[], float] = lambda: NOW) -> AnyStore:
        """Another store on it, as another process would open one."""
        store: AnyStore
        if self.path is None:
            store = PostgresStore(self.url, secret=SECRET, clock=clock)
        else:
            store = SQLiteStore(self.path, durability="process", clock=clock)
        self.stores.append(store)
        return store

    @contextmanager
    def closing(self) -> Iterator[Database]:
        """Close them all."""
        try:
            yield self
        finally:
            for store in self.stores:
                store.close()


def row(**columns: Any) -> ActionRow:
    """An approved action that was claimed at once."""
    usual: dict[str, Any] = {
        "id": 0,
        "organization": "local",
        "status": "approved",
        "agent_id": "agent",
        "agent_name": "Agent",
        "action_type": "refund",
        "tool_name": "refund",
        "resource": "orders/1",
        "risk_score": 12.5,
        "risk_level": "low",
        "rule": None,
        "reason": "because",
        "session_id": None,
        "orchestration_session_id": None,
        "parent_action_id": None,
        "depth": 0,
        "digest": "00",
        "created_at": NOW,
        "runner": "me",
        "claimed_at": NOW,
    }
    return ActionRow(**usual | columns)


def insert(tx: Transaction, **columns: Any) -> int:
    """A new action and the records of it."""
    new = row(**columns)
    number = tx.next_action(new.organization)
    stated = {name: getattr(new, name) for name in _STATED if getattr(new, name) is not None}
    if new.claimed_at is None:
        stated.pop("runner", None)
    tx.record(
        "submitted",
        organization=new.organization,
        actor=new.agent_id,
        action_id=number,
        decision=new.status,
        rule=new.rule,
        reason=new.reason,
        digest=new.digest,
        action=AgentAction(
            new.agent_id,
            new.agent_name,
            new.action_type,
            new.resource,
            new.tool_name,
            session_id=new.session_id,
            orchestration_session_id=new.orchestration_session_id,
            parent_action_id=new.parent_action_id,
            orchestration_depth=new.depth,
        ),
        risk={"score": new.risk_score, "level": new.risk_level},
        set=stated,
    )
    return number


def approve(
    tx: Transaction, action_id: int, approver: str, comment: str | None, organization: str = "local"
) -> None:
    """Record an approval, in place of an earlier one of the same name; whether it is enough is not looked at."""
    given = Given(approver, comment)
    tx.record("approval", organization=organization, actor=approver, action_id=action_id, given=given)


_STATED = (
    *("runner", "fingerprint", "requirements", "quorum", "timeout", "expires_at", "decided_at", "decided_by"),
    *("edits", "waiter", "outcome", "settled_at", "duration", "error"),
)
