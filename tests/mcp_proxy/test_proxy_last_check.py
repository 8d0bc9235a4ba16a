"""The proxy makes a call's last check when its message leaves, and knows of each call whether it may have acted."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ascend_guard_mcp.gate import ToolGate
from ascend_guard_mcp.proxy.relay import Relay
from ascend_guard_mcp.proxy.reverse_proxy import Reverse
from ascend_guard_mcp.proxy.server_process import Process
from ascend_guard_mcp.proxy.upstream import Upstream as ByUrl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxy_world import RECORDING, Desk
from scripted_upstream import Asked, Reply, Upstream, answered
from stopping_plane import StoppedAtTheLastMoment, names_no_command

Answer = dict[str, Any]


def call(identity: int = 1, tool: str = "get_order", **arguments: Any) -> bytes:
    """A tool call as a client writes it."""
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": params}).encode()


async def related(gate: ToolGate, server: Any, messages: list[bytes]) -> list[Answer]:
    """What a client on standard input and output gets for these, one answer each."""
    said: asyncio.Queue[bytes] = asyncio.Queue()

    async def write(line: bytes) -> None:
        said.put_nowait(line)

    await server.open()
    relay = Relay(gate, server, write, lambda line: None, hide=False)
    serving = asyncio.create_task(server.run(relay))
    try:
        for message in messages:
            await relay.from_client(message)
        return [json.loads(await asyncio.wait_for(said.get(), 20)) for _ in messages]
    finally:
        serving.cancel()
        await server.close()
        await relay.lost("over")


async def on_stdio(gate: ToolGate, desk: Desk, upstream: Upstream) -> Answer:
    """A server that is a process."""
    server = Process([sys.executable, RECORDING, str(desk.record)], lambda line: None)
    return (await related(gate, server, [call()]))[0]


async def by_url(gate: ToolGate, desk: Desk, upstream: Upstream) -> Answer:
    """A server by URL, for a client on standard input and output."""
    return (await related(gate, ByUrl(upstream.url, {}, lambda line: None), [call()]))[0]


async def listening(gate: ToolGate, desk: Desk, upstream: Upstream) -> Answer:
    """A server by URL, for a client by URL."""
    app = Reverse(gate, upstream.url, {}, lambda line: None, hide=False, local=False)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        try:
            said = await client.post("/mcp", content=call(), headers={"content-type": "application/json"})
        finally:
            await app.close()
    answer: Answer = said.json()
    return answer


WAYS: list[Callable[[ToolGate, Desk, Upstream], Awaitable[Answer]]] = [on_stdio, by_url, listening]


def received(desk: Desk, upstream: Upstream) -> int:
    """How many tool calls came to a server."""
    return len(desk.calls) + len(upstream.calls)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_stopped_between_permit_and_message(desk: Desk, upstream: Upstream, way: Any) -> None:
    """Nothing is sent, the client is told as of any refusal, and the action never started."""
    plane = StoppedAtTheLastMoment(desk.plane)
    gate = ToolGate("shop", control_plane=plane)
    answer = asyncio.run(way(gate, desk, upstream))
    assert answer["result"]["isError"] is True
    text = answer["result"]["content"][0]["text"]
    assert text.startswith("Stopped: the kill switch is on")
    assert names_no_command(text)
    assert plane.checks == 1
    assert received(desk, upstream) == 0
    (row,) = desk.settled()
    assert (row.outcome, (row.error or "").startswith("not started: ")) == ("failed", True)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_one_last_check_for_each_call(desk: Desk, upstream: Upstream, way: Any) -> None:
    """It is made once, and what passes it runs."""
    checks: list[object] = []

    class Counting(StoppedAtTheLastMoment):
        def _meddle(self, effect: Any) -> None:
            if type(effect).__name__ == "Begin":
                checks.append(received(desk, upstream))

    answer = asyncio.run(way(ToolGate("shop", control_plane=Counting(desk.plane)), desk, upstream))
    assert "result" in answer
    assert checks == [0]
    assert desk.settled()[0].outcome == "completed"


ENDS: dict[str, Reply | None] = {
    "answers": Reply(),
    "refuses": Reply(403),
    "breaks": Reply(500),
    "says nothing": Reply(202, {}),
    "ends early": Reply(200, {"content-type": "text/event-stream"}, (b": on it\n\n",)),
    "is not there": None,
}
KNOWN = {"answers": "completed", "refuses": "failed", "is not there": "failed"}
"""What can be known of a call; of every other end nothing can."""


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=4), listens=st.booleans())
def test_what_may_have_acted_is_never_failed(
    desk: Desk, upstream: Upstream, ends: list[str], listens: bool
) -> None:
    """Whatever a server does after a call has left: failed only where it did not act, completed only where it said so."""
    before = len(desk.actions())
    gate = ToolGate("shop", control_plane=desk.plane)

    def answer(asked: Asked) -> Reply:
        reply = ENDS[end] or Reply()
        return answered(asked) if end == "answers" or asked.method != "POST" else reply

    upstream.answer = answer
    for end in ends:
        target = Upstream() if ENDS[end] is None else upstream
        target.url = target.url or f"http://127.0.0.1:{_free()}/mcp"
        way = listening if listens else by_url
        sent = len(upstream.calls)
        try:
            asyncio.run(way(gate, desk, target))
        except (json.JSONDecodeError, httpx.HTTPError):
            pass  # the client got what the server said, which was no answer
        assert len(upstream.calls) - sent == (ENDS[end] is not None)
    rows = desk.settled(before + len(ends))[: len(ends)]
    assert [row.outcome for row in reversed(rows)] == [KNOWN.get(end, "unknown") for end in ends]


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def resetting() -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a request, which is when it acts, and resets the connection."""
    got: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            got.append(connection.recv(65536))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", got
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@pytest.mark.parametrize("way", [by_url, listening], ids=lambda way: way.__name__)
def test_a_connection_that_is_reset(desk: Desk, resetting: tuple[str, list[bytes]], way: Any) -> None:
    """The request was read, so the tool may have acted."""
    upstream = Upstream()
    upstream.url, got = resetting
    answer = asyncio.run(way(ToolGate("shop", control_plane=desk.plane), desk, upstream))
    assert "error" in answer
    assert got[0].startswith(b"POST /mcp")
    assert desk.settled()[0].outcome == "unknown"


def test_a_server_that_is_gone_before_the_call(desk: Desk, tmp_path: Path) -> None:
    """Its standard input is closed: the call provably never left."""

    async def play() -> None:
        server = Process([sys.executable, "-c", "pass"], lambda line: None)
        await server.open()
        stdin = server._process.stdin
        assert stdin is not None
        stdin.close()
        relay = Relay(
            ToolGate("shop", control_plane=desk.plane), server, _nowhere, lambda line: None, hide=False
        )
        await relay.from_client(call())
        await relay._background.finish(20)
        await server.close()
        await relay.lost("over")

    asyncio.run(play())
    (row,) = desk.settled()
    assert (row.outcome, (row.error or "").startswith("not started: ")) == ("failed", True)


async def _nowhere(line: bytes) -> None:
    pass


def test_edits_are_told_in_events(desk: Desk, upstream: Upstream) -> None:
    """The answer to an edited call in a stream of events has the note, and the events around it stay as they are."""
    note = b'{"jsonrpc":"2.0", "method":"notifications/progress"}'

    def answer(asked: Asked) -> Reply:
        said = json.dumps(
            {
                "jsonrpc": "2.0",
                "id": 1,
                "result": {"content": [{"type": "text", "text": "paid"}], "structuredContent": {"a": 1}},
            }
        ).encode()
        chunks = (
            b"event: message\ndata: " + note + b"\n\n",
            b"id: 7\nevent: message\ndata: " + said + b"\n\n",
        )
        return Reply(200, {"content-type": "text/event-stream"}, chunks)

    upstream.answer = answer
    app = Reverse(
        ToolGate("shop", control_plane=desk.plane),
        upstream.url,
        {},
        lambda line: None,
        hide=False,
        local=False,
    )

    async def play() -> bytes:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as client:
            headers = {"content-type": "application/json", "mcp-session-id": "s"}
            asking = asyncio.create_task(
                client.post("/mcp", content=call(1, "refund", amount=500), headers=headers)
            )
            row = await asyncio.to_thread(desk.pending)
            desk.plane.approve(str(row.id), approver="ann", arguments={"amount": 7})
            said = await asking
            await app.close()
            return said.content

    body = asyncio.run(play())
    first, second = body.strip().split(b"\n\n")
    assert first == b"event: message\ndata: " + note
    assert b"id: 7" in second
    result = json.loads(second.partition(b"data: ")[2])["result"]
    assert result["content"][0]["text"] == "paid"
    assert '"amount" from 500 to 7' in result["content"][1]["text"]
    assert result["structuredContent"] == {"a": 1}
