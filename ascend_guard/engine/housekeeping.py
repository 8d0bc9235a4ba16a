"""Housekeeping: deadlines that pass, processes that die, idempotency keys and denials that expire."""

from __future__ import annotations

from collections.abc import Callable

from ascend_guard.store.port import Reader, Store, Transaction
from ascend_guard.store.projections import Drop

from .approve import expire
from .claim import reap
from .denials import DENIAL
from .liveness import living

SUBMISSION = "submission"
"""Kind of the records that map an idempotency key to its action."""


def housekeep(store: Store, now: float, expired: Callable[[], None]) -> None:
    """Deny what is overdue, settle as ``unknown`` what dead processes left running, delete what has expired.

    Args:
        store: the store.
        now: seconds since the epoch.
        expired: called after an action is denied because its deadline has passed.
    """

    def look(reader: Reader) -> tuple[list[str], bool, bool]:
        alive = living(store, reader, now)
        dead = [runner for runner in reader.runners() if not alive(runner)]
        old = any(reader.due_records(kind, now, limit=1) for kind in (SUBMISSION, DENIAL))
        return dead, bool(reader.overdue(now)), old

    dead, overdue, old = store.read(look)
    if not (dead or overdue or old):
        return

    def remedy(tx: Transaction) -> None:
        alive = living(store, tx, tx.now)
        for runner in dead:
            reap(tx, runner, alive)
        for row in tx.overdue(tx.now):
            expire(tx, row)
            tx.after_commit(expired)
        old: dict[str, list[Drop]] = {}
        for kind in (SUBMISSION, DENIAL):
            for record in tx.due_records(kind, tx.now, limit=1000):
                old.setdefault(record.organization, []).append(Drop(kind, record.name))
        for organization, drop in old.items():
            tx.record("forgotten", organization=organization, actor="system", drop=drop)

    store.write(remedy)
