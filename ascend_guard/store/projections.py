"""What the tables hold, computed from the audit log.

``apply`` is the only function that says what a record changes. A transaction calls it for each record that it appends,
with what it has just encoded; verification calls it for each record that it reads. So a table can be made anew from the
log, and a table that was changed in another way is found (promise 10).

A record states its changes instead of implying them, so a log is replayed in the same way by every later version:

| in the record | changes |
| --- | --- |
| ``submitted``: ``decision``, ``rule``, ``reason``, ``digest``, ``action``, ``risk``, ``quorum``, ``requirements`` and
  ``set`` | a new action; with a ``runner`` in ``set``, it has started |
| ``completed``, ``failed``, ``handed_over``, ``unknown``: ``duration``, ``error`` | the outcome of an action |
| ``set``: columns and values | an action |
| ``given`` | a new approval of an action, in place of an earlier one of the same name and identity |
| ``cleared`` | all approvals of an action are removed |
| ``put``, ``drop`` | registered things are written, removed |
| ``kill_switch.on``, ``kill_switch.off``: ``agent_id``, ``reason``, ``activated_at`` | a kill switch |

Tables that are not computed from the log are listed in ``LOCAL``, each with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from .rows import ActionRow, Approval

ON, OFF = "kill_switch.on", "kill_switch.off"
SUBMITTED = "submitted"
OUTCOMES = frozenset(("completed", "failed", "handed_over", "unknown"))

LOCAL = {
    "runners": "which processes are alive; only they can say so",
    "bookkeeping": "what is still to be sent, counted or forgotten; no decision depends on it",
    "switch_file": "how much of the kill-switch file is in the log",
    "writing": "a row that PostgreSQL's writers lock",
}
"""The tables that are not computed from the log."""


class Asked(Struct):
    """The fields of a submitted action that are columns of its row."""

    agent_id: str
    agent_name: str
    action_type: str
    resource: str
    tool_name: str
    session_id: str | None = None
    orchestration_session_id: str | None = None
    parent_action_id: int | None = None
    orchestration_depth: int = 0


class Assessed(Struct):
    """The fields of a risk that are columns."""

    score: float
    level: str


class Given(Struct, omit_defaults=True):
    """An approval in a record; see ``Approval``."""

    approver: str
    comment: str | None = None
    groups: str | None = None
    identity: str | None = None


class Put(Struct, omit_defaults=True):
    """A registered thing as a record writes it.

    Args:
        kind: the kind of the thing.
        name: its name, unique in its organization and kind.
        value: a JSON object.
        due_at: when something must be done about it, in seconds since the epoch.
        number, created_at, updated_at: only of a thing from a database of an older version.
    """

    kind: str
    name: str
    value: msgspec.Raw
    due_at: float | None = None
    number: int | None = None
    created_at: float | None = None
    updated_at: float | None = None


def thing(kind: str, name: str, value: Any, *, due_at: float | None = None) -> Put:
    """Return a registered thing with this value, which becomes JSON."""
    return Put(kind, name, msgspec.Raw(msgspec.json.encode(value)), due_at)


class Drop(Struct):
    """A registered thing that a record removes."""

    kind: str
    name: str


class Recorded(Struct):
    """What the tables need of a record."""

    seq: int
    timestamp: str
    organization: str
    event: str
    actor: str
    action_id: int | None = None
    decision: str | None = None
    rule: str | None = None
    reason: str | None = None
    digest: str = ""
    quorum: int | None = None
    requirements: msgspec.Raw = msgspec.Raw(b"")
    action: Asked | msgspec.UnsetType = msgspec.UNSET
    risk: Assessed | msgspec.UnsetType = msgspec.UNSET
    duration: float | None = None
    error: str | None = None
    set: dict[str, Any] | None = None
    given: Given | None = None
    cleared: bool = False
    put: list[Put] = []
    drop: list[Drop] = []
    agent_id: str | None = None
    activated_at: str | None = None


class Actions(Protocol):
    """The tables of actions and approvals, as ``apply_to_actions`` changes them."""

    def insert_action(self, row: ActionRow) -> None:
        """Store a new action."""
        ...

    def update_action(self, organization: str, action_id: int, columns: dict[str, Any]) -> None:
        """Set these columns."""
        ...

    def settle_action(self, organization: str, action_id: int, columns: dict[str, Any]) -> None:
        """Set the columns of an outcome."""
        ...

    def add_approval(self, organization: str, action_id: int, approval: Approval) -> None:
        """Store an approval, in place of an earlier one of the same name and identity."""
        ...

    def clear_approvals(self, organization: str, action_id: int) -> None:
        """Remove an action's approvals."""
        ...


class State(Actions, Protocol):
    """All tables, as ``apply`` changes them."""

    def put_thing(self, organization: str, seq: int, at: float, put: Put) -> None:
        """Write a thing. A new one has ``seq`` as its number."""
        ...

    def drop_thing(self, organization: str, drop: Drop) -> None:
        """Remove a thing, if it exists."""
        ...

    def turn_on(self, organization: str, agent_id: str, reason: str, at: float, by: str) -> None:
        """Turn a kill switch on."""
        ...

    def turn_off(self, organization: str, agent_id: str) -> None:
        """Turn a kill switch off."""
        ...


decode = msgspec.json.Decoder(Recorded).decode
"""Read a record's body. Raises ``msgspec.MsgspecError``."""


def seconds(timestamp: str) -> float:
    """Return the seconds since the epoch of a time in a record."""
    return datetime.fromisoformat(timestamp).timestamp()


def apply(state: State, record: Recorded) -> None:
    """Make the changes of one record.

    Raises:
        ValueError: the record cannot have been written by this program.
    """
    apply_to_actions(state, record)
    apply_to_others(state, record)


def may_lag(event: str, data: Mapping[str, Any]) -> bool:
    """Return whether the row of the action may be written later: when a rule allows a call, and for outcomes.

    Only the row: everything else that such a record changes is written with it (``apply_to_others``).
    """
    return event in OUTCOMES if event != SUBMITTED else "runner" in (data.get("set") or ())


def apply_to_actions(state: Actions, record: Recorded) -> None:
    """Make the changes of one record in the tables of actions and approvals."""
    organization, number, event = record.organization, record.action_id, record.event
    if number is not None:
        if event == SUBMITTED:
            state.insert_action(new_action(record, number))
        elif event in OUTCOMES:
            state.settle_action(organization, number, _outcome(record))
        elif record.set:
            state.update_action(organization, number, record.set)
        if record.cleared:
            state.clear_approvals(organization, number)
        if record.given is not None:
            given = record.given
            at = seconds(record.timestamp)
            approval = Approval(given.approver, given.comment, at, given.groups, given.identity)
            state.add_approval(organization, number, approval)


def apply_to_others(state: State, record: Recorded) -> None:
    """Make the changes of one record in the tables of kill switches and things."""
    organization, event = record.organization, record.event
    if event == ON:
        at = seconds(record.activated_at or record.timestamp)
        state.turn_on(organization, record.agent_id or "", record.reason or "", at, record.actor)
    elif event == OFF:
        state.turn_off(organization, record.agent_id or "")
    for drop in record.drop:
        state.drop_thing(organization, drop)
    if record.put:
        at = seconds(record.timestamp)
        for put in record.put:
            state.put_thing(organization, record.seq, at, put)


def new_action(record: Recorded, number: int) -> ActionRow:
    """Return the row of a submitted action."""
    action, risk = record.action, record.risk
    if action is msgspec.UNSET or risk is msgspec.UNSET or record.decision is None:
        raise ValueError("a submission without its action, risk or decision")
    row = ActionRow(
        id=number,
        organization=record.organization,
        status=record.decision,
        agent_id=action.agent_id,
        agent_name=action.agent_name,
        action_type=action.action_type,
        tool_name=action.tool_name,
        resource=action.resource,
        risk_score=risk.score,
        risk_level=risk.level,
        rule=record.rule,
        reason=record.reason or "",
        session_id=action.session_id,
        orchestration_session_id=action.orchestration_session_id,
        parent_action_id=action.parent_action_id,
        depth=action.orchestration_depth,
        digest=record.digest,
        created_at=seconds(record.timestamp),
        submitted_seq=record.seq,
        requirements=bytes(record.requirements).decode() or None,
        quorum=record.quorum,
    )
    if record.set is not None:
        for column, value in record.set.items():
            setattr(row, column, value)
    if row.runner is not None:  # approved and claimed in one step
        row.claimed_at, row.started_seq = row.created_at, record.seq
    return row


def _outcome(record: Recorded) -> dict[str, Any]:
    return {
        "outcome": record.event,
        "settled_at": seconds(record.timestamp),
        "duration": record.duration,
        "error": record.error,
        "completed_seq": record.seq if record.event == "completed" else None,
    }
