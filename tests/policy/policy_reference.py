"""Random policies and calls, and a naive evaluator to hold the real one against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from ascend_guard.engine.policy import Policy, Rule, RuleEffect
from ascend_guard.engine.risk import Risk, assess
from ascend_guard.model import AgentAction

STRENGTH = {RuleEffect.DENY: 2, RuleEffect.REQUIRE_APPROVAL: 1, RuleEffect.ALLOW: 0}


class Unclear(Exception):
    """The reference's word for a condition that cannot be evaluated."""


def number(value: Any) -> float:
    """A number, as CEL compares them: booleans are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unclear
    return value


def key(mapping: dict[str, Any], name: str) -> Any:
    if name not in mapping:
        raise Unclear
    return mapping[name]


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unclear
    return value


CONDITIONS: dict[str, Callable[[AgentAction, Risk], bool]] = {
    "args.amount > 500": lambda a, r: number(key(a.action_details, "amount")) > 500,
    "args.amount <= 500.0": lambda a, r: number(key(a.action_details, "amount")) <= 500,
    "args.amount == 500": lambda a, r: _equal(key(a.action_details, "amount"), 500),
    "args.flag": lambda a, r: boolean(key(a.action_details, "flag")),
    "has(args.flag)": lambda a, r: "flag" in a.action_details,
    "context.environment == 'production'": lambda a, r: key(a.context, "environment") == "production",
    "risk.score >= 60": lambda a, r: r.score >= 60,
    "risk.level == 'high'": lambda a, r: r.level == "high",
    "action.type == 'refund' && session.depth > 0": lambda a, r: (
        a.action_type == "refund" and a.orchestration_depth > 0
    ),
    "resource.id != null": lambda a, r: a.resource_id is not None,
    "tool.name.startsWith('a')": lambda a, r: a.tool_name.startswith("a"),
    "agent.id in ['a', 'b']": lambda a, r: a.agent_id in ("a", "b"),
    "true": lambda a, r: True,
    "1 > 2": lambda a, r: False,
}


def _equal(value: Any, other: int) -> bool:
    return not isinstance(value, bool) and value == other


def glob(pattern: str, text: str) -> bool:
    """The meaning of a glob, as plainly as it can be said."""
    reached = {0}
    for letter in pattern:
        if letter == "*":
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(text) and letter in ("?", text[at])}
    return len(text) in reached


def about(rule: Rule, action: AgentAction) -> bool:
    resources = [action.resource] + ([] if action.resource_id is None else [action.resource_id])
    texts = ([action.action_type], [action.tool_name], [action.agent_id], resources)
    return all(
        not patterns or any(glob(pattern, text) for pattern in patterns for text in candidates)
        for patterns, candidates in zip(rule.scope, texts, strict=True)
    )


def outcome(rule: Rule, action: AgentAction, risk: Risk) -> tuple[bool, bool]:
    """Whether a rule counts as matching, and whether its condition failed."""
    if not about(rule, action):
        return False, False
    if rule.when is None:
        return True, False
    try:
        return CONDITIONS[rule.when](action, risk), False
    except Unclear:
        return rule.effect is not RuleEffect.ALLOW, True


def decide(policy: Policy, action: AgentAction, risk: Risk) -> tuple[RuleEffect, tuple[str, ...], set[str]]:
    """Effect, names of the matching rules of that effect, and names of the rules that failed on the way."""
    failed: set[str] = set()
    for effect in RuleEffect:
        matched = []
        for rule in policy.rules:
            if rule.effect is effect:
                matches, fails = outcome(rule, action, risk)
                failed |= {rule.name} if fails else set()
                matched += [rule.name] if matches else []
        if matched:
            return effect, tuple(matched), failed
    return policy.default, (), failed


names = st.one_of(
    st.sampled_from(["refund", "file_read", "file_write", "a.b/c", ""]), st.text("ab_.", max_size=6)
)
globs = st.one_of(
    st.sampled_from(["refund", "file_*", "*_write", "*", "a*b", "*.b/*", "?????_read"]),
    st.text("ab_.*?", min_size=1, max_size=6),
)
scopes = st.lists(globs, max_size=3).map(tuple)
scalars = st.sampled_from(
    [499, 500, 501, 500.01, 499.99, -1, float("nan"), float("inf"), "500", "", None, True, False, []]
)
details = st.dictionaries(st.sampled_from(["amount", "flag", "other"]), scalars, max_size=3)

actions = st.builds(
    AgentAction,
    agent_id=names,
    agent_name=st.just("Agent"),
    action_type=names,
    resource=names,
    tool_name=names,
    resource_id=st.none() | names,
    action_details=details,
    context=st.dictionaries(st.just("environment"), st.sampled_from(["production", "staging", 3, None])),
    risk_indicators=st.dictionaries(st.just("data_classification"), st.sampled_from(["pii", "public", 3])),
    orchestration_depth=st.integers(0, 5),
)
calls = actions.map(lambda action: (action, assess(action)))

bodies = st.builds(
    Rule,
    name=st.just(""),
    effect=st.sampled_from(RuleEffect),
    actions=scopes,
    tools=scopes,
    agents=scopes,
    resources=scopes,
    when=st.none() | st.sampled_from(sorted(CONDITIONS)),
    reason=st.none() | st.just("because"),
)


@st.composite
def rules(draw: st.DrawFn, max_size: int = 25) -> list[Rule]:
    """Rules with names and lines of their own; some ask for approval in their own way."""
    made = []
    for number_, body in enumerate(draw(st.lists(bodies, max_size=max_size))):
        asks: dict[str, Any] = {}
        if body.effect is RuleEffect.REQUIRE_APPROVAL:
            asks["approvers"] = tuple(
                draw(st.lists(st.sampled_from(["finance", "legal"]), max_size=2, unique=True))
            )
            asks["quorum"] = draw(st.integers(1, 3))
            asks["timeout"] = draw(st.sampled_from([60.0, 3600.0, 86400.0]))
        fields = {name: getattr(body, name) for name in body.__struct_fields__}
        made.append(Rule(**(fields | asks | {"name": f"rule-{number_}", "line": number_ + 3})))
    return made


policies = st.builds(Policy, rules(), st.sampled_from(RuleEffect))
