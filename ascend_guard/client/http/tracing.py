"""The caller's trace, so that the server's spans go on with it (W3C Trace Context). Costs nothing without an SDK."""

from __future__ import annotations

import sys

_modules = sys.modules


def trace_headers() -> dict[str, str]:
    """``traceparent`` and what else the configured propagators carry; nothing when nobody traces."""
    trace = _modules.get("opentelemetry.trace")
    if trace is None or getattr(trace, "_TRACER_PROVIDER", trace) is None:
        return {}
    from opentelemetry import propagate

    carried: dict[str, str] = {}
    propagate.inject(carried)
    return carried
