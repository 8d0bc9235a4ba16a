"""The guard before a platform of the documented API alone: it needs no feature of ours to be safe."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from plain_platform import PlainPlatform
from remote_world import Gate, Threads
from world import Beside, eventually

from ascend_guard import (
    ActionPendingError,
    AuthorizationDeniedError,
    ConflictError,
    KillSwitchError,
    RemoteControlPlane,
    governed,
)

KEY = "ask_test_0123456789abcdef"


@pytest.fixture
def platform() -> Iterator[PlainPlatform]:
    made = PlainPlatform()
    yield made
    made.close()


@pytest.fixture
def plane(platform: PlainPlatform) -> Iterator[RemoteControlPlane]:
    made = RemoteControlPlane(KEY, platform.url, agent_id="my-agent", poll_interval=0.01)
    yield made
    made.close()


def _tool(plane: RemoteControlPlane, **options: Any) -> tuple[Any, list[int]]:
    ran: list[int] = []

    @governed("refund", "stripe", control_plane=plane, **options)
    def refund(amount: int, password: str = "") -> int:
        ran.append(amount)
        return amount

    return refund, ran


@pytest.mark.parametrize("deployment", [None, {}, {"version": "3", "features": []}, {"features": ["stream"]}])
def test_approved_at_once(
    platform: PlainPlatform, plane: RemoteControlPlane, deployment: Any, threads: Threads
) -> None:
    """It runs once, the outcome is reported, and no thread listens to a stream that is not there."""
    platform.deployment = deployment
    refund, ran = _tool(plane)
    assert refund(10) == 10
    assert ran == [10]
    assert platform.outcomes() == [("1", "complete")]
    assert not threads("ascend-guard-feed")


def test_nothing_of_ours_is_sent(platform: PlainPlatform, plane: RemoteControlPlane) -> None:
    """No digest, no runner, no redacted value, and only paths that are documented."""
    refund, _ = _tool(plane)
    refund(10, password="hunter2hunter2")
    (submitted,) = [body for _, path, _, body in platform.requests if path.endswith("/submit")]
    assert not {"digest", "detached", "repeatable", "runner"} & set(submitted)
    assert "hunter2" not in repr(platform.requests)
    assert not any(
        "/claim" in path or "/stream" in path or "/detach" in path for _, path, _, _ in platform.requests
    )
    assert all("agent_id=" not in path for _, path, _, _ in platform.requests)


def test_pending_then_approved(platform: PlainPlatform, plane: RemoteControlPlane) -> None:
    """The wait asks until somebody has decided."""
    platform.decision = "pending_approval"
    refund, ran = _tool(plane)
    call = Beside(refund, 10)
    eventually(lambda: any(path == "/api/v1/actions/1/status" for _, path, _, _ in platform.requests))
    assert ran == []
    platform.statuses["1"] = "approved"
    assert call.end().result == 10
    assert ran == [10]


@pytest.mark.parametrize("word", ["denied", "rejected"])
@pytest.mark.parametrize("waits", [True, False])
def test_denied(platform: PlainPlatform, plane: RemoteControlPlane, word: str, waits: bool) -> None:
    """At once or after a while: nothing runs."""
    platform.decision = "pending" if waits else word
    refund, ran = _tool(plane)
    call = Beside(refund, 10)
    if waits:
        eventually(lambda: "1" in platform.statuses)
        platform.statuses["1"] = word
    assert isinstance(call.end().error, AuthorizationDeniedError)
    assert ran == []


@pytest.mark.parametrize("on", [True, "true", 1, None, "blocked", "402"])
def test_the_kill_switch(platform: PlainPlatform, plane: RemoteControlPlane, on: Any) -> None:
    """On, said in a way that is not understood, or 402: nothing is submitted."""
    platform.payment_required = on == "402"
    platform.blocked = on
    refund, ran = _tool(plane)
    with pytest.raises(KillSwitchError):
        refund(10)
    assert ran == []
    assert platform.statuses == {}


def test_the_kill_switch_while_it_waits(platform: PlainPlatform, plane: RemoteControlPlane) -> None:
    """The wait ends, and an approval that comes later runs nothing."""
    platform.decision = "pending"
    refund, ran = _tool(plane)
    call = Beside(refund, 10)
    eventually(lambda: "1" in platform.statuses)
    platform.blocked = True
    assert isinstance(call.end().error, KillSwitchError)
    platform.statuses["1"] = "approved"
    assert ran == []


@pytest.mark.parametrize("waits", [True, False])
def test_permits_it_makes_up(platform: PlainPlatform, plane: RemoteControlPlane, waits: bool) -> None:
    """``claimed: true`` from a platform that keeps no permits is not believed: one approval is still one run."""
    platform.extra = {"claimed": True}
    platform.same = True
    platform.decision = "pending" if waits else "approved"
    refund, ran = _tool(plane)
    calls = [Beside(refund, 10) for _ in range(8)]
    if waits:
        eventually(lambda: sum(path.endswith("/submit") for _, path, _, _ in platform.requests) == 8)
        platform.statuses["1"] = "approved"
    ends = [call.end() for call in calls]
    assert sorted(end.result for end in ends if end.error is None) == [10]
    assert all(isinstance(end.error, ConflictError) for end in ends if end.error is not None)
    assert ran == [10]


def test_an_approval_it_repeats(platform: PlainPlatform, plane: RemoteControlPlane) -> None:
    """A platform that answers a second submission with the first one's approval gets no second run out of it."""
    platform.same = True
    refund, ran = _tool(plane)
    assert refund(10) == 10
    with pytest.raises(ConflictError):
        refund(10)
    assert ran == [10]


def test_a_permit_in_an_answer_about_an_action(platform: PlainPlatform) -> None:
    """Even a server that keeps permits gives none by saying how an action stands."""
    platform.deployment = {"features": ["claims"]}
    platform.decision = "pending"
    plane = RemoteControlPlane(KEY, platform.url, agent_id="my-agent", poll_interval=0.01)
    refund, ran = _tool(plane)
    call = Beside(refund, 10)
    eventually(lambda: "1" in platform.statuses)
    platform.extra = {"claimed": True}
    platform.statuses["1"] = "approved"
    assert call.end().error is not None  # its claim is not known there
    assert any(path.endswith("/claim") for _, path, _, _ in platform.requests)
    assert ran == []
    plane.close()


def test_detached(platform: PlainPlatform, plane: RemoteControlPlane) -> None:
    """on_pending="raise" is what it says; the approval of an action that nobody waits for runs nothing."""
    platform.decision = "pending"
    refund, ran = _tool(plane, on_pending="raise")
    with pytest.raises(ActionPendingError):
        refund(10)
    platform.statuses["1"] = "approved"
    with pytest.raises(ActionPendingError):
        refund(10)
    assert ran == []


def test_cancelled_while_it_is_submitted(platform: PlainPlatform) -> None:
    """The platform hears that nothing was started with its approval."""
    gate = Gate(platform.url, lambda request: request.path.endswith("/submit"))
    plane = RemoteControlPlane(KEY, gate.url, agent_id="my-agent")
    ran: list[int] = []

    @governed("refund", "stripe", control_plane=plane)
    async def refund(amount: int) -> None:
        ran.append(amount)

    async def main() -> None:
        task = asyncio.create_task(refund(10))
        while not gate.holding.is_set():
            await asyncio.sleep(0.005)
        task.cancel()

    asyncio.run(main())
    gate.opened.set()
    assert eventually(platform.outcomes) == [("1", "fail")]
    assert ran == []
    plane.close()
    gate.close()


def test_stopped_between_chunks(platform: PlainPlatform, plane: RemoteControlPlane) -> None:
    """Each chunk of a tool that streams is asked for."""

    @governed("refund", "stripe", control_plane=plane)
    def chunks(amount: int) -> Iterator[int]:
        yield from range(10**9)

    stream = chunks(1)
    assert next(stream) == 0
    platform.blocked = True
    with pytest.raises(KillSwitchError):
        next(stream)
    assert eventually(platform.outcomes) == [("1", "fail")]
