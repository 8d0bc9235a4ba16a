"""``kill -9`` of the agent at every step: nothing runs twice, every start is in the trail, what was running is unknown."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from recorded import every_record
from support import PROFILE

from ascend_guard import EmbeddedControlPlane
from ascend_guard.store.port import ActionRow
from ascend_guard.store.sqlite.store import SQLiteStore

AGENT = Path(__file__).with_name("crashing_agent.py")
STEPS = [f"{number}:{when}" for number in range(5) for when in ("before", "after")] + [
    "body:start",
    "body:end",
]


@pytest.fixture(scope="module")
def agents() -> Iterator[subprocess.Popen[str]]:
    """The process that starts agents."""
    with subprocess.Popen(
        [sys.executable, str(AGENT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(AGENT.parent.parent), "PATH": ""},
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


class Agent:
    """One agent process."""

    def __init__(self, agents: subprocess.Popen[str], folder: Path, mode: str, where: str) -> None:
        assert agents.stdin is not None
        assert agents.stdout is not None
        self._replies = agents.stdout
        (folder / "said").unlink(missing_ok=True)
        os.mkfifo(folder / "said")
        print(json.dumps([str(folder), mode, where]), file=agents.stdin, flush=True)
        self.pid = int(self._replies.readline())
        self.out = (folder / "said").open()

    def wait(self) -> int:
        """Its exit status."""
        self.out.close()
        return int(self._replies.readline())


def agent(agents: subprocess.Popen[str], folder: Path, mode: str, where: str = "never") -> tuple[int, str]:
    """Run an agent to its end; its exit status and last line. A pending action is approved as soon as it shows."""
    process = Agent(agents, folder, mode, where)
    if mode == "wait":
        approve_when_pending(folder, process)
    out = process.out.read()
    return process.wait(), (out.strip().splitlines() or [""])[-1]


def approve_when_pending(folder: Path, process: Agent) -> None:
    """A person in another process approves, unless the agent is gone before it asked."""
    process.out.readline()
    with_people = people(folder)
    try:
        while not select.select([process.out], [], [], 0.005)[0]:  # it ended, or said how the call ended
            rows = with_people.read(lambda reader: reader.actions("local", status="pending"))
            if rows:
                with_people.approve(str(rows[0].id), approver="ann")
                break
    finally:
        with_people.close()


def people(folder: Path) -> EmbeddedControlPlane:
    """A control plane for people only."""
    return EmbeddedControlPlane(SQLiteStore(folder / "a.db"))


def examine(folder: Path) -> dict[int, ActionRow]:
    """Check the promises on what is left; the actions."""
    plane = people(folder)
    try:
        report = plane.verify_audit()
        assert report.ok, report.problems
        records = [msgspec.json.decode(row.body) for row in plane.read(lambda reader: every_record(reader))]
        rows = {row.id: row for row in plane.read(lambda reader: reader.actions("local", limit=100_000))}
    finally:
        plane.close()
    starts = [record["action_id"] for record in records if record["event"] == "started"]
    assert len(starts) == len(set(starts)), "started twice"
    effects = folder / "effects"
    ran = [int(line.split()[0]) for line in effects.read_text().splitlines()] if effects.exists() else []
    assert len(ran) == len(set(ran)), "ran twice on one permit"
    assert set(ran) <= set(starts), "ran without a recorded start"
    for row in rows.values():
        assert (row.outcome is not None) == (row.claimed_at is not None), (
            "every start has an outcome, if only unknown"
        )
        if row.outcome == "completed":
            assert row.id in ran
    return rows


@pytest.mark.parametrize("where", STEPS)
@pytest.mark.parametrize("mode", ["allow", "wait", "raise"])
def test_a_killed_agent_restarts_without_running_anything_twice(
    agents: subprocess.Popen[str], tmp_path: Path, mode: str, where: str
) -> None:
    """Kill at this step, restart, make the same call again, approve what waits: exactly one run for each permit."""
    first, said = agent(agents, tmp_path, mode, where)
    if mode == "raise" and first == 0 and said.startswith("ActionPendingError"):
        plane = people(tmp_path)
        plane.approve(said.split()[1], approver="ann")
        plane.close()
        first, said = agent(agents, tmp_path, mode, where)
    before = examine(tmp_path) if (tmp_path / "a.db").exists() else {}
    died_running = [row.id for row in before.values() if row.outcome == "unknown"]
    if first == -9 and where in ("body:start", "body:end"):
        assert len(died_running) == 1

    second, said = agent(agents, tmp_path, mode)
    if said.startswith("ActionPendingError"):
        plane = people(tmp_path)
        plane.approve(said.split()[1], approver="ann")
        plane.close()
        second, said = agent(agents, tmp_path, mode)
    assert (second, said) == (0, "done")
    after = examine(tmp_path)
    assert {row.id for row in after.values() if row.outcome == "unknown"} == set(died_running)


@pytest.mark.parametrize("seed", range({"quick": 4, "ci": 8, "full": 100}[PROFILE]))
def test_an_agent_killed_at_a_random_moment_leaves_a_valid_trail(
    agents: subprocess.Popen[str], tmp_path: Path, seed: int
) -> None:
    """Killed anywhere, also in the middle of a commit: the trail verifies and every effect has its recorded start."""
    process = Agent(agents, tmp_path, "allow", "loop")
    process.out.readline()
    time.sleep(random.Random(seed).uniform(0.01, 0.4))
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    rows = examine(tmp_path)
    assert sum(row.outcome == "unknown" for row in rows.values()) <= 1
