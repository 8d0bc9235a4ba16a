"""Relays messages between one client and one server, with the gate between them, over any transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from ascend_guard.errors import AscendError
from ascend_guard_mcp.gate import ToolGate

from .governed_calls import Background, Log, ProxiedCall
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
    """The connection to the server."""

    async def send(self, message: Message, call: ProxiedCall | None = None) -> None:
        """Send it a message, in the order of the calls.

        Args:
            message: the message.
            call: the tool call of the message, if it is one: it makes its last check (``ProxiedCall.leave``)
                immediately before the first byte is sent.

        Raises:
            OSError: it cannot be reached any more.
            AscendError: the last check was not passed, and nothing was sent.
        """
        ...

    def abandon(self, key: Key) -> bool:
        """Cancel a request in the transport's own way; False if the client's notification must do it."""
        ...


class Relay:
    """Passes messages on, in order for each direction; only tool calls wait, each separately.

    Args:
        gate: decides.
        server: receives the messages.
        write: sends a line to the client.
        log: receives lines for people.
        hide: remove tools that are always denied from lists.
    """

    def __init__(self, gate: ToolGate, server: Server, write: Write, log: Log, *, hide: bool) -> None:
        self._gate = gate
        self._server = server
        self._write = write
        self._log = log
        self._hide = hide
        self._open: dict[
            Key, ProxiedCall | str
        ] = {}  # requests without an answer: tool calls, and others by method
        self._waits: dict[Key, asyncio.Task[None]] = {}
        self._background = Background(log)

    # --- from the client --------------------------------------------------------------------------------------

    async def from_client(self, raw: bytes) -> None:
        """Handle one line of the client."""
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
        call = self._open[key] = ProxiedCall(message)
        self._waits[key] = self._background.start(self._govern(key, call))

    async def _govern(self, key: Key, call: ProxiedCall) -> None:
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
            if key is not None and isinstance(found, ProxiedCall):
                self._settle_lost(
                    found, "the client cancelled the call while it ran; the tool may have acted"
                )
                self._open[key] = CANCELLED  # still in use: the server may yet answer
            return
        # Nothing was forwarded, so the server needs no notification.
        del self._open[key]
        waiting.cancel()

    # --- from the server --------------------------------------------------------------------------------------

    async def from_server(self, raw: bytes) -> None:
        """Pass one line of the server to the client unchanged."""
        answered: list[tuple[ProxiedCall | str, dict[str, object]]] = []
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
                {
                    key_of(answer["id"]): found.note
                    for found, answer in answered
                    if isinstance(found, ProxiedCall)
                },
            )
            await self._write(raw + b"\n")
        finally:  # it has run, even if the client does not receive the answer
            for found, response in answered:
                if isinstance(found, ProxiedCall):
                    self._background.start(found.answered(response))

    async def refused(self, key: Key, call: ProxiedCall, error: AscendError) -> None:
        """Answer a call that was not sent, because its last check was not passed."""
        self._open.pop(key, None)
        await self._write(await call.refused(error) + b"\n")

    async def unanswered(
        self, keys: Iterable[Key], code: int, why: str, *, turned_away: bool = False
    ) -> None:
        """Answer requests to which no answer of the server will arrive.

        Args:
            keys: the requests.
            code: the code of the error for the client.
            why: its text.
            turned_away: the server said that it did not accept them.
        """
        for key in keys:
            found, told = self._open.get(key), why
            if isinstance(found, ProxiedCall) and turned_away:
                self._background.start(found.failed(why))
            elif isinstance(found, ProxiedCall):
                self._background.start(found.lost(why))
                told += "; the tool may have acted" if found.left else "; the tool did not run"
            await self.from_server(encode(error_value(key[1], code, told)))

    def stop_waiting(self) -> None:
        """The client disconnected: calls that wait for a decision will not run."""
        for key in list(self._waits):
            del self._open[key]
            self._waits.pop(key).cancel()

    async def lost(self, why: str) -> None:
        """The connection ended: end all waits, and record the outcome of all other calls as unknown."""
        self.stop_waiting()
        for found in self._open.values():
            if isinstance(found, ProxiedCall):
                self._settle_lost(found, why)
        await self._background.finish(5.0)

    def _settle_lost(self, call: ProxiedCall, why: str) -> None:
        if call.running:
            self._background.start(call.lost(why))
