"""Whether a call's result is thrown away where it is made: ``guard(...)`` without ``with``, ``governed(...)`` without ``@``.

Promise 1: such a line guards nothing, and what follows it would run undecided. So it is refused when it is reached.

Read from the bytecode of the caller: an expression whose value nothing takes is followed by POP_TOP. Where that cannot be
read (another implementation of Python), nothing is refused here.
"""

from __future__ import annotations

import sys
from opcode import opmap
from types import CodeType, FrameType

__all__ = ["caller_of", "is_thrown_away", "line_of"]

_POP_TOP = opmap.get("POP_TOP", -1) if sys.implementation.name == "cpython" else -1
_CACHE = opmap.get("CACHE", 0)
"""Room for the interpreter behind an instruction; it is no instruction."""


def caller_of(made: object, frame: FrameType | None) -> FrameType | None:
    """The frame in which an object is made: the one that called the class, past the ``__init__`` of subclasses.

    Args:
        made: the object.
        frame: the one that called its ``__init__``.
    """
    while frame is not None and frame.f_code.co_name == "__init__" and made in _first_argument(frame):
        frame = frame.f_back
    return frame


def is_thrown_away(frame: FrameType | None) -> bool:
    """Whether the frame does nothing with what the call that it is in will answer."""
    if frame is None:
        return False
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while at < len(code) and code[at] == _CACHE:
        at += 2
    return at < len(code) and code[at] == _POP_TOP


def line_of(code: CodeType, instruction: int) -> int:
    """The line of an instruction, for a warning that comes later."""
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end and line)
    return next(lines, code.co_firstlineno)


def _first_argument(frame: FrameType) -> tuple[object, ...]:
    code = frame.f_code
    return (frame.f_locals.get(code.co_varnames[0]),) if code.co_argcount else ()
