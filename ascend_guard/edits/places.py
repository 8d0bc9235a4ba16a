"""Match an approver's items with the caller's own items, and compare plain data."""

from __future__ import annotations

from typing import Any

from ascend_guard.arguments import normalise

from .conversions import LEAVES, unfit
from .record_types import NONE

__all__ = ["aligned", "members", "same", "shown_of"]


def aligned(
    items: list[Any], held: list[Any], shown: Any, where: str, declared: bool
) -> list[tuple[Any, Any, Any]]:
    """Return each item with the caller's own item in its place, and the view of that. If items were added or removed,
    unchanged
    items are found again: an item that moved must not be converted like the item that was there before."""
    seen = shown if isinstance(shown, list) and len(shown) == len(held) else [NONE] * len(held)
    if len(items) == len(held):
        return list(zip(items, held, seen, strict=True))
    found: list[tuple[Any, Any, Any]] = []
    at = 0
    for item in items:
        place = next((here for here in range(at, len(held)) if same(item, seen[here])), None)
        if place is None:
            found.append((item, _like(held, where, declared), NONE))
        else:
            found.append((item, held[place], seen[place]))
            at = place + 1
    return found


def members(items: list[Any], given: Any, where: str, declared: bool) -> list[tuple[Any, Any, Any]]:
    """The same for the members of a set, which have no place."""
    held = list(given)
    seen = [shown_of(each) for each in held]
    found: list[tuple[Any, Any, Any]] = []
    for item in items:
        place = next((here for here in range(len(held)) if same(item, seen[here])), None)
        if place is None:
            found.append((item, _like(held, where, declared), NONE))
        else:
            found.append((item, held[place], seen[place]))
    return found


def _like(held: list[Any], where: str, declared: bool) -> Any:
    """Return the caller's own value that determines the type of a new item."""
    kinds = {type(each) for each in held}
    if len(kinds) == 1:
        return held[-1]
    if kinds and not (declared and kinds <= LEAVES.keys()):
        unfit(where, "of the same length, because its items differ in type")
    return NONE


def shown_of(value: Any) -> Any:
    """Return the view of a value for people."""
    return normalise({"value": value}, key=b"").plain["value"]


def same(value: Any, shown: Any) -> bool:
    """Return whether plain data is the same, including types and order."""
    if type(value) is not type(shown):
        return False
    if type(value) is dict:
        return list(value) == list(shown) and all(same(value[name], shown[name]) for name in value)
    if type(value) is list:
        return len(value) == len(shown) and all(map(same, value, shown))
    # Not ==, because 0.0 == -0.0.
    return repr(value) == repr(shown) if type(value) is float else bool(value == shown)
