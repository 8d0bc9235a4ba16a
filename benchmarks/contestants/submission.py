"""The submission of contestants over plain HTTP. Imports nothing."""

SUBMISSION = {
    "agent_id": "bench",
    "agent_name": "bench",
    "action_type": "refund",
    "description": "payments",
    "tool_name": "payments",
    "action_details": {"order_id": "order-1", "amount": 42, "note": "late delivery"},
}
