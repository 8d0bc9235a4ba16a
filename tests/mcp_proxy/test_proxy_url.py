"""The proxy on standard input and output in front of a server by URL."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from proxy_world import MODERN, Desk, Proxy, words
from scripted_upstream import EVENTS, JSON, Asked, Reply, Upstream, answered, event, result
from world import eventually


@pytest.fixture
def proxy(start: Callable[..., Proxy], upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """With a credential out of the environment."""
    monkeypatch.setenv("TOKEN", "Bearer s3cr3t")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # not for what stays on this machine
    return start("--url", upstream.url, "--header", "Authorization: env:TOKEN", server=[])


def greet(proxy: Proxy) -> None:
    """Open a session."""
    proxy.send(id=0, method="initialize", params={"protocolVersion": "2025-11-25"})
    assert proxy.answer()["id"] == 0
    proxy.send(method="notifications/initialized")


def test_a_session(desk: Desk, proxy: Proxy, upstream: Upstream) -> None:
    """Its id and version go with everything; at the end it is deleted. The credential shows nowhere."""
    greet(proxy)
    proxy.call(1, "get_order", {"order": "o-1"})
    assert words(proxy.answer()) == "done"
    assert desk.settled()[0].outcome == "completed"
    assert proxy.hang_up() == 0
    later = upstream.asked[1:]
    assert {asked.header("mcp-session-id") for asked in later} == {"session-1"}
    assert {asked.header("mcp-protocol-version") for asked in later} == {"2025-11-25"}
    assert {asked.header("authorization") for asked in upstream.asked} == {"Bearer s3cr3t"}
    assert [asked.method for asked in upstream.asked_by("DELETE")] == ["DELETE"]
    assert upstream.asked[0].header("mcp-session-id") is None
    assert "s3cr3t" not in proxy.errors


def test_a_request_that_states_its_version(desk: Desk, proxy: Proxy, upstream: Upstream) -> None:
    """Since 2026-07-28 headers say what the body does, and arguments may be in them as well."""
    schema = {"type": "object", "properties": {"to": {"type": "string", "x-mcp-header": "To"}, "amount": {}}}
    listed = result(1, tools=[{"name": "refund", "inputSchema": schema}])
    upstream.answer = lambda asked: Reply(200, JSON, (listed,))
    proxy.send(id=1, method="tools/list", params=MODERN)
    proxy.line()
    upstream.answer = answered
    proxy.call(2, "refund", {"to": "é", "amount": 500}, **MODERN)
    desk.plane.approve(str(desk.pending().id), approver="ann", arguments={"to": "ü"})
    assert proxy.answer()["id"] == 2
    asked = upstream.asked[-1]
    assert asked.header("mcp-method") == "tools/call"
    assert asked.header("mcp-name") == "refund"
    assert asked.header("mcp-protocol-version") == "2026-07-28"
    assert asked.header("mcp-param-to") == "=?base64?w7w=?="
    assert asked.message["params"]["arguments"] == {"to": "ü", "amount": 500}


def test_answers_in_events_and_on_several_lines(desk: Desk, proxy: Proxy, upstream: Upstream) -> None:
    """Each message becomes one line, byte for byte but for the breaks."""
    note = b'{"jsonrpc":"2.0", "method":"notifications/progress"}'
    body = b'{"id":1,\r\n  "jsonrpc":"2.0",\n"result":{"content":[],"x":1.50}}'
    upstream.answer = lambda asked: Reply(200, JSON, (body,))
    proxy.call(1, "get_order")
    assert proxy.line() == body.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
    second = body.replace(b'"id":1', b'"id":2').replace(b"\r", b"").replace(b"\n", b"")
    upstream.answer = lambda asked: Reply(200, EVENTS, (b": hi\n\n", event(note), event(second)))
    proxy.call(2, "get_order")
    assert [proxy.line(), proxy.line()] == [note + b"\n", second + b"\n"]
    assert [row.outcome for row in desk.settled(2)] == ["completed", "completed"]


def test_an_answer_that_breaks_off_is_resumed(desk: Desk, proxy: Proxy, upstream: Upstream) -> None:
    """After the last event that came, where the server gives ids; else it is not known what came of the call."""

    def answer(asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(200, EVENTS, (event(result(1, content=[]), "e-2"),))
        return Reply(200, EVENTS, (b"id: e-1\nretry: 1\ndata:\n\n",))

    upstream.answer = answer
    proxy.call(1, "get_order")
    assert proxy.answer() == {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
    assert upstream.asked[-1].header("last-event-id") == "e-1"
    upstream.answer = lambda asked: Reply(200, EVENTS, (b": nothing\n\n",))
    proxy.call(2, "get_order")
    told = proxy.answer()["error"]["message"]
    assert "too early" in told
    assert "may have acted" in told
    assert {row.outcome for row in desk.settled(2)} == {"completed", "unknown"}


def test_what_the_server_sends_by_itself(proxy: Proxy, upstream: Upstream) -> None:
    """The stream of its own messages is opened once the session is, and goes on after a break."""
    note = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
    rest = [
        Reply(200, EVENTS, (b"retry: 1\n\n", event(note, "e-1"))),
        Reply(200, EVENTS, (event(note),), hangs=True),
    ]
    upstream.answer = lambda asked: rest.pop(0) if asked.method == "GET" else answered(asked)
    greet(proxy)
    assert [proxy.line(), proxy.line()] == [note + b"\n"] * 2
    assert [asked.header("last-event-id") for asked in upstream.asked_by("GET")] == [None, "e-1"]
    assert proxy.hang_up() == 0


_ODD = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"odd"}}'

NO_ANSWERS = (
    (Reply(307, {"location": "http://127.0.0.1:1/"}), -32600, "redirects are not followed", "failed"),
    (Reply(401), -32600, "--header", "failed"),
    (Reply(429), -32600, "status 429", "failed"),
    (Reply(408), -32600, "may have acted", "unknown"),
    (Reply(500, {"content-type": "text/html"}, (b"<html>",)), -32600, "status 500", "unknown"),
    (Reply(502), -32600, "may have acted", "unknown"),
    (Reply(504), -32600, "may have acted", "unknown"),
    (Reply(400, JSON, (_ODD,)), -32020, "odd", "failed"),
    (Reply(202, {}), -32600, "no message", "unknown"),
    (Reply(200, {"content-type": "text/plain"}, (b"hello",)), -32600, "no message", "unknown"),
    (Reply(200, JSON, (result(77),)), -32600, "no message", "unknown"),
)
"""Replies, the code and the words the client gets, and the outcome: only what the server says it did not do has failed."""


def test_answers_that_are_none(desk: Desk, proxy: Proxy, upstream: Upstream) -> None:
    """The client gets an error; the call failed where the server turned it away, and is unknown where it may have acted."""
    for number, (reply, code, text, _) in enumerate(NO_ANSWERS):
        upstream.answer = lambda asked, reply=reply: reply
        proxy.call(number, "get_order")
        while (answer := proxy.answer())["id"] != number:
            pass
        assert answer["error"]["code"] == code
        assert text in answer["error"]["message"]
    rows = desk.settled(len(NO_ANSWERS))
    assert [row.outcome for row in reversed(rows)] == [outcome for *_, outcome in NO_ANSWERS]


def test_a_server_that_is_not_there(desk: Desk, start: Callable[..., Proxy]) -> None:
    """Each request is answered, and the proxy stays."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    proxy = start("--url", f"http://127.0.0.1:{port}/mcp", server=[])
    for identity in (1, 2):
        proxy.call(identity, "get_order")
        assert "could not be reached" in proxy.answer()["error"]["message"]
    assert proxy.hang_up() == 0
    assert {row.outcome for row in desk.settled(2)} == {"failed"}


@pytest.mark.parametrize("modern", [False, True])
def test_cancelling_a_running_call(desk: Desk, proxy: Proxy, upstream: Upstream, modern: bool) -> None:
    """By the notification, or since 2026-07-28 by hanging up. Another call is not held up meanwhile."""
    more: dict[str, Any] = MODERN if modern else {}

    def answer(asked: Asked) -> Reply:
        hangs = asked.message.get("params", {}).get("name") == "slow"
        return Reply(200, EVENTS, (b": on it\n\n",), hangs=True) if hangs else answered(asked)

    upstream.answer = answer
    proxy.call(1, "slow", **more)
    eventually(lambda: upstream.calls)
    proxy.call(2, "get_order", **more)
    assert proxy.answer()["id"] == 2
    proxy.send(method="notifications/cancelled", params={"requestId": 1})
    slow = next(row for row in desk.settled(2) if row.tool_name == "slow")
    assert "may have acted" in (slow.error or "")
    if modern:
        assert upstream.hung_up.wait(30)
    told = [asked for asked in upstream.asked if asked.message.get("method") == "notifications/cancelled"]
    assert len(told) == (0 if modern else 1)
    assert proxy.hang_up() == 0


def test_a_denied_call_is_never_sent(desk: Desk, proxy: Proxy, upstream: Upstream) -> None:
    """Nor one that waits when the client goes."""
    proxy.call(1, "drop_table")
    assert proxy.answer()["result"]["isError"] is True
    proxy.call(2, "refund", {"amount": 500})
    row = desk.pending()
    assert proxy.hang_up() == 0
    desk.plane.approve(str(row.id), approver="ann")
    assert upstream.calls == []


def test_the_protocol_is_all_there_is_on_standard_output(proxy: Proxy, upstream: Upstream) -> None:
    """Every line is a message, whatever goes wrong."""
    upstream.answer = lambda asked: Reply(500)
    for line in (
        b"nonsense",
        b'{"jsonrpc":"2.0","method":"notifications/x"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
    ):
        proxy.write(line)
    assert json.loads(proxy.line())["id"] == 1
    assert proxy.hang_up() == 0
    assert proxy.line() == b""
