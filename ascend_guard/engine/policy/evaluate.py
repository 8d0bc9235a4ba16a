"""A loaded policy, and its verdict on a call.

The order of rules never changes the effect: deny wins over require_approval, and that over allow. If no rule matches, the
policy's default applies. An error while evaluating a condition counts as a match for deny and require_approval, and as no
match for allow. If several rules of the winning effect match, the first in the file gives name and reason; if several
ask for approval, all their requirements must be met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct

from ascend_guard.engine.risk import Risk
from ascend_guard.model import AgentAction

from .conditions import Condition, compile_condition, scene
from .patterns import ANY, Matcher, Patterns, RuleIndex, Scope, compile_glob, simplify

__all__ = ["DEFAULT_TIMEOUT", "CompiledRule", "Policy", "Requirement", "Rule", "RuleEffect", "Verdict"]

DEFAULT_TIMEOUT = 24 * 3600.0
"""Default seconds to wait for an approval, if a rule does not say."""

DENIALS_LAST = 24 * 3600.0
"""Default seconds that a person's denial answers the same call, if a policy does not say."""

_REMEMBERED_CALLS = 4096
_REMEMBERED_SETS = 1024
_REMEMBERED_LENGTH = 512


class RuleEffect(StrEnum):
    """The effect of a rule on the calls that it matches."""

    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"
    ALLOW = "allow"


class Rule(Struct, frozen=True):
    """One rule, as written.

    Args:
        name: unique in its policy.
        effect: its effect.
        actions: globs on ``action_type``; empty means any, here and below.
        tools: globs on ``tool_name``.
        agents: globs on ``agent_id``.
        resources: globs on ``resource`` and ``resource_id``; either may match.
        when: a CEL condition, if any.
        reason: the text for people, if any.
        approvers: groups of which one must approve; empty means anyone who may approve. Only for
            require_approval.
        quorum: how many people must approve.
        timeout: seconds to wait for them; None unless the effect is require_approval.
        line: its first line in its file, from 1.
    """

    name: str
    effect: RuleEffect
    actions: Patterns = ANY
    tools: Patterns = ANY
    agents: Patterns = ANY
    resources: Patterns = ANY
    when: str | None = None
    reason: str | None = None
    approvers: tuple[str, ...] = ()
    quorum: int = 1
    timeout: float | None = None
    line: int = 0

    @property
    def scope(self) -> Scope:
        """Its globs, in the order actions, tools, agents, resources."""
        return self.actions, self.tools, self.agents, self.resources


class Requirement(Struct, frozen=True):
    """The requirement of one matching rule: ``quorum`` people from these groups (from anyone, when empty)."""

    rule: str
    approvers: tuple[str, ...]
    quorum: int


class Verdict(Struct, frozen=True):
    """The result of a policy for a call.

    Args:
        effect: deny, require_approval or allow.
        rule: name of the rule that decided; None when the default did.
        rules: names of all matching rules of that effect, in the order of the file.
        reason: for people.
        approvers: every group that a matching rule names; ``requirements`` keeps them apart.
        quorum: the largest of the matching rules.
        timeout: seconds to wait for approval, the shortest of the matching rules'; None unless approval is
            required.
        errors: conditions that could not be evaluated, as ``rule: why``.
        requirements: one per matching rule when approval is required; every one must be met.
    """

    effect: RuleEffect
    rule: str | None
    rules: tuple[str, ...]
    reason: str
    approvers: tuple[str, ...] = ()
    quorum: int = 1
    timeout: float | None = None
    errors: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()


class CompiledRule:
    """A rule with its matchers, its condition, and its verdict when it alone matches."""

    __slots__ = ("condition", "matchers", "on_resource", "rule", "verdict")

    def __init__(self, rule: Rule, condition: Condition | None) -> None:
        self.rule = rule
        self.condition = None if condition is not None and condition.constant else condition
        self.matchers = tuple(tuple(map(compile_glob, simplify(patterns))) for patterns in rule.scope)
        self.on_resource: tuple[Matcher, ...] = self.matchers[3]
        self.verdict = _merged([rule])

    def is_about(self, action_type: str, tool_name: str, agent_id: str) -> bool:
        """Return whether its globs match these names; resources are not compared."""
        actions, tools, agents, _ = self.matchers
        return (
            (not actions or any(matches(action_type) for matches in actions))
            and (not tools or any(matches(tool_name) for matches in tools))
            and (not agents or any(matches(agent_id) for matches in agents))
        )

    def covers_resource(self, name: str, resource_id: str | None) -> bool:
        """Return whether its globs match the resource's name or its id."""
        for matches in self.on_resource:
            if matches(name) or (resource_id is not None and matches(resource_id)):
                return True
        return not self.on_resource


class _Candidates:
    """The rules that could match a call, by effect, strongest first, and the variables that they use."""

    __slots__ = ("groups", "numbers", "uses")

    def __init__(self, numbers: tuple[int, ...], rules: Iterable[CompiledRule]) -> None:
        self.numbers = numbers
        by_effect: dict[RuleEffect, list[CompiledRule]] = {effect: [] for effect in RuleEffect}
        uses: set[str] = set()
        for compiled in rules:
            by_effect[compiled.rule.effect].append(compiled)
            if compiled.condition is not None:
                uses |= compiled.condition.uses
        self.groups = tuple((effect, tuple(group)) for effect, group in by_effect.items() if group)
        self.uses = tuple(uses)


class Policy:
    """Rules and a default. Immutable, and safe to share between threads.

    Args:
        rules: in the order of the file.
        default: the effect when no rule matches.
        source: its origin, for people.
        digest: SHA-256 of its text, in hexadecimal.
        conditions: conditions that are already compiled, by their text.
        denials_last: seconds that a person's denial answers the same call; 0 when it does not.

    Raises:
        ConditionError: a rule's condition does not compile.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        default: RuleEffect = RuleEffect.DENY,
        *,
        source: str = "<policy>",
        digest: str = "",
        conditions: Mapping[str, Condition] | None = None,
        denials_last: float = DENIALS_LAST,
    ) -> None:
        self.denials_last = denials_last
        self.source = source
        self.default = default
        self.rules = tuple(rules)
        self.digest = digest
        known = conditions or {}
        self.compiled = tuple(
            CompiledRule(
                rule, None if rule.when is None else known.get(rule.when) or compile_condition(rule.when)
            )
            for rule in self.rules
        )
        self._index = RuleIndex([rule.scope for rule in self.rules])
        # Callers choose the names, so the cache is bounded in number and in length.
        self._of: Callable[[tuple[int, ...]], _Candidates] = lru_cache(_REMEMBERED_SETS)(self._select)
        self._recall: Callable[[str, str, str], _Candidates] = lru_cache(_REMEMBERED_CALLS)(self._gather)

    def __repr__(self) -> str:
        return f"<Policy {self.source!r}: {len(self.rules)} rules, default {self.default}>"

    def decide(self, action: AgentAction, risk: Risk) -> Verdict:
        """Return the verdict on a call. No I/O; safe from any thread.

        Args:
            action: its details, context and indicators must be plain bounded JSON data.
            risk: the result of ``assess``.
        """
        candidates = self._candidates(action)
        resource, resource_id = action.resource, action.resource_id
        errors: list[tuple[CompiledRule, str]] | None = None
        stage = None
        for effect, group in candidates.groups:
            matched: list[CompiledRule] | None = None
            for compiled in group:
                if compiled.on_resource and not compiled.covers_resource(resource, resource_id):
                    continue
                condition = compiled.condition
                if condition is not None:
                    if stage is None:
                        stage = scene(action, risk, candidates.uses)
                    answer = condition.test(stage)
                    if answer is False:
                        continue
                    if answer is not True:
                        errors = errors or []
                        errors.append((compiled, str(answer)))
                        if effect is RuleEffect.ALLOW:
                            continue
                if matched is None:
                    matched = [compiled]
                else:
                    matched.append(compiled)
            if matched is not None:
                if errors is None and len(matched) == 1:
                    return matched[0].verdict
                return _merged([compiled.rule for compiled in matched], errors or ())
        return self._unmatched(action, errors or ())

    def always_denies(self, action_type: str, tool_name: str, agent_id: str) -> bool:
        """Return whether every call of these names is denied, with any arguments, resource and context."""
        about = [each for each in self.compiled if each.is_about(action_type, tool_name, agent_id)]
        if any(
            each.rule.effect is RuleEffect.DENY and each.condition is None and not each.on_resource
            for each in about
        ):
            return True
        return self.default is RuleEffect.DENY and all(each.rule.effect is RuleEffect.DENY for each in about)

    def _candidates(self, action: AgentAction) -> _Candidates:
        kind, tool, agent = action.action_type, action.tool_name, action.agent_id
        short = len(kind) + len(tool) + len(agent) <= _REMEMBERED_LENGTH
        candidates = self._recall(kind, tool, agent) if short else self._gather(kind, tool, agent)
        if self._index.by_resource:
            numbers = self._index.find_by_resource(action.resource, action.resource_id)
            more = [number for number in numbers if self.compiled[number].is_about(kind, tool, agent)]
            if more:
                return self._of(tuple(sorted({*candidates.numbers, *more})))
        return candidates

    def _gather(self, kind: str, tool: str, agent: str) -> _Candidates:
        numbers = sorted(self._index.find(kind, tool, agent))
        return self._of(tuple(n for n in numbers if self.compiled[n].is_about(kind, tool, agent)))

    def _select(self, numbers: tuple[int, ...]) -> _Candidates:
        return _Candidates(numbers, [self.compiled[number] for number in numbers])

    def _unmatched(self, action: AgentAction, errors: Iterable[tuple[CompiledRule, str]]) -> Verdict:
        kind = action.action_type[:80]
        kind = kind if kind.isprintable() else ascii(kind)
        reason = f"No rule matched {kind}; the policy's default is {self.default}."
        failed = tuple(f"{compiled.rule.name}: {why}" for compiled, why in errors)
        if failed:
            reason += f" An allow rule's condition could not be evaluated ({failed[0]})."
        timeout = DEFAULT_TIMEOUT if self.default is RuleEffect.REQUIRE_APPROVAL else None
        return Verdict(self.default, None, (), reason, timeout=timeout, errors=failed)


_REASONS = {
    RuleEffect.DENY: "The rule {} denies it.",
    RuleEffect.REQUIRE_APPROVAL: "The rule {} requires approval.",
    RuleEffect.ALLOW: "The rule {} allows it.",
}


def _merged(matched: Sequence[Rule], errors: Sequence[tuple[CompiledRule, str]] = ()) -> Verdict:
    first = matched[0]
    reason = first.reason or _REASONS[first.effect].format(first.name)
    for compiled, why in errors:
        if compiled.rule is first:
            reason += f" (Its condition could not be evaluated, which counts as a match: {why}.)"
    asked = first.effect is RuleEffect.REQUIRE_APPROVAL
    return Verdict(
        effect=first.effect,
        rule=first.name,
        rules=tuple(rule.name for rule in matched),
        reason=reason,
        approvers=tuple(dict.fromkeys(group for rule in matched for group in rule.approvers)),
        quorum=max(rule.quorum for rule in matched),
        timeout=min(rule.timeout or DEFAULT_TIMEOUT for rule in matched) if asked else None,
        errors=tuple(f"{compiled.rule.name}: {why}" for compiled, why in errors),
        requirements=tuple(Requirement(rule.name, rule.approvers, rule.quorum) for rule in matched)
        if asked
        else (),
    )
