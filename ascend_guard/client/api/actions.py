"""Actions and their decisions, as generators of effects; both clients have these as methods."""

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
"""Seconds a decision is waited for when nobody says how long (SDK document, "Synchronous Wait")."""

POLL = 2.0
"""Seconds between two looks while ``evaluate_action`` waits, as the published client has it."""


def submit_action(
    api: Identity, /, action: AgentAction, *, idempotency_key: str | None = None
) -> Exchange[ActionResult]:
    """Have an action decided; the answer may be that it is pending.

    Args:
        action: what the agent asks to do.
        idempotency_key: makes a later submission with it the same action; a new one when left out.

    Raises:
        KillSwitchError: the kill switch is on, or its state cannot be known.
        ValidationError: the action cannot be judged.
        AscendError: see ``ascend_guard.exceptions``; then nothing may run.
    """
    if not isinstance(action, AgentAction):
        raise ValidationError(
            f"submit_action takes an AgentAction, not {type(action).__name__}. To give its fields one by one, call "
            "evaluate_action."
        )
    body = present(
        **{name: getattr(action, name) for name in action.__struct_fields__},
        description=action.resource,  # required by the REST API document, while the published client sends `resource`
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
    """Have an action of the client's own agent decided, and wait for the person who decides if one must.

    Args:
        action_type: action category, such as ``database.write``.
        resource: what is being done, or to what.
        parameters: the action's details, which policies look at.
        context: execution context.
        resource_id: target resource identifier.
        risk_indicators: pre-computed risk signals.
        wait_for_decision: whether to wait while it is pending.
        timeout: seconds to wait at most, before another attempt and for a person; 300 when left out.
        orchestration_session_id: groups a root action with every one below it.
        parent_action_id: the action this one was delegated by.
        orchestration_depth: 0 for a root action, at most 5.
        mcp_server_name: the MCP server the tool belongs to, as registered.
        model_id: the model behind the agent, as registered.
        tool_name: the tool or service used.

    Raises:
        KillSwitchError: the kill switch is on, or its state cannot be known.
        TimeoutError: no decision in time.
        ValidationError: the action cannot be judged.
        AscendError: see ``ascend_guard.exceptions``; then nothing may run.
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
    """Have a call of a tool on an MCP server decided; the answer may be that it is pending.

    Args:
        mcp_server: the server's name, as registered.
        namespace: such as ``filesystem``.
        verb: such as ``read_file``.
        resource: what the call is about.
        action_type: ``<namespace>.<verb>`` when left out.
        parameters: the tool's arguments.
        context: execution context.
        description: what the call does, in words.
        environment: the name of the environment it runs in.
        tool_name: the tool, where its name is not the verb.

    Raises:
        KillSwitchError: the kill switch is on, or its state cannot be known.
        AscendError: see ``ascend_guard.exceptions``; then nothing may run.
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
    """Wait until an action is decided, or the kill switch is on: it is looked at whenever the action is.

    Args:
        action_id: the action's.
        timeout_ms: milliseconds to wait at most.
        poll_interval: seconds between two looks.

    Raises:
        TimeoutError: no decision in time.
        KillSwitchError: the kill switch is on, or its state cannot be known.
    """
    seconds = require_seconds("timeout_ms", timeout_ms, scale=1000.0)
    interval = require_seconds("poll_interval", poll_interval, least=0.01)
    return (yield from _wait(api, str(action_id), seconds, interval, api.agent_id))


def get_action_status(api: Identity, /, action_id: str) -> Exchange[ActionResult]:
    """The decision on an action as it stands.

    Args:
        action_id: the action's.

    Raises:
        NotFoundError: there is no such action.
    """
    return (yield from _status(api, str(action_id), None))


def get_action(api: Identity, /, action_id: str) -> Exchange[ActionResult]:
    """An action with everything known of it in ``metadata``: what was asked, and its ``audit_trail``.

    Args:
        action_id: the action's.

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
    """A page of the organization's actions, newest first.

    Args:
        limit: the most a page holds, 1 to 100.
        offset: how many to leave out.
        status: approved, denied or pending; all when left out.
        agent_id: one agent's only.
    """
    query = {"limit": limit, "offset": offset, "status": status, "agent_id": agent_id}
    answer = yield from ask(api, "list_actions", query=query)
    return page_of(answer.body)


def kill_switch_status(api: Identity, /, agent_id: str | None = None) -> Exchange[KillSwitchState]:
    """Whether agents are stopped. When this raises, take it for a switch that is on.

    Args:
        agent_id: whether this agent is, by a switch of its own too; the client's own when left out.
    """
    query = {"agent_id": agent_id or api.agent_id}
    answer = yield from ask(api, "get_kill_switch", query=query)
    return kill_switch_of(answer.body)


def complete_action(
    api: Identity, /, action_id: str, result: Any = None, duration_ms: float | None = None
) -> Exchange[Data]:
    """Report that an approved action was carried out.

    Args:
        action_id: the action's.
        result: what came of it, as plain data.
        duration_ms: milliseconds it took.

    Raises:
        ConflictError: an outcome is recorded already.
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
    """Report that an approved action was begun and failed.

    Args:
        action_id: the action's.
        error: what went wrong, without secrets.
        duration_ms: milliseconds it took.

    Raises:
        ConflictError: an outcome is recorded already.
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
        # Turned on meanwhile, it ends the wait, and an approval does not count any more.
        yield from require_running(api, agent_id, deadline)
        if result.is_approved():
            return result
        left = deadline - api.clock()
        if left > 0:
            yield Pause(min(interval, left))
    raise TimeoutError(
        f"Nobody decided action {action_id} within {seconds:g} s; it may not run. It still waits: ask for it again "
        f'with wait_for_decision("{action_id}"), or have somebody decide.',
        action_id=action_id,
        reason="no decision in time",
    )
