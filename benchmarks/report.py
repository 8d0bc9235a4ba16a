"""Results, as tables for people and as JSON for programs."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .rounds import Ratio, Timing

Place = Literal["<", "<=", ">="]

_PLACES: dict[Place, tuple[str, Callable[[float, float], bool]]] = {
    "<": ("<", operator.lt),
    "<=": ("≤", operator.le),
    ">=": ("≥", operator.ge),
}


class Aim:
    """The aim for a number: ``Aim(1.5)`` is at most 1.5 times as much, ``Aim(50, "<", "ms")`` below 50 ms."""

    def __init__(self, limit: float, place: Place = "<=", unit: str = "×") -> None:
        self.limit = limit
        self.unit = unit
        self._sign, self._compare = _PLACES[place]

    def met(self, value: float) -> bool:
        """Return whether this number meets the aim."""
        return self._compare(value, self.limit)

    def __str__(self) -> str:
        return f"{self._sign} {self.limit:g} {self.unit}"


class Group:
    """One table.

    Args:
        name: its name for ``--only``.
        title: what is compared, for people.
        columns: headings after the first; a heading that begins with ``!`` has verdicts.
        note: what a reader must know to understand the table.
    """

    def __init__(self, name: str, title: str, columns: list[str], note: str = "") -> None:
        self.name = name
        self.title = title
        self.columns = columns
        self.note = note
        self.rows: list[tuple[str, list[str]]] = []
        self.values: dict[str, Any] = {}

    def add(self, name: str, cells: list[str], **values: Any) -> None:
        """Add a row, as text and as numbers."""
        self.rows.append((name, cells))
        self.values[name] = values

    def show(self, console: Console) -> None:
        """Print it."""
        # Markdown if the output is text, so that it can be pasted into a document.
        table = Table(box=box.HEAVY_HEAD if console.is_terminal else box.MARKDOWN)
        table.add_column("")
        for heading in self.columns:
            table.add_column(heading, justify="left" if heading in ("aim", "met") else "right")
        for name, cells in self.rows:
            table.add_row(name, *[_VERDICTS.get(cell, Text(cell)) for cell in cells])
        console.print(Text(self.title, "bold"))
        console.print(self.note + "\n" if self.note else "", soft_wrap=True)
        console.print(table)
        console.print()


_VERDICTS = {"yes": Text("yes", "green"), "NO": Text("NO", "bold red")}

RACE_COLUMNS = ["p50 µs", "p99 µs", "mean µs", "ratio", "quartiles", "of means", "aim", "met"]


def race_group(name: str, title: str, note: str = "") -> Group:
    """Return a table for contestants that took turns."""
    return Group(name, title, RACE_COLUMNS, note)


def add_timing(
    group: Group, name: str, timing: Timing, against: Timing | None, aim: Aim | None = None
) -> None:
    """Add a contestant; ``against`` is the one with which it is compared."""
    cells, values = times(timing)
    if against is None:
        cells += ["1"] + [""] * 4
    else:
        ratio = Ratio(timing, against)
        values["ratio"] = ratio.as_json()
        spread = f"{number(ratio.low)}–{number(ratio.high)}"
        cells += [number(ratio.median), spread, number(ratio.mean), *verdict(aim, ratio.median, values)]
    group.add(name, cells, **values)


def times(timing: Timing) -> tuple[list[str], dict[str, Any]]:
    """Return the cells of a contestant's own times, and the same for programs."""
    p50, p99, mean = timing.p50, timing.p99, timing.mean
    return [number(p50), "" if p99 is None else number(p99), number(mean)], {
        "p50_us": p50,
        "p99_us": p99,
        "mean_us": mean,
    }


def verdict(aim: Aim | None, value: float, values: dict[str, Any]) -> list[str]:
    """Return the cells ``aim`` and ``met``, which are also added to ``values``."""
    if aim is None:
        return ["", ""]
    values["aim"], values["met"] = str(aim), aim.met(value)
    return [str(aim), "yes" if aim.met(value) else "NO"]


def number(value: float) -> str:
    """Return three digits, or all digits before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
