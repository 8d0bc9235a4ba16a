"""The time that one contestant takes in addition to another, in the same rounds."""

from __future__ import annotations

from statistics import median, quantiles
from typing import Any

from .report import Group, number, times
from .rounds import Ratio, Timing

COLUMNS = ["p50 µs", "p99 µs", "mean µs", "added µs", "quartiles", "ratio"]


class Added:
    """The difference between two contestants' medians, round by round, in microseconds.

    ``median`` is that of the rounds' differences; ``low`` and ``high`` are the quartiles.
    """

    def __init__(self, of: Timing, to: Timing) -> None:
        each = [median(mine) - median(theirs) for mine, theirs in zip(of.rounds, to.rounds, strict=True)]
        self.low, self.median, self.high = quantiles(each, n=4)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"median": self.median, "quartiles": [self.low, self.high]}


def added_group(name: str, title: str, note: str, peer: str = "") -> Group:
    """Return a table for contestants that took turns and whose calls have a cost even without governance.

    Args:
        name: as in ``Group``.
        title: as in ``Group``.
        note: as in ``Group``.
        peer: the peer with whose added time others are compared, in the last column; without a peer there is no column.
    """
    note += " Added: the median over rounds of the difference of that round's medians."
    return Group(name, title, [*COLUMNS, *([f"of {peer}'s added"] if peer else [])], note)


def add_base(group: Group, name: str, timing: Timing) -> None:
    """Add a contestant with which others are compared."""
    cells, values = times(timing)
    group.add(name, [*cells, "", "", "1"], **values)


def add_added(group: Group, name: str, timing: Timing, against: Timing, peer: Added | None = None) -> Added:
    """Add a contestant.

    Args:
        group: the table.
        name: its name, and the compared contestant if there are several.
        timing: its times.
        against: the same call without the measured part.
        peer: what the peer adds; the last column is the ratio of the two medians.
    """
    added, ratio = Added(timing, against), Ratio(timing, against)
    cells, values = times(timing)
    values |= {"added_us": added.as_json(), "ratio": ratio.as_json()}
    cells += [signed(added.median), f"{signed(added.low)} to {signed(added.high)}", number(ratio.median)]
    if peer is not None:
        values["of_peers_added"] = added.median / peer.median
        cells.append(signed(values["of_peers_added"]))
    group.add(name, cells, **values)
    return added


def signed(value: float) -> str:
    """As ``number``: a difference may be lost in the noise and be negative."""
    return number(value) if value >= 0 else f"-{number(-value)}"
