"""Long lists: printed as they are read, in columns, through a pager on a terminal."""

from __future__ import annotations

import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_screens import SIZES, Screen
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from ascend_guard.cli.output import cell
from ascend_guard.cli.screen.action_pages import walk
from ascend_guard.cli.screen.columns import Column, Listing, Row
from ascend_guard.store.log import key_of

texts = st.text(st.sampled_from("aé漢🙂 \x1b"), max_size=40)


@given(
    st.lists(st.tuples(texts, texts, texts, texts), min_size=1, max_size=120),
    st.integers(20, 140),
)
def test_every_line_fits(rows: list[tuple[str, str, str, str]], width: int) -> None:
    """However long the cells, no line is wider than the terminal, and each row is there once, in order."""
    columns = [Column("ID", right=True), Column("First", 3), Column("Second", 1), Column("Third", 2)]
    listing = Listing(columns, width)
    given_rows = (
        Row([[Text(str(number)), *map(cell, cells[:3])]], cell(cells[3])) for number, cells in enumerate(rows)
    )
    lines = list(listing.lines(given_rows))
    assert all(line.cell_len <= width for line in lines)
    assert len(lines) == 2 + 2 * len(rows)
    assert [line.plain.split()[0] for line in lines[2::2]] == [str(number) for number in range(len(rows))]


def test_the_first_line_does_not_wait_for_the_last() -> None:
    """An endless list begins to be printed after its first hundred rows."""
    read = Counter[str]()

    def endless() -> Iterator[Row]:
        for number in itertools.count():
            read["rows"] += 1
            yield Row([[Text(str(number)), Text("x" * (number % 300))]])

    lines = Listing([Column("ID", right=True), Column("What", 1)], 80).lines(endless())
    assert len(list(itertools.islice(lines, 52))) == 52
    assert read["rows"] <= 100
    assert all(line.cell_len <= 80 for line in itertools.islice(lines, 1000))
    assert read["rows"] <= 1100


@settings(max_examples=settings().max_examples // 10)
@given(
    st.sampled_from([None, "pending", "denied", "completed", "running"]),
    st.integers(1, 400),
    st.integers(0, 150),
    st.lists(st.sampled_from(["ask", "deny"]), max_size=6),
)
def test_pages_leave_nothing_out(
    shops: Callable[[], Any], status: str | None, limit: int, offset: int, meanwhile: list[str]
) -> None:
    """Page by page it is what one question answers, newest first and once each, also while actions come and are decided."""
    shop = shops()
    asked = [
        shop.ask("data_read" if number % 3 else "refund", resource=f"r/{number}") for number in range(230)
    ]
    for number, one in enumerate(asked):
        if number % 6 == 1:
            shop.finish(one)

    def matches(row: Any) -> bool:
        outcome = (row.outcome or "running") if row.claimed_at else None
        return status in (None, row.status, outcome)

    every = shop.plane.read(lambda reader: reader.actions("local", limit=1000))
    expected = [row.id for row in every if matches(row)][offset : offset + limit]
    pages = walk(shop.plane, status=status, limit=limit, offset=offset)
    found = [one.row.id for one in next(pages, [])]
    for what in meanwhile:
        if what == "ask":
            shop.ask(resource="r/new")
        else:
            pending = shop.plane.pending()
            if pending:
                shop.plane.deny(str(pending[-1].id), approver="carol")
    found += [one.row.id for page in pages for one in page]
    assert found == sorted(set(found), reverse=True)
    assert max(expected, default=0) >= max(found, default=0)
    if "deny" not in meanwhile:
        assert found == expected


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_three_refunds_are_seen_side_by_side(shop: Any, size: tuple[int, int]) -> None:
    """The list of what waits, and the session's history in one action, show the amounts on both sizes of screen."""
    for number, amount in enumerate((999, 998, 997), 1):
        details = {"order": f"o-{number}", "amount": amount, "note": "the parcel came late " * 9}
        shop.ask(resource=f"orders/{number}", session_id="conv-1", action_details=details)
    for words in (("approvals", "list"), ("actions", "list", "--session", "conv-1")):
        screen = Screen(*words, size=(size[0], 24), PAGER="cat")
        assert screen.end() == 0
        lines = [line for line in screen.lines if "amount:" in line]
        assert [line.split("amount: ")[1].split()[0] for line in lines] == ["997", "998", "999"]
        assert all(f'order: "o-{4 - number}"' in line for number, line in enumerate(lines, 1))
    screen = Screen("approvals", "show", "2", size=(size[0], 60), PAGER="cat")
    assert screen.end() == 0
    assert "amount: 997" in screen.text
    assert "amount: 999" in screen.text
    assert "Later in this session" in screen.text


def pager(folder: Path, code: str) -> str:
    """A pager of ours: it notes what it was given, and what it does besides."""
    path = folder / "pager.py"
    path.write_text(f"import sys, pathlib\nnoted = pathlib.Path({str(folder / 'paged')!r})\n{code}\n")
    return f"'{sys.executable}' '{path}'"


def test_a_long_list_goes_through_the_pager(shop: Any, tmp_path: Path) -> None:
    """All of it and coloured; a short one is printed, and one in a pipe or with PAGER=cat."""
    for number in range(1, 41):
        shop.ask("data_read", resource=f"r/{number}")
    paged = tmp_path / "paged"
    command = pager(tmp_path, "noted.write_text(sys.stdin.read())\nprint('paged it')")
    screen = Screen("actions", "list", PAGER=command)
    assert screen.end() == 0
    assert "paged it" in screen.text
    text = paged.read_text()
    ids = [
        line.split()[0] for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if "data_read" in line
    ]
    assert ids == [str(number) for number in range(40, 0, -1)]
    assert "40 actions" in text
    assert "\x1b[" in text
    paged.unlink()
    assert Screen("actions", "list", "--limit", "3", PAGER=command).end() == 0
    assert Screen("actions", "list", PAGER="cat").end() == 0
    answer = shop.run("actions list")
    assert (answer.code, "40 actions" in answer.out) == (0, True)
    assert not paged.exists()


def test_who_pages_may_leave(shop: Any, tmp_path: Path) -> None:
    """A pager that reads one line and ends is no error; Ctrl-C is the pager's, and the command ends well after it."""
    for _ in range(300):
        shop.ask("data_read")
    screen = Screen("actions", "list", "--limit", "300", PAGER=pager(tmp_path, "print(sys.stdin.readline())"))
    assert screen.end() == 0
    code = """
try:
    print("turning pages", flush=True)
    import time
    time.sleep(60)
except KeyboardInterrupt:
    print("left", flush=True)
"""
    screen = Screen("actions", "list", "--limit", "300", PAGER=pager(tmp_path, code))
    screen.shows("turning pages")
    screen.type("\x03")
    assert screen.end() == 0
    assert "left" in screen.text
    assert "Traceback" not in screen.text


@pytest.mark.parametrize("given_pager", ["no-such-pager-anywhere", "'unfinished", "", "/dev/null"])
def test_a_pager_that_cannot_be_had(shop: Any, given_pager: str) -> None:
    """The list is printed all the same."""
    for _ in range(60):
        shop.ask("data_read")
    screen = Screen("actions", "list", PAGER=given_pager)
    assert screen.end() == 0
    assert b"60 actions" in screen.raw or b"50 of 60 actions" in screen.raw


def test_an_action_whose_arguments_are_gone(shop: Any) -> None:
    """A trail that was tampered with does not hide the rest of the list, and the line says what is missing."""
    import sqlite3

    asked = shop.ask()
    shop.ask(resource="orders/8")
    shop.close()
    with sqlite3.connect(shop.database) as connection:
        connection.execute("UPDATE log SET body = '{' WHERE action = ?", (key_of(1, int(asked.action_id)),))
    answer = shop.run("approvals list")
    assert answer.code == 0
    assert "arguments missing from the audit trail" in answer.out
    assert "amount: 600" in answer.out
