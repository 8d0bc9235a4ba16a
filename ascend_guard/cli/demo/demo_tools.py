"""The agent's tools, as a developer writes them, and the policy that governs them.

They really act: on a SQLite database, in a folder, and on a payment service over HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ascend_guard import governed

from .world import World

POLICY = """\
version: 1
default: deny

rules:
  - name: customers
    actions: [database_read]
    tools: [shop-database]
    when: |
      args.customer_id.matches("^C-[0-9]{1,9}$") && args.all(name, name == "customer_id") && risk.score < 50
    effect: allow

  - name: inbox
    actions: [file_read]
    tools: [filesystem]
    when: args.name.matches("^[a-z0-9]{1,40}[.]txt$") && args.all(name, name == "name") && risk.score < 50
    effect: allow

  - name: tickets                     # calls made inside it are judged too
    actions: [ticket_resolve]
    tools: [helpdesk]
    when: |
      args.ticket.matches("^T-[0-9]{1,9}$") && args.customer_id.matches("^C-[0-9]{1,9}$")
      && args.order_id.matches("^[0-9]{1,9}$") && args.amount > 0 && args.amount <= 500 && risk.score < 70
      && args.all(name, name in ["ticket", "customer_id", "order_id", "amount"])
    effect: allow

  - name: exports
    actions: [file_write]
    tools: [filesystem]
    when: args.name.matches("^[a-z0-9]{1,40}[.]csv$") && args.all(name, name == "name") && risk.score < 50
    effect: allow

  - name: small-refunds
    actions: [refund]
    tools: [payments]
    when: |
      args.amount > 0 && args.amount <= 500
      && args.order_id.matches("^[0-9]{1,9}$") && args.all(name, name in ["order_id", "amount"])
    effect: allow

  - name: big-refunds
    actions: [refund]
    when: args.amount > 500 || risk.score >= 70
    effect: require_approval
    approvers: [finance]
    timeout: 1h
    reason: Refunds above 500 need finance.

  - name: invoices
    actions: [invoice_send]
    effect: require_approval
    approvers: [finance]
    timeout: 1h
    reason: Finance sees invoices before customers do.

  - name: no-deletes
    actions: ["*_delete"]
    effect: deny
    reason: Agents do not delete. Ask the owner of the data.
"""

Line = dict[str, str | float]

PACE = 0.005
"""Seconds between two rows of an export, so that there is time to stop it."""


class Tools:
    """The agent's tools.

    Args:
        world: what they act on.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    @governed("refund", "payments", resource="orders/{order_id}", timeout=60)
    def refund(self, order_id: str, amount: float) -> str:
        body = {"order_id": order_id, "amount": amount}
        return self.world.post("/refunds", body)

    @governed("database_read", "shop-database", resource="customers/{customer_id}")
    def find_customer(self, customer_id: str) -> tuple[str, ...]:
        with self.world.database() as database:
            query = "SELECT id, name, email FROM customers WHERE id = ?"
            return tuple(database.execute(query, (customer_id,)).fetchone())

    @governed("database_delete", "shop-database", resource="customers/{customer_id}")
    def delete_customer(self, customer_id: str) -> None:
        with self.world.database() as database:
            database.execute("DELETE FROM customers WHERE id = ?", (customer_id,))

    @governed("invoice_send", "payments", resource="customers/{customer_id}", timeout=60)
    def send_invoice(self, customer_id: str, lines: list[Line]) -> str:
        return self.world.post("/invoices", {"customer_id": customer_id, "lines": lines})

    @governed("file_read", "filesystem", resource="inbox/{name}")
    def read_mail(self, name: str) -> str:
        return (self.world.folder / "inbox" / name).read_text()

    @governed("ticket_resolve", "helpdesk", resource="tickets/{ticket}")
    def resolve_ticket(self, ticket: str, customer_id: str, order_id: str, amount: float) -> dict[str, Any]:
        customer = self.find_customer(customer_id)
        return {"ticket": ticket, "customer": customer, "refund": self.refund(order_id, amount)}

    @governed("file_write", "filesystem", resource="exports/{name}")
    def export_customers(self, name: str) -> Iterator[int]:
        path = self.world.folder / "exports" / name
        with self.world.database() as database, path.open("w") as file:
            rows = database.execute("SELECT id, name, email FROM customers ORDER BY id")
            for number, row in enumerate(rows, 1):
                file.write(",".join(row) + "\n")
                file.flush()
                time.sleep(PACE)
                yield number
