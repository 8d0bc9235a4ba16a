"""Many callers at once: everything recorded, the chain valid, nothing locked out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from recorded import every_record
from support import POLICY

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore


def count(plane: EmbeddedControlPlane, event: str) -> int:
    """How many such records the trail has."""
    return plane.read(lambda reader: sum(row.event == event for row in every_record(reader)))


def test_32_threads_call_governed_tools_at_once(plane: EmbeddedControlPlane) -> None:
    """Allowed and denied calls mixed; every one is decided and recorded."""
    ran: list[int] = []
    errors: list[BaseException] = []

    @governed("refund")
    def refund(amount: float) -> None:
        ran.append(1)

    @governed("row_delete")
    def delete(row: int) -> None:
        ran.append(-1_000_000)

    def work() -> None:
        try:
            for index in range(25):
                refund(index)
                with pytest.raises(AuthorizationDeniedError):
                    delete(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(ran) == 32 * 25
    assert count(plane, "completed") == 32 * 25
    assert count(plane, "submitted") == 2 * 32 * 25
    assert plane.verify_audit().ok


async def test_1000_tasks_call_governed_tools_at_once(plane: EmbeddedControlPlane) -> None:
    """The event loop goes on turning while they are decided."""
    ticks = 0

    @governed("refund")
    async def refund(amount: float) -> float:
        await asyncio.sleep(0)
        return amount

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    results = await asyncio.gather(*(refund(index % 500) for index in range(1000)))
    ticking.cancel()
    assert results == [index % 500 for index in range(1000)]
    assert ticks > 5
    assert count(plane, "completed") == 1000
    assert plane.verify_audit().ok


async def test_1000_tasks_wait_for_people_and_each_gets_its_own_answer(plane: EmbeddedControlPlane) -> None:
    """Half are approved, half denied, while all of them wait."""

    @governed("refund", timeout=60)
    async def refund(amount: float, number: int) -> int:
        return number

    def decide() -> None:
        decided: set[int] = set()
        while len(decided) < 1000:
            rows = plane.read(lambda reader: reader.actions("local", status="pending", limit=1000))
            for row in rows:
                decide_one = plane.approve if row.id % 2 else plane.deny
                decide_one(str(row.id), approver="ann")
                decided.add(row.id)

    person = threading.Thread(target=decide)
    person.start()
    results = await asyncio.gather(*(refund(900, index) for index in range(1000)), return_exceptions=True)
    person.join()
    approved = [result for result in results if isinstance(result, int)]
    assert len(approved) == 500
    assert sum(isinstance(result, AuthorizationDeniedError) for result in results) == 500
    assert all(result == index for index, result in enumerate(results) if isinstance(result, int))
    assert plane.verify_audit().ok


async def test_cancelled_callers_leave_no_permit_behind(plane: EmbeddedControlPlane) -> None:
    """Cancelled at any moment: what was claimed is settled as not started, and nothing runs afterwards."""
    ran: list[int] = []

    @governed("refund", timeout=60)
    async def refund(amount: float) -> None:
        ran.append(1)

    for turns in range(40):
        task = asyncio.create_task(refund(900 if turns % 2 else 5))
        for _ in range(turns):
            await asyncio.sleep(0.0002 if turns % 3 else 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    before = len(ran)
    await asyncio.sleep(0.1)
    assert len(ran) == before
    await asyncio.to_thread(plane.store.write, lambda tx: None)  # whatever was posted has been written now
    running = plane.read(
        lambda reader: [
            row for row in reader.actions("local", limit=1000) if row.claimed_at and row.outcome is None
        ]
    )
    assert running == []
    assert count(plane, "completed") == before
    assert plane.verify_audit().ok


WORKER = """
import sys
from support import POLICY
from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore
plane = EmbeddedControlPlane(SQLiteStore(sys.argv[1]), parse_policy(POLICY))
@governed("refund", control_plane=plane)
def refund(amount: float) -> None: ...
for index in range(int(sys.argv[2])):
    refund(index % 400)
plane.close()
"""


def test_20_processes_share_one_database(tmp_path: Path) -> None:
    """All start at once on a database that does not exist yet; every decision is there, and the chain is whole."""
    path = tmp_path / "shared" / "ascend.db"
    env = {"PYTHONPATH": str(Path(__file__).parent.parent), "PATH": ""}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), "25"], env=env, stderr=subprocess.PIPE, text=True
        )
        for _ in range(20)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 20, errors
    plane = EmbeddedControlPlane(SQLiteStore(path), parse_policy(POLICY))
    assert count(plane, "completed") == 20 * 25
    assert plane.verify_audit().ok
    plane.close()
