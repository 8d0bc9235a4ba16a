"""``serving.py`` for a client that stays open: its calls must be awaited where it was opened."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter, perf_counter_ns
from typing import Any

from serving import WARM_UP


def run(client: Coroutine[Any, Any, None]) -> None:
    """Run what opens the client. A failure's last line is the failure, not the frame drawn around a group of them."""
    try:
        asyncio.run(client)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise SystemExit(f"{type(error).__name__}: {error}") from group


async def answer(call: Callable[[int], Awaitable[object]]) -> None:
    """Answer each line ``N`` with how long each of N calls took, until there are no more."""
    number = 0
    stop = perf_counter() + WARM_UP
    while perf_counter() < stop:
        await call(number)
        number += 1
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        took: list[int] = []
        for _ in range(int(line)):
            start = perf_counter_ns()
            await call(number)
            took.append(perf_counter_ns() - start)
            number += 1
        print(json.dumps(took), flush=True)
