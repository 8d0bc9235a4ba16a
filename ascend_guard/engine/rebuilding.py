"""Compute the tables anew from the logs.

1. Only from logs that are whole: a record that was edited, or a log that was cut, is not turned into rows (promise 10).
2. In one transaction: interrupted, nothing has changed.
3. It is recorded in the system's log, with the person who asked for it.
"""

from __future__ import annotations

from collections.abc import Callable

from ascend_guard.errors import StoreError
from ascend_guard.store.log import SYSTEM
from ascend_guard.store.port import Store, Transaction

from .chain import Report
from .verification import verify


def rebuild(store: Store, by: str, step: Callable[[], None] = lambda: None) -> Report:
    """Compute actions, approvals, kill switches and registered things anew, of every organization.

    Args:
        store: the store.
        by: the person.
        step: called for each record.

    Returns:
        The verification of the tables as they were.

    Raises:
        StoreError: a log was changed.
    """
    before = store.snapshot(lambda reader: verify(reader, store.secret))

    def work(tx: Transaction) -> None:
        logs = verify(tx, store.secret, tables=False)
        if not logs.ok:
            raise StoreError(
                f"Nothing was rebuilt: the log itself was changed ({logs.problems[0]}). Restore a backup, and see "
                f"`ascend-guard audit verify`."
            )
        for head in tx.heads():
            tx.rebuild(head.organization, step)
        tx.delete_strays()
        tx.record(
            "rebuilt", organization=SYSTEM, actor=by, records=logs.records, problems=len(before.problems)
        )

    store.write(work)
    return before
