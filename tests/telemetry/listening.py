"""An SDK that listens for the length of a block, and control planes that decide by a script."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from ascend_guard.errors import KillSwitchError, NetworkError
from ascend_guard.flow import AwaitDecision, CheckKillSwitch, Claim, Effect, Settle, Submit, Withdraw
from ascend_guard.model import ActionResult, Decision, KillSwitchState, Outcome, RiskLevel

SECRET = "hunter2-the-secret"
VALUE = "value-nobody-may-see"


class Begun(SpanProcessor):
    """Counts the spans that began, so that one which never ends shows."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.count += 1


class Heard:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.begun = Begun()
        self.tracers: TracerProvider | None = None
        self.meters: MeterProvider | None = None

    def tracer(self) -> trace.Tracer:
        """For spans of the application or of a framework."""
        assert self.tracers is not None
        return self.tracers.get_tracer("application")

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Those that ended, in that order; all of them must have."""
        spans = list(self.exporter.get_finished_spans())
        assert len(spans) == self.begun.count, "a span began and never ended"
        return [span for span in spans if name in (None, span.name)]

    def span(self, name: str) -> ReadableSpan:
        """The one of this name."""
        (span,) = self.spans(name)
        return span

    def points(self, metric: str) -> list[tuple[dict[str, Any], Any]]:
        """Attributes and value (a counter's) or count (a histogram's) of each series."""
        return [
            (dict(point.attributes or {}), getattr(point, "value", getattr(point, "count", None)))
            for found in self.all_metrics()
            if found.name == metric
            for point in found.data.data_points
        ]

    def all_metrics(self) -> list[Any]:
        """Every metric with a measurement."""
        data = self.reader.get_metrics_data()
        scopes = [
            scope for resource in (data.resource_metrics if data else []) for scope in resource.scope_metrics
        ]
        return [metric for scope in scopes for metric in scope.metrics]

    def everything(self) -> str:
        """All that left the process, as text."""
        return "\n".join(
            [*(span.to_json() for span in self.spans()), *(m.to_json() for m in self.all_metrics())]
        )


@contextmanager
def listening(
    *,
    spans: bool = True,
    metrics: bool = True,
    processors: Sequence[SpanProcessor] = (),
    sampler: Sampler | None = None,
) -> Iterator[Heard]:
    """Providers for this block. The globals can be set only once by their setters, so they are set by hand."""
    heard = Heard()
    before = trace._TRACER_PROVIDER, metrics_internal._METER_PROVIDER
    if spans:
        heard.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        for processor in (heard.begun, *processors, SimpleSpanProcessor(heard.exporter)):
            heard.tracers.add_span_processor(processor)
    if metrics:
        heard.meters = MeterProvider([heard.reader], shutdown_on_exit=False)
    trace._TRACER_PROVIDER, metrics_internal._METER_PROVIDER = heard.tracers, heard.meters
    try:
        yield heard
    finally:
        trace._TRACER_PROVIDER, metrics_internal._METER_PROVIDER = before


class Script:
    """Decides each call as its tool's name says; what is not mentioned is approved.

    The scripts: ``approved``, ``claimed`` (in the same step), ``denied``, ``held`` (nobody decides), ``held-approved``,
    ``held-denied``, ``edited``, ``killed`` (before submit), ``killed-waiting``, ``killed-late`` (after approval),
    ``killed-streaming`` (at the second check), ``down``, ``unknown`` (kill switch), ``nonsense``.
    """

    digest_key = b"key"

    def __init__(self, scripts: dict[str, str] | None = None) -> None:
        self.agent_id = "agent-7"
        self.agent_name = "Refund agent"
        self.scripts = scripts or {}
        self.outcomes: dict[str, Outcome] = {}
        self._numbers = itertools.count(1001)
        self._names: dict[str, str] = {}
        self._checks: dict[str, int] = {}
        self._lock = threading.Lock()

    def perform(self, effect: Effect[Any]) -> Any:
        """Answer as scripted."""
        if isinstance(effect, Settle):
            self.outcomes[self._names[effect.action_id]] = effect.outcome
            return None
        if isinstance(effect, Withdraw):
            return None
        tool = effect.action.tool_name
        script = self.scripts.get(tool, "approved")
        if isinstance(effect, CheckKillSwitch):
            if script == "unknown":
                raise RuntimeError(VALUE)
            with self._lock:
                self._checks[tool] = checks = self._checks.get(tool, 0) + (effect.stage == "stream")
            stage = {"killed": "submit", "killed-late": "start"}.get(script)
            return KillSwitchState(
                effect.stage == stage or (script == "killed-streaming" and checks > 1), "stop"
            )
        if isinstance(effect, Submit):
            if script == "down":
                raise NetworkError(f"unreachable {VALUE}")
            if script == "nonsense":
                return "approved"
            action_id = str(next(self._numbers))
            self._names[action_id] = tool
            held = script.startswith(("held", "killed-waiting", "killed-late", "edited"))
            return self._result(action_id, "pending" if held else script, claimed=script == "claimed")
        if isinstance(effect, AwaitDecision):
            if script == "killed-waiting":
                raise KillSwitchError("stopped", action_id=effect.action_id)
            answer = {"held": "pending", "held-denied": "denied"}.get(script, "approved")
            edits = {"note": f"{VALUE} by an approver"} if script == "edited" else None
            return self._result(effect.action_id, answer, person="Ann Approver", edits=edits)
        assert isinstance(effect, Claim)
        return self._result(effect.action_id, "approved", claimed=True)

    async def aperform(self, effect: Effect[Any]) -> Any:
        """The same, with a turn of the event loop on either side."""
        await asyncio.sleep(0)
        try:
            return self.perform(effect)
        finally:
            await asyncio.sleep(0)

    @staticmethod
    def _result(
        action_id: str,
        answer: str,
        *,
        claimed: bool = False,
        person: str | None = None,
        edits: dict[str, Any] | None = None,
    ) -> ActionResult:
        decision = Decision(answer) if answer in list(Decision) else Decision.APPROVED
        return ActionResult(
            action_id,
            decision,
            72.5,
            RiskLevel.HIGH,
            reason=f"because of {VALUE}",
            policy_matched="big-refunds",
            claimed=claimed,
            decided_by=person,
            modified_arguments=edits,
        )
