"""``approvals review``: a real person at a real terminal decides what waits, with single keys."""

from __future__ import annotations

import os
import pwd
import signal
import threading
import time
from typing import Any

import pytest
from cli_screens import SIZES, Screen
from recorded import change

ME = pwd.getpwuid(os.getuid()).pw_name
NASTY = "x\x1b[2J\x1b]0;t\x07\u202eevil\r\n\u200b\x9b31m\tא漢🙂\u0301"


def row(shop: Any, asked: Any) -> Any:
    """The action as it stands."""
    return shop.plane.read(lambda reader: reader.action("local", int(asked.action_id)))


def refunds(shop: Any, *amounts: int) -> list[Any]:
    """Refunds of one session, a little under the limit."""
    return [
        shop.ask(
            resource=f"orders/{number}",
            session_id="conv-1",
            action_details={"order": f"o-{number}", "amount": amount, "note": "the parcel came late " * 6},
        )
        for number, amount in enumerate(amounts, 1)
    ]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_walk(shop: Any, size: tuple[int, int]) -> None:
    """Approve, deny with a reason, skip, quit: each action is whole on the screen, each decision recorded as shown."""
    first, second, third, fourth = refunds(shop, 999, 998, 997, 996)
    screen = Screen("approvals", "review", size=size)
    seen = screen.shows(f"Action {first.action_id} ", "quit")
    pages = [seen]
    while "a approve" not in screen.lines[-1]:
        screen.type(" ")
        pages.append(screen.until(lambda now: now != pages[-1]))
    for text in ("amount: 999", 'order: "o-1"', "refunds", "medium", "Later in this session", "amount: 997"):
        assert any(text in page for page in pages), text
    screen.type("a")
    screen.ready(f"Approved: action {first.action_id}", f"Action {second.action_id} ")
    assert (row(shop, first).status, row(shop, first).decided_by) == ("approved", ME)
    screen.type("d")
    screen.shows("Why is it denied")
    screen.type("not ours\r")
    screen.ready(f"Denied: action {second.action_id}", f"Action {third.action_id} ")
    assert row(shop, second).reason == f"{ME} denied it: not ours"
    screen.type("s")
    screen.ready(f"Skipped: action {third.action_id}", f"Action {fourth.action_id} ")
    screen.type("q")
    assert screen.end() == 0
    ended = screen.text.replace("\n", " ")
    for sentence in (f"Denied: action {second.action_id} will not run", "2 actions wait for a decision in"):
        assert sentence in ended
    assert [row(shop, one).status for one in (third, fourth)] == ["pending", "pending"]
    assert screen.modes_after == screen.modes
    assert screen.raw.rstrip().rfind(b"\x1b[?25h") > screen.raw.rfind(b"\x1b[?25l")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_approving_needs_all_of_it_on_the_screen(shop: Any, size: tuple[int, int]) -> None:
    """Lines that were never on the screen, and text that is left out, must be shown before ``a`` does anything."""
    asked = shop.ask(action_details={"amount": 7, "body": "word " * 400, "last": "seen"})
    screen = Screen("approvals", "review", size=size)
    screen.shows("quit")
    screen.type("a")
    screen.shows("Not approved:", "lines not seen")
    screen.type("G")  # the end alone is not all of it
    screen.until(lambda now: "Not approved" not in now)
    screen.type("a")
    screen.shows("Not approved:")
    for _ in range(100):
        if screen.lines[-1].startswith("v all"):
            break
        before = screen.text
        screen.type("g" if "Not approved" in before else " ")
        screen.until(lambda now, before=before: now != before)  # type: ignore[misc]
    screen.type("a")
    screen.shows("part of it is left out")
    assert row(shop, asked).status == "pending"
    screen.type("v")
    screen.until(lambda now: "/" in now.split("\n")[-1] or " of " in now.split("\n")[-1])
    assert "more characters" not in screen.to_the_end()
    screen.type("a")
    assert screen.end() == 0
    assert row(shop, asked).status == "approved"


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_changed_meanwhile_is_said_and_decides_nothing(shop: Any, size: tuple[int, int]) -> None:
    """Edited by somebody else: the keys do nothing before Enter, and then it is decided as it stands now."""
    asked = shop.ask("payout", action_details={"to": "acc-1", "amount": 100})
    screen = Screen("approvals", "review", size=size)
    screen.to_the_end()
    shop.plane.approve(asked.action_id, approver="mallory", arguments={"amount": 9000})
    screen.ready("The action changed while you were", keys="Enter continue")
    screen.type("a")
    screen.reads(1.0)
    assert row(shop, asked).status == "pending"
    screen.type("\r")
    assert "mallory" in screen.to_the_end() or size == SIZES[1]
    screen.type("a")
    assert screen.end() == 0
    stands = row(shop, asked)
    assert (stands.status, stands.decided_by) == ("approved", f"mallory, {ME}")
    assert stands.edits == '{"amount":9000}'


@pytest.mark.parametrize(("how", "word"), [("approve", "approved"), ("deny", "denied"), ("expire", "denied")])
def test_decided_meanwhile(shop: Any, how: str, word: str) -> None:
    """Somebody else decided it, or its deadline passed: that is said, and this person has decided nothing."""
    asked = shop.ask()
    screen = Screen("approvals", "review")
    screen.to_the_end()
    if how == "expire":
        shop.plane.store.write(lambda tx: change(tx, int(asked.action_id), expires_at=1.0))
    else:
        getattr(shop.plane, how)(asked.action_id, approver="carol")
    screen.shows(
        f"Meanwhile action {asked.action_id} was {word}", "Nothing was decided here", "Enter continue"
    )
    screen.press("a", "d", "\r")
    assert screen.end() == 0
    assert "was decided elsewhere" in screen.text
    assert row(shop, asked).status == word
    assert row(shop, asked).decided_by in ("carol", None)


def test_a_decision_at_the_same_moment(shop: Any) -> None:
    """While the reason is being typed, somebody edits the action: the denial of what was shown is refused, and said so."""
    asked = shop.ask("payout", action_details={"to": "acc-1", "amount": 100})
    screen = Screen("approvals", "review")
    screen.to_the_end()
    screen.type("d")
    screen.shows("Why is it denied")
    shop.plane.approve(asked.action_id, approver="mallory", arguments={"amount": 9000})
    screen.type("too much\r")
    screen.ready("The action changed while you were looking", "edited to 9000", keys="Enter")
    assert row(shop, asked).status == "pending"
    screen.type("q")
    assert screen.end() == 0


def test_keys_that_come_too_early_decide_nothing(shop: Any) -> None:
    """Typed ahead, pasted, or held down over the next action: only a key pressed after looking decides."""
    first, second = refunds(shop, 999, 998)
    screen = Screen("approvals", "review", size=(100, 60))
    screen.type("aaaa")
    screen.ready(f"Action {first.action_id} ", keys="a approve")
    screen.type("approve all of them\r")
    screen.reads(1.0)
    assert row(shop, first).status == "pending"
    held = threading.Event()

    def hold() -> None:
        while not held.is_set():
            screen.type("a")
            time.sleep(0.03)

    key = threading.Thread(target=hold)
    key.start()
    try:
        screen.shows(f"Approved: action {first.action_id}", f"Action {second.action_id} ")
        screen.reads(2.0)
    finally:
        held.set()
        key.join()
    assert row(shop, second).status == "pending"
    screen.ready(keys="a approve")
    screen.type("a")
    assert screen.end() == 0
    assert row(shop, second).status == "approved"


def test_edit(shop: Any) -> None:
    """Old and new are shown before it is decided; what is no argument, no JSON or against the policy is said, not done."""
    asked = shop.ask()
    screen = Screen("approvals", "review", size=(100, 40))
    for typed, said in (
        ("amuont=5", "The action has no argument"),
        ("amount=five", "it is not JSON"),
        ("amount", "is not NAME=JSON"),
    ):
        screen.ready()
        screen.type("e")
        screen.shows("NAME=JSON to run with")
        screen.type(f"{typed}\r")
        screen.ready(said)
    screen.type("e")
    screen.shows("NAME=JSON to run with")
    screen.type("amount=5000\r")
    screen.ready("edited to 5000", "Nothing is decided yet", keys="a approve   d deny   e edit   u undo")
    assert row(shop, asked).edits is None
    screen.type("a")
    screen.shows("The policy denies action")
    assert row(shop, asked).status == "pending"
    screen.type("u")
    screen.ready("the submitted ones again", keys="a approve   d deny   e edit   s skip")
    assert "edited to" not in screen.text
    screen.type("e")
    screen.shows("NAME=JSON to run with")
    screen.type("amount=50\r")
    screen.ready("edited to 50", keys="a approve")
    screen.type("a")
    assert screen.end() == 0
    assert (row(shop, asked).status, row(shop, asked).edits) == ("approved", '{"amount":50}')


def test_no_reason_no_denial(shop: Any) -> None:
    """An empty reason, Ctrl-D and Ctrl-C at the question lead back; an arrow key is no part of a reason."""
    asked = shop.ask()
    screen = Screen("approvals", "review", size=(100, 40))
    for typed in ("\r", "\x04", "\x03", "   \r"):
        screen.ready()
        screen.type("d")
        screen.shows("Why is it denied")
        screen.type(typed)
        screen.ready("Not denied")
    assert row(shop, asked).status == "pending"
    screen.type("d")
    screen.shows("Why is it denied")
    screen.type("zu teuer \x1b[D漢\r")
    assert screen.end() == 0
    assert row(shop, asked).reason == f"{ME} denied it: zu teuer 漢"


@pytest.mark.parametrize("way", ["q", "\x1b", "\x04", "\x03", "TERM"])
def test_the_terminal_is_given_back(shop: Any, way: str) -> None:
    """However it ends, the terminal is as it was, nothing is decided, and there is no traceback."""
    asked = shop.ask()
    screen = Screen("approvals", "review")
    screen.shows("quit")
    if way == "TERM":
        os.kill(screen.process, signal.SIGTERM)
    else:
        screen.type(way)
    assert screen.end() == (143 if way == "TERM" else 0)
    assert screen.modes_after == screen.modes
    assert screen.raw.count(b"\x1b[?1049h") == screen.raw.count(b"\x1b[?1049l") == 1
    assert screen.raw.rfind(b"\x1b[?25h") > screen.raw.rfind(b"\x1b[?25l")
    assert b"Traceback" not in screen.raw
    assert row(shop, asked).status == "pending"


def test_ctrl_z(shop: Any) -> None:
    """It stops with the terminal given back, and goes on where it was."""
    asked = shop.ask()
    screen = Screen("approvals", "review", size=(100, 40))
    screen.ready(keys="a approve")
    screen.type("\x1a")
    assert os.WIFSTOPPED(os.waitpid(screen.process, os.WUNTRACED)[1])
    assert screen.modes_now() == screen.modes
    os.kill(screen.process, signal.SIGCONT)
    screen.reads(0.5)
    screen.press("j")
    screen.ready(keys="a approve")
    screen.type("a")
    assert screen.end() == 0
    assert row(shop, asked).status == "approved"


def test_another_size(shop: Any) -> None:
    """A window that is made smaller is filled anew, and what is no more on the screen must be shown again."""
    asked = shop.ask()
    screen = Screen("approvals", "review", size=(100, 40))
    screen.ready(keys="a approve")
    screen.resize((40, 10))
    screen.until(lambda now: now.split("\n")[-1].startswith("space"))
    screen.type("a")
    screen.shows("Not approved")
    assert row(shop, asked).status == "pending"
    screen.to_the_end()
    screen.type("a")
    assert screen.end() == 0
    assert row(shop, asked).status == "approved"


def test_quorum_and_kill_switch(shop: Any) -> None:
    """One approval of two is said to be that; a switch that is turned on meanwhile is said, and stands on the screen."""
    asked = shop.ask("payout")
    screen = Screen("approvals", "review", size=(100, 40))
    screen.ready(keys="a approve")
    shop.plane.kill(reason="fire", by="carol")
    screen.ready(
        "the kill switch changed while you were looking",
        "Kill switch on for every agent: fire",
        keys="Enter continue",
    )
    screen.type("\r")
    screen.ready(keys="a approve")
    screen.type("a")
    assert screen.end() == 0
    assert "1 of 2. The action is still pending. The kill switch is on" in screen.text.replace("\n", " ")
    assert len(shop.plane.read(lambda reader: reader.approvals("local", int(asked.action_id)))) == 1


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("command", ["review", "watch"])
def test_nothing_from_the_data_acts_on_the_screen(shop: Any, command: str, size: tuple[int, int]) -> None:
    """Names, values, reasons and switches full of control characters: only our own controls reach the terminal."""
    named = dict.fromkeys(("agent_id", "agent_name", "tool_name", "resource", "session_id"), NASTY)
    for _ in range(2):
        asked = shop.ask(**named, action_details={"amount": 1, "to": NASTY, NASTY: {NASTY: [NASTY] * 3}})
    shop.plane.kill(reason=NASTY, by=NASTY, agent_id=NASTY)
    screen = Screen("approvals", command, size=size)
    if command == "watch":
        screen.shows("look, decide")
        screen.type("\r")
    screen.to_the_end()
    assert b"\\x1b" in screen.raw
    screen.type("q")
    if command == "watch":
        screen.shows("look, decide")
        screen.type("q")
    assert screen.end() == 0
    assert screen.strange == b""
    assert row(shop, asked).status == "pending"


def test_without_a_terminal(shop: Any) -> None:
    """In a pipe, and for a program, it refuses with status 2 and says what to use; nothing waiting is said."""
    shop.ask()
    answer = shop.run("approvals review")
    assert answer.code == 2
    assert "approvals approve ID --yes" in answer.err
    answer = shop.run("approvals review --json")
    assert (answer.code, answer.json["error"]["type"]) == (2, "Refusal")
    shop.run("approvals deny 1")
    screen = Screen("approvals", "review")
    assert screen.end() == 0
    assert "No action waits for a decision." in screen.text
