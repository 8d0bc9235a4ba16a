"""Streams that are none, come late, or come through something that spoils them: the guard asks, and blocks when it must."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import Exchange, head, redirect, whole
from remote_workers import plane_of, refunded
from remote_world import Gate
from remote_world import own as as_own
from serving import Serving, serving
from world import Beside, eventually

from ascend_guard import KillSwitchError, NetworkError, RemoteControlPlane, governed

READY = b'event: ready\nid: 0\ndata: {"on":[],"heartbeat":5}\n\n'
EVENTS = {"Content-Type": "text/event-stream"}

Streaming = Callable[[Exchange], bool]


class Spoilt(Gate):
    """Passes requests on, and answers the stream itself."""

    def __init__(self, upstream: str, streaming: Streaming) -> None:
        self._streaming = streaming
        self.streams = 0
        super().__init__(upstream, lambda request: False)

    def _act(self, exchange: Exchange) -> bool:
        assert exchange.request is not None
        if exchange.request.path.startswith("/api/v1/stream"):
            self.streams += 1
            return self._streaming(exchange)
        return super()._act(exchange)


def _says(data: bytes, *, stay: bool = False, own: bool = True) -> Streaming:
    def act(exchange: Exchange) -> bool:
        exchange.send(as_own(exchange, data) if own else data)
        if stay:
            exchange.silence()
        return False

    return act


NOT_BELIEVED: dict[str, Streaming] = {
    "redirect": redirect("http://127.0.0.1:9/api/v1/stream").act,
    "redirect to itself": redirect("/api/v1/stream").act,
    "a page": _says(whole(200, b"<html>please sign in</html>", {"Content-Type": "text/html"})),
    "json": _says(whole(200, b'{"on":[],"heartbeat":5}')),
    "nothing": _says(head(200, EVENTS), stay=True),
    "heartbeats alone": _says(head(200, EVENTS) + b": heartbeat\n\n" * 50, stay=True),
    "half of ready": _says(head(200, EVENTS) + READY[:-1], stay=True),
    "no content": _says(head(204)),
    "partial content": _says(head(206, EVENTS) + READY, stay=True),
    "created": _says(head(201, EVENTS) + READY, stay=True),
    "broken chunks": _says(
        head(200, {**EVENTS, "Transfer-Encoding": "chunked"}) + b"zz\r\n" + READY, stay=True
    ),
    "no http": _says(b"\x00\x01garbage\r\n\r\n" + READY),
    "another request's": _says(head(200, EVENTS) + READY, stay=True, own=False),
    "compressed": _says(head(200, {**EVENTS, "Content-Encoding": "gzip"}) + b"\x1f\x8b\x08", stay=True),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "a.db") as made:
        yield made


def _kill(server: Serving, how: str = "trigger") -> None:
    path = f"/api/billing/kill-switch/local/{how}"
    assert server.ask("POST", path, server.key(None, "admin"), {"reason": "there is a fire"}).ok


@pytest.mark.parametrize("streaming", NOT_BELIEVED.values(), ids=NOT_BELIEVED.keys())
def test_not_believed(server: Serving, streaming: Streaming) -> None:
    """The guard asks the server for all it needs: calls run, waits end with their decision, the kill switch blocks."""
    spoilt = Spoilt(server.url, streaming)
    plane = plane_of(spoilt.url, server.key("my-agent"))
    plane._feed.patience = 0.1
    assert refunded(plane, 1) == "ran"
    eventually(lambda: spoilt.streams)
    call = Beside(refunded, plane, 900)
    action = server.newest_pending()
    eventually(
        lambda: plane._feed._clock() - plane._feed.heard > 0.3
    )  # longer than its patience: it goes on asking
    assert server.approve(action).ok
    assert call.end().result == "ran"
    assert not plane._feed.live
    _kill(server)
    assert refunded(plane, 2) == "KillSwitchError"
    plane.close()
    spoilt.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_stream_without_a_length(server: Serving, version: str) -> None:
    """HTTP/1.0, or a connection that ends the body: as good as any, for as long as it lasts."""
    spoilt = Spoilt(server.url, _says(head(200, EVENTS, version) + READY, stay=True))
    plane = plane_of(spoilt.url, server.key("my-agent"))
    assert refunded(plane, 1) == "ran"
    eventually(lambda: plane._feed.live)
    asked = sum("kill" in request.path for request in spoilt.received)
    assert refunded(plane, 2) == "ran"
    assert sum("kill" in request.path for request in spoilt.received) == asked
    plane.close()
    spoilt.close()


def test_an_old_story_from_the_stream(server: Serving) -> None:
    """However alive a stream is that says nothing of the kill switch, the server still decides: nothing runs."""
    spoilt = Spoilt(server.url, _says(head(200, EVENTS) + READY, stay=True))
    plane = plane_of(spoilt.url, server.key("my-agent"))
    assert refunded(plane, 1) == "ran"
    eventually(lambda: plane._feed.live)
    _kill(server)
    assert refunded(plane, 2) == "KillSwitchError"
    plane.close()
    spoilt.close()


def test_news_that_trickles(server: Serving) -> None:
    """A byte now and then of news that never comes whole keeps no feed alive."""

    def trickle(exchange: Exchange) -> bool:
        exchange.send(
            as_own(exchange, head(200, EVENTS) + READY.replace(b'"heartbeat":5', b'"heartbeat":0.1'))
        )
        exchange.send(b"event: kill_switch\nid: 7\ndata: ")
        for byte in b" " * 3000:
            if exchange.gone(0.01):
                break
            exchange.send(bytes([byte]))
        return False

    spoilt = Spoilt(server.url, trickle)
    plane = plane_of(spoilt.url, server.key("my-agent"))
    assert refunded(plane, 1) == "ran"
    eventually(lambda: plane._feed.live)
    eventually(lambda: not plane._feed.live)
    assert plane._feed.state("my-agent") is None
    plane.close()
    spoilt.close()


def test_connections_do_not_pile_up(server: Serving) -> None:
    """A stream that is cut off again and again leaves no socket behind."""
    spoilt = Spoilt(server.url, _says(head(200, EVENTS) + READY))
    plane = plane_of(spoilt.url, server.key("my-agent"))
    assert refunded(plane, 1) == "ran"
    eventually(lambda: spoilt.streams >= 3)
    before = len(os.listdir("/proc/self/fd"))
    eventually(lambda: spoilt.streams >= 12)
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    plane.close()
    spoilt.close()


def test_cut_off_between_chunks(server: Serving) -> None:
    """A tool that streams stops when the feed is lost and the server cannot be asked."""
    plane = server.plane()

    @governed("refund", "stripe", control_plane=plane)
    def chunks(amount: int) -> Iterator[int]:
        yield from range(10**9)

    stream: Any = chunks(1)
    assert next(stream) == 0
    eventually(lambda: plane._feed.live)
    plane._feed._open = _refused
    send = plane._transport.send
    plane._transport.send = _refused  # type: ignore[assignment, method-assign]
    chunk = plane._feed._chunks
    assert chunk is not None
    chunk.close()
    with pytest.raises(KillSwitchError):
        for _ in stream:
            pass
    plane._transport.send = send  # type: ignore[method-assign]
    plane.close()


def _refused(*args: Any, **options: Any) -> Any:
    raise NetworkError("Nobody is there.")


def test_a_guard_for_each_call(server: Serving) -> None:
    """Whoever makes one for each call and closes it keeps no descriptor."""
    key = server.key("my-agent")
    for turn in range(12):
        plane = RemoteControlPlane(key, server.url, agent_id="my-agent")
        assert refunded(plane, 1) == "ran"
        plane.close()
        if turn == 4:
            eventually(lambda: not server.server.change_feed._listeners)
            before = len(os.listdir("/proc/self/fd"))
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)
