"""The protocol of a contestant: it prints ``ready``, then for each line ``N`` how long each of N calls took.

Imports only the standard library: some contestants run in environments without our package.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter, perf_counter_ns
from typing import Any

WARM_UP = 0.3
"""Seconds to call before the first measurement."""


def serve(call: Callable[[int], object]) -> None:
    """Answer with the nanoseconds of every single call. ``call`` receives a new number each time."""
    number = 0
    stop = perf_counter() + WARM_UP
    while perf_counter() < stop:
        call(number)
        number += 1
    print("ready", flush=True)
    for line in sys.stdin:
        took: list[int] = []
        for _ in range(int(line)):
            start = perf_counter_ns()
            call(number)
            took.append(perf_counter_ns() - start)
            number += 1
        print(json.dumps(took), flush=True)


async def answer(call: Callable[[int], Awaitable[object]]) -> None:
    """``serve`` for a client that stays open: its calls must be awaited where it was opened."""
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


def run(client: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine that opens the client. Prints the last line of a failure, without the frame of an exception
    group."""
    try:
        asyncio.run(client)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise SystemExit(f"{type(error).__name__}: {error}") from group


def fail_on_warnings() -> None:
    """Raise an error for every logged warning, because some clients swallow failures and only log them."""

    class Loud(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError(record.getMessage())

    logging.getLogger().addHandler(Loud(logging.WARNING))
