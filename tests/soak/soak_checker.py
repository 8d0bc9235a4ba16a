"""Compares what the processes of a soak wrote down with what the database says.

It uses nothing of the product: sqlite3 and json.

What it looks for, by the promise that would be broken:

1. ``undecided``: a body began without a started action of its own.
2. ``altered``: a body began with other arguments than were decided, an approver's edits included.
3. ``doubled``: an action was started twice, or more bodies began than actions were started for the same arguments.
4. ``late``: a body began while the kill switch was on for its agent, and was not in the list that the killer was given.
5. ``lost``: a call ended, its process went on, and its outcome is missing, unknown or another one.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak_journal import read

LIVED = 1_000_000_000
"""Nanoseconds a killed process must have gone on after a call's end for the outcome to count as lost."""

NUMBER = (1 << 40) - 1
"""The bits of a key that are the number within the organization."""

ACTIVE = 20
"""Events it must have written in that time: a process that was stopped by a signal did not go on."""


@dataclass
class Action:
    """One action as its audit records tell it."""

    nonce: str
    agent: str
    arguments: dict[str, Any]
    started: int = 0
    outcomes: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """What was found, and how often what the soak is about happened."""

    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    seen: Counter[str] = field(default_factory=Counter)


def check(database: Path, agents: list[Path], killed: set[Path], killer: Path) -> Verdict:
    """Compare.

    Args:
        database: of the control plane, which nobody uses any more.
        agents: one journal for each incarnation of an agent.
        killed: those that were ended by SIGKILL.
        killer: the killer's journal.
    """
    verdict = Verdict()
    actions = _actions(database)
    by_nonce: dict[str, list[int]] = defaultdict(list)
    for number, action in actions.items():
        by_nonce[action.nonce].append(number)
        verdict.seen[f"outcome {action.outcomes[-1] if action.outcomes else None}"] += action.started > 0
        if action.started > 1:
            verdict.wrong["doubled"].append(f"action {number} was started {action.started} times")
    kills = _kills(read(killer), verdict)
    begun: Counter[str] = Counter()
    for journal in agents:
        events = read(journal)
        for event in events:
            verdict.seen[event["event"]] += 1
            if event["event"] == "began":
                begun[event["nonce"]] += 1
                _judge_begun(event, by_nonce[event["nonce"]], actions, kills, verdict)
        _judge_outcomes(events, journal in killed, by_nonce, actions, verdict)
    for nonce, count in begun.items():
        started = sum(actions[number].started for number in by_nonce[nonce])
        if count > started:
            verdict.wrong["doubled"].append(f"{nonce} began {count} times, started {started} times")
    return verdict


def _actions(database: Path) -> dict[int, Action]:
    actions: dict[int, Action] = {}
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        records = connection.execute("SELECT action, event, body FROM log ORDER BY key").fetchall()
    for key, event, text in records:
        record = json.loads(text)
        if record["organization"] != "local":
            continue
        number = None if key is None else key & NUMBER
        if event == "submitted":
            asked = record["action"]
            details = dict(asked["action_details"])
            at_once = "runner" in record.get("set", {})  # a rule allowed it, so it started in the same step
            actions[number] = Action(details["nonce"], asked["agent_id"], details, started=int(at_once))
        elif number in actions:
            action = actions[number]
            if event in ("approved", "approval"):
                action.arguments |= record.get("edits") or {}
            elif event == "started":
                action.started += 1
            elif event in ("completed", "failed", "unknown", "handed_over"):
                action.outcomes.append(event)
    return actions


def _kills(events: list[dict[str, Any]], verdict: Verdict) -> list[tuple[int, int, str | None, set[int]]]:
    kills = []
    on: dict[str, Any] | None = None
    for event in events:
        if event["event"] == "killed":
            on = event
        elif event["event"] == "releasing" and on is not None:
            kills.append((on["at"], event["at"], on["agent"], set(on["running"])))
            verdict.seen["kill"] += 1
            verdict.seen["running when killed"] += len(on["running"])
            on = None
    return kills


def _judge_begun(
    event: dict[str, Any],
    numbers: list[int],
    actions: dict[int, Action],
    kills: list[tuple[int, int, str | None, set[int]]],
    verdict: Verdict,
) -> None:
    nonce = event["nonce"]
    started = [number for number in numbers if actions[number].started]
    if not started:
        verdict.wrong["undecided"].append(f"{nonce} began, and no action was started for it")
        return
    given = {"nonce": nonce, "amount": event["amount"], "tags": event["tags"]}
    if all(actions[number].arguments != given for number in started):
        decided = [actions[number].arguments for number in started]
        verdict.wrong["altered"].append(f"{nonce} ran with {given}, decided on {decided}")
    for since, until, agent, listed in kills:
        if since < event["at"] < until and (agent is None or agent == actions[started[0]].agent):
            if listed.isdisjoint(started):
                late = (event["at"] - since) / 1e6
                verdict.wrong["late"].append(f"{nonce} began {late:.2f} ms after the kill had returned")
            else:
                verdict.seen["first statement after the kill, listed"] += 1


def _judge_outcomes(
    events: list[dict[str, Any]],
    killed: bool,
    by_nonce: dict[str, list[int]],
    actions: dict[int, Action],
    verdict: Verdict,
) -> None:
    times = [event["at"] for event in events]
    orderly = not killed and bool(events) and events[-1]["event"] == "bye"
    returned = {e["nonce"]: e for e in events if e["event"] in ("returned", "blocked")}
    for position, event in enumerate(events):
        if event["event"] != "ended":
            continue
        after = [at for at in times[position + 1 :] if at - event["at"] > LIVED]
        if not orderly and len(after) < ACTIVE:
            continue
        verdict.seen["finished calls whose outcome must be there"] += 1
        outcomes = [
            actions[n].outcomes[-1] if actions[n].outcomes else "none"
            for n in by_nonce[event["nonce"]]
            if actions[n].started
        ]
        # An interrupt between the tool's end and the caller may make a failure of what was complete, and nothing else.
        allowed = {event["how"]} if event["nonce"] in returned else {"completed", "failed"}
        if event["nonce"] in returned and returned[event["nonce"]]["event"] == "blocked":
            allowed = {"completed", "failed"}
        if allowed.isdisjoint(outcomes):
            verdict.wrong["lost"].append(f"{event['nonce']} {event['how']}, on record: {outcomes}")
