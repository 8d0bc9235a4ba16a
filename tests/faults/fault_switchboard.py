"""A switchboard between the guard and a real server: it passes requests on, or lets happen to them what a schedule says."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fault_server import Exchange, Fault, FaultServer, Received, whole

MUTATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unknown status": lambda body: {**body, "status": "banana", "decision": "banana"},
    "no status": lambda body: {k: v for k, v in body.items() if k not in ("status", "decision", "blocked")},
    "null status": lambda body: {**body, "status": None, "decision": None, "blocked": None},
    "number for status": lambda body: {**body, "status": 1, "decision": True, "blocked": 0},
    "text for blocked": lambda body: {**body, "blocked": "false", "active": "no", "is_active": []},
    "contradiction": lambda body: {**body, "decision": "denied", "status": "approved"},
    "not allowed": lambda body: {
        **body,
        "status": "approved",
        "decision": "allowed",
        "execution_allowed": False,
    },
    "another action": lambda body: {**body, "id": 10**9, "action_id": str(10**9)},
    "no action": lambda body: {k: v for k, v in body.items() if k not in ("id", "action_id")},
    "action is a list": lambda body: {**body, "id": [], "action_id": []},
    "claimed is text": lambda body: {**body, "claimed": "true"},
    "not claimed": lambda body: {**body, "claimed": False},
    "score of text": lambda body: {**body, "risk_score": "low"},
    "score out of range": lambda body: {**body, "risk_score": 1e9},
    "edits are a list": lambda body: {**body, "modified_arguments": [1]},
    "a list": lambda body: [body],
    "null": lambda body: None,
    "text": lambda body: "approved",
    "empty object": lambda body: {},
}

STATUSES = (
    201,
    202,
    204,
    206,
    301,
    302,
    307,
    400,
    401,
    402,
    403,
    404,
    409,
    418,
    422,
    429,
    500,
    502,
    503,
    504,
    599,
)

LOST = ("reset unread", "reset", "hang up", "silent", "garbage")
"""What can happen to a request before the server has it, or to its answer after."""

REPLAYED = "replayed"
"""The answer to an earlier request of the same kind, as from a cache that takes no notice of the method."""

BROKEN = ("truncated", "half", "huge", "html", "gzip", "malformed", "drip", "not text")
"""What can become of an answer."""


@dataclass(frozen=True)
class Step:
    """What happens to one request.

    Args:
        events: what people do before it.
        fault: which fault; empty for none.
        reached: whether the server gets the request all the same.
    """

    events: tuple[str, ...] = ()
    fault: str = ""
    reached: bool = False


_REPEATED = ("x-correlation-id",)
"""Headers of an answer that are passed on."""


class Told(NamedTuple):
    """An answer of the server."""

    status: int
    body: bytes
    headers: dict[str, str]


class Switchboard:
    """Stands between the guard and the server at ``upstream``."""

    def __init__(self, upstream: str, people: Callable[[str], None]) -> None:
        self._upstream = urlsplit(upstream)
        self._people = people
        self._steps: deque[Step] = deque()
        self._local = threading.local()
        self._earlier: dict[str, Told] = {}
        self._server = FaultServer()
        self.url = self._server.url
        self.stream = "pass"
        self.play(())

    def play(self, steps: tuple[Step, ...]) -> None:
        """The next requests meet these steps; those after them pass."""
        self._steps = deque(steps)
        self._server.plan(*[Fault("switchboard", self._act)] * 500)

    def close(self) -> None:
        self._server.close()

    def _act(self, exchange: Exchange) -> bool:
        request = exchange.request
        assert request is not None
        if request.path.startswith("/api/v1/stream"):
            return self._streaming(exchange, request)
        step = self._steps.popleft() if self._steps else Step()
        for event in step.events:
            self._people(event)
        path = request.path.partition("?")[0]
        earlier = self._earlier.get(path)
        if step.fault and not step.reached:
            told = Told(
                200, b'{"detail":"made up"}', dict.fromkeys(_REPEATED, request.headers.get(_REPEATED[0], ""))
            )
        else:
            told = self._forward(request)
            if told.status == 200:
                self._earlier[path] = told
        if step.fault == REPLAYED:
            told = earlier or told
        elif step.fault:
            return self._fail(exchange, step.fault, told)
        exchange.send(whole(*told))
        return True

    def _forward(self, request: Received) -> Told:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(
                self._upstream.hostname or "", self._upstream.port, timeout=20
            )
            self._local.connection = connection
        kept = ("authorization", "x-api-key", "content-type", "idempotency-key", "x-correlation-id")
        headers = {name: value for name, value in request.headers.items() if name in kept}
        connection.request(request.method, request.path, request.body or None, headers)
        answer = connection.getresponse()
        repeated = {name: value for name in _REPEATED if (value := answer.headers.get(name))}
        return Told(answer.status, answer.read(), repeated)

    def _fail(self, exchange: Exchange, fault: str, told: Told) -> bool:
        status, body, repeated = told
        if fault.isdigit():
            exchange.send(whole(int(fault), body, {**repeated, "Location": "http://127.0.0.1:9/"}))
            return True
        if fault in MUTATIONS:
            try:
                right = json.loads(body)
            except ValueError:
                right = {}
            exchange.send(whole(status, MUTATIONS[fault](right if isinstance(right, dict) else {}), repeated))
            return True
        data = whole(*told)
        if fault in ("reset", "reset unread"):
            exchange.reset()
        elif fault == "silent":
            exchange.silence()
        elif fault == "garbage":
            exchange.send(b"\x1b[2J\x00 no HTTP at all\r\n\r\n")
        elif fault == "truncated":
            exchange.send(data[:-1])
        elif fault == "half":
            exchange.send(data[: len(data) // 2])
            exchange.reset()
        elif fault == "huge":
            exchange.send(data.replace(b"Content-Length: ", b"Content-Length: 9999", 1))
        elif fault == "html":
            exchange.send(
                whole(status, b"<html>please sign in</html>", {**repeated, "Content-Type": "text/html"})
            )
        elif fault == "gzip":
            exchange.send(whole(status, gzip.compress(body), {**repeated, "Content-Encoding": "gzip"}))
        elif fault == "malformed":
            exchange.send(whole(status, body[:-2] + b"]", repeated))
        elif fault == "not text":
            exchange.send(whole(status, b"\xff\xfe" + body, repeated))
        elif fault == "drip":
            for byte in data:
                exchange.send(bytes([byte]))
                if exchange.gone(0.01):
                    break
        return False

    def _streaming(self, exchange: Exchange, request: Received) -> bool:
        if self.stream == "refuse":
            exchange.send(whole(503, {"detail": "no"}))
            return True
        if self.stream == "reset":
            exchange.reset()
            return False
        if self.stream == "silent":
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            exchange.silence()
            return False
        if self.stream == "garbage":
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            exchange.send(
                b'event: ready\nid: 0\ndata: {"on": 7}\n\nevent: decision\ndata: {}\n\n\xff\xff\n\n'
            )
            exchange.silence()
            return False
        return self._pass_stream(exchange, request)

    def _pass_stream(self, exchange: Exchange, request: Received) -> bool:
        connection = http.client.HTTPConnection(
            self._upstream.hostname or "", self._upstream.port, timeout=20
        )
        try:
            kept = ("authorization", "x-api-key", "last-event-id", "x-correlation-id")
            connection.request(
                "GET",
                request.path,
                headers={name: request.headers[name] for name in kept if name in request.headers},
            )
            answer = connection.getresponse()
            mark = answer.headers.get("x-correlation-id") if self.stream == "pass" else "of-another-request"
            exchange.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"X-Correlation-ID: %s\r\n\r\n" % (mark or "").encode()
            )
            while self.stream in ("pass", "another's") and not exchange.gone(0):
                chunk = answer.read1(65536)
                if not chunk:
                    return False
                exchange.send(chunk)
            if self.stream == "half-open":  # the server is gone, and nobody told the client
                exchange.silence()
        except OSError:
            pass
        finally:
            connection.close()
        return False
