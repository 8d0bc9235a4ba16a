"""The guard's own words on the wire: what it submits and reports, and what a server says it can do."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Any

import msgspec

from ascend_guard.errors import AscendError, ConfigurationError, KillSwitchError, ServerError
from ascend_guard.flow import AwaitDecision, Claim, Settle, Submit
from ascend_guard.model import OutcomeStatus

LONGEST_ERROR = 10_000
"""Characters of an error's text that are reported."""


class Features(msgspec.Struct, frozen=True):
    """What a server does besides the documented API.

    Args:
        claims: it keeps permits, binds them to digests, and knows each agent's own kill switch.
        stream: it pushes decisions and the kill switch.
        outcomes: it takes several outcomes in one request.
        once: it knows which named calls have begun.
    """

    claims: bool = False
    stream: bool = False
    outcomes: bool = False
    once: bool = False


class _Deployment(msgspec.Struct):
    features: list[str] = []


def features_of(body: bytes) -> Features:
    """What the answer of ``/api/deployment-info`` says.

    Raises:
        ServerError: it is not that answer.
    """
    try:
        named = msgspec.json.decode(body, type=_Deployment).features
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ServerError(
            "The control plane's /api/deployment-info cannot be understood. Check that ASCEND_API_URL is an Ascend server's "
            "address."
        ) from error
    claims = "claims" in named
    return Features(
        claims, claims and "stream" in named, claims and "outcomes" in named, claims and "once" in named
    )


def digest_key_of(api_key: str) -> bytes:
    """The key of argument digests: equal wherever the same API key is used, and of no use to find that one out."""
    return hmac.digest(api_key.encode(), b"argument digests", "sha256")


def submission(effect: Submit, features: Features, runner: str) -> dict[str, Any]:
    """The body that submits an action (REST API document, "Submit Action").

    Raises:
        ConfigurationError: its caller repeats the call, and the server does not know which calls have begun.
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
            "parked": effect.parked,
            "repeatable": effect.repeatable,
            "runner": runner,
        }
        if effect.call_id is not None:
            body["call_id"] = effect.call_id
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
    """The body that takes a permit."""
    body = {"digest": effect.digest, "running": effect.running, "runner": runner}
    return body if effect.once is None else {**body, "once": effect.once}


def outcome_request(effect: Settle) -> tuple[str, dict[str, Any]]:
    """The endpoint's name and the body that say what came of an action."""
    outcome = effect.outcome
    completed = outcome.status is OutcomeStatus.COMPLETED
    body: dict[str, Any] = {
        "action_id": effect.action_id,
        "status": "completed" if completed else "failed",
        "completed_at" if completed else "failed_at": datetime.now(UTC).isoformat(),
        "duration_ms": round(outcome.duration * 1000, 3),
    }
    if not completed:
        body["error"] = outcome.error or outcome.status.value
    if outcome.status is OutcomeStatus.UNKNOWN:
        body["unknown"] = True
    if outcome.detail is not None:
        body["detail"] = outcome.detail
    return ("complete_action" if completed else "fail_action"), body


def outcome_item(effect: Settle) -> dict[str, Any]:
    """The same among several outcomes."""
    outcome = effect.outcome
    item: dict[str, Any] = {
        "action_id": effect.action_id,
        "status": "completed" if outcome.status is OutcomeStatus.COMPLETED else "failed",
        "duration_ms": round(outcome.duration * 1000, 3),
    }
    if item["status"] == "failed":
        item["error"] = (outcome.error or outcome.status.value)[:LONGEST_ERROR]
    if outcome.status is OutcomeStatus.UNKNOWN:
        item["unknown"] = True
    if outcome.detail is not None:
        item["detail"] = outcome.detail[:LONGEST_ERROR]
    return item


def nobody_knows(effect: AwaitDecision, error: AscendError) -> KillSwitchError:
    """The end of a wait whose server stays away; ``error`` is what it last failed with."""
    return KillSwitchError(
        f"Blocked: action {effect.action_id} did not run. The control plane has not been heard of for a while, so the state "
        f"of the kill switch cannot be known, which counts as on ({error}) Check that the server runs, then call again.",
        action_id=effect.action_id,
        reason="kill switch state unknown",
    )
