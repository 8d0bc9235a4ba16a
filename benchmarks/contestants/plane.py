"""The control plane and the tool that every contestant of our own uses."""

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
    actions: [refund]
    when: args.amount <= 500
    effect: allow
  - name: forbidden
    actions: [wipe]
    when: args.amount >= 0
    effect: deny
  - name: held
    actions: [pay_out]
    when: args.amount >= 0
    effect: require_approval
"""

ARGUMENTS: tuple[Any, ...] = (42, "late delivery")
"""Those after the order's number, which is new for every call."""


def control_plane(folder: str | Path, durability: str) -> EmbeddedControlPlane:
    """An embedded control plane with its database in this folder."""
    store = SQLiteStore(Path(folder) / "ascend.db", durability=cast(Durability, durability))
    return EmbeddedControlPlane(store, parse_policy(POLICY, "benchmark"), agent_id="bench")
