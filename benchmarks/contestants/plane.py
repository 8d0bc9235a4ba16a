"""The policy, the control plane and the arguments of all our own contestants."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, cast

from ascend_guard import EmbeddedControlPlane
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import Durability, SQLiteStore

if TYPE_CHECKING:
    from ascend_guard.client.guard.control_plane import RemoteControlPlane

POLICY = """
version: 1
rules:
  - name: small refunds
    actions: [refund, "*.refund"]
    when: args.amount <= 500
    effect: allow
  - name: held
    actions: [pay_out, "*.pay_out"]
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

ARGUMENTS: tuple[Any, ...] = (42, "late delivery")
"""The arguments after the order's number, which is new for every call."""


def arguments(number: int) -> dict[str, Any]:
    """The arguments of a framework's tool ``refund``, by name."""
    return {"order_id": f"order-{number}", "amount": 42, "note": "late delivery"}


def control_plane(folder: str | Path, durability: str) -> EmbeddedControlPlane:
    """An embedded control plane with its database in this folder."""
    store = SQLiteStore(Path(folder) / "ascend.db", durability=cast(Durability, durability))
    return EmbeddedControlPlane(store, parse_policy(POLICY, "benchmark"), agent_id="bench")


def wait_until_live(plane: RemoteControlPlane) -> None:
    """Wait for the stream that the first call opened."""
    patience = monotonic() + 10
    while not plane._feed.live:
        assert monotonic() < patience, "the stream does not open"
        sleep(0.01)
