"""The kill switch is a barrier: after it was turned on no call passes its last check, and what had passed it is listed."""

from __future__ import annotations

import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from recorded import every_record
from support import PROFILE

import ascend_guard
from ascend_guard import EmbeddedControlPlane, KillSwitchError, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.errors import ConflictError, StoreError
from ascend_guard.flow import Begin, Submit
from ascend_guard.model import AgentAction, RunningCall
from ascend_guard.store import writer
from ascend_guard.store.sqlite.store import SQLiteStore
from ascend_guard.store.sqlite.switch_without_database import Beside

AGENT = Path(__file__).with_name("barrier_agent.py")
KILLS = {"quick": 40, "ci": 120, "full": 1000}[PROFILE]
PROCESSES = 2


@pytest.fixture
def person(tmp_path: Path) -> Iterator[EmbeddedControlPlane]:
    """A control plane that turns the switch, on the database of the agents."""
    store = SQLiteStore(tmp_path / "ascend.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy("{version: 1, default: allow}"), agent_id="worker")
    ascend_guard.configure(control_plane=plane)
    yield plane
    plane.close()


def agent(folder: Path, *mode: str) -> subprocess.Popen[str]:
    """A process of agents."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(AGENT), str(folder), *mode], stdout=subprocess.PIPE, text=True
    )


def told(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    out: IO[str] | None = process.stdout
    assert out is not None
    return out.readline().strip()


def starts(folder: Path) -> list[tuple[int, str]]:
    """When each body began, and for which action, as the bodies noted it themselves."""
    noted = [line.split() for path in folder.glob("starts-*.log") for line in path.read_text().splitlines()]
    return sorted((int(at), action_id) for at, action_id in noted)


def test_no_call_begins_after_the_switch_is_on(tmp_path: Path, person: EmbeddedControlPlane) -> None:
    """Over threads, tasks, streams and processes: every body that begins later belongs to a call that was listed."""
    chance = random.Random(KILLS)
    agents = [agent(tmp_path, "busy") for _ in range(PROCESSES)]
    pulls: list[tuple[int, int, set[str]]] = []
    try:
        assert [told(one) for one in agents] == ["ready"] * PROCESSES
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.005, 0.03))
            killed = person.kill(reason="fire", by="ann")
            after = time.monotonic_ns()
            time.sleep(chance.uniform(0.002, 0.02))
            pulls.append(
                (after, time.monotonic_ns(), {call.action_id for call in killed.running if call.begun})
            )
            person.release(reason="out", by="ann")
    finally:
        (tmp_path / "stop").touch()
        assert [one.wait(60) for one in agents] == [0] * PROCESSES
    noted = starts(tmp_path)
    late = [
        (at, action_id, listed)
        for after, until, listed in pulls
        for at, action_id in noted
        if after < at < until
    ]
    assert [action_id for _, action_id, listed in late if action_id not in listed] == []
    # The kills landed in the middle of starting calls: some had begun, and some were held back at the last check.
    assert sum(bool(listed) for *_, listed in pulls) > KILLS / 20
    held = [row for row in person.read(lambda reader: every_record(reader)) if row.event == "blocked"]
    assert sum(b'"stage":"start"' in row.body for row in held) > KILLS / 20
    assert len(noted) > 5 * KILLS
    assert person.verify_audit().ok


@pytest.mark.parametrize(
    ("where", "begun", "end"),
    [
        ("call stopped", False, "KillSwitchError"),
        ("return stopped", False, "KillSwitchError"),
        ("call passed", False, "KillSwitchError"),
        ("return passed", True, "ran"),
    ],
)
def test_a_process_that_is_stopped_at_its_last_check(
    tmp_path: Path, person: EmbeddedControlPlane, where: str, begun: bool, end: str
) -> None:
    """It was not past it: it never passes, however late it goes on. It was past it: it is listed as stopped."""
    halted = agent(tmp_path, "halt", where)
    assert told(halted) == "halting"
    waited(lambda: state(halted.pid) == "T")
    killed = person.kill(
        reason="fire", by="ann"
    )  # does not wait for the stopped process, which goes on only below
    [call] = killed.running
    assert call == RunningCall(call.action_id, "worker", begun, call.since, halted.pid, "stopped")
    person.release(reason="out", by="ann")  # the switch is off again; a call that was held back stays blocked
    person.kill(reason="again", by="ann")
    halted.send_signal(signal.SIGCONT)
    assert told(halted) == end
    assert halted.wait(60) == 0
    assert [action_id for _, action_id in starts(tmp_path)] == ([call.action_id] if begun else [])
    assert [row.outcome for row in person.read(lambda r: r.actions("local"))] == [
        "completed" if begun else "failed"
    ]


def test_a_call_that_was_given_up_stays_blocked_after_the_release(
    tmp_path: Path, person: EmbeddedControlPlane
) -> None:
    """It read that no switch was on, was stopped, and goes on when the switch is off again: it was killed."""
    halted = agent(tmp_path, "halt", "return stopped")
    assert told(halted) == "halting"
    waited(lambda: state(halted.pid) == "T")
    person.kill(reason="fire", by="ann")
    person.release(reason="out", by="ann")
    halted.send_signal(signal.SIGCONT)
    assert told(halted) == "KillSwitchError"
    assert halted.wait(60) == 0
    assert starts(tmp_path) == []


@pytest.mark.parametrize("where", ["call commit", "call __exit__"])
def test_a_process_that_is_stopped_inside_a_commit(tmp_path: Path, where: str) -> None:
    """The switch is on at once, and is recorded by the next process that writes."""
    SQLiteStore(tmp_path / "ascend.db", durability="process").close()
    halted = agent(tmp_path, "halt", where)
    assert told(halted) == "halting"
    waited(lambda: state(halted.pid) == "T")
    beside = Beside(tmp_path / "ascend.db", "process")
    killed = beside.kill("local", "", "fire", "ann")
    assert (killed.blocked, killed.running) == (True, ())
    assert beside.followed(lambda store: True) is None
    assert beside.stopped("local", "worker") is not None
    halted.send_signal(signal.SIGCONT)
    assert told(halted) == "KillSwitchError"
    assert halted.wait(60) == 0
    assert (
        beside.followed(lambda store: [row.event for row in store.read(lambda r: every_record(r))].count(ON))
        == 1
    )


ON = "kill_switch.on"


def test_while_the_database_is_locked(tmp_path: Path, person: EmbeddedControlPlane) -> None:
    """By a foreign program: the switch is on, the answer says that it is not recorded, and later it is, once."""
    assert isinstance(person.store, SQLiteStore)
    person.store._connection.execute("PRAGMA busy_timeout=50")  # milliseconds
    foreign = sqlite3.connect(tmp_path / "ascend.db", isolation_level=None)
    foreign.execute("BEGIN EXCLUSIVE")
    killed = person.kill(reason="fire", by="ann")
    assert (killed.blocked, killed.recorded) == (True, False)
    assert [state.reason for state in person.kill_switches()] == ["fire"]
    foreign.execute("ROLLBACK")
    with pytest.raises(KillSwitchError, match="fire"):
        governed("work")(lambda: None)()
    events = [row.event for row in person.read(lambda reader: every_record(reader))]
    assert events.count(ON) == 1


def test_a_child_is_not_its_parent(tmp_path: Path, person: EmbeddedControlPlane) -> None:
    """A call that forks: the child neither ends its parent's call nor hides it, and its own calls are its own."""
    there, here = os.pipe()
    answer, tell = os.pipe()
    children: list[int] = []

    @governed("work")
    def forking() -> list[RunningCall]:
        child = os.fork()
        if child == 0:
            try:
                governed("inner")(lambda: (os.write(here, b"x"), os.read(answer, 1)))()
            finally:
                os._exit(0)
        children.append(child)
        os.read(there, 1)
        running = list(person.kill(reason="fire", by="ann").running)
        os.write(tell, b"x")
        os.waitpid(child, 0)
        again = list(person.kill(reason="again", by="ann").running)
        return [*running, *again]

    running = forking()
    assert [call.pid for call in running] == [os.getpid(), children[0], os.getpid()]
    assert person.kill(reason="third", by="ann").running == ()


def test_a_child_does_not_inherit_a_permit(tmp_path: Path, person: EmbeddedControlPlane) -> None:
    """A call that was decided and had not begun when its process forked: it begins in the parent alone."""
    action = AgentAction("worker", "worker", "work", "work", "work")
    permit = person.perform(Submit(action, "00" * 32, detached=False, repeatable=False))
    assert permit.claimed
    child = os.fork()
    if child == 0:
        try:
            person.perform(Begin(action, permit.action_id, "00" * 32))
        except ConflictError as error:
            os._exit(7 if "another process" in str(error) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert not person.perform(Begin(action, permit.action_id, "00" * 32)).blocked


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("use", ["drop it", "go on with it"])
def test_a_child_inherits_no_stream(
    tmp_path: Path, person: EmbeddedControlPlane, begun: bool, use: str
) -> None:
    """A stream exists when its process forks: the child runs none of it and records nothing; its parent does both."""

    def chunks() -> Iterator[int]:
        yield os.getpid()
        yield os.getpid()

    stream = governed("work")(lambda: chunks())()
    first = [next(stream)] if begun else []
    child = os.fork()
    if child == 0:
        status = 0
        try:
            if use == "go on with it":
                status = 9
                next(stream)
        except ConflictError as error:
            status = 0 if "parent of this process" in str(error) else 8
        finally:
            del stream
            gc.collect()
            person.store.flush()  # type: ignore[attr-defined]
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [row.outcome for row in person.read(lambda reader: reader.actions("local"))] == [None]
    assert [call.pid for call in person.kill(reason="fire", by="ann").running] == [os.getpid()]
    person.release(reason="out", by="ann")
    assert [*first, *stream] == [os.getpid()] * 2
    assert person.kill(reason="fire", by="ann").running == ()
    assert [row.outcome for row in person.read(lambda reader: reader.actions("local"))] == ["completed"]


@pytest.mark.parametrize("how", [os._exit, sys.exit])
def test_a_child_that_leaves_its_parents_body(
    tmp_path: Path, person: EmbeddedControlPlane, how: Callable[[int], None]
) -> None:
    """A body forks, and the child leaves it, with an exception or not: the outcome is the parent's."""

    @governed("work")
    def forking() -> int:
        child = os.fork()
        if child == 0:
            how(3)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    here = os.getpid()
    try:
        status = forking()
    except SystemExit:
        if os.getpid() == here:
            raise
        person.store.flush()  # type: ignore[attr-defined]
        os._exit(3)
    assert status == 3
    assert [row.outcome for row in person.read(lambda reader: reader.actions("local"))] == ["completed"]


def test_a_process_that_nobody_can_see(
    tmp_path: Path, person: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its liveness file was deleted, so no killer could find its calls: none is made."""
    monkeypatch.setattr(writer, "PARTING", 0.3)  # closing tries as long to record the first call's outcome
    tool = governed("work")(lambda: "ran")
    assert tool() == "ran"
    for path in (tmp_path / "ascend.db.runners").iterdir():
        path.unlink()
    with pytest.raises(StoreError, match="deleted"):
        tool()


def test_calls_that_outlive_their_control_plane(tmp_path: Path, person: EmbeddedControlPlane) -> None:
    """A call that had begun when its control plane was closed is still listed, until it ends."""
    began, go = threading.Event(), threading.Event()

    @governed("work")
    def tool() -> None:
        began.set()
        go.wait()

    thread = threading.Thread(target=tool)
    thread.start()
    began.wait()
    person.close()
    other = EmbeddedControlPlane(SQLiteStore(tmp_path / "ascend.db", durability="process"))
    assert [call.begun for call in other.kill(reason="fire", by="ann").running] == [True]
    go.set()
    thread.join()
    assert other.kill(reason="again", by="ann").running == ()
    assert len(list((tmp_path / "ascend.db.runners").iterdir())) == 1
    other.close()


def test_many_calls_at_once(person: EmbeddedControlPlane) -> None:
    """Thousands of tasks: all are listed, and only those of the agent that is stopped."""
    import asyncio

    count = 2000
    seen: list[int] = []

    async def main() -> None:
        go = asyncio.Event()
        begun = [0]

        @governed("work")
        async def tool() -> None:
            begun[0] += 1
            await go.wait()

        async def one(number: int) -> None:
            with ascend_guard.scope(agent_id="odd" if number % 2 else "even"):
                await tool()

        waiting = [asyncio.create_task(one(number)) for number in range(count)]
        while begun[0] < count:
            await asyncio.sleep(0.01)
        seen.append(len(person.kill(reason="fire", by="ann", agent_id="odd").running))
        seen.append(len(person.kill(reason="fire", by="ann").running))
        go.set()
        await asyncio.gather(*waiting)
        seen.append(len(person.kill(reason="fire", by="ann").running))

    asyncio.run(main())
    assert seen == [count // 2, count, 0]


def state(pid: int) -> str:
    """What a process is doing, in the kernel's letter."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def waited(happened: object) -> None:
    """Until it is so."""
    assert callable(happened)
    while not happened():
        time.sleep(0.01)
