"""An HTTP server that answers as a test says and writes down what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from feature_server import by_http

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def message(self) -> Any:
        """What its body says."""
        return json.loads(self.body) if self.body else {}

    def header(self, name: str) -> str | None:
        """One header; None without it."""
        return dict(self.headers).get(name)


class Reply(NamedTuple):
    """One answer. One that hangs never ends by itself."""

    status: int = 200
    headers: dict[str, str] = JSON
    chunks: tuple[bytes, ...] = ()
    hangs: bool = False


class Upstream:
    """The application.

    Attributes:
        asked: each request so far.
        answer: what to say to one.
        hung_up: set once a client has left an answer that hangs.
    """

    def __init__(self) -> None:
        self.url = ""
        self.begin()

    def begin(self) -> None:
        """Forget what was."""
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Reply] = answered
        self.hung_up = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        headers = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
        hung_up = self.hung_up
        asked = Asked(scope["method"], scope["path"], headers, body)
        self.asked.append(asked)
        reply = self.answer(asked)
        lines = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": lines})
        for chunk in reply.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if reply.hangs:
            while (await receive())["type"] != "http.disconnect":
                pass
            hung_up.set()
            return
        await send({"type": "http.response.body", "body": b""})

    @property
    def calls(self) -> list[Any]:
        """The params of each tool call."""
        messages = [asked.message for asked in self.asked if asked.method == "POST"]
        return [message["params"] for message in messages if message.get("method") == "tools/call"]

    def asked_by(self, method: str) -> list[Asked]:
        """The requests with this HTTP method."""
        return [asked for asked in self.asked if asked.method == method]


def result(identity: Any, **said: Any) -> bytes:
    """A response."""
    return json.dumps({"jsonrpc": "2.0", "id": identity, "result": said}).encode()


def event(data: bytes, identity: str | None = None) -> bytes:
    """A server-sent event."""
    return (f"id: {identity}\n".encode() if identity else b"") + b"event: message\ndata: " + data + b"\n\n"


def answered(asked: Asked) -> Reply:
    """As a small server would."""
    if asked.method == "GET":
        return Reply(405)
    message = asked.message
    if asked.method == "DELETE" or "id" not in message or "method" not in message:
        return Reply(202, {})
    if message["method"] == "initialize":
        said = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "serverInfo": {"name": "u", "version": "1"},
        }
        return Reply(200, {**JSON, "mcp-session-id": "session-1"}, (result(message["id"], **said),))
    return Reply(200, JSON, (result(message["id"], content=[{"type": "text", "text": "done"}]),))


@contextmanager
def scripted() -> Iterator[Upstream]:
    """One of them, running."""
    upstream = Upstream()
    with by_http(upstream) as url:
        upstream.url = f"{url}/mcp"
        yield upstream
