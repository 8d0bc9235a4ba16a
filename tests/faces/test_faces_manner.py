"""Calls made in a manner that the framework around them wants, and what models are told of those that did not run."""

from __future__ import annotations

import asyncio
import builtins

import pytest
from face_kinds import Body
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard import (
    ActionPendingError,
    AscendError,
    AuthorizationDeniedError,
    ConfigurationError,
    EmbeddedControlPlane,
    KillSwitchError,
    NetworkError,
    StoreError,
    TimeoutError,
    ValidationError,
    governed,
)
from ascend_guard.calling.refusals import is_pending, refusal
from ascend_guard.calling.scope import in_manner, manner

texts = st.text(max_size=80)
ERRORS: tuple[type[AscendError], ...] = (
    *(AuthorizationDeniedError, KillSwitchError, ActionPendingError, TimeoutError),
    *(NetworkError, StoreError, ConfigurationError, ValidationError),
)


def test_the_manner_is_the_next_calls_alone(plane: EmbeddedControlPlane) -> None:
    """A call inside a tool is made as it was declared: the framework spoke of the tool, not of what the tool does."""
    body = Body()
    inner = governed("refund", timeout=0)(body.act)

    @governed("orders_read")
    def outer() -> None:
        assert manner() is None
        with pytest.raises(TimeoutError):
            inner("o-1", 900.0)

    with in_manner("raise", "call-1"):
        outer()
        with pytest.raises(ActionPendingError):
            inner("o-1", 900.0)
    assert manner() is None
    with pytest.raises(TimeoutError):
        inner("o-2", 900.0)


async def test_the_manner_follows_tasks() -> None:
    """It is there in tasks that begin inside, and gone outside, also when something is raised."""
    try:
        with in_manner("raise", "call-1"):
            assert await asyncio.create_task(_seen()) == "call-1"
            raise KeyError
    except KeyError:
        pass
    assert await asyncio.create_task(_seen()) is None


async def _seen() -> str | None:
    said = manner()
    return None if said is None else said.call_id


@given(st.sampled_from(ERRORS), texts, texts, st.none() | st.just("12"), st.none() | st.just("big-refunds"))
def test_a_model_is_told_that_it_did_not_run(
    kind: type[AscendError], message: str, reason: str, action_id: str | None, rule: str | None
) -> None:
    """Whatever happened: the first word says what it was, and that the tool did not run; the action can be named."""
    told = refusal(kind(message, action_id=action_id, reason=reason, rule=rule))
    assert told.split(":")[0] in ("Stopped", "Pending", "Denied", "Blocked")
    assert "did not run" in told or "has not run" in told
    if action_id is not None and kind is not ValidationError:
        assert f"action {action_id}" in told


def test_where_nobody_could_be_asked_says_no_more_than_that() -> None:
    """A model repeats what it is told: addresses and files stay out of it."""
    error = NetworkError("Nobody listens at control.internal:8443. Check ASCEND_API_URL.")
    assert "control.internal" not in refusal(error)
    assert "NetworkError" in refusal(error)


def test_what_can_be_called_again() -> None:
    """Pending, or not decided in time; not one that could not be recognised, nor a server that is slow."""
    pending = ActionPendingError("p", action_id="1")
    assert is_pending(pending)
    assert "same arguments" in refusal(pending)
    pending.repeatable = False
    assert not is_pending(pending)
    assert "cannot be recognised" in refusal(pending)
    assert is_pending(TimeoutError("t", action_id="1"))
    assert not is_pending(TimeoutError("t"))
    assert not is_pending(builtins.TimeoutError())
