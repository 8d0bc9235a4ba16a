"""Promise 1 against a faulty control plane: a wrong value in any field of any reply blocks the call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
from simulated_schedules import APPROVED, Made, Step
from simulation import FAULTS, Crash, Scheduled, World, call_of

from ascend_guard import AgentAction, AscendError, KillSwitchError
from ascend_guard.engine.policy import parse_policy
from ascend_guard.flow import Submit
from ascend_guard.model import KillSwitchState

POLICY = parse_policy(
    """
version: 1
rules:
  - {name: small, when: args.amount < 500, effect: allow}
  - {name: large, when: args.amount >= 500, effect: require_approval, timeout: 30m}
"""
)

AT_ONCE = ("check", "submit", "begin")
AFTER_APPROVAL = ("check", "submit", "wait", "claim", "recheck", "begin")


@pytest.fixture
def world() -> Iterator[World]:
    """A world in which another call, with other arguments, has its permit and runs."""
    with closing(World(POLICY)) as made:
        action = AgentAction("agent", "agent", "refund", "refund", "refund", action_details={"amount": 5})
        made.other = made.plane.perform(Submit(action, "ab" * 32, detached=False, repeatable=False))
        assert made.other.claimed
        yield made


@pytest.mark.parametrize("stage", AT_ONCE)
def test_no_wrong_reply_lets_an_allowed_call_run(world: World, stage: str) -> None:
    """The policy allows it; one reply on the way is wrong."""
    _none_runs(world, stage, 100, ())


@pytest.mark.parametrize("stage", AFTER_APPROVAL)
@pytest.mark.parametrize("edit", [(), ("edit 800",)], ids=["as asked", "edited"])
def test_no_wrong_reply_lets_an_approved_call_run(world: World, stage: str, edit: tuple[str, ...]) -> None:
    """A person approves it, as it was asked or with an edit; one reply on the way is wrong."""
    _none_runs(world, stage, 1000, (*edit, *APPROVED))


def _none_runs(world: World, stage: str, amount: int, people: tuple[str, ...]) -> None:
    number, lies = 0, 1
    while number < lies:
        steps = [Step("wait", people)] if people else []
        if stage == "wait":
            steps = [Step("wait", people, wrong=number)]
        else:
            steps.append(Step(stage, wrong=number))
        made = Made("keyword", amount + number / 1000, "a", detached=False, steps=tuple(steps))
        call = Scheduled(world, made.steps)
        try:
            call_of(made, call, is_async=False)()
        except AscendError:
            pass
        else:
            pytest.fail(f"{stage}: {call.lied}: the call returned")
        lies = call.lies
        assert lies > 20, "the step was not reached, or had no wrong replies"
        assert world.ran == [], (stage, call.lied)
        assert world.broken == []
        number += 1


@pytest.mark.parametrize("blocked", [None, 0, "", "false", (), [False], 0.0])
@pytest.mark.parametrize("stage", ["check", "recheck", "begin"])
def test_a_kill_switch_that_is_not_plainly_off_is_on(world: World, stage: str, blocked: object) -> None:
    """``blocked`` must be the boolean False; what merely counts as false blocks, as the kill switch does."""
    made = Made("keyword", 900, "a", detached=False, steps=(Step("wait", APPROVED),))
    call = Scheduled(world, made.steps)
    call.replies[stage] = KillSwitchState(blocked)  # type: ignore[arg-type]  # that is the fault
    with pytest.raises(KillSwitchError, match="cannot be known"):
        call_of(made, call, is_async=False)()
    assert world.ran == []


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "crash"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("amount", [100, 900], ids=["allowed", "approved"])
def test_an_outcome_that_cannot_be_recorded_is_not_the_callers_error(
    world: World, fault: str, is_async: bool, amount: int
) -> None:
    """The tool has acted, so its result is returned whatever kind of error recording the outcome ends with."""
    steps = (Step("wait", APPROVED), Step("settle", fault=fault))
    made = Made("keyword", amount, "a", detached=False, steps=steps)
    call = call_of(made, Scheduled(world, steps), is_async=is_async)
    result = asyncio.run(call()) if is_async else call()
    assert result == "done"
    assert [ran.finished for ran in world.ran] == [True]


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("stage", AFTER_APPROVAL)
def test_no_error_of_the_control_plane_lets_a_call_run(
    world: World, stage: str, when: str, fault: str
) -> None:
    """Of whatever kind it is, before or after the step was taken."""
    failing = Step(stage, APPROVED if stage == "wait" else (), fault=fault, when=when)
    steps = (failing,) if stage == "wait" else (Step("wait", APPROVED), failing)
    made = Made("keyword", 900, "a", detached=False, steps=steps)
    call = Scheduled(world, steps)
    with pytest.raises(Crash if fault == "crash" else AscendError):
        call_of(made, call, is_async=False)()
    assert world.ran == []
    if fault == "crash":
        world.crash()
