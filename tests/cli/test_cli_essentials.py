"""The arguments that matter, on one line: whole numbers, nothing that poses as something else, nothing cut unseen."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ascend_guard.cli.output import safe
from ascend_guard.cli.screen.essentials import Line, differing, essentials

NASTY = (
    "\x1b[2J",
    "\x9b",
    "\n",
    "\r",
    "\u202e",
    "\u200b",
    '"',
    "\\",
    "  +3",
    "  amount: 1",
    "…",
    "漢",
    "א",
    "🙂",
    "x" * 90,
)
nasty = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=4)), max_size=6).map("".join)
long = st.text(st.sampled_from('ab \u202e\\"'), min_size=30, max_size=300)
numbers = st.integers() | st.integers(10**30, 10**60) | st.floats(allow_nan=False, allow_infinity=False)
names = (
    st.sampled_from(["amount", "to", "order_id", "note", "price", "x", "path", "flag", "amount: 1  to", ""])
    | nasty
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | nasty | long | st.just("[REDACTED]"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
ITEM = re.compile(
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^":\s]+)): '
    r'(?:"(?P<head>(?:[^"\\]|\\.)*)"(?:…"(?P<tail>(?:[^"\\]|\\.)*)")?|(?P<plain>\[REDACTED\]|\[\]|\{\}'
    r"|a number of about \d+ digits|\([^\s]*\)|[^\s\"]+))(?:  |$)"
)


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every value inside, and where it is."""
    if isinstance(value, dict) and (value or not path):
        return [
            leaf
            for name, inner in value.items()
            for leaf in leaves(inner, f"{path}.{name}" if path else name or "\0")
        ]
    if isinstance(value, list) and value:
        return [leaf for number, inner in enumerate(value) for leaf in leaves(inner, f"{path}[{number}]")]
    return [(path, value)]


def read(line: str) -> tuple[list[re.Match[str]], int]:
    """The line as a careful person reads it: its items, and how many more there are."""
    items, at = [], 0
    while found := ITEM.match(line, at):
        items.append(found)
        at = found.end()
    rest = line[at:]
    more = re.fullmatch(r"\+(\d+)", rest) or re.fullmatch(r"… (\d+) arguments?", rest)
    assert more or not rest, (line, rest)
    return items, int(more[1]) if more else 0


def test_a_line_says_what_is_there() -> None:
    """Within the width, in printable characters; each item is one of the arguments, and the rest is counted."""
    seen: Counter[str] = Counter()

    @settings(max_examples=settings().max_examples * 3)
    @given(st.dictionaries(names, values, max_size=6), st.integers(16, 160))
    def check(arguments: dict[str, Any], width: int) -> None:
        line = Line(essentials(arguments)).fit(width)
        assert line.cell_len <= width
        assert line.plain.isprintable()
        if not arguments:
            assert line.plain == "no arguments"[:width]
            return
        there = leaves(arguments)
        items, more = read(line.plain)
        assert len(items) + more == len(there), line.plain
        for item, value in _paired(items, there):
            seen["cut" if item["tail"] is not None else "whole"] += 1
            seen["number"] += isinstance(value, int | float) and not isinstance(value, bool)
            seen["quoted name"] += item["quoted"] is not None
        seen["more"] += more > 0

    check()
    for event in ("cut", "whole", "number", "quoted name", "more"):
        assert seen[event] > 5, seen


def _paired(items: list[re.Match[str]], there: list[tuple[str, Any]]) -> list[tuple[re.Match[str], Any]]:
    """Each item with a value that it may stand for, and no value twice; where names are whole, they tell which."""
    fits = [
        sorted(
            (index for index, (_, value) in enumerate(there) if _is(value, item)),
            key=lambda index, item=item: there[index][0] != item["bare"],
        )
        for item in items
    ]
    taken: dict[int, int] = {}  # the place of a value: the place of its item

    def pair(item: int, tried: set[int]) -> bool:
        for index in fits[item]:
            if index not in tried:
                tried.add(index)
                if index not in taken or pair(taken[index], tried):
                    taken[index] = item
                    return True
        return False

    for number, item in enumerate(items):
        assert pair(number, set()), (item[0], there)
    return [(items[number], there[index][1]) for index, number in taken.items()]


def _is(value: Any, item: re.Match[str]) -> bool:
    """Whether an item may stand for this value: for text its beginning and end, for everything else all of it."""
    if item["plain"] is not None:
        plain = item["plain"]
        if plain.startswith("a number of about"):
            return isinstance(value, int) and abs(value) >= 10**32
        if value == "[REDACTED]" or value in ([], {}):
            return plain == (value if isinstance(value, str) else json.dumps(value))
        return not isinstance(value, str) and plain == json.dumps(value)
    if not isinstance(value, str) or value == "[REDACTED]":
        return False
    whole = value.replace("\\", "\\\\").replace('"', '\\"')
    if item["tail"] is None:
        return item["head"] == safe(whole, table=True)
    # Marks may be escaped or not by what stands before them, so the ends are compared by their plain characters.
    return _plain(safe(whole, table=True)).startswith(_plain(item["head"])[:4]) and len(value) > 1


def _plain(text: str) -> str:
    return "".join(char for char in text if char.isascii())


def test_no_flood_hides_the_amount_or_the_target() -> None:
    """Whatever else a call has, however much of it: on 72 columns there are an amount, a target and what differs."""
    seen: Counter[str] = Counter()
    noise = [
        f"{word}_{number}" for word in ("note", "total", "file", "flag", "a" * 60) for number in range(40)
    ]
    flood = st.builds(
        lambda count, value: dict.fromkeys(noise[:count], value),
        st.integers(0, 200),
        nasty | st.integers(-5, 5),
    )

    @given(flood, flood, st.integers(-(10**9), 10**9), st.integers(0, 10**6))
    def check(before: dict[str, Any], after: dict[str, Any], amount: int, mark: int) -> None:
        first = before | {"amount": amount, "iban": "DE89 3704", "x": mark} | after
        second = first | {"amount": amount + 1, "x": mark + 1, "iban": "DE89 3705"}
        calls = [essentials(first), essentials(second)]
        differs = differing(calls)
        assert {"amount", "iban", "x"} <= differs
        for call, value, account, other in zip(
            calls, (amount, amount + 1), ("3704", "3705"), (mark, mark + 1), strict=True
        ):
            line = Line(call, differs).fit(72).plain
            assert f"amount: {value}" in line
            assert account in line
            assert f"x: {other}" in line
        seen["large"] += len(first) > 30

    check()
    assert seen["large"] > 3, seen


def test_three_refunds_just_under_the_limit() -> None:
    """Side by side: the amounts and the orders, whatever the rest says; the same amounts three times as well."""
    note = "the customer is a very good one and says that the parcel came late " * 5
    for amounts in ((499, 498.5, 497), (499, 499, 499)):
        calls = [
            essentials({"note": note, "currency": "EUR", "order": f"o-{number}", "amount": amount})
            for number, amount in enumerate(amounts)
        ]
        differs = differing(calls)
        for number, (call, amount) in enumerate(zip(calls, amounts, strict=True)):
            assert Line(call, differs).fit(40).plain.startswith(f'amount: {amount}  order: "o-{number}"')


def test_large_arguments_are_read_in_part() -> None:
    """A hundred thousand values cost no more than two thousand, and what was not read is counted."""
    arguments = {"deep": [{"x": [1] * 100}] * 1000, "amount": 7, "to": "a@b.example"}
    kept = essentials(arguments)
    assert len(kept.leaves) <= 800
    line = Line(kept).fit(100).plain
    assert 'amount: 7  to: "a@b.example"' in line
    assert re.search(r"\+\d{3,}$", line)


def test_values_json_cannot_say() -> None:
    """Decimals are numbers; objects and secrets say what they are; a map that looks like a number is quoted text."""
    line = Line(
        essentials(
            {
                "amount": {"$decimal": "99.50"},
                "card": "[REDACTED]",
                "file": {"$opaque": "Handle"},
                "big": 10**5000,
                "fake": {"$decimal": '5  to: "me"'},
            }
        )
    ).fit(200)
    for text in (
        "amount: 99.50",
        "card: [REDACTED]",
        "file: (Handle)",
        "5001 digits",
        'fake: "5  to: \\"me\\""',
    ):
        assert text in line.plain


def test_missing_and_narrow() -> None:
    """Missing arguments are said to be missing, and where a number has no room, no part of it is shown."""
    assert "missing" in Line(None).fit(40).plain
    assert cell_len(Line(None).fit(10).plain) <= 10
    assert Line(essentials({"amount": 123456789012345})).fit(15).plain == "… 1 argument"
