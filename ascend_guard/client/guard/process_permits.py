"""State of one process: approvals of a server that keeps no permits, and permits on their way to a coroutine.

A forked child has none of it; ``processes.renewed_in_children`` clears it before any other code runs in the child.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from ascend_guard.client.http.exchange import Sender
from ascend_guard.client.http.transport import Answer
from ascend_guard.errors import ConflictError
from ascend_guard.model import ActionResult

REMEMBERED = 100_000
"""How many used approvals are remembered."""


class ProcessPermits:
    """Approvals that have not been used, and those that have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._granted: dict[str, ActionResult] = {}
        self._used: dict[str, None] = {}

    def keep(self, result: ActionResult) -> ActionResult:
        """Return the same decision, without any permit fields of such a server. An approval is kept, once."""
        result = msgspec.structs.replace(result, claimed=False)
        if result.is_approved():
            with self._lock:
                if result.action_id not in self._used:
                    self._granted[result.action_id] = result
        return result

    def take(self, action_id: str) -> ActionResult:
        """Take the only permit of an approval.

        Raises:
            ConflictError: the permit has been taken.
        """
        granted = self.drop(action_id)
        if granted is None:
            raise ConflictError(
                f"Blocked: the approval of action {action_id} has been used; one approval is valid for one run. "
                f"Call again to request approval again.",
                action_id=action_id,
            )
        return msgspec.structs.replace(granted, claimed=True)

    def drop(self, action_id: str) -> ActionResult | None:
        """Discard an approval, now and when the server reports it as approved again."""
        with self._lock:
            self._used[action_id] = None
            if len(self._used) > REMEMBERED:
                del self._used[next(iter(self._used))]
            return self._granted.pop(action_id, None)


class Underway:
    """Sends requests for one coroutine that asks for a permit. If it is cancelled, a late answer is passed to ``orphaned``.

    Args:
        transport: sends the requests.
        orphaned: receives an answer that arrives after the cancellation, in any thread.
    """

    def __init__(self, transport: Sender, orphaned: Callable[[Answer], None]) -> None:
        self._transport = transport
        self._orphaned = orphaned
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        self._abandoned = False

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        timeout: float | None = None,
    ) -> Answer:
        """Send, as the transport does."""
        answer = self._transport.send(method, path, body=body, headers=headers, timeout=timeout)
        with self._lock:
            self._answer = answer
            abandoned = self._abandoned
        if abandoned:
            self._orphaned(answer)
        return answer

    def abandon(self) -> None:
        """Note that the coroutine was cancelled."""
        with self._lock:
            self._abandoned = True
            answer = self._answer
        if answer is not None:
            self._orphaned(answer)
