"""What an unknown client can make the server hold: nothing before its key is known, and no connection for long."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from serving import Serving, serving
from world import eventually

from ascend_guard.server.handling import ServerSettings
from ascend_guard.server.requests import connection_limits, connections

SUBMIT = "/api/v1/actions/submit"
BODY = b'{"agent_id":"my-agent","agent_name":"A","action_type":"orders_read","resource":"r","tool_name":"t"}'


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """A server whose patience lasts a second, and which allows a few connections and streams."""
    for name, phases in (("HEAD_SECONDS", (0, 1)), ("BODY_SECONDS", (2,))):
        monkeypatch.setattr(connections, name, 1.0)
        for phase in phases:
            monkeypatch.setitem(connections._TIMES, phase, 1.0)
    monkeypatch.setattr(connections, "WRITE_SECONDS", 1.0)
    settings = ServerSettings(heartbeat=0.5, connections_per_address=12, streams_per_key=2)
    with serving(tmp_path / "a.db", settings=settings) as server:
        yield server


@contextmanager
def connected(served: Serving, sent: bytes = b"") -> Iterator[socket.socket]:
    """A connection on which this was sent."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(sent)
        yield connection


def rest(connection: socket.socket) -> bytes:
    """What still comes until the server ends the connection."""
    got = b""
    try:
        while part := connection.recv(1 << 16):
            got += part
    except ConnectionResetError:
        got += b"(reset)"
    return got


def head(key: str, *lines: str) -> bytes:
    """The head of a submission."""
    return "\r\n".join([f"POST {SUBMIT} HTTP/1.1", "Host: x", f"X-API-Key: {key}", *lines, "", ""]).encode()


@pytest.mark.parametrize("framing", ["Content-Length: 1900000", "Transfer-Encoding: chunked"])
def test_nobody_is_refused_before_a_body_is_read(served: Serving, framing: str) -> None:
    """A wrong key is answered 401 though not one byte of the announced body was sent, and with 100-continue no go-ahead."""
    for more in ((), ("Expect: 100-continue",)):
        with connected(served, head("owkai_wrong", framing, *more)) as connection:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 401 ")


def test_a_refused_client_that_sends_all_reads_its_refusal(served: Serving) -> None:
    """Published clients write the whole body before they read: they get the 401, not a reset; and the next request works."""
    with requests.Session() as session:
        for _ in range(2):
            answer = session.post(
                served.url + SUBMIT, data=b"x" * 1_900_000, headers={"X-API-Key": "no"}, timeout=20
            )
            assert answer.status_code == 401
        key = served.key()
        assert (
            session.post(served.url + SUBMIT, data=BODY, headers={"X-API-Key": key}, timeout=20).status_code
            == 200
        )


def test_what_is_sent_after_a_refusal_is_bounded(served: Serving) -> None:
    """A body without end is not read without end."""
    with connected(served, head("no", "Transfer-Encoding: chunked")) as connection:
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 401 ")
        sent = 0
        try:
            while sent < 1 << 30:
                sent += connection.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        except OSError:
            pass
    assert sent < 64 << 20


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"GET /", b"HTTP/1.1 408 "),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 408 "),
        (b"BODY", b"HTTP/1.1 408 "),
        (b"CHUNKS", b"HTTP/1.1 408 "),
    ],
)
def test_half_requests_end(
    served: Serving, caplog: pytest.LogCaptureFixture, sent: bytes, said: bytes
) -> None:
    """Whatever part of a request is missing, and however slowly more of it drips in, the connection ends, with a word."""
    key = served.key()
    sent = {
        b"BODY": head(key, "Content-Length: 100") + b"{",
        b"CHUNKS": head(key, "Transfer-Encoding: chunked") + b"1\r\n{\r\n",
    }.get(sent, sent)
    drip = b"1\r\nx\r\n" if b"chunked" in sent else b"\r\n" if sent in (b"", b"\r\n") else b"x"
    with caplog.at_level(logging.WARNING), connected(served, sent) as connection:
        connection.settimeout(0.3)
        got = b""
        while True:
            try:
                part = connection.recv(1 << 16)
                got += part
                if not part:
                    break
            except TimeoutError:
                connection.sendall(drip)
            except ConnectionResetError:
                break
    assert got[: len(said)] == said
    if said:
        assert "Limit: 127.0.0.1 did not send" in caplog.text


@pytest.mark.parametrize("part", ["a header", "many headers", "the path"])
@pytest.mark.parametrize(("size", "status"), [(63 << 10, b"200"), (65 << 10, b"400")])
def test_a_head_is_bounded_when_it_comes_at_once(
    served: Serving, part: str, size: int, status: bytes
) -> None:
    """64 KiB altogether, however it is divided: one read from the socket takes more than that."""
    lines = {
        "a header": ["GET /api/deployment-info HTTP/1.1", "A: " + "x" * size],
        "many headers": [
            "GET /api/deployment-info HTTP/1.1",
            *[f"A{i}: " + "x" * (size // 100) for i in range(100)],
        ],
        "the path": ["GET /api/deployment-info?" + "x" * size + " HTTP/1.1"],
    }[part]
    asked = "\r\n".join([*lines, "Host: x", "Connection: close", "", ""]).encode()
    with connected(served, asked) as connection:
        answer = rest(connection)
    if part == "the path" and status == b"200":  # it was read, and judged
        assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 422 "))
    else:
        assert answer.startswith(b"HTTP/1.1 " + status)


def test_an_answer_that_is_not_taken(served: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """The connection of a client that asks and does not read is ended, and a stream's, too."""
    token, text = served.token(), "x" * 60_000
    for _ in range(20):
        served.store.write(lambda tx: tx.record("note", organization="local", actor="x", text=text))
    ask = f"GET /api/audit/logs?limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    host, port = served.url.removeprefix("http://").split(":")
    with caplog.at_level(logging.WARNING), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        connection.settimeout(20)
        connection.sendall(ask * 20)
        eventually(lambda: "did not read an answer" in caplog.text)
        assert len(rest(connection)) < 20 << 20


def test_connections_of_an_address(served: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """One too many is answered 503 with a word in the log, and there is room again when another ends."""
    with caplog.at_level(logging.WARNING), ExitStack() as stack:
        ask = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        open_ = [stack.enter_context(connected(served, ask)) for _ in range(12)]
        for connection in open_:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        with connected(served, ask) as one_more:
            answer = rest(one_more)
        assert answer.startswith((b"HTTP/1.1 503 ", b"(reset)"))
        assert "Limit: 127.0.0.1 has 12 connections open" in caplog.text
        open_[0].close()
        assert eventually(lambda: requests.get(served.url + "/health", timeout=20).status_code == 200)


def test_all_connections_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process keeps files for its database: connections are refused before they run out, and the log says so."""
    monkeypatch.setattr(connection_limits, "_OTHER_FILES", 1 << 30)
    with (
        caplog.at_level(logging.WARNING),
        serving(tmp_path / "a.db", settings=ServerSettings(connections_per_address=99)) as server,
    ):
        with ExitStack() as stack:
            for _ in range(16):
                stack.enter_context(connected(server))
            with connected(server, b"GET /health HTTP/1.1\r\n\r\n") as connection:
                assert rest(connection).startswith((b"HTTP/1.1 503 ", b"(reset)"))
        assert "16 connections are open, the maximum" in caplog.text
        assert eventually(lambda: requests.get(server.url + "/ready", timeout=20).status_code == 200)


def test_streams_of_a_key(served: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """A third stream is answered 429 with a word in the log; another key has its own; one that ends makes room."""
    key, other = served.key(), served.key()

    def opened(stack: ExitStack, key: str) -> requests.Response:
        url, headers = served.url + "/api/v1/stream", {"X-API-Key": key}
        return stack.enter_context(requests.get(url, headers=headers, stream=True, timeout=20))

    with caplog.at_level(logging.WARNING), ExitStack() as stack:
        first, second = opened(stack, key), opened(stack, key)
        assert (first.status_code, second.status_code) == (200, 200)
        refused = opened(stack, key)
        assert (refused.status_code, refused.json()["error_code"]) == (429, "RATE_LIMIT_EXCEEDED")
        assert refused.headers["retry-after"] == "5"
        assert "has 2 streams open" in caplog.text
        assert opened(stack, other).status_code == 200
        first.close()

        def again() -> bool:
            with ExitStack() as tried:
                return opened(tried, key).status_code == 200

        assert eventually(again)


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /health HTTP/1.1\r\n\r\n" * 5_000,
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 5_000 + b"\r\n",
        b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000,
    ],
    ids=["requests", "headers", "chunks"],
)
def test_floods_in_one_write(served: Serving, flood: bytes) -> None:
    """Thousands of requests in advance, headers or tiny chunks end the connection; the server goes on."""
    with connected(served) as connection:
        try:
            connection.sendall(flood)
            got = rest(connection)
        except OSError:
            got = b"(reset)"
    assert len(re.findall(rb"HTTP/1.1 200 ", got)) <= connections.MOST_AHEAD + 1
    assert requests.get(served.url + "/health", timeout=20).status_code == 200


def test_thirty_requests_in_advance_are_answered(served: Serving) -> None:
    """What an ordinary client may send is served: thirty requests in one go, two hundred headers."""
    ask = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    with connected(served, (ask + b"\r\n") * 29 + ask + b"Connection: close\r\n\r\n") as connection:
        assert rest(connection).count(b"HTTP/1.1 200 ") == 30
    many = b"".join(b"X-%d: y\r\n" % number for number in range(190))
    with connected(served, ask + many + b"Connection: close\r\n\r\n") as connection:
        assert rest(connection).startswith(b"HTTP/1.1 200 ")


def test_documents_for_anybody_are_limited(served: Serving) -> None:
    """Ten a second of an address, on average; health and readiness are not limited."""
    with requests.Session() as session:
        seen = [
            session.get(served.url + path, timeout=20).status_code
            for path in ("/openapi.json", "/metrics") * 310
        ]
        assert seen.count(200) == 600
        assert set(seen[600:]) == {429}
        assert session.get(served.url + "/health", timeout=20).status_code == 200
