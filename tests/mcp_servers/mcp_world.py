"""A control plane over one database, and a journal of what tools did, for servers in this process and in others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import world
from recorded import trail_of

from ascend_guard.store.port import ActionRow

POLICY = """
version: 1
rules:
  - {name: looks, actions: ["*.look", "*.boom", "*.slow", "*.nested", "*.anything"], effect: allow}
  - {name: big, actions: ["*.spend"], when: args.amount > 100, effect: require_approval, timeout: 30m, reason: Ask finance.}
  - {name: small, actions: ["*.spend"], when: args.amount <= 100, effect: allow}
  - {name: pays, actions: ["*.pay", "*.free"], effect: require_approval, timeout: 30m, reason: Ask finance.}
  - {name: hurries, actions: ["*.hurry"], effect: require_approval, timeout: 1s, reason: Ask finance at once.}
  - {name: no-wipes, actions: ["*.wipe"], effect: deny, reason: Nothing is wiped.}
"""

TOOLS = ("look", "pay", "wipe", "hurry", "spend", "boom", "slow", "nested")


class Journal:
    """What the tools' bodies were called with, kept in a file that server processes share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, tool: str, **arguments: Any) -> None:
        """Write one run down."""
        with self.path.open("a") as file:
            file.write(json.dumps({"tool": tool, **arguments}) + "\n")

    def runs(self) -> list[dict[str, Any]]:
        """All runs so far."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def of(self, order: str) -> list[dict[str, Any]]:
        """The runs for one order."""
        return [run for run in self.runs() if run.get("order") == order]


class World(world.World):
    """The shared world with this policy, and the journal."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, POLICY, agent_id="shopper", default=False)
        self.journal = Journal(folder / "journal.jsonl")
        self.orders = 0

    def order(self) -> str:
        """A new order's name."""
        self.orders += 1
        return f"o-{self.orders}"

    def rows(self) -> list[ActionRow]:
        """All actions, oldest first, with everything that was posted."""
        self.plane.store.write(lambda tx: None)
        return super().rows()

    def of(self, order: str) -> list[ActionRow]:
        """The actions about one order."""
        return [row for row in self.rows() if self.asked(row).action_details.get("order") == order]

    def events_of(self, row: ActionRow) -> list[str]:
        """What the audit trail says of an action."""
        return [record.event for record in self.plane.read(lambda reader: list(trail_of(reader, row.id)))]

    def until(self, wanted: Callable[[], Any], seconds: float = 8) -> Any:
        """What ``wanted`` gives as soon as it gives something."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = wanted()
            if found:
                return found
            time.sleep(0.005)
        raise AssertionError(f"still not: {wanted}; there are {self.rows()}")

    def waiting(self, order: str, *, waited_for: bool = True) -> ActionRow:
        """The pending action about an order, once a call waits for it, or once none does any more."""

        def found() -> list[ActionRow]:
            return [
                row for row in self.of(order) if row.status == "pending" and bool(row.waiter) is waited_for
            ]

        row: ActionRow = self.until(found)[0]
        return row

    def close(self) -> None:
        """Close the database, and see that its audit trail is whole."""
        try:
            self.verify()
        finally:
            super().close()
