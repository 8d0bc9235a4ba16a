"""Whoever is cancelled leaves no permit behind: what was taken for nobody is settled, what was approved can be taken up."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fault_server import Received
from remote_world import Gate
from serving import Serving, serving
from world import eventually

from ascend_guard import RemoteControlPlane, governed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("cancelled") / "a.db") as made:
        yield made


@pytest.fixture
def gated(server: Serving) -> Iterator[Callable[[str], tuple[Gate, Any, list[int]]]]:
    """A gate that holds answers of one kind of request back, a tool behind it, and its runs."""
    made: list[tuple[Gate, RemoteControlPlane]] = []

    def make(path: str, **options: Any) -> tuple[Gate, Any, list[int]]:
        gate = Gate(server.url, lambda request: request.method == "POST" and request.path.endswith(path))
        plane = RemoteControlPlane(
            server.key("my-agent"), gate.url, agent_id="my-agent", push=False, poll_interval=0.01
        )
        made.append((gate, plane))
        ran: list[int] = []

        @governed("refund", "stripe", control_plane=plane, **options)
        async def refund(amount: int) -> int:
            ran.append(amount)
            return amount

        return gate, refund, ran

    yield make
    for gate, plane in made:
        gate.opened.set()
        plane.close()
        gate.close()


def _rows(server: Serving) -> list[Any]:
    return server.store.read(lambda reader: reader.actions("local", limit=1000))


async def _held(gate: Gate) -> None:
    while not gate.holding.is_set():
        await asyncio.sleep(0.005)


def test_cancelled_while_it_is_submitted(server: Serving, gated: Any) -> None:
    """The permit came with the answer nobody waited for: the action is failed, not started."""
    gate, refund, ran = gated("/submit")

    async def main() -> None:
        task = asyncio.create_task(refund(11))
        await _held(gate)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()

    asyncio.run(main())
    row = eventually(lambda: _rows(server)[0] if _rows(server)[0].outcome else None)
    assert (row.outcome, ran) == ("failed", [])
    assert "not started" in row.error


def test_its_loop_ends_with_it(server: Serving, gated: Any) -> None:
    """The same where the answer comes when there is no event loop any more: asyncio.run with a time-out of its own."""
    gate, refund, ran = gated("/submit")

    async def main() -> None:
        task = asyncio.create_task(refund(12))
        await _held(gate)
        task.cancel()

    before = len(_rows(server))
    asyncio.run(main())
    gate.opened.set()
    assert len(_rows(server)) == before + 1
    row = eventually(lambda: _rows(server)[0] if _rows(server)[0].outcome else None)
    assert (row.outcome, ran) == ("failed", [])


def test_its_coroutine_is_thrown_away(server: Serving, gated: Any) -> None:
    """A loop that is closed over a call in flight: the coroutine is collected, and its permit settled."""
    gate, refund, ran = gated("/submit")
    before = len(_rows(server))
    loop = asyncio.new_event_loop()
    coroutine = refund(13)
    task = loop.create_task(coroutine)
    loop.run_until_complete(_held(gate))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    coroutine.close()
    del task, coroutine
    gc.collect()
    gate.opened.set()
    assert len(_rows(server)) == before + 1
    row = eventually(lambda: _rows(server)[0] if _rows(server)[0].outcome else None)
    assert (row.outcome, ran) == ("failed", [])


def test_cancelled_while_it_is_in_a_submission(server: Serving, gated: Any) -> None:
    """Pending when nobody listened any more: the same call takes the action up."""
    gate, refund, ran = gated("/submit")

    async def main() -> None:
        task = asyncio.create_task(refund(914))
        await _held(gate)
        task.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        action = _rows(server)[0]
        while _rows(server)[0].waiter is not None:
            await asyncio.sleep(0.005)
        again = asyncio.create_task(refund(914))
        while _rows(server)[0].waiter is None:
            await asyncio.sleep(0.005)
        assert _rows(server)[0].id == action.id
        await asyncio.to_thread(server.approve, action.id)
        assert await again == 914

    asyncio.run(asyncio.wait_for(main(), 30))
    assert ran == [914]


def test_cancelled_while_it_is_claimed(server: Serving, gated: Any) -> None:
    """A person's approval whose permit nobody got: failed, not started; the same call asks anew."""
    gate, refund, ran = gated("/claim")

    async def main() -> None:
        task = asyncio.create_task(refund(915))
        action = await asyncio.to_thread(server.newest_pending)
        await asyncio.to_thread(server.approve, action)
        await _held(gate)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 30))
    gate.opened.set()
    row = eventually(lambda: _rows(server)[0] if _rows(server)[0].outcome else None)
    assert (row.status, row.outcome, ran) == ("approved", "failed", [])


def test_cancelled_while_it_waits(server: Serving, gated: Any) -> None:
    """The server is told; an approval that comes later is taken up by the same call."""
    _, refund, ran = gated("/nothing-is-held")

    async def main() -> int:
        task = asyncio.create_task(refund(916))
        action = await asyncio.to_thread(server.newest_pending)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while _rows(server)[0].waiter is not None:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(server.approve, action)
        again: int = await refund(916)
        return again

    assert asyncio.run(asyncio.wait_for(main(), 30)) == 916
    assert ran == [916]


@pytest.mark.parametrize("after", range(1, 14))
def test_cancelled_at_any_moment(server: Serving, gated: Any, after: int) -> None:
    """However many turns of the loop it had: the body ran to its end or the action says that it did not start."""
    _, refund, ran = gated("/nothing-is-held")

    async def main() -> None:
        task = asyncio.create_task(refund(20 + after))
        for _ in range(after):
            await asyncio.sleep(0.0005 * after)
        task.cancel()
        await asyncio.wait([task])

    before = {row.id for row in _rows(server)}
    asyncio.run(main())

    def settled() -> bool:
        fresh = [row for row in _rows(server) if row.id not in before]
        return all(row.outcome for row in fresh if row.claimed_at is not None)

    eventually(settled)
    assert len(ran) <= 1


def test_received_is_what_came(server: Serving, gated: Any) -> None:
    """The gate itself: every request passes, and is noted."""
    gate, refund, _ = gated("/nothing-is-held")
    assert asyncio.run(refund(50)) == 50
    paths = [request.path for request in gate.received if isinstance(request, Received)]
    assert "/api/v1/actions/submit" in paths
