"""Send outcomes: several in one request if the server supports that, else one by one.

The tool has run, so its caller does not wait for the server. Until an outcome is recorded, the action counts as running; if
it never is, as ``unknown``, as in embedded mode. Outcomes that are sent together wait for ten milliseconds, so that a busy
process sends one request for many calls.
"""

from __future__ import annotations

import _thread
import logging
import queue
import threading
from collections import deque
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from ascend_guard.client.api.answers import mapping_of
from ascend_guard.client.api.asking import ask
from ascend_guard.client.http.exchange import GUARD, ONCE, Exchange, Pause, Retry, Sender, run
from ascend_guard.client.http.identity import Identity
from ascend_guard.errors import ServerError
from ascend_guard.flow import Settle
from ascend_guard.processes import renewed_in_children

from .outbox import TRANSIENT, Outbox
from .wire_format import Features, outcome_item, outcome_request

_log = logging.getLogger("ascend_guard.client")

LINGER = 0.01
"""Seconds that an outcome may wait for others."""

REPORT_TIMEOUT = 5.0
"""The most seconds that a caller waits where outcomes are sent one by one; after that the outbox sends them."""

MOST = 500
"""The most outcomes in one request."""

LARGEST = 100_000
"""The most outcomes that may wait while the server is unavailable; the oldest are discarded first."""


class _Refused(msgspec.Struct):
    action_id: str
    detail: str


class _Answer(msgspec.Struct):
    refused: list[_Refused] = []


class Outcomes:
    """Sends outcomes together.

    Args:
        api: the client's identity.
        transport: sends the requests.
        outbox: sends what no call waits for.
    """

    def __init__(self, api: Identity, transport: Sender, outbox: Outbox) -> None:
        self._api = api
        self._transport = transport
        self._outbox = outbox
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Start with nothing to send. The parent process sends its own outcomes."""
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._echoed = False
        self._going = False
        self._beside: queue.SimpleQueue[tuple[Settle, Features | None]] = queue.SimpleQueue()
        self._carrying = _thread.allocate_lock()

    def settle(self, effect: Settle, features: Features | None) -> None:
        """Send this outcome, in the way that the effect asks for."""
        if effect.beside:
            self._from_a_thread(effect, features)
        elif not self.posted(effect, features):
            self.report(effect)

    def _from_a_thread(self, effect: Settle, features: Features | None) -> None:
        """Send from a thread. Safe in finalisers: it takes no lock that its caller may hold."""
        self._beside.put((effect, features))
        if self._carrying.acquire(blocking=False):
            try:
                # Starting a ``threading.Thread`` takes locks; a finaliser may have interrupted their owner.
                _thread.start_new_thread(self._carry, ())
            except RuntimeError:  # the process ends, or has no thread left: the outcome shows as unknown
                self._carrying.release()

    def _carry(self) -> None:
        while True:
            try:
                effect, features = self._beside.get_nowait()
            except queue.Empty:
                self._carrying.release()
                if self._beside.empty() or not self._carrying.acquire(blocking=False):
                    return
                continue
            if not self.posted(effect, features):
                self._outbox.post(partial(reported, self._api, effect))

    def report(self, effect: Settle) -> None:
        """Send this now, or through the outbox if that fails."""
        try:
            run(reported(self._api, effect, ONCE, self._api.clock() + REPORT_TIMEOUT), self._transport)
        except TRANSIENT:
            self._outbox.post(partial(reported, self._api, effect))

    def posted(self, effect: Settle, features: Features | None) -> bool:
        """Send this soon, if the server accepts several outcomes in one request."""
        if features is None or not features.outcomes:
            return False
        item = outcome_item(effect)
        with self._lock:
            self._echoed = features.echo
            if len(self._waiting) >= LARGEST:
                self._waiting.popleft()
                _log.error("Too many outcomes wait for the control plane; the oldest was discarded.")
            self._waiting.append(item)
            going, self._going = self._going, True
        if not going:
            self._outbox.post(self._report, always=True)
        return True

    def _report(self) -> Exchange[None]:
        yield Pause(LINGER)
        with self._lock:
            batch = list(islice(self._waiting, MOST))
        try:
            if batch:
                yield from self._send(batch)
        except TRANSIENT:
            raise  # the outbox calls this again
        except Exception as error:
            if len(batch) > 1:  # the server may be unable to accept one of them
                for item in batch:
                    self._outbox.post(partial(self._send, [item]), always=True)
            else:
                _log.error("The outcome of action %s was discarded: %s", batch[0]["action_id"], error)
        with self._lock:
            for item in batch:
                if self._waiting and self._waiting[0] is item:  # unless it was discarded meanwhile
                    self._waiting.popleft()
            more = self._going = bool(self._waiting)
        if more:
            self._outbox.post(self._report, always=True)

    def _send(self, batch: list[dict[str, Any]]) -> Exchange[None]:
        # An answer from a proxy's cache would lose the outcomes; refused, they are sent again.
        answer = yield from ask(
            self._api, "report_outcomes", body={"outcomes": batch}, retry=GUARD, echoed=self._echoed
        )
        try:
            told = msgspec.convert(mapping_of(answer.body), _Answer)
        except msgspec.ValidationError as error:
            raise ServerError(f"The control plane's answer to outcomes cannot be used: {error}") from None
        for refused in told.refused:  # also those of a request that was resent because its answer was lost
            _log.info("The outcome of action %s was not recorded: %s", refused.action_id, refused.detail)


def reported(
    api: Identity, effect: Settle, retry: Retry = GUARD, deadline: float | None = None
) -> Exchange[None]:
    """Send one outcome in a request of its own (REST API; the published SDK's endpoints)."""
    name, body = outcome_request(effect)
    yield from ask(
        api, name, parameters={"action_id": effect.action_id}, body=body, retry=retry, deadline=deadline
    )
