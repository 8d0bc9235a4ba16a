"""Pages of lists whose rows may be large: limited in rows and in bytes, and continued after the last row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct


class Page(Struct, frozen=True):
    """A part of a list.

    Args:
        behind: the number of the row before the first one; None for the beginning of the list.
        most: bytes of the rows' bodies together. A single row may have more, so that every list can be read on.
    """

    behind: int | None = None
    most: int | None = None


WHOLE = Page()


def fitting(execute: Callable[..., Any], rest: str, values: Sequence[Any], page: Page) -> int:
    """Return how many of the rows of a query are on the page; other rows are not read.

    Args:
        execute: runs a query.
        rest: the query from its FROM, with a limit and an offset as its last values.
        values: the query's values.
        page: the page.
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
