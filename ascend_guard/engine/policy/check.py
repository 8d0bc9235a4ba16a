"""Find rules that cannot be intended: duplicate names, duplicate rules, and rules that can never change a decision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from .conditions import Condition
from .evaluate import DEFAULT_TIMEOUT, Rule, RuleEffect
from .patterns import Patterns, RuleIndex, Scope, covers, simplify

__all__ = ["Mistake", "find_mistakes"]

Mistake = tuple[int, str, str]
"""The line, what is wrong, and how to fix it."""

_STRENGTH = {RuleEffect.DENY: 2, RuleEffect.REQUIRE_APPROVAL: 1, RuleEffect.ALLOW: 0}


def find_mistakes(rules: Sequence[Rule], conditions: Mapping[str, Condition]) -> Iterator[Mistake]:
    """Yield duplicate names, duplicate rules and unreachable rules.

    A rule is unreachable when its condition is always false, or when another rule with a stronger or equal effect matches
    every call that it matches: one without a condition, or with the same condition. Of two rules with the same effect, the
    narrower one is accepted if it still has a use: it asks for more approval, or it is first in the file and gives a reason
    of its own.

    Args:
        rules: in the order of the file.
        conditions: compiled, by their text.
    """
    names: dict[str, Rule] = {}
    bodies: dict[object, Rule] = {}
    whens: dict[str | None, list[Rule]] = defaultdict(list)
    for rule in rules:
        earlier = names.setdefault(rule.name, rule)
        if earlier is not rule:
            yield (
                rule.line,
                f"the name {rule.name!r} is already used by the rule on line {earlier.line}",
                "choose another name",
            )
        constant = None if rule.when is None else conditions[rule.when].constant
        if constant is False:
            yield (
                rule.line,
                f"the rule {rule.name!r} is unreachable: its condition is always false",
                "remove it",
            )
            continue
        when = None if constant else rule.when
        body = (rule.effect, *map(frozenset, _scope(rule)), when, _asks(rule))
        twin = bodies.setdefault(body, rule)
        if twin is not rule:
            yield (
                rule.line,
                f"the rule {rule.name!r} repeats {twin.name!r} on line {twin.line}",
                "remove one of them",
            )
            continue
        whens[when].append(rule)
    yield from _unreachable(whens)


def _unreachable(whens: Mapping[str | None, Sequence[Rule]]) -> Iterator[Mistake]:
    find = {when: _finder(rules) for when, rules in whens.items() if when is None or len(rules) > 1}
    for when, rules in whens.items():
        finders = [find[key] for key in dict.fromkeys((None, when)) if key in find]
        for rule in rules:
            for finder in finders:
                wider = finder(rule)
                if wider is not None:
                    yield (
                        rule.line,
                        f"the rule {rule.name!r} is unreachable: {wider.name!r} on line {wider.line} "
                        f"({wider.effect}) already matches every call that it matches",
                        "remove it, or narrow the other rule",
                    )
                    break


def _finder(rules: Sequence[Rule]) -> Callable[[Rule], Rule | None]:
    scopes = [_scope(rule) for rule in rules]
    index = RuleIndex(scopes)

    def find(narrow: Rule) -> Rule | None:
        scope = _scope(narrow)
        # A rule that covers this one covers each of its globs, so looking up one glob of each scope finds it.
        action, tool, agent, resource = (patterns[0] if patterns else None for patterns in scope)
        numbers = index.find(action, tool, agent)
        if resource is not None:
            numbers |= index.find_by_resource(resource, None)
        for number in sorted(numbers):
            if all(map(_includes, scopes[number], scope)) and _overrides(rules[number], narrow):
                return rules[number]
        return None

    return find


def _includes(wide: Patterns, narrow: Patterns) -> bool:
    if not wide:
        return True
    return bool(narrow) and all(any(covers(pattern, inner) for pattern in wide) for inner in narrow)


def _overrides(wide: Rule, narrow: Rule) -> bool:
    """Return whether a rule makes another rule, whose calls it includes, unnecessary."""
    if wide is narrow or _STRENGTH[wide.effect] < _STRENGTH[narrow.effect]:
        return False
    if wide.effect is not narrow.effect:
        return True
    if _adds(narrow, wide):
        return False
    if narrow.line > wide.line:
        return True
    # Of two rules that cover each other, only the later is unnecessary.
    alike = all(map(_includes, _scope(narrow), _scope(wide))) and not _adds(wide, narrow)
    return narrow.reason is None and not alike


def _scope(rule: Rule) -> Scope:
    actions, tools, agents, resources = map(simplify, rule.scope)
    return actions, tools, agents, resources


def _asks(rule: Rule) -> tuple[frozenset[str], int, float]:
    return frozenset(rule.approvers), rule.quorum, DEFAULT_TIMEOUT if rule.timeout is None else rule.timeout


def _adds(narrow: Rule, wide: Rule) -> bool:
    """Return whether it asks for any approval that the wider rule does not ask for."""
    groups, quorum, timeout = _asks(narrow)
    wide_groups, wide_quorum, wide_timeout = _asks(wide)
    return (bool(groups) and groups != wide_groups) or quorum > wide_quorum or timeout < wide_timeout
