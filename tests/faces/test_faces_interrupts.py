"""An interrupt at any point of a governed call leaves the thread outside of it, and the call with one outcome."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from interrupting import interrupted_at
from support import PROFILE
from world import settled

from ascend_guard import EmbeddedControlPlane, governed, guard
from ascend_guard.calling.scope import current
from ascend_guard.flow import Effect, Settle
from ascend_guard.store.port import ActionRow

STRIDE = {"quick": 14, "ci": 5, "full": 1}[PROFILE]
"""Every how many places an interrupt is tried at."""

FIRST = random.randrange(STRIDE) if PROFILE == "quick" else 0
"""The first of them: each quick run tries other places. A failure names its place."""


class Interrupt(KeyboardInterrupt):
    """What the signal handler raises: event loops end with it."""


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupt


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, _raise)
    yield
    signal.signal(signal.SIGUSR1, before)


def _sync() -> Any:
    return governed("order_read")(lambda: "done")()


def _async() -> Any:
    @governed("order_read")
    async def tool() -> str:
        return "done"

    return asyncio.run(tool())


def _stream() -> Any:
    @governed("order_read")
    def tool() -> Iterator[int]:
        yield 1
        yield 2

    return list(tool())


def _deferred() -> Any:
    return list(governed("order_read")(lambda: map(str, [1, 2]))())


def _block() -> Any:
    with guard("order_read"):
        return "done"


def _nested() -> Any:
    return governed("order_read")(_sync)()


def _late(plane: EmbeddedControlPlane) -> list[ActionRow]:
    plane.store.write(lambda tx: None)  # and with it what was posted
    latest = plane.read(lambda reader: list(reader.actions("local", limit=3)))
    return [row for row in latest if row.claimed_at and row.outcome is None]


@pytest.mark.parametrize("call", [_sync, _async, _stream, _deferred, _block, _nested])
def test_an_interrupt_anywhere_leaves_the_context_as_it_was(
    plane: EmbeddedControlPlane, call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every place where Python can run a signal handler, one after the other."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # what is raised in a finaliser reaches nobody
    with interrupted_at(()) as count:
        call()
    settled(plane)
    interrupted = 0
    for place in range(FIRST, count[0], STRIDE):
        try:
            with interrupted_at((place,), finalisers=False):
                call()
        except Interrupt:
            interrupted += 1
        assert current() is None, f"place {place}"
        if _late(plane):  # the frames of an interrupted call may refer to one another
            gc.collect()
        assert not _late(plane), f"place {place}"
    settled(plane)
    assert interrupted >= 10


class _InterruptedOnce:
    """A control plane without sections, such as a server: recording the first outcome is interrupted."""

    def __init__(self, plane: EmbeddedControlPlane) -> None:
        self._plane = plane
        self._left = 1
        self.agent_id, self.agent_name, self.digest_key = plane.agent_id, plane.agent_name, plane.digest_key

    def _interrupted(self, effect: Effect[Any]) -> None:
        if isinstance(effect, Settle) and self._left:
            self._left = 0
            raise Interrupt

    def perform(self, effect: Effect[Any]) -> Any:
        self._interrupted(effect)
        return self._plane.perform(effect)

    async def aperform(self, effect: Effect[Any]) -> Any:
        self._interrupted(effect)
        return await self._plane.aperform(effect)


def _async_through(plane: _InterruptedOnce) -> None:
    @governed("order_read", control_plane=plane)
    async def tool() -> str:
        return "done"

    asyncio.run(tool())


def _sync_through(plane: _InterruptedOnce) -> None:
    governed("order_read", control_plane=plane)(lambda: "done")()


@pytest.mark.parametrize("call", [_sync_through, _async_through])
def test_an_outcome_whose_recording_was_interrupted_stays_what_it_was(
    plane: EmbeddedControlPlane, call: Callable[[_InterruptedOnce], None]
) -> None:
    """The call had ended well; the interrupt is the caller's."""
    with pytest.raises(Interrupt):
        call(_InterruptedOnce(plane))
    gc.collect()
    settled(plane)
    (row,) = plane.read(lambda reader: list(reader.actions("local", limit=3)))
    assert row.outcome == "completed"
