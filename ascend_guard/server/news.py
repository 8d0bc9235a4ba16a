"""Follows the audit trail and tells whoever listens: processes on the pushed stream, and the parts of this server.

Whichever replica made a change, it is in the trail, so every replica learns of it here: by looking each ten milliseconds
whether anything was committed (which costs a microsecond; PostgreSQL tells by NOTIFY).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from ascend_guard.engine.waiting import DECIDING
from ascend_guard.model import KillSwitchState
from ascend_guard.store.port import Reader, Store

from .decisions import standing

_log = logging.getLogger("ascend_guard.server")

INTERVAL = 0.01
"""Seconds between two looks."""

STALE = 2.0
"""Seconds without a successful look after which nothing is known of the kill switch any more."""

LONGEST_QUEUE = 20_000
"""Messages a slow listener may be behind before it is cut off; it resumes where it was."""

_encode = msgspec.json.Encoder().encode


class Listener:
    """One connection of the stream.

    Args:
        organization: whose news.
        agent_id: the one agent its key is for.
    """

    def __init__(self, organization: str, agent_id: str | None) -> None:
        self.organization = organization
        self.agent_id = agent_id
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def hears(self, agent_id: str | None) -> bool:
        """Whether news about this agent (None: about all) is for it."""
        return agent_id is None or self.agent_id is None or agent_id == self.agent_id

    def tell(self, message: bytes) -> None:
        """Queue a message, or cut the listener off when it is too far behind."""
        if self.queue.qsize() < LONGEST_QUEUE:
            self.queue.put_nowait(message)
        elif self.queue.qsize() == LONGEST_QUEUE:
            self.queue.put_nowait(None)


class News:
    """What happens, as it happens.

    Args:
        store: whose trail.
        interval: seconds between two looks.
    """

    def __init__(self, store: Store, interval: float = INTERVAL) -> None:
        self._store = store
        self._interval = interval
        self._listeners: set[Listener] = set()
        self._watchers: list[Callable[[list[str]], None]] = []
        self._seen = -1
        self._looked = 0.0
        self.closing = False

    def watch(self, callback: Callable[[list[str]], None]) -> None:
        """Call this, on the event loop, with the names of the events that happened."""
        self._watchers.append(callback)

    def add(self, listener: Listener) -> None:
        """Tell this listener everything from now on."""
        self._listeners.add(listener)

    def remove(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners.discard(listener)

    @property
    def fresh(self) -> bool:
        """Whether what was told is all there is to tell."""
        return not self.closing and asyncio.get_running_loop().time() - self._looked < STALE

    def close(self) -> None:
        """End every stream: this server is going away."""
        self.closing = True
        self._end_streams()

    def _end_streams(self) -> None:
        for listener in self._listeners:
            listener.queue.put_nowait(None)

    async def run(self) -> None:
        """Look until cancelled. A database that fails is asked again; meanwhile nothing counts as fresh."""
        loop = asyncio.get_running_loop()
        failing, behind = False, True
        while True:
            try:
                behind = self._store.changed() or behind  # it says so once, and the look may fail
                if behind:
                    await self._look()
                    behind = False
                self._looked = loop.time()
                failing = False
            except Exception as error:
                if not failing:
                    _log.error("The database cannot be read; streams end until it can: %s", error)
                failing = True
                if loop.time() - self._looked > STALE:
                    self._end_streams()
            await asyncio.sleep(0.25 if failing else self._interval)

    async def _look(self) -> None:
        seen = self._seen

        def look(reader: Reader) -> _Seen:
            if seen < 0:
                return _Seen(reader.head().seq)
            events = reader.events(seen)
            newest = events[-1][0] if events else seen
            names = [event for _, _, event in events]
            # Asked for after the events were: whoever joins later is told of them by what his stream opens with.
            listeners = self._listeners.copy()
            told = news(reader, events) if listeners else []
            switched = any(name.startswith("kill_switch.") for name in names)
            organizations = {listener.organization for listener in listeners} if switched else ()
            return _Seen(newest, names, told, {one: dict(reader.kill_switches(one)) for one in organizations})

        found = await self._store.aread(look)
        self._seen = found.newest
        for listener in self._listeners:
            for organization, agent_id, message in found.told:
                if listener.organization == organization and listener.hears(agent_id):
                    listener.tell(message)
            if listener.organization in found.switches:
                listener.tell(switches(found.newest, listener, found.switches[listener.organization]))
        if found.names:
            for watcher in self._watchers:
                watcher(found.names)


class _Seen(msgspec.Struct, frozen=True):
    """What a look found: the newest record, the events since the last look, what is told of them, the switches by now."""

    newest: int
    names: list[str] = []
    told: list[tuple[str, str | None, bytes]] = []
    switches: dict[str, dict[str, KillSwitchState]] = {}


def news(reader: Reader, events: list[tuple[int, int | None, str]]) -> list[tuple[str, str | None, bytes]]:
    """(organization, agent, message) of each decision among these events."""
    told: list[tuple[str, str | None, bytes]] = []
    for seq, action_id, event in events:
        if action_id is None or event not in DECIDING:
            continue
        organization = _organization(reader, action_id)
        row = None if organization is None else reader.action(organization, action_id)
        if organization is not None and row is not None:
            told.append((organization, row.agent_id, message("decision", standing(reader, row), seq)))
    return told


def switches(seq: int, listener: Listener, on: dict[str, KillSwitchState]) -> bytes:
    """The kill switches that are on and this listener may know of: all of them, so that it need not remember."""
    heard = [state for state in on.values() if listener.hears(state.agent_id)]
    return message("kill_switch", {"on": heard}, seq)


def message(event: str, data: Any, seq: int) -> bytes:
    """One server-sent event. JSON has no raw line breaks, so its data is one line."""
    return b"event: %b\nid: %d\ndata: %b\n\n" % (event.encode(), seq, _encode(data))


def _organization(reader: Reader, action_id: int) -> str | None:
    for record in reader.trail(action_id):
        organization: str = msgspec.json.decode(record.body)["organization"]
        return organization
    return None
