"""Lengths of time as people write them: ``90s``, ``15m``, ``2h``, ``1d``, ``1h30m``."""

from __future__ import annotations

import re

__all__ = ["EXAMPLES", "duration"]

EXAMPLES = "90s, 15m, 2h, 1d or 1h30m"
"""Examples for help texts and errors."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNITS = {
    **{name: name for name in _SECONDS},
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "min": "m",
    "mins": "m",
    "minute": "m",
    "minutes": "m",
    "hr": "h",
    "hrs": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
}
_PART = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]+)\s*")


def duration(text: str) -> float | None:
    """Return seconds; None for text that is not a length of time, such as a number without a unit."""
    left, seconds, smallest = text.strip().lower(), 0.0, float("inf")
    while left:
        found = _PART.match(left)
        unit = _UNITS.get(found[2]) if found else None
        # 1h30m is ordered from large to small: 30m1h is a mistake, and so is 1h2h.
        if found is None or unit is None or _SECONDS[unit] >= smallest:
            return None
        smallest = _SECONDS[unit]
        seconds += float(found[1]) * smallest
        left = left[found.end() :]
    return None if smallest == float("inf") else seconds
