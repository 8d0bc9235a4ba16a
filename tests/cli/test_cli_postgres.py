"""The kill switch and the lists on PostgreSQL: the same answers as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postgres_server import database

from ascend_guard.config import Settings
from ascend_guard.engine.control_plane import EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.flow import Begin, Submit
from ascend_guard.model import AgentAction

POLICY = "version: 1\nrules:\n  - {name: all, effect: allow}\n"


@pytest.fixture
def url() -> Iterator[str]:
    """A database of its own."""
    with database() as made:
        yield made


def test_the_agents_database_or_an_error(shop: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no agent has used has status 1; then whom the switch reached is told, without the password."""
    monkeypatch.setenv("ASCEND_DATABASE_URL", url)
    monkeypatch.setenv("ASCEND_SECRET_KEY", "ab" * 32)
    for words in ("approvals list", "actions list", "kill-switch status"):
        assert shop.run(words).code == 1, words
    unused = shop.run("kill-switch on --json")
    assert (unused.code, unused.json["blocked"], unused.json["reached"]) == (1, True, False)
    assert shop.run("kill-switch off --yes").code == 0
    plane = EmbeddedControlPlane(Settings().store(), parse_policy(POLICY), agent_id="seller")
    try:
        action = AgentAction("seller", "Seller", "refund", "orders/7", "stripe")
        asked = plane.perform(Submit(action, "ab" * 32, detached=True, repeatable=False))
        plane.perform(Begin(action, asked.action_id, "ab" * 32))
        missed = shop.run("kill-switch on --agent seler --json")
        assert (missed.code, missed.json["nearest_agents"]) == (1, ["seller"])
        told = shop.run("kill-switch on --json")
        assert told.code == 0
        assert (told.json["agents"], told.json["processes"], told.json["reached"]) == (["seller"], 1, True)
        assert [call["action_id"] for call in told.json["running"]] == [asked.action_id]
        assert told.json["database"] == shop.run("actions list --json").json["database"]
        assert told.json["database"].startswith("postgresql://")
        doctor = shop.run("doctor --json")
        assert doctor.code == 0
    finally:
        plane.close()
