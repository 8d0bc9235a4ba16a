"""``python -m benchmarks``: run the groups one after the other, and print the results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from rich.console import Console

from .agents import agent
from .approvals import approvals
from .decisions import decisions
from .environment import LANGCHAIN, LANGCHAIN_FOLDER, PEERS, REQUESTS, ROOT, SDK, PeerEnvironment
from .floor import floor
from .http_calls import http_call
from .imports import imports
from .kill import kill
from .langchain_calls import langchain
from .mcp_calls import mcp
from .peers import peers
from .proxies import proxy
from .report import Group
from .rounds import ContestantFailed
from .server import server
from .throughput import throughput
from .waiting import waiting

SECONDS = {
    "floor": 24.0,
    "peers": 30.0,
    "decisions": 12.0,
    "imports": 24.0,
    "throughput": 30.0,
    "server": 40.0,
    "http_call": 40.0,
    "langchain": 24.0,
    "agent": 24.0,
    "mcp": 24.0,
    "proxy": 16.0,
}
APPROVALS = 100
WAITING, WAITING_APPROVALS = 10_000, 200
PULLS = 40
QUICK = 8
"""How many times shorter every measurement is with ``--quick``."""

Run = Callable[[Path], Group]


def main() -> int:
    """Run the chosen groups and print the results. A missed aim is a result, not a failure."""
    arguments = _arguments()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    environment = None if arguments.quick else PeerEnvironment()
    apart = PeerEnvironment(LANGCHAIN_FOLDER)
    scratch = ROOT / ".venvs"  # on the project's disk: in memory, fsync would cost nothing
    scratch.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-run-", dir=scratch))
    begin = perf_counter()
    busy = f"load average at the start {os.getloadavg()[0]:.1f}"
    try:
        runs = _runs(arguments.quick, environment, apart)
        chosen = arguments.only or [name for name in runs if not (arguments.quick and name == "peers")]
        if environment is not None:
            _install(environment, apart, chosen)
        groups: list[Group] = []
        failures: dict[str, ContestantFailed] = {}
        for name in chosen:
            _say(name)
            try:
                groups.append(runs[name](folder / name))
                groups[-1].show(console)
            except ContestantFailed as error:  # the results of the others are still worth showing
                failures[name] = error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(f"{_machine()}, {busy}; {perf_counter() - begin:.0f} s")
    if arguments.json:
        found = {group.name: group.values for group in groups}
        arguments.json.write_text(
            json.dumps({"machine": _machine(), "busy": busy, "groups": found}, indent=2) + "\n"
        )
    verdicts = [values["met"] for group in groups for values in group.values.values() if "met" in values]
    console.print(f"{sum(verdicts)} of {len(verdicts)} aims met")
    for name, error in failures.items():
        console.print(f"{name}: a contestant failed: {error}", soft_wrap=True)
    return 1 if failures else 0


def _runs(quick: bool, environment: PeerEnvironment | None, apart: PeerEnvironment) -> dict[str, Run]:
    share = QUICK if quick else 1
    seconds = {name: each / share for name, each in SECONDS.items()}
    times = APPROVALS // (4 if quick else 1)
    return {
        "floor": lambda folder: floor(folder, seconds["floor"]),
        "peers": lambda folder: peers(folder, seconds["peers"], environment or PeerEnvironment()),
        "decisions": lambda folder: decisions(seconds["decisions"]),
        "imports": lambda folder: imports(seconds["imports"], environment),
        "throughput": lambda folder: throughput(folder, seconds["throughput"], crowd=not quick),
        "approvals": lambda folder: approvals(folder, times),
        "server": lambda folder: server(folder, seconds["server"], whole=not quick),
        "http_call": lambda folder: http_call(folder, seconds["http_call"], environment or PeerEnvironment()),
        "waiting": lambda folder: waiting(
            folder, WAITING // (20 if quick else 1), WAITING_APPROVALS // (4 if quick else 1)
        ),
        "kill": lambda folder: kill(folder, PULLS // (5 if quick else 1)),
        "langchain": lambda folder: langchain(folder, seconds["langchain"], apart),
        "agent": lambda folder: agent(folder, seconds["agent"]),
        "mcp": lambda folder: mcp(folder, seconds["mcp"]),
        "proxy": lambda folder: proxy(folder, seconds["proxy"]),
    }


def _install(environment: PeerEnvironment, apart: PeerEnvironment, chosen: list[str]) -> None:
    wanted = (PEERS if "peers" in chosen else {}) | (REQUESTS if "imports" in chosen else {})
    wanted |= SDK if "http_call" in chosen else {}
    if wanted:
        environment.prepare(wanted.items(), _say)
    if "imports" in chosen:
        environment.prepare_ourselves(_say)
    if "langchain" in chosen:
        apart.prepare(LANGCHAIN.items(), _say)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="everything except the peers, in about two minutes"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="only this group; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to this file")
    arguments = parser.parse_args()
    known = list(_runs(False, None, PeerEnvironment(LANGCHAIN_FOLDER)))
    for name in arguments.only or ():
        if name not in known:
            parser.error(f"there is no group {name!r}; groups are {', '.join(known)}")
    if arguments.quick and "peers" in (arguments.only or ()):
        parser.error("--quick leaves the peers out")
    return arguments


def _say(what: str) -> None:
    """Print progress to standard error. Nothing is drawn meanwhile, because that would take time from the contestants."""
    print(what, file=sys.stderr, flush=True)


def _machine() -> str:
    python = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
