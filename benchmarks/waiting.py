"""Thousands of calls of one process wait for a person: the time until an approved one continues, and the cost of each."""

from __future__ import annotations

import json
import random
from contextlib import closing
from pathlib import Path
from time import sleep

from .report import Aim, Group, number, verdict
from .rounds import ContestantFailed, Worker, spread
from .servers import GuardServer

AIM = Aim(50, "<", "ms")
THREADS_AIM = Aim(0, "<=", "more")


def waiting(folder: Path, calls: int, approvals: int) -> Group:
    """Approve this many of the calls one by one, each at a moment that is independent of the others."""
    group = Group(
        "waiting",
        f"{calls:,} calls of one asyncio process wait on the stream",
        ["p50", "p99", "longest", "", "aim (p99)", "met"],
        f"{approvals} approvals by a person over HTTP, from the moment before the POST is sent, so its connection and its "
        "durable transaction (power) are in it. The body runs after the claim of the permit, one more durable request.",
    )
    chance = random.Random(7)
    with (
        closing(GuardServer(folder)) as guard,
        closing(Worker("http_waiters", guard.url, guard.key, calls)) as waiters,
    ):
        waiters.ready()
        ids, each, threads_before, threads = json.loads(waiters.ask("go"))
        if len(ids) != calls:
            raise ContestantFailed(f"{len(ids)} calls wait, not {calls}")
        sent: dict[str, int] = {}
        for action_id in chance.sample(ids, approvals):
            sleep(chance.uniform(0.01, 0.05))
            sent[action_id], _ = guard.post(f"/api/actions/{action_id}/approve", guard.token, {})
        times = json.loads(waiters.ask(f"report {approvals}"))
    if {action_id for action_id, *_ in times} != sent.keys():
        raise ContestantFailed("the calls that ran are not those that were approved")
    decided = [(at - sent[action_id]) / 1e6 for action_id, at, _ in times]
    ran = [(at - sent[action_id]) / 1e6 for action_id, _, at in times]
    for name, took in (("approve to resume, ms", decided), ("approve to the body running, ms", ran)):
        p50, p99, longest = spread(took)
        values = {"p50_ms": p50, "p99_ms": p99, "longest_ms": longest, "approvals": approvals, "calls": calls}
        aim = AIM if took is decided else None
        group.add(name, [number(p50), number(p99), number(longest), "", *verdict(aim, p99, values)], **values)
    group.add("memory of a waiting call, KiB", ["", "", "", number(each / 1024), "", ""], bytes=each)
    more = threads - threads_before
    values = {"before": threads_before, "waiting": threads}
    cells = ["", "", "", f"{threads_before} → {threads}", *verdict(THREADS_AIM, more, values)]
    group.add("threads, before and while all wait", cells, **values)
    return group
