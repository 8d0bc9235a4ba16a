"""Use an approval once, and record the outcome.

The rules, each checked in the transaction that acts on it:

1. A claim succeeds only if the kill switch is off, the action is approved, its approval has not expired, and its permit has
   not been taken. Two claims of one action have an order, and the second is refused (promise 3; test_permits).
2. The digest of the claim is the approved digest, compared in constant time (promise 2).
3. An edited call is judged again before its permit is given (``edited``, promise 2).
4. A call with a name (``once``) that has run already gets no second permit (promise 3).
5. The start is recorded with the digest of what runs, in the same transaction (promise 5).
6. A call that was started has exactly one outcome. It is ``unknown`` when its process died; an outcome that arrives later
   replaces ``unknown``, and no other outcome (promise 5).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from ascend_guard.errors import AscendError, AuthorizationDeniedError, ConflictError, NotFoundError, remedies
from ascend_guard.flow import Claim, Withdraw
from ascend_guard.model import ActionResult, KillSwitchState, Outcome, OutcomeStatus
from ascend_guard.store.port import ActionRow, Reader, Transaction
from ascend_guard.store.projections import Put

from . import edited
from .approve import expire
from .edited import Judge, record_withdrawn, set_by
from .kill import block, stopped
from .repeats import already_ran, begins
from .results import result_of


def claim(
    tx: Transaction,
    organization: str,
    runner: str,
    effect: Claim,
    judge: Judge,
    keep: Callable[[int], Iterable[Put]] = lambda action_id: (),
) -> ActionResult | KillSwitchState | AscendError:
    """Take the only permit of an approval. A returned error belongs to a change that must be committed.

    ``judge`` judges an edited call again; when it needs another approval than it has, the answer is pending.
    ``keep`` returns what is registered together with the start.

    Raises:
        NotFoundError: there is no such action.
        ConflictError: the action is not approved, or its permit has been taken.
        AuthorizationDeniedError: the action was approved for other arguments.
    """
    row = known(tx, organization, effect.action_id)
    state = stopped(tx, organization, row.agent_id)
    if state is not None:
        block(tx, organization, effect.action, "start", row.id, state)
        return state
    if row.claimed_at is not None:
        raise ConflictError(
            f"Blocked: the approval of action {row.id} has been used; one approval is valid for one run. "
            f"Call again to request approval again.",
            action_id=str(row.id),
            remedy=remedies.inspect(str(row.id)),
        )
    if row.status == "approved" and row.expires_at is not None and row.expires_at <= tx.now:
        expire(tx, row)
        return AuthorizationDeniedError(
            f"Denied: action {row.id} did not run. {row.reason}", action_id=str(row.id)
        )
    if row.status != "approved":
        raise ConflictError(f"Blocked: action {row.id} is {row.status}, not approved.", action_id=str(row.id))
    if not hmac.compare_digest(row.digest, effect.digest):
        raise AuthorizationDeniedError(
            f"Blocked: action {row.id} was approved for other arguments than these.", action_id=str(row.id)
        )
    repeat = already_ran(tx, organization, row.agent_id, effect.once)
    if repeat is not None:
        withdraw(tx, organization, Withdraw(effect.action_id, repeat.reason))
        return msgspec.structs.replace(repeat, action_id=effect.action_id)  # the answer is about this action
    ran: dict[str, Any] = {}
    if row.edits is not None:
        judged = edited.judged(tx, row, effect, judge)
        if not isinstance(judged, dict):
            return judged
        ran = judged
    elif effect.edits or not hmac.compare_digest(row.digest, effect.running):
        raise AuthorizationDeniedError(
            f"Blocked: action {row.id} did not run with other arguments than it was approved for: no approver edited them.",
            action_id=str(row.id),
        )
    put = [*begins(row.agent_id, effect.once, row.id), *keep(row.id)]
    take(tx, row, runner, effect.running, ran, put=put)
    return result_of(row, claimed=True)


def take(
    tx: Transaction,
    row: ActionRow,
    runner: str,
    running: str,
    ran: dict[str, Any] | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    put: Iterable[Put] = (),
) -> None:
    """Mark the permit as taken by this process. The action counts as running until its outcome is recorded.

    Args:
        running: the digest of the arguments that run.
        ran: further fields for the record of the start, if the call is not as submitted.
        changes: further columns of the action.
        put: what is registered together with the start.
    """
    row.claimed_at, row.runner = tx.now, runner
    tx.add_runner(runner, row.organization, row.id)
    changed = {} if changes is None else differing(row, changes)
    things = list(put)
    tx.record(
        "started",
        organization=row.organization,
        actor=row.agent_id,
        action_id=row.id,
        digest=running,
        **(ran or {}),
        **({"put": things} if things else {}),
        set=changed
        | {
            "claimed_at": tx.now,
            "runner": runner,
            "started_seq": tx.next_seq(row.organization),
            "waiter": None,
            "expires_at": None,
        }
        | (set_by(ran) if ran else {}),
    )


def differing(row: ActionRow, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the changes that an action does not have already, and give them to it."""
    changed = {name: value for name, value in changes.items() if getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    return changed


def waiting(tx: Transaction, row: ActionRow, changes: Mapping[str, Any], put: Iterable[Put] = ()) -> None:
    """Record which call waits for a decision, or that none does, if that changes."""
    changed, things = differing(row, changes), list(put)
    if changed or things:
        tx.record(
            "waiting",
            organization=row.organization,
            actor=row.agent_id,
            action_id=row.id,
            **({"set": changed} if changed else {}),
            **({"put": things} if things else {}),
        )


def withdraw(tx: Transaction, organization: str, effect: Withdraw) -> None:
    """Deny an approval that its own call cannot use, with the reason, so that no other call uses it.

    Raises:
        NotFoundError: there is no such action.
        ConflictError: the permit has been taken.
    """
    row = known(tx, organization, effect.action_id)
    if row.claimed_at is not None:
        raise ConflictError(f"Action {row.id} has been started.", action_id=effect.action_id)
    record_withdrawn(tx, row, effect.reason)


def stop_waiting(tx: Transaction, organization: str, action_id: str, runner: str) -> None:
    """Stop waiting in this process: the same call made later may resume the action, unless it has ended."""
    row = tx.action(organization, number(action_id))
    if row is not None and row.waiter == runner:
        waiting(tx, row, {"waiter": None} | ({"fingerprint": None} if row.status == "denied" else {}))


def settle(tx: Transaction, organization: str, action_id: str, outcome: Outcome) -> None:
    """Record the outcome. An outcome that arrives after its process was taken for dead replaces ``unknown``.

    Raises:
        NotFoundError: there is no such action.
        ConflictError: the action was never started, or has an outcome.
    """
    if outcome.status is OutcomeStatus.UNKNOWN and known(tx, organization, action_id).outcome is not None:
        raise ConflictError(
            f"Action {action_id} has an outcome.", action_id=action_id
        )  # unknown never replaces an outcome
    agent_id = tx.running_agent(organization, number(action_id))
    if agent_id is None:
        row = known(tx, organization, action_id)
        state = "was never started" if row.claimed_at is None else f"is {row.outcome}"
        raise ConflictError(f"Action {row.id} {state}; no outcome can be recorded.", action_id=action_id)
    tx.record(
        outcome.status.value,
        organization=organization,
        actor=agent_id,
        action_id=int(action_id),
        duration=round(outcome.duration, 6),
        **({"error": outcome.error} if outcome.error else {}),
        **({"detail": outcome.detail} if outcome.detail else {}),
    )


def leave(tx: Transaction, runner: str, begun: Collection[tuple[str, str]]) -> None:
    """This process closes: what it claimed and never began is recorded as not started; what has begun may continue."""
    left = False
    for row in tx.running(runner):
        if (row.organization, str(row.id)) in begun:
            left = True
        else:
            outcome = Outcome(OutcomeStatus.FAILED, error="not started: the control plane was closed")
            settle(tx, row.organization, str(row.id), outcome)
    if not left:
        tx.remove_runner(runner)


def reap(tx: Transaction, runner: str, alive: Callable[[str], bool]) -> int:
    """Settle as ``unknown`` what a dead process started and did not settle. Returns how many actions that were."""
    if alive(runner):
        return 0
    rows = tx.running(runner)
    for row in rows:
        tx.record(
            OutcomeStatus.UNKNOWN.value,
            organization=row.organization,
            actor="system",
            action_id=row.id,
            detail="its process ended before it reported back",
        )
    tx.remove_runner(runner)
    return len(rows)


def known(reader: Reader, organization: str, action_id: str) -> ActionRow:
    """Return the action with this identifier.

    Raises:
        NotFoundError: it does not exist, or belongs to another organization; the two cannot be distinguished.
    """
    row = reader.action(organization, number(action_id))
    if row is None:
        raise _unknown(action_id)
    return row


def number(action_id: str) -> int:
    """Return the number in an action's identifier.

    Raises:
        NotFoundError: no action could have this identifier.
    """
    if not (action_id.isascii() and action_id.isdigit() and len(action_id) < 19):
        raise _unknown(action_id)
    return int(action_id)


def _unknown(action_id: str) -> NotFoundError:
    return NotFoundError(f"There is no action {action_id!r}.", action_id=action_id, remedy=remedies.listed())
