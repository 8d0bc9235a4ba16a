"""ctrlrun: ``@protect`` with the store and the event files of ``Control.from_file``. Usage: FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import ctrlrun
from serving import serve

POLICY = """
schema: ctrlrun.policy/v2
actions:
  payments.refund:
    effect: "refund:{order_id}"
    rules:
      - when: { amount_gte: 0, amount_lte: 500 }
        decision: allow
      - decision: deny
"""
policy = Path(sys.argv[1]) / "ctrlrun.yaml"
policy.write_text(POLICY)
control = ctrlrun.Control.from_file(policy)


@ctrlrun.protect("payments.refund", effect="refund:{order_id}", control=control)
def refund(order_id: str, amount: int, note: str) -> None:
    return None


with ctrlrun.context(agent="bench"):
    serve(lambda number: refund(f"order-{number}", 42, "late delivery"))
