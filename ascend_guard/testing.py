"""For tests of applications that use ascend-guard: a control plane that answers from a script.

::

    def test_refund_is_held(ascend_guard_script):
        ascend_guard_script.pending("refund")
        with pytest.raises(ActionPendingError):
            agent.refund("order-1", 900)
        assert ascend_guard_script.asked[0].action_details["amount"] == 900

The fixture comes with the package (``ascend_guard.testing_plugin``); ``ScriptedControlPlane`` works with any test runner.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any, TypeVar, cast

from ascend_guard.errors.not_run import stopped as kill_switch_error

from .errors import ConflictError
from .flow import (
    AwaitDecision,
    Begin,
    CheckKillSwitch,
    Claim,
    Effect,
    Settle,
    Submit,
    Withdraw,
)
from .model import ActionResult, AgentAction, Decision, KillSwitchState, Outcome

__all__ = ["ScriptedControlPlane"]

R = TypeVar("R")


class ScriptedControlPlane:
    """Answers from a script, and remembers the submitted actions. Actions that the script does not mention are denied.

    Attributes:
        asked: the submitted actions, in order.
        ran: the actions whose permit was taken, by action id, including an approver's edits.
        outcomes: the outcomes of the actions that ran, by action id.
    """

    digest_key = b"scripted"

    def __init__(self, *, agent_id: str = "test-agent", agent_name: str = "Test agent") -> None:
        self.agent_id = agent_id
        self.agent_name = agent_name
        self.asked: list[AgentAction] = []
        self.ran: dict[str, AgentAction] = {}
        self.outcomes: dict[str, Outcome] = {}
        self._answers: dict[str, tuple[Decision, str]] = {}
        self._results: dict[str, ActionResult] = {}
        self._claimed: set[str] = set()
        self._killed: str | None = None
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        self._decided = threading.Condition(self._lock)

    # --- the script ------------------------------------------------------------------------------------------------

    def approve(self, action_type: str = "*", reason: str = "scripted") -> None:
        """Approve actions of this type (``*``: every type that is not mentioned otherwise)."""
        self._answers[action_type] = (Decision.APPROVED, reason)

    def deny(self, action_type: str = "*", reason: str = "scripted") -> None:
        """Deny actions of this type."""
        self._answers[action_type] = (Decision.DENIED, reason)

    def pending(self, action_type: str = "*", reason: str = "scripted") -> None:
        """Hold actions of this type for a person; ``decide`` is the person's decision."""
        self._answers[action_type] = (Decision.PENDING, reason)

    def decide(self, action_id: str, decision: Decision, arguments: dict[str, Any] | None = None) -> None:
        """Decide a held action, optionally with other arguments.

        Raises:
            ConflictError: the action is not pending.
        """
        with self._decided:
            result = self._results[action_id]
            if result.status is not Decision.PENDING:
                raise ConflictError(f"Action {action_id} is {result.status}.", action_id=action_id)
            self._results[action_id] = ActionResult(
                action_id, decision, reason="decided in the test", modified_arguments=arguments
            )
            self._decided.notify_all()

    def kill(self, reason: str = "scripted") -> None:
        """Turn the kill switch on."""
        with self._decided:
            self._killed = reason
            self._decided.notify_all()

    def fail(self, error: Exception) -> None:
        """Make every later request end in this error, as if the control plane were down."""
        self._failure = error

    # --- the control plane -------------------------------------------------------------------------------------------

    def perform(self, effect: Effect[R]) -> R:
        """Answer one effect from the script."""
        if self._failure is not None:
            raise self._failure
        return cast(R, _HANDLERS[type(effect)](self, effect))

    async def aperform(self, effect: Effect[R]) -> R:
        """The same, on the event loop."""
        # Only waiting blocks; another thread is cheap enough in a test.
        return await asyncio.to_thread(self.perform, effect)

    def _check(self, effect: CheckKillSwitch) -> KillSwitchState:
        return KillSwitchState(self._killed is not None, self._killed)

    def _submit(self, effect: Submit) -> ActionResult:
        action = effect.action
        denied = (Decision.DENIED, f"the script does not mention {action.action_type}")
        decision, reason = self._answers.get(action.action_type) or self._answers.get("*") or denied
        with self._lock:
            for result in self._results.values():
                if effect.detached and self._same(result, effect) and result.action_id not in self._claimed:
                    return result
            self.asked.append(action)
            action_id = str(len(self.asked))
            result = ActionResult(action_id, decision, reason=reason, metadata={"digest": effect.digest})
            self._results[action_id] = result
        return result

    def _same(self, result: ActionResult, effect: Submit) -> bool:
        asked = self.asked[int(result.action_id) - 1]
        return result.status is not Decision.DENIED and (
            asked.action_type,
            asked.action_details,
            asked.agent_id,
        ) == (effect.action.action_type, effect.action.action_details, effect.action.agent_id)

    def _wait(self, effect: AwaitDecision) -> ActionResult:
        with self._decided:
            self._decided.wait_for(
                lambda: self._killed is not None or not self._results[effect.action_id].is_pending(),
                effect.timeout,
            )
            if self._killed is not None:
                state = KillSwitchState(True, self._killed)
                raise kill_switch_error(effect.action, state, effect.action_id, "start")
            return self._results[effect.action_id]

    def _claim(self, effect: Claim) -> ActionResult:
        with self._lock:
            result = self._results[effect.action_id]
            if effect.action_id in self._claimed or not result.is_approved():
                raise ConflictError(
                    f"Action {effect.action_id} cannot be claimed.", action_id=effect.action_id
                )
            self._claimed.add(effect.action_id)
            self.ran[effect.action_id] = effect.action
        return ActionResult(
            result.action_id,
            result.status,
            reason=result.reason,
            claimed=True,
            modified_arguments=result.modified_arguments,
        )

    def _withdraw(self, effect: Withdraw) -> None:
        with self._lock:
            self._results[effect.action_id] = ActionResult(
                effect.action_id, Decision.DENIED, reason=effect.reason
            )

    def _settle(self, effect: Settle) -> None:
        self.outcomes[effect.action_id] = effect.outcome


_HANDLERS: dict[type[Effect[Any]], Any] = {
    CheckKillSwitch: ScriptedControlPlane._check,
    Begin: ScriptedControlPlane._check,
    Submit: ScriptedControlPlane._submit,
    AwaitDecision: ScriptedControlPlane._wait,
    Claim: ScriptedControlPlane._claim,
    Withdraw: ScriptedControlPlane._withdraw,
    Settle: ScriptedControlPlane._settle,
}
