"""What governing one call costs: against the bare function, and against its audit records in bare SQLite."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .report import Aim, Group, add_timing, race_group
from .rounds import Tick, Worker, race

DURABILITIES = ("power", "process")
KINDS = {
    "sync": "a function",
    "async": "a coroutine function",
    "generator": "a generator of one chunk",
    "denied": "denied at once, the error caught",
}
FLOOR_AIM = Aim(1.5)
BUSY_DISK = 1500.0
"""When two synced transactions take more microseconds than this, others use the disk and no verdict is given."""


def calls(folder: Path, seconds: float, tick: Tick) -> Group:
    """Every kind of governed call against the bare function, in both durabilities."""
    contestants = {"bare": Worker("bare_call")}
    for durability in DURABILITIES:
        for kind in KINDS:
            place = folder / f"{durability}-{kind}"
            contestants[f"{durability} {kind}"] = Worker("ascend_guard_call", kind, durability, place)
    timings = race(contestants, seconds, tick)
    group = race_group(
        "calls",
        "One governed no-op call against the bare function",
        "Three scalar arguments, a rule with a condition that allows. What is recorded survives a power cut "
        "(power), or the death of every process (process).",
    )
    bare = timings.pop("bare")
    add_timing(group, "the bare function", bare, None)
    for name, timing in timings.items():
        durability, kind = name.split()
        add_timing(group, f"{durability}: {KINDS[kind]}", timing, bare)
    return group


def floor(folder: Path, seconds: float, tick: Tick) -> Group:
    """The governed call against nothing but the durable records it leaves."""
    group = race_group(
        "floor",
        "One governed no-op call against its audit records written by bare sqlite3",
        "The same bytes in a table with a primary key and nothing else, two records in a transaction before "
        "the call and one after it, WAL, synchronous FULL (power) or NORMAL (process). While others "
        "keep the disk busy there is no verdict: the wait for it hides our share.",
    )
    for turn, durability in enumerate(DURABILITIES):
        contestants = {
            "bare": Worker("bare_sqlite_call", durability, folder / f"{durability}-bare"),
            "governed": Worker("ascend_guard_call", "sync", durability, folder / f"{durability}-governed"),
        }
        timings = race(contestants, seconds / 2, partial(_half, tick, turn))
        add_timing(group, f"{durability}: bare sqlite3", timings["bare"], None)
        aim = FLOOR_AIM if durability == "power" and timings["bare"].p50 < BUSY_DISK else None
        add_timing(group, f"{durability}: governed", timings["governed"], timings["bare"], aim)
    return group


def _half(tick: Tick, turn: int, done: float) -> None:
    tick((turn + done) / 2)
