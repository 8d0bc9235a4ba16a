"""What a replica has to tell is told, though its database fails it for a moment and listeners come at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from replica_world import PATIENCE

from ascend_guard.engine.kill import pull
from ascend_guard.errors import StoreError
from ascend_guard.server.change_feed import ChangeFeed, Listener
from ascend_guard.store.port import Reader
from ascend_guard.store.sqlite.store import SQLiteStore

R = TypeVar("R")


class Moody(SQLiteStore):
    """Fails the questions that ``moods`` says (``x``), and answers none while it is told not to."""

    moods = ""
    answering: asyncio.Event
    asked: asyncio.Event

    async def aread(self, work: Callable[[Reader], R], *, current: bool = False) -> R:
        mood, self.moods = self.moods[:1], self.moods[1:]
        if mood == "x":
            raise StoreError("not now")
        self.asked.set()
        await self.answering.wait()
        return await super().aread(work, current=current)

    def stop(self, agent_id: str) -> None:
        """Something to tell of."""
        self.write(lambda tx: pull(tx, "local", agent_id, "enough", "ann"))


@asynccontextmanager
async def followed(folder: Path) -> AsyncIterator[tuple[Moody, ChangeFeed]]:
    """A database, and the news of it."""
    store = Moody(folder / "a.db", durability="process")
    store.answering, store.asked = asyncio.Event(), asyncio.Event()
    store.answering.set()
    news = ChangeFeed(store)
    running = asyncio.create_task(news.run())
    try:
        while not news.fresh:
            await asyncio.sleep(0.01)
        yield store, news
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.close()


async def hears(listener: Listener, agent_id: str) -> bool:
    """Whether it is told that this agent is stopped."""
    message = await asyncio.wait_for(listener.queue.get(), PATIENCE) or b""
    return message.startswith(b"event: kill_switch") and f'"{agent_id}"'.encode() in message


@pytest.mark.parametrize("moods", ["x", "xx", ".x", "x.x"])
def test_what_could_not_be_read_is_told_when_it_can(tmp_path: Path, moods: str) -> None:
    """A stop that was announced while the database did not answer is not forgotten."""

    async def scenario() -> None:
        async with followed(tmp_path) as (store, news):
            listener = Listener("local", None)
            news.add(listener)
            for number in range(len(moods)):
                store.moods = moods
                store.stop(f"agent-{number}")
                assert await hears(listener, f"agent-{number}")

    asyncio.run(scenario())


def test_who_comes_during_a_look_misses_nothing(tmp_path: Path) -> None:
    """What happens after a listener came is told, though a look that had begun before he came finds it."""

    async def scenario() -> None:
        async with followed(tmp_path) as (store, news):
            store.answering.clear()
            store.asked.clear()
            store.stop("earlier")
            await store.asked.wait()
            listener = Listener("local", None)
            news.add(listener)
            store.stop("later")
            store.answering.set()
            assert await hears(listener, "later")

    asyncio.run(scenario())
