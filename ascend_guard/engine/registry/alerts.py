"""Alerts: the audit records that need attention. They are read from the trail; only acknowledgements are stored."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from ascend_guard.api.alerts import AlertBody
from ascend_guard.errors import NotFoundError
from ascend_guard.store.paging import Page
from ascend_guard.store.port import LogRow, Reader, Transaction

from .admission import VIOLATIONS
from .records import Logged


class AlertType(StrEnum):
    """The subject of an alert."""

    GOVERNANCE_VIOLATION = "governance_violation"
    KILL_SWITCH = "kill_switch"
    ORCHESTRATION = "orchestration_rejected"
    HIGH_RISK_DENIAL = "high_risk_denial"
    SUPPLY_CHAIN = "supply_chain_cve"
    OUTPUT_BLOCKED = "output_blocked"


class _Risk(Struct):
    level: str = ""
    score: float = 0.0


class _Record(Struct):
    """The fields of an audit record that an alert is made from."""

    organization: str
    timestamp: str
    actor: str
    action_id: int | None = None
    agent_id: str | None = None
    reason: str | None = None
    decision: str | None = None
    severity: str | None = None
    component_id: str | None = None
    vulnerability_id: str | None = None
    detail: Any = None
    risk: _Risk = msgspec.field(default_factory=_Risk)


class Acknowledgement(Struct, frozen=True):
    """Who acknowledged an alert."""

    by: str


LOOKED_AT = 10_000
"""How many of an organization's newest audit records are searched."""

LOOKED_THROUGH = 64 << 20
"""Bytes of them."""

_PAGE = 1000
_AT_ONCE = 4 << 20
_ACKNOWLEDGED = Logged("alert", Acknowledgement, "alert")
_DECODE = msgspec.json.Decoder(_Record).decode
_EVENTS: dict[str, tuple[AlertType, str]] = {
    **dict.fromkeys(VIOLATIONS, (AlertType.GOVERNANCE_VIOLATION, "high")),
    "kill_switch.on": (AlertType.KILL_SWITCH, "critical"),
    "kill_switch.off": (AlertType.KILL_SWITCH, "medium"),
    "CASCADE_KILL": (AlertType.KILL_SWITCH, "critical"),
    "ORCHESTRATION_FIELD_REJECTED": (AlertType.ORCHESTRATION, "high"),
    # SDK document, "Server-enforced security": a graft attempt is critical.
    "ORCHESTRATION_GRAFT_ATTEMPT": (AlertType.ORCHESTRATION, "critical"),
    "COMPONENT_VULNERABILITY": (AlertType.SUPPLY_CHAIN, "high"),
    "OUTPUT_BLOCKED": (AlertType.OUTPUT_BLOCKED, "high"),
    "submitted": (AlertType.HIGH_RISK_DENIAL, "high"),
}


def alerts(
    reader: Reader,
    organization: str,
    *,
    type: str | None = None,
    acknowledged: bool | None = None,
    limit: int = 50,
    before: int | None = None,
) -> list[AlertBody]:
    """Alerts, newest first, among the newest ``LOOKED_AT`` audit records, or the newest ``LOOKED_THROUGH`` bytes of them.

    Args:
        type: only alerts of this type.
        acknowledged: only alerts that were, or were not, acknowledged.
        limit: the most alerts that are returned.
        before: only records with a lower number; all when None.
    """
    seen = {entry.name: entry.value.by for entry in _ACKNOWLEDGED.all(reader, organization)}
    found: list[AlertBody] = []
    looked = size = 0
    while looked < LOOKED_AT and size < LOOKED_THROUGH:
        rows = reader.log_page(organization, _PAGE, 0, Page(before, _AT_ONCE))
        for row in rows:
            size += len(row.body)
            alert = _alert(row, seen.get(str(row.seq)))
            if (
                alert is not None
                and type in (None, alert.type)
                and acknowledged in (None, alert.acknowledged)
            ):
                found.append(alert)
                if len(found) == limit:
                    return found
        if not rows:
            break
        looked += len(rows)
        before = rows[-1].seq
    return found


def acknowledge(tx: Transaction, organization: str, seq: int, by: str) -> AlertBody:
    """Acknowledge an alert. The first acknowledgement is kept.

    Raises:
        NotFoundError: there is no such alert.
    """
    seen = _ACKNOWLEDGED.find(tx, organization, str(seq))
    row = tx.log_record(organization, seq)
    alert = None if row is None else _alert(row, None if seen is None else seen.value.by)
    if alert is None:
        raise NotFoundError(f"There is no alert '{seq}'.")
    if alert.acknowledged:
        return alert
    about = {"alert": seq, "event_type": alert.event}
    event, value = "ALERT_ACKNOWLEDGED", Acknowledgement(by)
    oldest = _ACKNOWLEDGED.surplus(tx, organization)
    _ACKNOWLEDGED.write(tx, organization, str(seq), value, event, by, about, instead_of=oldest)
    return msgspec.structs.replace(alert, acknowledged=True, acknowledged_by=by)


def _alert(row: LogRow, acknowledged_by: str | None) -> AlertBody | None:
    known = _EVENTS.get(row.event)
    if known is None:
        return None
    record = _DECODE(row.body)
    type, severity = known
    if row.event == "submitted":
        if record.decision != "denied" or record.risk.level not in ("high", "critical"):
            return None
        severity = record.risk.level
    seq, action_id = str(row.seq), row.action_id
    return AlertBody(
        id=seq,
        alert_id=seq,
        type=type,
        alert_type=type,
        severity=record.severity or severity,
        event=row.event,
        message=_message(row.event, record),
        actor=record.actor,
        agent_id=record.agent_id or (record.actor if type is not AlertType.KILL_SWITCH else None),
        action_id=None if action_id is None else str(action_id),
        timestamp=record.timestamp,
        created_at=record.timestamp,
        acknowledged=acknowledged_by is not None,
        acknowledged_by=acknowledged_by,
    )


def _message(event: str, record: _Record) -> str:
    whom = f"agent {record.agent_id!r}" if record.agent_id else "every agent"
    if event in VIOLATIONS and isinstance(record.detail, dict):
        return f"{record.detail.get('error')}: {record.detail.get('detail')}"
    if event == "kill_switch.on":
        return f"The kill switch was turned on for {whom}: {record.reason}"
    if event == "kill_switch.off":
        return f"The kill switch was turned off for {whom}: {record.reason}"
    if event == "CASCADE_KILL":
        return f"Agent {record.agent_id!r} and all that work for it were stopped: {record.reason}"
    if event == "COMPONENT_VULNERABILITY":
        return f"{record.vulnerability_id} was recorded for the component {record.component_id!r}."
    if event == "OUTPUT_BLOCKED":
        return f"Output of {whom} was blocked: it contains sensitive data."
    if event == "submitted":
        return f"A {record.risk.level}-risk action was denied: {record.reason}"
    return "An action named a parent action that is not allowed for it."
