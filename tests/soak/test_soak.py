"""Four agents under every kind of interruption, two approvers, a kill switch, and a checker that shares no code with us."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from soak_checker import check
from soak_journal import read
from support import PROFILE

SECONDS = {"quick": 8, "ci": 30, "full": 600}[PROFILE]
"""How long the processes run."""

AGENTS = ("agent-0", "agent-1", "agent-2", "agent-3")
HERE = Path(__file__).parent
POLICY = """
version: 1
rules:
  - {name: small, actions: [pay], when: args.amount <= 500.0, effect: allow}
  - {name: big, actions: [pay], when: args.amount > 500.0, effect: require_approval, timeout: 30m}
"""


class World:
    """The processes, and the files they share.

    Args:
        folder: where everything is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "soak.db"
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY)
        self.stop = folder / "stop"
        self.journals: list[Path] = []
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.killed: set[Path] = set()
        self._current: dict[str, Path] = {}

    def start(self, script: str, *words: str, name: str, **more: Any) -> subprocess.Popen[bytes]:
        journal = self.folder / f"{name}.jsonl"
        given = {
            "policy": str(self.policy),
            "database": str(self.database),
            "journal": str(journal),
            "stop": str(self.stop),
            "name": name,
            "agents": AGENTS,
            "seed": random.getrandbits(32),
            **more,
        }
        return subprocess.Popen(
            [sys.executable, str(HERE / script), *words, json.dumps(given)],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"{name}.err").open("wb"),
        )

    def start_agent(self, agent: str) -> None:
        """A first or another incarnation. It repeats detached calls of the one before, without knowing whether they ran."""
        before = self._current.get(agent)
        nonces = [e["nonce"] for e in read(before) if "nonce" in e][-3:] if before else []
        name = f"{agent}-{len(self.journals)}"
        self.agents[agent] = self.start("soak_agent.py", name=name, agent=agent, detached=nonces)
        self._current[agent] = self.folder / f"{name}.jsonl"
        self.journals.append(self._current[agent])

    def disturb(self) -> str:
        """Do something to one of the agents."""
        agent = random.choice(AGENTS)
        process = self.agents[agent]
        kind = random.choice(("SIGKILL", "SIGTERM", "SIGSTOP", "SIGSTOP", "SIGINT", "SIGINT", "SIGINT"))
        if process.poll() is None and (self._current[agent].exists() and self._current[agent].stat().st_size):
            process.send_signal(getattr(signal, kind))
            if kind == "SIGSTOP":
                time.sleep(random.uniform(0.02, 0.4))
                process.send_signal(signal.SIGCONT)
            if kind == "SIGKILL":
                self.killed.add(self._current[agent])
                process.wait()
        if process.poll() is not None:
            self.start_agent(agent)
        return kind


@pytest.mark.timeout(SECONDS + 240)
def test_nothing_late_doubled_altered_or_lost(tmp_path: Path) -> None:
    """Whatever happens to the processes: what ran was decided, once, as decided, before the kill, and is on record."""
    world = World(tmp_path)
    for agent in AGENTS:
        world.start_agent(agent)
    approvers = [world.start("soak_people.py", "approver", name=name) for name in ("ann", "bob")]
    killer = world.start("soak_people.py", "killer", name="kim")
    people = [*approvers, killer]
    done: dict[str, int] = {}
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(random.uniform(0.05, 0.3))
            kind = world.disturb()
            done[kind] = done.get(kind, 0) + 1
        world.stop.touch()
        for process in (*people, *world.agents.values()):
            process.wait(timeout=120)
        assert not _errors(tmp_path)
    finally:
        for process in (*people, *world.agents.values()):
            process.kill()
    command = [str(Path(sys.executable).with_name("ascend-guard")), "audit", "verify"]
    where = {"ASCEND_POLICY": str(world.policy), "ASCEND_DATABASE_URL": f"sqlite:///{world.database}"}
    verified = subprocess.run(
        command, env={**os.environ, **where}, capture_output=True, text=True, timeout=120
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    verdict = check(world.database, world.journals, world.killed, tmp_path / "kim.jsonl")
    print(done, dict(verdict.seen))
    assert not verdict.wrong, {kind: (len(found), found[:5]) for kind, found in verdict.wrong.items()}
    for event in ("began", "returned", "blocked", "kill", "finished calls whose outcome must be there"):
        assert verdict.seen[event] >= SECONDS / 4, (event, verdict.seen)
    assert len(world.journals) > len(AGENTS), "no agent was killed"


def _errors(folder: Path) -> list[str]:
    """What processes said before they ended, unless an interrupt ended them outside of a call."""
    said = {path.name: path.read_text().strip() for path in folder.glob("*.err")}
    return [
        f"{name}: {text[-2000:]}"
        for name, text in said.items()
        if any(not end.startswith(("KeyboardInterrupt", "SystemExit: 0")) for end in _RAISED.findall(text))
    ]


_RAISED = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*(\S.*)(?!.|\n+During handling)")
"""What a traceback ends with that is not the beginning of another. Other lines may follow: threads go on, and log."""
