"""What the SDK's methods about agents, webhooks, MCP servers, orchestration, output and supply chain must give."""

from __future__ import annotations

from typing import Any

from published_shop import Shop, unique

# --- the connection --------------------------------------------------------------------------------------------------


def test_connection(shop: Shop) -> None:
    """Reachable, and of some version; a server that is not there is said to be not connected."""
    said = shop.sdk.call("test_connection")
    assert said["connected"] is True
    assert said["status"] == "connected"
    assert said["agent_id"] == shop.agent
    assert said["api_version"] not in ("", "unknown")
    assert said["environment"] not in ("", "unknown")
    if shop.newer:
        assert said["latency_ms"] == said["latency"] > 0
    away = shop.sdk.call("test_connection", _as={"base_url": "http://127.0.0.1:9", "max_retries": 0})
    assert (away["connected"], away["status"]) == (False, "error")


def close(shop: Shop) -> None:
    """A client can be closed, by itself or by ``with``, and did its work before."""
    client = {"environment": unique("closing")}
    assert shop.sdk.call("close", _as=client) is None
    inside = shop.sdk.call(
        "inside_with", _as={"environment": unique("with")}, action_type="a_read", resource="crm"
    )
    assert inside["decision"] == "allowed"


# --- agents ----------------------------------------------------------------------------------------------------------


def register(shop: Shop, method: str = "register") -> None:
    """An agent is registered once; registering it again is told apart and no error."""
    client = shop.another(unique("agent"))
    given = {
        "agent_type": "autonomous",
        "capabilities": ["data_access"],
        "allowed_resources": ["production_db"],
        "metadata": {"team": "shop"},
    }
    said = shop.sdk.call(method, _as=client, **given)
    assert said["agent_id"] == client["agent_id"]
    assert said["status"] == "active"
    assert said["trust_level"]
    again = shop.sdk.call(method, _as=client, **given)
    assert again == {"status": "already_registered", "agent_id": client["agent_id"]}
    if method == "register_agent":
        assert shop.sdk.fail(method, "somebody-else", _as=client)["raised"] == "ValueError"


def register_agent(shop: Shop) -> None:
    """The older name."""
    register(shop, "register_agent")


def deregister(shop: Shop) -> None:
    """An agent that was taken off is not there, and can be registered anew."""
    client = shop.another(unique("agent"))
    shop.sdk.call("register", _as=client)
    assert shop.sdk.call("deregister", _as=client) is None
    assert shop.sdk.fail("deregister", _as=client)["status_code"] == 404
    assert shop.sdk.call("register", _as=client)["agent_id"] == client["agent_id"]


def get_agent_status(shop: Shop, method: str = "get_agent_status") -> None:
    """How an agent is, by the heartbeats it sent."""
    client = shop.another(unique("agent"))
    shop.sdk.call("register", _as=client)
    assert shop.sdk.call(method, _as=client)["agent_id"] == client["agent_id"]
    shop.sdk.call("heartbeat", response_time_ms=12, error_rate=0.5, requests_count=7, _as=client)
    said = shop.sdk.call(method, _as=client)
    assert said["agent_id"] == client["agent_id"]
    assert said["status"] not in ("", "unknown")
    assert said["last_heartbeat"]
    assert isinstance(said["metadata"], dict)
    if method == "get_agent":
        assert shop.sdk.fail(method, "somebody-else", _as=client)["raised"] == "ValueError"


def get_agent(shop: Shop) -> None:
    """The older name."""
    get_agent_status(shop, "get_agent")


def heartbeat(shop: Shop, method: str = "heartbeat") -> None:
    """Each heartbeat is heard: the SDK says nothing of one that is not."""
    client = shop.another(unique("agent"))
    shop.sdk.call("register", _as=client)
    before = None
    for _ in range(2):
        if method == "heartbeat":
            assert shop.sdk.call(method, requests_count=1, _as=client) is None
        else:
            assert shop.sdk.call(method, {"error_rate": 0.25}, requests_count=1, _as=client) is None
        heard = shop.sdk.call("until_heard", before, 5, _as=client)["last_heartbeat"]
        assert heard != before
        before = heard


def send_heartbeat(shop: Shop) -> None:
    """The older name."""
    heartbeat(shop, "send_heartbeat")


def start_heartbeat(shop: Shop) -> None:
    """Heartbeats in the background, until they are stopped."""
    client = shop.another(unique("agent"))
    shop.sdk.call("register", _as=client)
    shop.sdk.call("start_heartbeat", 1, _as=client)
    first = shop.sdk.call("until_heard", None, _as=client)["last_heartbeat"]
    assert shop.sdk.call("until_heard", first, _as=client)["last_heartbeat"] != first
    assert shop.sdk.call("stop_heartbeat", _as=client) is None


def link_model_to_agent(shop: Shop) -> None:
    """A compliant model is linked by its number and governs from then on; no other is linked."""
    client = shop.another(unique("agent"))
    shop.sdk.call("register", _as=client)
    approved, denied = (model(shop, status) for status in ("approved", "denied"))
    said = shop.sdk.call("link_model_to_agent", client["agent_id"], approved["id"], _as=client)
    assert said["success"] is True
    assert said["message"]
    assert (said["agent"]["agent_id"], said["agent"]["model_id"]) == (client["agent_id"], approved["id"])
    decision = shop.sdk.call("evaluate_action", "customer_read", "crm", wait_for_decision=False, _as=client)
    assert decision["decision"] == "allowed"
    assert decision["model_governance"]["registry_checked"] is True
    refused = shop.sdk.fail("link_model_to_agent", client["agent_id"], denied["id"], _as=client)
    assert refused["raised"] == "AuthorizationError"
    missing = shop.sdk.fail("link_model_to_agent", client["agent_id"], 999_999, _as=client)
    assert missing["status_code"] == 404


def model(shop: Shop, compliance_status: str) -> dict[str, Any]:
    """A registered model."""
    given = {"model_id": unique("gpt"), "compliance_status": compliance_status}
    made: dict[str, Any] = shop.ida.make("/api/registry/models", given)["model"]
    return made


# --- webhooks --------------------------------------------------------------------------------------------------------

HOOK = "https://127.0.0.1:9/ascend"
"""Nobody answers there."""
SECRET = "whsec_of-some-length"


def _webhook(shop: Shop) -> dict[str, Any]:
    said: dict[str, Any] = shop.admin("configure_webhook", HOOK, ["action.approved", "action.denied"], SECRET)
    return said


def configure_webhook(shop: Shop) -> None:
    """A webhook for some events; what the SDK itself refuses is not sent."""
    said = _webhook(shop)
    assert said["webhook_id"]
    assert (said["url"], said["active"]) == (HOOK, True)
    assert said["events"] == ["action.approved", "action.denied"]
    shop.admin("delete_webhook", said["webhook_id"])
    for url, event in (("http://127.0.0.1:9/", "action.denied"), (HOOK, "no.such.event")):
        refused = shop.sdk.fail("configure_webhook", url, [event])
        assert refused["raised"] == "ValidationError"


def list_webhooks(shop: Shop) -> None:
    """All there are, as objects, without their secrets."""
    made = [_webhook(shop)["webhook_id"] for _ in range(2)]
    there = {one["webhook_id"]: one for one in shop.admin("list_webhooks")}
    assert set(made) <= set(there)
    for one in made:
        assert there[one]["url"] == HOOK
        assert there[one]["active"] is True
        assert there[one]["created_at"]
        assert there[one]["secret"] in (None, "") or SECRET not in there[one]["secret"]
        shop.admin("delete_webhook", one)


def update_webhook(shop: Shop) -> None:
    """Its address or its events are changed; what is not said stays."""
    made = _webhook(shop)["webhook_id"]
    said = shop.admin("update_webhook", made, events=["policy.violation"])
    assert (said["webhook_id"], said["url"], said["events"]) == (made, HOOK, ["policy.violation"])
    said = shop.admin("update_webhook", made, url=f"{HOOK}/2")
    assert (said["url"], said["events"]) == (f"{HOOK}/2", ["policy.violation"])
    assert shop.admin("update_webhook", made)["url"] == f"{HOOK}/2"
    shop.admin("delete_webhook", made)
    refused = shop.sdk.fail("update_webhook", made, url=HOOK, _as={"api_key": shop.admin_key})
    assert refused["status_code"] == 404


def delete_webhook(shop: Shop) -> None:
    """It is gone."""
    made = _webhook(shop)["webhook_id"]
    assert shop.admin("delete_webhook", made) is None
    assert made not in [one["webhook_id"] for one in shop.admin("list_webhooks")]
    refused = shop.sdk.fail("delete_webhook", made, _as={"api_key": shop.admin_key})
    assert refused["status_code"] == 404


def test_webhook(shop: Shop) -> None:
    """A test of an address that nobody answers at is a result, not an error."""
    made = _webhook(shop)["webhook_id"]
    said = shop.admin("test_webhook", made)
    assert said["success"] is False
    assert said["status_code"] is None
    assert said["error"]
    shop.admin("delete_webhook", made)


# --- MCP servers -----------------------------------------------------------------------------------------------------


def mcp_server(shop: Shop, **options: Any) -> str:
    """A registered MCP server; it is active at once."""
    name = unique("mcp")
    shop.admin("register_mcp_server", name, **options)
    return name


def unregistered(shop: Shop, said: dict[str, Any], what: str, name: str) -> None:
    """A governance refusal: an error with its detail in 2.5.2, a denied decision in 2.7.1."""
    if not shop.newer:
        assert said["raised"] == "AuthorizationError", said
        detail = said["details"]["detail"]
        assert "governance violation" in detail["error"]
        assert detail["detail"]
        assert detail[what] == name
        assert detail["correlation_id"]
        return
    decision = said["result"]
    assert decision["decision"] == "denied"
    assert decision["execution_allowed"] is False
    assert decision["reason"]
    assert decision["metadata"]["governance_violation"] is True
    assert decision["metadata"][what] == name
    assert decision["metadata"]["correlation_id"]
    assert (decision["status"], decision["raw_status"]) == ("denied", "denied")


def governed_through(shop: Shop, name: str) -> dict[str, Any]:
    """An action that names an MCP server, and what came of it."""
    shop.sdk.ask("evaluate_action", "customer_read", "crm", mcp_server_name=name, wait_for_decision=False)
    return shop.sdk.answer()


def register_mcp_server(shop: Shop) -> None:
    """A server that is registered and active governs; one that was never registered is refused."""
    name = unique("mcp")
    unregistered(shop, governed_through(shop, name), "mcp_server_name", name)
    said = shop.admin(
        "register_mcp_server",
        name,
        display_name="Sales",
        description="Customers",
        server_url="https://mcp.example.invalid",
        transport_type="http",
        connection_config={"region": "eu"},
        auto_approve_tools=["read_customer"],
        blocked_tools=["drop"],
        tool_risk_overrides={"export": 90},
    )
    assert said["success"] is True
    assert said["message"]
    assert said["server"]["server_name"] == name
    assert isinstance(said["server"]["id"], int)
    allowed = governed_through(shop, name)["result"]
    assert allowed["decision"] == "allowed"
    assert allowed["mcp_governance"]["server_registered"] is True
    twice = shop.sdk.fail("register_mcp_server", name, _as={"api_key": shop.admin_key})
    assert twice["raised"] in ("HTTPError", "ValidationError")
    assert twice.get("status_code", 409) == 409


def list_mcp_servers(shop: Shop) -> None:
    """All there are."""
    name = mcp_server(shop)
    said = shop.admin("list_mcp_servers")
    assert name in [server["server_name"] for server in said["servers"]]
    assert said["total"] >= len(said["servers"])


def get_mcp_server(shop: Shop) -> None:
    """One of them, with what it was registered with."""
    name = mcp_server(shop, display_name="Sales", blocked_tools=["drop"])
    said = shop.admin("get_mcp_server", name)
    assert (said["server_name"], said["display_name"]) == (name, "Sales")
    assert (said["blocked_tools"], said["status"]) == (["drop"], "active")
    missing = shop.sdk.fail("get_mcp_server", unique("mcp"), _as={"api_key": shop.admin_key})
    assert missing["status_code"] == 404


def activate_mcp_server(shop: Shop) -> None:
    """Deactivated, a server's tools are refused; activated again, they are governed as before."""
    name = mcp_server(shop)
    for reason in ("Maintenance tonight.", None):
        assert shop.admin("deactivate_mcp_server", name, reason)["success"] is True
        unregistered(shop, governed_through(shop, name), "mcp_server_name", name)
        assert shop.admin("activate_mcp_server", name)["success"] is True
        assert governed_through(shop, name)["result"]["decision"] == "allowed"


def delete_mcp_server(shop: Shop) -> None:
    """It is gone, and its name governs no more."""
    name = mcp_server(shop)
    assert isinstance(shop.admin("delete_mcp_server", name), dict)
    unregistered(shop, governed_through(shop, name), "mcp_server_name", name)


def evaluate_mcp_action(shop: Shop) -> None:
    """A call of an MCP server's tool: allowed, denied, pending; never allowed while it waits for a person."""
    name = mcp_server(shop)
    given = {"parameters": {"path": "/tmp/a"}, "context": {"session_id": "s"}, "description": "Look"}
    for verb, decided in (("read_file", "allowed"), ("delete", "denied"), ("write", "pending")):
        said = shop.sdk.call("evaluate_mcp_action", name, "filesystem", verb, "/tmp/a", **given)
        assert said["decision"] == decided, said
        assert int(said["action_id"]) > 0
        assert 0 <= said["risk_score"] <= 100
        kept = shop.sdk.call("get_action_details", said["action_id"])
        assert (kept["agent_id"], kept["action_type"]) == (shop.agent, f"filesystem.{verb}")
        if decided == "denied":
            assert "Deletes are off." in said["reason"]
        if decided == "pending":
            shop.ann.approve(said["action_id"])
            assert shop.sdk.call("get_action_status", said["action_id"])["decision"] == "allowed"
    older = shop.sdk.call(
        "evaluate_mcp_action", name, "filesystem", "read_file", "/tmp/a", use_mcp_endpoint=False
    )
    assert older["decision"] == "allowed"
    nobody = unique("mcp")
    shop.sdk.ask("evaluate_mcp_action", nobody, "filesystem", "read_file", "/tmp/a")
    said = shop.sdk.answer()
    if shop.newer:
        assert said["result"]["decision"] == "denied"
        assert said["result"]["reason"]
    else:
        assert said["raised"] == "AuthorizationError"
        assert said["details"]["detail"]["mcp_server_name"] == nobody


def scan_mcp_network(shop: Shop) -> None:
    """A scan is answered in the documented shape, and says that none was made."""
    mcp_server(shop)
    said = shop.admin("scan_mcp_network")
    assert (said["success"], said["status"]) == (False, "not_configured")
    assert (said["discovered_count"], said["servers"], said["scan_timestamp"]) == (0, [], None)


def get_mcp_health(shop: Shop) -> None:
    """The health of all servers knows each of them."""
    name = mcp_server(shop)
    shop.admin("deactivate_mcp_server", name)
    said = shop.admin("get_mcp_health")
    there = {server["server_name"]: server["status"] for server in said["servers"]}
    assert there[name] == "inactive"
    assert said["inactive_servers"] >= 1
    assert (said["checked"], said["status"]) == (False, "not_monitored")


# --- orchestration ---------------------------------------------------------------------------------------------------


def _session(shop: Shop) -> tuple[str, list[str]]:
    session = unique("session")
    root = shop.sdk.call(
        "evaluate_action",
        "plan_read",
        "crm",
        orchestration_session_id=session,
        orchestration_depth=0,
        wait_for_decision=False,
    )
    worker = shop.sdk.call(
        "evaluate_action",
        "customer_read",
        "crm",
        orchestration_session_id=session,
        parent_action_id=int(root["action_id"]),
        orchestration_depth=1,
        wait_for_decision=False,
    )
    return session, [root["action_id"], worker["action_id"]]


def orchestration(shop: Shop) -> None:
    """An action of a session may have a parent in it; no other parent is accepted."""
    session, (root, worker) = _session(shop)
    kept = shop.ann.get(f"/api/v1/actions/{worker}")
    assert (kept["orchestration_session_id"], kept["parent_action_id"]) == (session, int(root))
    linked = {"orchestration_depth": 1, "wait_for_decision": False}
    for parent, of in ((int(root), unique("graft")), (999_999_999, session)):
        refused = shop.sdk.fail(
            "evaluate_action",
            "customer_read",
            "crm",
            orchestration_session_id=of,
            parent_action_id=parent,
            **linked,
        )
        assert refused["raised"] == "AuthorizationError", refused
    deep = shop.sdk.fail("evaluate_action", "customer_read", "crm", orchestration_depth=6)
    assert deep["raised"] == "ValidationError"


def register_topology(shop: Shop) -> None:
    """Who works for whom; what the SDK itself refuses is not sent."""
    chief, workers = unique("chief"), [unique("worker"), unique("worker")]
    for agent in (chief, *workers):
        shop.sdk.call("register", _as=shop.another(agent))
    said = shop.admin("register_topology", chief, workers)
    assert said["success"] is True
    assert (said["orchestrator_agent_id"], said["worker_agent_ids"]) == (chief, workers)
    for wrong in ([], [workers[0]] * 2):
        assert shop.sdk.fail("register_topology", chief, wrong)["raised"] == "ValidationError"


def register_mcp_topology(shop: Shop) -> None:
    """The same with MCP servers, by their numbers."""
    chief, name = unique("chief"), unique("mcp")
    shop.sdk.call("register", _as=shop.another(chief))
    number = shop.admin("register_mcp_server", name)["server"]["id"]
    said = shop.admin("register_mcp_topology", chief, [number])
    assert (said["orchestrator_agent_id"], said["mcp_server_ids"]) == (chief, [number])


def cascade_kill(shop: Shop) -> None:
    """Killing a whole tree of agents is for people: no API key may, not even an admin's, not even to try it."""
    for dry_run in (True, False):
        refused = shop.sdk.fail(
            "cascade_kill", "chief", "A reason of length.", dry_run, _as={"api_key": shop.admin_key}
        )
        assert refused["raised"] in ("AuthenticationError", "AuthorizationError")


def get_orchestration_session(shop: Shop) -> None:
    """The whole story of a session: every action of it, in order."""
    session, actions = _session(shop)
    said = shop.sdk.call("get_orchestration_session", session)
    assert (said["session_id"], said["action_count"]) == (session, 2)
    assert [action["action_id"] for action in said["actions"]] == actions
    assert shop.sdk.fail("get_orchestration_session", unique("session"))["status_code"] == 404


def get_orchestration_session_risk(shop: Shop) -> None:
    """A session's risk, all of it together."""
    session, _ = _session(shop)
    said = shop.sdk.call("get_orchestration_session_risk", session)
    assert said["session_id"] == session
    assert 0 <= said["risk_score"] <= said["cumulative_risk_score"] <= 100


def get_orchestration_stats(shop: Shop) -> None:
    """Numbers about all sessions."""
    before = shop.admin("get_orchestration_stats")
    _session(shop)
    after = shop.admin("get_orchestration_stats")
    assert after["total_sessions"] == before["total_sessions"] + 1
    assert after["total_actions"] == before["total_actions"] + 2


# --- output filter ---------------------------------------------------------------------------------------------------

CARD = "The card is 4111 1111 1111 1111, thank you."


def get_output_filter_config(shop: Shop) -> None:
    """The filter's configuration."""
    said = shop.admin("get_output_filter_config")
    assert said["enabled"] is True
    assert "pci" in said["categories"]


def scan_output(shop: Shop) -> None:
    """A card's number is found and not repeated; an ordinary sentence goes out as it is."""
    found = shop.sdk.call("scan_output", CARD, shop.agent)
    assert found["status"] in ("redacted", "blocked")
    assert found["blocked"] is (found["status"] == "blocked")
    assert found["findings_count"] == len(found["findings"]) == 1
    assert found["findings"][0]["category"] == "pci"
    assert "4111 1111" not in str(found)
    plain = "The parcel is on its way."
    clean = shop.sdk.call("scan_output", plain, shop.agent)
    assert (clean["status"], clean["findings"], clean["filtered_content"]) == ("clean", [], plain)


def get_output_findings(shop: Shop) -> None:
    """What was found is kept, newest first, page by page and by category."""
    scanned = [int(shop.read()["action_id"]) for _ in range(2)]
    for action in scanned:
        shop.sdk.call("scan_output", CARD, shop.agent, action)
    pages = [shop.admin("get_output_findings", limit=1, offset=offset) for offset in (0, 1)]
    assert [page["findings"][0]["action_id"] for page in pages] == scanned[::-1]
    assert shop.admin("get_output_findings", category="pci", limit=1)["total"] >= 2
    assert shop.admin("get_output_findings", category=unique("none"))["findings"] == []
    assert shop.sdk.fail("get_output_findings", limit=101)["raised"] == "ValidationError"


def get_output_findings_for_action(shop: Shop) -> None:
    """What was found in one action's output, and nothing of another's."""
    action, another = (int(shop.read()["action_id"]) for _ in range(2))
    shop.sdk.call("scan_output", CARD, shop.agent, action)
    kept = shop.admin("get_output_findings_for_action", action)["findings"]
    assert [one["action_id"] for one in kept] == [action]
    assert shop.admin("get_output_findings_for_action", another)["findings"] == []


# --- supply chain ----------------------------------------------------------------------------------------------------


def _component(shop: Shop, **options: Any) -> dict[str, Any]:
    said: dict[str, Any] = shop.admin(
        "register_supply_chain_component", unique("bert"), "bert-base", "model", **options
    )
    assert said["success"] is True
    assert said["message"]
    component: dict[str, Any] = said["component"]
    return component


def register_supply_chain_component(shop: Shop) -> None:
    """A component with all it is described by, and a number."""
    given = {
        "provider": "HuggingFace",
        "version": "1.0.0",
        "latest_version": "1.1.0",
        "license_type": "Apache-2.0",
        "source_url": "https://huggingface.co/bert-base-uncased",
        "provenance_verified": True,
        "risk_level": "high",
        "compliance_notes": "None.",
        "package_name": "transformers",
        "package_ecosystem": "pypi",
    }
    component = _component(shop, **given)
    assert isinstance(component["id"], int)
    assert {name: component[name] for name in given} == given
    assert component["component_type"] == "model"
    wrong = shop.sdk.fail(
        "register_supply_chain_component", unique("x"), "x", "spaceship", _as={"api_key": shop.admin_key}
    )
    assert wrong["raised"] == "ValidationError"


def list_supply_chain_components(shop: Shop) -> None:
    """All there are, and by kind and risk; the SDK writes a truth as Python does."""
    name = _component(shop, risk_level="critical")["component_id"]

    def there(**filters: Any) -> list[str]:
        page = shop.admin("list_supply_chain_components", limit=1000, **filters)
        return [one["component_id"] for one in page["components"]]

    assert name in there()
    assert name in there(component_type="model", risk_level="critical", has_vulnerabilities=False)
    assert name not in there(component_type="dataset")
    assert name not in there(risk_level="low")
    assert name not in there(has_vulnerabilities=True)
    assert name in there(active_only=False)
    shop.ida.change(f"/api/v1/supply-chain/components/{name}", {"active": False})
    assert name not in there()
    assert name in there(active_only=False)


def get_supply_chain_stats(shop: Shop) -> None:
    """Numbers about all components."""
    before = shop.admin("get_supply_chain_stats")
    _component(shop)
    after = shop.admin("get_supply_chain_stats")
    assert after["total_components"] == before["total_components"] + 1
    assert after["by_type"]["model"] >= 1


def get_supply_chain_impact(shop: Shop) -> None:
    """Which agents a component is in, by the component's number."""
    component, agent = _component(shop), shop.another(unique("agent"))
    shop.sdk.call("register", _as=agent)
    path = f"/api/v1/supply-chain/agents/{agent['agent_id']}/dependencies"
    shop.ida.change(path, {"component_ids": [component["component_id"]]})
    said = shop.admin("get_supply_chain_impact", component["id"])
    assert said["component"]["component_id"] == component["component_id"]
    assert (said["affected_count"], said["affected_agents"]) == (1, [agent["agent_id"]])
    missing = shop.sdk.fail("get_supply_chain_impact", 999_999, _as={"api_key": shop.admin_key})
    assert missing["status_code"] == 404


def get_cve_sync_status(shop: Shop) -> None:
    """How the feed of vulnerabilities stands."""
    said = shop.admin("get_cve_sync_status")
    assert isinstance(said["enabled"], bool)
    assert said["status"]


def get_supply_chain_alerts(shop: Shop) -> None:
    """A vulnerability that somebody recorded is an alert, until somebody has seen it."""
    name, weakness = _component(shop)["component_id"], unique("CVE-2026")
    known = [{"vulnerability_id": weakness, "severity": "high"}]
    shop.ida.change(f"/api/v1/supply-chain/components/{name}", {"vulnerabilities": known})
    alerts = shop.admin("get_supply_chain_alerts", limit=500)["alerts"]
    (alert,) = [one for one in alerts if weakness in str(one)]
    assert (alert["alert_type"], alert["acknowledged"]) == ("supply_chain_cve", False)
    shop.ida.make(f"/api/alerts/{alert['alert_id']}/acknowledge", {})

    def seen(**query: Any) -> bool:
        return weakness in str(shop.admin("get_supply_chain_alerts", **query))

    assert (seen(limit=500), seen(limit=500, acknowledged=True)) == (False, True)
    assert len(shop.admin("get_supply_chain_alerts", limit=1, acknowledged=True)["alerts"]) == 1
