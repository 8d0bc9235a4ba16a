"""What many tests share: how long to go on, and a small policy."""

from __future__ import annotations

import os

PROFILE = os.environ.get("ASCEND_TEST_PROFILE", "quick")

SCHEDULES = {"quick": 150, "ci": 450, "full": 10_000}[PROFILE]
"""How many random schedules the promises are put to. The ci profile draws the same ones in each run, so
thousands of them would find nothing new. Quick runs draw new ones each time, and a full run draws thousands."""

POLICY = """
version: 1
rules:
  - {name: reads, actions: ["*_read"], effect: allow}
  - {name: small-refunds, actions: [refund], when: args.amount <= 500.0, effect: allow}
  - name: big-refunds
    actions: [refund]
    when: args.amount > 500.0
    effect: require_approval
    approvers: [finance]
    timeout: 30m
    reason: Refunds above 500 need finance.
  - {name: no-deletes, actions: ["*_delete"], effect: deny, reason: Deletes are off.}
"""
