"""Contestants that take turns, and what their times say about each other."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

HERE = Path(__file__).parent
BATCH = 0.03
"""Seconds one contestant's turn takes: short, so that a disturbance hits a round and not a contestant."""


class ContestantFailed(Exception):
    """A contestant ended before it answered."""


class Worker:
    """A contestant: a script that runs as a process of its own, see ``contestants/serving.py``.

    Args:
        script: its file name without ``.py``.
        arguments: for the script.
        python: the interpreter of its environment.
    """

    def __init__(self, script: str, *arguments: object, python: str | Path = sys.executable) -> None:
        self.script = script
        self._is_ready = False
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(python), str(HERE / "contestants" / f"{script}.py"), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ready(self) -> None:
        """Wait until it has warmed up."""
        while not self._is_ready:
            self._is_ready = self.hear() == "ready"  # some packages greet

    def ask(self, line: str) -> str:
        """Send a line and return the answer."""
        self.tell(line)
        return self.hear()

    def tell(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def hear(self) -> str:
        """The next line it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        return line.rstrip("\n")

    def batch(self, calls: int) -> list[float]:
        """Make calls and return the nanoseconds of each."""
        took: list[float] = json.loads(self.ask(str(calls)))
        return took

    def close(self) -> None:
        """End it in good order."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _fail(self) -> None:
        self._process.wait(10)
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        raise ContestantFailed(lines[-1] if lines else f"{self.script} ended without a word")


def spread(times: list[float]) -> tuple[float, float, float]:
    """The median, what one in a hundred exceeds, and the longest."""
    ordered = sorted(times)
    return median(ordered), ordered[len(ordered) * 99 // 100], ordered[-1]


class Timing:
    """The times of one contestant, in microseconds, by round."""

    def __init__(self) -> None:
        self.rounds: list[list[float]] = []

    def add(self, nanoseconds: Sequence[float]) -> None:
        """Add a round."""
        self.rounds.append([each / 1e3 for each in nanoseconds])

    @property
    def p50(self) -> float:
        """The middle call."""
        return median(each for one in self.rounds for each in one)

    @property
    def p99(self) -> float | None:
        """One call in a hundred takes longer; None when too few were timed one by one."""
        every = sorted(each for one in self.rounds for each in one)
        return every[len(every) * 99 // 100] if len(every) >= 500 else None

    @property
    def mean(self) -> float:
        """Of all calls, with whatever disturbed them."""
        every = [each for one in self.rounds for each in one]
        return sum(every) / len(every)


class Ratio:
    """One contestant's time divided by another's, round by round.

    ``median`` of the rounds' ratios of medians, the ``low`` and ``high`` quartile, and ``mean``: the ratio of
    the means of everything, where rare slow calls weigh what they cost.
    """

    def __init__(self, of: Timing, to: Timing) -> None:
        ratios = [median(mine) / median(theirs) for mine, theirs in zip(of.rounds, to.rounds, strict=True)]
        self.low, self.median, self.high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        self.mean = of.mean / to.mean

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"median": self.median, "quartiles": [self.low, self.high], "of_means": self.mean}


def race(contestants: dict[str, Worker], seconds: float) -> dict[str, Timing]:
    """Let the contestants take turns, A B C A B C, for so many seconds. They are closed afterwards."""
    try:
        for worker in contestants.values():
            worker.ready()
        sizes = {name: _size(worker) for name, worker in contestants.items()}
        timings = {name: Timing() for name in contestants}
        begin = perf_counter()
        order = list(contestants)
        while perf_counter() - begin < seconds or len(timings[order[0]].rounds) < 5:
            for name in order:
                timings[name].add(contestants[name].batch(sizes[name]))
            order.append(order.pop(0))  # whoever follows a contestant suffers what it left behind
        return timings
    finally:
        for worker in contestants.values():
            worker.close()


def _size(worker: Worker) -> int:
    calls = 10
    while True:
        start = perf_counter()
        worker.batch(calls)
        took = perf_counter() - start
        if took > BATCH / 4:
            return max(5, int(calls * BATCH / took))
        calls *= 4
