"""What time brings about: deadlines that pass, processes that die, keys of resent requests that are forgotten."""

from __future__ import annotations

from collections.abc import Callable

from ascend_guard.store.port import Reader, Store, Transaction

from .approve import expire
from .claim import bury
from .presence import living

SUBMISSION = "submission"
"""Kind of the records that say which action a request with an idempotency key became."""


def tidy(store: Store, now: float, expired: Callable[[], None]) -> None:
    """Deny what is overdue, say ``unknown`` of what dead processes left running, forget old idempotency keys.

    Args:
        store: where.
        now: seconds since the epoch.
        expired: called once an action is denied because its deadline has passed.
    """

    def look(reader: Reader) -> tuple[list[str], bool, bool]:
        alive = living(store, reader, now)
        dead = [runner for runner in reader.runners() if not alive(runner)]
        return dead, bool(reader.overdue(now)), bool(reader.due_records(SUBMISSION, now, limit=1))

    dead, overdue, old = store.read(look)
    if not (dead or overdue or old):
        return

    def mend(tx: Transaction) -> None:
        alive = living(store, tx, tx.now)
        for runner in dead:
            bury(tx, runner, alive)
        for row in tx.overdue(tx.now):
            expire(tx, row)
            tx.after_commit(expired)
        for record in tx.due_records(SUBMISSION, tx.now, limit=1000):
            tx.remove_record(record.organization, SUBMISSION, record.name)

    store.write(mend)
