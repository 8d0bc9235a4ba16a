"""Pages of answers: bounded in rows and in bytes, each with the cursor of the next one.

A page that would have more than ``LARGEST_PAGE`` bytes ends earlier than its ``limit`` says: ``limit`` is then how many rows
it has, ``has_more`` is true, and ``next_cursor`` leads on. One row alone may be larger, so that a list can be gone on with.
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
"""Bytes of the rows of one answer."""

_encode = msgspec.json.Encoder().encode
_UNKNOWN = "The cursor does not belong to this list. Send the next_cursor of the previous page, or no cursor to start again."


def page(total: int, shown: int, limit: int, offset: int, cursor: str | None) -> dict[str, Any]:
    """What a page of a list says of itself.

    Args:
        cursor: of the next page; None when there is none.
    """
    return {
        "total": total,
        "limit": limit if cursor is None else shown,
        "offset": offset,
        "has_more": cursor is not None,
        "next_cursor": cursor,
    }


def behind(cursor: str | None) -> int | None:
    """The number of the row that a cursor stands for, the last one of the page before.

    Raises:
        ValidationError: it stands for none.
    """
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise ValidationError(_UNKNOWN)
    return int(cursor)


def behind_both(cursor: str | None) -> tuple[int, int] | None:
    """The same for rows that have two numbers, written as ``12.3``."""
    if not cursor:
        return None
    first, dot, second = cursor.partition(".")
    numbers = behind(first), behind(second)
    if not dot or numbers[0] is None or numbers[1] is None:
        raise ValidationError(_UNKNOWN)
    return numbers[0], numbers[1]


class Gathered(Struct, Generic[T, B]):
    """A page of rows that had to be looked through.

    Args:
        shown: what the page shows.
        total: how many rows there are.
        last: the last row that is shown, when there are more.
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
    """Look through rows for a page of them.

    Args:
        rows: in order.
        body: what is shown of one.
        limit: how many are shown at most.
        offset: how many are left out before.
        after: whether a row comes after the one that the cursor stands for.
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
