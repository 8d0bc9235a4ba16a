"""An organization that has one of everything, each thing marked, so that whatever of it turns up elsewhere is seen."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from serving import Serving

from ascend_guard.api.endpoint import Endpoint
from ascend_guard.engine.keys import organization_number
from ascend_guard.server.access.tokens import LocalIssuer

POLICY_OF_THINGS = """
version: 1
rules:
  - {name: reads, actions: ["*_read"], effect: allow}
  - {name: refunds, actions: [refund], effect: require_approval, approvers: [finance], timeout: 30d}
  - {name: no-deletes, actions: ["*_delete"], effect: deny, reason: Deletes are off.}
"""

GHOST = 8_888_888_888
"""A number that nothing has."""

PATHS = {
    "action_id": ["pending", "approved", "denied", "ran", "running"],
    "approval_id": ["pending", "approved", "denied"],
    "organization_id": ["organization", "organization_number"],
    "agent_id": ["agent", "second_agent", "agent_number"],
    "command_id": ["command"],
    "model_id": ["model", "model_number"],
    "server_name": ["server"],
    "component_id": ["component", "component_number"],
    "session_id": ["session"],
    "orchestrator_id": ["agent"],
    "alert_id": ["alert"],
    "classification_id": ["classification"],
    "webhook_id": ["webhook"],
}
"""Which things of the organization each parameter of a path can name."""


class Things(dict[str, str]):
    """Identifiers of an organization's things, by what they are.

    Attributes:
        mark: is in every text that was written there.
    """

    mark: str

    def ghosts(self) -> dict[str, str]:
        """As many identifiers that look alike and that nothing has."""
        return {
            what: str(GHOST + number) if name.isdigit() else f"ghost-{number}-{'x' * len(name)}"[: len(name)]
            for number, (what, name) in enumerate(self.items())
        }


def filled(server: Serving, organization: str, padding: int = 120) -> Things:
    """Fill an organization with one of everything.

    Args:
        server: whose.
        organization: made when it is new.
        padding: actions and keys before those that are named, so that numbers of things are no everyday numbers.
    """
    things = Things(organization=organization)
    mark = things.mark = f"marked-{organization}"
    admin, key = server.key(None, "admin", organization), server.key(None, "agent", organization)
    approver = server.token(f"{mark}-ann@example.com", "approver", ("finance",), organization)

    def ask(method: str, path: str, credential: str, body: Any = None, **headers: str) -> Any:
        response = server.ask(method, path, credential, body, **headers)
        assert response.ok, (path, response.text)
        return response.json()

    def submit(action_type: str, **more: Any) -> str:
        body = {
            "agent_id": things["agent"],
            "agent_name": mark,
            "action_type": action_type,
            "resource": f"{mark} resource",
            "action_details": {"amount": 7, "note": mark},
            "context": {"note": mark},
            **more,
        }
        return str(ask("POST", "/api/v1/actions/submit", key, body)["action_id"])

    things["agent"], things["second_agent"] = f"{mark}-agent", f"{mark}-second"
    for _ in range(padding):
        submit("orders_read")
        server.key(None, "agent", organization)
    model = ask(
        "POST",
        "/api/registry/models",
        admin,
        {"model_id": f"{mark}-model", "compliance_status": "approved", "compliance_notes": mark},
    )["model"]
    things["model"], things["model_number"] = model["model_id"], str(model["id"])
    for agent in ("agent", "second_agent"):
        body = {"agent_id": things[agent], "display_name": mark, "metadata": {"note": mark}}
        things["agent_number"] = str(ask("POST", "/api/registry/agents", admin, body)["id"])
        ask("POST", "/api/agents/health/heartbeat", admin, {"agent_id": things[agent], "sdk_version": mark})
    registered = {"server_name": f"{mark}-server", "description": mark, "connection_config": {"note": mark}}
    body = ask("POST", "/api/registry/mcp-servers", admin, registered)["server"]
    things["server"], things["server_number"] = body["server_name"], str(body["id"])
    described = {"component_id": f"{mark}-part", "component_name": mark, "component_type": "library"}
    body = ask("POST", "/api/v1/supply-chain/components", admin, described)["component"]
    things["component"], things["component_number"] = body["component_id"], str(body["id"])
    parts = {"component_ids": [things["component"]]}
    ask("PUT", f"/api/v1/supply-chain/agents/{things['agent']}/dependencies", admin, parts)
    things["session"] = f"{mark}-session"
    team = {"orchestrator_agent_id": things["agent"], "worker_agent_ids": [things["second_agent"]]}
    ask("POST", "/api/v1/orchestration/topology", admin, team)
    told = {"command_type": "RATE_LIMIT", "reason": mark, "parameters": {"note": mark}}
    command = ask("POST", f"/api/registry/agents/{things['agent']}/commands", admin, told)["command"]
    things["command"] = command["command_id"]
    ask("POST", "/api/registry/commands", admin, told)
    resource = {"resource_type": mark, "resource_id": mark, "sensitivity_level": mark}
    body = ask("POST", "/api/v1/resource-classifications", admin, resource)["classification"]
    things["classification"] = str(body["id"])
    hook = {"url": f"http://127.0.0.1:9999/{mark}", "events": ["action.denied"], "active": False}
    things["webhook"] = ask("POST", "/api/sdk/webhooks/configure", admin, hook)["webhook_id"]
    inside = {"orchestration_session_id": things["session"], "session_id": things["session"]}
    things["ran"] = submit("orders_read", **inside)
    ask("POST", f"/api/agent-action/{things['ran']}/complete", key)
    things["running"] = submit("orders_read", **inside)
    for what in ("pending", "approved", "denied"):
        things[what] = submit("refund", **inside)
    body = {"comments": mark}
    ask("POST", f"/api/actions/{things['approved']}/approve", approver, body)
    ask("POST", f"/api/actions/{things['denied']}/deny", approver, body)
    output = {"content": "4111 1111 1111 1111", "agent_id": things["agent"], "action_id": int(things["ran"])}
    ask("POST", "/api/v1/output-filter/scan", key, output)
    stop = f"/api/billing/kill-switch/{organization}/trigger"
    ask("POST", stop, admin, {"reason": f"{mark} stop", "agent_id": things["second_agent"]})
    things["alert"] = ask("GET", "/api/alerts", admin)["alerts"][0]["alert_id"]
    number = server.store.read(lambda reader: organization_number(reader, organization))
    things["organization_number"] = str(number)
    return things


def bodies(endpoint: Endpoint, ids: dict[str, str]) -> list[Any]:
    """Bodies for an endpoint which name these things wherever a body can name any; ``[None]`` for one without."""
    if endpoint.body is None:
        return [None]
    return _BODIES[endpoint.name](ids)


def queries(endpoint: Endpoint, ids: dict[str, str]) -> list[dict[str, str]]:
    """Queries likewise, the empty one among them."""
    fields = () if endpoint.query is None else endpoint.query.__struct_fields__
    return [{}, {"agent_id": ids["agent"]}] if "agent_id" in fields else [{}]


def _submit(**more: Any) -> dict[str, Any]:
    return {"agent_id": "mallory", "agent_name": "m", "action_type": "orders_read", "resource": "x", **more}


_HEX = "ab" * 32
_WHY = lambda ids: [{"reason": "a reason of ten"}]

_BODIES: dict[str, Any] = {
    "submit_action": lambda ids: [
        _submit(agent_id=ids["agent"]),
        _submit(parent_action_id=int(ids["ran"]), orchestration_session_id=ids["session"]),
        _submit(parent_action_id=int(ids["ran"])),
        _submit(orchestration_session_id=ids["session"], session_id=ids["session"]),
        _submit(mcp_server_name=ids["server"]),
        _submit(model_id=ids["model"]),
        _submit(model_id=ids["model_number"]),
        _submit(action_type="refund", digest=_HEX, repeatable=True, runner="ab" * 16),
    ],
    "submit_mcp_action": lambda ids: [
        {"mcp_server": ids["server"], "namespace": "n", "verb": "read", "resource": "r", "agent_id": "m"}
    ],
    "claim_action": lambda ids: [{"digest": _HEX, "running": _HEX, "runner": "cd" * 16}],
    "withdraw_action": _WHY,
    "detach_action": lambda ids: [{"runner": "cd" * 16}],
    "report_outcomes": lambda ids: [
        {"outcomes": [{"action_id": ids[name], "status": status, "detail": "x"}]}
        for name, status in (
            ("running", "completed"),
            ("running", "failed"),
            ("pending", "failed"),
            ("ran", "failed"),
        )
    ],
    "complete_action": lambda ids: [{}],
    "fail_action": lambda ids: [{"error": "e"}],
    "evaluate_policy": lambda ids: [
        {"action_type": "refund", "resource": "r", "agent_id": ids["agent"]},
        {"action_type": "refund", "resource": ids["session"], "agent_id": "mallory"},
    ],
    "approve_action": lambda ids: [{}, {"arguments": {"amount": 1}}],
    "deny_action": lambda ids: [{"reason": "r"}],
    "clear_denial": lambda ids: [{}],
    "trigger_kill_switch": lambda ids: [
        {"reason": "ten characters"},
        {"reason": "ten characters", "agent_id": ids["agent"]},
    ],
    "release_kill_switch": lambda ids: [
        {"reason": "ten characters"},
        {"reason": "ten characters", "agent_id": ids["second_agent"]},
    ],
    "configure_webhook": lambda ids: [
        {"url": "http://127.0.0.1:9999/", "events": ["action.denied"], "agent_id": ids["agent"]}
    ],
    "update_webhook": lambda ids: [{"active": True}],
    "register_agent": lambda ids: [{"agent_id": ids["agent"]}],
    "update_agent": lambda ids: [
        {"display_name": "d"},
        {"model_id": int(ids["model_number"])},
        {"model_id": ids["model"]},
    ],
    "activate_agent": _WHY,
    "suspend_agent": _WHY,
    "deactivate_agent": _WHY,
    "heartbeat": lambda ids: [{"agent_id": ids["agent"]}],
    "issue_command": lambda ids: [{"command_type": kind, "reason": "r"} for kind in ("BLOCK", "UNBLOCK")],
    "broadcast_command": lambda ids: [{"command_type": kind, "reason": "r"} for kind in ("BLOCK", "UNBLOCK")],
    "register_model": lambda ids: [{"model_id": ids["model"]}],
    "update_model": lambda ids: [{"compliance_status": "denied"}],
    "register_mcp_server": lambda ids: [{"server_name": ids["server"]}],
    "activate_mcp_server": _WHY,
    "deactivate_mcp_server": _WHY,
    "register_component": lambda ids: [
        {"component_id": ids["component"], "component_name": "c", "component_type": "tool"}
    ],
    "update_component": lambda ids: [{"version": "6"}],
    "set_agent_dependencies": lambda ids: [
        {"component_ids": [ids["component"]]},
        {"component_ids": [ids["component_number"]]},
    ],
    "register_topology": lambda ids: [
        {"orchestrator_agent_id": ids["agent"], "worker_agent_ids": [ids["second_agent"]]}
    ],
    "register_mcp_topology": lambda ids: [
        {"orchestrator_agent_id": ids["agent"], "mcp_server_ids": [int(ids["server_number"])]}
    ],
    "cascade_kill": lambda ids: [{"reason": "r"}, {"reason": "r", "confirm": True}],
    "set_output_filter_config": lambda ids: [{"enabled": False}],
    "scan_output": lambda ids: [
        {"content": "hello", "agent_id": "mallory", "action_id": int(ids["ran"])},
        {"content": "hello", "agent_id": ids["agent"]},
    ],
    "classify_resource": lambda ids: [
        {"resource_type": ids["session"], "resource_id": "r", "sensitivity_level": "low"}
    ],
}


def everything_of(path: Path, organization: str) -> str:
    """Every row of a database that is an organization's, but how far deliveries have read, which they do by themselves."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = connection.execute(
            "SELECT number FROM heads WHERE organization=?", (organization,)
        ).fetchone()
        number = -1 if found is None else found[0]
        where = {
            **dict.fromkeys(("log", "actions"), "key >> 40 = :number ORDER BY key"),
            "approvals": "action >> 40 = :number ORDER BY action, approver",
            "kill_switches": "organization=:organization ORDER BY agent_id",
            **dict.fromkeys(("heads", "runners"), "organization=:organization ORDER BY 1, 2"),
            "things": "organization=:organization OR organization='' AND name=:organization ORDER BY organization, id, name",
            "bookkeeping": "organization=:organization AND kind<>'cursor' ORDER BY id",
        }
        values = {"number": number, "organization": organization}
        rows = {
            table: connection.execute(f"SELECT * FROM {table} WHERE {condition}", values).fetchall()
            for table, condition in where.items()
        }
        return json.dumps(rows, default=repr, indent=0)
    finally:
        connection.close()


def credentials(server: Serving, organization: str, agent: str | None = None) -> dict[str, str]:
    """One of each kind that an organization can give out."""
    issuer = LocalIssuer(server.store.secret)
    return {
        "an agent's key": server.key(agent or "mallory", "agent", organization),
        "any agent's key": server.key(None, "agent", organization),
        "an admin's key": server.key(None, "admin", organization),
        **{
            f"a person who is {role}": issuer.issue(
                f"{role}@example.org", role=role, groups=["finance"], organization=organization
            )
            for role in ("viewer", "approver", "admin")
        },
    }
