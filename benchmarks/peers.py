"""One governed no-op call against the equivalent call of published packages."""

from __future__ import annotations

from pathlib import Path

from .environment import PEERS, PeerEnvironment
from .report import Aim, Group, add_timing, race_group
from .rounds import ContestantFailed, Worker, race

REFERENCE = "agent-governance-toolkit-core"
AIM = Aim(1, "<")

_PEERS = {
    "agent-governance-toolkit-core": ("governance_toolkit_call", "govern(), audit in memory"),
    "agentbarrier": ("agentbarrier_call", "SQLite, FULL"),
    "ctrlrun": ("ctrlrun_call", "SQLite, NORMAL, and files"),
    "agent-runtime-governance": ("runtime_governance_call", "audit in memory"),
}


def peers(folder: Path, seconds: float, environment: PeerEnvironment) -> Group:
    """Our call in both durabilities, and every peer that could be installed."""
    contestants: dict[str, Worker] = {}
    absent = dict(environment.missing)
    for name in PEERS:
        if name in absent:
            continue
        script, _ = _PEERS[name]
        place = folder / name
        place.mkdir(parents=True)
        worker = Worker(script, place, python=environment.python)
        try:
            worker.ready()
        except ContestantFailed as error:
            absent[name] = f"did not run: {error}"
            worker.close()
            continue
        contestants[name] = worker
    for durability in ("process", "power"):
        worker = Worker("ascend_guard_call", durability, folder / durability)
        worker.ready()
        contestants[f"ascend-guard, {durability}"] = worker
    timings = race(contestants, seconds)
    against = timings.get(REFERENCE)
    group = race_group(
        "peers",
        "One governed no-op call against published peers",
        f"Ratios are to {REFERENCE}." if against else f"{REFERENCE} is not available for comparison.",
    )
    for name, timing in timings.items():
        if timing is against:
            add_timing(group, _label(name), timing, None)
        elif name not in PEERS:
            add_timing(group, name, timing, against, AIM if name.endswith("process") and against else None)
        else:
            add_timing(group, _label(name), timing, against)
    for name, why in absent.items():
        group.add(f"{name} {PEERS.get(name, '')}", [""] * 6 + [why, ""], missing=why)
    return group


def _label(name: str) -> str:
    return f"{name} {PEERS[name]}: {_PEERS[name][1]}"
