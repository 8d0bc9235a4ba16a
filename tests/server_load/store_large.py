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
from ascend_guard.store.port import ActionRow, Store, Transaction

COUNT = 60
_TEXT = "ein langer Text, " * 3000
_ACTION = ActionRow(
    *(
        0,
        "local",
        "denied",
        "agent-0",
        "A",
        "orders_read",
        "orders",
        "r" * 500,
        80.0,
        "high",
        None,
        "no",
        None,
    ),
    *("session", None, 0, "d" * 64, 1e9),
)


def fill(store: Store) -> str:
    """Fill it; the identifier of a webhook."""
    for work in (_actions, _things, _scans):
        store.write(work)
    return store.write(_webhooks)


def _actions(tx: Transaction) -> None:
    for number in range(COUNT):
        action = tx.insert_action(msgspec.structs.replace(_ACTION, submitted_seq=tx.next_seq))
        said: dict[str, Any] = {"decision": "denied", "risk": {"level": "high", "score": 80.0}}
        asked = {
            "resource": "r",
            "action_type": "orders_read",
            "action_details": {"text": _TEXT[: number * 900]},
        }
        tx.record("submitted", organization="local", actor="agent-0", action_id=action, action=asked, **said)


def _things(tx: Transaction) -> None:
    for number in range(COUNT):
        component = Component(f"C {number}", ComponentType.LIBRARY, compliance_notes=_TEXT)
        COMPONENTS.keep(tx, "local", f"component-{number}", component)
        AGENTS.keep(tx, "local", f"agent-{number}", Agent(f"Agent {number}"))
        MODELS.keep(tx, "local", f"model-{number}", Model(f"Model {number}"))
        MCP_SERVERS.keep(tx, "local", f"server-{number}", McpServer(f"Server {number}"))
        TOPOLOGIES.keep(tx, "local", f"agent-{number}", Topology([f"worker-{number}"]))
        said = Classification(
            resource_type="table",
            resource_id=f"t-{number}",
            sensitivity_level="high",
            metadata={"about": _TEXT},
        )
        CLASSIFICATIONS.keep(tx, "local", f"table/t-{number}", said)
    numbers = [entry.number for entry in COMPONENTS.all(tx, "local")]
    for number in range(COUNT):
        built = Dependencies(numbers if number == 0 else numbers[:1])
        tx.put_record("local", "dependencies", f"agent-{number}", msgspec.json.encode(built))


def _scans(tx: Transaction) -> None:
    found = [Finding(kind, Category.SECRET, RiskLevel.HIGH, 1, [(0, 1)]) for kind in Kind]
    for number in range(COUNT):
        SCANS.keep(tx, "local", f"scan-{number}", Scanned("agent-0", 1, True, found[: number % 4]))


def _webhooks(tx: Transaction) -> str:
    name = ""
    for number in range(COUNT):
        name = f"wh_{number:024x}"
        webhook = webhooks.Webhook("https://example.com/" + "x" * 1000, ["*"], "sealed", None, False)
        tx.put_record("local", "webhook", name, msgspec.json.encode(webhook))
    for number in range(COUNT):
        delivery = webhooks.Delivery(
            f"dlv_{number}", "action.denied", iso(1e9), {"text": _TEXT}, iso(1e9), iso(1e9)
        )
        delivery.status = "delivered"
        tx.put_record("local", webhooks.finished(name), delivery.delivery_id, msgspec.json.encode(delivery))
    return name
