"""The cost of ``from ascend_guard import governed``, against ``import requests``, in fresh interpreters."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from .environment import PeerEnvironment
from .report import Aim, Group, number, verdict
from .rounds import Ratio, Timing

STATEMENTS = {
    "import requests": "import requests",
    "from ascend_guard import governed": "from ascend_guard import governed",
}
AIM = Aim(1.2)

_TIMED = "from time import perf_counter as clock; begin = clock(); {}; print(clock() - begin)"


def imports(seconds: float, environment: PeerEnvironment | None) -> Group:
    """Both take turns, in one environment."""
    python = _python_with_requests(environment)
    group = Group(
        "imports",
        "Import time in fresh interpreters",
        ["min ms", "median ms", "ratio", "quartiles", "aim", "met"],
        "Timed inside the interpreter.",
    )
    if python is None:
        group.add("requests is not installed in any environment here", [""] * 6, missing="requests")
        return group
    timings = {name: Timing() for name in STATEMENTS}
    for statement in STATEMENTS.values():  # fills the byte code and the disk's cache
        _run(python, statement)
    begin = perf_counter()
    rounds = 0
    while perf_counter() - begin < seconds or rounds < 5:
        for name, statement in STATEMENTS.items():
            timings[name].add([_run(python, statement) * 1e9])
        rounds += 1
    against: Timing | None = None
    for name, timing in timings.items():
        times = [one[0] / 1e3 for one in timing.rounds]
        values: dict[str, Any] = {"min_ms": min(times), "median_ms": median(times)}
        cells = [number(min(times)), number(median(times))]
        if against is None:
            cells, against = [*cells, "1", "", "", ""], timing
        else:
            ratio = Ratio(timing, against)
            values["ratio"] = ratio.as_json()
            cells += [number(ratio.median), f"{number(ratio.low)}–{number(ratio.high)}"]
            cells += verdict(AIM, ratio.median, values)
        group.add(name, cells, **values)
    return group


def _python_with_requests(environment: PeerEnvironment | None) -> Path | None:
    if environment is not None and not environment.missing.keys() & {"requests", "ascend-guard"}:
        return environment.python
    return Path(sys.executable) if importlib.util.find_spec("requests") else None


def _run(python: Path, statement: str) -> float:
    done = subprocess.run(
        [str(python), "-c", _TIMED.format(statement)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
