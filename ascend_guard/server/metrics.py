"""Prometheus metrics of a server: requests, decisions, connections of the stream."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meter:
    """Counts what a server does. Each server has a registry of its own, so that tests can run several."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ascend_requests_total",
            "Requests by endpoint and status.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ascend_request_duration_seconds",
            "Time from the first byte of a request to its answer.",
            ("endpoint",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._decisions = Counter(
            "ascend_decisions_total", "Decisions on actions.", ("decision",), registry=self._registry
        )
        self.streams = Gauge("ascend_streams", "Processes on the pushed stream.", registry=self._registry)
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """A request was answered."""
        pair = self._children.get((endpoint, status))
        if pair is None:
            pair = self._requests.labels(endpoint, str(status)), self._seconds.labels(endpoint)
            self._children[endpoint, status] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def decided(self, decision: str) -> None:
        """An action was decided."""
        self._decisions.labels(decision).inc()

    def exposition(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self._registry)
