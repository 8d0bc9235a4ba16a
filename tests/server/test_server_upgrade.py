"""A request that asks for another protocol is read like any other: its body is neither lost nor taken for a request."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import Serving, serving
from world import eventually

from ascend_guard.server.requests.http_protocol import LARGEST_HEAD, Protocol

DIGEST = "ab" * 32
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")


# --- what the application is given, against the same bytes without the upgrade -----------------------------------------


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was asked."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    body = b""
    more = True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        more = message["more_body"]
    heads = sorted([name.decode(), value.decode()] for name, value in scope["headers"])
    asked = [scope["method"], scope["path"], scope["query_string"].decode(), heads, body.decode("latin-1")]
    answer = json.dumps(asked).encode()
    length = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def echoing() -> Iterator[tuple[str, int]]:
    """Where the echo answers, behind the server's own protocol."""
    config = uvicorn.Config(echo, port=0, log_level="critical", http=Protocol, ws="none", interface="asgi3")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


def asking(
    method: bytes, path: bytes, body: bytes | None, chunks: int, fields: tuple[bytes, ...], turn: int
) -> bytes:
    """One request's bytes; ``fields`` are put among the others, beginning at ``turn``."""
    heads = [b"Host: x", b"X-A: 1", b"X-Empty:"]
    payload = b""
    if body is not None and chunks:
        heads.append(b"Transfer-Encoding: chunked")
        size = max(1, len(body) // chunks)
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        payload = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    elif body is not None:
        heads.append(b"Content-Length: %d" % len(body))
        payload = body
    for number, field in enumerate(fields):
        heads.insert((turn + number) % (len(heads) + 1), field)
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, path), *heads]) + b"\r\n\r\n" + payload


def answers(address: tuple[str, int], pieces: list[bytes], count: int) -> list[Any]:
    """What comes back for these bytes, sent in these pieces: so many answers."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        got, found = b"", []
        while len(found) < count:
            head, end, rest = got.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            if end and length and len(rest) >= int(length[1]):
                assert head.startswith(b"HTTP/1.1 200"), got
                found.append(json.loads(rest[: int(length[1])]))
                got = rest[int(length[1]) :]
                continue
            more = connection.recv(65536)
            assert more, (got, found)
            got += more
        return found


HIDDEN = b"POST /hidden HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
bodies = st.none() | st.binary(max_size=200) | st.just(HIDDEN) | st.just(b"x" * 70_000)
upgrades = st.sampled_from(
    [
        (),
        H2C,
        (b"Connection: upgrade", b"Upgrade: h2c"),
        (b"Connection: keep-alive, Upgrade", b"UPGRADE: H2C"),
        (b"connection: Upgrade,HTTP2-Settings", b"upgrade: h2c, h2"),
        (b"Connection: HTTP2-Settings", b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AA"),
        (b"Connection: Upgrade", b"Upgrade: TLS/1.2"),
        (b"Upgrade: h2c",),
        (b"Connection: upgrade",),
    ]
)
requests_ = st.tuples(
    st.sampled_from([b"POST", b"PUT", b"GET", b"DELETE"]),
    st.sampled_from([b"/a", b"/a/b%20c?x=1&y=%2F"]),
    bodies,
    st.integers(0, 3),
    upgrades,
    st.integers(0, 5),
)


def test_an_upgrade_changes_nothing_of_a_request(echoing: tuple[str, int]) -> None:
    """Requests in one connection, cut anywhere, arrive as the same ones without the upgrade: heads, bodies, and how many."""
    seen: Counter[str] = Counter()

    @settings(deadline=None)
    @given(st.lists(requests_, min_size=1, max_size=4), st.lists(st.integers(1, 400), max_size=6))
    def compare(asked: list[Any], cuts: list[int]) -> None:
        sent = b"".join(asking(*request) for request in asked)
        pieces, at = [], 0
        for cut in cuts:
            pieces.append(sent[at : at + cut])
            at += cut
        pieces.append(sent[at:])
        expected = []
        for method, path, body, chunks, fields, turn in asked:
            (plain,) = answers(echoing, [asking(method, path, body, chunks, (), turn)], 1)
            expected.append(plain)
            if len(fields) > 1:
                seen["upgrades"] += 1
                seen["upgrades with a body"] += bool(body)
                seen["upgrades in chunks"] += bool(body and chunks)
                seen["bodies like requests"] += body == HIDDEN
        got = answers(echoing, [piece for piece in pieces if piece], len(asked))
        hops = ("upgrade", "connection", "http2-settings")
        for one in got:
            one[3] = [head for head in one[3] if head[0] not in hops]
        assert got == expected

    compare()
    assert all(seen[name] for name in ("upgrades", "upgrades with a body", "upgrades in chunks"))
    assert seen["bodies like requests"]


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT /x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c, WebSocket\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=str,
)
def test_what_is_no_ordinary_request_is_refused(echoing: tuple[str, int], head: bytes) -> None:
    """A tunnel, HTTP/2 from the start, a WebSocket and a request with two ends get a 400 and the end of the connection."""
    with socket.create_connection(echoing, timeout=20) as connection:
        connection.sendall(head + HIDDEN)
        got = b""
        try:
            while part := connection.recv(65536):
                got += part
        except ConnectionResetError:
            pass
    assert got.startswith(b"HTTP/1.1 400 ")
    assert got.count(b"HTTP/1.1 ") == 1


def test_a_head_that_asks_for_an_upgrade_is_bounded_too(echoing: tuple[str, int]) -> None:
    """No head becomes longer than it may be by asking for another protocol first."""
    with socket.create_connection(echoing, timeout=20) as connection:
        got = b""
        try:
            connection.sendall(b"\r\n".join([b"POST /x HTTP/1.1", *H2C]) + b"\r\n")
            for number in range(2 * LARGEST_HEAD // 1_000):
                connection.sendall(b"X-%d: %b\r\n" % (number, b"a" * 1_000))
            got = connection.recv(65536)
        except OSError:
            pass  # reset while sending: refused as well
    assert not got or got.startswith(b"HTTP/1.1 400 ")


# --- what comes after the head -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [b"X-API-Key", b"Authorization", b"Idempotency-Key", b"X-Signature", b"Connection"]
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_trailer_is_no_head(echoing: tuple[str, int], name: bytes, at_once: bool) -> None:
    """Fields after a body in chunks are not the request's, whether they come with it or later."""
    head = (
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: %b\r\n\r\n2\r\n{}\r\n0\r\n"
        % name
    )
    trailer = b"%b: evil\r\n\r\n" % name
    (got,) = answers(echoing, [head + trailer] if at_once else [head, trailer], 1)
    assert got[3] == [["host", "x"], ["trailer", name.decode()], ["transfer-encoding", "chunked"]]
    assert got[4] == "{}"


@pytest.mark.parametrize("endless", [b"0\r\nX-A: ", b"0\r\n", b"2;a="], ids=["value", "trailer", "extension"])
def test_what_is_no_body_is_bounded(echoing: tuple[str, int], endless: bytes) -> None:
    """A trailer without end, and a chunk that says things of itself without end, get a 400 before they fill the memory."""
    more = b"X-A: %b\r\n" % (b"a" * 1_000) if endless == b"0\r\n" else b"a" * 1_000
    got, reset = b"", False
    with socket.create_connection(echoing, timeout=20) as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + endless)
        try:
            for _ in range(8 * LARGEST_HEAD // 1_000):
                connection.sendall(more)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                got += part
        except OSError:
            reset = True  # while it was sending
    assert reset or got.startswith(b"HTTP/1.1 400 ")


# --- decisions, by the clients that ask for h2c ------------------------------------------------------------------------

JAVA = """
import java.net.URI;
import java.net.http.*;
public class Ask {
    public static void main(String[] args) throws Exception {
        HttpClient http = HttpClient.newBuilder().build();
        HttpRequest request = HttpRequest.newBuilder().uri(URI.create(args[0]))
            .header("Authorization", "Bearer " + args[1]).header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(args[2])).build();
        HttpResponse<String> answer = http.send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode());
        System.out.println(answer.body());
    }
}
"""
CLIENTS = [name for name in ("curl", "java") if shutil.which(name)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A real server."""
    with serving(tmp_path_factory.mktemp("upgrade") / "a.db") as running:
        yield running


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that posts with Java's own client as it is by default."""
    source = tmp_path_factory.mktemp("java") / "Ask.java"
    source.write_text(JAVA)
    return source


def post(client: str, java: Path, url: str, credential: str, body: str) -> tuple[int, Any]:
    """One request by another client; the status and the decoded answer."""
    if client == "java":
        line = ["java", str(java), url, credential, body]
    else:
        line = ["curl", "-sS", "--http2", "-w", "\\n%{http_code}", "-X", "POST", url, "--data-raw", body]
        line += ["-H", f"Authorization: Bearer {credential}", "-H", "Content-Type: application/json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    first, _, rest = done.stdout.strip().partition("\n")
    status, answer = (first, rest) if client == "java" else (rest, first)
    return int(status), json.loads(answer)


def pending(server: Serving) -> str:
    """A refund that waits."""
    body = {
        "agent_id": "my-agent",
        "agent_name": "A",
        "action_type": "refund",
        "resource": "r",
        "action_details": {"amount": 700.0},
        "digest": DIGEST,
        "runner": "0" * 32,
    }
    answer = server.ask("POST", "/api/v1/actions/submit", server.key(), body).json()
    assert answer["status"] == "pending", answer
    return str(answer["action_id"])


@pytest.mark.parametrize("client", CLIENTS)
def test_an_edit_is_not_lost(server: Serving, java: Path, client: str) -> None:
    """An approval with other arguments by a client that asks for h2c approves these arguments."""
    action = pending(server)
    url = f"{server.url}/api/actions/{action}/approve"
    status, answer = post(
        client, java, url, server.token(), '{"arguments": {"amount": 600.0}, "comments": "é"}'
    )
    assert (status, answer["status"], answer["comments"]) == (200, "approved", "é")
    shown = server.ask("GET", f"/api/v1/actions/{action}", server.token()).json()
    assert shown["modified_arguments"] == {"amount": 600.0}


@pytest.mark.parametrize("client", CLIENTS)
def test_an_action_is_submitted(server: Serving, java: Path, client: str) -> None:
    """A submission by such a client is decided by its own arguments."""
    body = {"agent_id": "my-agent", "agent_name": "A", "action_type": "refund", "description": "for é"}
    url = f"{server.url}/api/v1/actions/submit"
    status, answer = post(client, java, url, server.key(), json.dumps(body | {"tool_name": "billing"}))
    assert status == 200, answer
    shown = server.ask("GET", f"/api/v1/actions/{answer['action_id']}", server.token()).json()
    assert (shown["action_type"], shown["resource"], shown["tool_name"]) == ("refund", "for é", "billing")


def test_a_body_is_no_second_request(server: Serving) -> None:
    """What an h2c request's body says is not done, whatever it looks like; the connection goes on with the next request."""
    action = pending(server)
    inside = f"POST /api/actions/{action}/approve HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token()}\r\n"
    hidden = inside.encode() + b"Content-Length: 2\r\n\r\n{}"
    head = b"\r\n".join([b"POST /api/v1/actions/submit HTTP/1.1", b"Host: x", *H2C])
    head += b"\r\nX-API-Key: %b\r\nContent-Length: %d\r\n\r\n" % (server.key().encode(), len(hidden))
    after = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    for pieces in ([head + hidden + after], [head, hidden, after]):
        with socket.create_connection(address, timeout=20) as connection:
            for piece in pieces:
                connection.sendall(piece)
            got = b""
            while part := connection.recv(65536):
                got += part
        assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"400", b"200"]
    shown = server.ask("GET", f"/api/v1/actions/{action}", server.token()).json()
    assert shown["status"] == "pending"
