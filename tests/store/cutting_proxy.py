"""A TCP proxy in front of a server that loses connections where it is told to."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CuttingProxy:
    """Passes bytes on until it has passed ``cut_after`` of them in one direction, then closes both ends.

    Args:
        port: where the server listens, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.refusing = False
        self._armed: tuple[str, int, bytes] | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.cuts = 0
        self.passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, direction: str, after: int, marker: bytes = b"") -> None:
        """Cut the next connection that sends ``marker``, ``after`` bytes into what follows in this direction.

        Args:
            direction: ``up``: what the client sends is cut; ``down``: what the server answers to it.
            after: how many bytes still pass.
            marker: what the client must have sent before.
        """
        self._armed = (direction, after, marker)

    def disarm(self) -> None:
        """Cut nothing any more."""
        self._armed = None

    def cut_all(self) -> None:
        """Lose all connections."""
        for pair in self._pairs:
            _close(*pair)

    def close(self) -> None:
        """End it."""
        _close(self._listener)
        self.cut_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    _close(client)
                    continue
                server = socket.create_connection(("127.0.0.1", self._server))
                self._pairs.append((client, server))
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        left: int | None = None
        direction = ""
        with suppress(OSError, ValueError, KeyError):  # the other ways to learn that it was closed
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    way = "up" if source is client else "down"
                    data = source.recv(1 << 16)
                    if not data:
                        raise OSError
                    if left is None and way == "up" and self._armed is not None and self._armed[2] in data:
                        direction, left, _ = self._armed
                        self._armed = None
                    if left is not None and way == direction:
                        self.passed += len(data[:left])
                        (server if way == "up" else client).sendall(data[:left])
                        left -= len(data)
                        if left < 0:
                            self.cuts += 1
                            raise OSError
                    else:
                        (server if way == "up" else client).sendall(data)
        _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@contextmanager
def cutting_proxy(port: int) -> Iterator[CuttingProxy]:
    """One that ends with the block."""
    proxy = CuttingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
