"""Whatever happens to actions, in whatever order: the rows and the audit trail tell the same story at every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from independent_replay import differences
from recorded import asked_in, every_action, trail_of
from simulation import World
from support import SCHEDULES

from ascend_guard.engine.policy import parse_policy
from ascend_guard.errors import AscendError
from ascend_guard.flow import Claim, Settle, Submit, Withdraw
from ascend_guard.model import AgentAction, Outcome, OutcomeStatus

POLICY = parse_policy(
    """
version: 1
default: deny
rules:
  - {name: free, actions: [free], effect: allow}
  - {name: ask, actions: [ask], effect: require_approval, timeout: 60s}
  - {name: two, actions: [two], effect: require_approval, quorum: 2, timeout: 60s}
"""
)

happened: Counter[str] = Counter()
"""What the sequences came to, over all examples."""

ACTION_TYPES = ("free", "free", "ask", "ask", "two", "never")
CALL_IDS = (None, None, "call")
STEPS: list[Callable[[Random], tuple[Any, ...]]] = [
    *[
        lambda random: (
            "submit",
            random.choice(ACTION_TYPES),
            random.random() < 0.5,
            random.choice((None, None, "call")),
        )
    ]
    * 3,
    *[lambda random: ("settle", random.randint(0, 1), random.choice(list(OutcomeStatus)))] * 2,
    *[lambda random: ("approve", random.randint(0, 2), random.choice(("ann", "bob")))] * 2,
    *[
        lambda random: (
            random.choice(("child", "edit", "deny", "claim", "withdraw", "detach")),
            random.randint(0, 2),
        )
    ]
    * 6,
    lambda random: ("use", random.choice((0.0, 0.0, 61.0))),
    lambda random: ("ask_and_edit",),
    *[lambda random: ("finish",)] * 2,
    lambda random: ("pass", random.choice((10.0, 61.0, 61.0, 200_000.0))),
    lambda random: (random.choice(("housekeep", "kill", "release", "crash")),),
]


def sequence_of(seed: int) -> list[tuple[Any, ...]]:
    """Drawn here: Hypothesis makes most of its examples from a few others, and then some events never come."""
    random = Random(seed)
    return [random.choice(STEPS)(random) for _ in range(random.randint(8, 30))]


class Story:
    """One database, and what is done to it."""

    def __init__(self) -> None:
        self.world = World(POLICY)

    def id(self, back: int) -> str:
        return str(max(1, self.world.plane.read(lambda reader: reader.last_action("local")) - back))

    def submit(self, action_type: str, detached: bool, call_id: str | None) -> None:
        self._submit(action_type, detached, call_id, None)

    def child(self, back: int) -> None:
        self._submit("ask", True, None, int(self.id(back)))

    def _submit(self, action_type: str, detached: bool, call_id: str | None, parent: int | None) -> None:
        action = AgentAction(
            "agent",
            "agent",
            action_type,
            "t",
            "r",
            action_details={"amount": 5},
            orchestration_session_id="s",
            parent_action_id=parent,
            orchestration_depth=0 if parent is None else 1,
        )
        before = self.world.plane.read(lambda reader: reader.last_action("local"))
        effect = Submit(action, "d", detached=detached, repeatable=True, call_id=call_id)
        number = int(self.world.plane.perform(effect).action_id)
        happened["new" if number > before else "resumed"] += 1

    def approve(self, back: int, who: str) -> None:
        self.world.plane.approve(self.id(back), approver=who)

    def edit(self, back: int) -> None:
        self.world.plane.approve(self.id(back), approver="eve", arguments={"amount": 7})

    def ask_and_edit(self) -> None:
        """Ask, and approve with other arguments."""
        self.submit("ask", True, None)
        self.edit(0)
        happened["edit"] += 1

    def deny(self, back: int) -> None:
        self.world.plane.deny(self.id(back), approver="ann")

    def _asked(self, number: str) -> AgentAction:
        return self.world.plane.read(lambda reader: asked_in(reader, number))

    def claim(self, back: int) -> None:
        number = self.id(back)
        self.world.plane.perform(Claim(self._asked(number), number, "d", "d"))

    def use(self, wait: float) -> None:
        """Ask, approve, and use the approval, perhaps too late."""
        self.submit("ask", False, None)
        self.approve(0, "ann")
        self.world.clock.now += wait
        self.claim(0)
        happened["claim"] += 1

    def settle(self, back: int, status: OutcomeStatus) -> None:
        self.world.plane.perform(Settle(self.id(back), Outcome(status, 0.5)))

    def finish(self) -> None:
        """A call that is allowed, from its submission to its outcome."""
        self.submit("free", False, None)
        self.settle(0, OutcomeStatus.COMPLETED)

    def withdraw(self, back: int) -> None:
        self.world.plane.perform(Withdraw(self.id(back), "changed its mind"))

    def detach(self, back: int) -> None:
        self.world.plane._stop_waiting(self.id(back))

    def housekeep(self) -> None:
        self.world.plane.housekeep()

    def kill(self) -> None:
        self.world.plane.kill(reason="fire", by="ann")

    def release(self) -> None:
        self.world.plane.release(reason="out", by="ann")

    def crash(self) -> None:
        self.world.crash()

    def play(self, step: tuple[Any, ...]) -> None:
        name, *values = step
        if name == "pass":
            self.world.clock.now += values[0]
            return
        try:
            getattr(self, name)(*values)
        except AscendError as error:
            happened[type(error).__name__] += 1
        else:
            happened[name] += 1


@settings(max_examples=SCHEDULES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.integers(0, 2**64 - 1))
def _rows_agree(seed: int) -> None:
    story, sequence = Story(), sequence_of(seed)
    note(f"{sequence}")
    try:
        for step in sequence:
            story.play(step)
            report = story.world.plane.verify_audit()
            assert report.ok, (step, report.problems)
            replayed = differences(story.world.folder / "a.db", bytes(story.world.store.secret))
            assert replayed == [], (step, replayed)
            for row in story.world.plane.read(lambda reader: every_action(reader)):
                trail = story.world.plane.read(lambda reader, row=row: trail_of(reader, row.id))
                assert trail[0].event == "submitted"
                happened.update(f"was {record.event}" for record in trail[-1:])
    finally:
        story.world.close()


def test_rows_agree_with_the_trail_after_every_step() -> None:
    """No sequence of changes raises the alarm for tampering, and every action can be looked at."""
    happened.clear()
    _rows_agree()
    wanted = {"new", "resumed", "approve", "edit", "deny", "claim", "settle", "withdraw", "kill", "crash"}
    wanted |= {
        "was expired",
        "was withdrawn",
        "was completed",
        "was unknown",
        "was approved",
        "KillSwitchError",
    }
    missing = wanted - set(happened)
    assert not missing, missing


def test_an_approval_that_lapses_within_the_transaction_that_asks_anew() -> None:
    """The record of the lapse comes before the new action's, whose row must know."""
    story = Story()
    try:
        for step in (("submit", "ask", True, None), ("approve", 0, "ann"), ("pass", 61.0)):
            story.play(step)
        story.play(("submit", "ask", True, None))
        assert story.id(0) == "2"
        assert story.world.plane.verify_audit().ok
        assert story._asked("2").action_type == "ask"
        story.world.plane.approve("2", approver="ann")
    finally:
        story.world.close()
