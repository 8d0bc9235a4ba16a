"""Operations on approvals, the kill switch, the audit log, webhooks and the server itself, as generators of effects."""

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
    """Return the state of an approval: ``status``, ``approved_by``, ``decided_at``, ``comments``.

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
    """Approve an action. No API key can do this (REST API document, "Authentication Requirements Per Endpoint").

    Args:
        action_id: the action's id.
        comments: for the audit trail.
        token: the person's own token, sent instead of the API key.
        arguments: replace the caller's arguments. The policy judges them now, and the whole edited call when it runs.

    Raises:
        AuthenticationError: the token is unknown or has expired.
        ConflictError: the action is already decided.
    """
    _require_person()
    body = present(comments=comments, arguments=plain("arguments", arguments))
    return (yield from told(api, "approve_action", body=body, token=token, action_id=action_id))


def deny_action(
    api: Identity, /, action_id: str, comments: str | None = None, *, token: str, reason: str | None = None
) -> Exchange[Data]:
    """Deny an action. The denial answers the same call until it ends or is cleared.

    Args:
        action_id: the action's id.
        comments: for the audit trail.
        token: the person's own token, sent instead of the API key.
        reason: the reason for the agent.

    Raises:
        AuthenticationError: the token is unknown or has expired.
        ConflictError: the action is already decided.
    """
    _require_person()
    body = present(comments=comments, reason=reason)
    return (yield from told(api, "deny_action", body=body, token=token, action_id=action_id))


def clear_denial(
    api: Identity, /, action_id: str, comments: str | None = None, *, token: str
) -> Exchange[Data]:
    """Clear a person's denial: the same call made again requests a new decision.

    Args:
        action_id: the id of the denied action.
        comments: for the audit trail.
        token: the person's own token, sent instead of the API key.

    Raises:
        AuthenticationError: the token is unknown or has expired.
        ConflictError: no person's denial of the action is in force.
    """
    _require_person()
    return (
        yield from told(
            api, "clear_denial", body=present(comments=comments), token=token, action_id=action_id
        )
    )


def _require_person() -> None:
    """Refuse calls from inside a governed call, with any token: an agent cannot approve itself."""
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
    """Return what would be decided. No action is recorded, and no action may run on the result.

    Args:
        action_type: action category.
        resource: what it would act on.
        risk_score: 0 to 100.
        context: execution context.
        parameters: the action's details.
        tool_name: the tool or service.
        agent_id: by default the client's own agent.
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
    """Stop every agent of an organization, or one agent. Needs an admin's key.

    Args:
        organization_id: the organization's id.
        reason: at least 10 characters, for the audit trail.
        agent_id: stop only this agent.
    """
    return (yield from _turn(api, "trigger_kill_switch", organization_id, reason, agent_id))


def release_kill_switch(
    api: Identity, /, organization_id: int | str, reason: str, *, agent_id: str | None = None
) -> Exchange[Data]:
    """Turn the kill switch off. Needs an admin's key.

    Args:
        organization_id: the organization's id.
        reason: at least 10 characters, for the audit trail.
        agent_id: turn off only this agent's own switch.
    """
    return (yield from _turn(api, "release_kill_switch", organization_id, reason, agent_id))


def query_audit_log(api: Identity, /, limit: int = 50, offset: int = 0) -> Exchange[Data]:
    """Return a page of the audit trail, newest first.

    Args:
        limit: the page size.
        offset: how many records to skip.
    """
    return (yield from told(api, "list_audit_log", query={"limit": limit, "offset": offset}))


def configure_webhook(
    api: Identity, /, url: str, events: Sequence[str], secret: str | None = None, agent_id: str | None = None
) -> Exchange[Data]:
    """Create a webhook: send events to an address.

    Args:
        url: https.
        events: such as ``action.approved``.
        secret: signs what is sent; at least 16 characters. By default one is created, and returned in this answer only.
        agent_id: send only this agent's events.
    """
    body = present(url=url, events=list(events), secret=secret, agent_id=agent_id)
    return (yield from told(api, "configure_webhook", body=body))


def list_webhooks(api: Identity, /) -> Exchange[list[Data]]:
    """Return the organization's webhooks."""
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
    """Change a webhook. Fields that are left out stay unchanged.

    Args:
        webhook_id: the webhook's id.
        url: https.
        events: such as ``action.approved``.
        secret: at least 16 characters.
        active: whether events are sent.
    """
    body = present(url=url, events=None if events is None else list(events), secret=secret, active=active)
    return (yield from told(api, "update_webhook", body=body, webhook_id=webhook_id))


def delete_webhook(api: Identity, /, webhook_id: str) -> Exchange[Data]:
    """Delete a webhook.

    Args:
        webhook_id: the webhook's id.
    """
    return (yield from told(api, "delete_webhook", webhook_id=webhook_id))


def test_webhook(api: Identity, /, webhook_id: str) -> Exchange[Data]:
    """Send a test event now: ``success``, ``status_code``, ``response_time_ms``, ``error``.

    Args:
        webhook_id: the webhook's id.
    """
    return (yield from told(api, "test_webhook", webhook_id=webhook_id))


def list_webhook_deliveries(
    api: Identity, /, webhook_id: str, limit: int = 100, offset: int = 0
) -> Exchange[Data]:
    """Return the deliveries of a webhook and their results, newest first.

    Args:
        webhook_id: the webhook's id.
        limit: the page size.
        offset: how many deliveries to skip.
    """
    query = {"limit": limit, "offset": offset}
    return (yield from told(api, "list_deliveries", query=query, webhook_id=webhook_id))


def deployment_info(api: Identity, /) -> Exchange[Data]:
    """Return the server's ``version``, ``environment``, ``region`` and ``features``."""
    return (yield from told(api, "deployment_info"))


def test_connection(api: Identity, /) -> Exchange[ConnectionStatus]:
    """Return whether the control plane answers, and how fast. Never raises. It does not check the API key; any action
    does."""
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
            f"The reason must have at least {_SHORTEST_REASON} characters: the audit trail records it."
        )
    body = present(reason=reason, agent_id=agent_id)
    return (yield from told(api, name, body=body, organization_id=organization_id))


def _named(info: Data, name: str) -> str:
    value = info.get(name)
    return value if isinstance(value, str) else "unknown"
