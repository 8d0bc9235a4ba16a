"""agent-governance-toolkit-core: ``govern()`` with its audit log, in memory, as it ships."""

from __future__ import annotations

import warnings

from serving import serve

warnings.simplefilter("ignore", DeprecationWarning)

from agentmesh.governance import GovernanceDenied, govern

POLICY = """
apiVersion: governance.toolkit/v1
name: benchmark
default_action: deny
rules:
  - name: small refunds
    condition: "action.type == 'refund' and amount.value <= 500"
    action: allow
"""


def refund(action: str, order_id: str, amount: int, note: str) -> None:
    return None


# Keywords only: its policies do not see positional arguments after the first.
governed = govern(refund, policy=POLICY)
try:
    governed(action="refund", order_id="order-0", amount=900, note="too much")
except GovernanceDenied:
    pass
else:
    raise SystemExit("its policy is not in force")

serve(lambda number: governed(action="refund", order_id=f"order-{number}", amount=42, note="late delivery"))
