"""What the store is asked for a request: as much for another organization's identifier as for one that nothing has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sized
from typing import Any, TypeVar

from ascend_guard.store.port import Reader, Transaction
from ascend_guard.store.sqlite.store import SQLiteStore

R = TypeVar("R")

Asked = list[tuple[str, int]]

_BESIDE = frozenset(("change feed", "housekeeping", "deliveries"))
_CACHED = frozenset(("find_record",))  # the caller's own key, which is remembered for a second


class WatchedStore(SQLiteStore):
    """Notes each question and change that a request puts to it, and how much came back.

    Attributes:
        asked: what was noted since it was last cleared.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.asked: Asked = []
        super().__init__(*arguments, **options)

    async def aread(self, work: Callable[[Reader], R], *, current: bool = False) -> R:
        return await super().aread(self._noted(work), current=current)

    def apart(self, work: Callable[[Reader], R]) -> R:
        return super().apart(self._noted(work))

    async def awrite(
        self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None
    ) -> R:
        return await super().awrite(self._noted(work), orphaned)

    def _noted(self, work: Callable[[Any], R]) -> Callable[[Any], R]:
        task = asyncio.current_task()
        if task is not None and task.get_name() in _BESIDE:
            return work
        return lambda inner: work(_Noted(inner, self.asked))


class _Noted:
    def __init__(self, inner: Any, asked: Asked) -> None:
        self._inner, self._asked = inner, asked

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def ask(*given: Any, **named: Any) -> Any:
            answer = found(*given, **named)
            if name not in _CACHED and (not given or given[0] != ""):  # tiers are remembered as well
                if isinstance(answer, Iterator):
                    answer = iter(listed := list(answer))
                    self._asked.append((name, len(listed)))
                else:
                    self._asked.append(
                        (name, len(answer) if isinstance(answer, Sized) else answer is not None)
                    )
            return answer

        return ask
