"""Convert single JSON values to Python values, strictly, and check the constraints that are annotated with a type."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import PurePath
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")

__all__ = ["LEAVES", "Unfit", "path", "require", "unfit", "untagged"]


class Unfit(Exception):
    """A value is not of the expected type; ``where`` is its path."""

    def __init__(self, where: str, expected: str) -> None:
        super().__init__(where, expected)
        self.where = where
        self.expected = expected


def unfit(where: str, expected: str) -> NoReturn:
    """Refuse the value at this path."""
    raise Unfit(where, expected)


def untagged(value: Any, tag: str) -> Any:
    """Return the content of a container such as ``{"$bytes": ...}``; the value itself when it is not one."""
    return value[tag] if type(value) is dict and value.keys() == {tag} else value


def _bool(value: Any, given: Any, where: str) -> bool:
    return value if type(value) is bool else unfit(where, "true or false")


def _int(value: Any, given: Any, where: str) -> int:
    value = untagged(value, "$integer")
    if (
        type(value) is str
        and re.fullmatch(r"-?(0x)?[0-9a-f]+", value)
        and type(given) is int
        and abs(given) >> 63
    ):
        return int(value, 0)  # shown as text, because JSON readers lose its last digits
    return value if type(value) is int else unfit(where, "an integer")


def _float(value: Any, given: Any, where: str) -> float:
    text = untagged(value, "$float")
    if text is not value and text in ("nan", "inf", "-inf"):
        return float(text)
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value) == value:
        return float(value)
    return unfit(where, "a number")


def _str(value: Any, given: Any, where: str) -> str:
    return value if type(value) is str else unfit(where, "text")


def _bytes(value: Any, given: Any, where: str) -> bytes:
    expected = 'bytes, written as {"$bytes": "<base64>"}'
    text = untagged(value, "$bytes")
    if text is value or type(text) is not str:
        unfit(where, expected)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return unfit(where, expected)


def _bytearray(value: Any, given: Any, where: str) -> bytearray:
    return bytearray(_bytes(value, given, where))


def _decimal(value: Any, given: Any, where: str) -> Decimal:
    value = untagged(value, "$decimal")
    expected = 'a decimal number, such as "12.50"'
    if type(value) not in (int, float, str):
        unfit(where, expected)
    try:
        made = Decimal(repr(value) if type(value) is float else value)
    except InvalidOperation:
        return unfit(where, expected)
    return made if made.is_finite() else unfit(where, expected)


def _date(value: Any, given: Any, where: str) -> date:
    return _text_as(date, value, where, "a date, such as 2026-01-31")


def _datetime(value: Any, given: Any, where: str) -> datetime:
    made = _text_as(datetime, value, where, "a date and time, such as 2026-01-31T12:00:00+00:00")
    if isinstance(given, datetime):
        if (made.tzinfo is None) != (given.tzinfo is None):
            unfit(
                where,
                f"a date and time with{'out' if given.tzinfo is None else ''} a time zone, as the caller's",
            )
        if given.tzinfo is not None and made.replace(tzinfo=given.tzinfo).utcoffset() == made.utcoffset():
            return made.replace(tzinfo=given.tzinfo)  # the named zone, not only its offset today
    return made


def _time(value: Any, given: Any, where: str) -> time:
    made = _text_as(time, value, where, "a time of day, such as 12:00:00")
    if isinstance(given, time) and (made.tzinfo is None) != (given.tzinfo is None):
        unfit(where, f"a time with{'out' if given.tzinfo is None else ''} a time zone, as the caller's")
    return made


def _timedelta(value: Any, given: Any, where: str) -> timedelta:
    if type(value) in (int, float) and math.isfinite(value):
        return timedelta(seconds=value)
    return _text_as(timedelta, value, where, "a number of seconds, or a duration such as PT90S")


def _uuid(value: Any, given: Any, where: str) -> UUID:
    return _text_as(UUID, value, where, "a UUID")


def _text_as(kind: type[T], value: Any, where: str, expected: str) -> T:
    if type(value) is not str:
        unfit(where, expected)
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError):
        return unfit(where, expected)


def path(value: Any, kind: type[PurePath], given: Any, where: str) -> PurePath:
    """Return a path, of the caller's class if that is one of the declared kind."""
    if type(value) is not str:
        unfit(where, "a path")
    return type(given)(value) if isinstance(given, kind) else kind(value)


def _nothing(value: Any, given: Any, where: str) -> None:
    return value if value is None else unfit(where, "null: no other type is known for it")


LEAVES: dict[type, Callable[[Any, Any, str], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    Decimal: _decimal,
    date: _date,
    datetime: _datetime,
    time: _time,
    timedelta: _timedelta,
    UUID: _uuid,
    type(None): _nothing,
}
"""The converter of each type: it gets the value, the caller's own value or ``NONE``, and the path for errors."""

_LIMITS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "gt": (lambda value, limit: value > limit, "more than"),
    "ge": (lambda value, limit: value >= limit, "at least"),
    "lt": (lambda value, limit: value < limit, "less than"),
    "le": (lambda value, limit: value <= limit, "at most"),
    "multiple_of": (lambda value, limit: value % limit == 0, "a multiple of"),
    "min_length": (lambda value, limit: len(value) >= limit, "of at least this length:"),
    "max_length": (lambda value, limit: len(value) <= limit, "of at most this length:"),
    "pattern": (lambda value, limit: re.search(limit, value) is not None, "text that matches"),
}
"""Constraints by their names in msgspec's ``Meta``, annotated-types and pydantic's ``Field``."""


def require(value: Any, constraint: Any, where: str) -> None:
    """Check a converted value against the constraints that are annotated with its type."""
    for part in (constraint, *(getattr(constraint, "metadata", None) or ())):
        if isinstance(part, type) or value is None:
            continue
        for name, (holds, words) in _LIMITS.items():
            limit = getattr(part, name, None)
            if limit is not None and not callable(limit) and not holds(value, limit):
                unfit(where, f"{words} {limit}")
        predicate = getattr(part, "func", None)
        if type(part).__name__ == "Predicate" and callable(predicate) and not predicate(value):
            unfit(where, "what its annotation allows")
