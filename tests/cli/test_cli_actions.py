"""``ascend-guard actions``: what agents asked and what came of it."""

from __future__ import annotations

import fcntl
from typing import Any

import pytest


@pytest.fixture
def busy(shop: Any) -> dict[str, str]:
    """One action of each kind, by what came of it."""
    ids = {}
    ids["completed"] = shop.ask("data_read", session_id="s-1")
    shop.finish(ids["completed"])
    ids["failed"] = shop.ask("data_read", agent_id="buyer")
    shop.finish(ids["failed"], error="ValueError: no such order")
    ids["running"] = shop.ask("data_read", session_id="s-1")
    ids["denied"] = shop.ask("data_delete")
    ids["pending"] = shop.ask()
    ids["blocked"] = shop.ask()
    shop.plane.approve(ids["blocked"].action_id, approver="carol")
    switch = shop.plane.kill(reason="fire", by="carol")
    assert switch.blocked
    with pytest.raises(Exception, match="kill switch"):
        shop.start(ids["blocked"])
    shop.plane.release(reason="out", by="carol")
    return {name: result.action_id for name, result in ids.items()}


def test_list_says_how_each_stands(shop: Any, busy: dict[str, str]) -> None:
    """Newest first, each with the one word that says how it stands."""
    answer = shop.run("actions list")
    assert answer.code == 0
    lines = [line for line in answer.out.splitlines() if line[:3].strip().isdigit()]
    assert {line.split()[0]: line.split()[1] for line in lines} == {
        value: name for name, value in busy.items()
    }
    assert [int(line.split()[0]) for line in lines] == sorted(map(int, busy.values()), reverse=True)


@pytest.mark.parametrize("status", ["completed", "failed", "running", "denied", "pending", "blocked"])
def test_list_by_status(shop: Any, busy: dict[str, str], status: str) -> None:
    """--status takes decisions and outcomes."""
    found = shop.run("actions", "list", "--status", status, "--json").json
    assert [action["action_id"] for action in found["actions"]] == [busy[status]]
    assert found["total"] == 1


def test_list_by_decision_agent_and_session(shop: Any, busy: dict[str, str]) -> None:
    """Approved means the decision, whatever came of it; agent and session narrow further."""

    def ids(words: str) -> set[str]:
        return {action["action_id"] for action in shop.run(f"actions list --json {words}").json["actions"]}

    assert ids("--status approved") == {busy[name] for name in ("completed", "failed", "running", "blocked")}
    assert ids("--agent buyer") == {busy["failed"]}
    assert ids("--session s-1") == {busy["completed"], busy["running"]}
    assert ids("--session s-1 --status running") == {busy["running"]}
    assert ids("--agent buyer --status running") == set()
    assert ids("--agent nobody") == set()


def test_unknown_is_what_a_dead_process_left(shop: Any) -> None:
    """A call whose process ended before it reported back is unknown, never completed."""
    asked = shop.ask("data_read")
    fcntl.flock(shop.plane.store._liveness._file, fcntl.LOCK_UN)  # as if it had died
    assert shop.run("actions list --status unknown --json").json["actions"][0]["action_id"] == asked.action_id
    assert "unknown" in shop.run("actions list").out


def test_pages(shop: Any) -> None:
    """--limit and --offset walk through everything once."""
    for _ in range(7):
        shop.ask()
    seen: list[str] = []
    for offset in (0, 3, 6):
        page = shop.run(f"actions list --limit 3 --offset {offset} --json").json
        assert page["total"] == 7
        assert page["has_more"] is (offset < 6)
        seen += [action["action_id"] for action in page["actions"]]
    assert sorted(map(int, seen)) == list(range(1, 8))
    assert "3 of 7 actions, more with --offset 3" in shop.run("actions list --limit 3").out


def test_show_is_the_whole_story(shop: Any, busy: dict[str, str]) -> None:
    """The action, its arguments, and its audit trail in order."""
    answer = shop.run("actions", "show", busy["failed"])
    for text in ("failed", "ValueError: no such order", "0.25 s", 'order: "o-7"', "Audit trail", "by buyer"):
        assert text in answer.out
    order = [answer.out.rindex(f"● {event}") for event in ("submitted", "started", "failed")]
    assert order == sorted(order)
    blocked = shop.run("actions", "show", busy["blocked"]).out
    assert "● blocked" in blocked
    assert "by the kill switch, at start: fire" in blocked


def test_show_as_json(shop: Any, busy: dict[str, str]) -> None:
    """With outcome, times and duration."""
    action = shop.run("actions", "show", busy["completed"], "--json").json
    assert action["status"] == "approved"
    assert action["outcome"] == "completed"
    assert action["duration_ms"] == 250
    assert [entry["event"] for entry in action["audit_trail"]] == ["submitted", "started", "completed"]


@pytest.mark.parametrize("width", ["80", "120"])
def test_lists_fit_the_terminal(shop: Any, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    """However long the names, no line but one with a path is wider than the terminal; id and status stay readable."""
    long = {"agent_id": "a" * 400, "tool_name": "t" * 400, "resource": "r" * 400, "session_id": "s" * 400}
    asked = shop.ask(**long)
    monkeypatch.setenv("COLUMNS", width)
    for words in (
        "actions list",
        "approvals list",
        f"actions show {asked.action_id}",
        "doctor",
        "policy check",
    ):
        folder = str(shop.policy.parent)
        lines = [line for line in shop.run(words).out.splitlines() if folder not in line]
        assert max(map(len, lines)) <= int(width), words
    assert any(
        line.split()[:2] == [asked.action_id, "pending"] for line in shop.run("actions list").out.splitlines()
    )


@pytest.mark.parametrize(
    "words", ["--status maybe", "--limit 0", "--limit x", "--offset -1", "--nonsense", "extra"]
)
def test_wrong_usage(shop: Any, words: str) -> None:
    """Wrong usage is status 2 with a word on how to go on."""
    answer = shop.run(f"actions list {words}")
    assert answer.code == 2
    assert answer.out == ""
    assert "actions list --help" in answer.err
