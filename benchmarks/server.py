"""Decisions a second of ``ascend-guard serve``, against the bare route of its framework."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

from .report import Aim, Group, number, verdict
from .rounds import Worker, spread
from .servers import EchoServer, GuardServer, ServerProcess, postgres

AIM = Aim(0.4, ">=")
CONNECTIONS = 32
TURN = 0.5
"""Seconds of one contestant's turn: long enough to use every connection, short enough to share a disturbance."""

ECHO = "bare echo route"
PLAIN = "SQLite, power"
OWN = "SQLite, power, as our own client asks"
POSTGRES = "PostgreSQL"

_APPROVED = '"status":"approved"'


def server(folder: Path, seconds: float, *, whole: bool = True) -> Group:
    """The load alternates between the servers, which run at the same time; each is idle during the others' turns.

    ``whole`` says whether to start PostgreSQL too, which takes longer than a short measurement.
    """
    group = Group(
        "server",
        "Decisions a second over HTTP",
        ["requests/s", "lowest–highest", "p50 ms", "p99 ms", "server µs", "ratio", "quartiles", "aim", "met"],
        f"{CONNECTIONS} kept-alive connections of one other process, turns of {TURN:g} s. Every decision is durable and in "
        "the audit trail before its answer. Our own client's request has an idempotency key besides and takes the permit "
        "with the answer. 'server µs' is the server's own processor time for one request.",
    )
    with ExitStack() as stack:
        servers: dict[str, ServerProcess] = {}
        loads: dict[str, Worker] = {}

        def enter(name: str, server: ServerProcess, *arguments: object) -> None:
            servers[name] = server
            loads[name] = Worker("http_load", *arguments)
            stack.callback(loads[name].close)

        echo = EchoServer()
        stack.callback(echo.close)
        enter(ECHO, echo, f"{echo.url}/echo", "no-key", CONNECTIONS, '"agent_id":"bench"', "plain")
        guard = GuardServer(folder / "power")
        stack.callback(guard.close)
        submit = f"{guard.url}/api/v1/actions/submit"
        enter(PLAIN, guard, submit, guard.key, CONNECTIONS, _APPROVED, "plain")
        enter(OWN, guard, submit, guard.key, CONNECTIONS, _APPROVED, "own")
        database_url = stack.enter_context(postgres(folder / "postgres")) if whole else None
        if database_url is not None:
            other = GuardServer(folder / "over-postgres", database_url=database_url)
            stack.callback(other.close)
            submit = f"{other.url}/api/v1/actions/submit"
            enter(POSTGRES, other, submit, other.key, CONNECTIONS, _APPROVED, "plain")
        rounds = _race(servers, loads, seconds)
    for name, loaded in rounds.items():
        _add(group, name, loaded, rounds[ECHO])
    if whole and database_url is None:
        group.add(POSTGRES, ["not available here"] + [""] * 8, missing="PostgreSQL")
    return group


class _Loaded:
    """The results of one contestant, by round."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.times: list[float] = []
        self.cpu = 0.0


def _race(servers: dict[str, ServerProcess], loads: dict[str, Worker], seconds: float) -> dict[str, _Loaded]:
    for load in loads.values():
        load.ready()
    rounds = {name: _Loaded() for name in loads}
    order = list(loads)
    begin = perf_counter()
    while perf_counter() - begin < seconds or len(rounds[ECHO].rates) < 2:
        for name in order:
            loaded, cpu = rounds[name], servers[name].cpu()
            elapsed, took = json.loads(loads[name].ask(str(TURN)))
            loaded.cpu += servers[name].cpu() - cpu
            loaded.rates.append(len(took) / elapsed)
            loaded.times += took
        order.append(order.pop(0))  # the next contestant suffers from what the previous one left behind
    return rounds


def _add(group: Group, name: str, loaded: _Loaded, echo: _Loaded) -> None:
    rate, (p50, p99, _) = median(loaded.rates), spread(loaded.times)
    each = loaded.cpu / len(loaded.times) * 1e6
    rates = f"{number(min(loaded.rates))}–{number(max(loaded.rates))}"
    values: dict[str, Any] = {
        "requests_per_second": rate,
        "p50_ms": p50,
        "p99_ms": p99,
        "server_cpu_us": each,
        "rounds": len(loaded.rates),
    }
    cells = [number(rate), rates, number(p50), number(p99), number(each)]
    if loaded is echo:
        cells += ["1"] + [""] * 3
    else:
        ratios = [mine / theirs for mine, theirs in zip(loaded.rates, echo.rates, strict=True)]
        low, ratio, high = quantiles(ratios, n=4)
        values["ratio"] = {"median": ratio, "quartiles": [low, high]}
        aim = AIM if name == PLAIN else None
        cells += [number(ratio), f"{number(low)}–{number(high)}", *verdict(aim, ratio, values)]
    group.add(name, cells, **values)
