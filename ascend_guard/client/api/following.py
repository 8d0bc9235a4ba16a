"""The pushed stream of a client that submits: while it is live, checking the kill switch needs no request.

It begins after the first successful submission, and only if the server says that it has a stream. For any other server the
client requests the state before each submission, as the document says. It ends with ``close``, or when its client is
collected.
"""

from __future__ import annotations

from collections.abc import Callable

from ascend_guard.client.guard.feed import Feed
from ascend_guard.client.guard.wire_format import features_of
from ascend_guard.client.http.exchange import ONCE, run
from ascend_guard.client.http.identity import Identity
from ascend_guard.client.http.transport import Stream, Transport
from ascend_guard.errors import NetworkError, NotFoundError
from ascend_guard.model import KillSwitchState

from .asking import ask

FEATURES_TIMEOUT = 5.0
"""Seconds for the server to answer which features it has."""


class Following:
    """The state of the kill switch that is known without a request.

    Args:
        identity: the client's identity.
        connect: creates the stream's own transport.
    """

    def __init__(self, identity: Identity, connect: Callable[[], Transport]) -> None:
        self._identity = identity
        self._connect = connect
        self._transport: Transport | None = None
        self._streams: bool | None = None
        self._feed = Feed(self._open, identity.clock)

    def state(self, agent_id: str) -> KillSwitchState | None:
        """Return whether an agent is stopped; None when the stream is not live."""
        return self._feed.state(agent_id)

    def start(self) -> None:
        """Start to listen, in a thread of its own, if that has not been done."""
        self._feed.start()

    def close(self) -> None:
        """Stop listening. It may be called twice."""
        self._feed.close()
        transport = self._transport
        if transport is not None:
            transport.close()

    def _open(self, last_id: str | None, silence: float) -> Stream:
        """Open the stream. Runs in the feed's thread."""
        if self._transport is None:
            self._transport = self._connect()
        if self._streams is None:
            self._streams = self._has_stream(self._transport)
        if not self._streams:
            self._feed.close()
            raise NetworkError("The control plane has no stream.")
        resumed = {} if last_id is None else {"Last-Event-ID": last_id}
        headers = {**self._identity.call_headers(None), **resumed}
        return self._transport.open("/api/v1/stream", headers=headers, silence=silence)

    def _has_stream(self, transport: Transport) -> bool:
        deadline = self._identity.clock() + FEATURES_TIMEOUT
        try:
            answer = run(ask(self._identity, "deployment_info", retry=ONCE, deadline=deadline), transport)
        except NotFoundError:
            return False
        return features_of(answer.body).stream
