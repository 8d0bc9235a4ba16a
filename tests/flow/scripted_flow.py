"""A call and a control plane of a few lines each: what the flow asks is kept, what it is answered is written down before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ascend_guard.errors import AscendError
from ascend_guard.flow import Effect, OnPending
from ascend_guard.model import ActionResult, AgentAction, Decision, KillSwitchState

OFF = KillSwitchState(False)
APPROVED, DENIED, PENDING = Decision.APPROVED, Decision.DENIED, Decision.PENDING


def result(status: Decision, *, claimed: bool = False, edits: dict[str, Any] | None = None) -> ActionResult:
    """An answer about action 7."""
    return ActionResult("7", status, reason="because", claimed=claimed, modified_arguments=edits)


@dataclass
class ScriptedCall:
    """A call whose arguments change when the script says so. Its digest is the text of its arguments."""

    values: dict[str, Any] = field(default_factory=lambda: {"amount": 900})
    repeatable: bool = True
    call_id: str | None = "call"
    once: str | None = "once"
    on_pending: OnPending = "wait"
    timeout: float | None = 5.0
    changed: bool = False
    edit_fails: AscendError | None = None
    told: list[ActionResult] = field(default_factory=list)

    @property
    def action(self) -> AgentAction:
        return AgentAction("billing", "Billing", "refund", "refund", "refund", action_details=self.plain)

    @property
    def digest(self) -> str:
        return f"digest of {self.values}"

    @property
    def plain(self) -> dict[str, Any]:
        return {name: f"shown {value}" for name, value in self.values.items()}

    def identity(self) -> str:
        return f"identity of {self.values}"

    def unchanged(self) -> bool:
        return not self.changed

    def edit(self, values: dict[str, Any]) -> None:
        if self.edit_fails is not None:
            raise self.edit_fails
        self.values = {**self.values, **values}

    def held(self, result: ActionResult) -> None:
        self.told.append(result)

    def parameters(self) -> dict[str, Any]:
        return self.values


class Unexpected(BaseException):
    """More was asked than the script has answers for. No ``Exception``: the flow would make it an error of ours."""


class Script:
    """Answers one effect after the other; an answer that is an exception is raised.

    Attributes:
        asked: the effects so far.
    """

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.asked: list[Effect[Any]] = []

    def __call__(self, effect: Effect[Any]) -> Any:
        self.asked.append(effect)
        if not self._answers:
            raise Unexpected(self.names[-1])
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def names(self) -> list[str]:
        """What was asked, in words."""
        return [f"{type(effect).__name__} {getattr(effect, 'stage', '')}".strip() for effect in self.asked]

    @property
    def finished(self) -> bool:
        """Whether every answer was used."""
        return not self._answers
