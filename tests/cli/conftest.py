"""A shop with an agent, a policy, and people at the command line."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from world import Answer

from ascend_guard.cli import main
from ascend_guard.engine.control_plane import EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.flow import Begin, Claim, Settle, Submit
from ascend_guard.model import ActionResult, AgentAction, Outcome, OutcomeStatus
from ascend_guard.store.sqlite.store import SQLiteStore

POLICY = """
version: 1
rules:
  - {name: reads, actions: ["*_read"], effect: allow}
  - {name: refunds, actions: [refund], when: args.amount <= 1000.0, effect: require_approval, timeout: 30m}
  - {name: payouts, actions: [payout], effect: require_approval, quorum: 2, approvers: [finance, board]}
  - {name: no-deletes, actions: ["*_delete"], effect: deny, reason: Deletes are off.}
"""


class Shop:
    """Agents, and the command line beside them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.policy = folder / "ascend-policy.yaml"
        self.policy.write_text(POLICY)
        self.database = folder / ".ascend" / "ascend.db"
        self._capsys = capsys
        self._plane: EmbeddedControlPlane | None = None
        self.digest = "ab" * 32

    @property
    def plane(self) -> EmbeddedControlPlane:
        """The agent's control plane."""
        if self._plane is None:
            store = SQLiteStore(self.database, durability="process")
            self._plane = EmbeddedControlPlane(store, parse_policy(POLICY), agent_id="seller")
        return self._plane

    def ask(self, action_type: str = "refund", **fields: Any) -> ActionResult:
        """An agent asks for something and does not wait."""
        given = {
            "agent_id": "seller",
            "agent_name": "Seller",
            "resource": "orders/7",
            "tool_name": "stripe",
            "action_details": {"order": "o-7", "amount": 600},
        }
        action = AgentAction(action_type=action_type, **{**given, **fields})
        return self.plane.perform(Submit(action, self.digest, detached=True, repeatable=False))

    def start(self, result: ActionResult) -> None:
        """The approved call starts."""
        action = AgentAction("seller", "Seller", "refund", "orders/7", "stripe")
        self.plane.perform(Claim(action, result.action_id, self.digest, self.digest))

    def begin(self, result: ActionResult, agent_id: str = "seller") -> None:
        """The started call passes its last check."""
        action = AgentAction(agent_id, "Seller", "refund", "orders/7", "stripe")
        assert not self.plane.perform(Begin(action, result.action_id, self.digest)).blocked

    def finish(self, result: ActionResult, error: str | None = None) -> None:
        """It ends."""
        status = OutcomeStatus.FAILED if error else OutcomeStatus.COMPLETED
        self.plane.perform(Settle(result.action_id, Outcome(status, duration=0.25, error=error)))

    def run(self, *arguments: str) -> Answer:
        """Type a command; a single argument is split as a shell would."""
        words = shlex.split(arguments[0]) if len(arguments) == 1 else arguments
        self._capsys.readouterr()
        code = main(words)
        return Answer(code, *self._capsys.readouterr())

    def close(self) -> None:
        """The agent ends."""
        if self._plane is not None:
            self._plane.close()
            self._plane = None


@pytest.fixture
def shops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[], Shop]]:
    """Open a shop that is configured by the environment, on a screen without colours; the one before is closed."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("ASCEND_DURABILITY", "process")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    opened: list[Shop] = []

    def another() -> Shop:
        for before in opened:
            before.close()
        folder = tmp_path / f"shop-{len(opened)}"
        folder.mkdir()
        opened.append(Shop(folder, capsys))
        monkeypatch.setenv("ASCEND_POLICY", str(opened[-1].policy))
        return opened[-1]

    yield another
    for before in opened:
        before.close()


@pytest.fixture
def shop(shops: Callable[[], Shop]) -> Shop:
    """A shop."""
    return shops()
