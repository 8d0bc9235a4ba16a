"""agentbarrier: ``RuntimeBarrier.protect`` on its SQLite store. Usage: FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from agentbarrier.runtime import RuntimeBarrier, RuntimePolicy, SQLiteRuntimeStore
from serving import serve

POLICY = {
    "version": "1",
    "default": "deny",
    "rules": [
        {
            "name": "small refunds",
            "effect": "allow",
            "tool": "payments.refund",
            "conditions": [{"path": "amount", "operator": "le", "value": 500}],
        }
    ],
}


def refund(order_id: str, amount: int, note: str) -> None:
    return None


store = SQLiteRuntimeStore(Path(sys.argv[1]) / "agentbarrier.db")
barrier = RuntimeBarrier(policy=RuntimePolicy.from_mapping(POLICY), store=store)
governed = barrier.protect(refund, tool_name="payments.refund", idempotency_key="order_id")
serve(lambda number: governed(f"order-{number}", 42, "late delivery"))
