"""``approvals watch`` on a real terminal: it follows what waits, scrolls, rings, and decides what Enter shows."""

from __future__ import annotations

from typing import Any

import pytest
from cli_screens import SIZES, Screen


def row(shop: Any, asked: Any) -> Any:
    """The action as it stands."""
    return shop.plane.read(lambda reader: reader.action("local", int(asked.action_id)))


def selected(screen: Screen) -> str:
    """The id of the selected action."""
    [line] = [line for line in screen.lines if line.startswith("▸")]
    return line.split()[1]


def numbered(shop: Any, count: int) -> list[Any]:
    """So many refunds."""
    return [
        shop.ask(resource=f"orders/{number}", session_id="s", action_details={"amount": 900 + number})
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_scrolls(shop: Any, size: tuple[int, int]) -> None:
    """The selected action is always on the screen with its amount, from the first to the last and back."""
    asked = numbered(shop, 12)
    screen = Screen("approvals", "watch", size=size)
    screen.shows("Waiting: 1 of 12", "amount: 901")
    for number in range(2, 13):
        screen.type("\x1b[B")
        screen.shows(f"Waiting: {number} of 12", f"amount: {900 + number}")
        assert selected(screen) == asked[number - 1].action_id
    screen.type("j")  # there is no more
    screen.type("\x1b[H")
    screen.shows("Waiting: 1 of 12", "amount: 901")
    screen.type("\x1b[6~")
    screen.until(lambda now: "Waiting: 1 of 12" not in now)
    screen.type("G")
    screen.shows("Waiting: 12 of 12", "amount: 912")
    assert all(len(line) <= size[0] for line in screen.lines)
    screen.type("q")
    assert screen.end() == 0
    assert screen.modes_after == screen.modes


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_decides_what_enter_shows(shop: Any, size: tuple[int, int]) -> None:
    """In the list no key decides; the action that Enter shows is the selected one, also when others came and went."""
    first, second, third = numbered(shop, 3)
    screen = Screen("approvals", "watch", size=size)
    screen.shows("Waiting: 1 of 3")
    screen.press("a", "d", "e", "j")
    screen.shows("Waiting: 2 of 3")
    shop.plane.deny(first.action_id, approver="carol")
    shop.ask(resource="orders/99")
    screen.shows("Waiting: 1 of 3")
    assert selected(screen) == second.action_id
    screen.type("\r")
    screen.shows(f"Action {second.action_id} ")
    screen.to_the_end()
    screen.type("a")
    screen.shows(f"Approved: action {second.action_id}", "Waiting: 1 of 2")
    assert selected(screen) == third.action_id
    screen.type("\r")
    screen.ready(f"Action {third.action_id} ")
    screen.type("d")
    screen.shows("Why is it denied")
    screen.type("no\r")
    screen.shows(f"Denied: action {third.action_id}", "Waiting: 1 of 1")
    screen.type("q")
    assert screen.end() == 0
    assert f"Denied: action {third.action_id} will not run." in screen.text
    assert [row(shop, one).status for one in (first, second, third)] == ["denied", "approved", "denied"]


@pytest.mark.parametrize("option", ["--bell", "--no-bell"])
def test_the_bell(shop: Any, option: str) -> None:
    """It rings when something new waits, not for what waited before and not for what is decided; it can be quiet."""
    asked = shop.ask()
    screen = Screen("approvals", "watch", option)
    screen.shows("Waiting: 1 of 1")
    assert b"\x07" not in screen.raw
    new = shop.ask(resource="orders/new")
    screen.shows("orders/new", f"Action {new.action_id} is new")
    assert screen.raw.count(b"\x07") == (option == "--bell")
    shop.plane.approve(asked.action_id, approver="carol")
    screen.shows("Waiting: 1 of 1")
    assert screen.raw.count(b"\x07") == (option == "--bell")
    screen.type("\x03")
    assert screen.end() == 0


def test_it_begins_before_there_is_anything(shop: Any) -> None:
    """With no database yet it waits for one; what is decided elsewhere and the last one leave the screen."""
    screen = Screen("approvals", "watch", size=(40, 10))
    screen.shows("No agent has made a governed call yet.")
    screen.press("j", "\r", "G", "a")
    asked = shop.ask()
    screen.shows("Waiting: 1 of 1", "amount: 600")
    shop.plane.deny(asked.action_id, approver="carol")
    screen.shows("No action waits for a decision.")
    screen.press("j", "\r")
    screen.type("q")
    assert screen.end() == 0


def test_another_size(shop: Any) -> None:
    """The window may become smaller and larger; the selected action stays on the screen."""
    numbered(shop, 8)
    screen = Screen("approvals", "watch", size=(100, 40))
    screen.shows("Waiting: 1 of 8", "amount: 908")
    screen.type("G")
    screen.shows("Waiting: 8 of 8")
    screen.resize((40, 10))
    screen.until(lambda now: "amount: 908" in now and "amount: 901" not in now)
    screen.resize((20, 6))
    screen.until(lambda now: "Waiting: 8 of 8" in now and "amount: 908" in now)
    screen.resize((100, 40))
    screen.shows("amount: 901", "amount: 908")
    screen.type("q")
    assert screen.end() == 0


def test_a_terminal_without_a_keyboard(shop: Any) -> None:
    """Where no key can be pressed, it shows the list alone, with the amounts."""
    shop.ask()
    words = "from ascend_guard.cli import main; import os, sys; os.dup2(os.open(os.devnull, os.O_RDONLY), 0)"
    screen = Screen("approvals", "watch", command=f"{words}; sys.exit(main())")
    screen.shows("amount: 600", "Ctrl-C leaves")
    screen.type("\x03")
    assert screen.end() == 0
