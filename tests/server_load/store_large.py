"""A database in which every list is long, and some are large."""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.engine import webhooks
from ascend_guard.engine.registry.agents import AGENTS, Agent
from ascend_guard.engine.registry.classifications import CLASSIFICATIONS, Classification
from ascend_guard.engine.registry.mcp_servers import MCP_SERVERS, McpServer
from ascend_guard.engine.registry.models import MODELS, Model
from ascend_guard.engine.registry.output_filter import SCANS, Finding, Scanned
from ascend_guard.engine.registry.sensitive import Category, Kind
from ascend_guard.engine.registry.supply_chain import COMPONENTS, Component, ComponentType, Dependencies
from ascend_guard.engine.registry.topology import TOPOLOGIES, Topology
from ascend_guard.model import RiskLevel, iso
from ascend_guard.store.port import Store, Transaction
from ascend_guard.store.projections import thing

COUNT = 60
_TEXT = "ein langer Text, " * 3000


def fill(store: Store) -> str:
    """Fill it; the identifier of a webhook."""
    for work in (_actions, _things, _scans):
        store.write(work)
    return store.write(_webhooks)


def _actions(tx: Transaction) -> None:
    said: dict[str, Any] = {"decision": "denied", "reason": "no", "digest": "d" * 64}
    said["risk"] = {"level": "high", "score": 80.0}
    asked = {
        "agent_id": "agent-0",
        "agent_name": "A",
        "action_type": "orders_read",
        "tool_name": "orders",
        "resource": "r" * 500,
        "orchestration_session_id": "session",
    }
    for number in range(COUNT):
        action = asked | {"action_details": {"text": _TEXT[: number * 900]}}
        submitted = said | {"action_id": tx.next_action("local"), "action": action}
        tx.record("submitted", organization="local", actor="agent-0", **submitted)


def _things(tx: Transaction) -> None:
    for number in range(COUNT):
        component = Component(f"C {number}", ComponentType.LIBRARY, compliance_notes=_TEXT)
        _put(tx, COMPONENTS.kind, f"component-{number}", component)
        _put(tx, AGENTS.kind, f"agent-{number}", Agent(f"Agent {number}"))
        _put(tx, MODELS.kind, f"model-{number}", Model(f"Model {number}"))
        _put(tx, MCP_SERVERS.kind, f"server-{number}", McpServer(f"Server {number}"))
        _put(tx, TOPOLOGIES.kind, f"agent-{number}", Topology([f"worker-{number}"]))
        said = Classification(
            resource_type="table",
            resource_id=f"t-{number}",
            sensitivity_level="high",
            metadata={"about": _TEXT},
        )
        _put(tx, CLASSIFICATIONS.kind, f"table/t-{number}", said)
    numbers = [entry.number for entry in COMPONENTS.all(tx, "local")]
    for number in range(COUNT):
        built = Dependencies(numbers if number == 0 else numbers[:1])
        _put(tx, "dependencies", f"agent-{number}", built)


def _put(tx: Transaction, kind: str, name: str, value: Any) -> None:
    tx.record("filled", organization="local", actor="a test", put=[thing(kind, name, value)])


def _scans(tx: Transaction) -> None:
    found = [Finding(kind, Category.SECRET, RiskLevel.HIGH, 1, [(0, 1)]) for kind in Kind]
    for number in range(COUNT):
        SCANS.put(tx, "local", f"scan-{number}", Scanned("agent-0", 1, True, found[: number % 4]))


def _webhooks(tx: Transaction) -> str:
    name = ""
    for number in range(COUNT):
        name = f"wh_{number:024x}"
        webhook = webhooks.Webhook("https://example.com/" + "x" * 1000, ["*"], "sealed", None, False)
        _put(tx, "webhook", name, webhook)
    for number in range(COUNT):
        delivery = webhooks.Delivery(
            f"dlv_{number}", "action.denied", iso(1e9), {"text": _TEXT}, iso(1e9), iso(1e9)
        )
        delivery.status = "delivered"
        tx.put_record("local", webhooks.finished(name), delivery.delivery_id, msgspec.json.encode(delivery))
    return name
