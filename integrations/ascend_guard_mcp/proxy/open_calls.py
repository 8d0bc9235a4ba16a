"""The open tool calls of an HTTP proxy's clients, and the outcomes in their answers."""

from __future__ import annotations

import asyncio
import hashlib
from typing import NamedTuple

from ascend_guard.event_stream import Events

from .governed_calls import Background, Log, ProxiedCall
from .jsonrpc import Key, key_of, responses

_MOST_KEPT = 1000


class Party(NamedTuple):
    """A client in a session. The ids of one client are independent of another's."""

    session_id: str | None
    credential: str

    @property
    def conversation(self) -> str | None:
        """Equal for one client's calls and for no other's, so that no client can resume another client's action; None
        if nothing is known about the client.

        Hashed: anyone with the session's id or the credential can continue in its place, and many people read the records.
        """
        known = self.session_id or self.credential
        return f"mcp-{hashlib.sha256(known.encode()).hexdigest()[:40]}" if known else None


class Open:
    """Calls by session and id. Without a session two clients cannot be distinguished, so nothing is stored here.

    Args:
        log: receives failures, for people.
    """

    def __init__(self, log: Log) -> None:
        self.background = Background(log)
        self._waiting: dict[tuple[Party, Key], asyncio.Task[object]] = {}
        self._running: dict[Party, dict[Key, ProxiedCall]] = {}

    def has(self, party: Party | None, key: Key) -> bool:
        """Return whether that id is in use."""
        if party is None:
            return False
        return (party, key) in self._waiting or key in self._running.get(party, {})

    def wait(self, party: Party | None, key: Key, admitting: asyncio.Task[object]) -> None:
        """Note that it waits for its decision."""
        if party is not None:
            self._waiting[party, key] = admitting

    def waited(self, party: Party | None, key: Key) -> None:
        """Note that it does not wait any more."""
        if party is not None:
            self._waiting.pop((party, key), None)

    def cancel(self, party: Party | None, key: Key | None) -> bool:
        """End a wait; returns whether there was one."""
        waiting = None if party is None or key is None else self._waiting.pop((party, key), None)
        if waiting is None:
            return False
        waiting.cancel()
        return True

    def run(self, party: Party | None, key: Key, call: ProxiedCall) -> None:
        """Note that it was forwarded."""
        if party is not None:
            self._running.setdefault(party, {})[key] = call

    def running(self, party: Party | None) -> dict[Key, ProxiedCall]:
        """Return the calls of a session that were forwarded and not answered."""
        return {} if party is None else self._running.get(party, {})

    def ended(self, party: Party | None, key: Key) -> None:
        """Note that it has its outcome, or will get none."""
        if party is not None and (calls := self._running.get(party)) is not None:
            calls.pop(key, None)
            if not calls:
                del self._running[party]

    @property
    def room(self) -> bool:
        """Return whether another unanswered call may be kept for a client that may come back for its answer."""
        return sum(map(len, self._running.values())) < _MOST_KEPT

    def lose(self, party: Party, why: str) -> None:
        """Note that the session ended."""
        for call in self._running.pop(party, {}).values():
            self.background.start(call.failed(why))

    async def close(self, why: str) -> None:
        """End all sessions."""
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()
        for party in list(self._running):
            self.lose(party, why)
        await self.background.finish(5.0)


class Tap:
    """Reads a copy of an answer, and settles the calls in it.

    Args:
        calls: the open calls.
        party: the client of the answer.
        events: whether it is a stream of events; else it is one message.
        own: the call that this answers, and its key.
    """

    def __init__(
        self, calls: Open, party: Party | None, *, events: bool, own: tuple[Key, ProxiedCall] | None
    ) -> None:
        self._calls = calls
        self._party = party
        self._events = Events() if events else None
        self._own = own
        self._body = bytearray()
        self.answered = False
        self.resumable = False

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        if self._own is None and not self._calls.running(self._party):
            return
        if self._events is None:
            self._body += chunk
            return
        for event in self._events.feed(chunk):
            self.resumable = self.resumable or event.id is not None
            if event.message is not None:
                self._message(event.message)

    def end(self) -> None:
        """Note the end of the answer."""
        if self._body:
            self._message(bytes(self._body))

    def _message(self, raw: bytes) -> None:
        for response in responses(raw):
            key = key_of(response["id"])
            if self._own is not None and (key == self._own[0] or (key is None and self._events is None)):
                self.answered = True
                self._settle(self._own[0], self._own[1], response)
            elif key is not None and (call := self._calls.running(self._party).get(key)) is not None:
                self._settle(key, call, response)

    def _settle(self, key: Key, call: ProxiedCall, response: dict[str, object]) -> None:
        self._calls.ended(self._party, key)
        self._calls.background.start(call.answered(response))
