"""The pushed stream of a client that submits: while it is live, the kill switch costs no request.

It begins after a first submission found the server there, and only where the server says that it has a stream; any other
server is asked before each submission, as its document says. It ends with ``close``, or when its client is collected.
"""

from __future__ import annotations

from collections.abc import Callable

from ascend_guard.client.guard.feed import Feed
from ascend_guard.client.guard.protocol import features_of
from ascend_guard.client.http.exchange import ONCE, run
from ascend_guard.client.http.identity import Identity
from ascend_guard.client.http.transport import Stream, Transport
from ascend_guard.errors import NetworkError, NotFoundError
from ascend_guard.model import KillSwitchState

from .asking import ask

FEATURES_TIMEOUT = 5.0
"""Seconds in which the server says what it can do."""


class Following:
    """What is known of the kill switch without asking.

    Args:
        identity: who listens.
        connect: makes the transport that the stream has for itself.
    """

    def __init__(self, identity: Identity, connect: Callable[[], Transport]) -> None:
        self._identity = identity
        self._connect = connect
        self._transport: Transport | None = None
        self._streams: bool | None = None
        self._feed = Feed(self._open, identity.clock)

    def state(self, agent_id: str) -> KillSwitchState | None:
        """Whether an agent is stopped; None when the stream is not live."""
        return self._feed.state(agent_id)

    def start(self) -> None:
        """Begin to listen, in a thread of its own, if that was not done before."""
        self._feed.start()

    def close(self) -> None:
        """Stop listening. Closing twice is no error."""
        self._feed.close()
        transport = self._transport
        if transport is not None:
            transport.close()

    def _open(self, last_id: str | None, silence: float) -> Stream:
        """In the feed's thread."""
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
