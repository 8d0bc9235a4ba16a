"""One conversation that is interrupted, under everything people and processes can do to it, in any order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from langchain_core.messages import AIMessage
from lc_tools import Shop, guard
from lc_world import HELLO, Bench, World, agent, call, interrupts, says
from support import PROFILE

import ascend_guard.config
from ascend_guard import AscendError

TURNS = 4
PAYLOADS = st.sampled_from(
    [
        True,
        False,
        0,
        "",
        "approve",
        {"type": "accept"},
        {"decisions": [{"type": "approve"}]},
        ["yes"],
        {"amount": 0},
    ]
)


class Conversation(RuleBasedStateMachine):
    """An agent that pays several times, two of them at once and one id twice, and the people who decide about it.

    What is drawn depends on nothing that runs: two payments of one turn run in threads, and which waits first differs.

    Attributes:
        approved: what a person said may run, by action.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.world = World(folder)
        self.shop = Shop()
        self.bench = Bench(folder, asynchronous=False, durable=True)
        self.approved: dict[int, int] = {}
        self.killed = False
        self.over = False

    @initialize(
        asynchronous=st.booleans(), amounts=st.lists(st.integers(1, 3), min_size=TURNS, max_size=TURNS)
    )
    def begin(self, asynchronous: bool, amounts: list[int]) -> None:
        self.bench.asynchronous = asynchronous
        first, second, third, fourth = amounts
        turns = [
            says(call("pay", {"amount": first}, "a")),
            says(call("pay", {"amount": second}, "b"), call("pay", {"amount": third}, "c")),
            says(call("pay", {"amount": fourth}, "a")),
            AIMessage("done"),
        ]
        self._note(
            self.bench.start(
                lambda saver: agent(turns, [self.shop.pay()], guard("ask_it"), checkpointer=saver), HELLO
            )
        )

    def _note(self, state: dict[str, Any]) -> None:
        self.over = not interrupts(state)
        self._waiting = [each.id for each in state.get("__interrupt__", ())]

    @rule(payload=PAYLOADS, each=st.booleans())
    def resume(self, payload: Any, each: bool) -> None:
        if self.over:
            return
        if each or len(self._waiting) > 1:
            payload = dict.fromkeys(self._waiting, payload)
        self._note(self.bench.resume(payload))

    @rule(payload=PAYLOADS)
    def resume_one(self, payload: Any) -> None:
        if len(self._waiting) > 1:
            self._note(self.bench.resume({self._waiting[0]: payload}))

    @rule(which=st.integers(0, 3), edited=st.none() | st.integers(1, 3))
    def approve(self, which: int, edited: int | None) -> None:
        waiting = self.world.pending()
        if not waiting:
            return
        row = waiting[which % len(waiting)]
        try:
            self.world.approve(row, **({} if edited is None else {"amount": edited}))
        except AscendError:
            return
        asked = self.world.asked(row).action_details["amount"]
        self.approved[row.id] = asked if edited is None else edited

    @rule(which=st.integers(0, 3))
    def deny(self, which: int) -> None:
        waiting = self.world.pending()
        if waiting:
            try:
                self.world.deny(waiting[which % len(waiting)])
            except AscendError:
                pass

    @rule()
    def time_passes(self) -> None:
        self.world.expire()

    @rule()
    def kill(self) -> None:
        self.world.kill()
        self.killed = True

    @precondition(lambda self: self.killed)
    @rule()
    def release(self) -> None:
        self.world.release()
        self.killed = False

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @invariant()
    def what_ran_is_what_was_approved(self) -> None:
        claimed = sorted(self.world.claimed(), key=lambda row: row.claimed_at or 0)
        assert sorted(self.shop.ran) == sorted(self.approved[row.id] for row in claimed)
        assert all(row.status == "approved" for row in claimed)

    def teardown(self) -> None:
        self.world.verify()
        assert all(row.outcome == "completed" for row in self.world.claimed())
        self.world.close()
        ascend_guard.config._default = None
        self._folder.cleanup()


TestConversation = Conversation.TestCase
TestConversation.settings = settings(
    max_examples={"quick": 25, "ci": 75, "full": 1500}[PROFILE], stateful_step_count=25, deadline=None
)
TestConversation = pytest.mark.timeout({"quick": 120, "ci": 600, "full": 3600}[PROFILE])(TestConversation)
