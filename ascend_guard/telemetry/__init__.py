"""Spans and metrics of governed calls, through the OpenTelemetry API only.

This module finds out whether anybody listens, on every governed call, so it imports nothing and asks little.
What there is to tell is in ``observer`` (spans) and ``instruments`` (metrics). They load OpenTelemetry, and
are loaded with the first call somebody listens to.
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
    """An observer for this call; None when nobody listens.

    Somebody listens when a tracer provider or a meter provider was set, by ``set_tracer_provider``,
    ``set_meter_provider`` or ``opentelemetry-instrument``. That is looked up anew on every call: a provider
    set later is seen, one taken away is forgotten. Never raises.
    """
    trace = _modules.get("opentelemetry.trace")
    metrics = _modules.get("opentelemetry.metrics._internal")
    try:
        # The public getters read the environment each time, which costs fifteen times as much as this.
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
    """The providers as the public getters know them, for an API that keeps them elsewhere."""
    return (
        _real(_modules.get("opentelemetry.trace"), "get_tracer_provider"),
        _real(_modules.get("opentelemetry.metrics"), "get_meter_provider"),
    )


def _real(module: Any, getter: str) -> Any:
    try:
        provider = getattr(module, getter)()
    except Exception:  # not imported, or being imported by another thread right now
        return None
    # The API's own providers (proxy, no-op) hand everything to nobody.
    return None if type(provider).__module__.startswith(module.__name__) else provider
