"""A store with a clock of its own, in which one step of the engine is taken and everything it changed is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from recorded import change, every_action, length
from world import new_store

from ascend_guard.engine import approve, claim, decide
from ascend_guard.engine.approvers import Approver
from ascend_guard.engine.audit import verify
from ascend_guard.engine.history import steps
from ascend_guard.engine.policy import Policy, parse_policy
from ascend_guard.errors import AscendError
from ascend_guard.flow import Claim, Submit
from ascend_guard.model import ActionResult, AgentAction
from ascend_guard.store.port import ActionRow, Transaction

POLICY = """
version: 1
rules:
  - {name: reads, actions: ["*_read"], effect: allow}
  - {name: small, actions: [refund], when: args.amount <= 100.0, effect: allow}
  - {name: huge, actions: [refund], when: args.amount > 5000.0, effect: deny, reason: Too much.}
  - name: big
    actions: [refund]
    when: args.amount > 1000.0
    effect: require_approval
    approvers: [board]
    quorum: 2
    reason: The board decides.
  - name: middle
    actions: [refund]
    when: args.amount > 100.0
    effect: require_approval
    approvers: [finance]
    timeout: 30m
    reason: Finance decides.
"""

ORG = "org"
START = 1_800_000_000.0
ANN, BOB = Approver("ann"), Approver("bob")


def refund(amount: float = 500.0, **other: Any) -> AgentAction:
    """An action of the agent ``billing``."""
    details = other.pop("action_details", {"amount": amount, "note": "n"})
    given = {
        "agent_id": "billing",
        "agent_name": "Billing",
        "action_type": "refund",
        "tool_name": "pay",
        **other,
    }
    return AgentAction(**given, resource=f"refund {details.get('amount')}", action_details=details)


def submission(action: AgentAction, **other: Any) -> Submit:
    """That action, asked by a call that waits and can be repeated."""
    given = {"digest": "d" * 64, "detached": False, "repeatable": True, **other}
    return Submit(action, given.pop("digest"), **given)


@dataclass
class Change:
    """What one step did.

    Attributes:
        answer: what it returned.
        columns: those of the action that are different after it.
        records: the audit records it made, as people read them (``history``), each without its time.
    """

    answer: Any
    columns: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)


class Engine:
    """The engine's steps on a store; ``now`` is the time."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.store = new_store(folder / "a.db", lambda: self.now)
        self.policy: Policy = parse_policy(POLICY)
        self.dead: set[str] = set()

    def row(self, number: int = 1) -> ActionRow:
        """An action as it stands."""
        row = self.store.read(lambda reader: reader.action(ORG, number))
        assert row is not None
        return row

    def step(self, work: Callable[[Transaction], Any], number: int = 1) -> Change:
        """Take a step, and say what it changed in this action and in the audit trail; the log says all of it."""
        before = self.store.read(lambda reader: (reader.action(ORG, number), reader.head(ORG).seq))
        done = Change(self.store.write(work))
        after = self.store.read(lambda reader: reader.action(ORG, number))
        if after is not None:
            old = {} if before[0] is None else msgspec.structs.asdict(before[0])
            new = msgspec.structs.asdict(after)
            done.columns = {name: value for name, value in new.items() if value != old.get(name)}
        done.records = self.store.read(
            lambda reader: [_shown(step) for row in reader.log(ORG, before[1]) for step in steps(row)]
        )
        report = self.store.snapshot(lambda reader: verify(reader, self.store.secret))
        assert report.ok, report.problems
        return done

    def give(self, number: int, **columns: Any) -> None:
        """Give an action these columns, as no step of the engine would."""
        self.step(lambda tx: change(tx, number, ORG, **columns), number)

    def submit(self, effect: Submit, runner: str = "me", number: int = 1) -> Change:
        """Judge and submit."""
        judgement = decide.judge(effect.action, self.policy)
        return self.step(
            lambda tx: decide.submit(tx, ORG, runner, lambda name: name not in self.dead, judgement, effect),
            number,
        )

    def approve(self, who: Approver = ANN, edits: dict[str, Any] | None = None, **how: Any) -> Change:
        """Approve action 1."""
        policy, seen, comment = how.get("policy", self.policy), how.get("seen"), how.get("comment")
        return self.step(lambda tx: approve.approve(tx, self._row(tx), who, comment, edits, policy, seen))

    def deny(self, who: Approver = ANN, comment: str | None = None, seen: ActionRow | None = None) -> Change:
        """Deny action 1."""
        return self.step(lambda tx: approve.deny(tx, self._row(tx), who, comment, seen))

    def claim(self, action: AgentAction | None = None, number: int = 1, **other: Any) -> Change:
        """Claim an action."""
        given = {"digest": "d" * 64, "running": ("r" if other.get("edits") else "d") * 64, **other}
        effect = Claim(action or refund(), str(number), given.pop("digest"), given.pop("running"), **given)
        return self.step(
            lambda tx: claim.claim(tx, ORG, "runner", effect, lambda asked: decide.judge(asked, self.policy)),
            number,
        )

    @staticmethod
    def _row(tx: Transaction) -> ActionRow:
        row = tx.action(ORG, 1)
        assert row is not None
        return row

    @contextmanager
    def refusing(self, error: type[AscendError], text: str) -> Iterator[None]:
        """Whatever is refused in this block changes nothing, and names the action."""
        before = self.store.read(lambda reader: (length(reader), every_action(reader)))
        with pytest.raises(error) as refused:
            yield
        assert text in str(refused.value)
        assert before == self.store.read(lambda reader: (length(reader), every_action(reader)))


def _shown(read: dict[str, Any]) -> dict[str, Any]:
    assert read.pop("organization") == ORG
    for name in ("timestamp", "seq"):
        read.pop(name)
    if read["action_id"] is None:
        del read["action_id"]
    return read


def answered(change: Change) -> ActionResult:
    """The answer of a step that decided."""
    assert isinstance(change.answer, ActionResult)
    return change.answer
