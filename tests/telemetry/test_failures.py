"""Telemetry that fails or dawdles does not show in the governed call."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import pytest
from listening import Script, listening
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from ascend_guard import AscendError, governed, telemetry
from ascend_guard.telemetry import failing


class Broken:
    """Raises whatever is done with it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"broken {name}")


class BrokenProcessor(SpanProcessor):
    """Raises where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.where in ("start", "both"):
            raise RuntimeError("broken")

    def on_end(self, span: ReadableSpan) -> None:
        if self.where in ("end", "both"):
            raise RuntimeError("broken")


class Exporter(SpanExporter):
    """Raises, or takes its time.

    Args:
        seconds: what an export takes; ``None`` raises.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.exported: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.seconds is None:
            raise RuntimeError("broken")
        time.sleep(self.seconds)
        self.exported += [span.name for span in spans]
        return SpanExportResult.SUCCESS


class Forgetful(Sampler):
    """Takes every span and passes none of its attributes on, as samplers may."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "forgetful"


def calls(ran: list[str]) -> Any:
    """An approved call, with a nested one, and a denied one."""
    plane = Script({"denied": "denied", "outer": "held-approved"})

    @governed("read", "inner", control_plane=plane)
    def inner() -> None:
        ran.append("inner")

    @governed("order", "outer", control_plane=plane)
    def outer() -> str:
        ran.append("outer")
        inner()
        return "done"

    @governed("write", "denied", control_plane=plane)
    def denied() -> None:
        ran.append("denied")

    assert outer() == "done"
    with pytest.raises(AscendError):
        denied()
    assert ran == ["outer", "inner"]
    return plane


@pytest.mark.parametrize("where", ["start", "end", "both"])
def test_a_broken_processor_changes_nothing(where: str) -> None:
    """The calls are decided, run and settled as if nobody listened; the context is as before."""
    before = otel_context.get_current()
    with listening(processors=[BrokenProcessor(where)]) as heard:
        plane = calls([])
        assert sum(count for _, count in heard.points("ascend.decisions")) == 3
    assert {name: outcome.status.value for name, outcome in plane.outcomes.items()} == dict.fromkeys(
        ("outer", "inner"), "completed"
    )
    assert otel_context.get_current() is before


def test_a_broken_exporter_changes_nothing() -> None:
    """The SDK logs it; the calls go on."""
    with listening(processors=[SimpleSpanProcessor(Exporter())]):
        calls([])


@pytest.mark.parametrize("broken", ["tracer", "meter", "both"])
def test_broken_providers_change_nothing(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Whatever raises on the way is swallowed."""
    with listening():
        if broken in ("tracer", "both"):
            monkeypatch.setattr(trace, "_TRACER_PROVIDER", Broken())
        if broken in ("meter", "both"):
            monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", Broken())
        calls([])
        monkeypatch.undo()


def test_a_broken_instrument_does_not_cost_the_spans() -> None:
    """Spans and metrics fail apart."""
    from ascend_guard.telemetry import instruments

    with listening() as heard, pytest.MonkeyPatch.context() as patch:
        for name in ("decided", "executed", "blocked"):
            patch.setattr(instruments.Instruments, name, Broken.__getattr__)
        calls([])
        assert {span.name for span in heard.spans()} >= {"execute_tool outer", "execute_tool inner"}
        inner, outer = heard.span("execute_tool inner"), heard.span("execute_tool outer")
        assert inner.parent is not None
        assert inner.parent.span_id == outer.context.span_id


def test_a_slow_exporter_does_not_hold_up_the_decision() -> None:
    """Spans of the decision are ended when the call is over, so that the body starts at once."""
    started: list[tuple[int, list[str]]] = []
    exporter = Exporter(0.3)

    @governed("order", "outer", control_plane=Script({"outer": "held-approved"}))
    def outer() -> None:
        started.append((time.time_ns(), list(exporter.exported)))

    with listening(processors=[SimpleSpanProcessor(exporter)]) as heard:
        outer()
        [(at, before)] = started
        assert before == [], "the body waited for an export"
        assert "ascend.wait" in exporter.exported
        wait = heard.span("ascend.wait")
        assert wait.end_time is not None
        assert wait.end_time <= at, "it ends as of when it was over, before the body started"


def test_it_is_said_once_at_debug(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken SDK must not fill the log, nor be a riddle."""
    monkeypatch.setattr(failing, "_swallowed", set())
    with listening(processors=[BrokenProcessor("both")]), caplog.at_level(logging.DEBUG, "ascend_guard"):
        calls([])
        calls([])
    said = [record for record in caplog.records if "Telemetry failed" in record.message]
    assert [record.levelname for record in said] == ["DEBUG"]
    assert said[0].exc_info is not None


def test_a_sampler_that_drops_attributes_does_not_confuse_nesting() -> None:
    """Our own span must not be taken for a framework's, whose name is the same."""
    with listening(sampler=Forgetful()) as heard:
        calls([])
        assert len(heard.spans("execute_tool inner")) == 1
        assert (heard.span("execute_tool outer").attributes or {})["gen_ai.tool.name"] == "outer"


def test_unsampled_calls_make_no_spans_and_all_the_metrics() -> None:
    """Whether a trace is kept does not change what is counted."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with listening(sampler=ALWAYS_OFF) as heard:
        calls([])
        assert heard.spans() == []
        assert sum(count for _, count in heard.points("ascend.decisions")) == 3


def test_a_second_end_does_nothing() -> None:
    """One call, one span, one measurement."""
    from ascend_guard.model import AgentAction

    with listening() as heard:
        observer = telemetry.observe(AgentAction("agent", "Agent", "read", "rows", "database"))
        assert observer is not None
        observer.end(None, RuntimeError("refused"))
        observer.end(None, RuntimeError("refused"))
        assert len(heard.spans()) == 1
        assert heard.points("ascend.decisions")[0][1] == 1


def test_leaving_in_another_context_is_harmless(caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine that is thrown away is finalised wherever the collector runs."""
    import contextvars

    from ascend_guard.model import AgentAction

    with listening() as heard:
        observer = telemetry.observe(AgentAction("agent", "Agent", "read", "rows", "database"))
        assert observer is not None
        token = contextvars.Context().run(observer.enter)
        observer.leave(token)
        observer.leave(None)
        observer.end(None, None)
        assert heard.spans()
    assert not caplog.records
