"""Which of the caller's own items an approver's items stand for, and when plain data is the same."""

from __future__ import annotations

from typing import Any

from ascend_guard.arguments import normalise

from .records import NONE
from .values import LEAVES, unfit

__all__ = ["aligned", "members", "same", "shown_of"]


def aligned(
    items: list[Any], held: list[Any], shown: Any, where: str, declared: bool
) -> list[tuple[Any, Any, Any]]:
    """Each item with the caller's own that stands in its place, and what was seen of that. Where items were added or taken
    out, those that are as they were shown are found again: one that moved up must not become what was there before it."""
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
    """The caller's own value that a new item is to be like."""
    kinds = {type(each) for each in held}
    if len(kinds) == 1:
        return held[-1]
    if kinds and not (declared and kinds <= LEAVES.keys()):
        unfit(where, "of the same length, because its items differ in type")
    return NONE


def shown_of(value: Any) -> Any:
    """What people see of a value."""
    return normalise({"value": value}, key=b"").plain["value"]


def same(value: Any, shown: Any) -> bool:
    """Whether plain data is the same, types and order included."""
    if type(value) is not type(shown):
        return False
    if type(value) is dict:
        return list(value) == list(shown) and all(same(value[name], shown[name]) for name in value)
    if type(value) is list:
        return len(value) == len(shown) and all(map(same, value, shown))
    # Not by ==, for which 0.0 is -0.0.
    return repr(value) == repr(shown) if type(value) is float else bool(value == shown)
