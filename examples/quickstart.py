"""Sixty seconds of ascend-guard: a call that runs, a call that is denied, and a call that waits for a person.

Run it from anywhere::

    python examples/quickstart.py

It decides in this process, with the policy below, and works in a temporary folder. Nothing else is needed.
"""

import tempfile
from pathlib import Path

import ascend_guard
from ascend_guard import ActionPendingError, AuthorizationDeniedError, EmbeddedControlPlane, governed

POLICY = """\
version: 1
default: deny                     # what no rule below speaks of

rules:
  # A rule that allows says all that a call may be: both ends of the amount, one order number, no other argument.
  - name: small-refunds
    actions: [refund]
    tools: [refund]
    when: |
      args.amount > 0 && args.amount <= 100 && risk.score < 70
      && args.order_id.matches("^[0-9]{1,9}$") && args.all(name, name in ["order_id", "amount"])
    effect: allow

  - name: big-refunds
    actions: [refund]
    when: args.amount > 100 || risk.score >= 70
    effect: require_approval
    reason: Refunds above 100 need finance.

  - name: no-deletes
    actions: ["*_delete"]
    effect: deny
    reason: Agents do not delete.
"""

orders = {"7731": 940.0, "7764": 12.5}


@governed("refund", resource="orders/{order_id}", on_pending="raise")
def refund(order_id: str, amount: float) -> str:
    """Any function of yours. Its body runs only after this call has been approved."""
    orders[order_id] -= amount
    return f"refunded {amount:.2f} on order {order_id}"


@governed("order_delete", resource="orders/{order_id}")
def delete_order(order_id: str) -> None:
    """Another function, which the policy does not let run."""
    del orders[order_id]


def main(folder: Path) -> None:
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    # Or set ASCEND_POLICY, and remove this.
    plane = ascend_guard.configure(
        policy=policy, database_url=f"sqlite:///{folder}/ascend.db", agent_id="support"
    )
    assert isinstance(plane, EmbeddedControlPlane)

    print("1. The policy allows it:", refund("7764", amount=12.5))

    try:
        delete_order("7731")
    except AuthorizationDeniedError as error:
        print("2. The policy denies it:", error)
    assert "7731" in orders

    try:
        refund("7731", 940.0)
    except ActionPendingError as error:
        print("3. A person has to decide:", error)
        assert orders["7731"] == 940.0
        # A person does this in another terminal, with `ascend-guard approvals approve`.
        plane.approve(str(error.action_id), approver="ana", comment="Charged twice.")

    # The same call, made again, resumes the action and uses the approval, once. With on_pending="wait", which is the
    # default, the first call would have waited until ana had decided.
    print("4. Approved by ana:", refund("7731", 940.0))
    try:
        refund("7731", 940.0)
    except ActionPendingError:
        print("5. One approval is valid for one run: the next refund waits again.")

    report = plane.verify_audit()
    print(f"6. The audit trail has {report.records} records and is intact: {report.ok}")
    plane.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
