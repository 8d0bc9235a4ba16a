"""The policy and the control plane of contestants that are tools of a framework or of an MCP server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ascend_guard import EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import Durability, SQLiteStore

POLICY = """
version: 1
rules:
  - name: small refunds
    actions: ["*.refund"]
    when: args.amount <= 500
    effect: allow
  - name: held
    actions: ["*.pay_out"]
    when: args.amount >= 0
    effect: require_approval
  - name: refunds of one text
    actions: ["*.refund_text"]
    when: args.tool_input.startsWith("order-")
    effect: allow
  - name: as ascend-langchain sends them
    actions: ["*.refund_wrapped"]
    when: args.input.startsWith("order-")
    effect: allow
"""


def control_plane(folder: str | Path, durability: str) -> EmbeddedControlPlane:
    """An embedded control plane with its database in this folder."""
    store = SQLiteStore(Path(folder) / "ascend.db", durability=cast(Durability, durability))
    return EmbeddedControlPlane(store, parse_policy(POLICY, "benchmark"), agent_id="bench")


def arguments(number: int) -> dict[str, Any]:
    """Those of the tool ``refund``; the order is new for every call."""
    return {"order_id": f"order-{number}", "amount": 42, "note": "late delivery"}
