"""Measurements of governed calls, and that no id is among their attributes."""

from __future__ import annotations

import pytest
from listening import VALUE, Heard, Script, listening

from ascend_guard import AscendError, governed, scope

ACTION = {"ascend.action.type": "refund"}
HIGH = {"ascend.risk.level": "high"}


def call(script: str, *, timeout: float | None = None) -> None:
    """One call, whatever comes of it."""

    @governed("refund", "payments", control_plane=Script({"payments": script}), timeout=timeout)
    def pay(note: str) -> None: ...

    try:
        pay(VALUE)
    except AscendError:
        pass


def test_every_call_counts_once_by_what_was_decided(heard: Heard) -> None:
    """Approved at once or after a wait, denied, left pending, blocked, or lost to a control plane that is down."""
    for script in ("claimed", "approved", "held-approved", "denied", "held-denied", "killed", "down"):
        call(script)
    call("held", timeout=0)
    assert sorted(heard.points("ascend.decisions"), key=str) == sorted(
        [
            ({"ascend.decision": "approved", **ACTION, **HIGH}, 3),
            ({"ascend.decision": "denied", **ACTION, **HIGH}, 2),
            ({"ascend.decision": "pending", **ACTION, **HIGH}, 1),
            ({"ascend.decision": "blocked", **ACTION}, 1),
            ({"ascend.decision": "error", **ACTION}, 1),
        ],
        key=str,
    )


def test_deciding_and_waiting_are_timed_apart(heard: Heard) -> None:
    """A wait is measured only where there was one, a decision only where it came to one."""
    for script in ("approved", "held-approved", "killed"):
        call(script)
    assert heard.points("ascend.decision.duration") == [({"ascend.decision": "approved", **ACTION}, 2)]
    assert heard.points("ascend.wait.duration") == [({"ascend.decision": "approved", **ACTION}, 1)]


def test_the_kill_switch_is_counted_by_where_it_struck(heard: Heard) -> None:
    """Before submit, while waiting, after approval, between chunks."""
    for script in ("killed", "unknown", "killed-waiting", "killed-late"):
        call(script)

    @governed("refund", "payments", control_plane=Script({"payments": "killed-streaming"}))
    def stream() -> object:
        yield from range(9)

    with pytest.raises(AscendError):
        list(stream())  # type: ignore[call-overload]
    blocks = {
        point["ascend.kill_switch.stage"]: count for point, count in heard.points("ascend.kill_switch.blocks")
    }
    assert blocks == {"submit": 2, "wait": 1, "start": 1, "stream": 1}


def test_a_block_inside_a_nested_call_is_counted_there(heard: Heard) -> None:
    """The outer call fails with the same error, but it was not the one that was blocked."""
    plane = Script({"inner": "killed"})

    @governed("refund", "inner", control_plane=plane)
    def inner() -> None: ...

    @governed("order", "outer", control_plane=plane)
    def outer() -> None:
        inner()

    with pytest.raises(AscendError):
        outer()
    assert heard.points("ascend.kill_switch.blocks") == [
        ({"ascend.kill_switch.stage": "submit", **ACTION}, 1)
    ]
    assert {point["ascend.decision"] for point, _ in heard.points("ascend.decisions")} == {
        "approved",
        "blocked",
    }


def test_the_tools_duration_is_its_spans(heard: Heard) -> None:
    """GenAI conventions: one measurement for each execute_tool span, as long as it; errors by their type."""
    call("approved")
    call("denied")
    tool = {"gen_ai.tool.name": "payments", "gen_ai.agent.name": "Refund agent"}
    assert heard.points("gen_ai.execute_tool.duration") == [
        (tool, 1),
        ({**tool, "error.type": "AuthorizationDeniedError"}, 1),
    ]
    (metric,) = (found for found in heard.all_metrics() if found.name == "gen_ai.execute_tool.duration")
    measured = sum(point.sum for point in metric.data.data_points)
    lasted = sum(span.end_time - span.start_time for span in heard.spans("execute_tool payments")) / 1e9
    assert measured == pytest.approx(lasted, rel=0.2, abs=2e-3)
    assert metric.unit == "s"
    assert list(metric.data.data_points[0].explicit_bounds)[:3] == [0.01, 0.02, 0.04]


def test_no_id_is_in_any_metric(heard: Heard) -> None:
    """A thousand agents, conversations and actions are one series."""
    plane = Script()

    @governed("refund", "payments", control_plane=plane)
    def pay(note: str) -> None: ...

    for number in range(1000):
        with scope(agent_id=f"agent-{number}", session_id=f"conversation-{number}"):
            pay(f"note {number}")
    for metric in heard.all_metrics():
        assert len(metric.data.data_points) == 1, metric.name


def test_metrics_without_spans_and_spans_without_metrics() -> None:
    """Either provider may be set alone."""
    with listening(spans=False) as heard:
        call("held-approved")
        assert heard.points("ascend.decisions") == [({"ascend.decision": "approved", **ACTION, **HIGH}, 1)]
        assert heard.points("gen_ai.execute_tool.duration")[0][1] == 1
    with listening(metrics=False) as heard:
        call("held-approved")
        assert [span.name for span in heard.spans()][-1] == "execute_tool payments"


def test_instruments_are_made_once_for_each_provider(heard: Heard, mocker: object) -> None:
    """A new provider gets its own; the same one is not asked again."""
    from ascend_guard.telemetry import instruments

    made = []
    original = instruments.Instruments.__init__

    def counting(self: instruments.Instruments, meter: object) -> None:
        made.append(meter)
        original(self, meter)  # type: ignore[arg-type]

    mocker.patch.object(instruments.Instruments, "__init__", counting)  # type: ignore[attr-defined]
    for _ in range(3):
        call("approved")
    assert len(made) == 1
    with listening() as other:
        call("approved")
        assert other.points("ascend.decisions")[0][1] == 1
    assert len(made) == 2
    assert heard.points("ascend.decisions")[0][1] == 3


def test_measurements_point_to_their_span(heard: Heard) -> None:
    """Exemplars name the trace and the call's own span, wherever they were recorded."""
    call("approved")
    span = heard.span("execute_tool payments")
    exemplars = [
        exemplar
        for metric in heard.all_metrics()
        for point in metric.data.data_points
        for exemplar in point.exemplars
    ]
    assert exemplars
    assert {exemplar.span_id for exemplar in exemplars} == {span.context.span_id}
