"""The loader: whatever it is given it loads or refuses, with the line and the remedy of each mistake."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ascend_guard.engine.policy import RuleEffect, load_policy, parse_policy, starter_policy
from ascend_guard.engine.policy.load import _duration
from ascend_guard.errors import ConfigurationError, PolicyError

ONE = "version: 1\nrules:\n- {name: r, effect:"
TOKENS = st.sampled_from([
    *"#'\"*{}[]|>%\t\n\x00é\ud800\U0001f600", "  ", "- ", ": ", "&a ", "!!str ", "---\n", "<<: ", "? ",
    "no", "null", "true", "1e9", "0x1", "-1", "9" * 5000, "2024-01-01", "version: 1", "rules", "default",
    "name", "effect", "allow", "when", "quorum: ", "timeout: ", "args.", "((", "&&",
])  # fmt: skip


def refusal(text: str) -> str | None:
    """What the loader says, or None when it loads; anything but PolicyError goes through."""
    try:
        parse_policy(text, "p")
    except PolicyError as error:
        return str(error)
    return None


def refused(text: str) -> str:
    said = refusal(text)
    assert said is not None
    return said


def loads_or_refuses(text: str) -> None:
    said = refusal(text)
    assert said is None or re.match(r"p(:[1-9]\d*)?: .+; .+", said, re.DOTALL)


@given(st.text() | st.lists(TOKENS).map("".join))
@example("\ufeff")
@example("[" * 100_000)
@example("- " * 100_000)
@example("{a: " * 10_000)
@example('a: "\\ud800"')
@example("\u2028- x\x85: y")
def test_any_text_loads_or_is_refused(text: str) -> None:
    """Nothing but PolicyError ever comes out."""
    loads_or_refuses(text)


@given(st.data())
def test_a_mutilated_policy_loads_or_is_refused(data: st.DataObject) -> None:
    """A real policy with pieces cut out, put in and doubled raises nothing else either."""
    text = starter_policy()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 20))
        text = (
            text[:start] + data.draw(TOKENS | st.just(text[start:end] * 2) | st.text(max_size=3)) + text[end:]
        )
    loads_or_refuses(text)


@given(st.binary() | st.text().map(str.encode))
def test_any_file_loads_or_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """The same for bytes on disk."""
    path = tmp_path_factory.getbasetemp() / "any-policy.yaml"
    path.write_bytes(content)
    with contextlib.suppress(PolicyError):
        load_policy(path)


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_condition_compiles_or_is_refused(text: str) -> None:
    """Any text at all as a condition is refused on its own line, if it is."""
    quoted = "'" + re.sub(r"[^ -~]", "?", text).replace("'", "''") + "'"
    said = refusal(f"version: 1\nrules:\n- name: r\n  effect: deny\n  when: {quoted}")
    assert said is None or re.match(r"p:[35]: ", said)


MISTAKES = {
    "  effect: maybe": "`effect` is 'maybe'",
    "  effect: deny\n  colour: red": "no field 'colour'",
    "  effect: deny\n  actions: []": "empty list",
    "  effect: deny\n  when: args.x >": "does not compile",
    "  effect: allow\n  quorum: 2": "`quorum` has no meaning",
    "  effect: require_approval\n  timeout: 5": "`timeout`",
}


@given(st.integers(0, 8), st.sampled_from(sorted(MISTAKES)), st.data())
def test_the_line_is_the_line(before: int, mistake: str, data: st.DataObject) -> None:
    """Whatever comments, blank lines and rules stand before it, a mistake is reported where it is."""
    filler = st.sampled_from(["", "# a comment", "  # another"])
    lines = ["version: 1", "rules:"]
    for number in range(before):
        lines += data.draw(st.lists(filler, max_size=2))
        lines += [f"- name: good-{number}", f"  actions: [a{number}]", "  effect: allow"]
        lines += data.draw(
            st.sampled_from(
                [[], ["  reason: |", "    two", "    lines"], ["  when: >", "    args.a", "    > 1"]]
            )
        )
    lines += ["- name: bad", *mistake.split("\n")]
    if data.draw(st.booleans()):
        lines += ["- {name: after, actions: [zz], effect: allow}"]
    line = next(n for n in range(len(lines), 0, -1) if lines[n - 1] == mistake.split("\n")[-1])
    message = refused("\n".join(lines))
    assert message.startswith(f"p:{line}: ")
    assert MISTAKES[mistake] in message
    assert "\n" not in message


@given(st.integers(1, 10**9 - 1), st.sampled_from("smhd"))
def test_durations_are_a_number_and_a_unit(number: int, unit: str) -> None:
    """Seconds for each unit, up to a year."""
    seconds = number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert _duration(f"{number}{unit}") == (seconds if seconds <= 365 * 86400 else None)


@given(st.text())
@example("90")
@example("1.5h")
@example("1h30m")
@example("-5m")
@example("0s")
@example("٣s")
@example("30m\n")
def test_other_durations_are_none(text: str) -> None:
    """No sign, fraction, sum, space or foreign digit; and never zero."""
    if not re.fullmatch(r"0*[1-9][0-9]*[smhd]", text):
        assert _duration(text) is None


def _catalogue() -> list[tuple[str, str]]:
    blocks = Path(__file__).with_name("mistakes.txt").read_text("utf-8").split("\n\n")
    cases = []
    for block in blocks[1:]:
        lines = block.strip("\n").split("\n")
        said = [line.removeprefix("=> ") for line in lines if line.startswith("=> ")]
        cases.append(("\n".join(line for line in lines if not line.startswith("=> ")), "\n".join(said)))
    return cases


@pytest.mark.parametrize(("text", "message"), _catalogue())
def test_what_is_said_of_each_mistake(text: str, message: str) -> None:
    """Every complaint of the loader, word for word."""
    said = refused(text)
    if "not YAML" in message:  # the parser's own words depend on how PyYAML was built
        said, message = (re.sub("not YAML: .*?;", "not YAML;", words) for words in (said, message))
    assert said == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p:1: the file is empty; begin with `version: 1`, or run `ascend-guard init`"),
        ("# nothing", "p:1: the file is empty; begin with `version: 1`, or run `ascend-guard init`"),
        ("version: 1\n# \x07", "p:2: there is a control character (U+0007); remove it"),
        ("[" * 30 + "]" * 30, "p:1: this is nested too deeply; a rule has a few plain fields"),
        (f"{ONE} deny, when: {'x' * 10_001}}}", "p:3: the condition has 10,001 characters; at most 10,000"),
        (f"{ONE} deny, tools: {'x' * 1001}}}", "p:3: `tools` is longer than 1000 characters"),
        (ONE.replace("r,", "r" * 201 + ",") + " deny}", "p:3: `name` is not one line of at most 200"),
        (" " * (4 * 1024 * 1024 + 1), "p: it is larger than 4 MiB; split it, or write fewer and wider rules"),
    ],
)
def test_what_is_said_of_mistakes_that_do_not_print_well(text: str, message: str) -> None:
    """Emptiness, control characters and excess."""
    assert refused(text).startswith(message)


@pytest.mark.parametrize("rules", ["\t- name: r", "- name: r\n\teffect: deny"])
def test_tabs_are_named(rules: str) -> None:
    """The line with the tab, and that it is a tab."""
    line = 2 + rules.count("\n") + 1
    said = refused(f"version: 1\nrules:\n{rules}")
    assert re.fullmatch(rf"p:{line}: this is not YAML: .*; indent with spaces, not tabs", said)


def test_the_slow_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML was built without libyaml, policies, lines and remedies are the same."""
    fast = parse_policy(starter_policy()).rules
    monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert parse_policy(starter_policy()).rules == fast
    for text, message in _catalogue():
        said, message = (re.sub("not YAML: .*?;", "not YAML;", words) for words in (refused(text), message))
        assert said == message
    loads_or_refuses('a: "\\ud800"')
    for field in ("name", "when", "tools", "reason"):
        loads_or_refuses(f'{ONE} deny, {field}: "\\ud800"}}')


def test_a_condition_in_a_block_is_reported_on_its_own_line() -> None:
    """Inside `when: |` the line is that of the mistake, not of the key."""
    when = "  when: |\n    args.a\n    && args.b >\n    && args.c\n"
    assert refused(f"version: 1\nrules:\n- name: r\n  effect: deny\n{when}").startswith("p:8: ")


def test_several_mistakes_are_reported_at_once() -> None:
    """In the order of the file, one a line, ten at most."""
    lines = refused("\n".join(["version: 1", "rules:", *["- {name: r, efect: deny}"] * 8])).split("\n")
    assert lines[0] == "p:3: a rule has no field 'efect'; did you mean `effect`?"
    assert lines[1].startswith("p:3: this rule has no `effect`")
    assert lines[-1] == "... and 6 more"
    assert len(lines) == 11


def test_everything_a_rule_can_say() -> None:
    """All fields, single texts for lists, and the defaults of those left out."""
    policy = parse_policy(
        """
version: 1
default: allow
rules:
  - name: full
    actions: refund
    tools: [stripe, paypal, stripe]
    agents: "billing-*"
    resources: ["orders/*"]
    when: args.amount > 500
    effect: require_approval
    approvers: finance
    quorum: 2
    timeout: 90s
    reason: |
      Refunds above 500
      need finance.
  - {name: bare, effect: require_approval, tools: x}
""",
        "policy.yaml",
    )
    full, bare = policy.rules
    assert (policy.source, policy.default) == ("policy.yaml", RuleEffect.ALLOW)
    assert full.scope == (("refund",), ("stripe", "paypal"), ("billing-*",), ("orders/*",))
    assert (full.when, full.approvers, full.quorum, full.timeout) == (
        "args.amount > 500",
        ("finance",),
        2,
        90.0,
    )
    assert (full.reason, full.line, bare.line) == ("Refunds above 500 need finance.", 5, 18)
    assert (bare.approvers, bare.quorum, bare.timeout, bare.reason) == ((), 1, 86400.0, None)


def test_the_least_policy() -> None:
    """A version is enough: everything is denied. A byte order mark and Windows line ends are fine."""
    for text in ("version: 1", "\ufeffversion: 1\r\nrules:\r\n", "version: 1\nrules: []"):
        policy = parse_policy(text)
        assert (policy.default, policy.rules) == (RuleEffect.DENY, ())


def test_the_digest_is_of_the_text() -> None:
    """The same text gives the same digest, another text another, and it is SHA-256."""
    one, same, other = (parse_policy(text).digest for text in ("version: 1", "version: 1", "version: 1 "))
    assert one == same != other
    assert re.fullmatch(r"[0-9a-f]{64}", one)


def test_files_that_cannot_be_read_are_refused_with_the_remedy(tmp_path: Path) -> None:
    """Missing, a directory, unreadable, not UTF-8, too large: each says what to do."""
    with pytest.raises(
        PolicyError, match=r"nowhere\.yaml: the policy file does not exist; .*`ascend-guard init`"
    ):
        load_policy(tmp_path / "nowhere.yaml")
    with pytest.raises(PolicyError, match="it is a directory; name the policy file inside it"):
        load_policy(tmp_path)
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(PolicyError, match=r"policy\.yaml:2: it is not UTF-8 text; save it as UTF-8"):
        load_policy(path)
    path.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(PolicyError, match="larger than 4 MiB"):
        load_policy(str(path))
    with pytest.raises(PolicyError, match="it cannot be read"):
        load_policy("a\0b")
    if os.geteuid() != 0:
        path.chmod(0)
        with pytest.raises(PolicyError, match="cannot be read without permission"):
            load_policy(path)


def test_a_file_loads_like_its_text(tmp_path: Path) -> None:
    """`load_policy` and `parse_policy` agree, digest included."""
    path = tmp_path / "policy.yaml"
    path.write_text(starter_policy(), "utf-8")
    policy = load_policy(path)
    assert policy.source == str(path)
    assert (policy.rules, policy.digest) == (
        parse_policy(starter_policy()).rules,
        parse_policy(starter_policy()).digest,
    )


def test_a_policy_error_is_a_configuration_error() -> None:
    """So people who catch that, or ValueError, catch this."""
    assert issubclass(PolicyError, ConfigurationError)
    assert issubclass(PolicyError, ValueError)
