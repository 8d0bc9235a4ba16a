"""A store that is open, closed, or was opened by the parent of a forked process; and its writes, which all stores share.

A forked child opens the store again at its first use. Using a closed store raises an error.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from ascend_guard.errors import StoreError
from ascend_guard.store.port import Transaction
from ascend_guard.store.writer import GroupCommit

R = TypeVar("R")

OPEN, CLOSED, FORKED = range(3)


class OpenedStore(ABC):
    """The common part of the stores on SQLite and PostgreSQL."""

    _writer: GroupCommit
    _worker: bool

    def __init__(self) -> None:
        self._forget(CLOSED)

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _gone(self) -> StoreError: ...

    def _forget(self, state: int) -> None:
        self._state = state
        self._reopening = threading.Lock()

    def _reopen(self) -> None:
        with self._reopening:
            if self._state is CLOSED:
                raise self._gone()
            if self._state is FORKED:
                self._open()

    def write(self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None) -> R:
        """See ``Store``."""
        if self._state is not OPEN:
            self._reopen()
        return self._writer.run(work, orphaned)

    async def awrite(
        self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None
    ) -> R:
        """See ``Store``."""
        if self._state is not OPEN:
            self._reopen()
        return await self._writer.arun(work, orphaned)

    def post(
        self,
        work: Callable[[Transaction], object],
        what: str,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        """See ``Store``."""
        if self._state is not OPEN:
            self._reopen()
        self._writer.post(work, what, failed)
        if self._worker:
            self._writer.flush()

    def flush(self) -> None:
        """Commit posted work."""
        if self._state is OPEN:
            self._writer.flush()

    def finish(self) -> None:
        """The process ends: commit posted work, and commit later work at once."""
        if self._state is OPEN:
            self._worker = True
            self._writer.finish()
