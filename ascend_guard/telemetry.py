"""Spans and metrics, through the OpenTelemetry API only."""

from __future__ import annotations

from .drivers import ControlPlane
from .model import AgentAction, Outcome


class Observer:
    """Watches one governed call."""

    def watch(self, plane: ControlPlane) -> ControlPlane:
        return plane

    def end(self, outcome: Outcome | None, error: BaseException | None) -> None: ...


def observe(action: AgentAction) -> Observer | None:
    """An observer for this call; None when nobody listens."""
    return None
