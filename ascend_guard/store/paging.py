"""Pages of lists whose rows may be large: bounded in rows and in bytes, and gone on with behind the last row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct


class Page(Struct, frozen=True):
    """A part of a list.

    Args:
        behind: the number of the row before the first one; None begins at the beginning.
        most: bytes of the rows' bodies together. A single row may have more, so that the list can be gone on with.
    """

    behind: int | None = None
    most: int | None = None


WHOLE = Page()


def fitting(execute: Callable[..., Any], rest: str, values: Sequence[Any], page: Page) -> int:
    """How many of the rows that a query finds are on the page; what is not on it is not read.

    Args:
        execute: asks the database.
        rest: the query from its FROM, with a limit and an offset as its last values.
        values: the query's.
        page: which one.
    """
    if page.most is None:
        limit: int = values[-2]
        return limit
    size = rows = 0
    for (length,) in execute(f"SELECT length(body) {rest}", values):
        size += length
        if rows and size > page.most:
            break
        rows += 1
    return rows
