"""``Policy.decide`` on many rules. Usage: RULES KIND.

The calls' action names are ``seen`` before, or ``new`` every time.
"""

from __future__ import annotations

import sys
from itertools import cycle

from serving import serve

from ascend_guard import AgentAction
from ascend_guard.engine.policy import parse_policy
from ascend_guard.engine.risk import assess

NEW_NAMES = 20_000  # more than the policy remembers, so each is new again at its next use


def policy_text(rules: int) -> str:
    lines = ["version: 1", "default: deny", "rules:"]
    for number in range(rules):
        pattern = f"team{number}.refund" if number % 2 else f"team{number}.update_*"
        effect = "allow" if number % 3 else "require_approval"
        lines.append(
            f"  - {{name: rule-{number}, actions: [{pattern}], "
            f"when: args.amount <= {100 + number % 400}, effect: {effect}}}"
        )
    return "\n".join(lines)


def action(number: int, kind: str) -> AgentAction:
    team = number * 7919 % 10 // 2 * 2
    name = f"team{team + 1}.refund" if kind == "seen" else f"team{team}.update_{number}"
    details = {"order_id": "order-1", "amount": 42, "note": "late delivery"}
    return AgentAction("bench", "bench", name, "payments", "payments", action_details=details)


rules, kind = int(sys.argv[1]), sys.argv[2]
policy = parse_policy(policy_text(rules), "benchmark")
actions = [action(number, kind) for number in range(256 if kind == "seen" else NEW_NAMES)]
judged = cycle([(action, assess(action)) for action in actions])
serve(lambda _: policy.decide(*next(judged)))
