"""The proxy as an HTTP server of its own, in front of a server by URL."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from proxy_world import MODERN, Desk, Proxy, words
from scripted_upstream import EVENTS, JSON, Reply, Upstream, answered, event, result
from test_proxy_attacks import REFUSED
from world import eventually

SESSION = {"mcp-session-id": "session-1"}


class Client:
    """Sends requests to the proxy."""

    def __init__(self, proxy: Proxy, upstream: Upstream) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.url = proxy.address()
        self.http = httpx.Client(timeout=30)

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        """These bytes, as JSON unless told otherwise."""
        sent = {**JSON, "accept": "application/json, text/event-stream"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(self.url, content=body, headers=sent)

    def send(self, headers: dict[str, str] | None = None, **message: Any) -> httpx.Response:
        """A message."""
        return self.post(json.dumps({"jsonrpc": "2.0", **message}).encode(), **(headers or {}))

    def call(
        self, identity: Any, tool: str, arguments: Any, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Call a tool."""
        return self.send(
            headers, id=identity, method="tools/call", params={"name": tool, "arguments": arguments}
        )

    def begin(self, headers: dict[str, str], identity: Any, tool: str, arguments: Any) -> socket.socket:
        """Call a tool, and do not wait for the answer."""
        params = {"name": tool, "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": params})
        where = urlsplit(self.url)
        connection = socket.create_connection((where.hostname, where.port), 30)
        lines = {"host": where.netloc, **JSON, "content-length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection.sendall(f"POST {where.path} HTTP/1.1\r\n{head}\r\n{body}".encode())
        return connection


def until(connection: socket.socket, text: bytes) -> None:
    """Read until this has come."""
    seen = b""
    while text not in seen:
        chunk = connection.recv(65536)
        assert chunk, seen
        seen += chunk


@pytest.fixture
def client(start: Callable[..., Proxy], upstream: Upstream) -> Any:
    """A client of a proxy in front of the scripted server."""
    made = Client(
        start("--url", upstream.url, "--listen", "127.0.0.1:0", "--header", "X-Key: s3cr3t", server=[]),
        upstream,
    )
    yield made
    made.http.close()


def test_answers_come_back_as_they_are(desk: Desk, client: Client) -> None:
    """Bytes, status and headers; what would bypass the proxy is left out."""
    body = b'{ "id" :1, "jsonrpc":"2.0",\n"result":{"content":[],"x":1.50} }\n'
    headers = {**JSON, "x-more": "y", "set-cookie": "a=b", "alt-svc": 'h2="elsewhere:443"', "keep-alive": "9"}
    client.upstream.answer = lambda asked: Reply(200, headers, (body[:7], body[7:]))
    answer = client.call(
        1, "get_order", {}, {"authorization": "Bearer mine", "x_key": "theirs", "te": "trailers"}
    )
    assert answer.content == body
    assert (answer.headers["x-more"], answer.headers["set-cookie"]) == ("y", "a=b")
    assert not {"alt-svc", "keep-alive"} & set(answer.headers)
    (asked,) = client.upstream.asked
    assert asked.header("authorization") == "Bearer mine"
    assert [value for name, value in asked.headers if name == "x-key"] == ["s3cr3t"]
    assert asked.header("te") is None
    assert asked.header("host") == urlsplit(client.upstream.url).netloc
    assert desk.settled()[0].outcome == "completed"
    assert "s3cr3t" not in client.proxy.errors


def test_events_come_back_as_they_are(desk: Desk, client: Client) -> None:
    """Comments, ids and line ends included; the outcome is in the last of them."""
    stream = b": hello\r\n\r\nretry: 5\rid: e-1\rdata:\r\r" + event(
        b'{"jsonrpc":"2.0","method":"notifications/progress"}'
    )
    stream += b'data: {"jsonrpc":"2.0","id":1,\ndata: "result":'
    stream += b'{"isError":true,"content":[{"type":"text","text":"shut"}]}}\n\n'
    client.upstream.answer = lambda asked: Reply(
        200, EVENTS, tuple(stream[at : at + 5] for at in range(0, len(stream), 5))
    )
    assert client.call(1, "get_order", {}).content == stream
    (row,) = desk.settled()
    assert (row.outcome, "shut" in (row.error or "")) == ("failed", True)


def test_no_attack_arrives(desk: Desk, client: Client) -> None:
    """Whoever has an id gets an error with it."""
    for what, body in REFUSED.items():
        answer = client.post(body)
        assert answer.status_code == 400, what
        said = answer.json()
        assert all("error" in part for part in (said if isinstance(said, list) else [said])), what
    assert client.upstream.asked == []
    assert desk.actions() == []


def test_decisions(desk: Desk, client: Client) -> None:
    """Denied, and approved with an edit; which session it was is in the record, but not its id."""
    denied = client.call(1, "drop_table", {}, {"mcp_session_id": "session-1"})
    assert "Drops are off." in words(denied.json())
    assert client.upstream.calls == []
    connection = client.begin(SESSION, 2, "refund", {"amount": 500})
    row = desk.pending()
    assert (row.session_id or "").startswith("mcp-")
    assert "session-1" not in (row.session_id or "")
    desk.plane.approve(str(row.id), approver="ann", arguments={"amount": 300})
    until(connection, b"done")
    connection.close()
    assert client.upstream.calls == [{"name": "refund", "arguments": {"amount": 300}}]


def test_nobody_takes_up_an_approval_of_somebody_else(desk: Desk, client: Client) -> None:
    """Without sessions clients are told apart by their credentials."""
    connection = client.begin({"authorization": "Bearer a"}, 1, "refund", {"amount": 500})
    row = desk.pending()
    connection.close()
    desk.unattended(row.id)
    desk.plane.approve(str(row.id), approver="ann")
    other = client.begin({"authorization": "Bearer b"}, 1, "refund", {"amount": 500})
    assert desk.pending().id != row.id
    assert client.upstream.calls == []
    other.close()
    assert client.call(2, "refund", {"amount": 500}, {"authorization": "Bearer a"}).status_code == 200
    assert len(client.upstream.calls) == 1


def test_header_hints_that_contradict_the_body_are_refused(client: Client) -> None:
    """Whoever routes by headers would see another call than was decided."""
    params = {"name": "get_order", "arguments": {"region": "eu", "deep": {"n": 7, "yes": True}}, **MODERN}
    fine = {"mcp_method": "tools/call", "mcp_name": "get_order", "mcp_param_region": "eu", "mcp_param_n": "7"}
    fine |= {"mcp_protocol_version": "2026-07-28", "mcp_param_yes": "true"}
    wrong = [
        "mcp_method=ping",
        "mcp_name=drop_table",
        "mcp_name==?base64?!?=",
        "mcp_param_region=us",
        "mcp_protocol_version=1",
    ]
    for pair in wrong:
        name, _, value = pair.partition("=")
        answer = client.send({**fine, name: value}, id=1, method="tools/call", params=params)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020), pair
    assert client.send({"mcp_method": "tools/call"}, method="notifications/x").status_code == 400
    assert client.upstream.asked == []
    assert client.send(fine, id=1, method="tools/call", params=params).status_code == 200


def test_an_edit_is_followed_by_its_header(desk: Desk, client: Client) -> None:
    """An argument that is in a header as well is edited in both; where that cannot be told, nothing runs."""
    arguments = {"amount": 500, "to": "é", "from": "ann", "note": "ann"}
    clear = {"mcp-param-to": "=?base64?w6k=?=", "mcp-param-amount": "500"}
    connection = client.begin(clear, 1, "refund", arguments)
    desk.plane.approve(str(desk.pending().id), approver="ann", arguments={"to": "bob"})
    until(connection, b"done")
    (asked,) = client.upstream.asked
    assert (asked.header("mcp-param-to"), asked.header("mcp-param-amount")) == ("bob", "500")
    unclear = client.begin({"mcp-param-from": "ann"}, 2, "refund", arguments)
    desk.plane.approve(str(desk.pending().id), approver="ann", arguments={"from": "eve"})
    until(unclear, b"headers")
    assert len(client.upstream.asked) == 1
    for each in (connection, unclear):
        each.close()


def test_only_this_machine_is_answered(client: Client) -> None:
    """A page whose name was led here (DNS rebinding) has another Host, and another page another Origin."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    assert client.post(body, host="evil.example").status_code == 421
    assert client.post(body, origin="https://evil.example").status_code == 403
    assert client.post(body, origin="null").status_code == 403
    assert client.post(body, content_type="text/plain").status_code == 415
    assert client.post(body, content_encoding="gzip").status_code == 415
    assert client.upstream.asked == []
    assert client.post(body, origin="http://localhost:6274", host="localhost").status_code == 200


def test_the_body_is_described_anew(client: Client) -> None:
    """Another character set would make other text of the same bytes. What else comes twice stays twice."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"+ACI-"}}'
    headers = [
        ("content-type", "application/json; charset=utf-7"),
        ("x-twice", "a"),
        ("x-twice", "b"),
        ("content-language", "tlh"),
    ]
    assert client.http.post(f"{client.url}?a=b", content=body, headers=headers).status_code == 200
    (asked,) = client.upstream.asked
    kept = [(name, value) for name, value in asked.headers if name.startswith(("content-", "x-twice"))]
    assert sorted(kept) == [
        ("content-length", str(len(body))),
        ("content-type", "application/json"),
        ("x-twice", "a"),
        ("x-twice", "b"),
    ]


def test_what_is_no_request_for_the_server_is_turned_away(client: Client) -> None:
    """Other paths and methods, bodies too long, headers that come twice."""
    assert client.http.post(client.url + "/more", json={}).status_code == 404
    assert client.http.put(client.url, json={}).status_code == 405
    assert client.post(b" " * (17 * 1024 * 1024)).status_code == 413
    twice = [("mcp-name", "a"), ("Mcp-Name", "a"), *JSON.items()]
    assert client.http.post(client.url, content=b"{}", headers=twice).status_code == 400
    assert client.upstream.asked == []


def test_redirects_are_not_passed_on(client: Client) -> None:
    """Whoever followed one would talk to the server itself."""
    client.upstream.answer = lambda asked: Reply(307, {"location": "http://127.0.0.1:1/"})
    answer = client.send(id=1, method="ping")
    assert answer.status_code == 502
    assert "location" not in answer.headers


def test_streams_sessions_and_their_end(desk: Desk, client: Client) -> None:
    """GET and DELETE pass; an answer that comes by a resumed stream settles its call."""
    first = Reply(200, EVENTS, (event(b"", "e-1"),))
    later = Reply(200, EVENTS, (event(result(1, content=[]), "e-2"),))
    client.upstream.answer = lambda asked: first if asked.method == "POST" else later
    client.call(1, "get_order", {}, {"mcp_session_id": "session-1"})
    client.call(2, "get_order", {}, {"mcp_session_id": "session-1"})
    assert client.call(1, "get_order", {}, {"mcp_session_id": "session-1"}).status_code == 400
    got = client.http.get(client.url, headers={**SESSION, "last-event-id": "e-1"})
    assert got.content == later.chunks[0]
    assert client.upstream.asked[-1].header("last-event-id") == "e-1"
    assert [row.outcome for row in desk.settled(1)] == [None, "completed"]
    client.upstream.answer = answered
    assert client.http.delete(client.url, headers=SESSION).status_code == 202
    newest, _ = desk.settled(2)
    assert "ended the session" in (newest.error or "")


def test_hanging_up_ends_a_wait(desk: Desk, client: Client) -> None:
    """What is approved afterwards does not run by itself."""
    connection = client.begin({}, 1, "refund", {"amount": 500})
    row = desk.pending()
    connection.close()
    desk.unattended(row.id)
    assert client.send(id=2, method="ping").status_code == 200
    desk.plane.approve(str(row.id), approver="ann")
    assert client.call(3, "get_order", {}).status_code == 200
    assert [call["name"] for call in client.upstream.calls] == ["get_order"]


def test_cancelling_a_wait(desk: Desk, client: Client) -> None:
    """Only in the same session and by the same client; the server hears nothing of it."""
    connection = client.begin({**SESSION, "authorization": "Bearer a"}, 1, "refund", {"amount": 500})
    desk.pending()
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 1}}
    assert (
        client.send({"mcp_session_id": "session-1", "authorization": "Bearer b"}, **cancel).status_code == 202
    )
    assert len(client.upstream.asked) == 1
    assert (
        client.send({"mcp_session_id": "session-1", "authorization": "Bearer a"}, **cancel).status_code == 202
    )
    until(connection, b"202")
    connection.close()
    assert len(client.upstream.asked) == 1


def test_hanging_up_on_a_running_call(desk: Desk, client: Client) -> None:
    """The server is hung up on as well, and it is not known what came of the call."""
    client.upstream.answer = lambda asked: Reply(200, EVENTS, (b": on it\n\n",), hangs=True)
    connection = client.begin({}, 1, "get_order", {})
    until(connection, b"on it")
    connection.close()
    assert client.upstream.hung_up.wait(30)
    assert desk.settled()[0].outcome == "unknown"


def test_a_server_that_is_not_there(desk: Desk, start: Callable[..., Proxy], upstream: Upstream) -> None:
    """The client is told, and the call has failed: it provably never left."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = Client(
        start("--url", f"http://127.0.0.1:{port}/mcp", "--listen", "127.0.0.1:0", server=[]), upstream
    )
    assert client.call(1, "get_order", {}).status_code == 502
    assert desk.settled()[0].outcome == "failed"
    client.http.close()


def test_lists_are_shortened(start: Callable[..., Proxy], upstream: Upstream) -> None:
    """In both forms of an answer; other events stay as they are."""
    listed = result(1, tools=[{"name": "get_order"}, {"name": "drop_table"}])
    short = result(1, tools=[{"name": "get_order"}]).replace(b" ", b"")
    client = Client(start("--url", upstream.url, "--listen", "127.0.0.1:0", "--hide", server=[]), upstream)
    upstream.answer = lambda asked: Reply(200, JSON, (listed,))
    assert client.send(id=1, method="tools/list").content == short
    upstream.answer = lambda asked: Reply(200, EVENTS, (b": hi\n\n", event(listed, "e-1")))
    assert (
        client.send(id=1, method="tools/list").content
        == b": hi\n\nid: e-1\nevent: message\ndata: " + short + b"\n\n"
    )
    client.http.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it(desk: Desk, client: Client, number: int) -> None:
    """With streams open and a call waiting and one running."""
    client.upstream.answer = lambda asked: Reply(200, EVENTS, (b": on it\n\n",), hangs=True)
    running = client.begin({}, 1, "get_order", {})
    waiting = client.begin({}, 2, "refund", {"amount": 500})
    desk.pending()
    eventually(lambda: client.upstream.calls)
    client.proxy.process.send_signal(number)
    assert client.proxy.wait() == 0
    until(waiting, b"503")
    running_one = [row.outcome for row in desk.settled() if row.tool_name == "get_order"]
    assert running_one == ["unknown"]
    for each in (running, waiting):
        each.close()


def test_an_address_that_is_taken(desk: Desk, start: Callable[..., Proxy], upstream: Upstream) -> None:
    """It says so and ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        proxy = start("--url", upstream.url, "--listen", f"127.0.0.1:{taken.getsockname()[1]}", server=[])
        assert proxy.wait() == 1
    assert "Cannot listen" in proxy.errors
