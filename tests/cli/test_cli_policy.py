"""``ascend-guard policy`` and ``init``: does it load, and what does it say of a call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ascend_guard.engine.policy import load_policy


def test_init_writes_a_policy_that_loads(shop: Any, tmp_path: Path) -> None:
    """What init writes is a policy, and it says what to do next."""
    path = tmp_path / "my policy.yaml"
    answer = shop.run("init", str(path))
    assert answer.code == 0
    assert load_policy(path).rules
    assert f"export ASCEND_POLICY='{path}'" in answer.out
    assert shop.run("policy", "check", str(path)).code == 0


def test_init_overwrites_nothing(shop: Any, tmp_path: Path) -> None:
    """What is there stays, unless --force."""
    path = tmp_path / "p.yaml"
    path.write_text("mine")
    answer = shop.run("init", str(path))
    assert answer.code == 1
    assert "--force" in answer.err
    assert path.read_text() == "mine"
    assert shop.run("init", str(path), "--force").code == 0
    assert path.read_text() != "mine"


def test_init_by_default(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ascend-policy.yaml here; in a folder, when one is named; no such folder is an error."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert shop.run("init --json").json["path"] == str(here / "ascend-policy.yaml")
    (here / "sub").mkdir()
    assert shop.run("init sub").code == 0
    assert (here / "sub" / "ascend-policy.yaml").exists()
    answer = shop.run("init nowhere/p.yaml")
    assert answer.code == 1
    assert "cannot be written" in answer.err


def test_check_lists_the_rules(shop: Any) -> None:
    """Every rule with its line, effect, scope, condition and what it asks for."""
    answer = shop.run("policy check")
    assert answer.code == 0
    for text in (
        "reads",
        "*_read",
        "args.amount <= 1000.0",
        "asks 2 people of finance or board",
        "within 30 min",
        "deny",
    ):
        assert text in answer.out
    assert "4 rules" in answer.out
    checked = shop.run("policy check --json").json
    assert checked["ok"] is True
    assert checked["default"] == "deny"
    assert [rule["name"] for rule in checked["rules"]] == ["reads", "refunds", "payouts", "no-deletes"]


def test_check_names_every_mistake(shop: Any) -> None:
    """One line each, with file and line, and status 1."""
    shop.policy.write_text("version: 1\nrules:\n  - {name: a, effekt: allow}\n  - {name: b, effect: maybe}\n")
    answer = shop.run("policy", "check", str(shop.policy))
    assert answer.code == 1
    assert f"{shop.policy}:3: " in answer.err.replace("\n", "")
    assert f"{shop.policy}:4: " in answer.err.replace("\n", "")
    record = shop.run("policy check --json")
    assert record.code == 1
    assert {mistake["line"] for mistake in record.json["mistakes"]} == {3, 4}
    assert record.json["error"]["type"] == "PolicyError"


@pytest.mark.parametrize(
    "words", ["policy check nowhere.yaml", "policy check .", "policy explain nowhere.yaml --action x"]
)
def test_no_such_file(shop: Any, words: str) -> None:
    """A file that cannot be read is one clear line."""
    answer = shop.run(words)
    assert answer.code == 1
    assert "Traceback" not in answer.err


def test_no_policy_at_all(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing named: says how to name one."""
    monkeypatch.delenv("ASCEND_POLICY")
    answer = shop.run("policy check")
    assert answer.code == 1
    assert "ASCEND_POLICY" in answer.err


@pytest.mark.parametrize(
    ("amount", "decision", "why"),
    [(600, "pending", "true"), (5000, "denied", "false"), ("x", "pending", "could not be evaluated")],
)
def test_explain(shop: Any, amount: Any, decision: str, why: str) -> None:
    """The verdict, and what came of every rule."""
    args = json.dumps({"amount": amount})
    told = shop.run("policy", "explain", "--action", "refund", "--args", args, "--json").json
    assert told["decision"] == decision
    assert told["risk_level"] == "medium"
    assert [rule["rule"] for rule in told["rules"]] == ["reads", "refunds", "payouts", "no-deletes"]
    assert why in told["rules"][1]["why"]
    shown = shop.run("policy", "explain", "--action", "refund", "--args", args)
    assert shown.code == 0
    assert why in " ".join(shown.out.split())


@pytest.mark.parametrize("args", ["[]", "{", "5", "{'a': 1}", '{"a": NaN}', '{"a":' * 200 + "1" + "}" * 200])
def test_explain_wants_objects(shop: Any, args: str) -> None:
    """Arguments that are no JSON object are wrong usage."""
    answer = shop.run("policy", "explain", "--action", "refund", "--args", args)
    assert answer.code == 2
    assert "--args" in answer.err


def test_explain_needs_an_action(shop: Any) -> None:
    """There is nothing to explain without one."""
    answer = shop.run("policy explain")
    assert answer.code == 2
    assert "--action" in answer.err
