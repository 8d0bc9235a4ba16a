"""Prometheus metrics of a server: requests, decisions, connections of the stream.

They are counted as plain numbers on the event loop's one thread, and converted to Prometheus's form for each scrape: its
own counters take a lock each time, which is a twentieth of a whole request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Durations:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0


class Meter(Collector):
    """Counts what a server does. Each server has its own meter, so that tests can run several."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.streams = 0
        self._requests: dict[tuple[str, int], int] = {}
        self._durations: dict[str, _Durations] = {}
        self._decisions: dict[str, int] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """A request was answered."""
        key = endpoint, status
        self._requests[key] = self._requests.get(key, 0) + 1
        durations = self._durations.get(endpoint)
        if durations is None:
            durations = self._durations[endpoint] = _Durations()
        durations.counts[bisect_left(_BUCKETS, seconds)] += 1
        durations.total += seconds

    def decided(self, decision: str) -> None:
        """An action was decided."""
        self._decisions[decision] = self._decisions.get(decision, 0) + 1

    def exposition(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics for Prometheus's registry."""
        requests = CounterMetricFamily(
            "ascend_requests", "Requests by endpoint and status.", labels=("endpoint", "status")
        )
        for (endpoint, status), count in self._requests.items():
            requests.add_metric((endpoint, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "ascend_request_duration_seconds",
            "Time from the head of a request to its answer.",
            labels=("endpoint",),
        )
        for endpoint, durations in self._durations.items():
            sofar, buckets = 0, []
            for bound, count in zip((*map(str, _BUCKETS), "+Inf"), durations.counts, strict=True):
                sofar += count
                buckets.append((bound, float(sofar)))
            seconds.add_metric((endpoint,), buckets, durations.total)
        yield seconds
        decisions = CounterMetricFamily("ascend_decisions", "Decisions on actions.", labels=("decision",))
        for decision, count in self._decisions.items():
            decisions.add_metric((decision,), count)
        yield decisions
        yield GaugeMetricFamily("ascend_streams", "Processes on the pushed stream.", value=self.streams)
