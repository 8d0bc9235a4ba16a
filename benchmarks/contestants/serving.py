"""How a contestant answers: ``ready``, then for each line ``N`` how long each of N calls took.

Imports nothing but the standard library: some contestants live in environments that have nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter, perf_counter_ns

WARM_UP = 0.3
"""Seconds to call before the first measurement."""


def serve(call: Callable[[int], object]) -> None:
    """Answer with the nanoseconds of every single call. ``call`` is given a number it has never seen."""
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


def serve_async(call: Callable[[int], Awaitable[object]]) -> None:
    """The same for coroutines, on one event loop that runs throughout."""

    async def batch(first: int, count: int) -> list[int]:
        took: list[int] = []
        for number in range(first, first + count):
            start = perf_counter_ns()
            await call(number)
            took.append(perf_counter_ns() - start)
        return took

    with asyncio.Runner() as runner:
        number = 0
        stop = perf_counter() + WARM_UP
        while perf_counter() < stop:
            runner.run(batch(number, 20))
            number += 20
        print("ready", flush=True)
        for line in sys.stdin:
            took = runner.run(batch(number, int(line)))
            number += len(took)
            print(json.dumps(took), flush=True)


def serve_fast(loop: Callable[[int], object]) -> None:
    """For calls shorter than reading the clock: ``loop`` makes so many calls; the answer is their mean."""
    loop(100_000)
    print("ready", flush=True)
    for line in sys.stdin:
        start = perf_counter_ns()
        loop(int(line))
        print(json.dumps([(perf_counter_ns() - start) / int(line)]), flush=True)
