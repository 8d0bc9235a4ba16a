"""``python -m benchmarks.abuse``: fifty ordinary callers of a server, alone and beside abusive ones of each kind.

Prints the ordinary callers' latencies, how long the event loop was blocked, and the answers to the abusive ones. It only
measures: no time is asserted. ``--each`` runs one kind after the other instead of all at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from ascend_guard.engine.keys import make_key, make_organization
from ascend_guard.engine.registry.supply_chain import COMPONENTS, Component, ComponentType
from ascend_guard.store.port import Transaction
from ascend_guard.store.sqlite.store import SQLiteStore

from .contestants.http_callers import CALLERS, KINDS, WARM
from .rounds import HERE, ContestantFailed
from .servers import ServerProcess

SECONDS, QUICK = 120.0, 6.0
LARGE_RECORDS = 300
COMPONENT_COUNT = 10_000
ACTIONS = 10_000

_POLICY = """
version: 1
rules:
  - {name: many, actions: [bulk], when: "args.items.exists(item, item > 500.0)", effect: deny}
  - {name: reads, actions: ["*_read"], effect: allow}
"""


class World:
    """A database with much content, and keys: of fifty callers of ten organizations, and of an abusive one of another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = f"sqlite:///{folder / 'ascend.db'}"
        self.policy = folder / "policy.yaml"
        self.policy.write_text(_POLICY)
        with closing(SQLiteStore(folder / "ascend.db", durability="process")) as store:
            self.normal, self.abusive = store.write(_keys)
            for _ in range(LARGE_RECORDS):
                store.write(_large_record)
            store.write(_components)
            for _ in range(ACTIONS // 1000):
                store.write(_records)

    @contextmanager
    def server(self) -> Iterator[tuple[ServerProcess, list[float]]]:
        """Yield a server, and the seconds that its event loop was late, which are known once it has ended."""
        said, lags = self.folder / "lags.json", list[float]()
        program = str(HERE / "contestants" / "watched_server.py")
        server = ServerProcess([sys.executable, program, str(self.policy), self.database, str(said)], {})
        try:
            yield server, lags
        finally:
            try:
                server.close()
            except ContestantFailed as complaint:  # reached limits are what this measures
                print(f"  the server's log ends with: {complaint}")
            lags += json.loads(said.read_text())


def _keys(tx: Transaction) -> tuple[list[str], str]:
    # Ten, so that the limit of one organization, which all its keys share, does not affect the result.
    names = [f"acme-{number}" for number in range(10)]
    for name in names:
        make_organization(tx, name, "enterprise", "benchmark")
    normal = [
        make_key(tx, names[caller % 10], agent_id=None, role="agent", by="benchmark")[0]
        for caller in range(CALLERS)
    ]
    return normal, make_key(tx, "local", agent_id=None, role="admin", by="benchmark")[0]


def _large_record(tx: Transaction) -> None:
    tx.record("note", organization="local", actor="benchmark", text="x" * (1 << 20))


def _components(tx: Transaction) -> None:
    for number in range(COMPONENT_COUNT):
        name = f"component-{number}"
        component = Component(component_name=name, component_type=ComponentType.LIBRARY)
        about = {"component_id": name}
        COMPONENTS.write(
            tx, "local", name, component, "COMPONENT_REGISTERED", "benchmark", about, always=True
        )


def _records(tx: Transaction) -> None:
    for _ in range(1000):
        tx.record("note", organization="local", actor="benchmark", action_id=None)


class Seen(NamedTuple):
    """The result of one run: the ordinary callers' seconds by request, their failures, and the abusive ones' answers."""

    took: dict[str, list[float]]
    failed: dict[str, int]
    abusive: dict[str, dict[str, int]]
    wrong: list[str]
    peak: int

    def p99(self, what: str) -> float:
        """Seconds."""
        return quantiles(self.took[what], n=100)[98]


def measured(world: World, seconds: float, kinds: Sequence[str]) -> Seen:
    """Run the ordinary callers beside these abusive ones, and print the result."""
    program = str(HERE / "contestants" / "http_callers.py")
    with world.server() as (server, lags):
        arguments = [sys.executable, program]
        others = None
        if kinds:
            others = subprocess.Popen(
                [*arguments, "abuse", server.url, str(seconds + WARM + 1), world.abusive, *kinds],
                stdout=subprocess.PIPE,
                text=True,
            )
        done = subprocess.run(
            [*arguments, "normal", server.url, str(seconds), *world.normal],
            capture_output=True,
            text=True,
            check=True,
        )
        saw: dict[str, Any] = {} if others is None else json.loads(others.communicate()[0])
        memory = _peak(server)
    normal = json.loads(done.stdout)
    print(f"beside {', '.join(kinds) or 'nobody'}:")
    for what, took in normal["took"].items():
        print(f"  {what:12} {_said(took)}   ({len(took)} requests)")
    print(f"  failed: {normal['failed'] or 'none'};  server's peak memory {memory} MiB")
    print(f"  lag of the event loop: {_said(lags)}", flush=True)
    for kind, answers in saw.get("seen", {}).items():
        print(f"    {kind}: {answers}")
    for wrong in saw.get("wrong", ()):
        print(f"    WRONG: {wrong}")
    return Seen(normal["took"], normal["failed"], saw.get("seen", {}), saw.get("wrong", []), memory)


def _peak(server: ServerProcess) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def _said(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "too few"
    cuts = quantiles(seconds, n=1000)
    return "  ".join(
        f"{name} {value * 1e3:.1f} ms"
        for name, value in (
            ("p50", cuts[499]),
            ("p99", cuts[989]),
            ("p99.9", cuts[998]),
            ("worst", max(seconds)),
        )
    )


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--quick", action="store_true", help="a few seconds each")
    parser.add_argument("--each", action="store_true", help="one kind after the other")
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    given = parser.parse_args()
    seconds = QUICK if given.quick else given.seconds
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        alone = measured(world, seconds, [])
        for kinds in [[kind] for kind in given.only] if given.each else [given.only]:
            beside = measured(world, seconds, kinds)
            for what in alone.took:
                print(f"  {what}: p99 {beside.p99(what) / alone.p99(what):.1f} times that without")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
