"""Outcomes: one by one, as the published clients report them, or several in one request, each recorded on its own."""

from __future__ import annotations

import msgspec

from ascend_guard.api.outcomes import (
    OutcomeAnswer,
    OutcomeBody,
    OutcomeItem,
    OutcomeRefused,
    OutcomesAnswer,
    OutcomesBody,
)
from ascend_guard.engine.claim import known
from ascend_guard.errors import ConflictError, NotFoundError, ValidationError
from ascend_guard.model import Outcome, OutcomeStatus
from ascend_guard.redaction import scrub
from ascend_guard.server.handling import Handler, Request
from ascend_guard.store.port import Transaction

from .actions import require_key, visible


async def report(request: Request[OutcomesBody, None]) -> OutcomesAnswer:
    """Record the outcomes of several actions. The answer lists those that cannot be recorded; the others are recorded."""
    caller, organization, items = request.caller, request.organization, request.body.outcomes
    require_key(caller)
    outcomes = [
        (
            item.action_id,
            None
            if item.status is OutcomeStatus.COMPLETED and (item.unknown or item.error)
            else _outcome(_status(item), item.duration_ms, item.error, item.detail),
        )
        for item in items
    ]

    def work(tx: Transaction) -> list[OutcomeRefused]:
        refused = []
        for action_id, outcome in outcomes:
            try:
                if outcome is None:
                    raise ConflictError(
                        "The outcome is both completed and not completed. Report one of the two."
                    )
                row = known(tx, organization, action_id)
                if caller.agent_id is not None and row.agent_id != caller.agent_id:
                    raise NotFoundError("There is no such action.")
                request.services.intake.settle(tx, organization, action_id, outcome)
            except NotFoundError:
                refused.append(OutcomeRefused(action_id, "There is no such action."))
            except ConflictError as error:
                refused.append(OutcomeRefused(action_id, error.message))
        return refused

    refused = await request.write(work)
    return OutcomesAnswer(len(items) - len(refused), refused)


async def complete(request: Request[OutcomeBody, None]) -> OutcomeAnswer:
    """Record that an action completed."""
    body = request.body
    if body.status == "failed" or body.unknown or body.error or body.failed_at:
        raise _contradiction("that it completed", "that it failed", "fail")
    return await _settled(request, OutcomeStatus.COMPLETED)


async def fail(request: Request[OutcomeBody, None]) -> OutcomeAnswer:
    """Record that an action failed, or began and its end is unknown."""
    if request.body.status == "completed" or request.body.completed_at:
        raise _contradiction("that it failed", "that it completed", "complete")
    return await _settled(request, OutcomeStatus.UNKNOWN if request.body.unknown else OutcomeStatus.FAILED)


async def _settled(request: Request[OutcomeBody, None], status: OutcomeStatus) -> OutcomeAnswer:
    require_key(request.caller)
    row = await visible(request)
    body = request.body
    if body.action_id is not None and str(body.action_id) != str(row.id):
        raise ValidationError(
            f"The path names action {row.id}, but the body's `action_id` is another action, so nothing was "
            f"recorded. Report each "
            f"action under its own path."
        )
    error = None
    if body.error:
        error = body.error if isinstance(body.error, str) else msgspec.json.encode(body.error).decode()
    outcome = _outcome(status, body.duration_ms or 0.0, error, body.detail)
    await request.write(
        lambda tx: request.services.intake.settle(tx, request.organization, str(row.id), outcome)
    )
    return OutcomeAnswer(True, str(row.id), status.value, f"Action {row.id} {status.value}.")


def _contradiction(path: str, body: str, other: str) -> ValidationError:
    return ValidationError(
        f"The path says {path}, but the body says {body}, so nothing was recorded. Send it to /{other}, or remove what "
        f"contradicts the path."
    )


def _status(item: OutcomeItem) -> OutcomeStatus:
    return OutcomeStatus.UNKNOWN if item.unknown else OutcomeStatus(item.status)


def _outcome(status: OutcomeStatus, milliseconds: float, error: str | None, detail: str | None) -> Outcome:
    """The outcome as recorded: without secrets, and limited in size."""
    failed = status is not OutcomeStatus.COMPLETED
    return Outcome(
        status,
        milliseconds / 1000,
        scrub(error[:20_000])[:10_000] if failed and error else None,
        None if detail is None else scrub(detail),
    )


HANDLERS: dict[str, Handler] = {
    "report_outcomes": report,
    "complete_action": complete,
    "fail_action": fail,
}
