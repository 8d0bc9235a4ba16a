"""Two drivers for a call that waits: listen for news, and now and then ask the server. No thread is held by a coroutine."""

from __future__ import annotations

import asyncio
import builtins
import queue
from collections.abc import Generator
from concurrent.futures import Executor
from typing import Any, TypeAlias

from msgspec import Struct

from ascend_guard.model import ActionResult, KillSwitchState

from .exchange import Exchange, Sender, arun, run
from .feed import News


class Listen(Struct, frozen=True):
    """Wait for news, at most this many seconds; the reply is None when none came."""

    seconds: float


Waiting: TypeAlias = Generator[Exchange[ActionResult | KillSwitchState] | Listen, Any, ActionResult]


class Inbox:
    """News for one coroutine, put in from another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news: asyncio.Queue[News] = asyncio.Queue()

    def put(self, news: News) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)
        except RuntimeError:  # the loop was closed; nobody waits any more
            pass

    async def get(self, seconds: float) -> News:
        """The next; None when there is none in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._news.get()
        except builtins.TimeoutError:
            return None


def play(flow: Waiting, told: queue.SimpleQueue[News], transport: Sender) -> ActionResult:
    """Wait, blocking."""
    try:
        step = next(flow)
        while True:
            reply: object
            try:
                reply = _listened(told, step) if isinstance(step, Listen) else run(step, transport)
            except BaseException as error:
                step = flow.throw(error)
            else:
                step = flow.send(reply)
    except StopIteration as stop:
        result: ActionResult = stop.value
        return result
    finally:
        flow.close()


async def aplay(flow: Waiting, told: Inbox, transport: Sender, pool: Executor) -> ActionResult:
    """Wait on the running event loop."""
    try:
        step = next(flow)
        while True:
            reply: object
            try:
                if isinstance(step, Listen):
                    reply = await told.get(step.seconds)
                else:
                    reply = await arun(step, transport, pool)
            except BaseException as error:
                step = flow.throw(error)
            else:
                step = flow.send(reply)
    except StopIteration as stop:
        result: ActionResult = stop.value
        return result
    finally:
        flow.close()


def _listened(told: queue.SimpleQueue[News], step: Listen) -> News:
    try:
        return told.get(timeout=step.seconds)
    except queue.Empty:
        return None
