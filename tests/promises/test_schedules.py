"""The promises, put to random schedules of calls, people, faults and crashes, through both drivers."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from simulated_events import FLOORS, INTERLEAVED, events, require_floors, trails
from simulated_schedules import Schedule, interleaving, schedule, smaller
from simulation import Story, World, interleave, play
from support import PROFILE, SCHEDULES

from ascend_guard.arguments import digest_of, normalise
from ascend_guard.engine.policy import RuleEffect
from ascend_guard.engine.risk import assess
from ascend_guard.model import AgentAction

PATIENCE = {"quick": 300, "ci": 1500, "full": 6000}[PROFILE]
"""Seconds that so many schedules may take."""


def check_permits(world: World, records: Story) -> None:
    """Every run had its own permit, recorded before, for exactly the arguments that ran."""
    assert len({ran.action_id for ran in world.ran}) == len(world.ran), "one permit, two runs"
    starts = {r["action_id"]: r["digest"] for r in records if r["event"] == "started"}
    assert len(starts) == sum(r["event"] == "started" for r in records), "started twice"
    for ran in world.ran:
        named = {"amount": ran.amount, "target": ran.target, "items": ran.items}
        assert starts[ran.action_id] == digest_of(named, key=world.plane.digest_key), "other arguments ran"


def check_decisions(world: World, records: Story) -> None:
    """Whatever ran was approved, by the policy or by enough people, and never after a denial."""
    by_action = trails(records)
    for ran in world.ran:
        told = by_action[ran.action_id]
        submitted, names = told[0], [record["event"] for record in told]
        assert submitted["event"] == "submitted"
        assert submitted["decision"] != "denied"
        before = names[: names.index("started")]
        assert not {"denied", "expired", "withdrawn"} & set(before)
        if submitted["decision"] == "pending":
            approved = told[names.index("approved")]
            assert names.index("approved") < names.index("started")
            assert approved["approvals"] >= approved["quorum"]


def check_policy(world: World) -> None:
    """Nothing the policy denies has run, whoever approved it with whatever arguments."""
    for ran in world.ran:
        plain = normalise({"amount": ran.amount, "target": ran.target, "items": ran.items}, key=b"").plain
        action = AgentAction("agent", "agent", "refund", "refund", "refund", action_details=plain)
        assert world.policy.decide(action, assess(action)).effect is not RuleEffect.DENY


def check_kill_switch(records: Story) -> None:
    """Nothing started while the kill switch was on for the agent."""
    on: set[str | None] = set()
    for record in records:
        if record["event"] == "kill_switch.on":
            on.add(record["agent_id"])
        elif record["event"] == "kill_switch.off":
            on.discard(record["agent_id"])
        elif record["event"] == "started":
            assert not on & {None, "agent"}, "started under the kill switch"


def check_outcomes(world: World, records: Story) -> None:
    """An outcome is what happened: completed only where the body ran to its end; what a crash cut off is unknown."""
    ran = {run.action_id for run in world.ran}
    for action_id, told in trails(records).items():
        names = [record["event"] for record in told]
        outcomes = [name for name in names if name in ("completed", "failed", "handed_over", "unknown")]
        assert len(outcomes) <= 1
        if "completed" in names:
            assert action_id in ran
        if outcomes:
            assert "started" in names


def check_trail(world: World) -> None:
    """The trail verifies, and the actions agree with it."""
    report = world.plane.verify_audit()
    assert report.ok, report.problems


def check(world: World) -> Story:
    """All of the above; the trail."""
    assert world.broken == [], world.broken
    records = world.story()
    check_permits(world, records)
    check_decisions(world, records)
    check_policy(world)
    check_kill_switch(records)
    check_outcomes(world, records)
    check_trail(world)
    return records


def without_accidents(records: Story) -> list[Any]:
    """The trail without what differs from run to run: random identifiers and durations."""
    kept = []
    for record in records:
        record = {k: v for k, v in record.items() if k not in ("duration", "error", "digest", "call")}
        record["action"] = {
            k: v for k, v in record.get("action", {}).items() if k != "orchestration_session_id"
        }
        kept.append(record)
    return kept


def same(left: Any, right: Any) -> bool:
    """Equal, where a NaN equals itself."""
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


seeds = st.integers(0, 2**64 - 1)
varied = settings(max_examples=SCHEDULES, phases=[Phase.explicit, Phase.reuse, Phase.generate], deadline=None)
"""A seed has no smaller form: a schedule that fails is shrunk by ``smallest``."""


@pytest.mark.timeout(PATIENCE)
def test_the_promises_hold_in_every_schedule_and_both_drivers_agree() -> None:
    """No permit, no run; one permit, one run; what was approved is what runs; the kill switch wins; all is recorded."""
    happened: Counter[str] = Counter()

    @varied
    @given(seeds)
    def hold(seed: int) -> None:
        drawn = schedule(seed)
        try:
            happened.update(both(drawn, runner))
        except Exception as error:
            error.add_note(f"The smallest schedule that fails: {smallest(drawn, runner)!r} (seed {seed})")
            raise

    with asyncio.Runner() as runner:
        hold()
    require_floors(happened, FLOORS)


def both(drawn: Schedule, runner: asyncio.Runner) -> Counter[str]:
    """Play it blocking and on an event loop, and check all promises; what happened, in both."""
    with closing(play(drawn, None)) as blocking, closing(play(drawn, runner)) as on_a_loop:
        told, retold = check(blocking), check(on_a_loop)
        agree(blocking, told, on_a_loop, retold)
        return events(blocking, told) + events(on_a_loop, retold)


def smallest(failing: Schedule, runner: asyncio.Runner) -> Schedule:
    """A schedule that fails too, from which nothing can be taken away."""
    for fewer in smaller(failing):
        try:
            both(fewer, runner)
        except Exception:
            return smallest(fewer, runner)
    return failing


def agree(left: World, told: Story, right: World, retold: Story) -> None:
    """The same happened in both worlds."""
    assert left.ends == right.ends
    different = [
        (a, b) for a, b in zip(without_accidents(told), without_accidents(retold), strict=False) if a != b
    ]
    assert not different, different[:1]
    assert len(told) == len(retold)
    assert left.said == right.said
    assert left.deaths == right.deaths
    assert len(left.ran) == len(right.ran)
    for one, other in zip(left.ran, right.ran, strict=True):
        assert (one.action_id, one.target, one.items) == (other.action_id, other.target, other.items)
        assert same(one.amount, other.amount)


@pytest.mark.timeout(PATIENCE)
def test_the_promises_hold_when_calls_people_and_crashes_interleave() -> None:
    """Several calls at once, one effect at a time, equal ones among them: still one permit each, and none for nothing."""
    happened: Counter[str] = Counter()

    @varied
    @given(seeds)
    def hold(seed: int) -> None:
        with closing(interleave(*interleaving(seed))) as world:
            happened.update(events(world, check(world)))

    hold()
    require_floors(happened, INTERLEAVED)
