"""The server's own spans, which go on with the trace of the agent's call. They cost nothing until an SDK is configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from ascend_guard._version import __version__
from ascend_guard.api.endpoint import Endpoint


@contextmanager
def traced(
    endpoint: Endpoint, headers: Mapping[str, str], correlation: str
) -> Iterator[Callable[[int], None]]:
    """A server span around one request (OpenTelemetry HTTP conventions); call what it gives with the status."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        yield _nothing
        return
    tracer = trace.get_tracer("ascend_guard.server", __version__)
    attributes = {
        "http.request.method": endpoint.method,
        "http.route": endpoint.path,
        "ascend.correlation_id": correlation,
    }
    with tracer.start_as_current_span(
        f"{endpoint.method} {endpoint.path}",
        context=propagate.extract(headers),
        kind=SpanKind.SERVER,
        attributes=attributes,
    ) as span:

        def ended(status: int) -> None:
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(StatusCode.ERROR)

        yield ended


def _nothing(status: int) -> None:
    return None
