"""Stores of both kinds, and works to put to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ascend_guard.store.port import ActionRow, Transaction
from ascend_guard.store.postgres.store import PostgresStore
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
    new = row(submitted_seq=tx.next_seq, **columns)
    if new.claimed_at is not None:
        new.started_seq = tx.next_seq + 1
    number = tx.insert_action(new)
    named = {
        "organization": new.organization,
        "actor": new.agent_id,
        "action_id": number,
        "digest": new.digest,
    }
    tx.record("submitted", decision=new.status, **named)
    if new.claimed_at is not None:
        tx.record("started", **named)
    return number
