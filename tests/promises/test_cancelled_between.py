"""A call that is cancelled after its permit was taken and before its body began."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.flow import CheckKillSwitch, Claim, Settle, authorize
from ascend_guard.model import ActionResult, AgentAction, Decision, KillSwitchState, OutcomeStatus


class Call:
    """A call whose arguments do not change."""

    action = AgentAction("a", "a", "refund", "r", "t")
    digest = identity = "d"
    repeatable = True
    call_id = None
    once = None
    plain: dict[str, object] = {}
    on_pending = "wait"
    timeout = None

    def unchanged(self) -> bool:
        return True

    def edit(self, values: dict[str, Any]) -> None:
        raise AssertionError

    def held(self, result: ActionResult) -> None:
        """Nobody listens."""

    def parameters(self) -> dict[str, Any]:
        return {}


@given(
    interruption=st.sampled_from(
        [asyncio.CancelledError, KeyboardInterrupt, SystemExit, MemoryError, OSError]
    )
)
def test_what_was_claimed_and_never_began_says_so(interruption: type[BaseException]) -> None:
    """Whatever interrupts the last check, the outcome is reported before the interruption goes on."""
    flow = authorize(Call())  # type: ignore[arg-type]
    effect = next(flow)
    replies: list[Any] = [
        KillSwitchState(False),
        ActionResult("7", Decision.PENDING),
        ActionResult("7", Decision.APPROVED),
        ActionResult("7", Decision.APPROVED, claimed=True),
    ]
    for reply in replies:
        claimed = isinstance(effect, Claim)
        effect = flow.send(reply)
    assert claimed
    assert isinstance(effect, CheckKillSwitch)
    settling = flow.throw(interruption("now"))
    assert isinstance(settling, Settle)
    assert settling.outcome.status is OutcomeStatus.FAILED
    assert "not started" in (settling.outcome.error or "")
    with pytest.raises(BaseException) as caught:
        flow.send(None)
    assert isinstance(caught.value, interruption) or caught.value.__cause__.__class__ is interruption
