"""Many callers at once: calls a second, and the longest wait of a call."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from .report import Group, number
from .rounds import Worker, spread

LOADS = {
    "1 thread": ("threads", 1, 1),
    "32 threads": ("threads", 32, 1),
    "1,000 asyncio tasks": ("tasks", 1_000, 1),
    "20 processes": ("threads", 1, 20),
}
ROUNDS = 3


def throughput(folder: Path, seconds: float, *, crowd: bool = True) -> Group:
    """Every load in both durabilities: the median round's calls a second, the longest call of all.

    ``crowd`` says whether to include the twenty processes, which take longer to start than to measure.
    """
    group = Group(
        "throughput",
        "Many callers of a governed no-op on one file",
        ["calls/s", "lowest–highest", "p50 ms", "p99 ms", "longest ms"],
        f"{ROUNDS} rounds, times of all calls. With more callers than cores they include the wait for one.",
    )
    loads = [load for load, (_, _, processes) in LOADS.items() if crowd or processes < 20]
    cases = [(durability, load) for durability in ("process", "power") for load in loads]
    for position, (durability, load) in enumerate(cases):
        rates, times = _load(folder / f"{position}", durability, load, seconds / len(cases) / ROUNDS)
        p50, p99, longest = spread(times)
        rate = median(rates)
        group.add(
            f"{durability}: {load}",
            [
                number(rate),
                f"{number(min(rates))}–{number(max(rates))}",
                number(p50),
                number(p99),
                number(longest),
            ],
            calls_per_second=rate,
            p50_ms=p50,
            p99_ms=p99,
            longest_ms=longest,
        )
    return group


def _load(folder: Path, durability: str, load: str, seconds: float) -> tuple[list[float], list[float]]:
    """Return the calls a second of each round, and the milliseconds of every call."""
    kind, callers, processes = LOADS[load]
    folder.mkdir(parents=True)
    workers = [Worker("load", kind, callers, seconds, durability, folder) for _ in range(processes)]
    rates: list[float] = []
    times: list[float] = []
    try:
        for worker in workers:
            worker.ready()
        for _ in range(ROUNDS):
            for worker in workers:
                worker.tell("go")
            answers = [json.loads(worker.hear()) for worker in workers]
            took = [each for _, round_ in answers for each in round_]
            rates.append(len(took) / max(elapsed for elapsed, _ in answers))
            times += took
    finally:
        for worker in workers:
            worker.close()
    return rates, times
