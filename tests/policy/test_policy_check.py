"""Duplicates and unreachable rules: what is refused, and that nothing useful is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_reference import calls, rules

from ascend_guard.engine.policy import Policy, Rule, Verdict, parse_policy
from ascend_guard.engine.policy.check import find_mistakes
from ascend_guard.engine.policy.conditions import compile_condition
from ascend_guard.engine.risk import Risk
from ascend_guard.errors import PolicyError
from ascend_guard.model import AgentAction


def what_happens(verdict: Verdict) -> tuple[object, ...]:
    """What an action's fate depends on; an empty list of groups asks nothing beyond the quorum."""
    groups = {frozenset(r.approvers) for r in verdict.requirements if r.approvers}
    return verdict.effect, groups, verdict.quorum, verdict.timeout


@given(rules(max_size=12), st.lists(calls, min_size=1, max_size=5))
def test_what_is_called_unreachable_changes_nothing(
    some: list[Rule], made: list[tuple[AgentAction, Risk]]
) -> None:
    """Without the rules it refuses, a policy decides the same about every call."""
    conditions = {rule.when: compile_condition(rule.when) for rule in some if rule.when is not None}
    refused = {line for line, _, _ in find_mistakes(some, conditions)}
    kept = [rule for rule in some if rule.line not in refused]
    for call in made:
        assert what_happens(Policy(some).decide(*call)) == what_happens(Policy(kept).decide(*call))


def refusal(*bodies: str) -> str | None:
    """What is said of these rules, which begin on line 3 and are one a line."""
    try:
        parse_policy("\n".join(["version: 1", "rules:", *(f"- {{{body}}}" for body in bodies)]), "p")
    except PolicyError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            "name: a, actions: [x], effect: allow",
            "name: a, actions: [y], effect: allow",
            "p:4: the name 'a' is already used by the rule on line 3; choose another name",
        ),
        (
            "name: a, actions: [x, y], when: args.n > 1, effect: deny, reason: One.",
            "name: b, actions: [y, x], when: args.n > 1, effect: deny, reason: Two.",
            "p:4: the rule 'b' repeats 'a' on line 3; remove one of them",
        ),
        (
            "name: a, when: 1 > 2, effect: deny",
            "name: b, effect: allow",
            "p:3: the rule 'a' is unreachable: its condition is always false; remove it",
        ),
        (
            "name: a, actions: ['file_*'], effect: deny",
            "name: b, actions: [file_read], when: args.n > 1, effect: allow",
            "p:4: the rule 'b' is unreachable: 'a' on line 3 (deny) already matches every call that it matches; "
            "remove it, or narrow the other rule",
        ),
        (
            "name: a, actions: [file_read], effect: allow",
            "name: b, effect: require_approval",
            "p:3: the rule 'a' is unreachable: 'b' on line 4 (require_approval) already matches "
            "every call that it matches; remove it, or narrow the other rule",
        ),
        (
            "name: a, actions: ['*_read'], effect: allow",
            "name: b, actions: ['file_*_read'], tools: [disk], effect: allow",
            "p:4: the rule 'b' is unreachable: 'a' on line 3 (allow) already matches every call that it matches; "
            "remove it, or narrow the other rule",
        ),
        (
            "name: a, when: args.n > 1, actions: ['*'], effect: deny",
            "name: b, when: args.n > 1, actions: [x], effect: allow",
            "p:4: the rule 'b' is unreachable: 'a' on line 3 (deny) already matches every call that it matches; "
            "remove it, or narrow the other rule",
        ),
        (
            "name: a, effect: require_approval, approvers: [x], quorum: 2, timeout: 1h",
            "name: b, actions: [y], effect: require_approval, quorum: 1",
            "p:4: the rule 'b' is unreachable: 'a' on line 3 (require_approval) already matches "
            "every call that it matches; remove it, or narrow the other rule",
        ),
        (
            "name: a, when: 'true', effect: deny",
            "name: b, actions: [y], effect: allow",
            "p:4: the rule 'b' is unreachable: 'a' on line 3 (deny) already matches every call that it matches; "
            "remove it, or narrow the other rule",
        ),
    ],
)
def test_what_is_refused(first: str, second: str, message: str) -> None:
    """Every complaint about how rules stand to each other, word for word."""
    assert refusal(first, second) == message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # a stronger exception to a wide rule
        ("name: a, actions: ['file_*'], effect: allow", "name: b, actions: [file_delete], effect: deny"),
        # the wide rule is conditional
        ("name: a, when: args.n > 1, effect: deny", "name: b, actions: [x], effect: allow"),
        # they only overlap
        ("name: a, actions: [x, y], effect: deny", "name: b, actions: [y, z], effect: allow"),
        ("name: a, actions: [x], tools: [t], effect: deny", "name: b, actions: [x], effect: allow"),
        ("name: a, actions: ['a?'], effect: deny", "name: b, actions: ['a*'], effect: allow"),
        # the narrow rule asks for more
        (
            "name: a, effect: require_approval, approvers: [x]",
            "name: b, actions: [y], effect: require_approval, approvers: [x], quorum: 2",
        ),
        (
            "name: a, effect: require_approval, approvers: [x]",
            "name: b, actions: [y], effect: require_approval, approvers: [z]",
        ),
        ("name: a, effect: require_approval", "name: b, actions: [y], effect: require_approval, timeout: 1h"),
        # the narrow rule stands first and says why in its own words
        ("name: a, actions: [x], effect: deny, reason: Not that.", "name: b, effect: deny"),
    ],
)
def test_what_is_not_refused(first: str, second: str) -> None:
    """Rules that look alike but each change something."""
    assert refusal(first, second) is None


def test_of_two_that_cover_each_other_only_the_later_is_refused() -> None:
    """So that following the advice does not remove both."""
    message = refusal("name: a, actions: ['x*'], effect: deny", "name: b, actions: ['x*', xy], effect: deny")
    assert message is not None
    assert message.startswith("p:4: ")
    assert "\n" not in message


def test_ten_thousand_rules_are_checked() -> None:
    """The one unreachable rule among ten thousand of every shape is found."""
    shapes = [
        "actions: [a{}]",
        "actions: ['p{}_*']",
        "actions: ['*.{}']",
        "actions: ['*x{}x*']",
        "resources: ['/t/{}/*']",
    ]
    lines = [
        f"- {{name: r{i}, {shapes[i % len(shapes)].format(i)}, when: args.n > {i % 100}, effect: allow}}"
        for i in range(9_998)
    ]
    lines += [
        "- {name: wall, actions: ['*x777x*'], effect: deny}",
        "- {name: last, actions: ['ax777xb'], effect: allow}",
    ]
    with pytest.raises(
        PolicyError, match=r"^<policy>:10002: the rule 'last' is unreachable: 'wall' on line 10001"
    ):
        parse_policy("\n".join(["version: 1", "rules:", *lines]))
