"""The promises, put to random schedules of calls, people, faults and crashes, through both drivers."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from simulation import Schedule, World, interleave, interleavings, loadable, play, schedules
from support import PROFILE, SCHEDULES

from ascend_guard.arguments import digest_of, normalise
from ascend_guard.engine.policy import RuleEffect
from ascend_guard.engine.risk import assess
from ascend_guard.model import AgentAction

Story = list[dict[str, Any]]

PATIENCE = {"quick": 120, "ci": 900, "full": 3000}[PROFILE]
"""Seconds that so many schedules may take."""


def story(world: World) -> Story:
    """The audit trail, decoded."""
    return [msgspec.json.decode(row.body) for row in world.plane.read(lambda reader: list(reader.audit()))]


def trails(records: Story) -> dict[int, Story]:
    """The records of each action."""
    by_action: dict[int, Story] = {}
    for record in records:
        if record["action_id"] is not None:
            by_action.setdefault(record["action_id"], []).append(record)
    return by_action


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
        events = by_action[ran.action_id]
        submitted, names = events[0], [event["event"] for event in events]
        assert submitted["event"] == "submitted"
        assert submitted["decision"] != "denied"
        before = names[: names.index("started")]
        assert not {"denied", "expired", "withdrawn"} & set(before)
        if submitted["decision"] == "pending":
            approved = events[names.index("approved")]
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
    for action_id, events in trails(records).items():
        names = [event["event"] for event in events]
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


def check(world: World) -> None:
    """All of the above."""
    records = story(world)
    check_permits(world, records)
    check_decisions(world, records)
    check_policy(world)
    check_kill_switch(records)
    check_outcomes(world, records)
    check_trail(world)


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


@pytest.mark.timeout(PATIENCE)
@settings(max_examples=SCHEDULES, suppress_health_check=list(HealthCheck))
@given(schedules)
def test_the_promises_hold_in_every_schedule_and_both_drivers_agree(schedule: Schedule) -> None:
    """No permit, no run; one permit, one run; what was approved is what runs; the kill switch wins; all is recorded."""
    assume(loadable(schedule.policy) is not None)
    worlds = []
    try:
        ends = []
        for is_async in (False, True):
            world, end = play(schedule, is_async=is_async)
            worlds.append(world)
            ends.append(end)
            check(world)
        sync, async_ = worlds
        assert ends[0] == ends[1]
        assert without_accidents(story(sync)) == without_accidents(story(async_))
        assert sync.said == async_.said
        assert len(sync.ran) == len(async_.ran)
        for left, right in zip(sync.ran, async_.ran, strict=True):
            assert (left.action_id, left.target, left.items) == (right.action_id, right.target, right.items)
            assert same(left.amount, right.amount)
    finally:
        for world in worlds:
            world.close()


@pytest.mark.timeout(PATIENCE)
@settings(max_examples=SCHEDULES, suppress_health_check=list(HealthCheck))
@given(interleavings)
def test_the_promises_hold_when_calls_people_and_crashes_interleave(
    interleaving: tuple[str, list[Any]],
) -> None:
    """Several calls at once, one effect at a time, equal ones among them: still one permit each, and none for nothing."""
    text, moves = interleaving
    policy = loadable(text)
    assume(policy is not None)
    assert policy is not None
    world = interleave(policy, moves)
    try:
        check(world)
    finally:
        world.close()
