"""Alerts: what in the audit trail somebody should look at. There is no second list of them that could say otherwise."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from ascend_guard.errors import NotFoundError
from ascend_guard.store.paging import Page
from ascend_guard.store.port import AuditRow, Reader, Transaction

from .admission import VIOLATIONS
from .records import Shelf


class AlertType(StrEnum):
    """What an alert is about."""

    GOVERNANCE_VIOLATION = "governance_violation"
    KILL_SWITCH = "kill_switch"
    ORCHESTRATION = "orchestration_rejected"
    HIGH_RISK_DENIAL = "high_risk_denial"
    SUPPLY_CHAIN = "supply_chain_cve"
    OUTPUT_BLOCKED = "output_blocked"


class Alert(Struct, frozen=True):
    """An audit record that somebody should look at.

    Args:
        seq: of the audit record.
        type: what it is about.
        severity: medium, high or critical.
        event: the record's.
        timestamp: ISO 8601, UTC.
        actor: who did it.
        message: in words.
        action_id: the action it is about.
        agent_id: the agent it is about.
        acknowledged_by: who said that they have seen it.
    """

    seq: int
    type: AlertType
    severity: str
    event: str
    timestamp: str
    actor: str
    message: str
    action_id: int | None
    agent_id: str | None
    acknowledged_by: str | None = None


class _Risk(Struct):
    level: str = ""
    score: float = 0.0


class _Record(Struct):
    """The fields of an audit record that alerts are made of."""

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
    """Who has seen an alert."""

    by: str


LOOKED_AT = 10_000
"""How many of an organization's newest audit records are looked through."""

LOOKED_THROUGH = 64 << 20
"""Bytes of them."""

_PAGE = 1000
_AT_ONCE = 4 << 20
_LARGEST_NUMBER = 2**62
_ACKNOWLEDGED = Shelf("alert", Acknowledgement, "alert")
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
) -> list[Alert]:
    """Alerts among the newest audit records, newest first: ten thousand of them are looked at, or ``LOOKED_THROUGH`` bytes.

    Args:
        before: the number of the record where to begin; the newest when left out.
    """
    seen = {entry.name: entry.value.by for entry in _ACKNOWLEDGED.all(reader, organization)}
    found: list[Alert] = []
    looked = size = 0
    while looked < LOOKED_AT and size < LOOKED_THROUGH:
        rows = reader.audit_page(organization, _PAGE, 0, Page(before, _AT_ONCE))
        for row in rows:
            size += len(row.body)
            alert = _alert(row, seen.get(str(row.seq)))
            if (
                alert is not None
                and type in (None, alert.type)
                and acknowledged in (None, alert.acknowledged_by is not None)
            ):
                found.append(alert)
                if len(found) == limit:
                    return found
        if not rows:
            break
        looked += len(rows)
        before = rows[-1].seq
    return found


def acknowledge(tx: Transaction, organization: str, seq: int, by: str) -> Alert:
    """Say that an alert was seen. The first to say so stays the one who did.

    Raises:
        NotFoundError: there is no such alert.
    """
    acknowledged = _ACKNOWLEDGED.find(tx, organization, str(seq))
    row = tx.audit_record(organization, seq) if seq < _LARGEST_NUMBER else None
    by_whom = None if acknowledged is None else acknowledged.value.by
    alert = None if row is None else _alert(row, by_whom)
    if alert is None:
        raise NotFoundError(f"There is no alert '{seq}'.")
    if alert.acknowledged_by is not None:
        return alert
    _ACKNOWLEDGED.make_room(tx, organization)
    _ACKNOWLEDGED.keep(tx, organization, str(seq), Acknowledgement(by))
    tx.record("ALERT_ACKNOWLEDGED", organization=organization, actor=by, alert=seq, event_type=alert.event)
    return msgspec.structs.replace(alert, acknowledged_by=by)


def _alert(row: AuditRow, acknowledged_by: str | None) -> Alert | None:
    known = _EVENTS.get(row.event)
    if known is None:
        return None
    record = _DECODE(row.body)
    type, severity = known
    if row.event == "submitted":
        if record.decision != "denied" or record.risk.level not in ("high", "critical"):
            return None
        severity = record.risk.level
    return Alert(
        row.seq,
        type,
        record.severity or severity,
        row.event,
        record.timestamp,
        record.actor,
        _message(row.event, record),
        row.action_id,
        record.agent_id or (record.actor if type is not AlertType.KILL_SWITCH else None),
        acknowledged_by,
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
        return f"{whom} and all that work for it were stopped: {record.reason}".capitalize()
    if event == "COMPONENT_VULNERABILITY":
        return f"{record.vulnerability_id} was recorded for the component {record.component_id!r}."
    if event == "OUTPUT_BLOCKED":
        return f"Output of {whom} was held back: it had sensitive data in it."
    if event == "submitted":
        return f"A {record.risk.level}-risk action was denied: {record.reason}"
    return "An action named a parent that it may not have."
