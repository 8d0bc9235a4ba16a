"""The coverage gate: fails when the coverage of the core, or of all modules, is below its floor.

Usage: python .ci/coverage_gate.py COVERAGE_JSON. Counts lines and branches together, as coverage.py's own total does.
"""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

CORE = (
    *(
        "flow.py",
        "replies.py",
        "kill_switch.py",
        "drivers.py",
        "model.py",
        "interrupts.py",
        "processes.py",
        "config.py",
    ),
    *("arguments/*", "callables/*", "calling/*", "redaction/*", "edits/*"),
    *("engine/*", "store/*", "client/guard/*"),
)
"""Modules of ``ascend_guard`` that decide whether a call runs, and keep the record of it."""

FLOORS = {"core": 95.0, "overall": 90.0}
"""Per cent."""

EXCEPTIONS: dict[str, str] = {}
"""Modules that no total includes, each with the reason. ``exclude_also`` in pyproject.toml excludes single lines."""


def percent(files: list[dict[str, Any]]) -> float:
    """Return the percentage of covered lines and branches."""
    seen = [file["summary"] for file in files]
    covered = sum(one["covered_lines"] + one["covered_branches"] for one in seen)
    total = sum(one["num_statements"] + one["num_branches"] for one in seen)
    return 100 * covered / total if total else 0.0


def main(report: Path) -> int:
    """Print the totals and the modules with the largest gaps; return the exit status."""
    measured = json.loads(report.read_text())["files"]
    unknown = sorted(set(EXCEPTIONS) - set(measured))
    counted = {name: file for name, file in measured.items() if name not in EXCEPTIONS}
    core = [f for n, f in counted.items() if any(fnmatch(n, f"ascend_guard/{pattern}") for pattern in CORE)]
    totals = {"core": percent(core), "overall": percent(list(counted.values()))}

    def gap(name: str) -> int:
        summary = counted[name]["summary"]
        return int(summary["missing_lines"] + summary["missing_branches"])

    print("Largest gaps, in uncovered lines and branches:")
    for name in sorted(counted, key=gap, reverse=True)[:20]:
        print(f"  {gap(name):5}  {percent([counted[name]]):5.1f} %  {name}")
    for name, value in totals.items():
        print(f"coverage, {name}: {value:.2f} % of lines and branches (floor {FLOORS[name]:.0f} %)")
    if unknown:
        print(f"EXCEPTIONS names modules that were not measured: {', '.join(unknown)}")
    return bool(unknown) or any(totals[name] < floor for name, floor in FLOORS.items())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
