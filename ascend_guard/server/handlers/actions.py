"""Actions: submit, get, claim, withdraw, detach, evaluate."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ascend_guard.api.actions import (
    ClaimBody,
    DecisionBody,
    DetachBody,
    EvaluateAnswer,
    EvaluateBody,
    McpSubmitBody,
    ReasonBody,
    SubmitBody,
)
from ascend_guard.api.outcomes import OutcomeAnswer
from ascend_guard.engine.approve import submitted
from ascend_guard.engine.claim import known, stop_waiting, withdraw
from ascend_guard.engine.decide import judge
from ascend_guard.engine.intake import Answer, Key, waits_to_be_told
from ascend_guard.engine.liveness import API, REMOTE
from ascend_guard.engine.registry.admission import Governance
from ascend_guard.errors import AscendError, AuthorizationDeniedError, NotFoundError, StoreError
from ascend_guard.errors.not_run import stopped as kill_switch_error
from ascend_guard.flow import Claim, Submit, Withdraw
from ascend_guard.model import ActionResult, AgentAction, KillSwitchState
from ascend_guard.redaction import scrub
from ascend_guard.server.handling import Caller, Handler, Request
from ascend_guard.server.requests.failures import RequestRefused
from ascend_guard.store.port import ActionRow, Reader, Transaction

from .decisions import decision_body, standing
from .incoming import as_edited, asked, asked_of_mcp

_LONGEST_KEY = 255

RESENT_WITHIN = 60.0
"""Seconds within which the published SDK, which sends no idempotency key, resends a request."""


async def submit(request: Request[SubmitBody, None]) -> DecisionBody:
    """Decide an action."""
    return await _decide(
        request, *asked(request.body, request.caller, request.services.digest_key), request.body
    )


async def submit_mcp(request: Request[McpSubmitBody, None]) -> DecisionBody:
    """Decide a call of a tool on an MCP server."""
    action, digest = asked_of_mcp(request.body, request.caller, request.services.digest_key)
    return await _decide(
        request, action, digest, SubmitBody(action.agent_id, action.agent_name, action.action_type)
    )


async def _decide(
    request: Request[Any, None], action: AgentAction, digest: str, body: SubmitBody
) -> DecisionBody:
    started = time.perf_counter()
    require_key(request.caller)
    services = request.services
    judgement = judge(action, services.policy)
    named = body.runner is not None  # a caller without a process name cannot be recognised when it comes back
    effect = Submit(
        action,
        digest,
        detached=named and body.detached,
        repeatable=named and body.repeatable,
        call_id=body.call_id,
        identity=body.identity,
        once=body.once if named else None,
    )
    runner = API if body.runner is None else REMOTE + body.runner
    key = _key(request)
    organization = request.organization

    def work(tx: Transaction) -> tuple[Answer, Governance]:
        return services.intake.submit(tx, organization, runner, judgement, effect, key)

    try:
        answer, governed = await request.write(work)
    except StoreError as error:
        if action.parent_action_id is None:
            raise
        # SDK document, "Server-enforced security": any database error during validation is a 403.
        raise RequestRefused(
            "The parent action could not be checked, so nothing was decided. Try again shortly.",
            status=403,
            code="ORCHESTRATION_FIELD_REJECTED",
        ) from error
    result = _result(answer, action, "submit", request.correlation_id)
    services.meter.decided(result.status.value)
    return decision_body(
        result,
        correlation_id=request.correlation_id,
        risk=judgement.risk,
        governance=governed,
        milliseconds=round((time.perf_counter() - started) * 1000, 3),
    )


async def status(request: Request[None, None]) -> DecisionBody:
    """Return the present decision. A caller of the plain API that receives ``approved`` has used the approval."""
    row = await visible(request)
    if waits_to_be_told(row) and not request.caller.person:
        row = await told(request, row)
    return await request.read(lambda reader: standing(reader, row, request.correlation_id))


async def told(request: Request[Any, Any], row: ActionRow) -> ActionRow:
    """Tell a caller of the plain API that its action is approved, which takes the permit. Returns the action after that."""

    def work(tx: Transaction) -> tuple[Answer, ActionRow, AgentAction]:
        action = submitted(tx, row).action
        answer = request.services.intake.hand_out(tx, request.organization, str(row.id), action)
        return answer, known(tx, request.organization, str(row.id)), action

    answer, now, action = await request.write(work)
    _result(answer, action, "start", request.correlation_id)
    return now


async def claim(request: Request[ClaimBody, None]) -> DecisionBody:
    """Take the only permit of an approval."""
    require_key(request.caller)
    row = await visible(request)
    body, key = request.body, _key(request)

    def work(tx: Transaction) -> tuple[Answer, AgentAction]:
        action, edits = as_edited(submitted(tx, row).action, body)
        effect = Claim(action, str(row.id), body.digest, body.running, edits, body.once)
        runner = REMOTE + body.runner
        return request.services.intake.claim(tx, request.organization, runner, effect, key), action

    answer, action = await request.write(work)
    result = _result(answer, action, "start", request.correlation_id)
    return decision_body(result, correlation_id=request.correlation_id)


async def withdrawn(request: Request[ReasonBody, None]) -> OutcomeAnswer:
    """Withdraw an approved action that will not run."""
    require_key(request.caller)
    row = await visible(request)
    effect = Withdraw(str(row.id), scrub(request.body.reason))

    def work(tx: Transaction) -> None:
        # An earlier denial keeps its author, and the same request may be sent again.
        if known(tx, request.organization, str(row.id)).status != "denied":
            withdraw(tx, request.organization, effect)

    await request.write(work)
    return OutcomeAnswer(True, str(row.id), "withdrawn", f"Action {row.id} will not be run.")


async def detach(request: Request[DetachBody, None]) -> OutcomeAnswer:
    """Stop waiting, so that the same call made later may resume the action."""
    require_key(request.caller)
    row = await visible(request)
    runner = REMOTE + request.body.runner

    await request.write(lambda tx: stop_waiting(tx, request.organization, str(row.id), runner))
    return OutcomeAnswer(True, str(row.id), row.status, f"No process waits for action {row.id}.")


async def evaluate(request: Request[EvaluateBody, None]) -> EvaluateAnswer:
    """Return what would be decided. Nothing is recorded."""
    started = time.perf_counter()
    body = request.body
    agent_id = body.agent_id or request.caller.agent_id or "unknown"
    request.caller.require_agent(agent_id)
    shaped = SubmitBody(
        agent_id,
        body.agent_name or agent_id,
        body.action_type,
        description=body.description,
        tool_name=body.tool_name,
        resource=body.resource,
        resource_id=body.resource_id,
        action_details=body.action_details,
        parameters=body.parameters,
        context=body.context,
        risk_indicators=body.risk_indicators,
        session_id=body.session_id,
        mcp_server_name=body.mcp_server_name,
        model_id=body.model_id,
    )
    action, _ = asked(shaped, request.caller, request.services.digest_key)
    judgement = judge(action, request.services.policy)
    verdict, risk = judgement.verdict, judgement.risk
    denied = verdict.effect.value == "deny"
    return EvaluateAnswer(
        verdict.effect.value,
        [{"name": name, "effect": verdict.effect.value} for name in verdict.rules],
        [verdict.reason] if denied else [],
        risk.score,
        risk.level.value,
        verdict.reason,
        round((time.perf_counter() - started) * 1000, 3),
        request.services.policy.always_denies(action.action_type, action.tool_name, action.agent_id),
    )


async def visible(request: Request[Any, Any], parameter: str = "action_id") -> ActionRow:
    """Return the action in the path.

    Raises:
        NotFoundError: it does not exist, or this caller may not see it; the two cannot be distinguished.
    """
    action_id = request.path[parameter]

    def look(reader: Reader) -> ActionRow:
        row = known(reader, request.organization, action_id)
        if request.caller.agent_id is not None and row.agent_id != request.caller.agent_id:
            raise NotFoundError(f"There is no action {action_id!r}.", action_id=action_id)
        return row

    try:
        return await request.read(look)
    except NotFoundError:
        raise NotFoundError("There is no such action.", action_id=action_id) from None


def _result(answer: Answer, action: AgentAction, stage: str, correlation_id: str) -> ActionResult:
    if isinstance(answer, KillSwitchState):
        raise kill_switch_error(action, answer, None, stage)
    if isinstance(answer, AscendError):
        detail = getattr(answer, "detail", None)
        if isinstance(detail, dict):
            detail["correlation_id"] = correlation_id
        raise answer
    return answer


def require_key(caller: Caller) -> None:
    """Require an API key: agents act with a key.

    Raises:
        AuthorizationDeniedError: the caller is a person.
    """
    if caller.person:
        raise AuthorizationDeniedError(
            "Agents act with an API key; a person's token only looks and decides. Use X-API-Key."
        )


def _key(request: Request[Any, Any]) -> Key | None:
    """The request's idempotency key.

    The published SDK sends none, but resends exactly the same bytes with the same identifier and time: these are one action
    for a minute. The identifier alone is not enough: many callers use one for all requests of a task.
    """
    headers = request.headers
    given = headers.get("idempotency-key")
    correlation, sent_at = headers.get("x-correlation-id"), headers.get("x-request-timestamp")
    if given is None and not (correlation and sent_at):
        return None
    if given is not None:
        content = msgspec.json.encode([request.path, request.body])
        if not 1 <= len(given) <= _LONGEST_KEY:
            raise RequestRefused(
                f"An Idempotency-Key has 1 to {_LONGEST_KEY} characters.", status=400, code="INVALID_HEADER"
            )
        return Key.of(request.caller.name, given, content)
    resent = msgspec.json.encode([correlation, sent_at, request.path, request.sent]).decode()
    return Key.of(request.caller.name, resent, request.sent, lasts=RESENT_WITHIN)


HANDLERS: dict[str, Handler] = {
    "submit_action": submit,
    "submit_mcp_action": submit_mcp,
    "get_action_status": status,
    "claim_action": claim,
    "withdraw_action": withdrawn,
    "detach_action": detach,
    "evaluate_policy": evaluate,
}
