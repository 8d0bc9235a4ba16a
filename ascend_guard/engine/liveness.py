"""Whether the process that waits for an action, or runs it, is still alive.

A process that has the database open holds a lock, which the store can check. A process behind HTTP is alive while its lease
lasts; each request renews it. A call of the plain REST API does not identify its process, so nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Callable

from ascend_guard.store.port import Reader, Store, Transaction

REMOTE = "remote:"
"""Prefix of the names of processes behind HTTP."""

API = "api"
"""The name for all callers of the plain REST API."""

LEASE = 60.0
"""The lease: seconds that a process behind HTTP counts as alive after its last request."""

RENEWAL = 15.0
"""The least seconds between two records of a process's requests."""


def behind_http(runner: str) -> bool:
    """Return whether a process does not have the database open itself."""
    return runner == API or runner.startswith(REMOTE)


def living(store: Store, reader: Reader, now: float) -> Callable[[str], bool]:
    """Return a function that says whether a process is alive, by its name."""

    def alive(runner: str) -> bool:
        if runner == API:
            return True
        if not runner.startswith(REMOTE):
            return store.alive(runner)
        seen = reader.seen(runner)
        return seen is not None and now - seen < LEASE

    return alive


class Register:
    """Renews the leases of processes behind HTTP, not more often than needed."""

    def __init__(self) -> None:
        self._noted: dict[str, float] = {}

    def stale(self, runner: str, now: float) -> bool:
        """Return whether the lease should be renewed."""
        return runner.startswith(REMOTE) and now - self._noted.get(runner, 0.0) >= RENEWAL

    def see(self, tx: Transaction, runner: str, organization: str) -> None:
        """Renew it, in an existing transaction."""
        if not self.stale(runner, tx.now):
            return
        tx.see_runner(runner, organization)
        now = tx.now
        tx.after_commit(lambda: self._note(runner, now))

    def _note(self, runner: str, now: float) -> None:
        self._noted[runner] = now
        if len(self._noted) > 50_000:
            self._noted = {name: at for name, at in self._noted.items() if now - at < LEASE}
