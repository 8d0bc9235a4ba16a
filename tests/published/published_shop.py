"""A shop whose agent uses one version of the published SDK, and words for looking at what it is answered."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from published_server import Person, Published


class Shop(NamedTuple):
    """One version of the SDK in use.

    Args:
        sdk: the SDK in its process.
        version: its version.
        agent: the agent it was made for.
        admin_key: an admin's API key.
        ann: someone of finance who may approve.
        ida: an admin.
    """

    sdk: Published
    version: str
    agent: str
    admin_key: str
    ann: Person
    ida: Person

    @property
    def newer(self) -> bool:
        """Whether this is the newer version, which reads more of an answer."""
        return self.version == "2.7.1"

    def admin(self, do: str, *args: Any, **kwargs: Any) -> Any:
        """The same client with an admin's key."""
        return self.sdk.call(do, *args, _as={"api_key": self.admin_key}, **kwargs)

    def another(self, agent_id: str) -> dict[str, Any]:
        """The configuration of a client for another agent."""
        return {"api_key": self.admin_key, "agent_id": agent_id, "agent_name": agent_id.title()}

    def refund(self, amount: float = 900) -> dict[str, Any]:
        """Ask for a refund without waiting: above 500 somebody of finance must agree."""
        decision: dict[str, Any] = self.sdk.call(
            "evaluate_action",
            "refund",
            "stripe",
            parameters={"amount": amount, "order": unique("order")},
            resource_id="orders/7",
            wait_for_decision=False,
        )
        return decision

    def read(self) -> dict[str, Any]:
        """Ask for something that is allowed."""
        decision: dict[str, Any] = self.sdk.call(
            "evaluate_action", "customer_read", "crm", wait_for_decision=False
        )
        assert decision["decision"] == "allowed"
        return decision

    def approve_next(self, order: str) -> dict[str, Any]:
        """Ann approves the pending action about this order as soon as she sees it; what she was answered."""
        return self.ann.approve(waiting(self.ann, order))

    def deny_next(self, order: str) -> dict[str, Any]:
        """She denies it."""
        return self.ann.deny(waiting(self.ann, order))


def waiting(person: Person, order: str) -> str:
    """The id of the pending action about this order, once a person sees it."""
    found: list[str] = []

    def look() -> bool:
        for action in person.get("/api/v1/actions", status="pending", limit=20)["actions"]:
            details = person.get(f"/api/v1/actions/{action['id']}")
            if order in json.dumps(details):
                found.append(str(action["id"]))
                return True
        return False

    until(look)
    return found[0]


def until(holds: Callable[[], bool], patience: float = 30) -> None:
    """Look again and again until something holds."""
    pause = threading.Event()
    for _ in range(int(patience / 0.1)):
        if holds():
            return
        pause.wait(0.1)
    raise AssertionError("it did not come to hold")


def unique(prefix: str) -> str:
    """A name nobody else uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"
