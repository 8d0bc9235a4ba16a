"""Whatever agents write, nothing of it acts on the terminal of who reads it."""

from __future__ import annotations

import io
import itertools
import json
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from ascend_guard.cli.output import cell, safe, shown
from ascend_guard.cli.screen.argument_tree import Brief, Tree

NASTY = (
    "\x1b", "\x1b[2J", "\x1b]8;;https://x\x07", "\x9b", "\x00", "\x07", "\x08", "\x7f", "\r", "\n", "\t", "\x0b", "\x85",
    "\u200b", "\u200d", "\u200e", "\u200f", "\u202a", "\u202e", "\u2028", "\u2029", "\u2066", "\u2069", "\u061c",
    "\ufeff", "\u00ad", "\u00a0", "\u2800", "\u3164", "\u034f", "\ufe0f", "\U000e0041", "\u0336", "\u20e0", "\u0301",
    "[bold]", "[/]", "[link=https://x]y[/link]", ":smile:", "\\x1b", "│", "└── amount: 1", "א", "\u0661", "漢", "🙂", " ",
)  # fmt: skip
nasty = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=4), st.just("x" * 300)), max_size=8).map(
    "".join
)
anything = st.text(st.characters(), max_size=30)
SGR = re.compile(r"\x1b\[[0-9;]*m")
AGE = re.compile(r"[0-9]+ s")


def is_clean(output: str) -> bool:
    """Only what prints, in lines."""
    return all(char == "\n" or (char.isprintable() and char != "\u2800") for char in output)


@given(anything | nasty, st.booleans())
@example("a\u0301\u0301\u0301\u0301\u0301\u0301", False)
def test_safe_text_is_one_printable_line(text: str, table: bool) -> None:
    """No control, format, bidirectional, invisible or line-breaking character is left."""
    line = safe(text, table=table)
    assert line.isprintable()
    assert not any(
        unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me") for char in line
    )
    assert all(unicodedata.combining(char) != 1 for char in line)
    assert not line or unicodedata.category(line[0])[0] != "M"
    if table:
        assert not any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in line)


@pytest.mark.parametrize("table", [False, True])
def test_every_character_there_is(table: bool) -> None:
    """All of Unicode, one by one: what is let through prints, is seen, and leaves its neighbours alone."""
    every = "".join(f"x{chr(code)}" for code in range(sys.maxunicode + 1))
    through = set(safe(every, table=table))
    assert all(char.isprintable() for char in through)
    assert not through & set(
        "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u2800\u3164\ufe00\ufe0f\uffa0\U000e0100"
    )
    assert not any(unicodedata.combining(char) == 1 or unicodedata.category(char) == "Me" for char in through)
    assert table is not any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in through)
    assert set("éß漢字🙂\u0301") <= through


@given(anything | nasty)
def test_safe_text_is_what_rich_prints(text: str) -> None:
    """The styled form says the same, and markup and emoji codes stay as they are."""
    assert shown(text).plain == safe(text)
    assert safe(shown(text).plain) == shown(text).plain


@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126)))
def test_plain_text_stays(text: str) -> None:
    """Printable ASCII is left alone, brackets and backslashes included."""
    assert safe(text) == text


def test_escapes_are_readable() -> None:
    """The escapes are those programmers know."""
    assert safe("a\x1b[2J\u202eb\n\U000e0041") == r"a\x1b[2J\u202eb\n\U000e0041"
    assert safe("na\u0308\u00efve 漢字 🙂") == "na\u0308\u00efve 漢字 🙂"


def test_a_cell_is_short() -> None:
    """A cell of a table is cut, whatever its length."""
    assert len(cell("x" * 10_000).plain) < 1000


# --- the tree -------------------------------------------------------------------------------------

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | nasty,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(nasty, inner, max_size=4),
    max_leaves=12,
)


def drawn(tree: Tree, width: int = 80) -> list[str]:
    """The lines of a tree."""
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)
    console.print(tree)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().split("\n")[:-1]


@given(st.dictionaries(nasty, values, max_size=5), st.integers(30, 140))
def test_no_value_poses_as_another(data: dict[str, Any], width: int) -> None:
    """There is one branch for each name, and every other line is indented below one."""
    lines = drawn(Tree(data), width)
    assert all(is_clean(line) for line in lines)
    assert sum(line.startswith(("├── ", "└── ")) for line in lines) == len(data)
    assert all(line.startswith(("├── ", "└── ", "│   ", "    ")) for line in lines)


@given(nasty, st.integers(30, 140))
def test_a_value_is_shown_whole(text: str, width: int) -> None:
    """Put together again, the lines are the whole text."""
    lines = drawn(Tree({"a": text}), width)
    indent = len("└── a: ")
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    if text != "[REDACTED]":
        assert "".join(line[indent:] for line in lines) == f'"{_as_shown(quoted)}"'


def _as_shown(text: str) -> str:
    return "\\n".join(safe(line) for line in text.split("\n"))


def test_a_brief_tree_says_what_it_leaves_out() -> None:
    """A flood of text does not push the rest off the screen, and does not vanish silently."""
    lines = drawn(Tree({"flood": "x " * 50_000, "amount": 600}, brief=Brief("ascend-guard actions show 1")))
    assert len(lines) < 15
    assert "more characters: ascend-guard actions show 1" in " ".join(lines)
    assert lines[-1] == "└── amount: 600"
    brief = Brief("ascend-guard actions show 1")
    many = drawn(Tree({f"k{number}": number for number in range(500)}, brief=brief))
    assert len(many) < 100
    assert many[-1] == "… and more: ascend-guard actions show 1"
    assert brief.hidden
    short = Brief("ascend-guard actions show 1")
    drawn(Tree({"amount": 600}, brief=short))
    assert not short.hidden


def test_deep_data_stays_on_the_screen() -> None:
    """The deepest arguments there can be are drawn within the width."""
    data: dict[str, Any] = {"end": "here"}
    for _ in range(62):
        data = {"k": data}
    lines = drawn(Tree(data), 60)
    assert all(len(line) <= 60 for line in lines)
    assert "here" in " ".join(lines)


# --- every command --------------------------------------------------------------------------------

LOOKS = (
    "approvals list", "approvals show {id}", "actions list", "actions show {id}", "kill-switch status",
    "kill-switch status --agent x", "doctor", "audit verify", "audit rebuild", "policy check",
)  # fmt: skip


@settings(max_examples=settings().max_examples // 10)
@given(st.lists(nasty, min_size=20, max_size=20), st.booleans())
def test_nothing_from_the_data_acts_on_the_terminal(
    shops: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, texts: list[str], yes: bool
) -> None:
    """Every command prints only what prints, in colours or not, and pure ASCII under --json."""
    text = itertools.cycle(texts).__next__
    shop = shops()
    named = {
        "agent_id": text(),
        "agent_name": text(),
        "tool_name": text(),
        "resource": text(),
        "session_id": text(),
    }
    details = {"order": text(), "amount": 600, text(): {text(): [text(), 1]}}
    shop.finish(shop.ask("data_read", **named, action_details=details), error=text())
    asked = shop.ask(**named, resource_id=text(), action_details=details, context={text(): text()})
    shop.plane.kill(reason=text(), by=text(), agent_id=named["agent_id"] or None)

    def check(*words: str) -> None:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
        plain = shop.run(*words)
        assert is_clean(plain.out), words
        assert is_clean(plain.err), words
        assert "Traceback" not in plain.err

    for look in LOOKS:
        words = look.format(id=asked.action_id).split()
        check(*words)
        value = shop.run(*words, "--json")
        assert value.out.isascii()
        assert is_clean(value.out)
        json.loads(value.out)
    plain = shop.run("actions", "show", asked.action_id).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = shop.run("actions", "show", asked.action_id).out
    assert AGE.sub("", SGR.sub("", coloured)) == AGE.sub("", plain)
    check(
        "approvals",
        "approve" if yes else "deny",
        asked.action_id,
        *(["--yes"] if yes else []),
        "--comment",
        text(),
    )
    check("approvals", "approve", asked.action_id, "--yes")
    check("actions", "show", asked.action_id)
    check("actions", "show", text())
    check("actions", "list", "--agent", named["agent_id"], "--session", named["session_id"])
    check("kill-switch", "off", "--yes", "--agent", named["agent_id"] or "x")
    check("policy", "explain", "--action", text(), "--tool", text(), "--args", json.dumps({text(): text()}))
    check("approvals", text())


def test_the_question_is_neutral_too(shop: Any, types: Any) -> None:
    """What is shown before approving, and the question itself, are as harmless."""
    asked = shop.ask(
        agent_id="a\x1b[2K\ry\u202e", tool_name="t\x1b]0;x\x07", action_details={"amount": 6, "x": "\x1b[1A"}
    )
    types("n")
    answer = shop.run("approvals", "approve", asked.action_id)
    assert answer.code == 1
    assert is_clean(SGR.sub("", answer.err))
    assert r"for a\x1b[2K\ry\u202e, as " in SGR.sub("", answer.err)
