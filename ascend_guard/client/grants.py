"""Approvals of a server that keeps no permits: kept in this process, each to be taken once."""

from __future__ import annotations

import threading

import msgspec

from ascend_guard.errors import ConflictError
from ascend_guard.model import ActionResult


class Grants:
    """What was approved and not run yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._granted: dict[str, ActionResult] = {}

    def keep(self, result: ActionResult) -> ActionResult:
        """The same decision; what such a server says of permits is not believed. An approval is kept."""
        result = msgspec.structs.replace(result, claimed=False)
        if result.is_approved():
            with self._lock:
                self._granted[result.action_id] = result
        return result

    def take(self, action_id: str) -> ActionResult:
        """The one permit of an approval.

        Raises:
            ConflictError: it has been taken.
        """
        granted = self.drop(action_id)
        if granted is None:
            raise ConflictError(
                f"Blocked: the approval of action {action_id} has been used; one approval is good for one run. "
                f"Call again to ask anew.",
                action_id=action_id,
            )
        return msgspec.structs.replace(granted, claimed=True)

    def drop(self, action_id: str) -> ActionResult | None:
        """Let nobody take it."""
        with self._lock:
            return self._granted.pop(action_id, None)
