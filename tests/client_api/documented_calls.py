"""Every operation of the clients with arguments it accepts, and what a well-behaved server answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from scripted_transport import answer

from ascend_guard.client.api import actions, asking, registry, system
from ascend_guard.client.http.exchange import Exchange, Send
from ascend_guard.client.http.identity import Identity
from ascend_guard.client.http.transport import Answer
from ascend_guard.model import AgentAction

ACTION = AgentAction(
    agent_id="a-1",
    agent_name="Agent one",
    action_type="refund",
    resource="orders/17",
    tool_name="payments",
    action_details={"amount": 900},
)

Call = Callable[[Identity], Exchange[Any]]

DECIDING: dict[str, Call] = {
    "submit_action": lambda api: actions.submit_action(api, ACTION, idempotency_key="the-key"),
    "evaluate_action": lambda api: actions.evaluate_action(
        api, "refund", "orders/17", {"amount": 900}, timeout=20, orchestration_depth=1
    ),
    "evaluate_action, not waiting": lambda api: actions.evaluate_action(
        api, "refund", "orders/17", wait_for_decision=False
    ),
    "evaluate_mcp_action": lambda api: actions.evaluate_mcp_action(api, "files", "fs", "read", "/data"),
    "wait_for_decision": lambda api: actions.wait_for_decision(api, "7", timeout_ms=20_000),
    "get_action_status": lambda api: actions.get_action_status(api, "7"),
    "get_action": lambda api: actions.get_action(api, "7"),
}
"""Those whose result may be an approval."""

OTHERS: dict[str, Call] = {
    "call": lambda api: asking.call(api, "list_alerts", query={"limit": 5}),
    "list_actions": lambda api: actions.list_actions(api, 10, 20, "pending", "a-2"),
    "kill_switch_status": actions.kill_switch_status,
    "complete_action": lambda api: actions.complete_action(api, "7", {"rows": 1}, 12.5),
    "fail_action": lambda api: actions.fail_action(api, "7", "no such row"),
    "get_approval": lambda api: system.get_approval(api, "apr_1"),
    "approve_action": lambda api: system.approve_action(api, "7", "fine", token="a.person.s"),
    "deny_action": lambda api: system.deny_action(api, "7", token="a.person.s", reason="no"),
    "clear_denial": lambda api: system.clear_denial(api, "7", token="a.person.s"),
    "evaluate_policy": lambda api: system.evaluate_policy(api, "refund", "orders", parameters={"amount": 1}),
    "trigger_kill_switch": lambda api: system.trigger_kill_switch(api, 1, "looks very wrong"),
    "release_kill_switch": lambda api: system.release_kill_switch(api, 1, "looks right again"),
    "query_audit_log": lambda api: system.query_audit_log(api, 5),
    "configure_webhook": lambda api: system.configure_webhook(api, "https://example.com", ["action.denied"]),
    "list_webhooks": system.list_webhooks,
    "update_webhook": lambda api: system.update_webhook(api, "w-1", active=False),
    "delete_webhook": lambda api: system.delete_webhook(api, "w-1"),
    "test_webhook": lambda api: system.test_webhook(api, "w-1"),
    "list_webhook_deliveries": lambda api: system.list_webhook_deliveries(api, "w-1"),
    "deployment_info": system.deployment_info,
    "test_connection": system.test_connection,
    "register_agent": lambda api: registry.register_agent(api, capabilities=["read"]),
    "get_agent": registry.get_agent,
    "update_agent": lambda api: registry.update_agent(api, display_name="One"),
    "deregister_agent": registry.deregister_agent,
    "link_model_to_agent": lambda api: registry.link_model_to_agent(api, "a-1", 42),
    "heartbeat": registry.heartbeat,
    "get_pending_commands": registry.get_pending_commands,
    "ack_command": lambda api: registry.ack_command(api, "c-1"),
    "register_supply_chain_component": lambda api: registry.register_supply_chain_component(
        api, "hf-bert-base", "bert-base-uncased", "model"
    ),
    "register_mcp_server": lambda api: registry.register_mcp_server(api, "files", blocked_tools=["rm"]),
    "list_mcp_servers": registry.list_mcp_servers,
    "get_mcp_server": lambda api: registry.get_mcp_server(api, "files"),
    "activate_mcp_server": lambda api: registry.activate_mcp_server(api, "files"),
    "deactivate_mcp_server": lambda api: registry.deactivate_mcp_server(api, "files"),
    "delete_mcp_server": lambda api: registry.delete_mcp_server(api, "files"),
    "register_topology": lambda api: registry.register_topology(api, "a-1", ["a-2"]),
    "get_orchestration_session": lambda api: registry.get_orchestration_session(api, "s-1"),
    "get_orchestration_session_risk": lambda api: registry.get_orchestration_session_risk(api, "s-1"),
    "get_orchestration_stats": registry.get_orchestration_stats,
    "scan_output": lambda api: registry.scan_output(api, "hello"),
    "get_resource_classifications": lambda api: registry.get_resource_classifications(api, "database"),
}

CALLS: dict[str, Call] = {**DECIDING, **OTHERS}


def is_kill_switch(send: Send) -> bool:
    """Whether a request asks how the kill switch stands."""
    return send.path.startswith("/api/sdk/kill-switch/")


def is_submission(send: Send) -> bool:
    """Whether a request would make an action."""
    return send.method == "POST" and send.path.endswith("/actions/submit")


def is_decision(send: Send) -> bool:
    """Whether the answer to a request may approve an action."""
    return is_submission(send) or send.path.startswith("/api/v1/actions/7")


def good(status: str = "approved") -> Callable[[Send], Answer]:
    """What a server without any fault answers to a request, deciding thus."""

    def reply(send: Send) -> Answer:
        if is_kill_switch(send):
            return answer(200, {"blocked": False, "reason": None})
        if is_decision(send):
            return answer(200, {"id": 7, "action_id": "7", "status": status, "risk_score": 12})
        listed = {
            "actions": [], "total": 0, "limit": 10, "offset": 20, "has_more": False,
            "webhooks": [], "commands": [], "classifications": [], "success": True,
        }  # fmt: skip
        return answer(200, listed)

    return reply


def sent(send: Send) -> dict[str, Any]:
    """A request's body."""
    assert send.body is not None
    body: dict[str, Any] = json.loads(send.body)
    return body
