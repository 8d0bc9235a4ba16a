"""The time from the kill switch's answer to the last call that still began."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import sleep

from .report import Aim, Group, number, verdict
from .rounds import ContestantFailed, Worker, spread
from .servers import GuardServer

AIM = Aim(100, "<", "ms")
PROCESSES, THREADS = 2, 4
AFTERWARDS = 0.3
"""Seconds for which the agents continue to try after the switch was turned on."""

_REASON = {"reason": "pulled by the benchmark"}


def kill(folder: Path, pulls: int) -> Group:
    """Turn the switch on this many times while agents start calls as fast as they can."""
    group = Group(
        "kill",
        "From the kill switch's answer to the last governed call's body that began",
        [
            "signed p50 ms",
            "p50 ms",
            "p99 ms",
            "longest ms",
            "pulls",
            "begun before",
            "refused after",
            "aim (p99)",
            "met",
        ],
        f"{PROCESSES} processes of {THREADS} threads each on the stream; an admin's key pulls. A last call before the "
        "answer counts as 0. They go on trying for a while after each pull.",
    )
    chance = random.Random(7)
    took: list[float] = []
    begun = refused = 0
    with ExitStack() as stack:
        guard = GuardServer(folder)
        stack.callback(guard.close)
        agents = [Worker("http_agents", guard.url, guard.key, THREADS) for _ in range(PROCESSES)]
        for agent in agents:
            stack.callback(agent.close)
        for agent in agents:
            agent.ready()
        for _ in range(pulls):
            for agent in agents:
                agent.tell("go")
            for agent in agents:
                agent.hear()
            sleep(chance.uniform(0.05, 0.15))
            _, answered = guard.post("/api/billing/kill-switch/local/trigger", guard.admin_key, _REASON)
            sleep(AFTERWARDS)
            for agent in agents:
                agent.tell("stop")
            told = [json.loads(agent.hear()) for agent in agents]
            guard.post("/api/billing/kill-switch/local/release", guard.admin_key, _REASON)
            if not all(starts and refusals for _, starts, refusals in told):
                raise ContestantFailed(
                    "an agent began no call, or was refused none: the switch was not pulled on it"
                )
            last = max(last for last, *_ in told)
            took.append((last - answered) / 1e6)
            begun += sum(starts for _, starts, _ in told)
            refused += sum(refusals for *_, refusals in told)
    p50, p99, longest = spread([max(0.0, each) for each in took])
    values = {
        "signed_p50_ms": median(took),
        "p50_ms": p50,
        "p99_ms": p99,
        "longest_ms": longest,
        "pulls": pulls,
    }
    cells = [f"{median(took):+.2f}", number(p50), number(p99), number(longest)]
    cells += [f"{pulls}", f"{begun:,}", f"{refused:,}", *verdict(AIM, p99, values)]
    group.add("from the trigger's answer to the last start", cells, **values)
    return group
