"""What the endpoints of agents, models, servers, components, alerts and classifications answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from registry_world import ADMIN, AGENT, BOUND, PERSON, ROWS, STRANGER, VIEWER, World

from ascend_guard.engine.kill import pull, release
from ascend_guard.engine.registry.admission import GovernanceViolation, govern, record_violation
from ascend_guard.engine.registry.agents import GAP
from ascend_guard.errors import (
    AuthorizationDeniedError,
    ConflictError,
    NotFoundError,
    ValidationError,
)
from ascend_guard.model import AgentAction
from ascend_guard.server.requests.failures import classified

AGENT_BODY = {
    "agent_id": "billing",
    "display_name": "Billing",
    "agent_type": "supervised",
    "environment": "production",
    "capabilities": ["data_access"],
    "allowed_resources": ["production_db"],
    "sdk_version": "2.7.1",
    "metadata": {"team": "shop", "api_key": "hush-hush", "note": "Authorization: Bearer abcdefgh"},
}


def registered(world: World, agent_id: str = "billing", caller: Any = AGENT) -> Any:
    """Register an agent."""
    return world.ask("register_agent", caller, AGENT_BODY | {"agent_id": agent_id})


# --- agents ----------------------------------------------------------------------------------------------------------


def test_an_agent_is_registered_once(world: World) -> None:
    """The documented answer, 201; a second time 409, whose words the published SDK looks for."""
    assert ROWS["register_agent"].status == 201
    said = registered(world, caller=BOUND)
    assert said["created_at"] == "2027-01-15T08:00:00Z"
    assert {name: said[name] for name in ("agent_id", "display_name", "status", "trust_level")} == {
        "agent_id": "billing",
        "display_name": "Billing",
        "status": "active",
        "trust_level": "standard",
    }
    with pytest.raises(ConflictError, match="already exists") as refused:
        registered(world)
    assert classified(refused.value)[0] == 409
    assert registered(world, caller=STRANGER)["registered_by"] == STRANGER.name
    assert world.events() == ["AGENT_REGISTERED"]


def test_secrets_in_what_agents_say_of_themselves(world: World) -> None:
    """By their names and by their shapes: shown nowhere, and in no file."""
    said = registered(world)
    assert said["metadata"]["team"] == "shop"
    assert said["metadata"]["api_key"] == "[REDACTED]"
    stored = world.everything()
    for secret in ("hush-hush", "abcdefgh"):
        assert secret not in str(said)
        assert secret.encode() not in stored
    with pytest.raises(ValidationError):
        world.ask("update_agent", AGENT, {"metadata": {"a": "x" * 70_000}}, agent_id="billing")
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"a": deep}
    with pytest.raises(ValidationError):
        world.ask("update_agent", AGENT, {"metadata": deep}, agent_id="billing")


def test_an_agent_and_what_it_has_done(world: World) -> None:
    """Counted from the stored actions, its own only."""
    registered(world)
    assert world.ask("get_agent", BOUND, agent_id="billing")["last_activity"] is None
    world.act()
    world.act(action_type="file_delete")
    world.act(agent_id="other")
    world.act("theirs")
    said = world.ask("get_agent", BOUND, agent_id="billing")
    assert (said["action_count"], said["denial_count"]) == (2, 1)
    assert said["last_activity"] == "2027-01-15T08:00:00Z"
    for name in ("unknown", "a\0b", "\ud800", str(said["id"])):
        with pytest.raises(NotFoundError):
            world.ask("get_agent", AGENT, agent_id=name)


def test_agents_are_listed_page_by_page(world: World) -> None:
    """Oldest first; a key made for an agent sees that one."""
    for name in ("a", "billing", "c"):
        registered(world, name)
    page = world.ask("list_agents", VIEWER, query="limit=2")
    assert [agent["agent_id"] for agent in page["agents"]] == ["a", "billing"]
    assert (page["total"], page["has_more"]) == (3, True)
    page = world.ask("list_agents", VIEWER, query="limit=2&offset=2")
    assert ([agent["agent_id"] for agent in page["agents"]], page["has_more"]) == (["c"], False)
    page = world.ask("list_agents", BOUND)
    assert ([agent["agent_id"] for agent in page["agents"]], page["total"]) == (["billing"], 1)
    assert world.ask("list_agents", STRANGER)["agents"] == []


def test_an_agent_changes_itself_and_nobody_else(world: World) -> None:
    """What is not named stays; another agent's key, and a person who only looks, are refused."""
    registered(world)
    registered(world, "other")
    said = world.ask("update_agent", BOUND, {"display_name": "New"}, agent_id="billing")
    assert said["agent"]["display_name"] == "New"
    assert said["agent"]["capabilities"] == ["data_access"]
    for name, body in (
        ("update_agent", {"display_name": "x"}),
        ("deregister_agent", None),
        ("get_agent", None),
        ("get_agent_health", None),
    ):
        with pytest.raises(AuthorizationDeniedError):
            world.ask(name, BOUND, body, agent_id="other")
    for name, body in (
        ("register_agent", AGENT_BODY | {"agent_id": "more"}),
        ("heartbeat", {"agent_id": "other"}),
    ):
        with pytest.raises(AuthorizationDeniedError):
            world.ask(name, BOUND, body)
        with pytest.raises(AuthorizationDeniedError):
            world.ask(name, VIEWER, body)
    with pytest.raises(AuthorizationDeniedError):
        world.ask("deregister_agent", VIEWER, agent_id="billing")


def test_a_model_is_linked_by_an_admin(world: World) -> None:
    """By its number or its identifier, when it is the organization's and compliant; the trail says so."""
    registered(world)
    foreign = world.ask("register_model", STRANGER, {"model_id": "gpt", "compliance_status": "approved"})
    number = world.ask("register_model", ADMIN, {"model_id": "gpt"})["model"]["id"]
    with pytest.raises(AuthorizationDeniedError, match="pending"):
        world.ask("update_agent", ADMIN, {"model_id": number}, agent_id="billing")
    for missing in (999_999, foreign["model"]["id"], "none"):
        with pytest.raises(NotFoundError):
            world.ask("update_agent", ADMIN, {"model_id": missing}, agent_id="billing")
    world.ask("update_model", ADMIN, {"compliance_status": "partially_approved"}, model_id="gpt")
    with pytest.raises(AuthorizationDeniedError):
        world.ask("update_agent", BOUND, {"model_id": number}, agent_id="billing")
    for which in (number, "gpt"):
        said = world.ask("update_agent", ADMIN, {"model_id": which}, agent_id="billing")
        assert said["success"] is True
        assert said["message"]
        assert said["agent"]["model_id"] == number
    assert world.events()[-2:] == ["AGENT_MODEL_LINKED"] * 2
    assert world.trail()[-1]["actor"] == ADMIN.name
    with pytest.raises(AuthorizationDeniedError):
        world.ask("deregister_agent", BOUND, agent_id="billing")  # it would be free of the model
    with pytest.raises(AuthorizationDeniedError):
        world.ask("update_agent", BOUND, {"model_id": None}, agent_id="billing")
    assert (
        world.ask("update_agent", ADMIN, {"model_id": None}, agent_id="billing")["agent"]["model_id"] is None
    )
    assert world.events()[-1] == "AGENT_MODEL_UNLINKED"
    world.ask("deregister_agent", BOUND, agent_id="billing")


@pytest.mark.parametrize("name", ["suspend_agent", "deactivate_agent"])
def test_an_agent_that_is_held_back_cannot_free_itself(world: World, name: str) -> None:
    """Neither by taking its registration off nor by registering anew; an admin lets it act again."""
    registered(world)
    said = world.ask(name, ADMIN, {"reason": "Odd."}, agent_id="billing")
    assert said["agent"]["status_reason"] == "Odd."
    action = AgentAction("billing", "b", "file_read", "r", "t")
    assert isinstance(world.read(lambda reader: govern(reader, "ours", action)), GovernanceViolation)
    with pytest.raises(AuthorizationDeniedError):
        world.ask("deregister_agent", BOUND, agent_id="billing")
    with pytest.raises(ConflictError):
        registered(world, caller=BOUND)
    world.ask("update_agent", BOUND, {"display_name": "x"}, agent_id="billing")
    assert world.ask("get_agent", BOUND, agent_id="billing")["status"] == said["agent"]["status"]
    assert world.ask("get_agent_health", BOUND, agent_id="billing")["status"] == said["agent"]["status"]
    world.ask("activate_agent", PERSON, None, agent_id="billing")
    assert not isinstance(world.read(lambda reader: govern(reader, "ours", action)), GovernanceViolation)


def test_an_agent_that_was_taken_off_is_gone(world: World) -> None:
    """Its heartbeats with it; it can be registered anew."""
    registered(world)
    world.ask("heartbeat", BOUND, {"agent_id": "billing"})
    assert world.ask("deregister_agent", BOUND, agent_id="billing")["success"] is True
    for name in ("deregister_agent", "get_agent", "get_agent_health"):
        with pytest.raises(NotFoundError):
            world.ask(name, BOUND, agent_id="billing")
    assert registered(world)["status"] == "active"


def test_how_an_agent_is(world: World) -> None:
    """By its heartbeats: for how long without a gap, and offline after one."""
    registered(world)
    silent = world.ask("get_agent_health", BOUND, agent_id="billing")
    assert (silent["status"], silent["last_heartbeat"]) == ("registered", None)
    beat = {"agent_id": "billing", "sdk_version": "2.7.1", "timestamp": "now", "requests_count": 7}
    world.ask("heartbeat", BOUND, beat)
    world.clock.now += GAP
    said = world.ask("heartbeat", BOUND, beat | {"error_rate": 0.5})
    assert (said["status"], said["uptime_seconds"]) == ("healthy", GAP)
    assert said["metadata"] == {"sdk_version": "2.7.1", "error_rate": 0.5, "requests_count": 7}
    world.clock.now += GAP + 1
    assert world.ask("get_agent_health", BOUND, agent_id="billing")["status"] == "offline"
    assert world.ask("heartbeat", BOUND, beat)["uptime_seconds"] == 0
    world.write(lambda tx: pull(tx, "ours", None, "r", "ann"))
    assert world.ask("get_agent_health", BOUND, agent_id="billing")["status"] == "blocked"
    world.ask("heartbeat", AGENT, {"agent_id": "unregistered"})
    with pytest.raises(NotFoundError):
        world.ask("get_agent_health", STRANGER, agent_id="unregistered")


# --- models and servers ------------------------------------------------------------------------------------------------


def test_models(world: World) -> None:
    """Registered, found by identifier or number, changed, forgotten; agents' keys do not read the registry."""
    said = world.ask("register_model", ADMIN, {"model_id": "gpt/4", "metadata": {"password": "x"}})
    assert said["model"]["compliance_status"] == "pending"
    assert said["model"]["metadata"] == {"password": "[REDACTED]"}
    number = said["model"]["id"]
    with pytest.raises(ConflictError, match="already exists"):
        world.ask("register_model", ADMIN, {"model_id": "gpt/4"})
    world.ask("update_model", ADMIN, {"compliance_status": "approved"}, model_id=number)
    for which in ("gpt/4", number):
        assert world.ask("get_model", VIEWER, model_id=which)["compliance_status"] == "approved"
        with pytest.raises(NotFoundError):
            world.ask("get_model", STRANGER, model_id=which)
    assert world.ask("list_models", VIEWER)["total"] == 1
    for name, path in (("list_models", {}), ("get_model", {"model_id": number})):
        with pytest.raises(AuthorizationDeniedError):
            world.ask(name, AGENT, **path)
    assert world.ask("delete_model", ADMIN, model_id="gpt/4")["success"] is True
    with pytest.raises(NotFoundError):
        world.ask("update_model", ADMIN, {}, model_id=number)
    assert world.events() == ["MODEL_REGISTERED", "MODEL_UPDATED", "MODEL_REMOVED"]


def test_servers(world: World) -> None:
    """Registered with all they are described by, without secrets; their names are case-sensitive."""
    body = {
        "server_name": "My-Server",
        "server_url": "https://user:hush-hush@mcp.example.org/x",
        "transport_type": "http",
        "connection_config": {"headers": {"Authorization": "hush-hush"}, "region": "eu"},
        "blocked_tools": ["drop"],
        "auto_approve_tools": ["read"],
        "tool_risk_overrides": {"export": 90},
    }
    said = world.ask("register_mcp_server", ADMIN, body)
    assert said["success"] is True
    assert isinstance(said["server"]["id"], int)
    assert said["server"]["status"] == "active"
    assert said["server"]["connection_config"] == {"headers": {"Authorization": "[REDACTED]"}, "region": "eu"}
    assert b"hush-hush" not in world.everything()
    assert world.ask("get_mcp_server", AGENT, server_name="My-Server")["tool_risk_overrides"] == {
        "export": 90
    }
    for name in ("my-server", "My-Server\0", str(said["server"]["id"])):
        with pytest.raises(NotFoundError):
            world.ask("get_mcp_server", AGENT, server_name=name)
    off = world.ask("deactivate_mcp_server", ADMIN, {"reason": "Maintenance."}, server_name="My-Server")
    assert (off["server"]["is_active"], off["server"]["status_reason"]) == (False, "Maintenance.")
    on = world.ask("activate_mcp_server", ADMIN, None, server_name="My-Server")
    assert (on["server"]["is_active"], on["server"]["status_reason"]) == (True, None)
    for name in ("scan_mcp_network", "get_mcp_scan_results"):
        found = world.ask(name, AGENT)
        assert (found["success"], found["scanned"], found["discovered_count"]) == (False, False, 0)
        assert (found["status"], found["servers"]) == ("not_configured", [])
    health = world.ask("get_mcp_health", AGENT)
    assert world.ask("get_mcp_health", STRANGER)["servers"] == []
    assert (health["checked"], health["total_servers"], health["active_servers"]) == (False, 1, 1)
    world.ask("delete_mcp_server", ADMIN, server_name="My-Server")
    assert world.ask("list_mcp_servers", AGENT)["servers"] == []


def test_names_that_would_lead_elsewhere(world: World) -> None:
    """The published SDK does not quote names in paths: those that would become another path are refused."""
    for name in ("a/b", "a?b", "a#b", "a\nb", "a\n", "a\0", "", "x" * 256):
        for endpoint, field in (("register_mcp_server", "server_name"), ("register_agent", "agent_id")):
            with pytest.raises(msgspec.ValidationError):
                world.ask(endpoint, ADMIN, {field: name})
    assert world.ask("register_mcp_server", ADMIN, {"server_name": "Größe 1"})["success"]
    assert world.ask("register_model", ADMIN, {"model_id": "hf/bert?"})["success"]
    for name in ("a\0", "a\n", ""):
        with pytest.raises(msgspec.ValidationError):
            world.ask("register_model", ADMIN, {"model_id": name})


# --- the supply chain ----------------------------------------------------------------------------------------------------

COMPONENT = {
    "component_id": "hf-bert-base",
    "component_name": "bert-base-uncased",
    "component_type": "model",
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
WEAKNESS = {"vulnerability_id": "CVE-2026-1", "severity": "critical"}


def test_components(world: World) -> None:
    """Registered, listed by kind, risk and weakness, changed; a kind there is not is refused."""
    said = world.ask("register_component", ADMIN, COMPONENT)["component"]
    assert {name: said[name] for name in COMPONENT} == COMPONENT
    assert (said["outdated"], said["has_vulnerabilities"], said["active"]) == (True, False, True)
    with pytest.raises(ConflictError, match="already exists"):
        world.ask("register_component", ADMIN, COMPONENT)
    with pytest.raises(msgspec.ValidationError):
        world.ask("register_component", ADMIN, COMPONENT | {"component_id": "x", "component_type": "ship"})
    world.ask(
        "register_component",
        ADMIN,
        {"component_id": "lib", "component_name": "l", "component_type": "library"},
    )
    number = said["id"]
    for which in (number, "hf-bert-base"):
        assert world.ask("get_component", AGENT, component_id=which)["id"] == number
        with pytest.raises(NotFoundError):
            world.ask("get_component", STRANGER, component_id=which)
    changed = world.ask(
        "update_component",
        ADMIN,
        {"vulnerabilities": [WEAKNESS], "risk_level": "critical"},
        component_id=number,
    )["component"]
    assert (changed["has_vulnerabilities"], changed["version"]) == (True, "1.0.0")
    for query, expected in (
        ("", ["hf-bert-base", "lib"]),
        ("component_type=model", ["hf-bert-base"]),
        ("risk_level=medium", ["lib"]),
        ("has_vulnerabilities=true", ["hf-bert-base"]),
        ("has_vulnerabilities=false", ["lib"]),
        ("limit=1&offset=1", ["lib"]),
    ):
        page = world.ask("list_components", AGENT, query=query)
        assert [one["component_id"] for one in page["components"]] == expected, query
    world.ask("update_component", ADMIN, {"active": False}, component_id="lib")
    assert world.ask("list_components", AGENT)["total"] == 1
    assert world.ask("list_components", AGENT, query="active_only=false")["total"] == 2
    stats = world.ask("get_component_stats", AGENT)
    assert (stats["total_components"], stats["vulnerable_components"]) == (1, 1)
    assert stats["vulnerabilities_by_severity"]["critical"] == 1
    assert stats["by_type"] == {
        "library": 0,
        "model": 1,
        "dataset": 0,
        "framework": 0,
        "tool": 0,
        "service": 0,
    }
    status = world.ask("get_cve_sync_status", AGENT)
    assert (status["enabled"], status["last_sync"]) == (False, None)


def test_whom_a_component_touches(world: World) -> None:
    """The agents it was declared for, and those that are linked to the model it is; nobody of another organization."""
    component = world.ask("register_component", ADMIN, COMPONENT)["component"]
    numbers = {name: registered(world, name)["id"] for name in ("billing", "linked", "neither")}
    model = world.ask("register_model", ADMIN, {"model_id": "hf-bert-base", "compliance_status": "approved"})[
        "model"
    ]
    world.ask("update_agent", ADMIN, {"model_id": model["id"]}, agent_id="linked")
    said = world.ask(
        "set_agent_dependencies", ADMIN, {"component_ids": ["hf-bert-base"]}, agent_id=numbers["billing"]
    )
    assert (said["agent_id"], said["total"]) == ("billing", 1)
    for which in (component["id"], "hf-bert-base"):
        impact = world.ask("get_component_impact", AGENT, component_id=which)
        assert (impact["affected_count"], impact["affected_agents"]) == (2, ["billing", "linked"])
    assert world.ask("get_component_impact", BOUND, component_id="hf-bert-base")["affected_agents"] == [
        "billing"
    ]
    for agent, total in (("billing", 1), ("linked", 1), ("neither", 0), (numbers["linked"], 1)):
        assert world.ask("get_agent_dependencies", AGENT, agent_id=agent)["total"] == total
    with pytest.raises(AuthorizationDeniedError):
        world.ask("get_agent_dependencies", BOUND, agent_id="linked")
    with pytest.raises(NotFoundError):
        world.ask("set_agent_dependencies", ADMIN, {"component_ids": ["none"]}, agent_id="billing")
    for caller, which in ((STRANGER, component["id"]), (AGENT, 999_999), (AGENT, "9" * 40)):
        with pytest.raises(NotFoundError):
            world.ask("get_component_impact", caller, component_id=which)


# --- alerts and classifications --------------------------------------------------------------------------------------------


def test_alerts_are_what_happened(world: World) -> None:
    """Violations, kill switches, refused parents, high-risk denials, weaknesses, blocked output; each from its record."""
    action = AgentAction("billing", "b", "call", "r", "t", mcp_server_name="none")
    said = world.read(lambda reader: govern(reader, "ours", action))
    assert isinstance(said, GovernanceViolation)
    world.write(lambda tx: record_violation(tx, "ours", action, said))
    world.write(lambda tx: pull(tx, "ours", "billing", "Runaway.", "ann"))
    world.write(lambda tx: release(tx, "ours", "billing", "Fine.", "ann"))
    world.act(parent_action_id=999, orchestration_session_id="s")
    world.act(
        action_type="database_delete",
        risk_indicators={"data_classification": "restricted"},
        context={"environment": "production"},
    )
    risky = {"prompt_injection": True, "data_classification": "restricted"}
    approved = world.act(action_type="database_read", risk_indicators=risky)
    row = world.read(lambda reader: reader.action("ours", approved))
    assert row is not None
    assert (row.status, row.risk_level) == ("approved", "critical")
    world.ask("register_component", ADMIN, COMPONENT | {"vulnerabilities": [WEAKNESS]})
    world.ask("scan_output", AGENT, {"content": "sk-abcdefghijklmnop1234", "agent_id": "billing"})
    found = world.ask("list_alerts", ADMIN)["alerts"]
    assert [alert["type"] for alert in found] == [
        "output_blocked",
        "supply_chain_cve",
        "high_risk_denial",
        "orchestration_rejected",
        "kill_switch",
        "kill_switch",
        "governance_violation",
    ]
    assert all(alert["message"] and alert["timestamp"] and not alert["acknowledged"] for alert in found)
    assert found[1]["severity"] == "critical"
    assert "Runaway." in found[5]["message"]
    assert (found[6]["agent_id"], found[4]["agent_id"]) == ("billing", "billing")
    assert world.ask("list_alerts", STRANGER)["alerts"] == []
    with pytest.raises(AuthorizationDeniedError):
        world.ask("list_alerts", BOUND)
    only = world.ask("list_alerts", VIEWER, query="type=supply_chain_cve&limit=500&acknowledged=false")
    assert [alert["id"] for alert in only["alerts"]] == [found[1]["id"]]
    assert world.ask("list_alerts", VIEWER, query="type=none")["alerts"] == []
    assert [alert["id"] for alert in world.ask("list_alerts", ADMIN, query="limit=2")["alerts"]] == [
        found[0]["id"],
        found[1]["id"],
    ]


def test_an_alert_quotes_names_and_reasons_as_they_are(world: World) -> None:
    """Of a cascading kill and of a kill switch: an agent's name and a person's reason keep their capital letters."""
    world.ask("register_topology", ADMIN, {"orchestrator_agent_id": "Chief-EU", "worker_agent_ids": ["W"]})
    kill = {"reason": "Runaway in EU.", "confirm": True}
    world.ask("cascade_kill", PERSON, kill, orchestrator_id="Chief-EU")
    messages = [alert["message"] for alert in world.ask("list_alerts", ADMIN)["alerts"]]
    assert len(messages) == 3
    assert all("Runaway in EU." in message for message in messages)
    assert messages[0] == "Agent 'Chief-EU' and all that work for it were stopped: Runaway in EU."
    assert sorted("'W'" in message for message in messages) == [False, False, True]


def test_an_alert_is_acknowledged_once_and_by_its_own(world: World) -> None:
    """Who did so first stays; what is no alert, or another organization's, is not there."""
    world.write(lambda tx: pull(tx, "ours", "billing", "Runaway.", "ann"))
    registered(world)
    (alert,) = world.ask("list_alerts", ADMIN)["alerts"]
    said = world.ask("acknowledge_alert", PERSON, alert_id=alert["id"])
    assert (said["acknowledged"], said["acknowledged_by"]) == (True, PERSON.name)
    assert world.ask("acknowledge_alert", ADMIN, alert_id=alert["id"])["acknowledged_by"] == PERSON.name
    assert world.ask("list_alerts", ADMIN, query="acknowledged=false")["alerts"] == []
    assert len(world.ask("list_alerts", ADMIN, query="acknowledged=true")["alerts"]) == 1
    texts = set()
    for caller, alert_id in (
        (STRANGER, alert["id"]),
        (ADMIN, "2"),
        (ADMIN, "99"),
        (ADMIN, "x"),
        (ADMIN, "9" * 40),
    ):
        with pytest.raises(NotFoundError) as refused:
            world.ask("acknowledge_alert", caller, alert_id=alert_id)
        texts.add(str(refused.value).replace(alert_id, "N"))
    assert len(texts) == 1
    assert world.events().count("ALERT_ACKNOWLEDGED") == 1


def test_resources_are_classified(world: World) -> None:
    """By kind and identifier, one classification each; an unknown kind is an empty list."""
    assert world.ask("list_classifications", AGENT, query="resource_type=database")["classifications"] == []
    body = {
        "resource_type": "database",
        "resource_id": "customers",
        "sensitivity_level": "internal",
        "compliance_tags": ["GDPR"],
        "metadata": {"secret": "x"},
    }
    first = world.ask("classify_resource", ADMIN, body)["classification"]
    again = world.ask("classify_resource", ADMIN, body | {"sensitivity_level": "restricted"})[
        "classification"
    ]
    assert (again["id"], again["metadata"]) == (first["id"], {"secret": "[REDACTED]"})
    world.ask("classify_resource", ADMIN, body | {"resource_type": "bucket"})
    (found,) = world.ask("list_classifications", AGENT, query="resource_type=database")["classifications"]
    assert (found["sensitivity_level"], found["compliance_tags"]) == ("restricted", ["GDPR"])
    assert len(world.ask("list_classifications", AGENT)["classifications"]) == 2
    assert world.ask("list_classifications", STRANGER)["classifications"] == []
    with pytest.raises(NotFoundError):
        world.ask("delete_classification", STRANGER, classification_id=first["id"])
    world.ask("delete_classification", ADMIN, classification_id=first["id"])
    assert len(world.ask("list_classifications", AGENT)["classifications"]) == 1


# --- how many -----------------------------------------------------------------------------------------------------------


def test_there_is_a_most_of_each_kind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is a conflict that names the remedy; another organization has room of its own; changes need none."""
    monkeypatch.setattr("ascend_guard.engine.registry.records.MOST", 2)
    for name in ("a", "b"):
        registered(world, name)
    with pytest.raises(ConflictError, match="Remove some first"):
        registered(world, "c")
    registered(world, "c", caller=STRANGER)
    world.ask("update_agent", AGENT, {"display_name": "x"}, agent_id="a")
    for name in ("x", "y", "x", "z"):  # of heartbeats the oldest gives way: agents come and go
        world.ask("heartbeat", AGENT, {"agent_id": name})
    with pytest.raises(NotFoundError):
        world.ask("get_agent_health", AGENT, agent_id="x")
    assert world.ask("get_agent_health", AGENT, agent_id="z")["status"] == "healthy"
    for name in ("a", "b"):
        world.ask("issue_command", ADMIN, {"command_type": "RATE_LIMIT", "reason": "r"}, agent_id=name)
    with pytest.raises(ConflictError):
        world.ask("issue_command", ADMIN, {"command_type": "RATE_LIMIT", "reason": "r"}, agent_id="c")
    world.ask("issue_command", ADMIN, {"command_type": "BLOCK", "reason": "r"}, agent_id="c")
    world.clock.now += 86_401  # nothing waits in the first three mailboxes any more
    world.ask("issue_command", ADMIN, {"command_type": "RATE_LIMIT", "reason": "r"}, agent_id="d")
    world.ask("deregister_agent", AGENT, agent_id="a")
    registered(world, "c")
