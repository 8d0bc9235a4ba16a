"""Pages of answers: limited in rows and in bytes, each with the cursor of the next one.

A page that would have more than ``LARGEST_PAGE`` bytes ends before its ``limit``: ``limit`` in the answer is then its
number of rows, ``has_more`` is true, and ``next_cursor`` continues. A single row may be larger, so that every list can
be read on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from ascend_guard.errors import ValidationError

B = TypeVar("B")
T = TypeVar("T")

LARGEST_PAGE = 1 << 20
"""The most bytes of the rows in one answer."""

_encode = msgspec.json.Encoder().encode
_UNKNOWN = "The cursor does not belong to this list. Send the next_cursor of the previous page, or no cursor to start again."


def page(total: int, shown: int, limit: int, offset: int, cursor: str | None) -> dict[str, Any]:
    """The common fields of a page of a list.

    Args:
        cursor: of the next page; None if there is none.
    """
    return {
        "total": total,
        "limit": limit if cursor is None else shown,
        "offset": offset,
        "has_more": cursor is not None,
        "next_cursor": cursor,
    }


def behind(cursor: str | None) -> int | None:
    """Return the number of the row in a cursor, the last row of the page before.

    Raises:
        ValidationError: the cursor is invalid.
    """
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise ValidationError(_UNKNOWN)
    return int(cursor)


def behind_both(cursor: str | None) -> tuple[int, int] | None:
    """The same for rows with two numbers, written as ``12.3``."""
    if not cursor:
        return None
    first, dot, second = cursor.partition(".")
    numbers = behind(first), behind(second)
    if not dot or numbers[0] is None or numbers[1] is None:
        raise ValidationError(_UNKNOWN)
    return numbers[0], numbers[1]


class Gathered(Struct, Generic[T, B]):
    """A page of rows that had to be searched.

    Args:
        shown: the rows of the page.
        total: how many rows there are.
        last: the last row on the page, if there are more.
    """

    shown: list[B]
    total: int
    last: T | None


def gather(
    rows: Iterable[T],
    body: Callable[[T], B],
    limit: int,
    *,
    offset: int = 0,
    after: Callable[[T], bool] = lambda _: True,
) -> Gathered[T, B]:
    """Search rows for a page of them.

    Args:
        rows: in order.
        body: converts one row for display.
        limit: the most rows on the page.
        offset: how many rows to skip.
        after: whether a row comes after the cursor's row.
    """
    shown: list[B] = []
    total = size = 0
    newest: T | None = None
    more = False
    for row in rows:
        total += 1
        if more or not after(row):
            continue
        if offset:
            offset -= 1
            continue
        if len(shown) == limit:
            more = True
            continue
        made = body(row)
        size += len(_encode(made))
        if shown and size > LARGEST_PAGE:
            more = True
            continue
        shown.append(made)
        newest = row
    return Gathered(shown, total, newest if more else None)
