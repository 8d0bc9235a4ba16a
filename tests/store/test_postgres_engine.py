"""The engine over PostgreSQL: governed calls end as they must, also when two replicas share them."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recorded import every_action
from store_kinds import SECRET
from support import POLICY

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, KillSwitchError, governed
from ascend_guard.engine.audit import verify_export
from ascend_guard.engine.policy import parse_policy
from ascend_guard.errors import ActionPendingError, NotFoundError
from ascend_guard.store.postgres.store import PostgresStore

ROOT = Path(__file__).parents[2]


class Clock:
    """Time that passes when told to."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """One for all replicas of a test."""
    return Clock()


@pytest.fixture
def replica(url: str, clock: Clock) -> Iterator[Callable[[], EmbeddedControlPlane]]:
    """Makes control planes over one database."""
    planes: list[EmbeddedControlPlane] = []

    def make() -> EmbeddedControlPlane:
        store = PostgresStore(url, secret=SECRET, clock=clock)
        planes.append(EmbeddedControlPlane(store, parse_policy(POLICY), agent_id="billing", clock=clock))
        return planes[-1]

    yield make
    for plane in planes:
        assert plane.verify_audit().ok
        plane.close()


def until(true: Callable[[], bool]) -> None:
    """Wait for it; the test's time-out ends what never comes."""
    while not true():
        threading.Event().wait(0.005)


def answering(plane: EmbeddedControlPlane, answer: Callable[[str], object]) -> threading.Thread:
    """A person at another replica, who answers the first action that waits."""

    def look() -> None:
        until(lambda: bool(plane.pending()))
        answer(str(plane.pending()[0].id))

    thread = threading.Thread(target=look)
    thread.start()
    return thread


def test_calls_are_allowed_and_denied(replica: Callable[[], EmbeddedControlPlane]) -> None:
    """By the policy; outcomes are kept."""
    plane = replica()

    @governed("refund", control_plane=plane)
    def refund(amount: float) -> float:
        if amount == 13:
            raise ValueError("unlucky \0")
        return amount

    @governed("user_delete", control_plane=plane)
    def delete() -> None:
        raise AssertionError("it ran")

    assert refund(5) == 5
    with pytest.raises(ValueError, match="unlucky"):
        refund(13)
    with pytest.raises(AuthorizationDeniedError):
        delete()
    rows = plane.read(lambda reader: reader.actions("local"))
    assert [(found.status, found.outcome) for found in rows] == [
        ("denied", None),
        ("approved", "failed"),
        ("approved", "completed"),
    ]
    assert "unlucky \0" in (rows[1].error or "")


def test_a_person_at_another_replica_decides(replica: Callable[[], EmbeddedControlPlane]) -> None:
    """Yes, yes with other arguments, and no."""
    here, there = replica(), replica()

    @governed("refund", control_plane=here, timeout=60)
    def refund(amount: float) -> float:
        return amount

    person = answering(there, lambda action: there.approve(action, approver="ann"))
    assert refund(900) == 900
    person.join()
    person = answering(there, lambda action: there.approve(action, approver="ann", arguments={"amount": 600}))
    assert refund(901) == 600
    person.join()
    person = answering(there, lambda action: there.deny(action, approver="ann"))
    with pytest.raises(AuthorizationDeniedError, match="ann denied it"):
        refund(902)
    person.join()


def test_the_kill_switch_reaches_who_waits_at_another_replica(
    replica: Callable[[], EmbeddedControlPlane],
) -> None:
    """And whoever calls from then on, until it is released."""
    here, there = replica(), replica()

    @governed("refund", control_plane=here, timeout=60)
    def refund(amount: float) -> float:
        return amount

    person = answering(there, lambda _: there.kill(reason="fire", by="ann"))
    with pytest.raises(KillSwitchError, match="fire"):
        refund(900)
    person.join()
    with pytest.raises(KillSwitchError):
        refund(5)
    there.release(reason="out", by="ann")
    assert refund(5) == 5
    with pytest.raises(NotFoundError):
        there.release(reason="again", by="ann")


def test_a_deadline_denies(replica: Callable[[], EmbeddedControlPlane], clock: Clock) -> None:
    """Also one that was not the next one when the waiting began."""
    plane = replica()
    ended: list[str] = []

    @governed("refund", control_plane=plane, timeout=100)
    def refund(amount: float) -> None:
        raise AssertionError("it ran")

    def call() -> None:
        with pytest.raises(AuthorizationDeniedError) as caught:
            refund(900)
        ended.append(str(caught.value))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda number=number: len(plane.pending()) == number)
    clock.now += 1801
    for thread in threads:
        thread.join()
    assert ["before the deadline" in text for text in ended] == [True, True]


def test_the_same_call_takes_up_an_approval_at_another_replica(
    replica: Callable[[], EmbeddedControlPlane],
) -> None:
    """A detached call is approved, and made again elsewhere: it runs there, once."""
    here, there = replica(), replica()

    def refund(amount: float) -> float:
        return amount

    detached = governed("refund", "refund", control_plane=here, on_pending="raise")(refund)
    again = governed("refund", "refund", control_plane=there, on_pending="raise")(refund)
    with pytest.raises(ActionPendingError):
        detached(900)
    here.approve(str(here.pending()[0].id), approver="ann")
    assert again(900) == 900
    with pytest.raises(ActionPendingError):
        detached(900)


async def test_1000_tasks_call_at_once(replica: Callable[[], EmbeddedControlPlane]) -> None:
    """Each with its own answer, and all of them recorded."""
    plane = replica()

    @governed("refund", control_plane=plane)
    async def refund(amount: float) -> float:
        await asyncio.sleep(0)
        return amount

    results = await asyncio.gather(*(refund(index % 500) for index in range(1000)))
    assert results == [index % 500 for index in range(1000)]
    done = plane.read(lambda reader: [found.outcome for found in every_action(reader)])
    assert done == ["completed"] * 1000


CRASHING = """
import os, sys
from store_kinds import SECRET
from support import POLICY
from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.postgres.store import PostgresStore
plane = EmbeddedControlPlane(PostgresStore(sys.argv[1], secret=SECRET), parse_policy(POLICY))
@governed("refund", control_plane=plane)
def refund(amount: float) -> None:
    os._exit(9)
refund(5)
"""


def test_what_a_crashed_process_left_running_is_unknown(
    url: str, replica: Callable[[], EmbeddedControlPlane]
) -> None:
    """The next one to look buries it."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    crashed = subprocess.run([sys.executable, "-c", CRASHING, url], env={**os.environ, "PYTHONPATH": path})
    assert crashed.returncode == 9
    plane = replica()

    def buried() -> bool:
        plane.housekeep()
        return [found.outcome for found in plane.read(lambda reader: reader.actions("local"))] == ["unknown"]

    until(buried)
    assert plane.read(lambda reader: reader.runners()) == []


def test_the_trail_is_exported(replica: Callable[[], EmbeddedControlPlane]) -> None:
    """And verified offline."""
    plane = replica()

    @governed("refund", control_plane=plane)
    def refund(amount: float) -> None: ...

    for index in range(20):
        refund(index)
    out = io.BytesIO()
    plane.export_audit(out)
    assert verify_export(io.BytesIO(out.getvalue())).ok
