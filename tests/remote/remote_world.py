"""What these tests share: a gate before a server, calls beside the test, and programs that run in processes of their own."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from fault_server import Exchange, Fault, FaultServer, Received, whole

HERE = Path(__file__).resolve().parents[1]


class Gate:
    """Passes every request on to the server, and holds the answers to some back until it is opened.

    Args:
        upstream: the server's address.
        holds: whether the answer to this request is held back.
    """

    def __init__(self, upstream: str, holds: Callable[[Received], bool]) -> None:
        self._upstream = urlsplit(upstream)
        self._holds = holds
        self._server = FaultServer()
        self.url = self._server.url
        self.holding = threading.Event()
        self.opened = threading.Event()
        self._server.plan(*[Fault("gate", self._act)] * 2000)

    @property
    def received(self) -> list[Received]:
        return self._server.received

    def close(self) -> None:
        self.opened.set()
        self._server.close()

    def _act(self, exchange: Exchange) -> bool:
        request = exchange.request
        assert request is not None
        if request.path.startswith("/api/v1/stream"):
            exchange.send(whole(503))
            return True
        connection = http.client.HTTPConnection(
            self._upstream.hostname or "", self._upstream.port, timeout=20
        )
        names = ("host", "content-length", "connection")
        headers = {name: value for name, value in request.headers.items() if name not in names}
        connection.request(request.method, request.path, request.body or None, headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if self._holds(request) and not self.opened.is_set():
            self.holding.set()
            assert self.opened.wait(30)
        exchange.send(own(exchange, whole(answer.status, body)))
        return True


def own(exchange: Exchange, data: bytes) -> bytes:
    """The same answer, as one to this request: with its correlation id, as the server repeats it."""
    assert exchange.request is not None
    status, _, rest = data.partition(b"\r\n")
    mark = exchange.request.headers.get("x-correlation-id", "").encode()
    return b"%s\r\nX-Correlation-ID: %s\r\n%s" % (status, mark, rest) if status.startswith(b"HTTP/") else data


Threads = Callable[..., list[str]]
"""The names of the guard's threads that a test started; see the fixture ``threads``."""


def program(code: str, *args: str) -> subprocess.Popen[str]:
    """A Python process that runs this text, with the package and the test helpers at hand."""
    paths = [str(HERE.parent), str(HERE), str(HERE / "remote"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")},
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def ended(process: subprocess.Popen[str], seconds: float = 60) -> str:
    """What it printed, once it has ended well."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, f"{process.returncode}\n{out}\n{err}"
    return out
