"""An MCP server as a child process, with its standard input and output as the transport."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from ascend_guard.errors import ConfigurationError

from .governed_calls import Log, ProxiedCall
from .jsonrpc import Key, Message
from .relay import Relay
from .standard_streams import pump

_CHUNK = 65536
_MOST_BYTES = 1 << 30
"""The most bytes of one line of the server."""

_GRACE = 1.5
"""Seconds to end by itself, and then by a signal. Clients kill this process after about two seconds."""
_LOOK = 0.01

_OURS = ("ASCEND_", "OWKAI_")
"""Variables that a server does not receive: with the key, or the database, it could decide its own calls."""


class Process:
    """A server that is started, used, and ended with everything that it started.

    Args:
        command: the program and its arguments.
        log: receives failures, for people.
    """

    def __init__(self, command: Sequence[str], log: Log) -> None:
        self._command = command
        self._log = log
        self._ended_here = False
        self._silent = asyncio.Event()

    async def open(self) -> None:
        """Start it. It inherits our standard error.

        Raises:
            ConfigurationError: it cannot be started.
        """
        try:
            # Its own process group: a Ctrl-C is ours to pass on, and everything that it starts ends with it.
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(
                f"The server's command {self._command[0]!r} cannot be started ({why}). After --, write an executable "
                f"program and its arguments, each as a separate word. If it is not on the PATH of this process, which in "
                f"a client may differ from your shell's, write its absolute path."
            ) from None

    async def send(self, message: Message, call: ProxiedCall | None = None) -> None:
        """Write one line to its standard input."""
        stdin = self._process.stdin
        assert stdin is not None
        if stdin.is_closing():
            raise BrokenPipeError("the server's standard input is closed")
        if call is not None:
            call.leave()
        stdin.write(message.wire + b"\n")
        await stdin.drain()

    def abandon(self, key: Key) -> bool:
        """The client's notification cancels the request."""
        return False

    async def run(self, relay: Relay) -> None:
        """Pass on its lines until it closes its standard output."""
        await pump(self._chunks(), _MOST_BYTES, relay.from_server)
        self._silent.set()

    async def _chunks(self) -> AsyncIterator[bytes]:
        stdout = self._process.stdout
        assert stdout is not None
        while chunk := await stdout.read(_CHUNK):
            yield chunk

    async def finish(self) -> None:
        """Close its standard input, which tells a server to end, and give it a few seconds."""
        self._ended_here = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        if await self._gone(_GRACE):
            # Its last output is still in the pipe, which other processes may keep open.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._silent.wait(), _GRACE)

    async def close(self) -> int:
        """Make sure that it and everything it started are gone."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        if not self._ended_here and not await self._gone(
            _GRACE
        ):  # one that closed its output is ending by itself
            self._ended_here = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._signal(number):
                break
            await self._gone(_GRACE, everything=True)
        transport = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()  # else it stays open as long as a process keeps the pipes open
        return self._status()

    def _status(self) -> int:
        code = self._process.returncode
        if self._ended_here or code == 0:
            return 0
        how = (
            "did not end"
            if code is None
            else f"ended with status {code}"
            if code > 0
            else f"was ended by signal {-code}"
        )
        self._log(f"the MCP server {how}")
        return 1

    def _signal(self, number: int) -> bool:
        """Send this signal to it and to everything it started; False when none of that is left."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return self._process.returncode is None
        return True

    async def _gone(self, seconds: float, *, everything: bool = False) -> bool:
        # Not wait(), which also waits for all other processes that keep its pipes open.
        ends = asyncio.get_running_loop().time() + seconds
        while self._process.returncode is None or (everything and self._signal(0)):
            if asyncio.get_running_loop().time() >= ends:
                return False
            await asyncio.sleep(_LOOK)
        return True
