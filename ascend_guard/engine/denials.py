"""Denials in force: after one person's denial, the same call is not shown to people again for a time.

1. Only a person's denial stays in force. A passed deadline, an unused approval and a policy's denial do not.
2. It answers the same call (``same_call.call_key``), for every waiting process and under every call name.
3. It lasts as long as the policy said when the call was submitted, or as the policy says when the call is repeated,
   whichever is shorter. A call that the policy now allows or denies is not affected: the policy decides first.
4. Only a person ends it earlier (promise 6), and that is recorded.
"""

from __future__ import annotations

import msgspec

from ascend_guard.errors import ConflictError
from ascend_guard.flow import Submit
from ascend_guard.model import ActionResult, iso
from ascend_guard.store.port import ActionRow, Reader, Transaction
from ascend_guard.store.projections import Drop, Put, thing

from .policy import DEFAULT_TIMEOUT
from .results import result_of

DENIAL = "denial"
"""Kind of the records that store a denial, under the call's key."""


class Denial(msgspec.Struct, frozen=True):
    """The stored denial: the denied action, and when it was denied, in seconds since the epoch."""

    action_id: int
    at: float


class _Submitted(msgspec.Struct):
    """The part of a ``submitted`` audit record that a denial needs; older records do not have both fields."""

    call: str | None = None
    denials_last: float = 0.0


def fresh(row: ActionRow, now: float) -> bool:
    """Return whether the waiting call still gets this denial when it is made again."""
    return row.decided_at is not None and now - row.decided_at < (row.timeout or DEFAULT_TIMEOUT)


def kept(tx: Transaction, row: ActionRow) -> list[Put]:
    """Return a person's new denial of this action, as it is registered for the same call."""
    asked = _submitted(tx, row)
    if asked.call is None or not asked.denials_last:
        return []
    return [thing(DENIAL, asked.call, Denial(row.id, tx.now), due_at=tx.now + asked.denials_last)]


def answer(
    tx: Transaction, organization: str, call: str, effect: Submit, lasts: float
) -> ActionResult | None:
    """Return the denial that answers this call, if there is one. The repetition is recorded.

    Args:
        tx: the transaction.
        organization: the organization of the call.
        call: the call's key.
        effect: the call.
        lasts: seconds that a denial lasts, by the policy that judged the call.
    """
    record = tx.record_of(organization, DENIAL, call)
    if record is None:
        return None
    denial = msgspec.json.decode(record.body, type=Denial)
    until = min(denial.at + lasts, record.due_at or denial.at)
    row = tx.action(organization, denial.action_id)
    if tx.now >= until or row is None or row.status != "denied":
        return None
    tx.record(
        "repeated",
        organization=organization,
        actor=effect.action.agent_id,
        action_id=row.id,
        reason="the same call was made again; the denial answers it",
    )
    result = result_of(row)
    return msgspec.structs.replace(
        result,
        reason=f"{row.reason} (Decided by {row.decided_by} at {iso(denial.at)}; it holds until {iso(until)}.)",
        metadata={**result.metadata, "denial_lasts_until": iso(until)},
    )


def clear(tx: Transaction, row: ActionRow, by: str, comment: str | None) -> None:
    """End a denial: the same call made again requests a new decision.

    Raises:
        ConflictError: no person's denial of this action is in force.
    """
    asked = _submitted(tx, row)
    record = None if asked.call is None else tx.record_of(row.organization, DENIAL, asked.call)
    holds = (
        record is not None
        and tx.now < (record.due_at or tx.now)
        and msgspec.json.decode(record.body, type=Denial).action_id == row.id
    )
    untold = row.fingerprint is not None and fresh(row, tx.now)
    if row.status != "denied" or row.decided_by is None or not (holds or untold):
        raise ConflictError(
            f"Action {row.id} has no denial in force, so there is nothing to clear. The same call requests approval again.",
            action_id=str(row.id),
        )
    ended = [Drop(DENIAL, record.name)] if record is not None and holds else []
    tx.record(
        "denial_cleared",
        organization=row.organization,
        actor=by,
        action_id=row.id,
        **({"comment": comment} if comment else {}),
        set={"fingerprint": None},
        **({"drop": ended} if ended else {}),
    )


def _submitted(reader: Reader, row: ActionRow) -> _Submitted:
    for record in reader.trail(row.organization, row.id):
        if record.event == "submitted":
            return msgspec.json.decode(record.body, type=_Submitted)
    return _Submitted()
