"""Outcomes on their way: several in one request where the server takes them so, else one by one.

The tool has run, so nobody is kept waiting for the server: until an outcome is recorded the action counts as running, and if
it never is, as ``unknown``, as embedded. Those that are sent together lie for ten milliseconds, so that a busy process sends
one request for many calls.
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
from .protocol import Features, outcome_item, outcome_request

_log = logging.getLogger("ascend_guard.client")

LINGER = 0.01
"""Seconds an outcome may wait for others."""

REPORT_TIMEOUT = 5.0
"""Seconds a caller is kept where outcomes are reported one by one; after that they are sent beside."""

MOST = 500
"""Outcomes in one request."""

LARGEST = 100_000
"""Outcomes that may wait while the server is away; the oldest are given up first."""


class _Refused(msgspec.Struct):
    action_id: str
    detail: str


class _Answer(msgspec.Struct):
    refused: list[_Refused] = []


class Outcomes:
    """Reports outcomes together.

    Args:
        api: for whom.
        transport: by which.
        outbox: sends what nobody waits for.
    """

    def __init__(self, api: Identity, transport: Sender, outbox: Outbox) -> None:
        self._api = api
        self._transport = transport
        self._outbox = outbox
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin with nothing to report. What a parent process has to report, the parent reports."""
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._going = False
        self._beside: queue.SimpleQueue[tuple[Settle, Features | None]] = queue.SimpleQueue()
        self._carrying = _thread.allocate_lock()

    def settle(self, effect: Settle, features: Features | None) -> None:
        """Report this as it asks to be reported."""
        if effect.beside:
            self._from_a_thread(effect, features)
        elif not self.posted(effect, features):
            self.report(effect)

    def _from_a_thread(self, effect: Settle, features: Features | None) -> None:
        """Safe in finalisers: it takes no lock that its caller may hold."""
        self._beside.put((effect, features))
        if self._carrying.acquire(blocking=False):
            try:
                # threading's threads take locks on their way to the start; a finaliser may have interrupted their owner.
                _thread.start_new_thread(self._carry, ())
            except RuntimeError:  # the process ends, or has no thread left: it shows as unknown there
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
        """Report this now, or beside where that fails."""
        try:
            run(reported(self._api, effect, ONCE, self._api.clock() + REPORT_TIMEOUT), self._transport)
        except TRANSIENT:
            self._outbox.post(partial(reported, self._api, effect))

    def posted(self, effect: Settle, features: Features | None) -> bool:
        """Report this soon, if the server takes outcomes together."""
        if features is None or not features.outcomes:
            return False
        item = outcome_item(effect)
        with self._lock:
            if len(self._waiting) >= LARGEST:
                self._waiting.popleft()
                _log.error("Too many outcomes wait for the control plane; the oldest is given up.")
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
            raise  # the outbox asks for this again
        except Exception as error:
            if len(batch) > 1:  # one of them may be what the server cannot take
                for item in batch:
                    self._outbox.post(partial(self._send, [item]), always=True)
            else:
                _log.error("The outcome of action %s is given up: %s", batch[0]["action_id"], error)
        with self._lock:
            for item in batch:
                if self._waiting and self._waiting[0] is item:  # unless it was given up meanwhile
                    self._waiting.popleft()
            more = self._going = bool(self._waiting)
        if more:
            self._outbox.post(self._report, always=True)

    def _send(self, batch: list[dict[str, Any]]) -> Exchange[None]:
        answer = yield from ask(self._api, "report_outcomes", body={"outcomes": batch}, retry=GUARD)
        try:
            told = msgspec.convert(mapping_of(answer.body), _Answer)
        except msgspec.ValidationError as error:
            raise ServerError(f"The control plane's answer to outcomes cannot be used: {error}") from None
        for refused in told.refused:  # also those of a request that was sent again after its answer was lost
            _log.info("The outcome of action %s was not recorded: %s", refused.action_id, refused.detail)


def reported(
    api: Identity, effect: Settle, retry: Retry = GUARD, deadline: float | None = None
) -> Exchange[None]:
    """One outcome in a request of its own (REST API; the published SDK's endpoints)."""
    name, body = outcome_request(effect)
    yield from ask(
        api, name, parameters={"action_id": effect.action_id}, body=body, retry=retry, deadline=deadline
    )
