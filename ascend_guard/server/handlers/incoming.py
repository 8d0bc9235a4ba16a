"""Convert a client's body to an action: either form, limited in size, redacted."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from ascend_guard.api.actions import ClaimBody, McpSubmitBody, SubmitBody
from ascend_guard.arguments import MAX_DEPTH, normalise
from ascend_guard.errors import ValidationError
from ascend_guard.model import AgentAction
from ascend_guard.redaction import REDACTED, is_secret_name, scrub
from ascend_guard.server.handling import Caller
from ascend_guard.server.requests.failures import RequestRefused

UNKNOWN_AGENT = "unknown"
"""The published SDK's name for an agent without a name."""


def asked(body: SubmitBody, caller: Caller, key: bytes) -> tuple[AgentAction, str]:
    """Return the action in a body, and the digest of its arguments.

    Args:
        body: in either form.
        caller: its sender; a key for one agent acts only as that agent.
        key: the key for digests, for clients that send none.

    Raises:
        AuthorizationDeniedError: it names another agent than the key's.
        ValidationError: it is too large or too deep.
        RequestRefused: ``resource`` and ``description`` are both missing, or the action type is invalid.
    """
    if not body.action_type.isprintable() or body.action_type != body.action_type.strip():
        raise RequestRefused(
            "The action_type is invalid: it has spaces around it, or invisible characters. Send a name such as "
            "database_read.",
            status=422,
            code="INVALID_ACTION_TYPE",
        )
    agent_id = body.agent_id
    if caller.agent_id is not None and agent_id == UNKNOWN_AGENT:
        agent_id = caller.agent_id
    caller.require_agent(agent_id)
    resource = body.resource or body.description
    if not resource:
        raise RequestRefused(
            "The description of the action is missing: send `description` and `tool_name`, or `resource`.",
            status=400,
            code="MISSING_REQUIRED_FIELD",
        )
    given = {**(body.parameters or {}), **(body.action_details or {})}
    readable = _readable
    if body.digest is None:
        arguments = normalise(given, key=key)
        details, digest = arguments.plain, arguments.digest
    else:  # sent by our own client: already plain, with a digest of the unredacted arguments
        readable = _plain
        details, digest = _plain(given), body.digest
    context = readable(body.context)
    if body.description and body.resource and "description" not in context:
        context["description"] = _scrubbed(body.description)
    session = body.session_id or context.get("session_id")
    named = details.get("tool_name")
    action = AgentAction(
        agent_id=agent_id,
        agent_name=body.agent_name,
        action_type=body.action_type,
        resource=_scrubbed(resource),
        tool_name=body.tool_name
        or (named if isinstance(named, str) and 0 < len(named) <= 255 else None)
        or body.mcp_server_name
        or body.action_type,
        resource_id=None if body.resource_id is None else scrub(body.resource_id),
        action_details=details,
        context=context,
        risk_indicators=readable(body.risk_indicators),
        model_id=body.model_id,
        mcp_server_name=body.mcp_server_name,
        session_id=session if isinstance(session, str) and 0 < len(session) <= 255 else None,
        orchestration_session_id=body.orchestration_session_id,
        parent_action_id=body.parent_action_id,
        orchestration_depth=body.orchestration_depth or 0,
        excluded=tuple(body.excluded),
        vouched_decorators=tuple(body.vouched_decorators),
    )
    return action, digest


def asked_of_mcp(body: McpSubmitBody, caller: Caller, key: bytes) -> tuple[AgentAction, str]:
    """Return the action in an MCP body, and the digest of its arguments. Raises as ``asked``."""
    agent_id = body.agent_id or caller.agent_id or UNKNOWN_AGENT
    context: dict[str, Any] = {
        **(body.context or {}),
        "environment": body.environment,
        "mcp_server": body.mcp_server,
        "namespace": body.namespace,
        "verb": body.verb,
    }
    return asked(
        SubmitBody(
            agent_id,
            body.agent_name or agent_id,
            body.action_type or f"{body.namespace}.{body.verb}",
            description=body.description,
            tool_name=body.tool_name or body.verb,
            resource=body.resource or body.description,
            action_details=body.parameters,
            context=context,
            mcp_server_name=body.mcp_server,
            resource_id=body.resource_id,
            risk_indicators=body.risk_indicators,
            session_id=body.session_id,
            orchestration_session_id=body.orchestration_session_id,
            parent_action_id=body.parent_action_id,
            orchestration_depth=body.orchestration_depth,
            model_id=body.model_id,
        ),
        caller,
        key,
    )


def as_edited(action: AgentAction, body: ClaimBody) -> tuple[AgentAction, dict[str, Any] | None]:
    """Return a submitted action as it will run with an approver's values, and these values; the action itself and None
    if the client does not describe the whole edited call."""
    if body.modified_arguments is None or body.resource is None or body.action_details is None:
        return action, None
    edited = msgspec.structs.replace(
        action,
        resource=_scrubbed(body.resource),
        resource_id=None if body.resource_id is None else scrub(body.resource_id),
        action_details=_plain(body.action_details),
    )
    return edited, body.modified_arguments


def _scrubbed(resource: str) -> str:
    return _scrubbed_before(resource) if len(resource) <= 200 else scrub(resource)


_scrubbed_before = functools.lru_cache(maxsize=1024)(scrub)
"""A cache: agents name the same few resources repeatedly."""


def _readable(given: dict[str, Any] | None) -> dict[str, Any]:
    return normalise(given, key=b"").plain if given else {}


def _plain(given: dict[str, Any] | None) -> dict[str, Any]:
    """Check our client's arguments again: plain, limited in size and without secrets."""
    plain: dict[str, Any] = _seen(given or {}, 1)
    return plain


def _seen(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH + 2:  # the client's own limit, and the written forms of values
        raise ValidationError(f"The action's arguments are nested more than {MAX_DEPTH} deep.")
    if isinstance(value, dict):
        return {
            name: REDACTED
            if is_secret_name(name) and value[name] is not None
            else _seen(value[name], depth + 1)
            for name in value
        }
    if isinstance(value, list):
        return [_seen(item, depth + 1) for item in value]
    return value
