"""What ``from ascend_guard import governed`` costs, against ``import requests``, in fresh interpreters."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from .environment import PeerEnvironment
from .report import Aim, Group, number, verdict
from .rounds import Ratio, Tick, Timing

STATEMENTS = {
    "import requests": "import requests",
    "from ascend_guard import governed": "from ascend_guard import governed",
}
AIM = Aim(1.2)

_TIMED = "from time import perf_counter as clock; begin = clock(); {}; print(clock() - begin)"


def imports(seconds: float, tick: Tick, environment: PeerEnvironment | None) -> Group:
    """Both in turns, in one environment; inside the interpreter, and with its start and end."""
    python = _python_with_requests(environment)
    group = Group(
        "imports",
        "Import time in fresh interpreters",
        ["min ms", "median ms", "ratio", "quartiles", "whole process ms", "ratio", "aim", "met"],
        "Timed inside the interpreter; 'whole process' is with its start and end.",
    )
    if python is None:
        group.add("requests is not installed anywhere here", [""] * 8, missing="requests")
        return group
    inside = {name: Timing() for name in STATEMENTS}
    whole = {name: Timing() for name in STATEMENTS}
    for statement in STATEMENTS.values():  # byte code, and the disk's cache
        _run(python, statement)
    begin = perf_counter()
    rounds = 0
    while (done := (perf_counter() - begin) / seconds) < 1 or rounds < 5:
        tick(min(done, 1))
        for name, statement in STATEMENTS.items():
            imported, process = _run(python, statement)
            inside[name].add([imported * 1e9])
            whole[name].add([process * 1e9])
        rounds += 1
    tick(1)
    base, *others = STATEMENTS
    group.add(
        base, [*_times(inside[base]), "1", "", *_median(whole[base]), "1", "", ""], **_values(inside[base])
    )
    for name in others:
        ratio, process_ratio = Ratio(inside[name], inside[base]), Ratio(whole[name], whole[base])
        values = _values(inside[name]) | {"ratio": ratio.as_json(), "process_ratio": process_ratio.as_json()}
        spread = f"{number(ratio.low)}–{number(ratio.high)}"
        cells = [*_times(inside[name]), number(ratio.median), spread]
        cells += [*_median(whole[name]), number(process_ratio.median), *verdict(AIM, ratio.median, values)]
        group.add(name, cells, **values)
    return group


def _python_with_requests(environment: PeerEnvironment | None) -> Path | None:
    if environment is not None and not environment.missing.keys() & {"requests", "ascend-guard"}:
        return environment.python
    return Path(sys.executable) if importlib.util.find_spec("requests") else None


def _run(python: Path, statement: str) -> tuple[float, float]:
    begin = perf_counter()
    done = subprocess.run(
        [str(python), "-c", _TIMED.format(statement)], capture_output=True, text=True, check=True
    )
    return float(done.stdout), perf_counter() - begin


def _milliseconds(timing: Timing) -> list[float]:
    return [one[0] / 1e3 for one in timing.rounds]


def _times(timing: Timing) -> list[str]:
    return [number(min(_milliseconds(timing))), *_median(timing)]


def _median(timing: Timing) -> list[str]:
    return [number(median(_milliseconds(timing)))]


def _values(timing: Timing) -> dict[str, float]:
    return {"min_ms": min(_milliseconds(timing)), "median_ms": median(_milliseconds(timing))}
