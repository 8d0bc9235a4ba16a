"""The pushed stream in a process of agents: one connection and one thread for any number of waiting calls.

Its kill-switch state counts only while it is live: connected, with a message within the last 2.5 heartbeats. When it is not
live, nothing is known from it: calls request the state from the server themselves, and waiting calls do so after a while.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from ascend_guard.client.api.answers import decision_of
from ascend_guard.errors import NetworkError, ServerError
from ascend_guard.event_stream import Event, Events, TooLarge
from ascend_guard.flow import CheckKillSwitch, Effect, Submit
from ascend_guard.kill_switch import is_off
from ascend_guard.model import ActionResult, KillSwitchState
from ascend_guard.processes import renewed_in_children, this_process

_log = logging.getLogger("ascend_guard.client")

HEARTBEAT = 5.0
"""Seconds between two heartbeats, until the server states its own interval."""

MISSED = 2.5
"""Missed heartbeats after which the feed counts as silent."""

PATIENCE = 15.0
"""Seconds without a message of the server after which waiting calls end, because the kill switch's state is unknown."""

REFUSED_PAUSE = 60.0
"""The most seconds between two attempts if the server refuses the stream (4xx): each attempt counts as a request."""

LARGEST_EVENT = 8 << 20

RUNNING = KillSwitchState(False)

News = ActionResult | KillSwitchState | None
"""What a waiting call receives. None: request the action's state from the server, because an event may have been missed."""


class Chunks(Protocol):
    """An open stream; see ``transport.Stream``."""

    status: int

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """Close it, from any thread."""
        ...

    def abandon(self) -> None:
        """In a forked child: release the parent's connection."""
        ...


class _Ready(Struct):
    on: list[KillSwitchState]
    heartbeat: float


class _Switches(Struct):
    on: list[KillSwitchState]


class _Waiting(Struct, frozen=True, eq=False):
    action_id: str
    agent_id: str
    deliver: Callable[[News], None]


class Feed:
    """The server's pushed events in this process.

    Args:
        open_stream: opens the stream after the last event's id.
        clock: seconds.
        patience: seconds that waiting calls tolerate a feed that is not live, before they request the state themselves.
    """

    def __init__(
        self,
        open_stream: Callable[[str | None, float], Chunks],
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._open = open_stream
        self._clock = clock
        self.patience = patience
        self._closed = False
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Start with no connection and no waiting calls."""
        inherited: Chunks | None = getattr(self, "_chunks", None)
        if inherited is not None:
            inherited.abandon()  # or the server would count the parent as alive as long as its child lives
        self._made_in = this_process()
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[_Waiting, _Waiting]] = {}
        self._thread: threading.Thread | None = None
        self._chunks: Chunks | None = None
        self._wake = threading.Event()
        self._ready = False
        self._heard = 0.0
        self._lost = self._clock()
        self._told_lost = False
        self._heartbeat = HEARTBEAT
        self._last_id: str | None = None
        self._refused = False
        self._switched = -1
        self._switches: dict[str, KillSwitchState] = {}

    def start(self) -> None:
        """Start to listen, once."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._closed:
                self._lost = self._clock()
                thread = threading.Thread(target=self._listen, name="ascend-guard-feed", daemon=True)
                thread.start()
                self._thread = thread

    @property
    def live(self) -> bool:
        """Return whether the feed is live, so its kill-switch state can be used."""
        heard = self._heard
        return (
            self._ready
            and self._made_in is this_process()
            and 0.0 <= self._clock() - heard < MISSED * self._heartbeat
        )

    @property
    def heard(self) -> float:
        """The time of the server's last message, by the clock."""
        return self._heard if self._ready else self._lost

    def state(self, agent_id: str) -> KillSwitchState | None:
        """Return whether an agent is stopped; None when that is not known here."""
        if not self.live:
            return None
        switches = self._switches
        if not switches:
            return RUNNING
        return switches.get("") or switches.get(agent_id) or RUNNING

    def wait_for(self, action_id: str, agent_id: str, deliver: Callable[[News], None]) -> object:
        """Call ``deliver``, from the feed's thread, with news of this action. Returns a token for ``forget``."""
        token = _Waiting(action_id, agent_id, deliver)
        with self._lock:
            self._waiting.setdefault(action_id, {})[token] = token
        return token

    def forget(self, token: object) -> None:
        """Stop calling it."""
        assert isinstance(token, _Waiting)
        with self._lock:
            same = self._waiting.get(token.action_id, {})
            same.pop(token, None)
            if not same:
                self._waiting.pop(token.action_id, None)

    def _all(self) -> list[_Waiting]:
        with self._lock:
            return [one for same in self._waiting.values() for one in same]

    def close(self) -> None:
        """Stop listening. Waiting calls then request the state, and learn that the client is closed. It may be called
        twice."""
        self._closed = True
        self._wake.set()
        self._ready = False
        chunks = self._chunks
        if chunks is not None:
            chunks.close()
        self._tell_all(None)

    # --- the thread ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        failures = 0
        while not self._closed:
            try:
                self._hear()
            except Exception as error:
                if not isinstance(error, NetworkError | TimeoutError):
                    _log.warning("The control plane's stream cannot be used: %s", error)
            failures = 0 if self._ready else failures + 1
            longest = REFUSED_PAUSE if self._refused else 2.0
            if self._ready:
                self._ready = False
                self._lost = self._heard
                self._told_lost = False
            # After an outage, replicas must not get requests from all clients at once.
            pause = min(longest, 0.05 * 2 ** min(failures, 12)) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
            while pause > 0.0 and not self._closed:
                self._give_up()  # a long pause does not delay this
                self._wake.wait(min(pause, 2.0))
                pause -= 2.0

    def _hear(self) -> None:
        self._refused = False
        chunks = self._open(self._last_id, MISSED * self._heartbeat)
        self._chunks = chunks
        try:
            self._refused = 400 <= chunks.status < 500
            if chunks.status != 200:
                raise NetworkError(f"The control plane's stream was refused ({chunks.status}).")
            if self._wake.is_set():  # closed before there was a connection to close
                return
            for event in events(chunks, self._hear_of):
                if self._closed:
                    return
                self._take(event)
        finally:
            self._chunks = None
            chunks.close()

    def _hear_of(self) -> None:
        self._heard = self._clock()

    def _take(self, event: Event) -> None:
        data, number = event.data or b"", _number(event)
        if event.name == "decision":
            self._decided(data)
        elif event.name == "ready":
            ready = _decoded(data, _Ready)
            self._heartbeat = max(0.05, min(ready.heartbeat, 60.0))
            self._switched = -1  # the old database may have been replaced by another
            self._turn(ready.on, number)
            resumed = self._last_id is not None
            self._ready = True
            if not resumed:
                self._tell_all(None)
        elif event.name == "kill_switch":
            self._turn(_decoded(data, _Switches).on, number)
        elif event.name == "reset":
            self._tell_all(None)
        if number is not None:
            self._last_id = event.id

    def _turn(self, on: list[KillSwitchState], number: int | None) -> None:
        if number is not None:
            if number < self._switched:
                return  # older than what is already known, and delivered late
            self._switched = number
        self._switches = {state.agent_id or "": state for state in on if state.blocked}
        if not self._switches:
            return
        for one in self._all():
            state = self._switches.get("") or self._switches.get(one.agent_id)
            if state is not None:
                one.deliver(state)

    def _decided(self, data: bytes) -> None:
        try:
            result = decision_of(data)
        except ServerError:
            self._tell_all(None)  # the call that it concerns must request the state
            return
        with self._lock:
            told = list(self._waiting.get(result.action_id, ()))
        for one in told:
            one.deliver(result)

    def _tell_all(self, news: News) -> None:
        for one in self._all():
            one.deliver(news)

    def _give_up(self) -> None:
        """Let all waiting calls request the state themselves: only the stream may be interrupted."""
        if not self._told_lost and self._clock() - self._lost > self.patience:
            self._told_lost = True
            self._tell_all(None)


class LastWord:
    """When the server last said that an agent is not stopped. The last check of a call uses it where no stream is live.

    Args:
        patience: seconds for which that answer is valid.
        clock: seconds.
    """

    def __init__(self, patience: float, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._said: dict[str, float] = {}

    def note(self, effect: Effect[Any], asked: float, answer: object) -> None:
        """Note an answer to a request of that time: a state, or a permit, which our server gives only when the switch
        is off."""
        off = isinstance(answer, KillSwitchState) and is_off(answer)
        permit = isinstance(effect, Submit) and isinstance(answer, ActionResult) and answer.claimed
        if isinstance(effect, CheckKillSwitch | Submit) and (off or permit):
            if len(self._said) > 10_000:
                self._said.clear()
            self._said[effect.action.agent_id] = asked

    def state(self, agent_id: str) -> KillSwitchState:
        """Return the state from the last answer; stopped, when that answer is too old."""
        said = self._said.get(agent_id)
        if said is not None and 0.0 <= self._clock() - said < self._patience:
            return RUNNING
        reason = f"the control plane sent nothing for {self._patience:g} s, so its state is unknown"
        return KillSwitchState(True, reason)


def events(chunks: Iterable[bytes], heard: Callable[[], None]) -> Iterator[Event]:
    """Yield the events of a stream that have data, each with the last event id. ``heard``: as for ``Events``.

    Raises:
        ServerError: an event is too large.
    """
    stream = Events(LARGEST_EVENT, heard)
    said: str | None = None
    try:
        for chunk in chunks:
            for event in stream.feed(chunk):
                said = said if event.id is None else event.id
                if event.data is not None:
                    yield event._replace(id=said)
    except TooLarge:
        raise ServerError("The control plane's stream sent an event that is too large.") from None


def _number(event: Event) -> int | None:
    """The number of the audit record that an event reports."""
    given = event.id or ""
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


def _decoded(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ServerError("The control plane's stream cannot be understood.") from error
