"""Why a policy decided as it did: every rule, and its result for the call."""

from __future__ import annotations

from msgspec import Struct

from ascend_guard.engine.risk import Risk
from ascend_guard.model import AgentAction

from .conditions import scene
from .evaluate import CompiledRule, Policy, RuleEffect

__all__ = ["Explanation", "explain"]

_SCOPES = ("actions", "tools", "agents", "resources")


class Explanation(Struct, frozen=True):
    """The result of one rule for a call.

    Args:
        rule: its name.
        effect: its effect.
        line: its first line in its file.
        matched: whether it counts as matching.
        missed: which of actions, tools, agents and resources did not match; empty when all of them did.
        when: its condition, as written.
        condition: the condition's value; None when there is none, it was not reached, or it is an error.
        error: why the condition could not be evaluated, if it could not.
    """

    rule: str
    effect: RuleEffect
    line: int
    matched: bool
    missed: tuple[str, ...] = ()
    when: str | None = None
    condition: bool | None = None
    error: str | None = None

    @property
    def why(self) -> str:
        """The reason, as a short phrase for people."""
        if self.missed:
            return f"{', '.join(self.missed)} did not match"
        if self.error is not None:
            counts = "counts as no match" if self.effect is RuleEffect.ALLOW else "counts as a match"
            return f"its condition could not be evaluated ({self.error}), which {counts}"
        if self.condition is None:
            return "matched"
        return f"its condition is {str(self.condition).lower()}"


def explain(policy: Policy, action: AgentAction, risk: Risk) -> list[Explanation]:
    """Return every rule, in the order of the file, and why it matched or not. For people: it evaluates all rules."""
    return [_tried(compiled, action, risk) for compiled in policy.compiled]


def _tried(compiled: CompiledRule, action: AgentAction, risk: Risk) -> Explanation:
    rule = compiled.rule
    resources = [text for text in (action.resource, action.resource_id) if text is not None]
    texts = ([action.action_type], [action.tool_name], [action.agent_id], resources)
    missed = tuple(
        name
        for name, matchers, candidates in zip(_SCOPES, compiled.matchers, texts, strict=True)
        if matchers and not any(matches(text) for matches in matchers for text in candidates)
    )
    condition, error = None, None
    matched = not missed
    if matched and compiled.condition is not None:
        answer = compiled.condition.test(scene(action, risk, compiled.condition.uses))
        if isinstance(answer, str):
            error, matched = answer, rule.effect is not RuleEffect.ALLOW
        else:
            condition = matched = answer
    return Explanation(rule.name, rule.effect, rule.line, matched, missed, rule.when, condition, error)
