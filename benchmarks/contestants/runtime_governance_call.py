"""agent-runtime-governance: ``Runtime.tool`` with a policy and an audit sink in memory."""

from __future__ import annotations

from agent_runtime_governance import (
    AuditMiddleware,
    InMemoryAuditSink,
    PolicyMiddleware,
    Runtime,
    SimplePolicy,
)
from serving import serve

policy = PolicyMiddleware(SimplePolicy(denied_tools=frozenset({"wipe"})))
runtime = Runtime([policy, AuditMiddleware(InMemoryAuditSink())])


@runtime.tool()
def refund(order_id: str, amount: int, note: str) -> None:
    return None


serve(lambda number: refund(f"order-{number}", 42, "late delivery"))
runtime.close()
