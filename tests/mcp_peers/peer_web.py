"""The byte-keeping client over streamable HTTP, and the published server it is used with."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from mcp_peers import ALLOWED, everything_over_http, proxied, surroundings
from peer_lines import ANSWERS, LATEST, PATIENCE, TASK, Lines, Step
from world import eventually

_NEVER_ALIKE = (
    b"date",
    b"mcp-session-id",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"keep-alive",
)


class Exchange(NamedTuple):
    """One answer over HTTP.

    Attributes:
        what: the method of the message it answers, or that of the request.
        status: its status.
        headers: those that say something, in order.
        body: its very bytes.
    """

    what: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@contextmanager
def everything_on(port: int, folder: Path) -> Iterator[str]:
    """Run server-everything as an HTTP server; its address."""
    command, environment = everything_over_http(port)
    log = folder / f"everything-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=folder)
    try:
        eventually(lambda: b"listening on port" in log.read_bytes())
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait(PATIENCE)


@contextmanager
def listening_before(url: str, folder: Path, policy: str = ALLOWED) -> Iterator[str]:
    """Run the proxy as an HTTP server before this one; its address."""
    command = proxied(folder, "everything", "--url", url, "--listen", "127.0.0.1:0", behind=[], policy=policy)
    lines = Lines(command, surroundings(), folder)

    def said() -> str | None:
        return next((line.split()[-1] for line in lines.errors.splitlines() if "listening on" in line), None)

    try:
        yield str(eventually(said))
    finally:
        lines.process.terminate()
        status = lines.close()
    assert status == 0, lines.errors


class Web:
    """One session.

    Args:
        url: where the server is, or the proxy before it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.Client(timeout=PATIENCE, trust_env=False)
        self._session: dict[str, str] = {}
        self._latest = 0
        self._task = ""
        self._threads: list[threading.Thread] = []
        self._stream = bytearray()
        self.exchanges: list[Exchange] = []

    def play(self, steps: Iterable[Step]) -> None:
        """Do all this."""
        for step in steps:
            if step.kind == "hear":
                eventually(lambda step=step: step.method.encode() in self._stream, PATIENCE)  # type: ignore[misc]
                continue
            message: dict[str, Any] = {"jsonrpc": "2.0", "method": step.method}
            if step.params is not None:
                message["params"] = {name: self._meant(value) for name, value in step.params.items()}
            if step.kind != "notify":
                self._latest += 1
                message["id"] = self._latest
            if step.kind == "begin":
                self._beside("POST", step.method, bytearray(), message)
            else:
                self._exchange("POST", step.method, bytearray(), message)
            if step.method == "initialize":
                self._beside("GET", "GET", self._stream)

    def _meant(self, value: Any) -> Any:
        return {LATEST: self._latest, TASK: self._task}.get(value, value) if isinstance(value, str) else value

    def _beside(self, method: str, what: str, kept: bytearray, message: Any = None) -> None:
        """Have one answered in a thread; it has begun to be when this returns."""
        begun = threading.Event()
        thread = threading.Thread(
            target=self._exchange, args=(method, what, kept, message, begun), daemon=True
        )
        thread.start()
        self._threads.append(thread)
        assert begun.wait(PATIENCE)

    def _exchange(
        self,
        method: str,
        what: str,
        kept: bytearray,
        message: Any = None,
        begun: threading.Event | None = None,
    ) -> None:
        accepted = "text/event-stream" if method == "GET" else "application/json, text/event-stream"
        headers = {"accept": accepted, "content-type": "application/json", **self._session}
        content = None if message is None else json.dumps(message, ensure_ascii=False).encode()
        with self._http.stream(method, self._url, content=content, headers=headers) as answer:
            if what == "initialize":
                self._session = {
                    "mcp-session-id": answer.headers["mcp-session-id"],
                    "mcp-protocol-version": "2025-11-25",
                }
            if begun is not None:
                begun.set()
            done = 0
            for chunk in answer.iter_raw():
                kept += chunk
                while (end := kept.find(b"\n\n", done)) >= 0:
                    self._read(bytes(kept[done:end]))
                    done = end + 2
        told = [(name, value) for name, value in answer.headers.raw if name.lower() not in _NEVER_ALIKE]
        lower = [(name.lower(), value) for name, value in told]
        self.exchanges.append(Exchange(what, answer.status_code, lower, bytes(kept)))

    def _read(self, event: bytes) -> None:
        data = b"".join(line[6:] for line in event.split(b"\n") if line.startswith(b"data: "))
        message = json.loads(data) if data else {}
        if "method" in message and "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": ANSWERS[message["method"]]}
            self._exchange("POST", f"the answer to {message['method']}", bytearray(), answer)
        elif "task" in message.get("result", {}):
            self._task = message["result"]["task"]["taskId"]

    def close(self) -> list[Exchange]:
        """End the session; everything that was answered, in a settled order."""
        self._exchange("DELETE", "DELETE", bytearray())
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._http.close()
        return sorted(self.exchanges, key=lambda exchange: exchange.what)  # the streams end when they like


def messages(exchanges: Iterable[Exchange]) -> list[bytes]:
    """Every message in these, as a line."""
    lines = [line.removeprefix(b"data: ") for exchange in exchanges for line in exchange.body.split(b"\n")]
    return [line + b"\n" for line in lines if line.startswith(b"{")]
