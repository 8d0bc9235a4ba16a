"""Outcomes that are reported together: one request, one transaction, and each counts for itself."""

from __future__ import annotations

from ascend_guard.api.actions import OutcomeItem, OutcomeRefused, OutcomesAnswer, OutcomesBody
from ascend_guard.engine.claim import known
from ascend_guard.errors import AuthorizationDeniedError, ConflictError, NotFoundError
from ascend_guard.model import Outcome, OutcomeStatus
from ascend_guard.redaction import scrub
from ascend_guard.store.port import Transaction

from .handling import Call, Handler


async def report(call: Call[OutcomesBody, None]) -> OutcomesAnswer:
    """What came of several actions. Those that cannot be recorded are named; the others are."""
    caller, organization, items = call.caller, call.organization, call.body.outcomes
    if caller.person:
        raise AuthorizationDeniedError("Agents report with an API key. Use X-API-Key.")
    outcomes = [(item.action_id, outcome_of(item)) for item in items]

    def work(tx: Transaction) -> list[OutcomeRefused]:
        refused = []
        for action_id, outcome in outcomes:
            try:
                row = known(tx, organization, action_id)
                if caller.agent_id is not None and row.agent_id != caller.agent_id:
                    raise NotFoundError("There is no such action.")
                call.services.intake.settle(tx, organization, action_id, outcome)
            except NotFoundError:
                refused.append(OutcomeRefused(action_id, "There is no such action."))
            except ConflictError as error:
                refused.append(OutcomeRefused(action_id, error.message))
        return refused

    refused = await call.write(work)
    return OutcomesAnswer(len(items) - len(refused), refused)


def outcome_of(item: OutcomeItem) -> Outcome:
    """As it is recorded: without secrets, and bounded."""
    failed = item.status == "failed"
    return Outcome(
        OutcomeStatus(item.status),
        item.duration_ms / 1000,
        scrub(item.error[:20_000])[:10_000] if failed and item.error else None,
        None if item.detail is None else scrub(item.detail),
    )


HANDLERS: dict[str, Handler] = {"report_outcomes": report}
