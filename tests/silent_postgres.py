"""Ways in which a PostgreSQL stops answering without ending a connection, and how they pass."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from postgres_server import PostgresServer


def processes(server: PostgresServer) -> list[int]:
    """The server's own process, and those it has started, by the kernel's list."""
    main = int((server.folder / "postmaster.pid").read_text().split()[0])
    found = [main]
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == main:
                found.append(int(entry.name))
    return found


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """Every process of the server stands still: the kernel goes on accepting connections and acknowledging bytes."""
    held = processes(server)
    for process in held:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in held:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


class StallingProxy:
    """Passes bytes on while ``flowing`` is set; otherwise it reads nothing, sends nothing and closes nothing.

    Args:
        port: where the server listens, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.flowing = threading.Event()
        self.flowing.set()
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.flowing.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                self._sockets += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.flowing.wait()
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def stalling_proxy(port: int) -> Iterator[StallingProxy]:
    """One that ends with the block."""
    proxy = StallingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
