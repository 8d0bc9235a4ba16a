"""The pushed stream, as a process of agents hears it: one connection and one thread, whatever number of calls wait.

What it says of the kill switch is believed only while it is live: connected, and heard of within two and a half heartbeats.
A feed that falls silent knows nothing; calls then ask the server themselves, and those that wait are told after a while that
nobody knows.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from ascend_guard.errors import AscendError, KillSwitchError, NetworkError, ServerError
from ascend_guard.model import ActionResult, KillSwitchState

from .answers import decision_of

_log = logging.getLogger("ascend_guard.client")

HEARTBEAT = 5.0
"""Seconds between two heartbeats until the server says how many."""

MISSED = 2.5
"""Heartbeats that may be missed before the feed counts as silent."""

PATIENCE = 15.0
"""Seconds that waiting calls put up with a feed that is not live before they end: nobody knows of the kill switch then."""

LARGEST_EVENT = 8 << 20

RUNNING = KillSwitchState(False)

News = ActionResult | KillSwitchState | AscendError | None
"""What a waiting call is told; None: ask the server how the action stands, for something may have been missed."""


class Chunks(Protocol):
    """An open stream; see ``transport.Stream``."""

    status: int

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """End it, from any thread."""
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
    """What the server pushes to this process.

    Args:
        open_stream: opens it, from the last event's id on.
        clock: seconds.
    """

    def __init__(
        self, open_stream: Callable[[str | None, float], Chunks], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open = open_stream
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[_Waiting, _Waiting]] = {}
        self._thread: threading.Thread | None = None
        self._chunks: Chunks | None = None
        self._closed = False
        self._wake = threading.Event()
        self._ready = False
        self._heard = 0.0
        self._lost = self._clock()
        self._heartbeat = HEARTBEAT
        self._last_id: str | None = None
        self._switched = -1
        self._switches: dict[str, KillSwitchState] = {}

    def start(self) -> None:
        """Begin to listen, once, and anew in a process that was forked."""
        if self._thread is not None and self._process == os.getpid():
            return
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            if self._thread is None and not self._closed:
                self._lost = self._clock()
                self._thread = threading.Thread(target=self._listen, name="ascend-guard-feed", daemon=True)
                self._thread.start()

    @property
    def live(self) -> bool:
        """Whether what it says of the kill switch is all there is to know."""
        return (
            self._ready
            and self._process == os.getpid()
            and self._clock() - self._heard < MISSED * self._heartbeat
        )

    def state(self, agent_id: str) -> KillSwitchState | None:
        """Whether an agent is stopped; None when that is not known here."""
        if not self.live:
            return None
        switches = self._switches
        if not switches:
            return RUNNING
        return switches.get("") or switches.get(agent_id) or RUNNING

    def wait_for(self, action_id: str, agent_id: str, deliver: Callable[[News], None]) -> object:
        """Tell ``deliver``, from the feed's thread, what concerns this action; the answer is for ``forget``."""
        token = _Waiting(action_id, agent_id, deliver)
        with self._lock:
            self._waiting.setdefault(action_id, {})[token] = token
        return token

    def forget(self, token: object) -> None:
        """Tell it no more."""
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
        """Stop listening. Closing twice is no error."""
        self._closed = True
        self._ready = False
        chunks = self._chunks
        if chunks is not None and self._process == os.getpid():
            chunks.close()
        self._wake.set()

    # --- the thread ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        failures = 0
        while not self._closed:
            try:
                self._hear()
                failures = 0
            except Exception as error:
                failures += 1
                if not isinstance(error, AscendError):
                    _log.warning("The control plane's stream cannot be understood: %s", error)
            if self._ready:
                self._ready = False
                self._lost = self._heard
            self._give_up()
            # Replicas that come back are not asked by everybody at once.
            self._wake.wait(min(2.0, 0.05 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.5))  # noqa: S311

    def _hear(self) -> None:
        chunks = self._open(self._last_id, MISSED * self._heartbeat)
        self._chunks = chunks
        try:
            if chunks.status != 200:
                raise NetworkError(f"The control plane's stream was refused ({chunks.status}).")
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
        if event.name == "decision":
            self._decided(decision_of(event.data))
        elif event.name == "ready":
            ready = _decoded(event.data, _Ready)
            self._heartbeat = max(0.05, min(ready.heartbeat, 60.0))
            self._turn(ready.on, event.number)
            resumed = self._last_id is not None
            self._ready = True
            if not resumed:
                self._tell_all(None)
        elif event.name == "kill_switch":
            self._turn(_decoded(event.data, _Switches).on, event.number)
        elif event.name == "reset":
            self._tell_all(None)
        if event.id is not None:
            self._last_id = event.id

    def _turn(self, on: list[KillSwitchState], number: int) -> None:
        if number < self._switched:
            return  # said before what is known already, and queued behind it
        self._switched = number
        self._switches = {state.agent_id or "": state for state in on}
        if not on:
            return
        for one in self._all():
            state = self._switches.get("") or self._switches.get(one.agent_id)
            if state is not None:
                one.deliver(state)

    def _decided(self, result: ActionResult) -> None:
        with self._lock:
            told = list(self._waiting.get(result.action_id, ()))
        for one in told:
            one.deliver(result)

    def _tell_all(self, news: News) -> None:
        for one in self._all():
            one.deliver(news)

    def _give_up(self) -> None:
        if self._waiting and self._clock() - self._lost > PATIENCE:
            self._tell_all(
                KillSwitchError(
                    "Blocked: the control plane has not been heard of for a while, so the state of the kill switch cannot "
                    "be known, which counts as on. Check that the server runs, then call again.",
                    reason="kill switch state unknown",
                )
            )


class Event(Struct, frozen=True):
    """One server-sent event."""

    name: str
    data: bytes
    id: str | None

    @property
    def number(self) -> int:
        """The audit record it tells of."""
        given = self.id or ""
        return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0


def events(chunks: Chunks, heard: Callable[[], None]) -> Iterator[Event]:
    """The events of a stream (WHATWG HTML, "Server-sent events"). ``heard`` is called with each sign of life.

    Raises:
        ServerError: an event is too large.
    """
    buffer = bytearray()
    name, data, ident = "message", bytearray(), None
    for chunk in chunks:
        heard()
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end]).rstrip(b"\r")
            del buffer[: end + 1]
            if line:
                field, _, value = line.partition(b":")
                value = value.removeprefix(b" ")
                if field == b"event":
                    name = value.decode("utf-8", "replace")
                elif field == b"data":
                    data += value if not data else b"\n" + value
                elif field == b"id":
                    ident = value.decode("latin-1")
            elif data:
                yield Event(name, bytes(data), ident)
                name, data, ident = "message", bytearray(), None
        if len(buffer) + len(data) > LARGEST_EVENT:
            raise ServerError("The control plane's stream sent an event that is too large.")


def _decoded(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ServerError("The control plane's stream cannot be understood.") from error
