"""What a governed call's spans say, and what they keep to themselves."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from listening import SECRET, VALUE, Heard, Script
from opentelemetry.trace import SpanKind, StatusCode

from ascend_guard import AscendError, AuthorizationDeniedError, KillSwitchError, governed, guard, scope
from ascend_guard.flow import Settle, Submit
from ascend_guard.model import ActionResult, Decision
from ascend_guard.telemetry.content import CAPTURE_CONTENT


def call(script: str, **declared: Any) -> None:
    """One call of a tool that returns at once."""

    @governed(
        "refund", "payments", resource="notes/{note}", control_plane=Script({"payments": script}), **declared
    )
    def pay(note: str, password: str, amount: float = 3.0) -> str:
        return note

    pay(VALUE, SECRET)


def test_an_approved_call_is_one_span_with_the_decision_in_it(heard: Heard) -> None:
    """The span has the conventions' attributes and ours, and a child for each thing the control plane decided."""
    with scope(session_id="conversation-3"):
        call("approved")
    span = heard.span("execute_tool payments")
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    attributes = dict(span.attributes or {})
    assert len(attributes.pop("ascend.orchestration.session_id")) == 32
    assert attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "payments",
        "gen_ai.agent.id": "agent-7",
        "gen_ai.agent.name": "Refund agent",
        "gen_ai.conversation.id": "conversation-3",
        "ascend.action.id": "1001",
        "ascend.action.type": "refund",
        "ascend.decision": "approved",
        "ascend.policy.rule": "big-refunds",
        "ascend.risk.score": 72.5,
        "ascend.risk.level": "high",
        "ascend.outcome": "completed",
        "ascend.orchestration.depth": 0,
    }
    children = [child for child in heard.spans() if child is not span]
    assert [child.name for child in children] == ["ascend.submit", "ascend.claim"]
    assert all(
        child.parent is not None and child.parent.span_id == span.context.span_id for child in children
    )
    assert all(span.start_time <= child.start_time <= child.end_time <= span.end_time for child in children)


@pytest.mark.parametrize(
    ("script", "declared", "decision", "error", "children"),
    [
        ("claimed", {}, "approved", None, ["submit"]),
        ("held-approved", {}, "approved", None, ["submit", "wait", "claim"]),
        ("denied", {}, "denied", "AuthorizationDeniedError", ["submit"]),
        ("held-denied", {}, "denied", "AuthorizationDeniedError", ["submit", "wait"]),
        ("held", {"timeout": 0}, "pending", "TimeoutError", ["submit", "wait"]),
        ("held", {"on_pending": "raise"}, "pending", "ActionPendingError", ["submit"]),
        ("killed", {}, "blocked", "KillSwitchError", []),
        ("killed-waiting", {}, "blocked", "KillSwitchError", ["submit", "wait"]),
        ("killed-late", {}, "blocked", "KillSwitchError", ["submit", "wait", "claim"]),
        ("unknown", {}, "blocked", "KillSwitchError", []),
        ("down", {}, "error", "NetworkError", ["submit"]),
        ("nonsense", {}, "error", "ServerError", ["submit"]),
    ],
)
def test_every_way_a_call_can_go_shows(
    heard: Heard, script: str, declared: dict[str, Any], decision: str, error: str | None, children: list[str]
) -> None:
    """A refusal is an error of the tool call: status, ``error.type`` and no outcome."""
    with pytest.raises(AscendError) if error else contextlib.nullcontext():
        call(script, **declared)
    span = heard.span("execute_tool payments")
    attributes = span.attributes or {}
    assert attributes["ascend.decision"] == decision
    assert attributes.get("error.type") == error
    assert attributes.get("ascend.outcome") == (None if error else "completed")
    assert span.status.status_code is (StatusCode.ERROR if error else StatusCode.UNSET)
    assert [child.name for child in heard.spans()[:-1]] == [f"ascend.{name}" for name in children]


def test_a_tool_that_fails_is_an_error_without_its_message(heard: Heard) -> None:
    """What the exception says may quote arguments, so only its class is told."""

    @governed("refund", "payments", control_plane=Script())
    def pay(note: str) -> None:
        raise ValueError(f"cannot pay {note}")

    with pytest.raises(ValueError, match="cannot pay"):
        pay(VALUE)
    span = heard.span("execute_tool payments")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"
    assert span.attributes["ascend.outcome"] == "failed"
    assert span.attributes["ascend.decision"] == "approved"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert not span.events or all(event.name == "ascend.kill_switch" for event in span.events)


def test_what_a_tools_error_carries_is_not_told(heard: Heard) -> None:
    """Its attributes may look like a refusal's."""

    class Odd(Exception):
        rule = VALUE
        reason = VALUE

    @governed("refund", "payments", control_plane=Script())
    def pay() -> None:
        raise Odd(VALUE)

    with pytest.raises(Odd):
        pay()
    assert (heard.span("execute_tool payments").attributes or {})["ascend.policy.rule"] == "big-refunds"
    assert VALUE not in heard.everything()


def test_a_refusal_names_its_rule_without_a_result(heard: Heard) -> None:
    """An error raised by the control plane may know the rule, where no answer came."""

    class Refusing(Script):
        def perform(self, effect: Any) -> Any:
            if isinstance(effect, Submit):
                if effect.action.tool_name == "disk":
                    raise AuthorizationDeniedError("no", rule="no-deletes")
                return ActionResult("1", Decision.APPROVED, claimed=True)
            return None if isinstance(effect, Settle) else super().perform(effect)

    plane = Refusing()

    @governed("delete", "disk", control_plane=plane)
    def delete() -> None: ...

    @governed("tidy", "outer", control_plane=plane)
    def outer() -> None:
        delete()

    with pytest.raises(AuthorizationDeniedError):
        outer()
    assert (heard.span("execute_tool disk").attributes or {})["ascend.policy.rule"] == "no-deletes"
    assert "ascend.policy.rule" not in (heard.span("execute_tool outer").attributes or {})


def test_a_failing_control_plane_shows_on_the_child_that_asked_it(heard: Heard) -> None:
    """The child span carries the error that the control plane raised."""
    with pytest.raises(AscendError):
        call("down")
    child = heard.span("ascend.submit")
    assert child.status.status_code is StatusCode.ERROR
    assert dict(child.attributes or {}) == {"error.type": "NetworkError"}


def test_checks_of_the_kill_switch_are_events(heard: Heard) -> None:
    """One before the call is submitted, one after a wait, no spans."""
    call("held-approved")
    events = heard.span("execute_tool payments").events
    assert [(event.name, dict(event.attributes or {})) for event in events] == [
        ("ascend.kill_switch", {"ascend.kill_switch.stage": stage, "ascend.kill_switch.blocked": False})
        for stage in ("submit", "start")
    ]


def test_a_stream_tells_of_the_check_that_stopped_it_only(heard: Heard) -> None:
    """Checks between chunks are many; an event for each would push the others off the span."""

    @governed("read", "rows", control_plane=Script({"rows": "killed-streaming"}))
    def rows() -> Any:
        yield from range(1000)

    with pytest.raises(KillSwitchError):
        list(rows())
    span = heard.span("execute_tool rows")
    stages = [(event.attributes or {})["ascend.kill_switch.stage"] for event in span.events]
    assert stages == ["submit", "stream"]
    assert span.attributes is not None
    assert span.attributes["ascend.decision"] == "approved"
    assert span.attributes["ascend.outcome"] == "failed"
    assert span.attributes["error.type"] == "KillSwitchError"


@pytest.mark.parametrize("script", ["approved", "held-approved", "edited", "denied", "down", "unknown"])
def test_nothing_of_the_arguments_gets_out_unasked(heard: Heard, script: str) -> None:
    """No argument, secret, person or free text on any span, event or metric."""
    try:
        call(script)
    except AscendError:
        pass
    text = heard.everything()
    assert VALUE not in text
    assert SECRET not in text
    assert "Ann Approver" not in text


@pytest.mark.parametrize("setting", ["true", "SPAN_ONLY", "span_and_event", "1"])
def test_content_is_captured_when_asked_for(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Then the redacted arguments and who decided are on the span; the secret still is not."""
    monkeypatch.setenv(CAPTURE_CONTENT, setting)
    call("held-approved")
    attributes = heard.span("execute_tool payments").attributes or {}
    arguments = json.loads(str(attributes["gen_ai.tool.call.arguments"]))
    assert arguments["note"] == VALUE
    assert arguments["amount"] == 3.0
    assert attributes["ascend.decided_by"] == "Ann Approver"
    assert SECRET not in heard.everything()


@pytest.mark.parametrize("setting", ["", "false", "NO_CONTENT", "EVENT_ONLY", "what?"])
def test_content_is_not_captured_otherwise(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Settings that do not speak of spans leave them bare."""
    monkeypatch.setenv(CAPTURE_CONTENT, setting)
    call("held-approved")
    assert "gen_ai.tool.call.arguments" not in (heard.span("execute_tool payments").attributes or {})


def test_what_an_approver_wrote_is_not_told(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edited values were never redacted; that the argument was edited is told instead of the old value."""
    monkeypatch.setenv(CAPTURE_CONTENT, "true")

    @governed("refund", "payments", control_plane=Script({"payments": "edited"}))
    def pay(note: str, amount: float) -> str:
        return note

    assert pay("first", 3.0) == f"{VALUE} by an approver"
    arguments = json.loads(
        str((heard.span("execute_tool payments").attributes or {})["gen_ai.tool.call.arguments"])
    )
    assert arguments == {"note": "(edited by the approver)", "amount": 3.0}


def test_with_content_an_error_says_why(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opted in, the status has the redacted message of a tool's error, and the reason of a refusal."""
    monkeypatch.setenv(CAPTURE_CONTENT, "true")

    @governed("refund", "payments", control_plane=Script())
    def pay(password: str) -> None:
        raise ValueError(f"bank refused {password}")

    with pytest.raises(ValueError, match="bank"):
        pay(SECRET)
    with pytest.raises(AuthorizationDeniedError):
        call("denied")
    failed, denied = heard.spans("execute_tool payments")
    assert failed.status.description is not None
    assert failed.status.description.startswith("ValueError: bank refused")
    assert denied.status.description == f"because of {VALUE}"
    assert SECRET not in heard.everything()


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000,
        ["x" * 40] * 2000,
        {f"k{i}": "v" * 90 for i in range(2000)},
        {"deep": {"deep": {"deep": {"deep": [[[["down here"]]]]}}}},
    ],
)
def test_large_arguments_are_folded(heard: Heard, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    """What is captured stays valid JSON of a size a backend takes."""
    monkeypatch.setenv(CAPTURE_CONTENT, "true")

    @governed("read", "big", control_plane=Script())
    def read(value: Any, **others: Any) -> None: ...

    read(value, **{f"n{number}" + "n" * 1000: "\x01" * 600 for number in range(100)})
    text = str((heard.span("execute_tool big").attributes or {})["gen_ai.tool.call.arguments"])
    assert len(text) <= 16_000
    assert json.loads(text)


def test_a_guarded_block_is_a_span_too(heard: Heard) -> None:
    """``guard`` has the same span as ``governed``, around the block."""
    declared: Any = {"parameters": {"path": VALUE}, "control_plane": Script()}
    with guard("file_delete", "disk", **declared), heard.tracer().start_as_current_span("inside"):
        pass
    inside, outer = heard.span("inside"), heard.span("execute_tool disk")
    assert inside.parent is not None
    assert inside.parent.span_id == outer.context.span_id


def test_arguments_that_changed_while_waiting_are_a_denial(heard: Heard) -> None:
    """Approved, but for other arguments than would run: the call was denied."""

    class Changing(Script):
        def perform(self, effect: Any) -> Any:
            answer = super().perform(effect)
            items.append("more")
            return answer

    items = ["one"]

    @governed("refund", "payments", control_plane=Changing({"payments": "held-approved"}))
    def pay(items: list[str]) -> None: ...

    with pytest.raises(AuthorizationDeniedError):
        pay(items)
    assert (heard.span("execute_tool payments").attributes or {})["ascend.decision"] == "denied"
