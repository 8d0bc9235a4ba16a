"""The threads in which coroutines' requests are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ascend_guard.processes import renewed_in_children

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


class Threads:
    """A pool that is made when it is first used. A forked child has none of its parent's threads and makes its own.

    Args:
        most: how many threads there are at most.
        name: what their names begin with.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Start without threads. Called automatically in forked children."""
        self._pool: ThreadPoolExecutor | None = None

    def pool(self) -> ThreadPoolExecutor:
        """The pool of this process."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # blocking callers need not load it

            self._pool = ThreadPoolExecutor(self._most, thread_name_prefix=self._name)
        return self._pool

    def close(self) -> None:
        """End the threads without waiting for their work. Closing twice is allowed."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)
