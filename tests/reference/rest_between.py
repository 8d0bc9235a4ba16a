"""A relay between a program and the server: it passes bytes on unchanged, notes requests and answers, and interferes."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_ASKED = re.compile(rb"^(GET|POST) (\S+) HTTP/1\.1\r\n")
_ANSWERED = re.compile(rb"^HTTP/1\.1 (\d+) ")

PRECHECK = "GET /api/sdk/kill-switch/status"
SUBMIT = "POST /api/v1/actions/submit"


class Between:
    """A TCP relay.

    Args:
        own: the port that it listens at, on 127.0.0.1.
        port: where the server listens.
        before: is called with how many submissions there were, this one counted, before one is passed on. Says whether it
            may pass; otherwise both ends are closed.
        after: likewise with a submission's answer.

    Attributes:
        asked: each request's method and path.
        answered: each answer's status.
    """

    def __init__(
        self, own: int, port: int, before: Callable[[int], bool], after: Callable[[int], bool]
    ) -> None:
        self._server = port
        self._before, self._after = before, after
        self._listener = socket.create_server(("127.0.0.1", own))
        self.asked: list[str] = []
        self.answered: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for source, target, noted in (
                    (client, server, self._request),
                    (server, client, self._answer),
                ):
                    threading.Thread(target=self._pass, args=(source, target, noted), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, noted: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while (data := source.recv(1 << 16)) and noted(data):
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _request(self, data: bytes) -> bool:
        if not (found := _ASKED.match(data)):
            return True
        self.asked.append(f"{found[1].decode()} {found[2].decode()}")
        return self.asked[-1] != SUBMIT or self._before(self.asked.count(SUBMIT))

    def _answer(self, data: bytes) -> bool:
        if not (found := _ANSWERED.match(data)):
            return True
        self.answered.append(int(found[1]))
        return self.asked[-1] != SUBMIT or self._after(self.asked.count(SUBMIT))


@contextmanager
def between(
    own: int, port: int, before: Callable[[int], bool], after: Callable[[int], bool]
) -> Iterator[Between]:
    """A relay that ends with the block."""
    relay = Between(own, port, before, after)
    try:
        yield relay
    finally:
        relay.close()
