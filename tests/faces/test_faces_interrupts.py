"""An interrupt at any point of a governed call leaves the thread outside of it, and the call with one outcome."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from face_kinds import rows, settled

import ascend_guard
from ascend_guard import EmbeddedControlPlane, governed, guard, interrupts
from ascend_guard._scope import current

FOLDER = ascend_guard.__path__[0]
OURS = tuple(
    f"{FOLDER}/{name}.py" for name in ("execution", "_scope", "_kinds", "_deferred", "_fronts", "_guard")
)


class Interrupt(KeyboardInterrupt):
    """As raised by a signal handler."""


class At:
    """Raises an interrupt at the n-th line, call or return of the modules that enter and leave bodies, counted from the
    moment at which the permit is there."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.where: str | None = None
        self._armed = False

    def __enter__(self) -> At:
        sys.settrace(self._look)
        return self

    def __exit__(self, *left: object) -> None:
        sys.settrace(None)

    def _look(self, frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in OURS or _finalising(frame):
            return None  # what is raised in a finaliser reaches nobody
        if frame.f_code.co_name == "__enter__" and frame.f_code.co_filename == OURS[0]:
            self._armed = True
        if interrupts._main.mode == interrupts.HELD:
            return self._look  # signal handlers are deferred here
        if self._armed and event in ("call", "line") and self.where is None:
            self._left -= 1
            if self._left < 0:
                self.where = f"{frame.f_code.co_name}:{frame.f_lineno}"
                raise Interrupt
        return self._look


def _finalising(frame: Any) -> bool:
    while frame is not None and frame.f_code.co_filename in OURS:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


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


@pytest.mark.parametrize("call", [_sync, _async, _stream, _deferred, _block, _nested])
def test_an_interrupt_anywhere_leaves_the_context_as_it_was(
    plane: EmbeddedControlPlane, call: Callable[[], Any]
) -> None:
    """At every line between the permit and the outcome, one after the other."""
    number, interrupted = 0, 0
    while True:
        at = At(number)
        try:
            with at:
                call()
        except Interrupt:
            interrupted += 1
        gc.collect(0)
        assert current() is None, at.where
        plane.store.write(lambda tx: None)  # and with it what was posted
        late = [row for row in rows(plane)[-3:] if row.claimed_at and row.outcome is None]
        assert late == [], at.where
        if at.where is None:
            break
        number += 1
    settled(plane)
    assert interrupted >= 10
