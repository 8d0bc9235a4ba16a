"""Which schedules are played in the simulated world: mostly short stories about a call that waits for a person.

A schedule is a policy, which nearly always asks, and a few stories. Each story aims at one event (an approval, an edit, a
crash at one step, ...). Whether the event happened is counted afterwards, from the trail: see ``simulated_events``.

They are drawn from a seeded ``random.Random``, because the events must be frequent and varied. Hypothesis draws most of its
examples as mutations of earlier ones, in which one story is copied over the others: of 150 schedules about 25 differ.
``smaller`` shrinks a schedule that fails.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ascend_guard.engine.policy import Policy, parse_policy
from ascend_guard.errors import AscendError


@dataclass(frozen=True)
class Step:
    """What happens around one step of the flow."""

    at: str
    """check, submit, wait, claim, recheck, begin, withdraw or settle."""
    before: tuple[str, ...] = ()
    """What people do before it."""
    fault: str | None = None
    when: str = "before"
    """When the fault strikes: before the effect; inside it (a crash, at a wait only); or after it, so the answer is lost."""
    wrong: int | None = None
    """The answer is replaced by the wrong one of this number."""


@dataclass(frozen=True)
class Made:
    """One call."""

    shape: str
    amount: Any
    target: str
    detached: bool
    steps: tuple[Step, ...]
    body: str = "ok"
    """How the tool's body ends: ok, raises, crashes."""


Turn = tuple[Made, tuple[str, ...]]
"""One call, and what happens after it."""


@dataclass(frozen=True)
class Schedule:
    """A policy and the calls made under it, one after the other."""

    policy: str
    calls: tuple[Turn, ...]


@lru_cache(maxsize=64)
def loadable(policy: str) -> Policy | None:
    """The policy, unless the loader refuses it (an unreachable rule)."""
    try:
        return parse_policy(policy)
    except AscendError:
        return None


# --- policies ----------------------------------------------------------------------------------------------------------


def policy(dice: random.Random) -> str:
    """A policy that can be loaded; six of seven ask for approval of what the stories do."""
    if dice.random() < 6 / 7:
        return _asking(dice)
    while True:
        text = _any(dice)
        if loadable(text) is not None:
            return text


def _asking(dice: random.Random) -> str:
    """Asks for approval, and judges edited calls differently."""
    ask = {
        "name": "ask",
        "actions": [dice.choice(["refund", "ref*", "*"])],
        "when": "args.amount >= 100",
        "effect": "require_approval",
        "quorum": dice.choice([1, 1, 1, 2]),
        "timeout": dice.choice(["30m", "2h"]),
    }
    small: dict[str, Any] = {"name": "small", "when": "args.amount < 100"}
    small |= dice.choice([{"effect": "allow"}, {"effect": "require_approval", "quorum": 2}])
    huge = {"name": "huge", "when": "args.amount > 50000", "effect": "deny"}
    return json.dumps({"version": 1, "default": "deny", "rules": [ask, small, huge]})


def _any(dice: random.Random) -> str:
    """A few rules over the amount and the target."""
    rules = []
    for index in range(dice.randint(0, 4)):
        effect = dice.choice([*["allow"] * 2, *["require_approval"] * 3, "deny"])
        comparison, low = dice.choice(["<=", ">", ">=", "=="]), dice.choice([0, 500, 500.0, 900])
        conditions = [f"args.amount {comparison} {low}", f'args.target == "{dice.choice("ab")}"']
        when = dice.choice([*conditions, None] if index == 0 and effect == "require_approval" else conditions)
        rule: dict[str, Any] = {"name": f"rule-{index}", "effect": effect, "tools": [f"*{'?' * index}"]}
        action = dice.choice(["refund", "ref*", "*", None])
        if action:
            rule["actions"] = [action]
        if when:
            rule["when"] = when
        if effect == "require_approval":
            rule |= {"quorum": dice.choice([1, 1, 2]), "timeout": dice.choice(["30m", "2h"])}
        rules.append(rule)
    default = dice.choice(["deny", "require_approval", "allow"])
    return json.dumps({"version": 1, "default": default, "rules": rules})


# --- stories -----------------------------------------------------------------------------------------------------------

APPROVED = ("approve ann", "approve bob")
"""Enough people for every quorum here; where one is enough, the second comes too late."""

YES = Step("wait", APPROVED)

PEOPLE = (
    *["approve ann"] * 8,
    *["approve bob"] * 5,
    *["deny bob"] * 2,
    *["edit 10", "edit 800", "edit 100000"] * 3,
    *["kill all", "kill agent", "kill other"],
    *["release all"] * 3,
    *["release agent"] * 3,
    *["expire"] * 2,
    *["tick"] * 2,
    *["mutate"] * 2,
)
STAGES = ("check", "submit", "wait", "claim", "recheck", "begin", "withdraw", "settle")
FAULTS = ("refused", "reset", "timeout", "broken", "stop", "key", "crash")
SHAPES = ("positional", "keyword", "mixed", "default", "method", "class", "static", "partial", "callable")
EDITS = ("edit 10", "edit 800", "edit 800", "edit 2000", "edit 100000")
LARGE = (900, 901, 902, 950, 1000, 2000.5, 10_000)
ODD = (1, 400, 500, 500.0, 500.01, 501, 900.5, 10_000, 10**30, True, None, "600", float("nan"))

CRASHES: tuple[tuple[Step, ...], ...] = (
    (Step("submit", fault="crash"),),
    (Step("submit", fault="crash", when="after"),),
    (Step("wait", fault="crash", when="inside"),),
    (Step("wait", APPROVED, fault="crash", when="after"),),
    (YES, Step("claim", fault="crash")),
    (YES, Step("claim", fault="crash", when="after")),
    (YES, Step("begin", fault="crash")),
    (YES, Step("begin", fault="crash", when="after")),
    (YES,),
    (YES, Step("settle", fault="crash")),
    (YES, Step("settle", fault="crash", when="after")),
)
"""The steps of calls that die, in the order of the flow. One without a fault dies in its body."""


def _made(dice: random.Random, *steps: Step) -> Made:
    return Made(dice.choice(SHAPES), dice.choice(LARGE), dice.choice("ab"), detached=False, steps=steps)


def _approve(dice: random.Random) -> Iterator[Turn]:
    yield replace(_made(dice, YES), body=dice.choice(["ok", "ok", "raises"])), ()


def _edit(dice: random.Random) -> Iterator[Turn]:
    yield _made(dice, Step("wait", (dice.choice(EDITS), *APPROVED)), YES), ()


def _mutate(dice: random.Random) -> Iterator[Turn]:
    at = dice.choice([*["wait"] * 5, "claim", "recheck", "begin"])
    if at == "wait":
        how = dice.choice(["mutate", "mutate", "misedit"])
        yield _made(dice, Step("wait", (how, *APPROVED))), ()
    else:
        yield _made(dice, YES, Step(at, ("mutate",))), ()


def _expire(dice: random.Random) -> Iterator[Turn]:
    where = dice.choice(["detached", "wait", "claim"])
    if where == "detached":
        yield replace(_made(dice), detached=True), (*dice.choice([(), APPROVED]), "expire")
    elif where == "wait":
        yield _made(dice, Step("wait", ("expire",))), ()
    else:
        yield _made(dice, YES, Step("claim", ("expire",))), ()


def _kill(dice: random.Random) -> Iterator[Turn]:
    whom = dice.choice(["all", "agent"])
    at = dice.choice([*["wait"] * 5, "claim", "recheck", "begin"])
    killed = Step(at, (f"kill {whom}",))
    yield _made(dice, *([killed] if at == "wait" else [YES, killed])), (f"release {whom}",)


def _crash(dice: random.Random) -> Iterator[Turn]:
    steps = dice.choice(CRASHES)
    made = replace(_made(dice, *steps), body="crashes" if steps == (YES,) else "ok")
    yield made, dice.choice([(), APPROVED])
    if dice.random() < 0.5:
        yield replace(made, shape=dice.choice(SHAPES), steps=(YES,), body="ok"), ()


def _resume(dice: random.Random) -> Iterator[Turn]:
    decided = dice.choice([APPROVED, (dice.choice(EDITS), *APPROVED)])
    gone = dice.choice(["crash", "restart"])
    detached = replace(_made(dice), detached=True)
    yield detached, dice.choice([(gone, *decided), (*decided, gone)])
    yield replace(detached, shape=dice.choice(SHAPES)), ()


def _lie(dice: random.Random) -> Iterator[Turn]:
    at, wrong = dice.choice(STAGES[:6]), dice.randrange(1000)
    if at == "wait":
        edited = dice.choice([(), ("edit 800",)])
        yield _made(dice, Step("wait", (*edited, *APPROVED), wrong=wrong)), ()
    else:
        yield _made(dice, YES, Step(at, wrong=wrong)), ()


def _anything(dice: random.Random) -> Iterator[Turn]:
    made = replace(
        _made(dice, *(_any_step(dice) for _ in range(dice.randint(0, 5)))),
        amount=dice.choice(ODD),
        detached=dice.random() < 0.5,
        body=dice.choice([*["ok"] * 8, "raises", "crashes"]),
    )
    yield made, _people(dice)


def _any_step(dice: random.Random) -> Step:
    return Step(
        dice.choice(STAGES),
        _people(dice),
        fault=dice.choice([*[None] * 15, *FAULTS]),
        when=dice.choice(["before", "after"]),
        wrong=dice.randrange(1000) if dice.random() < 0.1 else None,
    )


def _people(dice: random.Random) -> tuple[str, ...]:
    return tuple(dice.choice(PEOPLE) for _ in range(dice.choice([0, 0, 1, 2, 3])))


STORIES = {
    _approve: 2,
    _edit: 8,
    _mutate: 8,
    _expire: 4,
    _kill: 7,
    _crash: 18,
    _resume: 3,
    _lie: 2,
    _anything: 2,
}
"""Each kind of story, and how frequent it is."""


def schedule(seed: int) -> Schedule:
    """The schedule of this seed."""
    dice = random.Random(seed)
    told = dice.choices(list(STORIES), list(STORIES.values()), k=dice.randint(6, 10))
    return Schedule(policy(dice), tuple(turn for story in told for turn in story(dice)))


def smaller(schedule: Schedule) -> Iterator[Schedule]:
    """The schedule with one call less, or one step less."""
    for index, (made, between) in enumerate(schedule.calls):
        before, after = schedule.calls[:index], schedule.calls[index + 1 :]
        yield replace(schedule, calls=(*before, *after))
        if between:
            yield replace(schedule, calls=(*before, (made, ()), *after))
        for number in range(len(made.steps)):
            fewer = replace(made, steps=made.steps[:number] + made.steps[number + 1 :])
            yield replace(schedule, calls=(*before, (fewer, between), *after))


# --- interleavings -----------------------------------------------------------------------------------------------------

Move = tuple[str, Any, Any]


def interleaving(seed: int) -> tuple[str, list[Move]]:
    """A policy, and moves of several calls at once."""
    dice = random.Random(seed)
    return policy(dice), [_move(dice) for _ in range(dice.randint(20, 60))]


def _move(dice: random.Random) -> Move:
    kind = dice.randrange(20)
    if kind < 3:
        return "call", dice.choice([400, 900, 900, 901]), dice.random() < 0.3
    if kind < 13:
        return "step", dice.randint(0, 3), dice.randint(1, 4)
    if kind < 19:
        return "people", dice.choice(dice.choice([APPROVED, APPROVED, APPROVED, EDITS, PEOPLE])), 0
    return "crash", 0, 1
