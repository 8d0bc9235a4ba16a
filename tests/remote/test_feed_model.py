"""The feed against a model of a server that pushes: it never believes more than the server has said, and nobody who waits
misses anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SCHEDULES

from ascend_guard.client.guard.feed import MISSED, Chunks, Feed, News
from ascend_guard.errors import NetworkError
from ascend_guard.model import ActionResult, KillSwitchState

AGENTS = ("ann", "bob")
ACTIONS = ("1", "2", "3")
BEAT = 4.0
PATIENCE = 9.0

Switches = dict[str, bool]


class Clock:
    """Seconds that only the schedule lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Waiter:
    """A call that waits; what it learnt, and what it was told."""

    def __init__(self, server: Model, feed: Feed, action: str, agent: str) -> None:
        self.server, self.feed, self.action, self.agent = server, feed, action, agent
        self.told: list[News] = []
        self.knows = False
        state = feed.state(agent)
        # Where the feed does not know, the server is asked; it may say what is on its way already.
        said = [server.switches, *(switches for _, switches in server.truth)]
        asked = any("" in switches or agent in switches for switches in said)
        self.stopped = asked if state is None else state.blocked
        self.token = feed.wait_for(action, agent, self.hear)
        self.ask()

    def ask(self) -> None:
        """The server itself is asked: it says how things are now."""
        self.knows = self.knows or self.action in self.server.decided

    def hear(self, news: News) -> None:
        self.told.append(news)
        if news is None:
            self.ask()
        elif isinstance(news, ActionResult):
            self.server.require(news.action_id == self.action, "somebody else's decision")
            self.server.require(self.action in self.server.decided, "a decision that nobody made")
            self.knows = True
        else:
            self.server.require(news.agent_id in (None, self.agent), "somebody else's kill switch")
            self.stopped = True


class Model:
    """A server, the network before it, and the schedule that both follow."""

    def __init__(self, steps: list[tuple[Any, ...]]) -> None:
        self.steps = iter(steps)
        self.clock = Clock()
        self.seq = self.switched = 10
        self.switches: Switches = {}
        self.decided: dict[str, int] = {}
        self.base = 0
        self.connected = False
        self.wire = b""  # on its way to the client
        self.truth: list[tuple[int, Switches]] = []  # (bytes sent until then, how the switches were)
        self.sent = self.arrived = 0
        self.ready_at: int | None = None  # the byte after which the client knows how the switches are
        self.heard_at = 0.0
        self.due: list[tuple[int, str]] = []  # (byte, the action whose decision is complete there)
        self.feed = Feed(self.open, self.clock, PATIENCE)
        self.feed._wake = _Hurry(self)  # type: ignore[assignment]
        self.waiters: list[Waiter] = []
        self.broken: list[str] = []

    # --- the server ------------------------------------------------------------------------------------------------

    def say(self, event: str, data: Any, seq: int | str) -> None:
        if not self.connected:
            return
        self.push(f"event: {event}\nid: {seq}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n")

    def push(self, data: bytes) -> None:
        self.wire += data
        self.sent += len(data)
        self.truth.append((self.sent, dict(self.switches)))

    def on(self) -> list[KillSwitchState]:
        return [KillSwitchState(True, agent_id=agent or None, reason="fire") for agent in self.switches]

    def require(self, promise: bool, what: str) -> None:
        """The feed lives through exceptions of its stream, so that a failed assertion would be lost in there."""
        if not promise:
            self.broken.append(what)

    def open(self, last_id: str | None, silence: float) -> Chunks:
        for step in self.steps:
            if step[0] == "refuse":
                raise NetworkError("refused")
            if step[0] == "connect":
                return _Said(200, self.connection(last_id))
            if step[0] == "other status":
                return _Said(503, iter(()))
            self.play(step)
        self.feed.close()
        raise NetworkError("the schedule has ended")

    def connection(self, last_id: str | None) -> Iterator[bytes]:
        self.connected, self.wire, self.truth, self.sent, self.arrived = True, b"", [], 0, 0
        self.ready_at, self.due = None, []
        seen = -1 if last_id is None else int(last_id)
        if last_id is not None and 0 <= seen <= self.seq:
            for action, seq in sorted(self.decided.items(), key=lambda item: item[1]):
                if seq > seen:
                    self.decision(action, seq)
        self.say("ready", {"on": self.on(), "heartbeat": BEAT}, self.seq)
        self.ready_at, self.switched = self.sent, self.seq
        if last_id is not None and not 0 <= seen <= self.seq:
            self.say("reset", {}, self.seq)
        for step in self.steps:
            if step[0] == "disconnect":
                break
            if step[0] == "break":
                self.lost()
                raise NetworkError("broken")
            if step[0] == "deliver":
                size = max(1, len(self.wire) * step[1] // 100)
                piece, self.wire = self.wire[:size], self.wire[size:]
                if piece:
                    self.arrived += len(piece)
                    # A line that is complete is a sign of life, at this moment.
                    if b"\n" in piece:
                        self.heard_at = self.clock.now
                    yield piece
                    self.check()
            else:
                self.play(step)
        self.lost()

    def lost(self) -> None:
        self.connected = False
        self.wire = b""

    def decision(self, action: str, seq: int) -> None:
        self.say("decision", _decision(action), seq)
        self.due.append((self.sent, action))

    # --- what happens ----------------------------------------------------------------------------------------------

    def play(self, step: tuple[Any, ...]) -> None:
        kind, *rest = step
        if kind == "decide" and rest[0] not in self.decided:
            self.seq += 1
            self.decided[rest[0]] = self.seq
            self.decision(rest[0], self.seq)
        elif kind == "switch":
            agent, on = rest
            self.seq += 1
            if on:
                self.switches[agent] = True
            else:
                self.switches.pop(agent, None)
            self.say("kill_switch", {"on": self.on()}, self.seq)
            self.switched = self.seq
        elif kind == "stale switch" and self.ready_at is not None:
            # Queued while the connection was opened: from before what ``ready`` said.
            self.say("kill_switch", {"on": [KillSwitchState(True)] if rest[0] else []}, self.switched - 1)
        elif kind == "beat" and self.connected:
            self.push(b": heartbeat\n\n")
        elif kind == "noise":
            self.say(*rest[0])
        elif kind == "poison":
            self.say("decision", rest[0], self.seq)
        elif kind == "time":
            self.clock.now += rest[0]
        elif kind == "restore" and not self.connected:
            # Another database in the old one's place: fewer records, other switches. Decisions stay decisions.
            self.seq = rest[0]
            self.decided = {action: min(seq, self.seq) for action, seq in self.decided.items()}
            self.switches = dict.fromkeys(rest[1], True)
        elif kind == "wait":
            self.waiters.append(Waiter(self, self.feed, *rest))
        elif kind == "leave" and self.waiters:
            self.feed.forget(self.waiters.pop(rest[0] % len(self.waiters)).token)
        self.check()

    # --- what is promised ------------------------------------------------------------------------------------------

    def known(self) -> Switches | None:
        """What the client can know by what has arrived; None: nothing, so it must say so."""
        if not self.connected or self.ready_at is None or self.arrived < self.ready_at:
            return None
        if not 0 <= self.clock.now - self.heard_at < MISSED * BEAT:
            return None
        return [switches for upto, switches in self.truth if upto <= self.arrived][-1]

    def check(self) -> None:
        known = self.known()
        for agent in AGENTS:
            state = self.feed.state(agent)
            if known is None:
                self.require(state is None, "it says more than it can know")
            else:
                blocked = "" in known or agent in known
                self.require(state is not None and state.blocked is blocked, "it says something else")
        if known is not None:
            for waiter in self.waiters:
                stopped = "" in known or waiter.agent in known
                self.require(waiter.stopped or not stopped, "its wait goes on")

    def told_all(self) -> None:
        """Once everything has arrived, everybody knows of their decision."""
        for waiter in self.waiters:
            self.require(waiter.knows or waiter.action not in self.decided, "a waiter was forgotten")


class _Said:
    def __init__(self, status: int, pieces: Iterator[bytes]) -> None:
        self.status = status
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        pass


class _Hurry:
    """Instead of pausing between two connections, look whether promises are kept."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._set = False

    def wait(self, seconds: float) -> None:
        self._model.require(0 < seconds <= 3.0, "a pause of no sense")
        model = self._model
        model.lost()
        model.check()

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


def _decision(action: str) -> dict[str, Any]:
    return {"id": int(action), "action_id": action, "status": "approved", "risk_score": 5.0}


anybody = st.sampled_from(["", *AGENTS])
anywhere = [
    st.tuples(st.just("decide"), st.sampled_from(ACTIONS)),
    st.tuples(st.just("switch"), anybody, st.booleans()),
    st.tuples(st.just("time"), st.sampled_from([0.5, 3.0, 6.0, 9.9, 10.0, 100.0, -5.0])),
    st.tuples(st.just("wait"), st.sampled_from(ACTIONS), st.sampled_from(AGENTS)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
]
connected = st.one_of(
    *anywhere,
    st.tuples(st.just("deliver"), st.integers(0, 100)),
    st.just(("deliver", 100)),
    st.tuples(st.just("stale switch"), st.booleans()),
    st.just(("beat",)),
    st.just(("noise", ("unknown", {"on": [{"blocked": True}]}, "banana"))),
    st.tuples(st.just("poison"), st.sampled_from([{}, [], {"id": 1, "status": "banana"}, "x"])),
)
apart = st.one_of(
    *anywhere,
    st.tuples(st.just("restore"), st.integers(0, 40), st.lists(anybody, max_size=2)),
    st.sampled_from([("refuse",), ("other status",)]),
)
schedules = st.lists(
    st.builds(
        lambda before, first, inside, end: [*before, ("connect",), ("deliver", first), *inside, (end,)],
        st.lists(apart, max_size=4),
        st.sampled_from([100, 100, 50]),
        st.lists(connected, max_size=8),
        st.sampled_from(["disconnect", "break"]),
    ),
    max_size=4,
).map(lambda parts: [step for part in parts for step in part])
SETTLED = [("connect",), ("deliver", 100), ("beat",), ("deliver", 100)]


@settings(max_examples=2 * SCHEDULES)
@given(schedules)
def test_it_says_what_it_was_told_and_no_more(schedule: list[tuple[Any, ...]]) -> None:
    """At every moment: the switches as the server had them when it sent what arrived last, or that it does not know."""
    model = Model(schedule)
    model.feed._listen()
    assert model.broken == []


def _play(schedule: list[tuple[Any, ...]]) -> Model:
    """Play it, and look whether all who wait know of their decisions while the last connection stands."""
    checked: list[bool] = []

    def steps_and_then() -> Iterator[tuple[Any, ...]]:
        yield from schedule
        model.check()
        model.told_all()
        checked.append(True)

    model = Model([])
    model.steps = steps_and_then()
    model.feed._listen()
    assert model.broken == []
    assert checked == [True]
    return model


@settings(max_examples=2 * SCHEDULES)
@given(schedules)
def test_nobody_is_forgotten(schedule: list[tuple[Any, ...]]) -> None:
    """Whatever happened: once the feed is live and all has arrived, everybody who waits knows of their decision."""
    _play([step for step in schedule if step[0] != "restore"] + SETTLED)


OPEN = [("connect",), ("deliver", 100)]
SHUT = ("break",)
WAIT = ("wait", "1", "ann")
DECIDE = ("decide", "1")
ALL = ("deliver", 100)
STORIES = {
    "decided before the first connection": [WAIT, DECIDE, *OPEN],
    "decided while it was away": [*OPEN, WAIT, SHUT, DECIDE, *OPEN],
    "decided, and another database": [*OPEN, WAIT, SHUT, DECIDE, ("restore", 3, []), *OPEN],
    "another database, with its switch on": [*OPEN, SHUT, ("restore", 3, [""]), *OPEN, WAIT],
    "another database, with its switch off": [
        ("switch", "ann", True),
        *OPEN,
        SHUT,
        ("restore", 3, []),
        *OPEN,
    ],
    "a switch off that is older": [*OPEN, ("switch", "ann", True), ALL, ("stale switch", False), ALL],
    "a switch on that is older": [*OPEN, ("beat",), ("stale switch", True), ALL],
    "away for long": [*OPEN, WAIT, SHUT, DECIDE, ("time", 10.0), ("refuse",), ("refuse",)],
    "away for long, twice": [
        *(*OPEN, WAIT, SHUT, ("time", 10.0), ("refuse",)),
        *(*OPEN, SHUT, DECIDE, ("time", 10.0), ("refuse",), ("refuse",)),
    ],
    "never there": [WAIT, ("refuse",), DECIDE, ("time", 10.0), ("other status",), ("other status",)],
    "an odd id": [*OPEN, WAIT, ("noise", ("unknown", 1, "banana")), ALL, SHUT, DECIDE, *OPEN],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_stories(story: list[tuple[Any, ...]]) -> None:
    """What chance finds too seldom."""
    _play(story)


def test_a_decision_that_cannot_be_read() -> None:
    """Everybody asks; it may be theirs."""
    (waiter,) = _play([*OPEN, WAIT, ("poison", {"id": 1, "status": "banana"}), ALL]).waiters
    assert waiter.told == [None, None]  # the second, because the feed was closed at the end


def _listen(feed: Feed) -> None:
    """Let it listen until it is closed. It lives through exceptions of its stream; the assertions among them end it."""
    failed: list[AssertionError] = []
    hear = feed._hear

    def heard() -> None:
        try:
            hear()
        except AssertionError as error:
            failed.append(error)
            feed.close()

    feed._hear = heard  # type: ignore[method-assign]
    feed._listen()
    if failed:
        raise failed[0]


def _told(
    *events: bytes, heartbeat: float = BEAT
) -> tuple[Feed, Clock, list[News], list[Callable[[], None]]]:
    """A feed that heard ``ready`` and these events; the looks are made before the stream ends."""
    clock = Clock()
    looks: list[Callable[[], None]] = []

    def pieces() -> Iterator[bytes]:
        yield b'event: ready\nid: 9\ndata: {"on":[],"heartbeat":%b}\n\n' % str(heartbeat).encode()
        yield from events
        for look in looks:
            look()
        feed._closed = True

    feed = Feed(lambda last_id, silence: _Said(200, pieces()), clock, PATIENCE)
    news: list[News] = []
    feed.wait_for("1", "ann", news.append)
    return feed, clock, news, looks


@pytest.mark.parametrize(
    ("said", "believed"), [("1e300", 60.0), ("-5", 0.05), ("0", 0.05), ("0.000001", 0.05), ("7", 7.0)]
)
def test_heartbeats_that_make_no_sense(said: str, believed: float) -> None:
    """However long a server says it will be silent, it is not believed for more than two and a half minutes."""
    clock = Clock()

    def pieces() -> Iterator[bytes]:
        yield b'event: ready\nid: 9\ndata: {"on":[],"heartbeat":%b}\n\n' % said.encode()
        assert feed.live
        clock.now += believed * MISSED * 0.999
        assert feed.live
        clock.now += believed * MISSED * 0.002
        assert not feed.live
        feed._closed = True

    feed = Feed(lambda last_id, silence: _Said(200, pieces()), clock)
    _listen(feed)


@pytest.mark.parametrize("said", ["NaN", "Infinity", "1e999", '"5"', "null", "[]", "true"])
def test_heartbeats_that_are_no_numbers(said: str) -> None:
    """The stream is not believed at all."""
    opened: list[str | None] = []

    def pieces() -> Iterator[bytes]:
        yield b'event: ready\nid: 9\ndata: {"on":[],"heartbeat":%b}\n\n' % said.encode()
        raise AssertionError("it went on listening")

    def open_stream(last_id: str | None, silence: float) -> Chunks:
        assert not feed.live
        if opened:
            feed.close()
        opened.append(last_id)
        return _Said(200, pieces())

    feed = Feed(open_stream, Clock())
    _listen(feed)
    assert opened == [None, None]
    assert feed.state("ann") is None


def test_a_clock_that_runs_backwards() -> None:
    """Nothing is known then: how long ago it was cannot be said."""
    feed, clock, _, looks = _told()

    def look() -> None:
        assert feed.live
        clock.now -= 1
        assert feed.state("ann") is None

    looks.append(look)
    _listen(feed)


def test_a_switch_that_is_off_hides_none_that_is_on() -> None:
    """A list of switches with one that says it is off is read for those that are on."""
    on = b'{"on":[{"blocked":false},{"blocked":true,"agent_id":"ann"}]}'
    feed, _, news, looks = _told(b"event: kill_switch\nid: 11\ndata: " + on + b"\n\n")

    def look() -> None:
        state = feed.state("ann")
        assert state is not None
        assert state.blocked is True
        assert feed.state("bob") is not None
        assert feed.state("bob").blocked is False  # type: ignore[union-attr]

    looks.append(look)
    _listen(feed)
    assert [item.blocked for item in news if isinstance(item, KillSwitchState)] == [True]


@pytest.mark.parametrize(
    "data", [b'{"on":7}', b"{}", b"not json", b'{"on":[{"blocked":"yes"}]}', b"[" * 100_000]
)
def test_a_kill_switch_that_cannot_be_read(data: bytes) -> None:
    """The feed knows nothing after it, and connects again."""
    clock = Clock()
    opened: list[int] = []

    def pieces() -> Iterator[bytes]:
        yield b'event: ready\nid: 9\ndata: {"on":[],"heartbeat":5}\n\n'
        yield b"event: kill_switch\nid: 10\ndata: " + data + b"\n\n"
        raise AssertionError("it went on listening")

    def open_stream(last_id: str | None, silence: float) -> Chunks:
        assert feed.state("ann") is None
        if opened:
            feed.close()
        opened.append(1)
        return _Said(200, pieces())

    feed = Feed(open_stream, clock)
    _listen(feed)
    assert len(opened) == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>please sign in</html>\n\n", b"\n\n\n", b"event: other\ndata: 1\n\n"]
)
def test_a_stream_that_ends_at_once_is_no_reason_to_hurry(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something in the server's place that answers 200 and ends is not asked twenty times a second."""
    pauses: list[float] = []
    clock = Clock()

    def open_stream(last_id: str | None, silence: float) -> Chunks:
        return _Said(200, iter([body]))

    class Noting(_Hurry):
        def wait(self, seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 12:
                feed.close()

    feed = Feed(open_stream, clock)
    feed._wake = Noting(None)  # type: ignore[arg-type, assignment]
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)
    _listen(feed)
    assert pauses[-1] == 2.0
    assert pauses == sorted(pauses)


def test_closing_wakes_whoever_waits() -> None:
    """A call that waits for news of a feed that is closed is told to ask, and learns that it cannot."""
    feed = Feed(lambda last_id, silence: _Said(200, iter(())), Clock())
    news: list[News] = []
    token = feed.wait_for("1", "ann", news.append)
    feed.close()
    assert news == [None]
    feed.forget(token)
    feed.close()
    assert news == [None]


def test_closed_while_it_connects() -> None:
    """The connection that comes about then is not listened to for ever."""
    closed: list[bool] = []

    class Endless(_Said):
        def close(self) -> None:
            closed.append(True)

    def beats() -> Iterator[bytes]:
        while not closed:
            yield b": heartbeat\n\n"
            assert len(closed) < 10

    def open_stream(last_id: str | None, silence: float) -> Chunks:
        feed.close()
        return Endless(200, beats())

    feed = Feed(open_stream, Clock())
    _listen(feed)
    assert closed == [True]
