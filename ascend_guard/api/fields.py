"""The types of fields that many bodies share, and the common fields of every page of a list."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1, max_length=255)]
"""A name or an identifier."""

Prose = Annotated[str, Meta(max_length=10_000)]
"""Text for people."""

Limit = Annotated[int, Meta(ge=1, le=100)]

Offset = Annotated[int, Meta(ge=0, le=2**53)]

Cursor = Annotated[str, Meta(max_length=2000)]
"""The start of a page: the ``next_cursor`` of the page before. Its content has no meaning for clients."""

Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]

Object = dict[str, Any]

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^/?#\x00-\x1f\x7f]+$(?!\n)")]
"""A name that needs no quoting in a path, because the published SDK does not quote it. ``$`` would accept a newline."""

Plain = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
"""A name without control characters, which not every database accepts."""

Names = Annotated[list[Text], Meta(max_length=256)]

Reason = Annotated[str, Meta(max_length=1000)]

Place = Annotated[str, Meta(max_length=2000)]


class Many(Struct, kw_only=True):
    """The common fields of every page. ``next_cursor`` is the ``cursor`` of the next page, if there is one."""

    total: int
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None = None


Level = Literal["low", "medium", "high", "critical"]

Short = Annotated[str, Meta(max_length=255)]


class PageQuery(Struct, kw_only=True):
    """The part of a list to return."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Offset = 0
    cursor: Cursor | None = None


class Done(Struct, kw_only=True):
    """The operation succeeded."""

    success: bool = True
    message: str = ""
