"""The result type of ``doctor``: one check, and how to fix a problem."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ascend_guard.errors import AscendError

State = Literal["ok", "info", "warning", "wrong"]


class Check(NamedTuple):
    """The result of one check, and how to fix a problem."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def what_and_remedy(error: AscendError) -> tuple[str, str]:
    """Split a message: the first sentence says what is wrong, the rest is the remedy."""
    before, dot, after = error.message.partition(". ")
    return (before + ".", after) if dot else (error.message, "")
