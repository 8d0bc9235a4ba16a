"""A client on this process's standard input and output, connected to a server as long as both exist."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ascend_guard_mcp.gate import ToolGate

from .governed_calls import Log
from .jsonrpc import MOST_BYTES
from .relay import Relay, Server
from .standard_streams import Reading, Writing, pump

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Connected(Server, Protocol):
    """A server that can be opened and closed."""

    async def open(self) -> None:
        """Start. Raises ``OSError``."""
        ...

    async def run(self, relay: Relay) -> None:
        """Pass on what the server sends, until it ends."""
        ...

    async def finish(self) -> None:
        """The client disconnected: let the server end by itself for a few seconds. ``run`` continues meanwhile."""
        ...

    async def close(self) -> int:
        """End it now, by force if needed; returns its exit status, 0 when it was ended from here."""
        ...


async def relayed(gate: ToolGate, server: Connected, log: Log, *, hide: bool = False) -> int:
    """Pass messages until the client or the server ends, or a signal ends both.

    Args:
        gate: decides.
        server: the client's server.
        log: receives lines for people; standard output carries only the protocol.
        hide: remove tools that are always denied from lists.

    Returns:
        The exit status: 0, or 1 when the server failed.
    """
    stopped = asyncio.Event()
    with signals(stopped), _output() as output:
        await server.open()
        relay = Relay(gate, server, Writing(output).write, log, hide=hide)
        serving = asyncio.create_task(server.run(relay))
        client = asyncio.create_task(pump(Reading(_STDIN).chunks(), MOST_BYTES, relay.from_client))
        stopping = asyncio.create_task(stopped.wait())
        tasks: list[asyncio.Task[Any]] = [serving, client, stopping]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                relay.stop_waiting()
                finishing = asyncio.create_task(server.finish())
                until = [serving, finishing, *([] if stopping.done() else [stopping])]
                await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
                finishing.cancel()
            for task in (client, serving):
                if task.done() and (error := task.exception()) is not None:
                    log(f"the connection broke ({type(error).__name__}: {error})")
        finally:
            for task in tasks:
                task.cancel()
            try:
                status = await server.close()
            finally:
                await relay.lost("the connection to the server ended before it answered")
    return status


@contextmanager
def _output() -> Iterator[int]:
    """Reserve standard output for the protocol: everything else that is printed goes to standard error."""
    sys.stdout.flush()
    output = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        yield output
    finally:
        os.dup2(output, _STDOUT)


@contextmanager
def signals(stopped: asyncio.Event) -> Iterator[None]:
    """In this block, a signal to end sets the event instead."""
    loop = asyncio.get_running_loop()
    # An ignored signal stays ignored, as under nohup.
    heard = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
