"""What ``doctor`` finds: one thing looked at, and what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ascend_guard.errors import AscendError

State = Literal["ok", "info", "warning", "wrong"]


class Check(NamedTuple):
    """One thing looked at: how it is, and what to do where that is not well."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def what_and_remedy(error: AscendError) -> tuple[str, str]:
    """The first sentence of a message says what is wrong, the rest is the remedy."""
    before, dot, after = error.message.partition(". ")
    return (before + ".", after) if dot else (error.message, "")
