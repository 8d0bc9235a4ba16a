"""The cost of a decision by the number of rules."""

from __future__ import annotations

from .report import Aim, Group, add_timing, race_group
from .rounds import Worker, race

SIZES = (10, 1_000, 10_000)
KINDS = {
    "seen": "names of calls seen before",
    "new": "a new name every time",
}
AIM = Aim(1.5)


def decisions(seconds: float) -> Group:
    """``Policy.decide`` at several sizes, for names that it remembers and for new names."""
    contestants = {f"{kind} {size}": Worker("decide", size, kind) for kind in KINDS for size in SIZES}
    timings = race(contestants, seconds)
    group = race_group(
        "decisions",
        "One decision by the number of rules",
        "Each rule has a pattern of its own, every other one a prefix, and a condition.",
    )
    for kind, said in KINDS.items():
        least = timings[f"{kind} {SIZES[0]}"]
        for size in SIZES:
            timing = timings[f"{kind} {size}"]
            against = None if timing is least else least
            aim = AIM if size == SIZES[-1] else None
            add_timing(group, f"{size:,} rules, {said}", timing, against, aim)
    return group
