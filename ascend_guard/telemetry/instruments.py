"""The metrics of governed calls.

No attribute contains an id, an argument or a person: the code and the policy limit the possible values.
"""

from __future__ import annotations

import threading

from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider, NoOpMeter

from ascend_guard._version import __version__
from ascend_guard.model import AgentAction

from .attribute_names import (
    ACTION_TYPE,
    AGENT_NAME,
    DECISION,
    ERROR_TYPE,
    KILL_SWITCH_STAGE,
    RISK_LEVEL,
    TOOL_NAME,
)

TOOL_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Seconds; GenAI metrics conventions, "Metric: gen_ai.execute_tool.duration"."""

DECISION_BUCKETS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
)
"""Seconds; from the fastest decision of the embedded engine to a server with retries."""

WAIT_BUCKETS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds; from an immediate decision to one on the next day."""


class Instruments:
    """The instruments of one meter.

    Args:
        meter: creates them.
    """

    def __init__(self, meter: Meter) -> None:
        self._decisions = meter.create_counter(
            "ascend.decisions", "{decision}", "Governed calls by what was decided of them."
        )
        self._blocks = meter.create_counter(
            "ascend.kill_switch.blocks", "{call}", "Governed calls stopped by the kill switch."
        )
        self._decision_duration = meter.create_histogram(
            "ascend.decision.duration",
            "s",
            "Time the control plane took to decide, without the wait for a person.",
            explicit_bucket_boundaries_advisory=DECISION_BUCKETS,
        )
        self._wait_duration = meter.create_histogram(
            "ascend.wait.duration",
            "s",
            "Time a governed call waited for a person.",
            explicit_bucket_boundaries_advisory=WAIT_BUCKETS,
        )
        self._tool_duration = meter.create_histogram(
            "gen_ai.execute_tool.duration",
            "s",
            "The duration of a single tool execution.",
            explicit_bucket_boundaries_advisory=TOOL_BUCKETS,
        )

    def decided(
        self,
        action: AgentAction,
        decision: str,
        risk_level: str | None,
        deciding: float | None,
        waited: float | None,
        context: Context | None,
    ) -> None:
        """Count the decision on a call, once for every call.

        Args:
            deciding: seconds; None when there was no decision.
            waited: seconds; None when no person had to decide.
            context: contains the span for exemplars.
        """
        attributes = {DECISION: decision, ACTION_TYPE: action.action_type}
        if deciding is not None:
            self._decision_duration.record(deciding, attributes, context)
        if waited is not None:
            self._wait_duration.record(waited, attributes, context)
        if risk_level is not None:
            attributes = {**attributes, RISK_LEVEL: risk_level}
        self._decisions.add(1, attributes, context)

    def blocked(self, action: AgentAction, stage: str, context: Context | None) -> None:
        """Count a call that the kill switch stopped at this stage: ``submit``, ``wait``, ``start`` or ``stream``."""
        self._blocks.add(1, {KILL_SWITCH_STAGE: stage, ACTION_TYPE: action.action_type}, context)

    def executed(
        self, action: AgentAction, seconds: float, error_type: str | None, context: Context | None
    ) -> None:
        """Record the duration of a call whose span is ours, which is that of the span; denied calls count too."""
        attributes = {TOOL_NAME: action.tool_name}
        if action.agent_name != action.agent_id:  # an agent without a name has its id as name
            attributes[AGENT_NAME] = action.agent_name
        if error_type is not None:
            attributes[ERROR_TYPE] = error_type
        self._tool_duration.record(seconds, attributes, context)


# Reentrant: a generator that is collected while it is held may settle a governed call.
_lock = threading.RLock()
_latest: tuple[MeterProvider | None, Instruments | None] = (None, None)


def instruments_of(provider: MeterProvider | None) -> Instruments | None:
    """Return the instruments of this provider, created once; None when it measures nothing."""
    global _latest
    known = _latest
    if provider is None or known[0] is provider:
        return None if provider is None else known[1]
    with _lock:
        if _latest[0] is not provider:
            meter = provider.get_meter("ascend_guard", __version__)
            _latest = (provider, None if isinstance(meter, NoOpMeter) else Instruments(meter))
        return _latest[1]
