"""The command line, ``ascend-guard``."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Its exit status: 0 done and well, 1 refused or something found wrong, 2 wrong usage.

    Args:
        argv: what was typed after ``ascend-guard``; the process's own arguments when left out.
    """
    from .app import run

    return run(argv)
