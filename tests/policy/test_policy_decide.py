"""Verdicts: the order of effects, errors, merging, and agreement with a naive evaluator."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_reference import actions, calls, decide, policies, rules

from ascend_guard.engine.policy import (
    Policy,
    Rule,
    RuleEffect,
    Verdict,
    explain,
    parse_policy,
    starter_policy,
)
from ascend_guard.engine.risk import Risk, assess
from ascend_guard.model import AgentAction


def call(
    action_type: str = "refund", tool: str = "stripe", resource: str = "order 7", **details: object
) -> AgentAction:
    return AgentAction("billing", "Billing", action_type, resource, tool, action_details=details)


def verdict_on(text: str, action: AgentAction) -> Verdict:
    return parse_policy(f"version: 1\n{text}").decide(action, assess(action))


def asked(verdict: Verdict) -> tuple[object, ...]:
    """What of a verdict must not depend on the order of the rules."""
    requirements = {(r.rule, frozenset(r.approvers), r.quorum) for r in verdict.requirements}
    return (
        verdict.effect,
        set(verdict.rules),
        set(verdict.approvers),
        verdict.quorum,
        verdict.timeout,
        requirements,
    )


@given(policies, st.lists(calls, min_size=1, max_size=4))
def test_it_agrees_with_the_naive_evaluator(policy: Policy, some: list[tuple[AgentAction, Risk]]) -> None:
    """Index, cache and CEL together say what going through every rule by hand says, also the second time."""
    for action, risk in some * 2:
        verdict = policy.decide(action, risk)
        effect, names, failed = decide(policy, action, risk)
        assert (verdict.effect, verdict.rules) == (effect, names)
        assert verdict.rule == (names[0] if names else None)
        assert {error.partition(":")[0] for error in verdict.errors} == failed


@given(rules(), st.sampled_from(RuleEffect), calls, st.randoms(use_true_random=False))
def test_order_never_matters(
    some: list[Rule], default: RuleEffect, made: tuple[AgentAction, Risk], dice: random.Random
) -> None:
    """However the rules are shuffled, the effect, the rules behind it and all that is asked stay the same."""
    shuffled = dice.sample(some, len(some))
    assert asked(Policy(some, default).decide(*made)) == asked(Policy(shuffled, default).decide(*made))


@given(policies, calls)
def test_the_explanation_agrees_with_the_verdict(policy: Policy, made: tuple[AgentAction, Risk]) -> None:
    """The rules the explanation calls matched, strongest effect first, are the verdict's."""
    told = explain(policy, *made)
    verdict = policy.decide(*made)
    assert [explanation.rule for explanation in told] == [rule.name for rule in policy.rules]
    assert all(explanation.why for explanation in told)
    matched = {effect: [e.rule for e in told if e.matched and e.effect is effect] for effect in RuleEffect}
    strongest = next((effect for effect in RuleEffect if matched[effect]), None)
    assert verdict.effect is (strongest or policy.default)
    assert list(verdict.rules) == (matched[strongest] if strongest else [])


@given(policies, st.lists(calls, min_size=1, max_size=8))
def test_what_is_always_denied_is_denied(policy: Policy, some: list[tuple[AgentAction, Risk]]) -> None:
    """Whoever hides a tool because the policy always denies it hides nothing that could have run."""
    for action, risk in some:
        if policy.always_denies(action.action_type, action.tool_name, action.agent_id):
            assert policy.decide(action, risk).effect is RuleEffect.DENY


def test_always_denied() -> None:
    """By a rule without conditions, or because no other rule is about it; a condition or a resource leaves a way."""
    text = """version: 1
rules:
  - {name: a, actions: [wipe], effect: deny}
  - {name: b, actions: [wipe, refund], effect: allow}
  - {name: c, actions: [mail], resources: [boss], effect: deny}
  - {name: d, actions: [mail], when: args.n > 1, effect: deny}
  - {name: e, actions: [mail], agents: [sales], effect: allow}
"""
    policy = parse_policy(text)
    denied = {
        (action, agent)
        for action in ("wipe", "refund", "mail", "other")
        for agent in ("sales", "billing")
        if policy.always_denies(action, "stripe", agent)
    }
    assert denied == {
        ("wipe", "sales"),
        ("wipe", "billing"),
        ("mail", "billing"),
        ("other", "sales"),
        ("other", "billing"),
    }


@given(rules(max_size=8), calls)
def test_a_weaker_rule_never_softens_a_verdict(some: list[Rule], made: tuple[AgentAction, Risk]) -> None:
    """Taking away any rule but those of the winning effect changes nothing of the effect."""
    verdict = Policy(some).decide(*made)
    if verdict.rule is not None:
        kept = [rule for rule in some if rule.effect is verdict.effect]
        assert Policy(kept).decide(*made).effect is verdict.effect


@given(st.sampled_from(RuleEffect), actions)
def test_a_condition_that_cannot_be_told_fails_safe(effect: RuleEffect, action: AgentAction) -> None:
    """An error matches for deny and require_approval, never for allow, and the verdict says which and why."""
    when = "args.nothing_has_this.name == 1"
    verdict = Policy([Rule("r", effect, when=when)], RuleEffect.ALLOW).decide(action, assess(action))
    assert verdict.errors == ('r: there is no "nothing_has_this"',)
    assert verdict.rule == (None if effect is RuleEffect.ALLOW else "r")
    assert verdict.effect is effect
    assert "could not be evaluated" in verdict.reason


@pytest.mark.parametrize(
    ("amount", "effect"),
    [
        (499.99, "allow"),
        (500, "allow"),
        (500.0, "allow"),
        (500.01, "require_approval"),
        (501, "require_approval"),
        (2**62, "require_approval"),
        (float("inf"), "require_approval"),
        (float("nan"), "deny"),  # neither above nor below: no rule matches
        ("500", "require_approval"),  # not numbers: an error, which asks
        (None, "require_approval"),
        (True, "require_approval"),
        ({"value": 5}, "require_approval"),
        (2**64, "require_approval"),
    ],
)
def test_numbers_compare_as_people_expect(amount: object, effect: str) -> None:
    """Whole and decimal numbers mix; whatever is no number never slips through an allow rule."""
    policy = """
rules:
  - {name: small, actions: [refund], when: args.amount <= 500, effect: allow}
  - {name: big, actions: [refund], when: args.amount > 500, effect: require_approval}
"""
    assert verdict_on(policy, call(amount=amount)).effect == effect


@pytest.mark.parametrize("value", [1, "yes", None, [], {}, 0.5])
def test_a_condition_that_gives_no_boolean_is_an_error(value: object) -> None:
    """`when: args.flag` with anything but true or false is not evaluated as truthy."""
    verdict = verdict_on("rules: [{name: r, when: args.flag, effect: allow}]", call(flag=value))
    assert verdict.effect is RuleEffect.DENY
    assert "not true or false" in verdict.errors[0]


def test_nothing_matched_says_so() -> None:
    """The default's reason names the action type and the default."""
    verdict = verdict_on("rules: []", call())
    assert verdict.reason == "No rule matched refund; the policy's default is deny."
    assert (verdict.effect, verdict.rule, verdict.rules) == (RuleEffect.DENY, None, ())


def test_a_hostile_action_type_does_not_reach_the_reason() -> None:
    """Control characters are escaped and length is cut before text is shown to people."""
    reason = verdict_on("rules: []", call("\x1b[2J" + "x" * 10_000)).reason
    assert reason.isprintable()
    assert len(reason) < 200


def test_a_default_of_require_approval_waits_a_day() -> None:
    """The default may also be to ask; anyone who may approve is asked then."""
    verdict = verdict_on("default: require_approval", call())
    assert (verdict.effect, verdict.approvers, verdict.quorum, verdict.timeout) == (
        "require_approval",
        (),
        1,
        86400.0,
    )


def test_all_that_several_approval_rules_ask_must_hold() -> None:
    """Groups are united, the quorum is the largest, the time the shortest, and each demand is kept."""
    verdict = verdict_on(
        """
rules:
  - {name: money, actions: [refund], effect: require_approval, approvers: [finance], timeout: 2h, reason: R.}
  - {name: legal, actions: ["*"], effect: require_approval, approvers: [legal, finance], quorum: 2}
  - {name: tool, tools: [stripe], effect: require_approval, timeout: 30m}
""",
        call(),
    )
    assert (verdict.rule, verdict.reason) == ("money", "R.")
    assert verdict.rules == ("money", "legal", "tool")
    assert verdict.approvers == ("finance", "legal")
    assert (verdict.quorum, verdict.timeout) == (2, 1800.0)
    assert [(r.rule, r.approvers, r.quorum) for r in verdict.requirements] == [
        ("money", ("finance",), 1),
        ("legal", ("legal", "finance"), 2),
        ("tool", (), 1),
    ]


def test_an_error_in_one_allow_rule_does_not_stop_another() -> None:
    """The verdict still names the rule that failed."""
    verdict = verdict_on(
        "rules: [{name: a, when: args.x > 1, effect: allow}, {name: b, tools: [stripe], effect: allow}]",
        call(),
    )
    assert (verdict.effect, verdict.rule, verdict.errors) == (RuleEffect.ALLOW, "b", ('a: there is no "x"',))


def test_resources_match_by_name_or_id() -> None:
    """A rule on resources looks at both texts an action may carry."""
    text = "rules: [{name: r, resources: ['customers/*'], effect: allow}]"
    by_name = AgentAction("a", "A", "read", "customers/7", "db")
    by_id = AgentAction("a", "A", "read", "look one up", "db", resource_id="customers/7")
    neither = AgentAction("a", "A", "read", "orders/7", "db")
    assert [verdict_on(text, action).effect for action in (by_name, by_id, neither)] == [
        "allow",
        "allow",
        "deny",
    ]


def test_many_rules_on_resources_are_indexed_too() -> None:
    """Beyond a handful of rules for the same action, resources are looked up, and found all the same."""
    lines = [
        f"  - {{name: team-{i}, actions: [file_write], resources: ['/team-{i}/*', '*.t{i}'], effect: allow}}"
        for i in range(200)
    ]
    policy = parse_policy(
        "\n".join(
            ["version: 1", "rules:", *lines, "  - {name: secrets, resources: ['*secret*'], effect: deny}"]
        )
    )
    for resource, rule in (
        ("/team-77/x", "team-77"),
        ("/x.t5", "team-5"),
        ("/team-3/secret", "secrets"),
        ("/x", None),
    ):
        action = call("file_write", resource=resource)
        assert policy.decide(action, assess(action)).rule == rule


def test_every_variable_a_condition_may_use_is_there() -> None:
    """All seventeen hold what the action holds, and missing texts are null."""
    when = """
      action.type == "refund" && tool.name == "stripe" && tool.mcp_server_name == null
      && resource.name == "order 7" && resource.id == "7" && args.amount == 5
      && agent.id == "billing" && agent.name == "Billing" && agent.model_id == "m"
      && context.environment == "staging" && risk.score > 0 && risk.level != "" && risk.indicators.bulk
      && session.id == "s" && session.orchestration_id == null && session.depth == 2
      && session.parent_action_id == 3
    """
    action = AgentAction(
        "billing", "Billing", "refund", "order 7", "stripe", "7", {"amount": 5}, {"environment": "staging"},
        {"bulk": True}, "m", None, "s", None, 3, 2,
    )  # fmt: skip
    policy = Policy([Rule("all", RuleEffect.ALLOW, when=when)])
    assert policy.decide(action, assess(action)).errors == ()
    assert policy.decide(action, assess(action)).effect is RuleEffect.ALLOW


def test_names_an_attacker_chooses_do_not_fill_memory() -> None:
    """What is remembered per call is bounded in number, and long names are not remembered at all."""
    policy = parse_policy("version: 1\nrules: [{name: r, agents: ['a*'], effect: allow}]")
    for number in range(6000):
        action = AgentAction(f"a{number}", "A", "x", "r", "t")
        policy.decide(action, assess(action))
    remembered = policy._recall.cache_info()  # type: ignore[attr-defined]
    assert remembered.currsize == remembered.maxsize == 4096
    long = AgentAction("a" * 100_000, "A", "x", "r", "t")
    assert policy.decide(long, assess(long)).rule == "r"
    assert policy._recall.cache_info().misses == remembered.misses  # type: ignore[attr-defined]


def test_threads_share_a_policy() -> None:
    """Eight threads deciding at once each get the right verdict every time."""
    policy = parse_policy(
        "version: 1\nrules: [{name: r, when: args.n % 2 == 0 && args.n < 900, effect: allow}]"
    )

    def work(seed: int) -> list[bool]:
        made = [call(n=(seed * 31 + i) % 1000) for i in range(300)]
        return [
            (policy.decide(action, assess(action)).effect is RuleEffect.ALLOW)
            == (action.action_details["n"] % 2 == 0 and action.action_details["n"] < 900)
            for action in made
        ]

    with ThreadPoolExecutor(8) as pool:
        assert all(all(right) for right in pool.map(work, range(16)))


@pytest.mark.parametrize(
    ("action", "effect", "rule"),
    [
        (call("database_read", "orders", order_id="A-17"), "allow", "order-lookups"),
        (call("database_read", "shop", customer="C-1"), "require_approval", "other-reads"),
        (call("database_read", sql="DELETE FROM orders"), "deny", "no-free-queries"),
        (call("credential_read"), "deny", None),
        (call("file_write"), "require_approval", "writes"),
        (call("database_delete"), "deny", "no-destruction"),
        (call("refund", "billing", order_id="A-17", amount=20), "allow", "small-refunds"),
        (call("refund", amount=20), "deny", None),
        (call("refund", amount=-20), "deny", None),
        (call("refund", amount=5000.5), "require_approval", "big-refunds"),
        (call("refund"), "require_approval", "big-refunds"),
        (call("email_send", "mailer", to="ann@example.com", body=""), "allow", "mail-to-colleagues"),
        (call("email_send", "mailer", to="ann@example.org", body=""), "deny", None),
        (call("email_send", "mailer", to=["ann@example.com", "eve@evil.test"], body=""), "deny", None),
        (call("process_spawn"), "deny", None),
    ],
)
def test_the_starter_policy_by_example(action: AgentAction, effect: str, rule: str | None) -> None:
    """What `ascend-guard init` writes loads, and does what its comments say."""
    verdict = parse_policy(starter_policy()).decide(action, assess(action))
    assert (verdict.effect, verdict.rule) == (effect, rule)


def test_the_explanation_in_words() -> None:
    """Each rule, and in a few words what came of it."""
    policy = parse_policy(
        """version: 1
rules:
  - {name: elsewhere, actions: [file_*], tools: [disk], effect: deny}
  - {name: big, when: args.amount > 500, effect: deny}
  - {name: odd, when: args.currency == "EUR", effect: allow}
  - {name: all, tools: [stripe], effect: allow}
"""
    )
    action = call(amount=5)
    assert [(e.rule, e.matched, e.why) for e in explain(policy, action, assess(action))] == [
        ("elsewhere", False, "actions, tools did not match"),
        ("big", False, "its condition is false"),
        (
            "odd",
            False,
            'its condition could not be evaluated (there is no "currency"), which counts as no match',
        ),
        ("all", True, "matched"),
    ]


@given(
    st.sampled_from(["args.text", "args.deep[0].text", "resource.name", "resource.id", "context.text"]),
    st.text(max_size=4),
    st.text(max_size=4),
)
def test_nothing_hides_behind_a_nul_character(where: str, before: str, after: str) -> None:
    """A text with a NUL anywhere in the call never allows and always denies, however the condition looks at it."""
    hidden = f"{before}\0{after}"
    details = {"text": hidden, "deep": [{"text": hidden}]}
    action = AgentAction(
        "a", "A", "x", hidden, "t", resource_id=hidden, action_details=details, context={"text": hidden}
    )
    for when in (
        f"{where}.startsWith('')",
        f"{where} == '{''.join(c for c in before if c.isalnum())}'",
        f"size({where}) >= 0",
    ):
        for effect, default in ((RuleEffect.ALLOW, RuleEffect.DENY), (RuleEffect.DENY, RuleEffect.ALLOW)):
            verdict = Policy([Rule("r", effect, when=when)], default).decide(action, assess(action))
            assert verdict.effect is RuleEffect.DENY
            assert "NUL character" in verdict.errors[0]


@pytest.mark.parametrize("key", ["\0", "order_id\0"])
def test_a_key_hides_nothing_behind_a_nul_character(key: str) -> None:
    """Nor does the name of an argument; text that only looks like the escape of a NUL is read as it is."""
    policy = Policy([Rule("r", RuleEffect.ALLOW, when="args.all(name, name == 'order_id')")])
    action = call(**{key: 1})
    assert policy.decide(action, assess(action)).effect is RuleEffect.DENY
    policy = Policy([Rule("r", RuleEffect.ALLOW, when=r"args.text == '\\u0000'")])
    action = call(text="\\u0000")
    assert policy.decide(action, assess(action)).effect is RuleEffect.ALLOW
