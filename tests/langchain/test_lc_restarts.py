"""Real restarts: the agent, its checkpoints and its control plane in processes that come and go."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import lc_process
from lc_world import World

_PROCESSES = multiprocessing.get_context("forkserver")
# What takes long to import; the module itself is not on the path of the server before a process is forked.
_PROCESSES.set_forkserver_preload(
    [
        "langchain.agents",
        "langgraph.checkpoint.sqlite.aio",
        "ascend_guard_langchain.middleware",
        "ascend_guard.engine",
    ]
)


def spawn(folder: Path, payload: str | None, *, crash: bool = False) -> tuple[ForkServerProcess, Connection]:
    """Begin one step of the agent in a process of its own."""
    here, there = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=lc_process.step, args=(folder, payload, crash, there))
    process.start()
    there.close()
    return process, here


def finished(process: ForkServerProcess, told: Connection) -> str:
    """What a step told, once its process is gone."""
    process.join(60)
    return f"exit {process.exitcode}" if process.exitcode else str(told.recv())


def step(folder: Path, payload: str | None = None, *, crash: bool = False) -> str:
    """One step of the agent: how it ended."""
    return finished(*spawn(folder, payload, crash=crash))


def ran(folder: Path) -> list[str]:
    """What the tool was run with."""
    file = folder / "ran.txt"
    return file.read_text().split() if file.exists() else []


def test_approved_between_two_processes(world: World) -> None:
    """Asked in one, still pending in the next, approved, run in the third, and not again in the fourth."""
    assert step(world.folder) == "asked 1"
    assert step(world.folder, "approve") == "asked 1"
    assert ran(world.folder) == []
    world.approve(1)
    assert step(world.folder, "go on") == "paid 5"
    assert step(world.folder, "go on") == "paid 5"
    assert ran(world.folder) == ["5"]
    assert [row.outcome for row in world.rows()] == ["completed"]


def test_denied_between_two_processes(world: World) -> None:
    """A no holds in the next process, however it is resumed."""
    assert step(world.folder) == "asked 1"
    world.deny(1)
    assert step(world.folder, "approve").startswith("Denied:")
    assert step(world.folder, "approve").startswith("Denied:")
    assert ran(world.folder) == []


def test_edited_between_two_processes(world: World) -> None:
    """The approver's values run in the next process."""
    assert step(world.folder) == "asked 1"
    world.approve(1, amount=7)
    assert step(world.folder, "go on").startswith("paid 7\n\nA person changed this call before it ran:")
    assert ran(world.folder) == ["7"]


def test_a_process_that_dies_in_the_tool(world: World) -> None:
    """The call was begun, so it is not run again: the model is told that its end is unknown."""
    assert step(world.folder) == "asked 1"
    world.approve(1)
    assert step(world.folder, "go on", crash=True) == "exit 3"
    assert ran(world.folder) == ["5"]
    said = step(world.folder, "go on")
    assert said.startswith("Already ran, action 1:")
    assert "How it ended is unknown" in said
    assert ran(world.folder) == ["5"]
    world.plane.housekeep()
    assert [row.outcome for row in world.rows()] == ["unknown"]


def test_two_processes_resume_at_once(world: World) -> None:
    """One approval, three processes that resume the conversation at the same time: one run."""
    assert step(world.folder) == "asked 1"
    world.approve(1)
    processes = [spawn(world.folder, "go on") for _ in range(3)]
    said = [finished(*each) for each in processes]
    assert ran(world.folder) == ["5"]
    assert "paid 5" in said
    assert len(world.claimed()) == 1
