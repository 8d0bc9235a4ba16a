"""Operations on actions and decisions, as generators of effects. Both clients have them as methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ascend_guard.calling.scope import require_text
from ascend_guard.client.http.exchange import Exchange, Pause
from ascend_guard.client.http.identity import Identity
from ascend_guard.errors import (
    TimeoutError,
    ValidationError,
)
from ascend_guard.model import ActionResult, AgentAction, KillSwitchState

from .answers import ActionPage, kill_switch_of, page_of
from .asking import Data, ask, decided, plain, present, require_seconds, told
from .submitting import require_running, submit

WAIT = 300.0
"""Default seconds to wait for a decision (SDK document, "Synchronous Wait")."""

POLL = 2.0
"""Seconds between two requests while ``evaluate_action`` waits, as in the published client."""


def submit_action(
    api: Identity, /, action: AgentAction, *, idempotency_key: str | None = None
) -> Exchange[ActionResult]:
    """Submit an action for a decision. The result may be pending.

    Args:
        action: the action to decide.
        idempotency_key: a later submission with the same key is the same action; by default a new key.

    Raises:
        KillSwitchError: the kill switch is on, or its state is unknown.
        ValidationError: the action cannot be judged.
        AscendError: see ``ascend_guard.exceptions``; the action must not run.
    """
    if not isinstance(action, AgentAction):
        raise ValidationError(
            f"submit_action takes an AgentAction, not {type(action).__name__}. To give its fields one by one, call "
            "evaluate_action."
        )
    body = present(
        **{name: getattr(action, name) for name in action.__struct_fields__},
        description=action.resource,  # the REST API document requires it, the published client sends `resource`
    )
    until = api.clock() + api.retry_for
    return (yield from submit(api, "submit_action", body, action.agent_id, idempotency_key, until))


def evaluate_action(
    api: Identity,
    /,
    action_type: str,
    resource: str,
    parameters: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    resource_id: str | None = None,
    risk_indicators: Mapping[str, Any] | None = None,
    wait_for_decision: bool = True,
    timeout: float | None = None,
    orchestration_session_id: str | None = None,
    parent_action_id: int | None = None,
    orchestration_depth: int | None = None,
    mcp_server_name: str | None = None,
    model_id: str | None = None,
    tool_name: str | None = None,
) -> Exchange[ActionResult]:
    """Submit an action of the client's own agent, and wait if a person must decide.

    Args:
        action_type: action category, such as ``database.write``.
        resource: what the action does, or what it acts on.
        parameters: the action's details, which policies match on.
        context: execution context.
        resource_id: target resource identifier.
        risk_indicators: pre-computed risk signals.
        wait_for_decision: whether to wait while the action is pending.
        timeout: the most seconds to wait, for retries and for a person; 300 by default.
        orchestration_session_id: groups a root action with all actions below it.
        parent_action_id: the action that delegated this one.
        orchestration_depth: 0 for a root action, at most 5.
        mcp_server_name: the registered name of the tool's MCP server.
        model_id: the registered id of the agent's model.
        tool_name: the tool or service.

    Raises:
        KillSwitchError: the kill switch is on, or its state is unknown.
        TimeoutError: no decision was made in time.
        ValidationError: the action cannot be judged.
        AscendError: see ``ascend_guard.exceptions``; the action must not run.
    """
    ends = api.clock() + (WAIT if timeout is None else require_seconds("timeout", timeout))
    agent_id, agent_name = api.agent()
    body = present(
        agent_id=agent_id,
        agent_name=agent_name,
        action_type=action_type,
        resource=resource,
        description=resource,
        tool_name=tool_name,
        resource_id=resource_id,
        action_details=plain("parameters", parameters),
        context=plain("context", context),
        risk_indicators=plain("risk_indicators", risk_indicators),
        orchestration_session_id=orchestration_session_id,
        parent_action_id=parent_action_id,
        orchestration_depth=orchestration_depth,
        mcp_server_name=mcp_server_name,
        model_id=model_id,
    )
    result = yield from submit(api, "submit_action", body, agent_id, None, ends)
    if wait_for_decision and result.is_pending():
        return (yield from _wait(api, result.action_id, ends - api.clock(), POLL, agent_id))
    return result


def evaluate_mcp_action(
    api: Identity,
    /,
    mcp_server: str,
    namespace: str,
    verb: str,
    resource: str,
    action_type: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    description: str | None = None,
    environment: str = "production",
    tool_name: str | None = None,
) -> Exchange[ActionResult]:
    """Submit a call of a tool on an MCP server for a decision. The result may be pending.

    Args:
        mcp_server: the registered name of the server.
        namespace: such as ``filesystem``.
        verb: such as ``read_file``.
        resource: what the call acts on.
        action_type: by default ``<namespace>.<verb>``.
        parameters: the tool's arguments.
        context: execution context.
        description: what the call does, as text.
        environment: the name of the environment of the call.
        tool_name: the tool, if its name is not the verb.

    Raises:
        KillSwitchError: the kill switch is on, or its state is unknown.
        AscendError: see ``ascend_guard.exceptions``; the action must not run.
    """
    for name, value in (("mcp_server", mcp_server), ("namespace", namespace), ("verb", verb)):
        require_text(name, value)
    agent_id, agent_name = api.agent()
    body = present(
        mcp_server=mcp_server,
        namespace=namespace,
        verb=verb,
        resource=resource,
        action_type=action_type or f"{namespace}.{verb}",
        description=description,
        parameters=plain("parameters", parameters) or {},
        context=plain("context", context) or {},
        environment=environment,
        tool_name=tool_name,
        agent_id=agent_id,
        agent_name=agent_name,
    )
    until = api.clock() + api.retry_for
    return (yield from submit(api, "submit_mcp_action", body, agent_id, None, until))


def wait_for_decision(
    api: Identity, /, action_id: str, timeout_ms: float = 300_000, poll_interval: float = 5.0
) -> Exchange[ActionResult]:
    """Wait until an action is decided, or the kill switch is on. Both are checked at every poll.

    Args:
        action_id: the action's id.
        timeout_ms: the most milliseconds to wait.
        poll_interval: seconds between two polls.

    Raises:
        TimeoutError: no decision was made in time.
        KillSwitchError: the kill switch is on, or its state is unknown.
    """
    seconds = require_seconds("timeout_ms", timeout_ms, scale=1000.0)
    interval = require_seconds("poll_interval", poll_interval, least=0.01)
    return (yield from _wait(api, str(action_id), seconds, interval, api.agent_id))


def get_action_status(api: Identity, /, action_id: str) -> Exchange[ActionResult]:
    """Return the present decision on an action.

    Args:
        action_id: the action's id.

    Raises:
        NotFoundError: there is no such action.
    """
    return (yield from _status(api, str(action_id), None))


def get_action(api: Identity, /, action_id: str) -> Exchange[ActionResult]:
    """Return an action with all its data in ``metadata``: the submitted fields, and its ``audit_trail``.

    Args:
        action_id: the action's id.

    Raises:
        NotFoundError: there is no such action.
    """
    answer = yield from ask(api, "get_action", parameters={"action_id": action_id})
    return decided(answer, str(action_id))


def list_actions(
    api: Identity,
    /,
    limit: int = 50,
    offset: int = 0,
    status: str | None = None,
    agent_id: str | None = None,
) -> Exchange[ActionPage]:
    """Return a page of the organization's actions, newest first.

    Args:
        limit: the page size, 1 to 100.
        offset: how many actions to skip.
        status: approved, denied or pending; by default all.
        agent_id: return only this agent's actions.
    """
    query = {"limit": limit, "offset": offset, "status": status, "agent_id": agent_id}
    answer = yield from ask(api, "list_actions", query=query)
    return page_of(answer.body)


def kill_switch_status(api: Identity, /, agent_id: str | None = None) -> Exchange[KillSwitchState]:
    """Return whether agents are stopped. If this raises, treat the kill switch as on.

    Args:
        agent_id: include this agent's own switch; by default the client's own agent.
    """
    query = {"agent_id": agent_id or api.agent_id}
    answer = yield from ask(api, "get_kill_switch", query=query)
    return kill_switch_of(answer.body)


def complete_action(
    api: Identity, /, action_id: str, result: Any = None, duration_ms: float | None = None
) -> Exchange[Data]:
    """Report that an approved action was carried out.

    Args:
        action_id: the action's id.
        result: its result, as plain data.
        duration_ms: its duration in milliseconds.

    Raises:
        ConflictError: an outcome is already recorded.
    """
    body = present(
        action_id=action_id,
        status="completed",
        completed_at=api.now(),
        result=result,
        duration_ms=duration_ms,
    )
    return (yield from told(api, "complete_action", body=body, action_id=action_id))


def fail_action(
    api: Identity, /, action_id: str, error: str, duration_ms: float | None = None
) -> Exchange[Data]:
    """Report that an approved action was started and failed.

    Args:
        action_id: the action's id.
        error: what went wrong, without secrets.
        duration_ms: its duration in milliseconds.

    Raises:
        ConflictError: an outcome is already recorded.
    """
    body = present(
        action_id=action_id, status="failed", failed_at=api.now(), error=error, duration_ms=duration_ms
    )
    return (yield from told(api, "fail_action", body=body, action_id=action_id))


def _status(api: Identity, action_id: str, deadline: float | None) -> Exchange[ActionResult]:
    answer = yield from ask(api, "get_action_status", parameters={"action_id": action_id}, deadline=deadline)
    return decided(answer, action_id)


def _wait(
    api: Identity, action_id: str, seconds: float, interval: float, agent_id: str | None
) -> Exchange[ActionResult]:
    deadline = api.clock() + seconds
    while api.clock() < deadline:
        result = yield from _status(api, action_id, deadline)
        if result.is_denied():
            return result
        if api.clock() >= deadline:
            break
        # A kill switch that is turned on meanwhile ends the wait, and an approval is not used any more.
        yield from require_running(api, agent_id, deadline)
        if result.is_approved():
            return result
        left = deadline - api.clock()
        if left > 0:
            yield Pause(min(interval, left))
    raise TimeoutError(
        f"No decision on action {action_id} within {seconds:g} s; it must not run. It is still pending: wait again "
        f'with wait_for_decision("{action_id}"), or ask an approver to decide.',
        action_id=action_id,
        reason="no decision in time",
    )
