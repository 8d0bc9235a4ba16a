"""The published SDK, in two versions and unchanged, against our server: every public method gives what it should."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import calls_on_actions as actions
import calls_on_things as things
import pytest
import requests
from published_server import ORGANIZATION, Published, Server
from published_shop import Shop, unique

pytestmark = pytest.mark.timeout(900)  # the first run makes the environments

Exercise = Callable[[Shop], None]

_trigger: Exercise = functools.partial(actions.trigger_kill_switch, organization=ORGANIZATION)
_polling: Exercise = functools.partial(actions.kill_switch_polling, organization=ORGANIZATION)

METHODS: dict[str, Exercise] = {
    "ack_command": actions.get_pending_commands,
    "activate_mcp_server": things.activate_mcp_server,
    "cascade_kill": things.cascade_kill,
    "check_approval": actions.check_approval,
    "close": things.close,
    "configure_webhook": things.configure_webhook,
    "deactivate_mcp_server": things.activate_mcp_server,
    "delete_mcp_server": things.delete_mcp_server,
    "delete_webhook": things.delete_webhook,
    "deregister": things.deregister,
    "evaluate_action": actions.evaluate_action,
    "evaluate_actions": actions.evaluate_actions,
    "evaluate_mcp_action": things.evaluate_mcp_action,
    "evaluate_policy": actions.evaluate_policy,
    "get_action_details": actions.get_action_details,
    "get_action_status": actions.get_action_status,
    "get_agent": things.get_agent,
    "get_agent_status": things.get_agent_status,
    "get_cve_sync_status": things.get_cve_sync_status,
    "get_mcp_health": things.get_mcp_health,
    "get_mcp_server": things.get_mcp_server,
    "get_orchestration_session": things.get_orchestration_session,
    "get_orchestration_session_risk": things.get_orchestration_session_risk,
    "get_orchestration_stats": things.get_orchestration_stats,
    "get_output_filter_config": things.get_output_filter_config,
    "get_output_findings": things.get_output_findings,
    "get_output_findings_for_action": things.get_output_findings_for_action,
    "get_pending_commands": actions.get_pending_commands,
    "get_resource_classification": actions.get_resource_classification,
    "get_supply_chain_alerts": things.get_supply_chain_alerts,
    "get_supply_chain_impact": things.get_supply_chain_impact,
    "get_supply_chain_stats": things.get_supply_chain_stats,
    "heartbeat": things.heartbeat,
    "is_blocked": _polling,
    "link_model_to_agent": things.link_model_to_agent,
    "list_actions": actions.list_actions,
    "list_mcp_servers": things.list_mcp_servers,
    "list_supply_chain_components": things.list_supply_chain_components,
    "list_webhooks": things.list_webhooks,
    "log_action_completed": actions.log_action_completed,
    "log_action_failed": actions.log_action_failed,
    "query_audit_log": actions.query_audit_log,
    "register": things.register,
    "register_agent": things.register_agent,
    "register_mcp_server": things.register_mcp_server,
    "register_mcp_topology": things.register_mcp_topology,
    "register_supply_chain_component": things.register_supply_chain_component,
    "register_topology": things.register_topology,
    "release_kill_switch": _trigger,
    "scan_mcp_network": things.scan_mcp_network,
    "scan_output": things.scan_output,
    "send_heartbeat": things.send_heartbeat,
    "start_heartbeat": things.start_heartbeat,
    "start_kill_switch_polling": _polling,
    "stop_heartbeat": things.start_heartbeat,
    "stop_kill_switch_polling": _polling,
    "submit_action": actions.submit_action,
    "test_connection": things.test_connection,
    "test_webhook": things.test_webhook,
    "trigger_kill_switch": _trigger,
    "update_webhook": things.update_webhook,
    "wait_for_approval": actions.wait_for_approval,
    "wait_for_decision": actions.wait_for_decision,
}
"""Every public method of the SDK's client, and what exercises it."""

BESIDES: dict[str, Exercise] = {
    "evaluate_action waits for a person": actions.evaluate_action_waits,
    "evaluate_action with what 2.7.1 added": actions.evaluate_action_newer,
    "orchestration": things.orchestration,
    "a person sees what waits": actions.pending_then_seen,
}


def test_no_method_is_forgotten(shop: Shop) -> None:
    """The table has exactly the methods that the installed version has."""
    said = shop.sdk.call("about")
    assert said["version"] == shop.version
    assert said["client"] == sorted(METHODS)
    assert said["agent"] == [
        "check_permission",
        "execute_if_authorized",
        "get_recent_actions",
        "request_authorization",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_a_method(shop: Shop, method: str) -> None:
    """Called as users of the package call it, it gives what they expect of it."""
    METHODS[method](shop)


@pytest.mark.parametrize("what", BESIDES)
def test_more_than_one_method(shop: Shop, what: str) -> None:
    """The same for what takes several of them."""
    BESIDES[what](shop)


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("evaluate_action", ["customer_read", "crm"]),
        ("evaluate_mcp_action", ["m", "filesystem", "read", "/tmp"]),
        ("get_action_status", ["1"]),
        ("list_actions", []),
        ("register", []),
        ("list_webhooks", []),
    ],
)
def test_a_wrong_key(shop: Shop, method: str, given: list[Any]) -> None:
    """A key that nobody made is an authentication error everywhere, and is not repeated in it."""
    key = "owkai_wrong_key_of_some_length"
    refused = shop.sdk.fail(method, *given, _as={"api_key": key})
    assert refused["raised"] == "AuthenticationError"
    assert key not in refused["message"]


def test_a_wrong_key_blocks_a_poll_of_the_newer_version(shop: Shop) -> None:
    """2.7.1 counts three polls that fail as stopped; 2.5.2 goes on as if nothing were wrong."""
    client = {"api_key": "owkai_wrong_key_of_some_length", "environment": unique("wrong")}
    shop.sdk.call("start_kill_switch_polling", 0.2, _as=client)
    said = shop.sdk.call("until_blocked", True, 10 if shop.newer else 1, _as=client)
    shop.sdk.call("stop_kill_switch_polling", _as=client)
    assert said["blocked"] is shop.newer
    assert said["raised"] == ("KillSwitchError" if shop.newer else "AuthenticationError")


def test_an_agents_key_is_for_that_agent(shop: Shop) -> None:
    """Another agent's name with it is refused, and the refusal is no governance violation."""
    refused = shop.sdk.fail(
        "evaluate_action", "customer_read", "crm", wait_for_decision=False, _as={"agent_id": "another-agent"}
    )
    assert refused["raised"] == "AuthorizationError"


def test_a_key_with_a_signing_secret(shop: Shop, server: Server) -> None:
    """With the secret that `keys create --signing-secret` shows, the SDK works; with another one it is refused."""
    agent = unique("signed")
    key, secret = server.signed_key("--role", "admin")
    client = {"api_key": key, "agent_id": agent, "agent_name": "Signed", "signing_secret": secret}
    asked = {"wait_for_decision": False, "parameters": {"query": "é", "limit": 1.50}}
    decision = shop.sdk.call("evaluate_action", "customer_read", "crm", _as=client, **asked)
    assert decision["decision"] == "allowed"
    shop.sdk.call("log_action_completed", decision["action_id"], result={"rows": 2}, _as=client)
    assert shop.sdk.call("get_action_status", decision["action_id"], _as=client)["decision"] == "allowed"
    assert shop.sdk.call("list_actions", _as=client)["total"] >= 1
    for wrong in ("ascs_" + "0" * 64, None):
        refused = shop.sdk.fail(
            "evaluate_action", "customer_read", "crm", _as=client | {"signing_secret": wrong}, **asked
        )
        assert refused["raised"] == "AuthenticationError"


def test_no_key_may_approve(shop: Shop) -> None:
    """An API key, an admin's too, is refused by the endpoints that decide; the action waits on."""
    asked = shop.refund()["action_id"]
    url = shop.ann.url(f"/api/actions/{asked}/approve")
    for key in (shop.admin_key, "owkai_wrong_key_of_some_length"):
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
            assert requests.post(url, json={}, headers=headers, timeout=30).status_code == 401
    assert shop.sdk.call("get_action_status", asked)["decision"] == "pending"


def test_the_key_in_its_own_header_counts(shop: Shop, server: Server) -> None:
    """``ascend-boto3-wrapper`` masks the key in ``Authorization``; its submit is answered 200 with what it reads."""
    key = server.key("boto3-agent")
    answer = requests.post(
        f"{server.url}/api/v1/actions/submit",
        headers={"Authorization": f"Bearer {key[:6]}{'*' * (len(key) - 6)}", "X-API-Key": key},
        json={
            "agent_id": "boto3-agent",
            "agent_name": "AWS Boto3 Agent",
            "action_type": "s3.read_object",
            "description": "Boto3 s3.read_object operation",
            "tool_name": "s3",
            "parameters": {"Bucket": "reports"},
            "risk_score": 10,
        },
        timeout=30,
    )
    assert answer.status_code == 200
    said = answer.json()
    assert said["status"] == "approved"
    assert isinstance(said["id"], int)
    assert isinstance(said["summary"], str)
    assert shop.ann.get(f"/api/v1/actions/{said['id']}")["action_details"] == {"Bucket": "reports"}


def test_a_signed_request(shop: Shop) -> None:
    """A client with a signing secret is served like any other."""
    signed = {"signing_secret": "a-secret-of-some-length"}
    said = shop.sdk.call(
        "evaluate_action", "customer_read", "crm", parameters={"ü": [1.5, None, "ß"]}, _as=signed
    )
    assert said["decision"] == "allowed"


# --- governance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registered", ["denied", "pending", None])
def test_a_model_that_may_not_be_used(shop: Shop, registered: str | None) -> None:
    """Unregistered or not compliant it is refused at submit: an error in 2.5.2, a denied decision in 2.7.1."""
    model = unique("gpt") if registered is None else things.model(shop, registered)["model_id"]
    shop.sdk.ask("evaluate_action", "model_read", "ml", model_id=model, wait_for_decision=False)
    things.unregistered(shop, shop.sdk.answer(), "model_id", model)


@pytest.mark.parametrize("registered", ["approved", "partially_approved"])
def test_a_compliant_model(shop: Shop, registered: str) -> None:
    """It is let through to the policy, and the answer says that it was checked."""
    model = things.model(shop, registered)["model_id"]
    said = shop.sdk.call("evaluate_action", "model_read", "ml", model_id=model, wait_for_decision=False)
    assert said["decision"] == "allowed"
    assert said["model_governance"]["registry_checked"] is True
    assert said["model_governance"]["compliance_status"] == registered


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "through", ["mcp_governance", "require_governance", "middleware.govern", "middleware.wrap"]
)
def test_a_governed_tool(shop: Shop, through: str, kind: str) -> None:
    """Allowed it runs and its end is recorded; denied it does not run."""
    given = {"order": unique("order"), "amount": 20}
    tool = functools.partial(shop.sdk.call, "mcp_tool", through, kind)
    said = tool("refund", "stripe", given)
    assert said["result"] == {"did": given}
    assert said["ran"] == [given]
    assert said["told"] == [["allowed", "tool"]]
    kept = shop.ann.get(f"/api/v1/actions/{said['action_ids'][0]}")
    assert kept["action_details"] == given
    assert kept["context"]["source"] == "mcp_server"
    assert kept["outcome"] == "completed"

    said = tool("refund_delete", "stripe", given)
    assert (said["raised"], said["ran"]) == ("AuthorizationError", [])
    assert "Deletes are off." in said["message"]
    assert said["told"] == [["denied", "tool"]]
    assert tool("refund_delete", "stripe", given, config={"raise_on_denial": False})["result"] is None

    said = tool("refund", "stripe", given, fails=True)
    assert (said["raised"], said["ran"]) == ("LookupError", [given])
    kept = shop.ann.get(f"/api/v1/actions/{said['action_ids'][0]}")
    assert kept["outcome"] == "failed"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_governed_tool_waits_for_a_person(shop: Shop, kind: str) -> None:
    """It runs after a yes, not after a no, and not when nobody says anything."""
    quickly = {"approval_poll_interval_seconds": 0.2, "approval_timeout_seconds": 30}
    for decide, ends in ((shop.approve_next, "allowed"), (shop.deny_next, "denied")):
        given = {"order": unique("order"), "amount": 900}
        shop.sdk.ask("mcp_tool", "mcp_governance", kind, "refund", "stripe", given, config=quickly)
        decide(given["order"])
        said = shop.sdk.answer()["result"]
        assert [event for event, _ in said["told"]] == ["approval", ends]
        assert said["ran"] == ([given] if ends == "allowed" else [])
        if ends == "allowed":
            assert shop.ann.get(f"/api/v1/actions/{said['action_ids'][0]}")["outcome"] == "completed"
        else:
            assert "Not this one." in said["message"]
    late = shop.sdk.call(
        "mcp_tool",
        "mcp_governance",
        kind,
        "refund",
        "stripe",
        {"order": unique("order"), "amount": 900},
        config={**quickly, "approval_timeout_seconds": 1},
    )
    assert (late["raised"], late["ran"]) == ("AuthorizationError", [])
    assert "Approval timeout" in late["message"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_high_risk_tool_is_asked_for(shop: Shop, kind: str) -> None:
    """``high_risk_action`` promises that a person is asked even where the policy allows."""
    given = {"order": unique("order"), "amount": 20}
    quickly = {"approval_poll_interval_seconds": 0.2, "approval_timeout_seconds": 30}
    shop.sdk.ask("mcp_tool", "high_risk_action", kind, "refund", "stripe", given, config=quickly)
    shop.approve_next(given["order"])
    said = shop.sdk.answer()["result"]
    assert [event for event, _ in said["told"]] == ["approval", "allowed"]
    assert said["ran"] == [given]


def test_a_switch_for_mcp_servers(shop: Shop) -> None:
    """The consumer of messages keeps to those about MCP servers, and forgets what was released."""
    block = {"target_type": "mcp_server", "command_type": "BLOCK", "parameters": {"mcp_server": "sales"}}
    assert shop.sdk.call("consume_kill_switch", [block, {"command_type": "BLOCK"}]) == {"blocked": ["sales"]}
    release = {**block, "command_type": "UNBLOCK"}
    assert shop.sdk.call("consume_kill_switch", [block, release]) == {"blocked": []}


# --- agents of the package -------------------------------------------------------------------------------------------


def test_an_authorized_agent(shop: Shop) -> None:
    """``AuthorizedAgent`` is told the truth; that it raises on an allowed action is its own mistake."""
    asks = functools.partial(shop.sdk.call, "agent", shop.agent, "request_authorization")
    assert asks(action_type="customer_read", resource="crm")["decision"] == "allowed"
    assert asks(action_type="customer_delete", resource="crm")["decision"] == "denied"
    runs = functools.partial(shop.sdk.call, "agent", shop.agent, "execute_if_authorized")
    denied = runs(action_type="customer_delete", resource="crm")
    assert (denied["raised"], denied["ran"]) == ("AuthorizationError", [])
    allowed = runs(action_type="customer_read", resource="crm")
    assert (allowed["raised"], allowed["ran"]) == ("AuthorizationError", [])
    assert "Unexpected authorization status: allowed" in allowed["message"]
    given = {"action_type": "customer_read", "resource": "crm"}
    assert shop.sdk.call("agent", shop.agent, "check_permission", **given) is False
    assert shop.sdk.fail("agent", shop.agent, "get_recent_actions")["raised"] == "TypeError"


def test_an_authorized_agent_waits(shop: Shop) -> None:
    """It waits for a person like its client does."""
    order = unique("order")
    shop.sdk.ask(
        "agent",
        shop.agent,
        "request_authorization",
        action_type="refund",
        resource="stripe",
        details={"amount": 900, "order": order},
    )
    shop.approve_next(order)
    assert shop.sdk.answer()["result"]["decision"] == "allowed"


def test_a_governed_command(shop: Shop) -> None:
    """The package's subprocess wrapper runs what is allowed and nothing else."""
    assert shop.sdk.call("governed_command", ["echo", "hello"]) == {"status": 0, "out": "hello"}
    refused = shop.sdk.fail("governed_command", ["ls", "/"])
    assert refused["raised"] == "GovernanceError"


def test_a_governed_expression(shop: Shop) -> None:
    """Its evaluator likewise."""
    assert shop.sdk.call("governed_eval", "6 * 7") == 42
    assert shop.sdk.fail("governed_eval", "6 ** 7")["raised"] == "GovernanceError"


# --- failures of ours ------------------------------------------------------------------------------------------------


def test_the_circuit_breaker(shop: Shop) -> None:
    """Refusals leave the circuit closed; a server that is not there opens it."""
    wrong = {"api_key": "owkai_wrong_key_of_some_length", "circuit_breaker_threshold": 2, "max_retries": 0}
    said = shop.sdk.call("circuit", 3, _as=wrong)
    assert said == {"raised": ["AuthenticationError"] * 3, "state": "closed", "failures": 0}
    away = {"base_url": "http://127.0.0.1:9", "circuit_breaker_threshold": 2, "max_retries": 0}
    said = shop.sdk.call("circuit", 3, _as=away)
    assert said == {
        "raised": ["ConnectionError", "ConnectionError", "CircuitBreakerOpen"],
        "state": "open",
        "failures": 2,
    }


@pytest.fixture
def stopping(shop: Shop, tmp_path: Path) -> Iterator[tuple[Server, Published]]:
    """A server of its own that can be stopped, and a client of it."""
    server = Server(tmp_path)
    server.start()
    client = Published(
        f"ascend-ai-sdk-{shop.version}",
        "sdk_methods.py",
        tmp_path,
        base_url=server.url,
        api_key=server.key("stopping"),
        options={"agent_id": "stopping", "agent_name": "Stopping", "max_retries": 0},
    )
    yield server, client
    client.close()
    server.stop()


def test_a_server_that_goes_away(stopping: tuple[Server, Published], shop: Shop) -> None:
    """Nothing is allowed without it, unless the client was made to fail open; 2.7.1's polling then blocks."""
    server, client = stopping
    assert client.call("evaluate_action", "customer_read", "crm")["decision"] == "allowed"
    client.call("start_kill_switch_polling", 0.1)
    server.stop()
    assert client.call("until_blocked", True, 10 if shop.newer else 1)["blocked"] is shop.newer
    client.call("stop_kill_switch_polling")
    alone = {"environment": "without-polling", "enable_circuit_breaker": False}
    assert client.fail("evaluate_action", "customer_read", "crm", _as=alone)["raised"] == "ConnectionError"
    opened = client.call("evaluate_action", "customer_read", "crm", _as={**alone, "fail_mode": "open"})
    assert opened["conditions"] == ["fail_open_mode"]
