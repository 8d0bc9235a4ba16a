"""Waiting over HTTP: many at a time, through restarts, and never for ever."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from remote_world import Threads
from serving import Serving, serving
from support import PROFILE
from world import Beside, eventually

from ascend_guard import (
    AscendError,
    ConfigurationError,
    KillSwitchError,
    NetworkError,
    RemoteControlPlane,
    TimeoutError,
    governed,
)
from ascend_guard.client.http.exchange import Retry
from ascend_guard.flow import AwaitDecision, Submit
from ascend_guard.model import ActionResult, AgentAction

MANY = {"quick": 2000, "ci": 4000, "full": 10_000}[PROFILE]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "a.db") as made:
        yield made


def _action(amount: int) -> AgentAction:
    return AgentAction(
        "my-agent", "my-agent", "refund", "an order", "stripe", action_details={"amount": amount}
    )


def _submitted(plane: RemoteControlPlane, amount: int) -> ActionResult:
    effect = Submit(_action(amount), f"{amount:064d}", detached=False, repeatable=False)
    return plane.perform(effect)


def _tool(plane: RemoteControlPlane, **options: Any) -> tuple[Any, list[int]]:
    ran: list[int] = []

    @governed("refund", "stripe", control_plane=plane, **options)
    def refund(amount: int) -> int:
        ran.append(amount)
        return amount

    return refund, ran


@pytest.mark.parametrize("end", ["approve", "kill"])
def test_thousands_wait(server: Serving, end: str, threads: Threads) -> None:
    """No coroutine that waits holds a thread, all of them are told, and nothing is left of them."""
    plane = server.plane()
    actions = [_submitted(plane, 1000 + n) for n in range(10)]
    eventually(lambda: plane._feed.live)

    async def main() -> list[Any]:
        waits = [
            asyncio.create_task(plane.aperform(AwaitDecision(_action(1), actions[n % 10].action_id, None)))
            for n in range(MANY)
        ]
        while sum(len(same) for same in plane._feed._waiting.values()) < MANY:
            await asyncio.sleep(0.01)
        assert len(threads("ascend-guard-http")) <= 16
        assert len(threads("ascend-guard-feed")) == 1
        if end == "approve":
            for action in actions:
                assert (await asyncio.to_thread(server.approve, action.action_id)).ok
        else:
            key = server.key(None, "admin")
            path = "/api/billing/kill-switch/local/trigger"
            assert (await asyncio.to_thread(server.ask, "POST", path, key, {"reason": "there is a fire"})).ok
        return await asyncio.gather(*waits, return_exceptions=True)

    with closing(plane):
        ends = asyncio.run(main())
        assert plane._feed._waiting == {}
        plane._outbox._queue.clear()  # a farewell for each of them, which is not what is looked at here
    if end == "approve":
        assert all(isinstance(result, ActionResult) and result.is_approved() for result in ends)
        assert not any(result.claimed for result in ends)
    else:
        assert all(isinstance(error, KillSwitchError) for error in ends)
    eventually(lambda: not threads("ascend-guard-feed"))


def test_the_server_restarts(tmp_path: Path) -> None:
    """Calls that wait go on waiting, and run once somebody approves them at the new server."""
    with serving(tmp_path / "a.db") as first:
        plane = first.plane(poll_interval=0.05)
        port = int(first.url.rpartition(":")[2])
        refund, ran = _tool(plane)
        call = Beside(refund, 900)
        action = first.newest_pending()
        eventually(lambda: plane._feed.live)
    eventually(lambda: not plane._feed.live)
    with serving(tmp_path / "a.db", port=port) as second:
        eventually(lambda: plane._feed.live)
        assert second.approve(action).ok
        assert call.end().result == 900
        plane.close()
    assert ran == [900]


def test_decided_while_nobody_listened(tmp_path: Path) -> None:
    """What was decided while the feed was away is told when it is back."""
    with serving(tmp_path / "a.db") as first:
        plane = first.plane()
        port = int(first.url.rpartition(":")[2])
        refund, _ = _tool(plane)
        call = Beside(refund, 900)
        action = first.newest_pending()
        eventually(lambda: plane._feed.live)
    eventually(lambda: not plane._feed.live)
    opened, plane._feed._open = plane._feed._open, _refused
    with serving(tmp_path / "a.db", port=port) as second:
        assert second.approve(action).ok
        plane._feed._open = opened
        assert call.end().result == 900
        plane.close()


def _refused(last_id: str | None, silence: float) -> Any:
    raise NetworkError("refused")


@pytest.mark.parametrize("push", [True, False])
def test_the_server_is_gone_for_good(tmp_path: Path, push: bool) -> None:
    """The wait ends, because nobody knows of the kill switch any more."""
    with serving(tmp_path / "a.db") as server:
        plane = server.plane(push=push, poll_interval=0.02)
        plane._feed.patience = 0.3
        plane._retry = Retry(attempts=2)
        refund, ran = _tool(plane)
        call = Beside(refund, 900)
        server.newest_pending()
        if push:
            eventually(lambda: plane._feed.live)
    error = call.end().error
    assert isinstance(error, KillSwitchError)
    assert error.reason == "kill switch state unknown"
    assert ran == []
    plane._outbox._queue.clear()
    plane.close()


def test_no_time_at_all(server: Serving) -> None:
    """A time-out of 0 asks once."""
    plane = server.plane()
    refund, ran = _tool(plane, timeout=0)
    with pytest.raises(TimeoutError):
        refund(900)
    assert ran == []
    plane.close()


def test_no_time_and_no_server(tmp_path: Path) -> None:
    """A wait whose time is over does not go on because the server cannot be asked."""
    asked: list[str] = []
    with serving(tmp_path / "a.db") as server:
        plane = server.plane(push=False, poll_interval=0.0)
        result = _submitted(plane, 900)
    send = plane._transport.send
    plane._transport.send = lambda *args, **how: (asked.append(args[1]), send(*args, **how))[1]  # type: ignore[method-assign, func-returns-value]
    plane._feed.patience = 1e9
    with pytest.raises(AscendError):
        plane.perform(AwaitDecision(_action(900), result.action_id, 0.0))
    assert len(asked) <= 4
    plane._outbox._queue.clear()
    plane.close()


@pytest.mark.parametrize("push", [True, False])
def test_the_kill_switch_ends_a_wait(server: Serving, push: bool) -> None:
    """Pushed or asked for, and an approval that comes after it runs nothing."""
    plane = server.plane(push=push, poll_interval=0.02)
    refund, ran = _tool(plane)
    call = Beside(refund, 900)
    action = server.newest_pending()
    path = "/api/billing/kill-switch/local/trigger"
    assert server.ask("POST", path, server.key(None, "admin"), {"reason": "there is a fire"}).ok
    assert isinstance(call.end().error, KillSwitchError)
    server.approve(action)
    assert ran == []
    plane.close()


def test_decided_before_it_listens(server: Serving) -> None:
    """A decision between the submission and the wait is not missed, with a feed that is live."""
    plane = server.plane()
    result = _submitted(plane, 900)
    eventually(lambda: plane._feed.live)
    assert server.approve(result.action_id).ok
    decided = plane.perform(AwaitDecision(_action(900), result.action_id, None))
    assert decided.is_approved()
    assert not decided.claimed
    plane.close()


def test_interrupted_by_the_keyboard(server: Serving) -> None:
    """The wait ends, the server is told, and the same call made later takes the action up."""
    plane = server.plane()
    refund, ran = _tool(plane)

    def interrupt() -> None:
        server.newest_pending()
        eventually(lambda: plane._feed._waiting)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        refund(900)
    helper.join()
    action = server.newest_pending()
    row = lambda: server.store.read(lambda reader: reader.actions("local", limit=1))[0]
    eventually(lambda: row().waiter is None)
    call = Beside(refund, 900)
    eventually(lambda: row().waiter is not None)
    assert server.approve(action).ok
    assert call.end().result == 900
    assert ran == [900]
    plane.close()


def test_its_loop_is_closed(server: Serving) -> None:
    """News for a loop that is no more goes nowhere, and nobody else misses theirs."""
    plane = server.plane()
    result = _submitted(plane, 900)
    eventually(lambda: plane._feed.live)
    loop = asyncio.new_event_loop()
    coroutine = plane.aperform(AwaitDecision(_action(900), result.action_id, None))
    task = loop.create_task(coroutine)

    async def listening() -> None:
        while not plane._feed._waiting:
            await asyncio.sleep(0.005)

    loop.run_until_complete(listening())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    other = Beside(plane.perform, AwaitDecision(_action(900), result.action_id, None))
    eventually(lambda: sum(len(same) for same in plane._feed._waiting.values()) == 2)
    assert server.approve(result.action_id).ok
    assert other.end().result.is_approved()
    coroutine.close()
    del task, coroutine
    gc.collect()
    assert plane._feed._waiting == {}
    plane.close()


@pytest.mark.parametrize("push", [True, False])
def test_closed_while_it_waits(server: Serving, push: bool) -> None:
    """A call that waits on a guard that is closed ends."""
    plane = server.plane(push=push, poll_interval=0.05)
    refund, ran = _tool(plane)
    call = Beside(refund, 900)
    server.newest_pending()
    if push:
        eventually(lambda: plane._feed.live)
    plane.close()
    assert isinstance(call.end().error, ConfigurationError)
    assert ran == []


def test_used_and_closed_at_once(server: Serving, threads: Threads) -> None:
    """However short its life: no thread and no stream is left of a guard that was closed."""
    key = server.key("my-agent")
    for _ in range(30):
        plane = RemoteControlPlane(key, server.url, agent_id="my-agent")
        refund, _ran = _tool(plane)
        assert refund(1) == 1
        plane.close()
    eventually(lambda: not threads("ascend-guard-feed"))
    eventually(lambda: not server.server.change_feed._listeners)


@pytest.mark.parametrize("push", [True, False])
@pytest.mark.parametrize("awaited", [True, False])
def test_stopped_between_chunks(server: Serving, push: bool, awaited: bool) -> None:
    """A tool that streams ends between two chunks, and the outcome says so."""
    admin = server.key(None, "admin")
    plane = server.plane(push=push)
    seen: list[int] = []

    def take(number: int) -> None:
        if not seen:
            path = "/api/billing/kill-switch/local/trigger"
            assert server.ask("POST", path, admin, {"reason": "there is a fire"}).ok
        seen.append(number)

    @governed("refund", "stripe", control_plane=plane)
    def chunks(amount: int) -> Iterator[int]:
        yield from range(10**9)

    @governed("refund", "stripe", control_plane=plane)
    async def achunks(amount: int) -> Any:
        for number in range(10**9):
            yield number

    async def aread() -> None:
        async for number in achunks(1):
            take(number)

    def read() -> None:
        for number in chunks(1):
            take(number)

    with pytest.raises(KillSwitchError):
        asyncio.run(aread()) if awaited else read()
    assert seen
    assert push or len(seen) == 1  # asked before each chunk
    eventually(lambda: [row.outcome for row in _started(server)] == ["failed"])
    plane.close()


def _started(server: Serving) -> list[Any]:
    rows = server.store.read(lambda reader: reader.actions("local", limit=100))
    return [row for row in rows if row.claimed_at is not None]
