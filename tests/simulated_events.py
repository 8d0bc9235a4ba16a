"""What happened in a simulated world, counted from its trail and the tool's own list, never from what was scheduled."""

from __future__ import annotations

from collections import Counter

from simulation import Story, World
from support import SCHEDULES

_PLACES = (
    "before submit",
    "after submit",
    "while waiting",
    "after approval, before claim",
    "after claim, before begin",
    "after begin, before the body",
    "in the body",
    "after the body, before settle",
    "after settle",
)

FLOORS = {
    "ran after approval": 500,
    "ran with edited arguments": 200,
    "expired": 100,
    "withdrawn": 100,
    "killed while waiting": 100,
    "resumed after a restart": 100,
    "changed at the last check": 20,
    "killed at the last check": 20,
    **{f"crashed {place}": 20 for place in _PLACES},
}
"""How often each must happen in 150 schedules, each played blocking and on an event loop."""


INTERLEAVED = {
    "ran": 100,
    "ran after approval": 80,
    "ran with edited arguments": 15,
    "resumed after a restart": 8,
}
"""How often each must happen in 150 interleavings."""


def require_floors(happened: Counter[str], floors: dict[str, int]) -> None:
    """Fail when something happened too seldom for the property to mean anything. Floors grow with the profile."""
    wanted = {event: floor * SCHEDULES // 150 for event, floor in floors.items()}
    missed = {
        event: f"{happened[event]} of {floor}" for event, floor in wanted.items() if happened[event] < floor
    }
    assert not missed, (missed, dict(happened))


def trails(records: Story) -> dict[int, Story]:
    """The records of each action, each with its place in the whole."""
    by_action: dict[int, Story] = {}
    for seq, record in enumerate(records, 1):
        if record["action_id"] is not None:
            by_action.setdefault(record["action_id"], []).append(record | {"seq": seq})
    return by_action


def events(world: World, records: Story) -> Counter[str]:
    """How often what happened."""
    happened = Counter({f"crashed {place}": count for place, count in world.deaths.items()})
    by_action = trails(records)
    for ran in world.ran:
        happened["ran"] += 1
        submitted, *later = by_action[ran.action_id]
        started = next(record for record in later if record["event"] == "started")
        if any(record["event"] == "approved" for record in later):
            happened["ran after approval"] += 1
        asked = submitted["action"]["action_details"]
        if started.get("edits") and asked["amount"] != ran.amount:
            happened["ran with edited arguments"] += 1
        if submitted["seq"] <= world.lives[ran.life]:
            happened["resumed after a restart"] += 1
    for story in by_action.values():
        for record in story:
            event = record["event"]
            if event in ("expired", "withdrawn"):
                happened[event] += 1
            elif event == "blocked" and record["stage"] == "wait":
                happened["killed while waiting"] += 1
            elif event == "failed" and record["error"].startswith("not started: "):
                why = "changed" if "its arguments changed" in record["error"] else "killed"
                happened[f"{why} at the last check"] += 1
    return happened
