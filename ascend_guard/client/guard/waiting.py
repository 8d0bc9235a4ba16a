"""Two drivers for a waiting call: listen for events, and poll the server at intervals. Coroutines hold no thread."""

from __future__ import annotations

import asyncio
import builtins
import queue
from collections.abc import Generator
from concurrent.futures import Executor
from typing import Any, TypeAlias

from msgspec import Struct

from ascend_guard.client.http.exchange import Exchange, Sender, arun, run
from ascend_guard.drivers import adrive, drive
from ascend_guard.model import ActionResult, KillSwitchState

from .feed import News


class Listen(Struct, frozen=True):
    """Wait for an event, at most this many seconds; the reply is None when none arrived."""

    seconds: float


Waiting: TypeAlias = Generator[Exchange[ActionResult | KillSwitchState] | Listen, Any, ActionResult]


class Inbox:
    """Events for one coroutine, put in by another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news: asyncio.Queue[News] = asyncio.Queue()

    def put(self, news: News) -> None:
        """Add an event, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)
        except RuntimeError:  # the loop was closed; no coroutine waits any more
            pass

    async def get(self, seconds: float) -> News:
        """Return the next event; None when none arrives in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._news.get()
        except builtins.TimeoutError:
            return None


def play(flow: Waiting, told: queue.SimpleQueue[News], transport: Sender) -> ActionResult:
    """Wait, blocking."""

    def perform(step: Exchange[ActionResult | KillSwitchState] | Listen) -> object:
        if not isinstance(step, Listen):
            return run(step, transport)
        try:
            return told.get(timeout=step.seconds)
        except queue.Empty:
            return None

    return drive(flow, perform)


async def aplay(flow: Waiting, told: Inbox, transport: Sender, pool: Executor) -> ActionResult:
    """Wait on the running event loop."""

    async def perform(step: Exchange[ActionResult | KillSwitchState] | Listen) -> object:
        if isinstance(step, Listen):
            return await told.get(step.seconds)
        return await arun(step, transport, pool)

    return await adrive(flow, perform)
