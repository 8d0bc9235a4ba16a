"""An HTTP server in front of an MCP server with a URL. Clients use it like that server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ascend_guard.errors import AscendError
from ascend_guard.event_stream import Events
from ascend_guard_mcp.gate import ToolGate

from .governed_calls import Log, ProxiedCall, turned_away
from .hidden_tools import without
from .http_admission import Turned, forwarded, require_local, require_plain, returned, single
from .jsonrpc import (
    CANCELLED,
    FAILED,
    GATED,
    INVALID_REQUEST,
    LISTING,
    MOST_BYTES,
    Key,
    Message,
    Refused,
    encode,
    error_value,
    key_of,
    not_run,
    noted,
    read,
)
from .mcp_headers import MISMATCH, SESSION, contradiction, following
from .open_calls import Open, Party, Tap
from .upstream import connect

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_ACCEPTED = 202
_IN_HEADERS = (
    "Blocked: the tool did not run. Its arguments are repeated in HTTP headers, whose values after the edit are "
    "unknown."
)


class Gone(Exception):
    """The client disconnected."""


class Reverse:
    """An ASGI application.

    Args:
        gate: decides.
        url: the upstream server.
        headers: headers of every request to it, such as credentials.
        log: receives lines for people.
        hide: remove tools that are always denied from lists.
        local: it listens on this machine alone, so only this machine's names and pages may use it.
    """

    def __init__(
        self, gate: ToolGate, url: str, headers: Mapping[str, str], log: Log, *, hide: bool, local: bool
    ) -> None:
        self.gate = gate
        self.url = url
        self.path = unquote(urlsplit(url).path) or "/"
        self.headers = headers
        self.log = log
        self.hide = hide
        self.local = local
        self.calls = Open(log)
        self.http = connect(url, {})
        self.ending = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Exchange(self, scope, receive, send).run()

    async def close(self) -> None:
        """Give every open call its outcome."""
        await self.calls.close("the proxy ended before the server answered")
        await self.http.aclose()


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: Reverse, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._begun = False
        self._tap: Tap | None = None
        self._status = 0

    async def run(self) -> None:
        """Answer it, after any failure too."""
        import httpx

        try:
            await self._answer()
        except Gone:
            return
        except Turned as turned:
            await self._error(turned.status, turned.code, turned.why)
        except Refused as refused:
            self._app.log(f"refused a message of a client: {refused.why}")
            answer = refused.answer() or encode(error_value(None, refused.code, refused.why))
            await self._reply(400, answer)
        except (httpx.HTTPError, OSError) as error:
            why = f"the MCP server could not be reached ({type(error).__name__})"
            self._app.log(why)
            if not self._begun:
                await self._error(502, FAILED, why)

    async def _answer(self) -> None:
        app = self._app
        self._headers = single(self._scope["headers"])
        if app.local:
            require_local(self._headers)
        if self._scope["path"] != app.path:
            raise Turned(404, INVALID_REQUEST, f"the MCP server is at {app.path}")
        caller = Party(self._headers.get(SESSION), self._headers.get("authorization", ""))
        self._conversation = caller.conversation
        self._party = None if caller.session_id is None else caller
        method = self._scope["method"]
        if method == "POST":
            require_plain(self._headers)
            message = read(await self._body())
            if (name := contradiction(self._headers, message)) is not None:
                raise Turned(400, MISMATCH, f"the header {name} contradicts the body")
            await self._unless_gone(self._post(message))
        elif method == "GET":
            await self._unless_gone(self._forward(None))
        elif method == "DELETE":
            await self._forward(None)
            if self._status < 300 and self._party is not None:
                app.calls.lose(self._party, "the client ended the session before the server answered")
        else:
            raise Turned(405, INVALID_REQUEST, "an MCP server accepts POST, GET and DELETE")

    async def _unless_gone(self, work: Coroutine[object, object, None]) -> None:
        """Run this as long as the client is connected."""
        working = asyncio.create_task(work)
        watching = [asyncio.create_task(self._hung_up()), asyncio.create_task(self._app.ending.wait())]
        try:
            await asyncio.wait((working, *watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, *watching):
                task.cancel()
            await asyncio.wait((working, *watching))
        if working.cancelled():
            if self._app.ending.is_set() and not self._begun:
                raise Turned(503, FAILED, "the proxy is ending")
            raise Gone
        await working

    async def _hung_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _body(self) -> bytes:
        body = bytearray()
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise Gone
            body += event.get("body", b"")
            if len(body) > MOST_BYTES:
                raise Turned(413, INVALID_REQUEST, f"a message may have at most {MOST_BYTES} bytes")
            if not event.get("more_body", False):
                return bytes(body)

    # --- what a client sends --------------------------------------------------------------------------------------

    async def _post(self, message: Message) -> None:
        if message.method == GATED:
            await self._call(message)
        elif message.method == CANCELLED:
            await self._cancel(message)
        else:
            await self._forward(message)

    async def _call(self, message: Message) -> None:
        calls = self._app.calls
        key = key_of(message.id)
        assert key is not None
        if calls.has(self._party, key):
            raise Turned(400, INVALID_REQUEST, "the id of a request that is still open")
        call = ProxiedCall(message)
        admitting = asyncio.create_task(call.admit(self._app.gate, self._conversation))
        calls.wait(self._party, key, admitting)
        try:
            await asyncio.wait((admitting,))
        except asyncio.CancelledError:  # the client disconnected
            admitting.cancel()
            await asyncio.wait((admitting,))
            calls.background.start(call.failed("not sent: the client had disconnected"))
            raise
        finally:
            calls.waited(self._party, key)
        if admitting.cancelled():
            await self._reply(_ACCEPTED, b"")
            return
        forward = admitting.result()
        if isinstance(forward, str):
            await self._reply(200, not_run(message, forward))
            return
        fixed = following(self._headers, message, forward)
        if fixed is None:
            await call.failed("not sent: its edited arguments are repeated in headers")
            await self._reply(200, not_run(message, _IN_HEADERS))
            return
        calls.run(self._party, key, call)
        try:
            await self._forward(forward, (key, call), fixed)
        except AscendError as error:  # the last check failed: nothing was sent
            calls.ended(self._party, key)
            await self._reply(200, await call.refused(error))
            return
        finally:
            self._conclude(key, call)

    def _conclude(self, key: Key, call: ProxiedCall) -> None:
        calls, tap = self._app.calls, self._tap
        if tap is not None and tap.answered:
            return
        if tap is not None and tap.resumable and calls.running(self._party) and calls.room:
            return  # its client may come back for the answer
        calls.ended(self._party, key)
        if turned_away(self._status):
            calls.background.start(call.failed(f"the server answered with status {self._status}"))
            return
        status = f" (status {self._status})" if self._status >= 300 else ""
        calls.background.start(call.lost(f"the server's answer ended without a result{status}"))

    async def _cancel(self, message: Message) -> None:
        calls = self._app.calls
        key = key_of(message.params.get("requestId"))
        if calls.cancel(self._party, key):
            await self._reply(_ACCEPTED, b"")
            return
        await self._forward(message)
        if key is not None and (call := calls.running(self._party).get(key)) is not None:
            await call.lost("the client cancelled the call while it ran; the tool may have acted")

    # --- what the server answers ----------------------------------------------------------------------------------

    async def _forward(
        self,
        message: Message | None,
        own: tuple[Key, ProxiedCall] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        app = self._app
        sent = forwarded(self._scope["headers"], app.headers, headers or {}, body=message is not None)
        content = None if message is None else message.wire
        extensions = {} if own is None else {"trace": own[1].traced}
        async with app.http.stream(
            self._scope["method"], app.url, content=content, headers=sent, extensions=extensions
        ) as response:
            self._status = response.status_code
            if 300 <= response.status_code < 400:
                why = (
                    "the MCP server redirects, which would bypass the proxy: use the target address as --url"
                )
                raise Turned(502, FAILED, why)
            events = (
                response.headers.get("content-type", "").partition(";")[0].strip().lower()
                == "text/event-stream"
            )
            self._tap = tap = Tap(app.calls, self._party, events=events, own=own)
            chunks = response.aiter_bytes()
            if app.hide and message is not None and any(method == LISTING for _, method in message.requests):
                chunks = self._rewritten(chunks, self._without, events=events)
            elif any(call.note is not None for call in self._answered(own).values()):
                chunks = self._rewritten(chunks, self._noted(own), events=events)
            await self._begin(response.status_code, returned(response.headers.raw))
            async for chunk in chunks:
                tap.feed(chunk)
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            tap.end()
            await self._send({"type": "http.response.body", "body": b""})

    async def _without(self, raw: bytes) -> bytes:
        """Return the same message without the tools that are always denied."""
        return await without(self._app.gate, raw)

    def _answered(self, own: tuple[Key, ProxiedCall] | None) -> dict[Key, ProxiedCall]:
        """Return the calls that this answer may answer."""
        running = self._app.calls.running(self._party)
        return running if own is None else {**running, own[0]: own[1]}

    def _noted(self, own: tuple[Key, ProxiedCall] | None) -> Callable[[bytes], Awaitable[bytes]]:
        """Return a function that adds notes on an approver's changes to answers."""

        async def say(raw: bytes) -> bytes:
            return noted(raw, {key: call.note for key, call in self._answered(own).items()})

        return say

    async def _rewritten(
        self, chunks: AsyncIterator[bytes], rewrite: Callable[[bytes], Awaitable[bytes]], *, events: bool
    ) -> AsyncIterator[bytes]:
        """Return the same answer with its messages rewritten."""
        if not events:
            yield await rewrite(b"".join([chunk async for chunk in chunks]))
            return
        stream = Events()
        async for chunk in chunks:
            for event in stream.feed(chunk):
                if event.message is None:
                    yield event.raw
                    continue
                message = event.message
                new = await rewrite(message)
                yield event.raw if new is message else event.saying(new)
        yield stream.rest

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _reply(self, status: int, body: bytes) -> None:
        headers = [(b"content-length", str(len(body)).encode())]
        if body:
            headers.append((b"content-type", b"application/json"))
        await self._begin(status, headers)
        await self._send({"type": "http.response.body", "body": body})

    async def _error(self, status: int, code: int, why: str) -> None:
        await self._reply(status, encode(error_value(None, code, why)))
