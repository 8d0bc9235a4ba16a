"""The rows of the tables, as the engine reads them."""

from __future__ import annotations

from msgspec import Struct


class ActionRow(Struct):
    """The present state of an action. Its whole history, including arguments, is in the audit trail.

    Times are seconds since the epoch; ``edits`` and ``requirements`` are JSON text.
    """

    id: int
    organization: str
    status: str
    agent_id: str
    agent_name: str
    action_type: str
    tool_name: str
    resource: str
    risk_score: float
    risk_level: str
    rule: str | None
    reason: str
    session_id: str | None
    orchestration_session_id: str | None
    parent_action_id: int | None
    depth: int
    digest: str
    created_at: float
    submitted_seq: int = 0
    started_seq: int | None = None
    completed_seq: int | None = None
    fingerprint: str | None = None
    requirements: str | None = None
    quorum: int | None = None
    timeout: float | None = None
    expires_at: float | None = None
    decided_at: float | None = None
    decided_by: str | None = None
    edits: str | None = None
    waiter: str | None = None
    runner: str | None = None
    claimed_at: float | None = None
    outcome: str | None = None
    settled_at: float | None = None
    duration: float | None = None
    error: str | None = None


class LogRow(Struct, frozen=True):
    """A record of the log as stored.

    Args:
        seq: its number in its organization's log.
        action_id: the action it is about, if any.
        event: the event.
        body: the exact bytes that were hashed, together with ``salt``.
        salt: random.
        leaf: the hash of both (``log.leaf``).
    """

    seq: int
    action_id: int | None
    event: str
    body: bytes
    salt: bytes
    leaf: bytes


class Event(Struct, frozen=True):
    """A record from ``events_since``; ``body`` is included for kill switches, because it names the agent."""

    seq: int
    action_id: int | None
    event: str
    body: bytes | None


class Record(Struct, frozen=True):
    """Something that an organization has registered; ``body`` is a JSON object, times are seconds since the epoch."""

    id: int
    organization: str
    kind: str
    name: str
    body: bytes
    created_at: float
    updated_at: float
    due_at: float | None = None


class Approval(Struct, frozen=True):
    """One person's approval.

    Args:
        approver: the person's name.
        comment: the reason.
        at: when, in seconds since the epoch.
        groups: a JSON list of the person's groups at that moment; None if groups are not known.
        identity: a JSON list of the token's issuer and ``sub``; None for people with a name only.
    """

    approver: str
    comment: str | None
    at: float
    groups: str | None = None
    identity: str | None = None


class Head(Struct, frozen=True):
    """The end of an organization's log.

    Args:
        number: the organization's number, which is a part of its rows' keys.
        organization: the organization.
        seq: number of the last record; 0 when there is none.
        hash: the chain up to it.
        mac: seals ``seq`` and ``hash``.
        last_action: number of the organization's newest action; 0 when there is none.
        turns: how often its kill switches were turned.
        projected: number of the last record up to which the tables are computed.
    """

    number: int
    organization: str
    seq: int
    hash: bytes
    mac: bytes
    last_action: int
    turns: int
    projected: int
