"""A call with a name of its own (``Submit.once``) begins at most once.

1. One name belongs to one action: the first that takes its permit, in the same transaction (promise 3).
2. The name is checked where a permit is taken: when a call is decided, and again when an approval is used. So two
   actions of one name cannot both begin.
3. A call has not run if its body never began, or if it ended in an interrupt of its graph, which runs it again: its name is
   free again.
4. Names belong to one agent of one organization (promise 9).
"""

from __future__ import annotations

import hashlib

import msgspec

from ascend_guard.model import ALREADY_RAN, NOT_STARTED, SUSPENDED, ActionResult, Decision, OutcomeStatus
from ascend_guard.store.port import ActionRow, Transaction
from ascend_guard.store.projections import Put, thing

from .results import result_of

CALL = "call"
"""The kind of record that stores a name."""

_ENDED = {
    OutcomeStatus.COMPLETED.value: "It completed. Its result was not stored.",
    OutcomeStatus.FAILED.value: "It failed, and may have acted before that.",
    OutcomeStatus.UNKNOWN.value: "How it ended is unknown.",
    None: "It has not reported back: it still runs, or how it ended is unknown.",
}


class _Kept(msgspec.Struct, frozen=True):
    action_id: int


def already_ran(tx: Transaction, organization: str, agent_id: str, once: str | None) -> ActionResult | None:
    """Return the answer to a call of this name if one has begun before; None when it may begin."""
    if once is None:
        return None
    record = tx.record_of(organization, CALL, _name(agent_id, once))
    if record is None:
        return None
    row = tx.action(organization, msgspec.json.decode(record.body, type=_Kept).action_id)
    if row is None or _never_ran(row):
        return None
    result = result_of(row)
    ended = _ENDED.get(row.outcome, f"It ended as {row.outcome}.")
    return msgspec.structs.replace(
        result,
        status=Decision.DENIED,
        reason=f"It has run before, and runs at most once. {ended}",
        policy_matched=None,
        metadata={ALREADY_RAN: {"action_id": str(row.id), "outcome": row.outcome or "running"}},
        modified_arguments=None,
    )


def begins(agent_id: str, once: str | None, action_id: int) -> list[Put]:
    """Return what is registered when this action takes its permit under this name."""
    return [] if once is None else [thing(CALL, _name(agent_id, once), _Kept(action_id))]


def _never_ran(row: ActionRow) -> bool:
    if row.outcome != OutcomeStatus.FAILED.value or row.error is None:
        return False
    return row.error.startswith(NOT_STARTED) or row.error == SUSPENDED


def _name(agent_id: str, once: str) -> str:
    return hashlib.sha256(msgspec.json.encode([agent_id, once])).hexdigest()
