"""The caller's trace context, so that the server's spans continue the trace (W3C Trace Context). Free without an SDK."""

from __future__ import annotations

import sys

_modules = sys.modules


def trace_headers() -> dict[str, str]:
    """``traceparent`` and the other headers of the configured propagators; empty if tracing is not configured."""
    trace = _modules.get("opentelemetry.trace")
    if trace is None or getattr(trace, "_TRACER_PROVIDER", trace) is None:
        return {}
    from opentelemetry import propagate

    carried: dict[str, str] = {}
    propagate.inject(carried)
    return carried
