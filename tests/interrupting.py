"""A signal handler that raises, at any place of a governed call where Python can run one."""

from __future__ import annotations

import dis
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import ascend_guard

PACKAGE = os.path.dirname(ascend_guard.__file__)


class Interrupt(BaseException):
    """What the signal handler raises."""


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """The signal handler."""
    raise Interrupt


_CHECKING = ("RESUME", "CALL", "PRECALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD")


def _places(code: CodeType, known: dict[CodeType, frozenset[int]] = {}) -> frozenset[int]:  # noqa: B006 - a cache
    """Offsets of the instructions before which Python may have run a signal handler: those after a call, and the like."""
    if code not in known:
        steps = list(dis.get_instructions(code))
        known[code] = frozenset(
            step.argval if step.opname == "JUMP_BACKWARD" else after.offset
            for step, after in itertools.pairwise(steps)
            if step.opname in _CHECKING
        )
    return known[code]


def _in_finaliser(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


@contextmanager
def interrupted_at(places: tuple[int, ...], *, finalisers: bool = True) -> Iterator[list[int]]:
    """A signal is raised at these places, counted in the order in which the package's frames come to them.

    Args:
        places: where.
        finalisers: also in a finaliser, where Python swallows what is raised. Without them the signal comes later: the
            garbage collector may finalise an earlier call at any place.

    Yields a list with the number of places so far.
    """
    count = [0]
    left = set(places)

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and frame.f_lasti in _places(frame.f_code):
            count[0] += 1
            if count[0] - 1 in left:
                left.discard(count[0] - 1)
                if not finalisers and _in_finaliser(frame):
                    left.add(count[0])
                    return trace
                if not left:
                    sys.settrace(None)
                signal.raise_signal(signal.SIGUSR1)
        return trace

    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(None)
