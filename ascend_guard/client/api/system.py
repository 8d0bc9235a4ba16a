"""People's decisions, the kill switch, the audit log, webhooks and the server itself, as generators of effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ascend_guard.calling.scope import current
from ascend_guard.client.http.exchange import ONCE, Exchange
from ascend_guard.client.http.identity import Identity
from ascend_guard.errors import AuthenticationError, ValidationError

from .answers import ConnectionStatus, items_of, mapping_of
from .asking import Data, ask, plain, present, told

_SHORTEST_REASON = 10


def get_approval(api: Identity, /, approval_id: str) -> Exchange[Data]:
    """How an approval stands: ``status``, ``approved_by``, ``decided_at``, ``comments``.

    Args:
        approval_id: ``approval_request_id`` of a pending action's metadata.
    """
    return (yield from told(api, "get_approval", approval_id=approval_id))


def approve_action(
    api: Identity,
    /,
    action_id: str,
    comments: str | None = None,
    *,
    token: str,
    arguments: Mapping[str, Any] | None = None,
) -> Exchange[Data]:
    """Approve an action. An API key can never do that (REST API document, "Authentication Requirements Per Endpoint").

    Args:
        action_id: the action's.
        comments: for the audit trail.
        token: the person's own, sent instead of the API key.
        arguments: replace the caller's; the policy judges them now, and the whole edited call when it runs.

    Raises:
        AuthenticationError: the token is nobody's, or has expired.
        ConflictError: it is decided already.
    """
    _require_person()
    body = present(comments=comments, arguments=plain("arguments", arguments))
    return (yield from told(api, "approve_action", body=body, token=token, action_id=action_id))


def deny_action(
    api: Identity, /, action_id: str, comments: str | None = None, *, token: str, reason: str | None = None
) -> Exchange[Data]:
    """Deny an action. The denial answers the same call until it ends or is cleared.

    Args:
        action_id: the action's.
        comments: for the audit trail.
        token: the person's own, sent instead of the API key.
        reason: what the agent is told.

    Raises:
        AuthenticationError: the token is nobody's, or has expired.
        ConflictError: it is decided already.
    """
    _require_person()
    body = present(comments=comments, reason=reason)
    return (yield from told(api, "deny_action", body=body, token=token, action_id=action_id))


def clear_denial(
    api: Identity, /, action_id: str, comments: str | None = None, *, token: str
) -> Exchange[Data]:
    """End a person's denial: the same call made again asks people anew.

    Args:
        action_id: the denied action's.
        comments: for the audit trail.
        token: the person's own, sent instead of the API key.

    Raises:
        AuthenticationError: the token is nobody's, or has expired.
        ConflictError: no person's denial of it holds.
    """
    _require_person()
    return (
        yield from told(
            api, "clear_denial", body=present(comments=comments), token=token, action_id=action_id
        )
    )


def _require_person() -> None:
    """An agent cannot approve itself: whoever is inside a governed call is no person, whatever token it holds."""
    if current() is not None:
        raise AuthenticationError(
            "A governed tool cannot approve, deny or clear a denial: only a person can, from outside the agent's calls."
        )


def evaluate_policy(
    api: Identity,
    /,
    action_type: str,
    resource: str,
    risk_score: float | None = None,
    context: Mapping[str, Any] | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    tool_name: str | None = None,
    agent_id: str | None = None,
) -> Exchange[Data]:
    """What would be decided. Nothing is recorded as an action, and nothing may run on it.

    Args:
        action_type: action category.
        resource: what it would be done to.
        risk_score: 0 to 100.
        context: execution context.
        parameters: the action's details.
        tool_name: the tool or service.
        agent_id: the client's own agent when left out.
    """
    body = present(
        action_type=action_type,
        resource=resource,
        risk_score=risk_score,
        context=plain("context", context),
        action_details=plain("parameters", parameters),
        tool_name=tool_name,
        agent_id=agent_id or api.agent_id,
    )
    return (yield from told(api, "evaluate_policy", body=body))


def trigger_kill_switch(
    api: Identity, /, organization_id: int | str, reason: str, *, agent_id: str | None = None
) -> Exchange[Data]:
    """Stop every agent of an organization, or one. An admin's key is needed.

    Args:
        organization_id: the organization's.
        reason: at least 10 characters, for the audit trail.
        agent_id: stop this agent only.
    """
    return (yield from _turn(api, "trigger_kill_switch", organization_id, reason, agent_id))


def release_kill_switch(
    api: Identity, /, organization_id: int | str, reason: str, *, agent_id: str | None = None
) -> Exchange[Data]:
    """Let agents go on. An admin's key is needed.

    Args:
        organization_id: the organization's.
        reason: at least 10 characters, for the audit trail.
        agent_id: release this agent's own switch only.
    """
    return (yield from _turn(api, "release_kill_switch", organization_id, reason, agent_id))


def query_audit_log(api: Identity, /, limit: int = 50, offset: int = 0) -> Exchange[Data]:
    """A page of the audit trail, newest first.

    Args:
        limit: the most a page holds.
        offset: how many to leave out.
    """
    return (yield from told(api, "list_audit_log", query={"limit": limit, "offset": offset}))


def configure_webhook(
    api: Identity, /, url: str, events: Sequence[str], secret: str | None = None, agent_id: str | None = None
) -> Exchange[Data]:
    """Have events sent to an address.

    Args:
        url: https.
        events: such as ``action.approved``.
        secret: signs what is sent; at least 16 characters. Without it one is made, and shown in this answer only.
        agent_id: one agent's events only.
    """
    body = present(url=url, events=list(events), secret=secret, agent_id=agent_id)
    return (yield from told(api, "configure_webhook", body=body))


def list_webhooks(api: Identity, /) -> Exchange[list[Data]]:
    """The organization's webhooks."""
    answer = yield from ask(api, "list_webhooks")
    return items_of(answer.body, "webhooks")


def update_webhook(
    api: Identity,
    /,
    webhook_id: str,
    url: str | None = None,
    events: Sequence[str] | None = None,
    secret: str | None = None,
    active: bool | None = None,
) -> Exchange[Data]:
    """Change a webhook; what is left out stays as it is.

    Args:
        webhook_id: the webhook's.
        url: https.
        events: such as ``action.approved``.
        secret: at least 16 characters.
        active: whether anything is sent.
    """
    body = present(url=url, events=None if events is None else list(events), secret=secret, active=active)
    return (yield from told(api, "update_webhook", body=body, webhook_id=webhook_id))


def delete_webhook(api: Identity, /, webhook_id: str) -> Exchange[Data]:
    """Forget a webhook.

    Args:
        webhook_id: the webhook's.
    """
    return (yield from told(api, "delete_webhook", webhook_id=webhook_id))


def test_webhook(api: Identity, /, webhook_id: str) -> Exchange[Data]:
    """Have a test event sent now: ``success``, ``status_code``, ``response_time_ms``, ``error``.

    Args:
        webhook_id: the webhook's.
    """
    return (yield from told(api, "test_webhook", webhook_id=webhook_id))


def list_webhook_deliveries(
    api: Identity, /, webhook_id: str, limit: int = 100, offset: int = 0
) -> Exchange[Data]:
    """What was sent to a webhook, and how that went, newest first.

    Args:
        webhook_id: the webhook's.
        limit: the most a page holds.
        offset: how many to leave out.
    """
    query = {"limit": limit, "offset": offset}
    return (yield from told(api, "list_deliveries", query=query, webhook_id=webhook_id))


def deployment_info(api: Identity, /) -> Exchange[Data]:
    """What the server is: ``version``, ``environment``, ``region``, ``features``."""
    return (yield from told(api, "deployment_info"))


def test_connection(api: Identity, /) -> Exchange[ConnectionStatus]:
    """Whether the control plane answers, and how fast. Never raises. It does not try the key: any action does."""
    try:
        began = api.clock()
        health = yield from ask(api, "health", retry=ONCE)
        latency = (api.clock() - began) * 1000
        mapping_of(health.body)
        answer = yield from ask(api, "deployment_info", retry=ONCE)
        info = mapping_of(answer.body)
    except Exception as error:
        return ConnectionStatus(False, error=str(error) or type(error).__name__)
    return ConnectionStatus(True, _named(info, "version"), latency, _named(info, "environment"))


def _turn(
    api: Identity, name: str, organization_id: int | str, reason: str, agent_id: str | None
) -> Exchange[Data]:
    if not isinstance(reason, str) or len(reason.strip()) < _SHORTEST_REASON:
        raise ValidationError(
            f"The reason must have at least {_SHORTEST_REASON} characters: it is for the audit trail."
        )
    body = present(reason=reason, agent_id=agent_id)
    return (yield from told(api, name, body=body, organization_id=organization_id))


def _named(info: Data, name: str) -> str:
    value = info.get(name)
    return value if isinstance(value, str) else "unknown"
