"""Callers over plain sockets, for ``benchmarks.abuse``: fifty ordinary ones, and an abusive one of each kind.

Run as ``http_callers.py normal|abuse URL SECONDS KEYS...``; what was seen is written to the output as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

CALLERS = 50
WARM = 2.0
"""Seconds at the beginning that do not count: fifty connections are opened, and programs start."""

EVERY = 0.2
"""Seconds between two requests of an ordinary caller."""


class Line:
    """One kept-alive connection."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        self._host, self._port = at.hostname or "", at.port or 80
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection(self._host, self._port, limit=1 << 24)

    async def send(self, method: str, path: str, key: str, body: bytes = b"", *lines: str) -> None:
        """Send a request."""
        if self.writer is None or self.writer.is_closing():
            await self.open()
        assert self.writer is not None
        head = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}", *lines]
        if key:
            head.append(f"X-API-Key: {key}")
        self.writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """The status and the body that come back."""
        assert self.reader is not None
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
        body = await self.reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return int(head.split(" ", 2)[1]), body

    async def ask(
        self, method: str, path: str, key: str, body: bytes = b"", *lines: str
    ) -> tuple[int, bytes]:
        """Send a request and return its answer."""
        await self.send(method, path, key, body, *lines)
        return await self.answer()

    def close(self) -> None:
        """Close the connection."""
        if self.writer is not None:
            self.writer.close()
        self.writer = None


def submission(name: str, **arguments: Any) -> bytes:
    """The body of a submission."""
    return json.dumps(
        {
            "agent_id": name,
            "agent_name": name,
            "action_type": "orders_read",
            "description": "look",
            "tool_name": "orders",
            "parameters": arguments,
        }
    ).encode()


# --- ordinary callers ----------------------------------------------------------------------------------------------------


async def normal(url: str, seconds: float, keys: list[str]) -> dict[str, Any]:
    """Each caller submits five times a second, and requests the kill switch's state every fifth time."""
    took: dict[str, list[float]] = {"submit": [], "kill_switch": []}
    failed: Counter[str] = Counter()

    async def one(number: int, key: str) -> None:
        line, body = Line(url), submission(f"agent-{number}", order=number)
        await asyncio.sleep(EVERY * number / CALLERS)
        begins = time.perf_counter() + WARM
        turn = 0
        while (began := time.perf_counter()) < begins + seconds:
            turn += 1
            what = "kill_switch" if turn % 5 == 0 else "submit"
            try:
                if what == "submit":
                    status, _ = await line.ask("POST", "/api/v1/actions/submit", key, body)
                else:
                    status, _ = await line.ask("GET", "/api/sdk/kill-switch/status", key)
            except (OSError, asyncio.IncompleteReadError) as error:
                failed[type(error).__name__] += 1
                line.close()
                continue
            if began >= begins:
                took[what].append(time.perf_counter() - began)
            if status != 200:
                failed[str(status)] += 1
            await asyncio.sleep(max(0.0, began + EVERY - time.perf_counter()))
        line.close()

    await asyncio.gather(*(one(number, key) for number, key in enumerate(keys)))
    return {"took": took, "failed": failed}


# --- abusive ones --------------------------------------------------------------------------------------------------------

Abuse = Callable[[str, str, Counter[str]], Awaitable[None]]
_MIB = 1 << 20


async def _again(url: str, seen: Counter[str], *request: Any) -> None:
    line = Line(url)
    while True:
        try:
            status, _ = await line.ask(*request)
            seen[str(status)] += 1
            if status in (429, 503):
                await asyncio.sleep(0.05)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            seen[type(error).__name__] += 1
            line.close()
            await asyncio.sleep(0.05)


async def _many(count: int, *work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*(one() for one in work for _ in range(count)))


async def audit_pages(url: str, key: str, seen: Counter[str]) -> None:
    """The audit trail, a thousand records per request, eight requests at once."""
    await _many(8, lambda: _again(url, seen, "GET", "/api/audit/logs?limit=1000", key))


async def long_lists(url: str, key: str, seen: Counter[str]) -> None:
    """Ten thousand registered components with their computed fields, and the alerts."""
    paths = (
        "components?limit=1000&offset=9000",
        "components?limit=1000",
        "stats",
        "components?risk_level=high",
    )
    await asyncio.gather(
        *(_again(url, seen, "GET", f"/api/v1/supply-chain/{path}", key) for path in paths),
        _again(url, seen, "GET", "/api/alerts?limit=500", key),
        _again(url, seen, "GET", "/api/v1/actions?limit=100&offset=9000", key),
    )


async def large_bodies(url: str, key: str, seen: Counter[str]) -> None:
    """Two mebibytes of arguments, one body after the other on four connections."""
    text = submission("bulk", blob="x" * (_MIB - 1000))
    keys = submission("bulk", **{f"k{number}": number for number in range(15_000)})
    zeros = (
        b'{"agent_id":"b","agent_name":"b","action_type":"x","resource":"r","parameters":{"a":['
        + b"0," * _MIB
    )
    shapes = (
        text,
        keys,
        zeros[: 2 * _MIB - 10] + b"0]}}",
        submission("bulk", rows=[["a", 1, None]] * 4_000),
    )
    await asyncio.gather(*(_again(url, seen, "POST", "/api/v1/actions/submit", key, body) for body in shapes))


async def long_lists_in_policies(url: str, key: str, seen: Counter[str]) -> None:
    """Arguments over which a policy iterates."""
    body = json.dumps(
        {"action_type": "bulk", "resource": "r", "agent_id": "a", "action_details": {"items": [1.0] * 15_000}}
    ).encode()
    await _again(url, seen, "POST", "/api/governance/policies/evaluate-realtime", key, body)


async def anonymous_bodies(url: str, _: str, seen: Counter[str]) -> None:
    """Large bodies without a key, a hundred at once."""
    await _many(100, lambda: _again(url, seen, "POST", "/api/v1/actions/submit", "", b" " * 1_900_000))


async def refused_keys(url: str, key: str, seen: Counter[str]) -> None:
    """Invalid keys."""
    await _many(8, lambda: _again(url, seen, "GET", "/api/v1/actions", key[:-4] + "0000"))


async def slow_requests(url: str, key: str, seen: Counter[str]) -> None:
    """Three hundred requests that are never complete: half a head, half a body, a byte a second."""

    async def one() -> None:
        while True:
            line = Line(url)
            try:
                await line.open()
                assert line.writer is not None
                assert line.reader is not None
                half = random.choice(
                    (f"POST /api/v1/actions/submit HTTP/1.1\r\nX-API-Key: {key}\r\n", "GET / HT", "")
                )
                if half.startswith("POST") and random.random() < 0.7:
                    half += "Content-Length: 1000\r\n\r\n{"
                line.writer.write(half.encode())
                while not line.reader.at_eof():
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(line.reader.read(1000), 1)
                    line.writer.write(b"x")
                    await line.writer.drain()
                seen["closed"] += 1
            except OSError as error:
                seen[type(error).__name__] += 1
                await asyncio.sleep(0.2)
            line.close()

    await _many(300, one)


async def slow_readers(url: str, key: str, seen: Counter[str]) -> None:
    """Pages that are requested and never read, on twenty connections."""

    async def one() -> None:
        while True:
            line = Line(url)
            try:
                await line.open()
                assert line.writer is not None
                line.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport has it
                for _ in range(20):
                    await line.send("GET", "/api/audit/logs?limit=1000", key)
                    seen["asked"] += 1
                    await asyncio.sleep(2)
            except OSError as error:
                seen[type(error).__name__] += 1
            line.close()

    await _many(20, one)


async def streams(url: str, key: str, seen: Counter[str]) -> None:
    """Streams that reconnect repeatedly with an old event."""

    async def one() -> None:
        while True:
            line = Line(url)
            try:
                await line.send(
                    "GET", "/api/v1/stream", key, b"", f"Last-Event-ID: {random.randint(1, 20_000)}"
                )
                assert line.reader is not None
                await line.reader.readline()
                await asyncio.wait_for(line.reader.read(1 << 16), 2)
                seen["opened"] += 1
            except (OSError, TimeoutError, ValueError) as error:
                seen[type(error).__name__] += 1
            line.close()

    await _many(10, one)


async def documents(url: str, _: str, seen: Counter[str]) -> None:
    """The OpenAPI document and the metrics."""
    await _many(
        2, *(lambda path=path: _again(url, seen, "GET", path, "") for path in ("/openapi.json", "/metrics"))
    )


async def raw_floods(url: str, _: str, seen: Counter[str]) -> None:
    """Thousands of pipelined requests, of headers, of chunks of one byte."""
    shapes = (
        b"GET /health HTTP/1.1\r\n\r\n" * 10_000,
        b"GET /health HTTP/1.1\r\n" + b"a:b\r\n" * 12_000 + b"\r\n",
        b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200_000,
    )

    async def one(shape: bytes) -> None:
        while True:
            line = Line(url)
            try:
                await line.open()
                assert line.writer is not None
                assert line.reader is not None
                line.writer.write(shape)
                await asyncio.wait_for(line.reader.read(), 5)
                seen["closed"] += 1
            except (OSError, TimeoutError) as error:
                seen[type(error).__name__] += 1
            line.close()
            await asyncio.sleep(0.05)

    await asyncio.gather(*map(one, shapes))


KINDS: dict[str, Abuse] = {
    abuse.__name__: abuse
    for abuse in (
        *(audit_pages, long_lists, large_bodies, long_lists_in_policies, anonymous_bodies, refused_keys),
        *(slow_requests, slow_readers, streams, documents, raw_floods),
    )
}


async def abuse(url: str, seconds: float, key: str, kinds: list[str]) -> dict[str, Any]:
    """Run all of these kinds at once, for this many seconds."""
    seen: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    tasks = [asyncio.create_task(KINDS[kind](url, key, seen[kind])) for kind in kinds]  # type: ignore[arg-type]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    wrong = [repr(one) for one in ended if isinstance(one, Exception)]
    return {"seen": seen, "wrong": wrong}


def main(what: str, url: str, seconds: str, *rest: str) -> None:
    """Run one side."""
    if what == "normal":
        result = asyncio.run(normal(url, float(seconds), list(rest)))
    else:
        result = asyncio.run(abuse(url, float(seconds), rest[0], list(rest[1:])))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
