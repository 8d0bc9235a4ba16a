"""Follows the audit log and tells its listeners: processes on the pushed stream, and the parts of this server.

Every change is in the log, whichever replica made it, so every replica learns of it here: each ten milliseconds it asks
whether anything was committed (which costs a microsecond; PostgreSQL tells by NOTIFY).

Rules (promise 9, tenants never see each other):

1. A message is made of one audit record, and goes to listeners of that record's organization only.
2. A listener whose key is for one agent is told of records that name this agent, or no agent.
3. Nothing is sent because of any other record: no empty message either, whose moment alone tells that something happened.
4. A message's ``id`` is the number of its own record, never that of the newest record of all.
5. Which switches are on is read from where they are, and that may change just before or after its record is written. So a
   listener is told whenever the switches that it hears of are others than it was told, then without an ``id`` (promise 4).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from ascend_guard.engine.waiting import DECIDING
from ascend_guard.model import KillSwitchState
from ascend_guard.store.port import Event, Reader, Store

from .handlers.decisions import standing

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
        self.on: list[KillSwitchState] | None = None  # the switches that it was told last
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def concerns(self, told: Told) -> bool:
        """Whether it may be told this."""
        return told.organization == self.organization and self.hears(told.agent_id)

    def hears(self, agent_id: str | None) -> bool:
        """Whether news about this agent (None: about all) is for it."""
        return agent_id is None or self.agent_id is None or agent_id == self.agent_id

    def heard(self, on: dict[str, KillSwitchState]) -> list[KillSwitchState]:
        """Those of its organization's kill switches that it may know of."""
        return [state for state in on.values() if self.hears(state.agent_id)]

    def opened(self, on: dict[str, KillSwitchState]) -> bool:
        """Its stream begins with these switches. False when others were queued meanwhile, which it reads after them."""
        if self.on is not None:
            return False
        self.on = self.heard(on)
        return True

    def tell(self, message: bytes) -> None:
        """Queue a message, or cut the listener off when it is too far behind."""
        if self.queue.qsize() < LONGEST_QUEUE:
            self.queue.put_nowait(message)
        elif self.queue.qsize() == LONGEST_QUEUE:
            self.queue.put_nowait(None)


class ChangeFeed:
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
        self._turns: object = None
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

    def compare(self) -> None:
        """Look soon whether each listener was told the switches that are on."""
        self._turns = object()

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
                turns = self._store.turns()
                behind = self._store.changed() or behind  # it says so once, and the look may fail
                if behind or turns is not self._turns:
                    await self._look(turned=turns is not self._turns)
                    behind, self._turns = False, turns
                self._looked = loop.time()
                failing = False
            except Exception as error:
                if not failing:
                    _log.error("The database cannot be read; streams end until it can: %s", error)
                failing = True
                if loop.time() - self._looked > STALE:
                    self._end_streams()
            await asyncio.sleep(0.25 if failing else self._interval)

    async def _look(self, *, turned: bool) -> None:
        seen = self._seen

        def look(reader: Reader) -> _Seen:
            if seen < 0:
                return _Seen(reader.head().seq)
            events = reader.events_since(seen)
            newest = events[-1].seq if events else seen
            # Asked for after the events were: a listener that joins later is told of them by how its stream opens.
            heard = {listener.organization for listener in self._listeners.copy()}
            told = told_of(reader, [event for event in events if event.organization in heard])
            asked = heard if turned else {one.organization for one in told if one.text is None}
            on = {organization: dict(reader.kill_switches(organization)) for organization in asked}
            return _Seen(newest, [event.event for event in events], told, on)

        found = await self._store.aread(look)
        self._seen = found.newest
        for listener in self._listeners:
            _tell(listener, found)
        if found.names:
            for watcher in self._watchers:
                watcher(found.names)


class Told(msgspec.Struct, frozen=True):
    """What one audit record tells listeners.

    Args:
        seq: the record's number.
        organization: whose it is.
        agent_id: the agent it names; None for all.
        text: the message; None when a kill switch turned, of which each listener is told what is on for it.
    """

    seq: int
    organization: str
    agent_id: str | None
    text: bytes | None


class _Seen(msgspec.Struct, frozen=True):
    """What a look found: the newest record, the events since the last look, what they tell, and the switches by now of the
    organizations where one may have turned."""

    newest: int
    names: list[str] = []
    told: list[Told] = []
    switches: dict[str, dict[str, KillSwitchState]] = {}


class _Turned(msgspec.Struct):
    """The part of a kill switch's record that says for which agent."""

    agent_id: str | None = None


def _tell(listener: Listener, found: _Seen) -> None:
    mine = [one for one in found.told if listener.concerns(one)]
    # All switches that are on are in one message, so the last turn is enough.
    last_turn = max((one.seq for one in mine if one.text is None), default=None)
    for one in mine:
        if one.text is not None:
            listener.tell(one.text)
        elif one.seq == last_turn:
            listener.on = listener.heard(found.switches[one.organization])
            listener.tell(switches(listener.on, one.seq))
    on = found.switches.get(listener.organization)
    if on is not None and listener.on is not None and listener.heard(on) != listener.on:
        listener.on = listener.heard(on)
        listener.tell(switches(listener.on, None))


def told_of(reader: Reader, events: list[Event]) -> list[Told]:
    """What these records tell, in their order: decisions, and turns of kill switches."""
    told: list[Told] = []
    for event in events:
        if event.body is not None:
            agent_id = msgspec.json.decode(event.body, type=_Turned).agent_id
            told.append(Told(event.seq, event.organization, agent_id, None))
        elif event.action_id is not None and event.event in DECIDING:
            row = reader.action(event.organization, event.action_id)
            if row is not None:
                text = message("decision", standing(reader, row), event.seq)
                told.append(Told(event.seq, event.organization, row.agent_id, text))
    return told


def switches(on: list[KillSwitchState], seq: int | None) -> bytes:
    """The kill switches that are on and a listener may know of: all of them, so that it need not remember."""
    return message("kill_switch", {"on": on}, seq)


def message(event: str, data: Any, seq: int | None) -> bytes:
    """One server-sent event. JSON has no raw line breaks, so its data is one line."""
    number = b"" if seq is None else b"id: %d\n" % seq
    return b"event: %b\n%bdata: %b\n\n" % (event.encode(), number, _encode(data))
