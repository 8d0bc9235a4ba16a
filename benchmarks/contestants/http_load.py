"""Submissions over many kept-alive connections at once. Usage: URL KEY CONNECTIONS EXPECTED KIND.

``EXPECTED`` is what every answer must contain. ``KIND`` is ``plain``, the documented request, or ``own``: the request of
ascend-guard's client, which takes the permit with the answer and may be resent. Prints ``ready``; answers each line, which
is a number of seconds, with the real duration and the milliseconds of every request.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from itertools import count
from time import perf_counter
from urllib.parse import urlsplit

import uvloop
from submission import SUBMISSION

url, key, connections, expected, kind = sys.argv[1:]
address = urlsplit(url)
own = {"digest": "0" * 64, "detached": False, "repeatable": True, "runner": uuid.uuid4().hex}
body = json.dumps({**SUBMISSION, **(own if kind == "own" else {})}).encode()
HEAD = (
    f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nX-API-Key: {key}\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
).encode()
MARK = expected.encode()
numbers = count()


def request() -> bytes:
    if kind == "plain":
        return HEAD + b"\r\n" + body
    return HEAD + b"Idempotency-Key: %s-%d\r\n\r\n" % (own["runner"].encode(), next(numbers)) + body


class Turn:
    """One turn of all the connections."""

    def __init__(self, seconds: float, busy: int) -> None:
        self.ends = perf_counter() + seconds
        self.busy = busy
        self.took: list[float] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, what: str) -> None:
        if not self.over.done():
            self.over.set_exception(RuntimeError(what))

    def rest(self) -> None:
        self.busy -= 1
        if not self.busy and not self.over.done():
            self.over.set_result(None)


class Connection(asyncio.Protocol):
    """Sends the next request when the previous one is answered."""

    def __init__(self) -> None:
        self.turn: Turn | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self.turn is not None:
            self.turn.fail(f"a connection was lost while a request was under way ({error})")

    def ask(self, turn: Turn) -> None:
        self.turn = turn
        self.answer = b""
        self.sent = perf_counter()
        self.transport.write(request())

    def data_received(self, data: bytes) -> None:
        self.answer += data
        head, found, rest = self.answer.partition(b"\r\n\r\n")
        turn = self.turn
        if not found or turn is None:
            return
        length = int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0])
        if len(rest) < length:
            return
        now = perf_counter()
        turn.took.append(now - self.sent)
        if not head.startswith(b"HTTP/1.1 200") or MARK not in rest:
            turn.fail(self.answer.decode(errors="replace"))
        elif now < turn.ends:
            self.ask(turn)
        else:
            self.turn = None
            turn.rest()


async def load(seconds: float) -> tuple[float, list[float]]:
    """The connections are opened before the clock starts: a server closes those that were idle for long."""
    loop = asyncio.get_running_loop()
    pool: list[Connection] = []
    while len(pool) < int(connections):
        _, connection = await loop.create_connection(Connection, address.hostname, address.port)
        pool.append(connection)
    begin = perf_counter()
    turn = Turn(seconds, len(pool))
    for connection in pool:
        connection.ask(turn)
    await turn.over
    elapsed = perf_counter() - begin
    for connection in pool:
        connection.transport.close()
    return elapsed, turn.took


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(load(0.3))
    print("ready", flush=True)
    for line in sys.stdin:
        elapsed, took = runner.run(load(float(line)))
        print(json.dumps([elapsed, [round(each * 1e3, 3) for each in took]]), flush=True)
