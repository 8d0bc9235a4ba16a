"""One client and one server with the gate between them, message by message, whatever carries the messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from ascend_guard.errors import AscendError
from ascend_guard_mcp.gate import ToolGate

from .governed_calls import Background, Call, Log
from .hidden_tools import without
from .jsonrpc import (
    CANCELLED,
    GATED,
    INVALID_REQUEST,
    LISTING,
    Key,
    Message,
    Refused,
    encode,
    error_value,
    key_of,
    not_run,
    noted,
    read,
    responses,
)

Write = Callable[[bytes], Awaitable[None]]


class Server(Protocol):
    """The way to the server."""

    async def send(self, message: Message, call: Call | None = None) -> None:
        """Take a message to it, in the order of the calls.

        Args:
            message: what it gets.
            call: whose message it is, when it is a tool call: it makes its last check (``Call.leave``) immediately before
                the first byte goes out.

        Raises:
            OSError: it cannot be reached any more.
            AscendError: the last check was not passed, and nothing was sent.
        """
        ...

    def abandon(self, key: Key) -> bool:
        """End a request in a way of its own; False where the client's notification is to do it."""
        ...


class Relay:
    """Passes messages on, in order for each direction; only tool calls wait, each for itself.

    Args:
        gate: decides.
        server: where messages go.
        write: takes a line to the client.
        log: gets a line for people.
        hide: leave tools that are always denied out of lists.
    """

    def __init__(self, gate: ToolGate, server: Server, write: Write, log: Log, *, hide: bool) -> None:
        self._gate = gate
        self._server = server
        self._write = write
        self._log = log
        self._hide = hide
        self._open: dict[Key, Call | str] = {}  # requests without an answer: tool calls, and others by method
        self._waits: dict[Key, asyncio.Task[None]] = {}
        self._background = Background(log)

    # --- from the client --------------------------------------------------------------------------------------

    async def from_client(self, raw: bytes) -> None:
        """One line of the client's."""
        if not raw.strip():
            return
        try:
            message = read(raw)
            self._require_new(message)
        except Refused as refused:
            await self._refuse(refused)
            return
        if message.method == GATED:
            self._begin(message)
        elif message.method == CANCELLED:
            await self._cancel(message)
        else:
            self._open.update(message.requests)
            await self._server.send(message)

    def _require_new(self, message: Message) -> None:
        seen: set[Key] = set()
        for key, _ in message.requests:
            if key in self._open or key in seen:
                batch = isinstance(message.value, list)
                raise Refused(
                    INVALID_REQUEST, "the id of a request that is still open", (key[1],), batch=batch
                )
            seen.add(key)

    async def _refuse(self, refused: Refused) -> None:
        self._log(f"refused a message of the client: {refused.why}")
        answer = refused.answer()
        if answer is not None:
            await self._write(answer + b"\n")

    def _begin(self, message: Message) -> None:
        key = key_of(message.id)
        assert key is not None
        call = self._open[key] = Call(message)
        self._waits[key] = self._background.start(self._govern(key, call))

    async def _govern(self, key: Key, call: Call) -> None:
        forward = await call.admit(self._gate)
        del self._waits[key]
        if isinstance(forward, str):
            del self._open[key]
            await self._write(not_run(call.message, forward) + b"\n")
            return
        try:
            await self._server.send(forward, call)
        except AscendError as error:
            await self.refused(key, call, error)
        except OSError as error:
            await call.lost(f"the server could not be reached ({type(error).__name__})")

    async def _cancel(self, message: Message) -> None:
        key = key_of(message.params.get("requestId"))
        waiting = None if key is None else self._waits.pop(key, None)
        if key is None or waiting is None:
            found = None if key is None else self._open.get(key)
            if key is None or not self._server.abandon(key):
                await self._server.send(message)
            if key is not None and isinstance(found, Call):
                self._settle_lost(found, "the client cancelled the call while it ran; it may have acted")
                self._open[key] = CANCELLED  # still taken: the server may yet answer
            return
        # Nothing was forwarded, so there is nothing to tell the server.
        del self._open[key]
        waiting.cancel()

    # --- from the server --------------------------------------------------------------------------------------

    async def from_server(self, raw: bytes) -> None:
        """One line of the server's, which goes to the client as it is."""
        answered: list[tuple[Call | str, dict[str, object]]] = []
        if self._open:
            for response in responses(raw):
                key = key_of(response["id"])
                if key is not None and key in self._open and key not in self._waits:
                    answered.append((self._open.pop(key), response))
        try:
            if self._hide and any(found == LISTING for found, _ in answered):
                raw = await without(self._gate, raw)
            raw = noted(
                raw,
                {key_of(answer["id"]): found.note for found, answer in answered if isinstance(found, Call)},
            )
            await self._write(raw + b"\n")
        finally:  # it has run, whether its client gets to know or not
            for found, response in answered:
                if isinstance(found, Call):
                    self._background.start(found.answered(response))

    async def refused(self, key: Key, call: Call, error: AscendError) -> None:
        """A call's last check was not passed, so it was not sent: say so to the client."""
        self._open.pop(key, None)
        await self._write(await call.refused(error) + b"\n")

    async def unanswered(
        self, keys: Iterable[Key], code: int, why: str, *, turned_away: bool = False
    ) -> None:
        """No answer will come to these requests: say so to the client.

        Args:
            keys: of the requests.
            code: of the error the client gets.
            why: its text.
            turned_away: the server said that it did not take them.
        """
        for key in keys:
            found, told = self._open.get(key), why
            if isinstance(found, Call) and turned_away:
                self._background.start(found.failed(why))
            elif isinstance(found, Call):
                self._background.start(found.lost(why))
                told += "; the tool may have acted" if found.left else "; the tool did not run"
            await self.from_server(encode(error_value(key[1], code, told)))

    def stop_waiting(self) -> None:
        """The client has gone: what waits for a decision will not run."""
        for key in list(self._waits):
            del self._open[key]
            self._waits.pop(key).cancel()

    async def lost(self, why: str) -> None:
        """The connection is over. Whoever waits need not, and what came of the rest is unknown."""
        self.stop_waiting()
        for found in self._open.values():
            if isinstance(found, Call):
                self._settle_lost(found, why)
        await self._background.finish(5.0)

    def _settle_lost(self, call: Call, why: str) -> None:
        if call.running:
            self._background.start(call.lost(why))
