"""``on_denied="return"``: a call that is blocked before its body answers with text for the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from face_kinds import BASE, KINDS, Body, Kind
from world import rows, settled

import ascend_guard.config
from ascend_guard import (
    AscendError,
    AuthorizationDeniedError,
    ConfigurationError,
    EmbeddedControlPlane,
    KillSwitchError,
    governed,
    guard,
)

RETURNING = [
    kind
    for kind in KINDS
    # A plain function that hands a coroutine back is blocked at the call, so the text is there, and not awaited.
    if kind.style == "sync" or (kind.style == "async" and not kind.name.startswith("returned-by"))
]


def _denied(kind: Kind, body: Body, **options: Any) -> Any:
    return kind.run(kind.make(governed("order_delete", on_denied="return", **options), body), "o-1")


def _pending(kind: Kind, body: Body) -> Any:
    gate = governed("refund", on_denied="return", on_pending="raise")
    return kind.run(kind.make(gate, body), "o-1", 900.0)


def _timed_out(kind: Kind, body: Body) -> Any:
    gate = governed("refund", on_denied="return", timeout=0)
    return kind.run(kind.make(gate, body), "o-1", 900.0)


def _too_large(kind: Kind, body: Body) -> Any:
    gate = governed("order_read", on_denied="return")
    return kind.run(kind.make(gate, body), "x" * 2_000_000)


REASONS = [
    (_denied, "Denied: this tool did not run: Deletes are off"),
    (_pending, "Pending: a person must approve this call"),
    (_timed_out, "Pending: a person must approve this call"),
    (_too_large, "Blocked: this call cannot be judged"),
]


# Each kind of tool for the first reason. The others differ before a kind matters: they are put to the base kinds.
@pytest.mark.parametrize(
    ("kind", "call", "text"),
    [
        pytest.param(kind, call, text, id=f"{kind}-{call.__name__}")
        for call, text in REASONS
        for kind in RETURNING
        if call is _denied or kind in BASE
    ],
)
def test_a_blocked_call_answers_with_text(
    plane: EmbeddedControlPlane, kind: Kind, call: Callable[[Kind, Body], Any], text: str
) -> None:
    """Whatever blocks it, in every form of the call; the body does not run."""
    body = Body()
    answer = call(kind, body)
    assert isinstance(answer, str)
    assert answer.startswith(text)
    assert "Blocked:" not in answer[1:]
    assert body.ran == []


@pytest.mark.parametrize("style", ["sync", "async"])
def test_the_kill_switch_answers_with_text(plane: EmbeddedControlPlane, style: str) -> None:
    """Before the decision, and at the last check."""
    body = Body()
    (kind,) = [kind for kind in RETURNING if str(kind) == f"{style}-function"]
    plane.kill(reason="fire", by="ann")
    assert _denied(kind, body).startswith("Stopped: the kill switch is on, so this tool did not run: fire")
    plane.release(reason="out", by="ann")

    class Late:
        """Turns the switch on as soon as the permit is given."""

        digest_key, agent_id, agent_name = plane.digest_key, plane.agent_id, plane.agent_name

        def perform(self, effect: Any) -> Any:
            answer = plane.perform(effect)
            if type(effect).__name__ == "Submit":
                plane.kill(reason="smoke", by="ann")
            return answer

        async def aperform(self, effect: Any) -> Any:
            answer = await plane.aperform(effect)
            if type(effect).__name__ == "Submit":
                await asyncio.to_thread(plane.kill, reason="smoke", by="ann")
            return answer

    gate = governed("order_read", on_denied="return", control_plane=Late())
    assert kind.run(kind.make(gate, body), "o-1").startswith(
        "Stopped: the kill switch is on, so this tool did not run: smoke"
    )
    settled(plane)
    assert body.ran == []
    assert [row.outcome for row in rows(plane) if row.claimed_at] == ["failed"]


@pytest.mark.parametrize("style", ["sync", "async"])
def test_what_runs_returns_its_own(plane: EmbeddedControlPlane, style: str) -> None:
    """An allowed call's result and errors are the tool's."""
    body = Body()
    (kind,) = [kind for kind in RETURNING if str(kind) == f"{style}-function"]
    tool = kind.make(governed("order_read", on_denied="return"), body)
    assert kind.run(tool, "o-1") == kind.result("o-1", 10.0, "n")
    body.fails_after = 0
    with pytest.raises(ValueError, match="the tool failed"):
        kind.run(tool, "o-1")


@pytest.mark.parametrize("style", ["sync", "async"])
def test_an_error_out_of_the_body_is_raised(plane: EmbeddedControlPlane, style: str) -> None:
    """A denial of a call made inside the body left a body that had begun: text would say that nothing ran."""
    inner = governed("order_delete")(lambda: None)

    def outer() -> None:
        inner()

    async def aouter() -> None:
        inner()

    gate = governed("order_read", on_denied="return")
    with pytest.raises(AuthorizationDeniedError, match="Deletes are off") as raised:
        asyncio.run(gate(aouter)()) if style == "async" else gate(outer)()
    assert raised.value.half_way


def test_a_denial_inside_can_be_text_of_its_own(plane: EmbeddedControlPlane) -> None:
    """The inner tool says what its own callers get."""
    inner = governed("order_delete", on_denied="return")(lambda: None)
    outer = governed("order_read")(lambda: inner())
    assert str(outer()).startswith("Denied: this tool did not run")
    assert rows(plane)[0].outcome == "completed"


def test_a_developers_mistake_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing configured is not the model's to know, and a wrong call is a TypeError as ungoverned."""
    monkeypatch.setattr(ascend_guard.config, "_default", None)
    tool = governed("order_read", on_denied="return")(lambda order: order)
    with pytest.raises(ConfigurationError):
        tool("o-1")
    with pytest.raises((TypeError, ConfigurationError)):
        tool()


def test_deferred_work_raises(plane: EmbeddedControlPlane) -> None:
    """At the first step of what was handed back there is nobody left to answer with text."""
    tool = governed("order_read", on_denied="return")(lambda: iter([1]))
    work = tool()
    plane.kill(reason="fire", by="ann")
    with pytest.raises(KillSwitchError):
        next(work)


def _stream() -> Iterator[int]:
    yield 1


async def _astream() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("tool", [_stream, _astream])
def test_streams_refuse_it(tool: Any) -> None:
    """No text can take the place of a stream: said when decorating."""
    with pytest.raises(ConfigurationError, match="this tool streams"):
        governed("order_read", on_denied="return")(tool)


def test_a_block_refuses_it(plane: EmbeddedControlPlane) -> None:
    """A with block has no result; and other words are no options."""
    with pytest.raises(ConfigurationError, match="There is no option 'on_denied'"):
        guard("order_read", on_denied="return")  # type: ignore[call-arg]  # that is the point
    with pytest.raises(ConfigurationError, match="on_denied is 'raise' or 'return'"):
        governed("order_read", on_denied="text")(lambda: None)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(AscendError):
        governed("order_delete", on_denied="raise")(lambda: None)()
