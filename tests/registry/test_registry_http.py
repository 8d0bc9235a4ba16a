"""The same endpoints over HTTP, as the published clients call them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registry_web import Web
from registry_world import POLICY
from starlette.testclient import TestClient

from ascend_guard.engine.keys import make_organization
from ascend_guard.engine.policy import parse_policy
from ascend_guard.server.app import Server
from ascend_guard.store.sqlite.store import SQLiteStore


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A server with two organizations."""
    store = SQLiteStore(tmp_path / "web.db", durability="process")
    for name in ("ours", "theirs"):
        store.write(lambda tx, name=name: make_organization(tx, name, "enterprise", "t"))
    with TestClient(Server(store, parse_policy(POLICY)).app, raise_server_exceptions=False) as client:
        yield Web(store, client)


def test_an_agent_from_its_registration_to_its_end(web: Web) -> None:
    """Statuses and bodies as the published SDK reads them: always an object, never an empty body."""
    body = {"agent_id": "billing", "display_name": "Billing", "capabilities": [], "metadata": {}}
    status, said = web.ask("POST", "/api/registry/agents", web.bound, body)
    assert (status, said["status"]) == (201, "active")
    status, said = web.ask("POST", "/api/registry/agents", web.bound, body)
    assert status == 400  # the published SDK reads the words of a 400, not those of a 409
    assert "already exists" in said["detail"]
    plain = {"X-API-Key": web.bound["X-API-Key"]}
    assert web.ask("POST", "/api/registry/agents", plain, body)[0] == 409
    beat = {"agent_id": "billing", "sdk_version": "2.7.1", "timestamp": "2026-11-22T10:00:00+00:00"}
    assert web.ask("POST", "/api/agents/health/heartbeat", web.bound, beat)[0] == 200
    assert web.ask("GET", "/api/agents/health/billing", web.bound)[1]["status"] == "healthy"
    assert web.ask("GET", "/api/agents/health/billing", web.stranger)[0] == 404
    assert web.ask("POST", "/api/registry/agents/billing/suspend", web.agent)[0] == 403
    assert web.ask("POST", "/api/registry/agents/billing/suspend", web.admin)[0] == 200
    assert web.ask("DELETE", "/api/registry/agents/billing", web.bound)[0] == 403
    assert web.ask("POST", "/api/registry/agents/billing/activate", web.person, {"reason": "ok"})[0] == 200
    status, said = web.ask("DELETE", "/api/registry/agents/billing", web.bound)
    assert (status, said["success"]) == (200, True)


def test_a_submit_is_governed(web: Web) -> None:
    """An unregistered server, a blocked tool and a suspended agent are 403 with the documented detail; the rest goes on."""
    action = {
        "agent_id": "billing",
        "agent_name": "Billing",
        "action_type": "file_read",
        "description": "Read it",
        "tool_name": "read",
    }

    def submit(**more: Any) -> tuple[int, Any]:
        return web.ask("POST", "/api/v1/actions/submit", web.agent, action | more)

    assert submit()[0] == 200
    status, said = submit(mcp_server_name="files")
    assert (status, said["error_code"]) == (403, "POLICY_VIOLATION")
    assert said["detail"]["error"] == "MCP server governance violation"
    assert said["detail"]["mcp_server_name"] == "files"
    assert said["detail"]["correlation_id"]
    server = {"server_name": "files", "blocked_tools": ["drop"]}
    assert web.ask("POST", "/api/registry/mcp-servers", web.agent, server)[0] == 403
    assert web.ask("POST", "/api/registry/mcp-servers", web.admin, server)[0] == 201
    status, said = submit(mcp_server_name="files")
    assert status == 200
    assert said["mcp_governance"]["server_registered"] is True
    assert submit(mcp_server_name="files", tool_name="drop")[0] == 403
    assert submit(mcp_server_name="Files")[0] == 403
    assert web.ask("POST", "/api/registry/mcp-servers/files/deactivate", web.admin)[0] == 200
    assert submit(mcp_server_name="files")[0] == 403
    status, said = submit(model_id="gpt")
    assert (status, said["detail"]["model_id"]) == (403, "gpt")
    web.ask("POST", "/api/registry/models", web.admin, {"model_id": "gpt", "compliance_status": "approved"})
    assert submit(model_id="gpt")[1]["model_governance"]["registry_checked"] is True
    alerts = web.ask("GET", "/api/alerts?type=governance_violation&limit=500&acknowledged=False", web.admin)[
        1
    ]
    assert len(alerts["alerts"]) == 5
    assert web.ask("GET", "/api/alerts", web.bound)[0] == 403


def test_a_cascade_takes_a_person(web: Web) -> None:
    """No API key, not even an admin's, not even to try it; a submit by a worker is then stopped."""
    tree = {"orchestrator_agent_id": "chief", "worker_agent_ids": ["worker"]}
    assert web.ask("POST", "/api/v1/orchestration/topology", web.admin, tree)[0] == 200
    kill = {"reason": "Runaway.", "confirm": True}
    path = "/api/v1/orchestration/cascade-kill/chief"
    for who in (web.admin, web.agent, web.stranger):
        assert web.ask("POST", path, who, kill)[0] in (401, 403)
    status, said = web.ask("POST", path, web.person, kill)
    assert (status, said["agents"]) == (200, ["chief", "worker"])
    action = {"agent_id": "worker", "agent_name": "w", "action_type": "file_read", "resource": "r"}
    assert web.ask("POST", "/api/v1/actions/submit", web.agent, action)[0] == 402


def test_queries_as_python_writes_them(web: Web) -> None:
    """Capital truths, numbers at their limits, and what is out of bounds."""
    body = {"component_id": "c", "component_name": "c", "component_type": "library"}
    assert web.ask("POST", "/api/v1/supply-chain/components", web.admin, body)[0] == 201
    assert web.ask("POST", "/api/v1/supply-chain/components", web.admin, body)[0] == 409
    wrong = body | {"component_id": "d", "component_type": "spaceship"}
    assert web.ask("POST", "/api/v1/supply-chain/components", web.admin, wrong)[0] == 422
    path = "/api/v1/supply-chain/components?active_only=True&has_vulnerabilities=False&limit=100&offset=0"
    assert web.ask("GET", path, web.agent)[1]["total"] == 1
    assert web.ask("GET", "/api/v1/supply-chain/components?component_type=ship", web.agent)[0] == 422
    assert web.ask("GET", "/api/v1/output-filter/findings?limit=101", web.agent)[0] == 422
    assert web.ask("POST", "/api/authorization/mcp-discovery/scan-network", web.agent)[1]["scanned"] is False
    known = web.ask("GET", "/api/v1/resource-classifications?resource_type=x", web.agent)
    assert known == (200, {"classifications": [], "has_more": False, "next_cursor": None})


def test_names_in_paths(web: Web) -> None:
    """Quoted ones arrive whole; what no name can be is not found, and never an error of the server."""
    assert web.ask("POST", "/api/registry/mcp-servers", web.admin, {"server_name": "Größe 1%"})[0] == 201
    assert web.ask("GET", "/api/registry/mcp-servers/Gr%C3%B6%C3%9Fe%201%25", web.agent)[0] == 200
    for name in ("%00", "a%00b", "%ED%A0%80", "%FF", "x" * 3000, "..%2Fagents", "%2E%2E"):
        for path in (
            f"/api/registry/agents/{name}",
            f"/api/registry/mcp-servers/{name}",
            f"/api/v1/supply-chain/impact/{name}",
            f"/api/v1/orchestration/sessions/{name}",
            f"/api/v1/output-filter/findings/{name}",
        ):
            assert web.ask("GET", path, web.agent)[0] == 404, path
        command = {"command_type": "RATE_LIMIT", "reason": "r"}
        status, _ = web.ask("POST", f"/api/registry/agents/{name}/commands", web.admin, command)
        assert status in (201, 404), name


def test_a_scan_over_http(web: Web) -> None:
    """The largest output is looked through, a larger one is refused."""
    said = web.ask(
        "POST", "/api/v1/output-filter/scan", web.bound, {"content": "a" * 262_144, "agent_id": "billing"}
    )
    assert (said[0], said[1]["status"]) == (200, "clean")
    large = {"content": "a" * 262_145, "agent_id": "billing"}
    assert web.ask("POST", "/api/v1/output-filter/scan", web.bound, large)[0] == 422
