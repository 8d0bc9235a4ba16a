"""The log as people and programs read it: without what only the tables need, and with every step of an action.

A call that a rule allows is one record, which says that it was submitted, approved and started. Here its start is a step of
its own, as it is for a call that waited for a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ascend_guard.store.port import LogRow
from ascend_guard.store.projections import SUBMITTED

_OF_TABLES = frozenset(("set", "given", "cleared", "put", "drop"))
_shallow = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def told(body: bytes) -> bytes:
    """Return a record as JSON, without what only the tables need: an API key's hash, for example.

    A submission whose call started at once says so (``started``).
    """
    record = _shallow(body)
    shown: dict[str, Any] = {name: value for name, value in record.items() if name not in _OF_TABLES}
    if bytes(record["event"]) == b'"submitted"' and b'"runner":' in bytes(record.get("set", msgspec.Raw())):
        shown["started"] = True
    return _encode(shown)


def steps(row: LogRow) -> list[dict[str, Any]]:
    """Return the steps that a record states: one, or two for a call that started when it was submitted."""
    record: dict[str, Any] = msgspec.json.decode(row.body)
    started = record.get("set") or {}
    step = {name: value for name, value in record.items() if name not in _OF_TABLES}
    if row.event != SUBMITTED or "runner" not in started:
        return [step]
    frame = ("seq", "timestamp", "organization", "actor", "action_id", "digest")
    return [step, {**{name: record[name] for name in frame}, "event": "started"}]


def all_steps(rows: Iterable[LogRow]) -> list[dict[str, Any]]:
    """Return the steps of all these records."""
    return [step for row in rows for step in steps(row)]
