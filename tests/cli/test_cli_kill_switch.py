"""``ascend-guard kill-switch``: stops at once, and lets go only when a person says so."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.cli.commands.kill_switch_on import closest
from ascend_guard.errors import KillSwitchError
from ascend_guard.store.sqlite.store import SQLiteStore


def test_on_never_asks(shop: Any, types: Any) -> None:
    """No question, terminal or not; agents are stopped when it returns."""
    shop.begin(shop.ask("data_read"))
    types()
    answer = shop.run("kill-switch on --reason fire")
    assert answer.code == 0
    assert "[y/N]" not in answer.out + answer.err
    assert "every agent" in answer.out
    assert "1 call was already running" in answer.out
    with pytest.raises(KillSwitchError, match="fire"):
        shop.ask("data_read")


def test_on_for_one_agent(shop: Any) -> None:
    """Only that agent is stopped."""
    shop.ask("data_read")
    record = shop.run("kill-switch on --agent seller --json").json
    assert record["blocked"] is True
    assert record["agent_id"] == "seller"
    assert record["activated_by"] in record["reason"]
    with pytest.raises(KillSwitchError):
        shop.ask("data_read")
    assert shop.ask("data_read", agent_id="buyer").is_approved()
    assert shop.run("kill-switch status --agent seller --json").json["blocked"] is True
    assert shop.run("kill-switch status --agent buyer --json").json["blocked"] is False
    assert shop.run("kill-switch status --json").json["blocked"] is False
    assert "Agent buyer is not stopped" in shop.run("kill-switch status --agent buyer").out


def test_on_works_with_a_broken_policy(shop: Any) -> None:
    """A policy that does not load is in nobody's way."""
    shop.ask("data_read")
    shop.policy.write_text("nonsense: [")
    assert shop.run("kill-switch on").code == 0
    assert shop.run("kill-switch status --json").json["blocked"] is True
    assert shop.run("approvals list").code == 0
    assert shop.run("kill-switch off --yes").code == 0


def test_on_where_there_is_no_database(shop: Any) -> None:
    """Nothing can be stopped there: refused, and no database is made that would seem to be the agents' one."""
    answer = shop.run("kill-switch on --reason fire")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"Error: NOT stopped. There is no database at {shop.database}")
    assert not shop.database.parent.exists()


def test_on_where_no_agent_has_been(shop: Any) -> None:
    """The switch is on for agents that come, and the status says that it may be the wrong database."""
    SQLiteStore(shop.database, durability="process").close()
    answer = shop.run("kill-switch on --reason fire")
    assert answer.code == 1
    assert f"No agent has used the database {shop.database} yet" in answer.err
    told = shop.run("kill-switch on --reason fire --json")
    assert (told.code, told.err) == (1, "")
    assert (told.json["blocked"], told.json["reached"], told.json["processes"]) == (True, False, 0)
    assert "No agent has used" in told.json["doubt"]
    assert shop.run("kill-switch status").code == 1
    with pytest.raises(KillSwitchError):
        shop.ask("data_read")
    assert shop.run("kill-switch on").code == 0  # its process has it open


@pytest.mark.parametrize("running", [False, True])
def test_on_while_the_database_cannot_be_asked(shop: Any, running: bool) -> None:
    """The switch is on. Whether it stopped anything is certain only where a process has the database open."""
    shop.ask("data_read")
    if not running:
        shop.close()
    with closing(sqlite3.connect(shop.database, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        told = shop.run("kill-switch on --reason fire --json")
    assert (told.code, told.json["blocked"], told.json["reached"]) == ((0 if running else 1), True, running)
    assert told.json["agents"] is None
    if not running:
        assert "could not be read" in told.json["doubt"]


def test_on_where_keys_were_made(shop: Any) -> None:
    """A server's database, before its first agent: it is the right one."""
    assert shop.run("keys create --agent billing").code == 0
    told = shop.run("kill-switch on --json")
    assert (told.code, told.json["doubt"], told.json["agents"]) == (0, None, ["billing"])


def test_off_asks(shop: Any, types: Any) -> None:
    """Off shows why it is on, asks, and no is no."""
    shop.plane.kill(reason="fire in the hall", by="carol")
    types("n")
    answer = shop.run("kill-switch off")
    assert answer.code == 1
    assert "fire in the hall" in answer.err
    assert "carol" in answer.err
    assert shop.plane.kill_switches()
    types("y")
    answer = shop.run("kill-switch off --reason out")
    assert answer.code == 0
    assert "Released: every agent" in answer.out
    assert not shop.plane.kill_switches()


def test_off_without_a_terminal(shop: Any) -> None:
    """Nobody to ask: refused, unless --yes."""
    shop.plane.kill(reason="fire", by="carol")
    assert shop.run("kill-switch off").code == 2
    assert shop.plane.kill_switches()
    assert shop.run("kill-switch off --yes --json").json["blocked"] is False


def test_off_when_it_is_not_on(shop: Any) -> None:
    """Says so, with status 1."""
    shop.ask("data_read")
    answer = shop.run("kill-switch off --yes")
    assert answer.code == 1
    assert "not on" in answer.err


def test_off_for_an_agent_that_all_are_stopped_with(shop: Any) -> None:
    """Releasing one agent while everybody is stopped does not pretend that it runs."""
    shop.plane.kill(reason="all", by="carol")
    shop.plane.kill(reason="one", by="carol", agent_id="seller")
    assert "It stops that agent as well." in shop.run("kill-switch off --agent seller --yes").out


@pytest.mark.parametrize("name", ["on", "off --yes", "status"])
@pytest.mark.parametrize("agent", ["", "  "])
def test_an_empty_agent_is_not_everybody(shop: Any, name: str, agent: str) -> None:
    """An unset shell variable must not release, or seem to stop, every agent."""
    shop.plane.kill(reason="all", by="carol")
    answer = shop.run("kill-switch", *name.split(), "--agent", agent)
    assert answer.code == 2
    assert shop.plane.kill_switches()


def test_status(shop: Any) -> None:
    """Off is off; on says since when, by whom and why."""
    shop.ask("data_read")
    assert "The kill switch is off." in shop.run("kill-switch status").out
    shop.plane.kill(reason="fire", by="carol", agent_id="seller")
    answer = shop.run("kill-switch status")
    assert "agent seller: fire" in answer.out
    assert "by carol" in answer.out
    [switch] = shop.run("kill-switch status --json").json["kill_switches"]
    assert switch["activated_by"] == "carol"


def test_on_lists_what_was_running(shop: Any) -> None:
    """Process, agent, action and state; only of the agents that are stopped; also for programs."""
    ours, theirs = shop.ask("data_read"), shop.ask("data_read", agent_id="buyer")
    shop.begin(ours)
    shop.begin(theirs, "buyer")
    [call] = shop.run("kill-switch on --agent buyer --json").json["running"]
    assert (call["action_id"], call["agent_id"], call["pid"]) == (theirs.action_id, "buyer", os.getpid())
    answer = shop.run("kill-switch on")
    assert "2 calls were already running" in answer.out
    assert str(os.getpid()) in answer.out
    shop.finish(ours)
    shop.finish(theirs)
    assert "No call was running" in shop.run("kill-switch on").out


def test_on_for_an_agent_that_nobody_knows(shop: Any) -> None:
    """The switch is on for that name, the name that was probably meant is told, and the status says it to scripts."""
    shop.ask("data_read")
    answer = shop.run("kill-switch on --agent seler")
    assert answer.code == 1
    assert "No agent called seler has used this database. Did you mean seller?" in answer.err
    assert f"The switch is on for agent seler in {shop.database}. It stops no known agent." in answer.out
    assert "Stopped" not in answer.out
    told = shop.run("kill-switch on --agent SELLER --json")
    assert (told.code, told.err) == (1, "")
    assert (told.json["blocked"], told.json["reached"], told.json["agents"]) == (True, False, [])
    assert told.json["nearest_agents"] == ["seller"]
    known = shop.run("kill-switch on --agent seller")
    assert (known.code, known.err) == (0, "")
    for words in ("kill-switch status --agent seler", "kill-switch status --agent seler --json"):
        assert shop.run(words).code == 1
    assert shop.run("kill-switch status --agent seller").code == 0


@given(st.sampled_from(["seller", "support-bot", "Ünïcode agent", "agent 7", "a"]), st.data())
def test_a_slip_finds_the_name(name: str, data: st.DataObject) -> None:
    """Case, spaces, another Unicode form, one letter lost, doubled or swapped: the name is among those that are told."""
    known = frozenset({"seller", "support-bot", "Ünïcode agent", "agent 7", "a", "payments"})
    how = data.draw(
        st.sampled_from([str.upper, str.title, lambda n: f" {n}\n", lambda n: normalize("NFKD", n)])
    )
    typed = how(name)
    at = data.draw(st.integers(0, len(name) - 1))
    if len(name) > 3 and data.draw(st.booleans()):
        typed = data.draw(st.sampled_from([name[:at] + name[at + 1 :], name[: at + 1] + name[at:]]))
    assert name in closest(typed, known)


def test_on_does_not_claim_other_organizations(shop: Any) -> None:
    """It stops the agents of ``local``; those of others are named as not stopped, and alone they make it status 1."""
    assert shop.run("keys create --agent far --organization acme").code == 0
    alone = shop.run("kill-switch on")
    assert alone.code == 1
    assert "Not stopped: agents of acme." in alone.err
    assert "Stopped: " not in alone.out
    assert shop.run("keys create --agent near").code == 0
    answer = shop.run("kill-switch on")
    assert answer.code == 0
    assert "Stopped: every agent of the organization local, in " in answer.out
    assert "Not stopped: agents of acme." in answer.out
    assert shop.run("kill-switch on --json").json["organizations_not_stopped"] == ["acme"]


def test_on_says_whom_it_reached(shop: Any) -> None:
    """The database, the agents that are known, the processes that have it open, and the running calls."""
    running = shop.ask("data_read")
    shop.begin(running)
    shop.ask("data_read", agent_id="buyer")
    answer = shop.run("kill-switch on")
    assert f"Stopped: every agent in {shop.database}." in answer.out
    assert "Reached: 2 known agents (buyer, seller); 1 process has the database open now." in answer.out
    told = shop.run("kill-switch on --json").json
    assert (told["database"], told["agents"], told["processes"], told["reached"]) == (
        str(shop.database),
        ["buyer", "seller"],
        1,
        True,
    )
    assert [call["agent_id"] for call in told["running"]] == ["seller"]
    shop.finish(running)
    shop.close()
    ended = shop.run("kill-switch on")
    assert "no process has the database open now" in ended.out
    assert ended.code == 0
    assert f"Released: every agent of {shop.database}." in shop.run("kill-switch off --yes").out


def test_on_where_running_calls_cannot_be_seen(shop: Any) -> None:
    """The switch is on, and the error says that calls may still act; or it is not, and the error begins with that."""
    shop.begin(shop.ask("data_read"))
    runners = shop.database.with_name("ascend.db.runners")
    runners.rename(runners.with_name("elsewhere"))
    runners.touch()
    answer = shop.run("kill-switch on")
    assert answer.code == 1
    assert answer.err.startswith(
        "Error: The kill switch is on: no call starts. But the calls that were already running cannot"
    )
    assert shop.plane.store._switches.stopped("local", "seller") is not None
    key = shop.database.with_name("ascend.db.key")
    key.rename(key.with_name("elsewhere.key"))
    key.mkdir()
    answer = shop.run("kill-switch on")
    assert answer.code == 1
    assert answer.err.startswith("Error: NOT stopped. ")
    key.rmdir()
    key.with_name("elsewhere.key").rename(key)
    runners.unlink()
    runners.with_name("elsewhere").rename(runners)


def test_a_policy_that_was_taken_away(shop: Any) -> None:
    """The database beside it may be the agents' one: the switch is turned on there, and the status says to look."""
    shop.ask("data_read")
    shop.policy.unlink()
    answer = shop.run("kill-switch on")
    assert answer.code == 1
    assert f"There is no policy file at {shop.policy}" in answer.err
    with pytest.raises(KillSwitchError):
        shop.ask("data_read")
    for words in (
        "kill-switch status",
        "kill-switch off --yes",
        "approvals list",
        "actions list",
        "audit verify",
    ):
        refused = shop.run(words)
        assert (refused.code, refused.out) == (1, "")
        assert "no policy file" in refused.err
    assert shop.run("kill-switch", "off", "--yes", "--database-url", f"sqlite:///{shop.database}").code == 0


def test_where_there_is_no_policy_file(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path in another folder: refused, and no database is made there."""
    monkeypatch.setenv("ASCEND_POLICY", "no-such-policy.yaml")
    for command in ("kill-switch on", "kill-switch status", "approvals list"):
        answer = shop.run(command)
        assert answer.code == 1
        assert "no-such-policy.yaml" in answer.err


@pytest.mark.parametrize("durability", ["power", "process"])
def test_on_and_status_while_the_database_is_locked(
    shop: Any, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    """By whatever holds our lock: both answer, and say that the trail does not have the switch yet."""
    monkeypatch.setenv("ASCEND_DURABILITY", durability)
    shop.ask("data_read")
    shop.plane.store.flush()
    with shop.database.with_name("ascend.db.lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        answer = shop.run("kill-switch on --reason fire")
        assert answer.code == 0
        assert "It is not in the audit trail yet" in answer.out
        assert shop.run("kill-switch on --json").json["recorded"] is False
        assert "Agent seller is stopped" in shop.run("kill-switch status --agent seller").out
        assert shop.run("kill-switch status --json").json["blocked"] is True
    with pytest.raises(KillSwitchError):
        shop.ask("data_read")
    assert shop.run("kill-switch on --json").json["recorded"] is True


def test_a_damaged_switch_file(shop: Any) -> None:
    """Status says so, and off repairs it."""
    shop.ask("data_read")
    switches = shop.database.with_name("ascend.db.switch")
    switches.unlink()
    assert "is missing" in " ".join(shop.run("kill-switch status").out.split())
    assert shop.run("kill-switch off --yes").code == 0
    assert "The kill switch is off." in shop.run("kill-switch status").out
    assert shop.ask("data_read").is_approved()
