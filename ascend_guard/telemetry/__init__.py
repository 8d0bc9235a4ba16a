"""Spans and metrics of governed calls, through the OpenTelemetry API only.

This module checks on every governed call whether telemetry is in use, so it imports nothing and does little.
``observer`` (spans) and ``instruments`` (metrics) load OpenTelemetry. They are loaded at the first call that is
observed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .failing import swallow

if TYPE_CHECKING:
    from ascend_guard.model import AgentAction

    from .observer import Observer

__all__ = ["observe"]

_modules = sys.modules


def observe(action: AgentAction) -> Observer | None:
    """Return an observer for this call; None when telemetry is not in use.

    It is in use when a tracer provider or a meter provider was set, by ``set_tracer_provider``,
    ``set_meter_provider`` or ``opentelemetry-instrument``. That is checked again on every call: a provider that is
    set later is used, one that is removed is not. Never raises.
    """
    trace = _modules.get("opentelemetry.trace")
    metrics = _modules.get("opentelemetry.metrics._internal")
    try:
        # The public getters read the environment each time, which takes fifteen times as long as this.
        tracers = None if trace is None else trace._TRACER_PROVIDER
        meters = None if metrics is None else metrics._METER_PROVIDER
    except AttributeError:
        tracers, meters = _asked()
    if tracers is None and meters is None:
        return None
    try:
        from .observer import start

        return start(action, tracers, meters)
    except Exception as error:
        swallow(error)
        return None


def _asked() -> tuple[Any, Any]:
    """Return the providers from the public getters, for an API that stores them elsewhere."""
    return (
        _real(_modules.get("opentelemetry.trace"), "get_tracer_provider"),
        _real(_modules.get("opentelemetry.metrics"), "get_meter_provider"),
    )


def _real(module: Any, getter: str) -> Any:
    try:
        provider = getattr(module, getter)()
    except Exception:  # not imported, or being imported by another thread now
        return None
    # The API's own providers (proxy, no-op) discard everything.
    return None if type(provider).__module__.startswith(module.__name__) else provider
