"""Contestants that take turns, and the comparison of their times."""

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
"""Seconds of one contestant's turn: short, so that a disturbance affects a round and not a contestant."""


class ContestantFailed(Exception):
    """A contestant ended before it answered."""


class Worker:
    """A contestant: a script in a separate process, see ``contestants/serving.py``.

    Args:
        script: its file name without ``.py``.
        arguments: the script's arguments.
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
            self._is_ready = self.hear() == "ready"  # some packages print a greeting

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
        """Return the next line of its output."""
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
        """End it normally."""
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
        raise ContestantFailed(lines[-1] if lines else f"{self.script} ended without output")


def spread(times: list[float]) -> tuple[float, float, float]:
    """Return the median, the time that one call in a hundred exceeds, and the longest time."""
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
        """The median call."""
        return median(each for one in self.rounds for each in one)

    @property
    def p99(self) -> float | None:
        """The time that one call in a hundred exceeds; None when too few were timed individually."""
        every = sorted(each for one in self.rounds for each in one)
        return every[len(every) * 99 // 100] if len(every) >= 500 else None

    @property
    def mean(self) -> float:
        """The mean of all calls, including disturbances."""
        every = [each for one in self.rounds for each in one]
        return sum(every) / len(every)


class Ratio:
    """One contestant's time divided by another's, round by round.

    ``median`` is that of the rounds' ratios of medians, ``low`` and ``high`` are the quartiles, and ``mean`` is the
    ratio of the means of all calls, which includes rare slow calls.
    """

    def __init__(self, of: Timing, to: Timing) -> None:
        ratios = [median(mine) / median(theirs) for mine, theirs in zip(of.rounds, to.rounds, strict=True)]
        self.low, self.median, self.high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        self.mean = of.mean / to.mean

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"median": self.median, "quartiles": [self.low, self.high], "of_means": self.mean}


def race(contestants: dict[str, Worker], seconds: float) -> dict[str, Timing]:
    """Let the contestants take turns, A B C A B C, for this many seconds. They are closed afterwards."""
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
            order.append(order.pop(0))  # the next contestant suffers from what the previous one left behind
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
