"""The rule of the kill switch by itself: what is off, and what an error becomes when nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from ascend_guard.errors import (
    AscendError,
    AuthenticationError,
    AuthorizationDeniedError,
    ConfigurationError,
    ConflictError,
    KillSwitchError,
    NetworkError,
    ServerError,
    StoreError,
    TimeoutError,
)
from ascend_guard.kill_switch import COUNTS_AS_ON, UNKNOWN, block_unknown, is_off
from ascend_guard.model import KillSwitchState


@pytest.mark.parametrize("blocked", [True, None, 0, 0.0, "", "false", [], {}, (), b""], ids=repr)
def test_only_false_is_off(blocked: Any) -> None:
    """What merely counts as false is on."""
    assert not is_off(KillSwitchState(blocked))
    assert is_off(KillSwitchState(False))


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("gone"),
        TimeoutError("late"),
        ServerError("broken"),
        ConflictError("taken"),
        OSError(5),
        KeyError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_not_knowing_is_on(error: Exception) -> None:
    """The error says what could not be known of which action, and keeps its cause."""
    with pytest.raises(KillSwitchError) as caught:
        block_unknown(error, before="refund did not run, because ", action_id="7")
    assert caught.value.__cause__ is error
    assert (caught.value.reason, caught.value.action_id) == (UNKNOWN, "7")
    assert str(caught.value).startswith(
        f"Blocked: refund did not run, because {COUNTS_AS_ON} ({type(error).__name__}"
    )


@pytest.mark.parametrize(
    "error",
    [
        KillSwitchError("on"),
        AuthorizationDeniedError("not yours"),
        AuthenticationError("wrong key"),
        ConfigurationError("no url"),
        StoreError("disk full"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_explains_itself_stays(error: AscendError) -> None:
    """It stops the call as it is."""
    with pytest.raises(type(error)) as caught:
        block_unknown(error)
    assert caught.value is error


def test_more_may_explain_themselves() -> None:
    """Where the caller says so, and only those."""
    conflict = ConflictError("another process has it")
    with pytest.raises(ConflictError) as caught:
        block_unknown(conflict, explained=(ConflictError,))
    assert caught.value is conflict
    with pytest.raises(KillSwitchError):
        block_unknown(ServerError("broken"), explained=(ConflictError,))
