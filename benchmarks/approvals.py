"""The time from a person's approval in one process to the waiting call's body in another."""

from __future__ import annotations

import random
from pathlib import Path
from time import sleep

from .report import Group, number
from .rounds import Worker, spread


def approvals(folder: Path, times: int) -> Group:
    """Approve this many waiting calls, each at a moment that is independent of when it began to wait."""
    group = Group(
        "approvals",
        "From an approval in another process to the waiting call's body running",
        ["p50 ms", "p99 ms", "longest ms", "approvals"],
        "From the call of approve() on; its durable transaction and that of claiming the permit are in it.",
    )
    chance = random.Random(7)
    for durability in ("power", "process"):
        place = folder / durability
        waiter = Worker("waiter", durability, place)
        waiter.ready()  # it creates the database
        approver = Worker("approver", durability, place)
        took: list[float] = []
        try:
            approver.ready()
            for number_ in range(times):
                waiter.tell(str(number_))
                action_id = waiter.hear().removeprefix("pending ")
                sleep(chance.uniform(0.01, 0.03))
                clicked, _ = approver.ask(action_id).split()
                took.append((int(waiter.hear()) - int(clicked)) / 1e6)
        finally:
            waiter.close()
            approver.close()
        p50, p99, longest = spread(took)
        cells = [number(p50), number(p99), number(longest), f"{times}"]
        group.add(durability, cells, p50_ms=p50, p99_ms=p99, longest_ms=longest, approvals=times)
    return group
