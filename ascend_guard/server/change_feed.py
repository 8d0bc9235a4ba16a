"""Follows the audit log and informs its listeners: processes on the pushed stream, and parts of this server.

Every change is in the log, whichever replica made it, so every replica sees it here: every ten milliseconds it checks
whether anything was committed (which costs a microsecond; PostgreSQL uses NOTIFY).

Rules (promise 9, tenants never see each other):

1. A message is made from one record of an organization's log, and goes only to listeners of that organization.
2. A listener whose key is for one agent receives records that name this agent, or no agent.
3. Nothing is sent because of any other record, not even an empty message: its time alone would reveal activity.
4. A message's ``id`` is the number of its record, which counts within the organization.
5. The switches that are on are read from where they are stored, and that may change just before or after its record is
   written. So a listener is also informed whenever its switches differ from those last sent to it, then without an ``id``
   (promise 4).
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
"""Seconds between two checks."""

STALE = 2.0
"""Seconds without a successful check after which the state of the kill switch is unknown."""

LONGEST_QUEUE = 20_000
"""Messages that a slow listener may be behind before it is disconnected; it resumes at the same place."""

_encode = msgspec.json.Encoder().encode


class Listener:
    """One connection of the stream.

    Args:
        organization: the organization of its messages.
        agent_id: the only agent that its key is for, or None.
    """

    def __init__(self, organization: str, agent_id: str | None) -> None:
        self.organization = organization
        self.agent_id = agent_id
        self.on: list[KillSwitchState] | None = None  # the switches that were last sent to it
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def concerns(self, told: Told) -> bool:
        """Return whether it may receive this."""
        return told.organization == self.organization and self.hears(told.agent_id)

    def hears(self, agent_id: str | None) -> bool:
        """Return whether it receives messages about this agent (None: about all)."""
        return agent_id is None or self.agent_id is None or agent_id == self.agent_id

    def heard(self, on: dict[str, KillSwitchState]) -> list[KillSwitchState]:
        """Return those of its organization's kill switches that it may see."""
        return [state for state in on.values() if self.hears(state.agent_id)]

    def opened(self, on: dict[str, KillSwitchState]) -> bool:
        """Its stream begins with these switches. False if others were queued meanwhile, which are sent after them."""
        if self.on is not None:
            return False
        self.on = self.heard(on)
        return True

    def tell(self, message: bytes) -> None:
        """Queue a message, or disconnect the listener if it is too far behind."""
        if self.queue.qsize() < LONGEST_QUEUE:
            self.queue.put_nowait(message)
        elif self.queue.qsize() == LONGEST_QUEUE:
            self.queue.put_nowait(None)


class ChangeFeed:
    """Events as they happen.

    Args:
        store: the store whose trail is followed.
        interval: seconds between two checks.
    """

    def __init__(self, store: Store, interval: float = INTERVAL) -> None:
        self._store = store
        self._interval = interval
        self._listeners: set[Listener] = set()
        self._watchers: list[Callable[[list[str]], None]] = []
        self._seen: dict[str, int] | None = None
        self._turns: object = None
        self._looked = 0.0
        self.closing = False

    def watch(self, callback: Callable[[list[str]], None]) -> None:
        """Call this, on the event loop, with the names of new events."""
        self._watchers.append(callback)

    def add(self, listener: Listener) -> None:
        """Inform this listener from now on."""
        self._listeners.add(listener)

    def remove(self, listener: Listener) -> None:
        """Stop informing it."""
        self._listeners.discard(listener)

    def compare(self) -> None:
        """Check soon whether each listener has received the switches that are on."""
        self._turns = object()

    @property
    def fresh(self) -> bool:
        """Return whether the last check is recent enough."""
        return not self.closing and asyncio.get_running_loop().time() - self._looked < STALE

    def close(self) -> None:
        """End every stream: this server is shutting down."""
        self.closing = True
        self._end_streams()

    def _end_streams(self) -> None:
        for listener in self._listeners:
            listener.queue.put_nowait(None)

    async def run(self) -> None:
        """Check until cancelled. After a database error it continues; meanwhile nothing counts as fresh."""
        loop = asyncio.get_running_loop()
        failing, behind = False, True
        while True:
            try:
                turns = self._store.turns()
                behind = self._store.changed() or behind  # it returns True only once, and the check may fail
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
            ends = {head.organization: head.seq for head in reader.heads()}
            if seen is None:
                return _Seen(ends)
            events = {
                organization: reader.events_since(organization, seen.get(organization, 0))
                for organization, end in ends.items()
                if end > seen.get(organization, 0)
            }
            newest = {organization: found[-1].seq for organization, found in events.items() if found}
            # Read after the events: a listener that joins later learns of them from the beginning of its stream.
            heard = {listener.organization for listener in self._listeners.copy()}
            told = [
                one
                for organization, found in events.items()
                if organization in heard
                for one in told_of(reader, organization, found)
            ]
            asked = heard if turned else {one.organization for one in told if one.text is None}
            on = {organization: dict(reader.kill_switches(organization)) for organization in asked}
            names = [event.event for found in events.values() for event in found]
            return _Seen(seen | newest, names, told, on)

        found = await self._store.aread(look)
        self._seen = found.newest
        for listener in self._listeners:
            _tell(listener, found)
        if found.names:
            for watcher in self._watchers:
                watcher(found.names)


class Told(msgspec.Struct, frozen=True):
    """The message that one audit record causes.

    Args:
        seq: the record's number.
        organization: the record's organization.
        agent_id: the agent that it names; None for all.
        text: the message; None when a kill switch changed: each listener then receives its own switches.
    """

    seq: int
    organization: str
    agent_id: str | None
    text: bytes | None


class _Seen(msgspec.Struct, frozen=True):
    """The result of a check: the newest record of each log, the events since the last check, their messages, and the present
    switches of organizations where one may have changed."""

    newest: dict[str, int]
    names: list[str] = []
    told: list[Told] = []
    switches: dict[str, dict[str, KillSwitchState]] = {}


class _Turned(msgspec.Struct):
    """The part of a kill switch's record that names the agent."""

    agent_id: str | None = None


def _tell(listener: Listener, found: _Seen) -> None:
    mine = [one for one in found.told if listener.concerns(one)]
    # One message contains all switches that are on, so the last change is enough.
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


def told_of(reader: Reader, organization: str, events: list[Event]) -> list[Told]:
    """Return the messages of an organization's records, in their order: decisions, and changes of kill switches."""
    told: list[Told] = []
    for event in events:
        if event.body is not None:
            agent_id = msgspec.json.decode(event.body, type=_Turned).agent_id
            told.append(Told(event.seq, organization, agent_id, None))
        elif event.action_id is not None and event.event in DECIDING:
            row = reader.action(organization, event.action_id)
            if row is not None:
                text = message("decision", standing(reader, row), event.seq)
                told.append(Told(event.seq, organization, row.agent_id, text))
    return told


def switches(on: list[KillSwitchState], seq: int | None) -> bytes:
    """All kill switches that are on and a listener may see, in one message, so that it need not remember any."""
    return message("kill_switch", {"on": on}, seq)


def message(event: str, data: Any, seq: int | None) -> bytes:
    """One server-sent event. JSON has no raw line breaks, so its data is one line."""
    number = b"" if seq is None else b"id: %d\n" % seq
    return b"event: %b\n%bdata: %b\n\n" % (event.encode(), number, _encode(data))
