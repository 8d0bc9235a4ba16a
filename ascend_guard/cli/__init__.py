"""The command line, ``ascend-guard``."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status: 0 success, 1 refused or a problem was found, 2 wrong usage.

    Args:
        argv: the arguments after ``ascend-guard``; by default the process's own.
    """
    from .app import run

    return run(argv)
