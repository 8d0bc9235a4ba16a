"""``ascend-guard approvals``: what an approver sees, and what comes of deciding."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest
from recorded import change

from ascend_guard.cli import context

ME = pwd.getpwuid(os.getuid()).pw_name


def row(shop: Any, action_id: str) -> Any:
    """The action as it stands."""
    return shop.plane.read(lambda reader: reader.action("local", int(action_id)))


def test_list_shows_what_waits(shop: Any) -> None:
    """Pending actions, with call, agent, session, risk and approvals so far; the decided ones are not there."""
    first = shop.ask(session_id="conv-1")
    shop.ask("data_read")
    shop.ask("payout", resource="accounts/9")
    answer = shop.run("approvals list")
    assert answer.code == 0
    for text in (
        "refund by stripe",
        "orders/7",
        "seller",
        "conv-1",
        "0 of 1",
        "payout",
        "accounts/9",
        "0 of 2",
    ):
        assert text in answer.out
    assert "data_read" not in answer.out
    assert f"approvals approve {first.action_id}" in answer.out


def test_list_as_json(shop: Any) -> None:
    """The same for programs, under the API's names."""
    asked = shop.ask()
    found = shop.run("approvals list --json").json
    assert (found["total"], found["limit"], found["offset"], found["has_more"]) == (1, 50, 0, False)
    [action] = found["actions"]
    assert action["action_id"] == asked.action_id
    assert action["status"] == "pending"
    assert action["tool_name"] == "stripe"
    assert action["agent_id"] == "seller"
    assert action["risk_score"] == asked.risk_score
    assert action["risk_level"] == asked.risk_level
    assert action["created_at"].endswith("Z")
    assert action["expires_at"].endswith("Z")
    assert action["policy_matched"] == "refunds"


def test_nothing_waits(shop: Any) -> None:
    """An empty list says so."""
    shop.ask("data_read")
    assert "No action waits for a decision." in shop.run("approvals list").out


def test_looking_makes_no_database(shop: Any) -> None:
    """Where nothing was ever recorded, looking is an error that names the place, and leaves no file behind."""
    for words in ("approvals list", "actions list", "kill-switch status", "kill-switch on"):
        answer = shop.run(words)
        assert (answer.code, answer.out) == (1, "")
        assert f"There is no database at {shop.database}" in answer.err
        assert str(shop.database) in shop.run(words + " --json").json["error"]["message"]
    assert shop.run("approvals show 1").code == 1
    assert shop.run("approvals deny 1").code == 1
    assert shop.run("approvals approve 1 --yes").code == 1
    assert not shop.database.parent.exists()


def test_show_has_what_an_approver_needs(shop: Any) -> None:
    """Tool, arguments, agent, risk, rule and reason, deadline, quorum, and what the session did before."""
    shop.finish(shop.ask("data_read", session_id="conv-1", resource="customers/3"))
    asked = shop.ask(
        "payout", session_id="conv-1", resource_id="acc-9", context={"environment": "production"}
    )
    answer = shop.run("approvals", "show", asked.action_id)
    for text in (
        "payout by stripe", "orders/7", "acc-9", "seller", "(Seller)", "conv-1", "payouts", "Decide by", "0 of 2",
        "finance or board", 'order: "o-7"', "amount: 600", 'environment: "production"', "Earlier in this session",
        "data_read", "customers/3", "completed", "has to be made again",
    ):  # fmt: skip
        assert text.replace("has to", "must") in answer.out, text


def test_show_as_json(shop: Any) -> None:
    """Everything, as one value."""
    asked = shop.ask(session_id="conv-1", risk_indicators={"pii": True})
    action = shop.run("approvals", "show", asked.action_id, "--json").json
    assert action["action_details"] == {"order": "o-7", "amount": 600}
    assert action["risk_indicators"] == {"pii": True}
    assert action["cvss_vector"].startswith("CVSS:3.1/")
    assert [entry["event"] for entry in action["audit_trail"]] == ["submitted"]
    assert action["awaited"] is False


def test_approve_asks_and_records_who(shop: Any, types: Any) -> None:
    """It shows the action, asks, and records the operating-system user and the comment."""
    asked = shop.ask()
    types("y")
    answer = shop.run("approvals", "approve", asked.action_id, "--comment", "seen the parcel")
    assert answer.code == 0
    assert "amount" in answer.err
    assert "Approve action" in answer.err
    assert ME in answer.out
    assert row(shop, asked.action_id).status == "approved"
    assert row(shop, asked.action_id).decided_by == ME
    shown = shop.run("actions", "show", asked.action_id).out
    assert "“seen the parcel”" in shown


@pytest.mark.parametrize("typed", ["n", "", "no", "yep", " "])
def test_anything_but_yes_is_no(shop: Any, types: Any, typed: str) -> None:
    """Nothing is decided unless the person says yes."""
    asked = shop.ask()
    types(typed)
    answer = shop.run("approvals", "approve", asked.action_id)
    assert answer.code == 1
    assert "is still pending" in answer.err
    assert "Error" not in answer.err
    assert row(shop, asked.action_id).status == "pending"


def test_the_end_of_input_is_no(shop: Any, types: Any) -> None:
    """Ctrl-D decides nothing."""
    asked = shop.ask()
    types()
    assert shop.run("approvals", "approve", asked.action_id).code == 1
    assert row(shop, asked.action_id).status == "pending"


def test_no_terminal_no_approval(shop: Any) -> None:
    """Where nobody can be asked it refuses with status 2, and says --yes."""
    asked = shop.ask()
    answer = shop.run("approvals", "approve", asked.action_id)
    assert answer.code == 2
    assert "--yes" in answer.err
    assert shop.run("approvals", "approve", asked.action_id, "--json").json["error"]["type"] == "Refusal"
    assert row(shop, asked.action_id).status == "pending"


def test_yes_skips_the_question(shop: Any) -> None:
    """--yes shows and approves; with --json there is nothing but the JSON."""
    asked, another = shop.ask(), shop.ask()
    answer = shop.run("approvals", "approve", asked.action_id, "--yes")
    assert answer.code == 0
    assert "refund by stripe" in answer.err
    assert "[y/N]" not in answer.err
    answer = shop.run("approvals", "approve", another.action_id, "--yes", "--json", "-m", "fine")
    assert answer.err == ""
    assert answer.json["status"] == "approved"
    assert answer.json["approved_by"] == ME
    assert answer.json["comments"] == "fine"
    assert answer.json["approved_at"].endswith("Z")


def test_quorum(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One yes of two leaves it waiting; the same person twice counts once; another person's decides."""
    asked = shop.ask("payout")
    for _ in range(2):
        answer = shop.run("approvals", "approve", asked.action_id, "--yes")
        assert answer.code == 0
        assert "1 of 2" in answer.out
        assert "is still pending" in answer.out
    assert ME in shop.run("approvals", "show", asked.action_id).out
    monkeypatch.setattr("ascend_guard.cli.commands.approvals.approver", lambda: "carol")
    assert "Approved" in shop.run("approvals", "approve", asked.action_id, "--yes").out
    assert row(shop, asked.action_id).status == "approved"


def test_edited_arguments_are_judged_and_shown(
    shop: Any, types: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--set shows old and new, and the policy judges the new ones."""
    asked = shop.ask()
    types("y")
    answer = shop.run("approvals", "approve", asked.action_id, "--set", "amount=500", "--set", 'order="o-8"')
    assert answer.code == 0
    assert "edited to" in answer.err
    monkeypatch.delenv("FORCE_COLOR")
    edited = shop.run("actions", "show", asked.action_id, "--json").json
    assert edited["modified_arguments"] == {"amount": 500, "order": "o-8"}
    assert "amount edited to 500" in shop.run("actions", "show", asked.action_id).out
    denied = shop.ask()
    answer = shop.run("approvals", "approve", denied.action_id, "--set", "amount=5000", "--yes")
    assert answer.code == 1
    assert "The policy denies" in answer.err
    assert row(shop, denied.action_id).status == "pending"


@pytest.mark.parametrize(
    "given", ["amount", "=5", "amount=", "amount=five", "amount=NaN", "x=" + "[" * 100 + "]" * 100]
)
def test_what_is_no_json_is_wrong_usage(shop: Any, given: str) -> None:
    """A value that is not JSON, or too deep, is refused before anything is decided."""
    asked = shop.ask()
    answer = shop.run("approvals", "approve", asked.action_id, "--yes", "--set", given)
    assert answer.code == 2
    assert "--set" in answer.err
    assert row(shop, asked.action_id).status == "pending"


def test_an_argument_there_is_not(shop: Any) -> None:
    """Editing an argument that the call does not have is refused."""
    asked = shop.ask()
    answer = shop.run("approvals", "approve", asked.action_id, "--yes", "--set", "amuont=5")
    assert answer.code == 1
    assert "amuont" in answer.err


def test_what_changed_while_looking_is_shown_again(
    shop: Any, types: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A yes to arguments that somebody edited meanwhile is no yes to the edited ones."""
    asked = shop.ask("payout")
    types("y", "n")
    confirm = context.Run.confirm

    def slowly(run: Any, question: str) -> bool:
        if row(shop, asked.action_id).edits is None:
            shop.plane.approve(asked.action_id, approver="mallory", arguments={"amount": 9000})
        return confirm(run, question)

    monkeypatch.setattr(context.Run, "confirm", slowly)
    answer = shop.run("approvals", "approve", asked.action_id)
    assert answer.code == 1
    assert "changed while you were looking" in answer.err
    assert "9000" in answer.err
    assert row(shop, asked.action_id).status == "pending"


def test_deny(shop: Any) -> None:
    """Deny needs no question; it says who and why."""
    asked = shop.ask()
    answer = shop.run("approvals", "deny", asked.action_id, "-m", "not ours")
    assert answer.code == 0
    assert "will not run" in answer.out
    assert row(shop, asked.action_id).status == "denied"
    another = shop.ask(resource="orders/8")
    record = shop.run("approvals", "deny", another.action_id, "--json").json
    assert record["status"] == "denied"
    assert record["denied_by"] == ME
    assert record["denial_reason"] == f"{ME} denied it."


def test_clear_a_denial(shop: Any) -> None:
    """The denial answers the same call until a person clears it, at a terminal or with --yes; then people are asked."""
    asked = shop.ask()
    shop.run("approvals", "deny", asked.action_id, "-m", "not ours")
    assert shop.ask().action_id == asked.action_id
    unasked = shop.run("approvals", "clear-denial", asked.action_id)
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    assert shop.ask().action_id == asked.action_id
    answer = shop.run("approvals", "clear-denial", asked.action_id, "--yes", "-m", "the customer called")
    assert answer.code == 0
    assert f"action {asked.action_id}" in answer.out
    assert shop.ask().is_pending()
    story = shop.run("actions", "show", asked.action_id).out
    assert "denial_cleared" in story
    assert "the customer called" in story
    again = shop.run("approvals", "clear-denial", asked.action_id, "--yes", "--json")
    assert (again.code, again.json["error"]["type"]) == (1, "ConflictError")


@pytest.mark.parametrize("words", ["approve {} --yes", "deny {}"])
def test_decided_is_decided(shop: Any, words: str) -> None:
    """A second decision is refused with status 1 and a clear word."""
    asked = shop.ask()
    shop.run("approvals", "deny", asked.action_id)
    answer = shop.run("approvals " + words.format(asked.action_id))
    assert answer.code == 1
    assert "was denied by" in answer.err
    error = shop.run("approvals " + words.format(asked.action_id) + " --json").json["error"]
    assert error["type"] == "ConflictError"
    assert error["action_id"] == asked.action_id


@pytest.mark.parametrize("given", ["99", "0", "-1x", "abc", "1" * 30, "²", ""])
@pytest.mark.parametrize("words", ["show", "approve --yes", "deny"])
def test_no_such_action(shop: Any, words: str, given: str) -> None:
    """An id of nothing is an error, not a traceback."""
    shop.ask()
    name, *options = words.split()
    answer = shop.run("approvals", name, *options, "--", given)
    assert answer.code == 1
    assert "There is no action" in answer.err


def test_a_hash_in_front_is_fine(shop: Any) -> None:
    """People type #12."""
    asked = shop.ask()
    assert shop.run("approvals", "show", f"#{asked.action_id}").code == 0


def test_the_kill_switch_is_on(shop: Any) -> None:
    """Lists and decisions say that nothing runs for now."""
    asked = shop.ask()
    shop.plane.kill(reason="fire", by="carol")
    assert "Kill switch on for every agent: fire" in shop.run("approvals list").out
    assert "Kill switch on" in shop.run("approvals", "show", asked.action_id).out
    assert "no call runs until it is off" in shop.run("approvals", "approve", asked.action_id, "--yes").err


def test_overdue_is_denied_on_the_way(shop: Any) -> None:
    """An action that nobody decided in time does not wait any more."""
    asked = shop.ask()
    shop.plane.store.write(lambda tx: change(tx, int(asked.action_id), expires_at=1.0))
    answer = shop.run("approvals", "approve", asked.action_id, "--yes")
    assert answer.code == 1
    assert "deadline" in answer.err
