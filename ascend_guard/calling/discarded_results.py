"""Find out whether the result of a call is thrown away: ``guard(...)`` without ``with``, ``governed(...)`` without ``@``.

Promise 1: such a line guards nothing, and the code after it would run without a decision. So the line raises an error.

This is read from the bytecode of the caller: POP_TOP follows an expression whose value is not used. Where the bytecode
cannot be read (another implementation of Python), no error is raised here.
"""

from __future__ import annotations

import sys
from opcode import opmap
from types import CodeType, FrameType

__all__ = ["caller_of", "is_thrown_away", "line_of"]

_POP_TOP = opmap.get("POP_TOP", -1) if sys.implementation.name == "cpython" else -1
_CACHE = opmap.get("CACHE", 0)
"""The interpreter's inline cache after an instruction. It is not an instruction itself."""


def caller_of(made: object, frame: FrameType | None) -> FrameType | None:
    """Return the frame in which an object is created: the caller of the class, past the ``__init__`` of subclasses.

    Args:
        made: the object.
        frame: the frame that called its ``__init__``.
    """
    while frame is not None and frame.f_code.co_name == "__init__" and made in _first_argument(frame):
        frame = frame.f_back
    return frame


def is_thrown_away(frame: FrameType | None) -> bool:
    """Return whether the frame ignores the result of the call that it is making."""
    if frame is None:
        return False
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while at < len(code) and code[at] == _CACHE:
        at += 2
    return at < len(code) and code[at] == _POP_TOP


def line_of(code: CodeType, instruction: int) -> int:
    """The line of an instruction, for a warning that is issued later."""
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end and line)
    return next(lines, code.co_firstlineno)


def _first_argument(frame: FrameType) -> tuple[object, ...]:
    code = frame.f_code
    return (frame.f_locals.get(code.co_varnames[0]),) if code.co_argcount else ()
