"""``kill -9`` of the agent at every step: nothing runs twice, every start is in the trail, what was running is unknown."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from support import PROFILE

from ascend_guard import EmbeddedControlPlane
from ascend_guard.store.port import ActionRow
from ascend_guard.store.sqlite.store import SQLiteStore

AGENT = Path(__file__).with_name("crashing_agent.py")
STEPS = [f"{number}:{when}" for number in range(5) for when in ("before", "after")] + [
    "body:start",
    "body:end",
]


def spawn(folder: Path, mode: str, where: str) -> subprocess.Popen[str]:
    """Start the agent."""
    return subprocess.Popen(
        [sys.executable, str(AGENT), str(folder), mode, where],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(AGENT.parent.parent), "PATH": ""},
    )


def agent(folder: Path, mode: str, where: str = "never") -> tuple[int, str]:
    """Run the agent to its end; its exit status and last line. A pending action is approved as soon as it shows."""
    process = spawn(folder, mode, where)
    assert process.stdout is not None
    if mode == "wait":
        approve_when_pending(folder, process)
    out = process.stdout.read()
    return process.wait(), (out.strip().splitlines() or [""])[-1]


def approve_when_pending(folder: Path, process: subprocess.Popen[str]) -> None:
    """A person in another process says yes, unless the agent is gone before it asked."""
    assert process.stdout is not None
    process.stdout.readline()
    with_people = people(folder)
    try:
        while process.poll() is None:
            rows = with_people.read(lambda reader: reader.actions("local", status="pending"))
            if rows:
                with_people.approve(str(rows[0].id), approver="ann")
                break
            time.sleep(0.005)
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
        records = [msgspec.json.decode(row.body) for row in plane.read(lambda reader: list(reader.audit()))]
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
    tmp_path: Path, mode: str, where: str
) -> None:
    """Kill at this step, restart, make the same call again, approve what waits: exactly one run for each permit."""
    first, said = agent(tmp_path, mode, where)
    if mode == "raise" and first == 0 and said.startswith("ActionPendingError"):
        plane = people(tmp_path)
        plane.approve(said.split()[1], approver="ann")
        plane.close()
        first, said = agent(tmp_path, mode, where)
    before = examine(tmp_path) if (tmp_path / "a.db").exists() else {}
    died_running = [row.id for row in before.values() if row.outcome == "unknown"]
    if first == -9 and where in ("body:start", "body:end"):
        assert len(died_running) == 1

    second, said = agent(tmp_path, mode)
    if said.startswith("ActionPendingError"):
        plane = people(tmp_path)
        plane.approve(said.split()[1], approver="ann")
        plane.close()
        second, said = agent(tmp_path, mode)
    assert (second, said) == (0, "done")
    after = examine(tmp_path)
    assert {row.id for row in after.values() if row.outcome == "unknown"} == set(died_running)


@pytest.mark.parametrize("seed", range({"quick": 4, "ci": 15, "full": 100}[PROFILE]))
def test_an_agent_killed_at_a_random_moment_leaves_a_valid_trail(tmp_path: Path, seed: int) -> None:
    """Killed anywhere, also in the middle of a commit: the trail verifies and every effect has its recorded start."""
    process = spawn(tmp_path, "allow", "loop")
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0.01, 0.4))
    process.kill()
    process.wait()
    rows = examine(tmp_path)
    assert sum(row.outcome == "unknown" for row in rows.values()) <= 1
