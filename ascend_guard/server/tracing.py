"""The server's own spans, which continue the trace of the agent's call. They cost nothing until an SDK is configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from ascend_guard._version import __version__
from ascend_guard.api.endpoint import Endpoint


def traced(
    endpoint: Endpoint, headers: Mapping[str, str], correlation: str
) -> AbstractContextManager[Callable[[int], None]]:
    """A server span for one request (OpenTelemetry HTTP conventions); call the yielded function with the status."""
    # The public getter reads the environment each time, which costs more than all other work here.
    if getattr(trace, "_TRACER_PROVIDER", trace) is None:
        return _UNTRACED
    return _traced(endpoint, headers, correlation)


@contextmanager
def _traced(
    endpoint: Endpoint, headers: Mapping[str, str], correlation: str
) -> Iterator[Callable[[int], None]]:
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


_UNTRACED: AbstractContextManager[Callable[[int], None]] = nullcontext(_nothing)
