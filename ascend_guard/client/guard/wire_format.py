"""The wire format of governed calls: what is submitted and reported, and which features a server has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ascend_guard.errors import (
    AscendError,
    AuthorizationDeniedError,
    ConfigurationError,
    KillSwitchError,
    ServerError,
)
from ascend_guard.flow import AwaitDecision, Claim, Settle, Submit
from ascend_guard.kill_switch import COUNTS_AS_ON, UNKNOWN
from ascend_guard.model import OutcomeStatus

NOT_JUDGED = "an approver edited the arguments, and this server cannot judge the edited call"
"""Why an edited call does not run on a server that judges only submitted calls."""

LONGEST_ERROR = 10_000
"""The most characters of an error's text that are reported."""


class Features(msgspec.Struct, frozen=True):
    """A server's features besides the documented API.

    Args:
        claims: it keeps permits, binds them to digests, and has a kill switch for each agent.
        stream: it pushes decisions and kill switches.
        outcomes: it accepts several outcomes in one request.
        once: it records which named calls have begun.
        echo: each answer repeats the ``X-Correlation-ID`` of its request.
    """

    claims: bool = False
    stream: bool = False
    outcomes: bool = False
    once: bool = False
    echo: bool = False


class _Deployment(msgspec.Struct):
    features: list[str] = []


def features_of(body: bytes) -> Features:
    """Return the features in the answer of ``/api/deployment-info``.

    Raises:
        ServerError: the body is not such an answer.
    """
    try:
        named = msgspec.json.decode(body, type=_Deployment).features
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ServerError(
            "The control plane's /api/deployment-info cannot be read. Check that ASCEND_API_URL is an Ascend server's "
            "address."
        ) from error
    if "claims" not in named:
        return Features()
    return Features(*(name in named for name in Features.__struct_fields__))


def submission(effect: Submit, features: Features, runner: str) -> dict[str, Any]:
    """Return the body that submits an action (REST API document, "Submit Action").

    Raises:
        ConfigurationError: its caller repeats the call, and the server does not record which calls have begun.
    """
    action = effect.action
    if effect.call_id is not None and effect.once is not None and not features.once:
        raise ConfigurationError(
            f"Blocked: {action.action_type} by {action.tool_name} did not run. An interrupted graph repeats its calls, "
            "and this control plane does not record which of them have begun, so one might run twice. Use "
            'on_pending="wait" or "return" with it.'
        )
    body = msgspec.to_builtins(action)
    assert isinstance(body, dict)
    if features.claims:
        body |= {
            "digest": effect.digest,
            "detached": effect.detached,
            "repeatable": effect.repeatable,
            "runner": runner,
        }
        if effect.call_id is not None:
            body["call_id"] = effect.call_id
        identity = effect.identity
        if identity != effect.digest:
            body["identity"] = identity
        if effect.once is not None:
            body["once"] = effect.once
        return body
    # Other servers read ``description``, and ``session_id`` in the context.
    body["description"] = action.resource
    session = body.pop("session_id", None)
    if session is not None:
        body["context"] = {"session_id": session, **body.get("context", {})}
    return body


def claiming(effect: Claim, runner: str) -> dict[str, Any]:
    """Return the body that takes a permit; with the whole call as it will run, if an approver edited it."""
    body: dict[str, Any] = {"digest": effect.digest, "running": effect.running, "runner": runner}
    if effect.once is not None:
        body["once"] = effect.once
    if effect.edits:
        action = effect.action
        body |= {"resource": action.resource, "action_details": action.action_details}
        body["modified_arguments"] = effect.edits
        if action.resource_id is not None:
            body["resource_id"] = action.resource_id
    return body


def not_judged(effect: Claim) -> AuthorizationDeniedError:
    """The error for an edited call on a server that judges only submitted calls."""
    return AuthorizationDeniedError(
        f"Blocked: action {effect.action_id} did not run, because {NOT_JUDGED}.",
        action_id=effect.action_id,
        reason=NOT_JUDGED,
        remedy="Deny the action there and say what to change; the agent can then make another call.",
    )


def outcome_request(effect: Settle) -> tuple[str, dict[str, Any]]:
    """Return the endpoint's name and the body that report an outcome."""
    outcome = effect.outcome
    completed = outcome.status is OutcomeStatus.COMPLETED
    body: dict[str, Any] = {
        "action_id": effect.action_id,
        "status": "completed" if completed else "failed",
        "completed_at" if completed else "failed_at": datetime.now(UTC).isoformat(),
        "duration_ms": round(outcome.duration * 1000, 3),
    }
    if not completed:
        # The published API has only completed and failed. An outcome that is not surely completed is reported as failed.
        body["error"] = (
            outcome.error or f"{outcome.status.value}: {outcome.detail or 'not followed to its end'}"
        )
    if outcome.status is OutcomeStatus.UNKNOWN:
        body["unknown"] = True
    if outcome.detail is not None:
        body["detail"] = outcome.detail
    return ("complete_action" if completed else "fail_action"), body


def outcome_item(effect: Settle) -> dict[str, Any]:
    """Return the same as one of several outcomes."""
    outcome = effect.outcome
    item: dict[str, Any] = {
        "action_id": effect.action_id,
        "status": "failed" if outcome.status is OutcomeStatus.UNKNOWN else outcome.status.value,
        "duration_ms": round(outcome.duration * 1000, 3),
    }
    if outcome.status in (OutcomeStatus.FAILED, OutcomeStatus.UNKNOWN):
        item["error"] = (outcome.error or outcome.status.value)[:LONGEST_ERROR]
    if outcome.status is OutcomeStatus.UNKNOWN:
        item["unknown"] = True
    if outcome.detail is not None:
        item["detail"] = outcome.detail[:LONGEST_ERROR]
    return item


def nobody_knows(effect: AwaitDecision, error: AscendError) -> KillSwitchError:
    """The error that ends a wait when the server stays unavailable; ``error`` is its last failure."""
    return KillSwitchError(
        f"Blocked: action {effect.action_id} did not run. The control plane has not answered for a while, so "
        f"{COUNTS_AS_ON} ({error}) Check that the server runs, then call again.",
        action_id=effect.action_id,
        reason=UNKNOWN,
    )
