"""Runs inside an environment with a published ``ascend-ai-sdk``: calls what it is told to, and says what came of it.

Standard input: one command a line, ``{"base_url", "api_key", "options", "calls": [{"id", "do", "args", "kwargs"}]}``;
``do`` is a method of ``AscendClient`` or one of ``SCENES``. A client is kept for as long as commands name the same one.
Standard output: for every call one line, ``{"id", "result"}`` or ``{"id", "raised", "message", "details"}``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import ascend
from ascend import wrappers
from ascend.mcp import MCPGovernanceConfig, MCPGovernanceMiddleware, MCPKillSwitchConsumer

# --- what came of it, as JSON ------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A value as JSON: what the package made of an answer, its properties included."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        names += [name for name, member in vars(type(value)).items() if isinstance(member, property)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, types.SimpleNamespace):
        return plain(vars(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return repr(value)


def failure(error: BaseException) -> dict[str, Any]:
    """An exception as JSON: its class, its message, and what it carries."""
    said = {
        "raised": type(error).__name__,
        "module": type(error).__module__,
        "message": str(error),
        "details": plain(getattr(error, "details", None)),
    }
    for name in ("policy_violations", "field_errors", "reason", "retry_after"):
        if hasattr(error, name):
            said[name] = plain(getattr(error, name))
    status = getattr(getattr(error, "response", None), "status_code", None)
    return {**said, "status_code": status} if status else said


# --- what is more than one call of a method ----------------------------------------------------------------------------


def about(client: ascend.AscendClient) -> dict[str, Any]:
    """Which package this is, and everything public it has."""
    return {
        "version": ascend.__version__,
        "client": public(type(client)),
        "agent": public(ascend.AuthorizedAgent),
        "package": sorted(ascend.__all__),
    }


def public(kind: type) -> list[str]:
    return sorted(name for name in dir(kind) if not name.startswith("_"))


def submit_agent_action(client: ascend.AscendClient, **fields: Any) -> Any:
    """``submit_action`` with an ``AgentAction``, as its documentation shows."""
    return client.submit_action(ascend.AgentAction(**fields))


def inside_with(client: ascend.AscendClient, **call: Any) -> Any:
    """An action evaluated by a client that is its own context manager."""
    with client as entered:
        return entered.evaluate_action(wait_for_decision=False, **call)


def until_blocked(client: ascend.AscendClient, blocked: bool, patience: float = 20) -> dict[str, Any]:
    """Wait until the polled kill switch is as expected; then ask for something."""
    end = time.monotonic() + patience
    while client.is_blocked() is not blocked and time.monotonic() < end:
        time.sleep(0.02)
    said: dict[str, Any] = {"blocked": client.is_blocked()}
    try:
        said["decision"] = plain(
            client.evaluate_action("customer_read", "crm", wait_for_decision=False).decision
        )
    except Exception as error:
        said.update(failure(error))
    return said


def until_heard(client: ascend.AscendClient, since: str | None, patience: float = 20) -> dict[str, Any]:
    """Wait until a heartbeat later than this one has arrived."""
    end = time.monotonic() + patience
    status = client.get_agent_status()
    while status.last_heartbeat in (None, since) and time.monotonic() < end:
        time.sleep(0.05)
        status = client.get_agent_status()
    return plain(status)


def wait_escalated(client: ascend.AscendClient, action_id: str, **options: Any) -> dict[str, Any]:
    """``wait_for_decision`` with the callback that 2.7.1 calls for an escalated action."""
    told: list[str] = []
    decision = client.wait_for_decision(action_id, on_escalated=lambda one, _: told.append(one), **options)
    return {"decision": plain(decision), "told": told}


def mcp_tool(
    client: ascend.AscendClient,
    through: str,
    kind: str,
    action_type: str,
    resource: str,
    arguments: dict[str, Any],
    config: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    fails: bool = False,
) -> dict[str, Any]:
    """A tool governed by one of the decorators: what it gave, whether it ran, what its callbacks were told."""
    ran: list[dict[str, Any]] = []
    told: list[tuple[str, str]] = []
    decisions: list[str] = []

    def work(**given: Any) -> dict[str, Any]:
        ran.append(given)
        if fails:
            raise LookupError("the tool failed")
        return {"did": given}

    def tell(event: str) -> Callable[[Any, str], None]:
        def callback(decision: Any, tool: str) -> None:
            told.append((event, tool))
            decisions.append(decision.action_id)

        return callback

    settings = MCPGovernanceConfig(
        on_approval_required=tell("approval"),
        on_denied=tell("denied"),
        on_allowed=tell("allowed"),
        on_timeout=tell("timeout"),
        **(config or {}),
    )
    more = options or {}
    if through == "middleware.govern":
        decorate = MCPGovernanceMiddleware(client, settings).govern(action_type, resource, **more)
    elif through == "middleware.wrap":
        decorate = MCPGovernanceMiddleware(client, settings).wrap(action_type, resource, **more)
    else:
        decorate = getattr(ascend, through)(client, action_type, resource, config=settings, **more)

    if kind == "async":

        @decorate
        async def tool(order: str, amount: float = 0) -> Any:
            return work(order=order, amount=amount)

        def call() -> Any:
            return asyncio.run(tool(**arguments))
    else:

        @decorate
        def tool(order: str, amount: float = 0) -> Any:
            return work(order=order, amount=amount)

        def call() -> Any:
            return tool(**arguments)

    said: dict[str, Any] = {}
    try:
        said["result"] = call()
    except Exception as error:
        said.update(failure(error))
    return {**said, "ran": ran, "told": told, "action_ids": sorted(set(decisions))}


def consume_kill_switch(client: ascend.AscendClient, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """``MCPKillSwitchConsumer`` fed with commands."""
    consumer = MCPKillSwitchConsumer()
    for message in messages:
        consumer.apply_message(message)
    return {"blocked": sorted(consumer.blocked_servers)}


def agent(client: ascend.AscendClient, agent_id: str, method: str, **given: Any) -> Any:
    """A method of ``AuthorizedAgent``; ``execute_if_authorized`` gets something to run."""
    authorized = ascend.AuthorizedAgent(agent_id, agent_id.title(), client, default_timeout=20)
    if method != "execute_if_authorized":
        return getattr(authorized, method)(**given)
    ran: list[str] = []
    said: dict[str, Any] = {}
    try:
        said["result"] = authorized.execute_if_authorized(
            execute_fn=lambda: ran.append("ran") or "done", **given
        )
    except Exception as error:
        said.update(failure(error))
    return {**said, "ran": ran}


def circuit(client: ascend.AscendClient, times: int) -> dict[str, Any]:
    """The same action several times: what each raised, and how the circuit breaker stands after it."""
    raised: list[str | None] = []
    for _ in range(times):
        try:
            client.evaluate_action("customer_read", "crm", wait_for_decision=False)
            raised.append(None)
        except Exception as error:
            raised.append(type(error).__name__)
    breaker = client._circuit_breaker
    return {"raised": raised, "state": breaker.state.value, "failures": breaker.failures}


def governed_command(client: ascend.AscendClient, command: list[str]) -> dict[str, Any]:
    """The package's subprocess wrapper: every command is asked for, none is waved through."""
    wrappers.configure_subprocess(client=client, fail_mode="closed", auto_approve_safe=False, timeout=1)
    done = wrappers.governed_run(command, capture_output=True, text=True)
    return {"status": done.returncode, "out": done.stdout.strip()}


def governed_eval(client: ascend.AscendClient, code: str) -> Any:
    """The package's evaluator of expressions."""
    return wrappers.SafeEvaluator(client=client).eval(code)


SCENES: dict[str, Callable[..., Any]] = {
    scene.__name__: scene
    for scene in (
        about,
        submit_agent_action,
        inside_with,
        until_blocked,
        until_heard,
        wait_escalated,
        mcp_tool,
        consume_kill_switch,
        agent,
        circuit,
        governed_command,
        governed_eval,
    )
}


# --- the program -------------------------------------------------------------------------------------------------------


def perform(client: ascend.AscendClient, call: dict[str, Any]) -> dict[str, Any]:
    """One call, and what came of it."""
    name = call["do"]
    work = SCENES[name] if name in SCENES else getattr(type(client), name)
    try:
        return {
            "id": call["id"],
            "result": plain(work(client, *call.get("args", []), **call.get("kwargs", {}))),
        }
    except Exception as error:
        return {"id": call["id"], **failure(error)}


def main() -> None:
    """Read commands until there are no more."""
    warnings.simplefilter("ignore", DeprecationWarning)
    clients: dict[str, ascend.AscendClient] = {}
    for line in sys.stdin:
        command = json.loads(line)
        options = {
            "api_url": command["base_url"],
            "api_key": command["api_key"],
            **command.get("options", {}),
        }
        key = json.dumps(options, sort_keys=True)
        if key not in clients:
            clients[key] = ascend.AscendClient(**options)
        for call in command["calls"]:
            sys.stdout.write(json.dumps(perform(clients[key], call)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
