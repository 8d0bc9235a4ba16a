"""What must be true at the end: everything that anybody was told against what the database says."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
from recorded import every_action, every_record
from replica_journal import told
from replica_people import DECIDES
from replica_world import World

from ascend_guard.engine.audit import verify
from ascend_guard.store.port import ActionRow, Reader

LATEST_START = 1.0
"""Seconds after the kill switch's answer that a body may still begin: generous, as the promise is a tenth of that."""

Line = dict[str, Any]


class Truth:
    """The database at the end: its actions, and its records by action and event."""

    def __init__(self, world: World) -> None:
        with world.store() as store:
            self.report = store.snapshot(lambda reader: verify(reader, world.secret))
            self.records, self.actions = store.snapshot(_everything)
        self.of: dict[int, list[Line]] = defaultdict(list)
        for record in self.records:
            if record.get("action_id") is not None:
                self.of[record["action_id"]].append(record)

    def events(self, action_id: int, *events: str) -> list[Line]:
        """The records of these kinds about an action."""
        return [record for record in self.of[action_id] if record["event"] in events]


def _everything(reader: Reader) -> tuple[list[Line], dict[int, ActionRow]]:
    assert {head.organization for head in reader.heads()} <= {"", "local"}  # or numbers would not be enough
    records = [msgspec.json.decode(row.body, type=dict[str, Any]) for row in every_record(reader)]
    return records, {row.id: row for row in every_action(reader)}


def check(world: World, agents: list[Path], people: list[Path]) -> dict[str, int]:
    """Assert all of it; how much there was of what."""
    truth = Truth(world)
    assert truth.report.problems == []
    lines = [line for path in agents for line in told(path)]
    clicks = [line for path in people for line in told(path)]
    _check_trail(truth)
    _check_acknowledged(truth, lines)
    _check_bodies(truth, lines)
    for path in agents:
        _check_refused(told(path))
    _check_decided(truth, clicks)
    late = _check_stopped(truth, lines, clicks)
    counted = Counter(line.get("error") or line["what"] for line in lines + clicks)
    return {**counted, "records": len(truth.records), "latest start after a stop, ms": round(late * 1000)}


def _check_trail(truth: Truth) -> None:
    """No approval is used twice, and nothing runs that nobody approved."""
    for action_id, records in truth.of.items():
        started = truth.events(action_id, "started")
        assert len(started) <= 1, records
        decided = truth.events(action_id, "approved", "denied", "expired", "withdrawn")
        submitted = truth.events(action_id, "submitted")
        assert len(submitted) == 1, records
        if not started:
            continue
        approved = submitted[0]["decision"] == "approved" or any(
            record["event"] == "approved" and record["seq"] < started[0]["seq"] for record in decided
        )
        assert approved, records
        assert started[0]["digest"] == submitted[0]["digest"], records
        assert truth.actions[action_id].status == "approved", records


def _check_acknowledged(truth: Truth, lines: list[Line]) -> None:
    """What an agent was told is recorded: decisions, permits, outcomes."""
    for line in lines:
        if line["what"] != "acknowledged":
            continue
        records, status = truth.of[line["id"]], line["status"]
        end = line["path"].rpartition("/")[2]
        if end in ("complete", "fail"):
            wanted = "completed" if end == "complete" else "failed"
            assert truth.events(line["id"], wanted), (line, records)
            assert truth.actions[line["id"]].outcome == wanted, (line, records)
        elif end == "submit":
            [submitted] = truth.events(line["id"], "submitted")
            if status == "approved":  # at once, or taken up: the permit came with it
                assert truth.events(line["id"], "started"), (line, records)
            elif status == "denied":
                assert truth.actions[line["id"]].status == "denied", (line, records)
            else:
                assert submitted["decision"] == "pending", (line, records)
        elif end == "claim":
            assert truth.events(line["id"], "started"), (line, records)


def _check_bodies(truth: Truth, lines: list[Line]) -> None:
    """Each body that began had a permit of its own, for just these arguments."""
    begun = Counter(line["id"] for line in lines if line["what"] == "began")
    assert set(begun.values()) <= {1}, begun.most_common(3)
    notes = Counter(line["arguments"]["note"] for line in lines if line["what"] == "began")
    assert set(notes.values()) <= {1}, notes.most_common(3)
    for line in lines:
        if line["what"] == "began":
            [submitted] = truth.events(line["id"], "submitted")
            assert len(truth.events(line["id"], "started")) == 1, line
            assert submitted["action"]["action_details"] == line["arguments"], (line, submitted)
            assert submitted["action"]["agent_id"] == line["agent"], (line, submitted)


def _check_refused(lines: list[Line]) -> None:
    """A call that raised did not run; one that returned did."""
    ran: dict[str, bool] = {}
    for line in lines:
        if line["what"] == "calling":
            ran[line["note"]] = False
        elif line["what"] == "began":
            ran[line["arguments"]["note"]] = True
        elif line["what"] == "refused":
            assert not ran[line["note"]], line
        elif line["what"] in ("returned", "failed"):
            assert ran[line["note"]], line


def _check_decided(truth: Truth, clicks: list[Line]) -> None:
    """Each acknowledged click decided, in the words it was made with; of two at once one did."""
    tried = {(line["id"], line["who"], line["comment"]) for line in clicks if line["what"] == "clicked"}
    acknowledged = Counter(line["id"] for line in clicks if line["what"] == "decided")
    assert set(acknowledged.values()) <= {1}, acknowledged.most_common(3)
    for line in clicks:
        if line["what"] == "decided":
            wanted = DECIDES[line["verb"]]
            assert line["status"] == wanted, line
            [record] = truth.events(line["id"], wanted)
            assert (record["actor"], record["comment"]) == (line["who"], line["comment"]), (line, record)
            assert truth.actions[line["id"]].decided_by == line["who"], line
    for action_id in truth.of:
        decisions = truth.events(action_id, "approved", "denied")
        assert len(decisions) <= 1, decisions
        for record in decisions:
            assert (action_id, record["actor"], record["comment"]) in tried, record


def _check_stopped(truth: Truth, lines: list[Line], clicks: list[Line]) -> float:
    """Between stop and release nothing of that agent starts, by the trail; and by the clock hardly later than the answer.

    Returns:
        How many seconds after a stop's answer the last body before the release began.
    """
    stopped: set[str] = set()
    for record in truth.records:
        if record["event"] == "kill_switch.on":
            stopped.add(record["agent_id"])
        elif record["event"] == "kill_switch.off":
            stopped.discard(record["agent_id"])
        elif record["event"] == "started":
            assert record["actor"] not in stopped, record
    begun = [(line["agent"], line["at"]) for line in lines if line["what"] == "began"]
    answered: dict[str, float] = {}
    latest = 0.0
    for line in clicks:
        if line["what"] == "trigger answered":
            answered[line["agent"]] = line["at"]
        elif line["what"] == "release sent" and line["agent"] in answered:
            stop = answered.pop(line["agent"])
            after = [at - stop for agent, at in begun if agent == line["agent"] and stop < at < line["at"]]
            latest = max([latest, *after])
    assert latest < LATEST_START
    return latest
