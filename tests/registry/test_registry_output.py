"""The output filter: finds what it must, keeps nothing of it, and blocks when it fails."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import ADMIN, AGENT, BOUND, STRANGER, VIEWER, World

from ascend_guard.engine.registry import output_filter
from ascend_guard.engine.registry.output_filter import SHOWN, Filter, scan
from ascend_guard.engine.registry.records import MOST
from ascend_guard.engine.registry.sensitive import KINDS, Category, Kind, spans
from ascend_guard.errors import AuthorizationDeniedError, NotFoundError, StoreError
from ascend_guard.model import RiskLevel

LARGEST = 262_144


def luhn_digit(digits: str) -> str:
    """The check digit, by the rule as ISO/IEC 7812-1 words it."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit)
        if index % 2 == 0:
            value *= 2
            value = value // 10 + value % 10
        total += value
    return str(-total % 10)


@st.composite
def cards(draw: st.DrawFn) -> str:
    """A card's number, in one piece or in groups."""
    first = draw(st.sampled_from("23456"))
    rest = draw(st.text("0123456789", min_size=11, max_size=17))
    number = first + rest
    number += luhn_digit(number)
    if len(set(number)) == 1:
        number = "4111111111111111"
    mark = draw(st.sampled_from(["", " ", "-"]))
    return mark.join(number[start : start + 4] for start in range(0, len(number), 4))


@st.composite
def ibans(draw: st.DrawFn) -> str:
    """A bank account's number with check digits as ISO 13616-1 makes them."""
    country, length = draw(st.sampled_from([("DE", 22), ("NO", 15), ("GB", 22), ("MT", 31), ("FR", 27)]))
    body = draw(st.text(string.digits + string.ascii_uppercase, min_size=length - 4, max_size=length - 4))
    value = int("".join(str(int(sign, 36)) for sign in f"{body}{country}00"))
    number = f"{country}{98 - value % 97:02}{body}"
    if draw(st.booleans()):
        number = " ".join(number[start : start + 4] for start in range(0, len(number), 4))
    return number.lower() if draw(st.booleans()) else number


WORD = st.text(string.ascii_letters + string.digits, min_size=20, max_size=40).map(lambda text: text + "1")
SENSITIVE: dict[Kind, st.SearchStrategy[str]] = {
    Kind.CARD: cards(),
    Kind.IBAN: ibans(),
    Kind.SSN: st.tuples(st.integers(1, 665), st.integers(1, 99), st.integers(1, 9999)).map(
        lambda parts: f"{parts[0]:03}-{parts[1]:02}-{parts[2]:04}"
    ),
    Kind.EMAIL: st.tuples(
        st.text(string.ascii_lowercase, min_size=1, max_size=10),
        st.text(string.ascii_lowercase, min_size=1, max_size=10),
    ).map(lambda parts: f"{parts[0]}.q+1@{parts[1]}.example.org"),
    Kind.CREDENTIAL: WORD.map(lambda word: f"sk-{word}"),
    Kind.PRIVATE_KEY: WORD.map(
        lambda word: f"-----BEGIN EC PRIVATE KEY-----\n{word}\n-----END EC PRIVATE KEY-----"
    ),
}
PLANTED = st.one_of(
    *(strategy.map(lambda text, kind=kind: (kind, text)) for kind, strategy in SENSITIVE.items())
)
PLAIN = st.sampled_from(["The parcel is on its way. ", "", "Total: 17 items, ", "(see below) ", "\n", "é🙂 "])
REDACT = Filter(block_severity=RiskLevel.CRITICAL, categories=[Category.PCI, Category.PII])


@given(parts=st.lists(st.tuples(PLAIN, PLANTED), min_size=1, max_size=6))
def test_what_is_planted_is_found_and_taken_out(parts: list[tuple[str, tuple[Kind, str]]]) -> None:
    """Each at the position where it stands; what may go out has none of it in it."""
    text = ""
    planted: list[tuple[int, int, Kind]] = []
    for plain, (kind, secret) in parts:
        text += plain + " | "
        planted.append((len(text), len(text) + len(secret), kind))
        text += secret + " | "
    found = spans(text)
    for start, stop, kind in planted:
        assert any(span.start <= start and stop <= span.stop and span.kind is kind for span in found), text
    said = scan(text, Filter(block_severity=RiskLevel.CRITICAL))
    secrets = {kind for _, _, kind in planted} & {Kind.CREDENTIAL, Kind.PRIVATE_KEY}
    assert said.blocked == bool(secrets)
    assert (said.content is None) == said.blocked
    lenient = scan(text, REDACT)
    assert lenient.content is not None
    for start, stop, kind in planted:
        if KINDS[kind][0] in REDACT.categories:
            assert text[start:stop] not in lenient.content


@given(number=cards(), wrong=st.integers(1, 9))
def test_a_number_whose_check_digit_does_not_fit_is_no_card(number: str, wrong: int) -> None:
    """Any other last digit: an order's number stays readable."""
    changed = number[:-1] + str((int(number[-1]) + wrong) % 10)
    found = [span for span in spans(changed) if span.kind is Kind.CARD]
    assert all(span.stop - span.start < len(changed) for span in found)


@given(text=st.text(max_size=200))
def test_any_text_can_be_looked_through(text: str) -> None:
    """Whatever it is; findings lie in it, in order, and count what is there."""
    found = spans(text)
    assert all(0 <= span.start < span.stop <= len(text) for span in found)
    assert [span.start for span in found] == sorted(span.start for span in found)
    said = scan(text, Filter())
    assert sum(finding.count for finding in said.findings) == len(found)
    if not found:
        assert said.content == text


def test_a_card_between_other_numbers_is_found() -> None:
    """Digits beside it, one group away, do not hide it; nor does being spelled digit by digit."""
    for text in (
        "4111 1111 1111 1111",
        "No 1-4111-1111-1111-1111-2 of",
        "378282246310005 5555555555554444",
        "x4111111111111111x",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    ):
        assert any(span.kind is Kind.CARD for span in spans(text)), text
    for text in (
        *("4111 1111 1111 1112", "6666666666666", "0000 0000 0000 0000", "17", "2026-11-22 10:30:00"),
        *("14111111111111111", "141111111111111111", "411111111111111122222222"),  # parts of longer numbers
    ):
        assert spans(text) == [], text


HOSTILE = [
    *("1 ", "1", "4-", "a@", "@a.a.a.", "a", "GB82 ", "DE89A", "=", "a=", "password=", "bearer ", "://:"),
    *("-----BEGIN PRIVATE KEY-----", "eyJaaaa.", "123-45-", "x" * 64 + "@", "Basic aaaaaaaa ", "sk-", "ask_"),
    *("\"'", 'token: "', "4111 1111 1111 1111 ", "é", "\u00a0"),
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_the_largest_output_made_to_take_long(unit: str) -> None:
    """A quarter of a million characters of anything: what is not linear would not come back in a day."""
    text = (unit * (LARGEST // len(unit) + 1))[:LARGEST]
    scan(text, Filter())
    scan(text[:-1] + "!", REDACT)


def test_the_answer_and_the_database_know_what_was_there_and_not_what_it_was(world: World) -> None:
    """Kind, severity, count and positions; nothing of the data, neither in the answer nor in any file."""
    generator = random.Random(7)
    number = "4" + "".join(generator.choices("0123456789", k=14))
    card = number + luhn_digit(number)
    key = "sk-" + "".join(generator.choices(string.ascii_letters, k=24)) + "7"
    action = world.act(agent_id="billing")
    said = world.ask(
        "scan_output", BOUND, {"content": f"{card} {card}", "agent_id": "billing", "action_id": action}
    )
    assert said["status"] == "redacted"
    assert said["filtered_content"] == "[CARD_NUMBER REDACTED] [CARD_NUMBER REDACTED]"
    assert said["findings"] == [
        {
            "type": "card_number",
            "category": "pci",
            "severity": "high",
            "count": 2,
            "position": 0,
            "positions": [[0, 16], [17, 33]],
        }
    ]
    blocked = world.ask("scan_output", AGENT, {"content": f"key {key}", "agent_id": "other"})
    assert (blocked["status"], blocked["blocked"], blocked["filtered_content"]) == ("blocked", True, None)
    clean = world.ask("scan_output", AGENT, {"content": "Fine.", "agent_id": "other"})
    assert (clean["status"], clean["findings"], clean["filtered_content"]) == ("clean", [], "Fine.")
    kept = world.ask("list_findings", ADMIN)
    assert [finding["type"] for finding in kept["findings"]] == ["credential", "card_number"]
    assert [finding["action_id"] for finding in kept["findings"]] == [None, action]
    stored = world.everything()
    for secret in (card, key):
        assert secret not in str((said, blocked, kept))
        assert secret.encode() not in stored
    assert world.events()[-3:] == ["OUTPUT_SCANNED", "OUTPUT_BLOCKED", "OUTPUT_SCANNED"]


def test_findings_by_page_kind_action_and_agent(world: World) -> None:
    """Newest first; a key made for an agent sees its own, another organization none."""
    text = "4111 1111 1111 1111 and a@b.example.org"
    actions = [world.act(agent_id=agent) for agent in ("billing", "other")]
    for agent, action in zip(("billing", "other"), actions, strict=True):
        world.ask("scan_output", AGENT, {"content": text, "agent_id": agent, "action_id": action})

    def found(caller: Any, query: str = "") -> list[tuple[str, str]]:
        page = world.ask("list_findings", caller, query=query)
        return [(finding["agent_id"], finding["type"]) for finding in page["findings"]]

    assert found(ADMIN) == [
        ("other", "card_number"),
        ("other", "email"),
        ("billing", "card_number"),
        ("billing", "email"),
    ]
    assert found(ADMIN, "limit=1&offset=1") == [("other", "email")]
    assert found(ADMIN, "category=pci") == [("other", "card_number"), ("billing", "card_number")]
    assert found(ADMIN, "severity=low&limit=1") == [("other", "email")]
    assert found(ADMIN, "category=none") == []
    assert found(BOUND) == [("billing", "card_number"), ("billing", "email")]
    assert found(STRANGER) == []
    mine = world.ask("list_action_findings", BOUND, action_id=actions[0])
    assert {finding["action_id"] for finding in mine["findings"]} == {actions[0]}
    for caller, action in (
        (BOUND, actions[1]),
        (STRANGER, actions[0]),
        (ADMIN, 999),
        (ADMIN, "x"),
        (ADMIN, "9" * 30),
    ):
        with pytest.raises(NotFoundError, match="There is no action"):
            world.ask("list_action_findings", caller, action_id=action)


def test_whose_output_may_be_looked_through(world: World) -> None:
    """An agent's key looks through its own; an action that is not there, or another's, is not found."""
    action = world.act(agent_id="other")
    with pytest.raises(AuthorizationDeniedError):
        world.ask("scan_output", BOUND, {"content": "x", "agent_id": "other"})
    with pytest.raises(AuthorizationDeniedError):
        world.ask("scan_output", VIEWER, {"content": "x", "agent_id": "other"})
    for caller, number in ((BOUND, action), (STRANGER, action), (AGENT, 999)):
        with pytest.raises(NotFoundError):
            world.ask("scan_output", caller, {"content": "x", "agent_id": "billing", "action_id": number})
    assert world.ask("list_findings", ADMIN)["total"] == 0


def test_the_filter_does_what_it_is_configured_to(world: World) -> None:
    """Everything is looked for unless somebody said otherwise, for this organization only."""
    assert world.ask("get_output_filter_config", AGENT) == {
        "enabled": True,
        "categories": ["secret", "pci", "pii"],
        "block_severity": "critical",
    }
    wanted = {"enabled": True, "categories": ["pci"], "block_severity": "high"}
    assert world.ask("set_output_filter_config", ADMIN, wanted) == wanted
    assert world.ask("get_output_filter_config", AGENT) == wanted
    assert world.ask("get_output_filter_config", STRANGER)["block_severity"] == "critical"
    text = {"content": "4111 1111 1111 1111 a@b.example.org", "agent_id": "billing"}
    said = world.ask("scan_output", AGENT, text)
    assert (said["blocked"], [finding["type"] for finding in said["findings"]]) == (True, ["card_number"])
    world.ask("set_output_filter_config", ADMIN, wanted | {"enabled": False})
    said = world.ask("scan_output", AGENT, text)
    assert (said["status"], said["filtered_content"]) == ("disabled", text["content"])
    assert world.events()[-1] == "OUTPUT_NOT_SCANNED"
    assert world.events().count("OUTPUT_FILTER_CONFIGURED") == 2


def test_a_scan_that_fails_blocks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether looking through it fails, or keeping what was found: nothing goes out, and no word of it is logged."""
    text = {"content": "The parcel is on its way.", "agent_id": "billing"}

    def broken(*_: Any, **__: Any) -> Any:
        raise StoreError("The disk is full.")

    for name in ("scan", "keep", "configured"):
        with monkeypatch.context() as patched:
            patched.setattr(output_filter, name, broken)
            said = world.ask("scan_output", AGENT, text)
        assert (said["success"], said["status"], said["blocked"]) == (False, "blocked", True)
        assert said["filtered_content"] is None
        assert "failed" in said["reason"]


def test_the_oldest_findings_give_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand are kept; one more does not make a scan fail, which would block all output."""
    assert MOST == 10_000
    monkeypatch.setattr("ascend_guard.engine.registry.records.MOST", 3)
    for index in range(5):
        world.ask("scan_output", AGENT, {"content": f"a{index}@b.example.org", "agent_id": f"a{index}"})
    kept = world.ask("list_findings", ADMIN)["findings"]
    assert [finding["agent_id"] for finding in kept] == ["a4", "a3", "a2"]


def test_many_of_a_kind_are_counted_and_not_all_named() -> None:
    """The count is of all, the positions are of the first hundred."""
    said = scan("a@b.example.org " * 250, Filter())
    (finding,) = said.findings
    assert (finding.count, len(finding.positions)) == (250, SHOWN)
