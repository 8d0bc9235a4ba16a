"""A second replayer of the audit log, written from docs/audit-log.md alone: it shares no code with the package.

It reads a SQLite database with ``sqlite3`` and tells how its tables differ from its logs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_SPAN = 2**40
_OUTCOMES = ("completed", "failed", "handed_over", "unknown")


def differences(database: Path, key: bytes) -> list[str]:
    """What the tables say and the logs do not, or the other way round."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("BEGIN")
        heads = {row["number"]: dict(row) for row in connection.execute("SELECT * FROM heads")}
        tables = _Tables()
        wrong = [text for head in heads.values() for text in _replay(connection, head, key, tables)]
        return wrong + _compared(connection, heads, tables)
    finally:
        connection.close()


class _Tables:
    """The tables as the logs say, by their primary keys."""

    def __init__(self) -> None:
        self.actions: dict[tuple[str, int], Row] = {}
        self.approvals: dict[tuple[str, int], list[Row]] = {}
        self.switches: dict[tuple[str, str], Row] = {}
        self.things: dict[tuple[str, str, str], Row] = {}
        self.logs = {"", "local"}


def _replay(connection: sqlite3.Connection, head: Row, key: bytes, tables: _Tables) -> list[str]:
    name, wrong = head["organization"], []
    first, last = head["number"] * _SPAN, (head["number"] + 1) * _SPAN
    chain, seq, newest, turns = bytes(32), 0, 0, 0
    for row in connection.execute("SELECT * FROM log WHERE key>=? AND key<? ORDER BY key", (first, last)):
        seq += 1
        record = json.loads(row["body"])
        leaf = hashlib.sha256(b"\x00" + row["salt"] + row["body"]).digest()
        chain = hashlib.sha256(b"\x01" + chain + leaf).digest()
        number = None if record["action_id"] is None else first + record["action_id"]
        stored = row["key"] - first, row["leaf"], row["event"], row["action"]
        if stored != (record["seq"], leaf, record["event"], number) or record["seq"] != seq:
            wrong.append(f"{name}: record {seq}")
        if record["organization"] != name:
            wrong.append(f"{name}: record {seq} of {record['organization']}")
        if record["event"] == "submitted":
            newest = record["action_id"]
        if record["event"] in ("kill_switch.on", "kill_switch.off"):
            turns += 1
        _change(tables, name, record, rows=seq <= head["projected"])
    sealed = name.encode() + b"\x00" + seq.to_bytes(8, "big") + chain
    mac = hmac.new(key, sealed, hashlib.sha256).digest()
    end = {"seq": seq, "hash": chain, "mac": mac, "last_action": newest, "turns": turns}
    if not 0 <= head["projected"] <= seq:
        wrong.append(f"{name}: its tables are ahead of it")
    return wrong + [f"{name}: {column} of its head" for column, value in end.items() if head[column] != value]


def _change(tables: _Tables, name: str, record: Row, *, rows: bool) -> None:
    at, number, event = _seconds(record["timestamp"]), record["action_id"], record["event"]
    if event == "log.begun":
        tables.logs.add(record["log"])
    if number is not None and rows:
        place = name, number
        if event == "submitted":
            tables.actions[place] = _submitted(record, at)
        elif event in _OUTCOMES:
            tables.actions[place] |= {
                "outcome": event,
                "settled_at": at,
                "duration": record.get("duration"),
                "error": record.get("error"),
                "completed_seq": record["seq"] if event == "completed" else None,
            }
        else:
            tables.actions[place] |= record.get("set") or {}
        if record.get("cleared"):
            tables.approvals[place] = []
        if record.get("given") is not None:
            new = {"comment": None, "groups": None, "identity": None, **record["given"], "at": at}
            others = [
                one
                for one in tables.approvals.get(place, [])
                if (one["approver"], one["identity"]) != (new["approver"], new["identity"])
            ]
            tables.approvals[place] = [*others, new]
    if event == "kill_switch.on":
        since = record.get("activated_at")
        tables.switches[name, record.get("agent_id") or ""] = {
            "reason": record.get("reason") or "",
            "activated_at": at if since is None else _seconds(since),
            "activated_by": record["actor"],
        }
    elif event == "kill_switch.off":
        tables.switches.pop((name, record.get("agent_id") or ""), None)
    for gone in record.get("drop") or []:
        tables.things.pop((name, gone["kind"], gone["name"]), None)
    for put in record.get("put") or []:
        old = tables.things.get((name, put["kind"], put["name"]))
        tables.things[name, put["kind"], put["name"]] = {
            "id": old["id"] if old else put.get("number") or record["seq"],
            "body": put["value"],
            "created_at": old["created_at"] if old else put.get("created_at") or at,
            "updated_at": put.get("updated_at") or at,
            "due_at": put.get("due_at"),
        }


_COLUMNS = (
    *("rule", "reason", "digest", "quorum", "started_seq", "completed_seq", "fingerprint", "requirements"),
    *("timeout", "expires_at", "decided_at", "decided_by", "edits", "waiter", "runner", "claimed_at"),
    *("outcome", "settled_at", "duration", "error"),
)


def _submitted(record: Row, at: float) -> Row:
    action = record["action"]
    row = dict.fromkeys(_COLUMNS) | {
        name: action.get(name)
        for name in (
            *("agent_id", "agent_name", "action_type", "resource", "tool_name", "session_id"),
            *("orchestration_session_id", "parent_action_id"),
        )
    }
    row |= {
        "depth": action.get("orchestration_depth", 0),
        "risk_score": record["risk"]["score"],
        "risk_level": record["risk"]["level"],
        "status": record["decision"],
        "rule": record.get("rule"),
        "reason": record.get("reason") or "",
        "digest": record.get("digest") or "",
        "quorum": record.get("quorum"),
        "created_at": at,
        "submitted_seq": record["seq"],
    }
    if record.get("requirements") is not None:
        row["requirements"] = _text(record["requirements"])
    row |= record.get("set") or {}
    if row["runner"] is not None:
        row |= {"claimed_at": at, "started_seq": record["seq"]}
    return row


def _compared(connection: sqlite3.Connection, heads: dict[int, Row], tables: _Tables) -> list[str]:
    wrong: list[str] = []
    if {head["organization"] for head in heads.values()} != tables.logs:
        wrong.append("the logs are not those that were begun")
    names = {number: head["organization"] for number, head in heads.items()}

    def place(key: int) -> tuple[str, int]:
        return names.get(key // _SPAN, f"number {key // _SPAN}"), key % _SPAN

    actions = {place(row["key"]): dict(row) for row in connection.execute("SELECT * FROM actions")}
    for row in actions.values():
        del row["key"]
    wrong += _unequal("action", actions, tables.actions)
    given: dict[tuple[str, int], list[Row]] = {}
    for row in map(dict, connection.execute("SELECT * FROM approvals")):
        given.setdefault(place(row.pop("action")), []).append(row)
    expected = {key: sorted(rows, key=repr) for key, rows in tables.approvals.items() if rows}
    wrong += _unequal(
        "approvals of",
        {key: sorted((dict(sorted(row.items())) for row in rows), key=repr) for key, rows in given.items()},
        {
            key: sorted((dict(sorted(row.items())) for row in rows), key=repr)
            for key, rows in expected.items()
        },
    )
    switches = {}
    for row in map(dict, connection.execute("SELECT * FROM kill_switches")):
        switches[row.pop("organization"), row.pop("agent_id")] = row
    wrong += _unequal("kill switch", switches, tables.switches)
    things = {}
    for row in map(dict, connection.execute("SELECT * FROM things")):
        row["body"] = json.loads(row["body"])
        things[row.pop("organization"), row.pop("kind"), row.pop("name")] = row
    return wrong + _unequal("thing", things, tables.things)


def _unequal(what: str, stored: dict[Any, Any], replayed: dict[Any, Any]) -> list[str]:
    return [
        f"{what} {key}: {stored.get(key)} is stored, {replayed.get(key)} is in the log"
        for key in stored.keys() | replayed.keys()
        if stored.get(key) != replayed.get(key)
    ]


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
