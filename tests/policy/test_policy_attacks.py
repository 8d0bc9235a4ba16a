"""The policies we show: what they are meant to allow runs, and no attack on it does."""

from __future__ import annotations

import re
from collections import Counter
from email.utils import getaddresses
from typing import Any

import msgspec
import pytest
from attacks import MAIL, Allowed, attacks, made, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped_policies import ALLOWED, shipped

from ascend_guard.arguments import normalise
from ascend_guard.engine.policy import Policy, RuleEffect, Verdict, parse_policy, starter_policy
from ascend_guard.engine.risk import assess
from ascend_guard.model import AgentAction

POLICIES = {
    name: parse_policy(text, name) for name, text in shipped().items() if not name.startswith("benchmarks/")
}
CALLS = [(name, call) for name, calls in ALLOWED.items() for call in calls]
STARTER = "ascend_guard/engine/starter_policy.yaml#1"


def decide(policy: Policy, action: AgentAction) -> Verdict:
    return policy.decide(action, assess(action))


def rule_of(policy: Policy, name: str) -> Any:
    return next(rule for rule in policy.rules if rule.name == name)


def test_every_policy_is_known() -> None:
    """Whoever shows another policy, or another rule that allows, says which calls it is for; they are attacked below."""
    assert set(POLICIES) == set(ALLOWED)
    for name, policy in POLICIES.items():
        allowing = {rule.name for rule in policy.rules if rule.effect is RuleEffect.ALLOW}
        assert allowing == {call.rule for call in ALLOWED[name]}, name
        assert policy.default is RuleEffect.DENY, name


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[f"{name}-{call.rule}" for name, call in CALLS])
def test_what_is_meant_runs_and_no_attack_does(name: str, call: Allowed) -> None:
    """The call is allowed by its rule, up to the limit; nothing that is wrong with it is."""
    policy = POLICIES[name]
    for right in (made(call), made(call, **call.most)):
        verdict = decide(policy, right)
        assert (verdict.effect, verdict.rule) == (RuleEffect.ALLOW, call.rule)
    tried = Counter[RuleEffect]()
    for what, action in attacks(call, bool(rule_of(policy, call.rule).tools)):
        verdict = decide(policy, action)
        assert verdict.effect is not RuleEffect.ALLOW, what
        tried[verdict.effect] += 1
    assert tried.total() > 70


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[f"{name}-{call.rule}" for name, call in CALLS])
def test_a_rule_that_allows_names_what_it_allows(name: str, call: Allowed) -> None:
    """Exact action types and a tool (or the server's name in the type), and every argument by name."""
    rule = rule_of(POLICIES[name], call.rule)
    assert rule.actions
    assert not any(set(pattern) & set("*?") for pattern in (*rule.actions, *rule.tools))
    assert rule.tools or all("." in action for action in rule.actions)
    assert "args.all(name, " in str(rule.when)


@pytest.mark.parametrize(
    ("action_type", "tool", "arguments"),
    [
        ("email_send", "mailer", {"to": "attacker@evil.test, ann@example.com", "body": "payroll"}),
        ("credential_read", "vault", {"name": "root-key"}),
        ("database_read", "postgresql", {"sql": "DELETE FROM customers"}),
        ("file_read", "filesystem", {"path": "/etc/shadow"}),
        ("evil.drop_all_read", "drop_all_read", {}),
        ("secret_read", "orders", {"order_id": "A-17"}),
    ],
)
def test_the_starter_lets_nothing_through_by_its_name(
    action_type: str, tool: str, arguments: dict[str, Any]
) -> None:
    """Neither a name that ends in read, nor a list in one text."""
    action = AgentAction("a", "A", action_type, "r", tool, action_details=arguments)
    assert decide(POLICIES[STARTER], action).effect is not RuleEffect.ALLOW


@pytest.mark.parametrize("call", ALLOWED[STARTER], ids=[call.rule for call in ALLOWED[STARTER]])
def test_the_starter_denies_what_hides_an_argument(call: Allowed) -> None:
    """An argument that is excluded from the decision is denied, but for contexts of frameworks."""
    action = made(call)
    for hidden, effect in (
        (("bcc",), RuleEffect.DENY),
        (("ctx", "sql"), RuleEffect.DENY),
        (("ctx",), RuleEffect.ALLOW),
    ):
        verdict = decide(POLICIES[STARTER], msgspec.structs.replace(action, excluded=hidden))
        assert verdict.effect is effect
        assert effect is RuleEffect.ALLOW or verdict.rule == "nothing-hidden"


AMOUNTS = st.one_of(
    st.integers(),
    st.integers(-3, 503),
    st.floats(),
    st.floats(-1, 501),
    st.decimals(),
    st.booleans(),
    st.text(max_size=3),
    st.none(),
)
ORDERS = st.one_of(
    st.from_regex(r"\A[A-Z]-[0-9]{1,9}\Z"),
    st.sampled_from([str(text) for text in texts("A-17")]),
    st.text(max_size=5),
)


def test_the_starter_allows_exactly_small_refunds() -> None:
    """Whatever the amount is and however the order is written: allowed if and only if a person would say it is small."""
    seen = Counter[bool]()
    policy = parse_policy(starter_policy())

    @settings(max_examples=600)
    @given(AMOUNTS, ORDERS)
    def check(amount: Any, order: str) -> None:
        details = normalise({"order_id": order, "amount": amount}, key=b"k" * 32).plain
        verdict = decide(policy, AgentAction("a", "A", "refund", "r", "billing", action_details=details))
        number = details["amount"]
        small = (
            type(number) in (int, float)
            and 0 < number <= 500
            and re.fullmatch(r"[A-Z]-[0-9]{1,9}", order, re.ASCII)
        )
        assert (verdict.effect is RuleEffect.ALLOW) == bool(small)
        seen[bool(small)] += 1

    check()
    assert min(seen[True], seen[False]) > 20


WORDS = 'ann eve @ example.com evil.test . , ; : < > " ( ) % ! = [ ] ann@example.com EXAMPLE.com =?utf-8?q? Bcc: +x'
PIECES = st.sampled_from([*WORDS.split(" "), "\\", " ", "\n", "\r\n", "\x00", "\u200b", "e\u0445ample.com"])
ADDRESSES = st.from_regex(r"\A[!-~]{1,5}@[eE]xample\.com\Z")
WRONG = [wrong for wrong in MAIL if isinstance(wrong, str)]


def test_mail_within_agrees_with_a_mail_parser() -> None:
    """What it accepts, the standard library reads as that one address at that domain and nothing else."""
    policy = parse_policy(
        "version: 1\nrules: [{name: r, when: 'mail_within(args.to, [\"example.com\"])', effect: allow}]"
    )
    seen = Counter[bool]()

    @settings(max_examples=1500)
    @given(
        st.one_of(st.lists(PIECES, min_size=1, max_size=6).map("".join), ADDRESSES, st.sampled_from(WRONG))
    )
    def check(to: str) -> None:
        accepted = (
            decide(policy, AgentAction("a", "A", "x", "r", "t", action_details={"to": to})).effect
            is RuleEffect.ALLOW
        )
        seen[accepted] += 1
        if accepted:
            assert getaddresses([to]) == [("", to)]
            assert to.isascii()
            assert to.lower().rpartition("@")[2] == "example.com"
            assert to.count("@") == 1

    check()
    assert min(seen[True], seen[False]) > 20


@pytest.mark.parametrize(
    ("to", "right"),
    [
        *((wrong, False) for wrong in MAIL),
        ("ann@example.com", True),
        ("Ann.Lee+x@EXAMPLE.com", True),
        ("a@b.example", True),
        (["ann@example.com", "bob@b.example"], True),
        (["ann@example.com"] * 50, True),
    ],
)
def test_mail_within(to: Any, right: bool) -> None:
    """One plain address, or a list of them; each at one of the domains; also where it is denied by the negation."""
    details = normalise({"to": to}, key=b"k" * 32).plain
    within = 'mail_within(args.to, ["example.com", "B.example"])'
    for when, effect, then in ((within, "allow", right), (f"!{within}", "deny", not right)):
        policy = parse_policy(
            f"version: 1\ndefault: require_approval\nrules: [{{name: r, when: '{when}', effect: {effect}}}]"
        )
        action = AgentAction("a", "A", "x", "r", "t", action_details=details)
        assert (decide(policy, action).effect.value == effect) is then


@pytest.mark.parametrize(
    "domain", ["@example.com", "*.example.com", "", "example", "ex ample.com", "exämple.com", "example.com."]
)
def test_a_domain_that_is_none_is_an_error(domain: str) -> None:
    """It never allows, and says what is wrong."""
    policy = parse_policy(
        f"""version: 1\nrules: [{{name: r, when: 'mail_within(args.to, ["{domain}"])', effect: allow}}]"""
    )
    verdict = decide(policy, AgentAction("a", "A", "x", "r", "t", action_details={"to": "ann@example.com"}))
    assert verdict.effect is RuleEffect.DENY
    assert f"{domain!r} is not a domain" in verdict.errors[0]


@given(st.text(max_size=6))
def test_one_line(text: str) -> None:
    """True only of what is one line for every reader."""
    policy = parse_policy("version: 1\nrules: [{name: r, when: one_line(args.text), effect: allow}]")
    action = AgentAction("a", "A", "x", "r", "t", action_details={"text": text})
    if decide(policy, action).effect is RuleEffect.ALLOW:
        assert len(text.splitlines()) <= 1
        assert not text.endswith(("\n", "\r", "\u2028"))
        assert "\x00" not in text
