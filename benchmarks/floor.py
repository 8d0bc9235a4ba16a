"""The cost of a governed call embedded: against its audit records in bare SQLite."""

from __future__ import annotations

from pathlib import Path

from .report import Aim, Group, add_timing, race_group
from .rounds import Worker, race

DURABILITIES = ("power", "process")
FLOOR_AIM = Aim(1.5)
BUSY_DISK = 1500.0
"""If two synced transactions take more microseconds than this, others use the disk and there is no verdict."""


def floor(folder: Path, seconds: float) -> Group:
    """The governed call against only the durable records that it leaves."""
    group = race_group(
        "floor",
        "One governed no-op call against its audit records written by bare sqlite3",
        "The same bytes in a log and its end, two tables with a primary key and nothing else, in one transaction "
        "before the call and one after it, WAL, synchronous FULL (power) or NORMAL (process). While others "
        "keep the disk busy there is no verdict: the wait for it hides our share.",
    )
    for durability in DURABILITIES:
        contestants = {
            "bare": Worker("bare_sqlite_call", durability, folder / f"{durability}-bare"),
            "governed": Worker("ascend_guard_call", durability, folder / f"{durability}-governed"),
        }
        timings = race(contestants, seconds / 2)
        add_timing(group, f"{durability}: bare sqlite3", timings["bare"], None)
        aim = FLOOR_AIM if durability == "power" and timings["bare"].p50 < BUSY_DISK else None
        add_timing(group, f"{durability}: governed", timings["governed"], timings["bare"], aim)
    return group
