"""Whether the process that waits for an action, or runs it, still lives.

A process that has the database open shows it by a lock, which the store knows. One behind HTTP shows it by being heard of:
it is alive while its lease lasts. A call of the plain REST API says nothing about its process, so nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Callable

from ascend_guard.store.port import Reader, Store, Transaction

REMOTE = "remote:"
"""Begins the name of a process behind HTTP."""

API = "api"
"""Stands for callers of the plain REST API."""

LEASE = 60.0
"""Seconds a process behind HTTP is believed to live after it was last heard of."""

RENEWAL = 15.0
"""Seconds between two notes that one was heard of."""


def behind_http(runner: str) -> bool:
    """Whether a process does not have the database open itself."""
    return runner == API or runner.startswith(REMOTE)


def living(store: Store, reader: Reader, now: float) -> Callable[[str], bool]:
    """Answers whether a process lives, by its name."""

    def alive(runner: str) -> bool:
        if runner == API:
            return True
        if not runner.startswith(REMOTE):
            return store.alive(runner)
        seen = reader.seen(runner)
        return seen is not None and now - seen < LEASE

    return alive


class Register:
    """Notes which processes behind HTTP were heard of, not more often than needed."""

    def __init__(self) -> None:
        self._noted: dict[str, float] = {}

    def stale(self, runner: str, now: float) -> bool:
        """Whether it should be noted again."""
        return runner.startswith(REMOTE) and now - self._noted.get(runner, 0.0) >= RENEWAL

    def see(self, tx: Transaction, runner: str) -> None:
        """Note it, in a transaction that is there anyway."""
        if not self.stale(runner, tx.now):
            return
        tx.see_runner(runner)
        now = tx.now
        tx.after_commit(lambda: self._note(runner, now))

    def _note(self, runner: str, now: float) -> None:
        self._noted[runner] = now
        if len(self._noted) > 50_000:
            self._noted = {name: at for name, at in self._noted.items() if now - at < LEASE}
