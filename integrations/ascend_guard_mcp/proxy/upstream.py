"""An MCP server with a URL (streamable HTTP), for a client on standard input and output."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ascend_guard.errors import AscendError
from ascend_guard.event_stream import Event, Events, one_line

from .governed_calls import Background, Log, ProxiedCall, turned_away
from .jsonrpc import FAILED, INVALID_REQUEST, Key, Message, encode, key_of, responses
from .mcp_headers import SESSION, VERSION, Parameters, learn, lists_tools, routing
from .options import is_loopback
from .relay import Relay

if TYPE_CHECKING:
    import httpx

_LAST_EVENT = "last-event-id"
_ATTEMPTS = 3
_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_GRACE = 1.5
_ORDERLY = 10.0
_FAREWELL = 2.0


def connect(url: str, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """Return the connection to an upstream server: without redirects, which might leak a credential, and with long
    time-outs."""
    import httpx

    # Requests to this machine, perhaps unencrypted, use no proxy of the environment.
    local = is_loopback(urlsplit(url).hostname or "")
    return httpx.AsyncClient(
        headers={**headers, "accept-encoding": "identity"},
        follow_redirects=False,
        trust_env=not local,
        timeout=httpx.Timeout(None, connect=30.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
    )


class Upstream:
    """The session with one server.

    Args:
        url: its address.
        headers: headers of every request, such as credentials.
        log: receives failures, for people.
    """

    def __init__(self, url: str, headers: Mapping[str, str], log: Log) -> None:
        self._session: str | None = None
        self._url = url
        self._headers = headers
        self._log = log
        self._version: str | None = None
        self._parameters: dict[str, Parameters] = {}
        self._tasks = Background(log)
        self._posts: dict[Key, tuple[asyncio.Task[None], bool]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._relay: Relay

    async def open(self) -> None:
        """Send nothing yet: the client's first message opens the session."""
        self._http = connect(self._url, self._headers)

    async def run(self, relay: Relay) -> None:
        """Wait: a server with a URL does not end by itself."""
        self._relay = relay
        await self._ended.wait()

    # --- what the client sends ----------------------------------------------------------------------------------

    async def send(self, message: Message, call: ProxiedCall | None = None) -> None:
        """A request is answered later; any other message was accepted when this returns, unless the server hangs."""
        if message.method == "initialize":
            self._version, self._session = None, None
        asked = [key for key, _ in message.requests]
        if not asked:
            posting = self._tasks.start(self._post(message))
            await asyncio.wait((posting,), timeout=_ORDERLY)
            if message.method == "notifications/initialized":
                if self._listening is not None:
                    self._listening.cancel()
                self._listening = self._tasks.start(self._listen())
            return
        task = self._tasks.start(self._post(message, call))
        for key in asked:
            self._posts[key] = (task, message.version is not None)
            task.add_done_callback(lambda done, key=key: self._forget(key, done))  # type: ignore[misc]

    def _forget(self, key: Key, task: asyncio.Task[None]) -> None:
        if self._posts.get(key, (None,))[0] is task:
            del self._posts[key]

    def abandon(self, key: Key) -> bool:
        """Since 2026-07-28 a request is cancelled by closing its answer, and there is no notification of it."""
        task, modern = self._posts.get(key, (None, False))
        if task is None or not modern:
            return False
        task.cancel()
        return True

    async def _post(self, message: Message, call: ProxiedCall | None = None) -> None:
        import httpx

        asked = {key for key, _ in message.requests}
        extensions = {} if call is None else {"trace": call.traced}
        try:
            async with self._http.stream(
                "POST", self._url, content=message.wire, headers=self._sent(message), extensions=extensions
            ) as response:
                if response.status_code >= 300:
                    await self._failed(message, response)
                    return
                if message.method == "initialize":
                    self._session = response.headers.get(SESSION)
                if _kind(response) == "text/event-stream":
                    await self._stream(message, response, asked)
                    return
                body = await response.aread()
                if body.strip() and _kind(response) == "application/json":
                    asked -= await self._arrived(message, one_line(body.strip()))
                why = f"the MCP server answered with status {response.status_code} and no message for this request"
                await self._relay.unanswered(asked, INVALID_REQUEST, why)
        except AscendError as error:
            if call is None:
                raise
            for key in asked:
                await self._relay.refused(key, call, error)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if not asked:
                self._log(_unreachable(error))
            await self._relay.unanswered(asked, FAILED, _unreachable(error))

    def _sent(self, message: Message | None, last_event: str | None = None) -> dict[str, str]:
        sent = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        if message is None:
            del sent["content-type"]
            sent["accept"] = "text/event-stream"
        if self._session is not None:
            sent[SESSION] = self._session
        if self._version is not None:
            sent[VERSION] = self._version
        if last_event is not None:
            sent[_LAST_EVENT] = last_event
        return sent if message is None else sent | routing(message, self._parameters)

    # --- what the server answers --------------------------------------------------------------------------------

    async def _stream(self, message: Message, response: httpx.Response, asked: set[Key]) -> None:
        """Pass on a request's events until it is answered; resume after a broken connection."""
        import httpx

        last: str | None = None
        pause, attempts = _PAUSE, 0
        stream = _events(response)
        while True:
            try:
                async with aclosing(stream):
                    async for event in stream:
                        attempts = 0
                        last = event.id or last
                        pause = pause if event.retry is None else min(event.retry / 1000, _LONGEST_PAUSE)
                        if event.message is not None:
                            asked -= await self._arrived(message, event.message)
                            if not asked:
                                return
            except (httpx.HTTPError, OSError) as error:
                self._log(_unreachable(error))
            attempts += 1
            if last is None or attempts > _ATTEMPTS:
                await self._relay.unanswered(asked, FAILED, "the MCP server's answer ended too early")
                return
            await asyncio.sleep(pause)
            stream = self._resumed(last)

    async def _resumed(self, last: str | None) -> AsyncGenerator[Event, None]:
        async with self._http.stream("GET", self._url, headers=self._sent(None, last)) as response:
            if response.status_code == 200 and _kind(response) == "text/event-stream":
                async for event in _events(response):
                    yield event

    async def _arrived(self, message: Message | None, raw: bytes) -> set[Key]:
        """Pass on one line; return the keys of the requests that it answers."""
        answered: set[Key] = set()
        method = None if message is None else message.method
        for response in responses(raw):
            key = key_of(response["id"])
            if key is not None:
                answered.add(key)
            result = response.get("result")
            if method == "initialize" and isinstance(result, dict):
                version = result.get("protocolVersion")
                self._version = version if isinstance(version, str) and version.isascii() else None
            if message is not None and lists_tools(message):
                learn(response, self._parameters)
        await self._relay.from_server(raw)
        return answered

    async def _failed(self, message: Message, response: httpx.Response) -> None:
        """Handle an error status: pass on the error in it, or one that contains the status."""
        asked = [key for key, _ in message.requests]
        if not asked:
            self._log(f"the MCP server answered a message with status {response.status_code}")
            return
        if _kind(response) == "application/json":
            try:
                value: object = json.loads(await response.aread())
            except (ValueError, RecursionError):
                value = None
            if (
                isinstance(value, dict)
                and isinstance(value.get("error"), dict)
                and message.method is not None
            ):
                await self._relay.from_server(encode({**value, "id": message.id}))
                return
        why = f"the MCP server answered with status {response.status_code}"
        if 300 <= response.status_code < 400:
            why += "; redirects are not followed: use the target address"
        elif response.status_code == 404 and self._session is not None:
            why += ": the session has ended"
        elif response.status_code in (401, 403):
            why += ": pass credentials with --header 'Authorization: env:NAME'"
        away = turned_away(response.status_code)
        await self._relay.unanswered(asked, INVALID_REQUEST, why, turned_away=away)

    # --- what the server sends by itself ------------------------------------------------------------------------

    async def _listen(self) -> None:
        import httpx

        last: str | None = None
        pause, attempts = _PAUSE, 0
        while attempts < _ATTEMPTS:
            try:
                async with self._http.stream("GET", self._url, headers=self._sent(None, last)) as response:
                    if response.status_code >= 300 or _kind(response) != "text/event-stream":
                        return  # a server need not support this
                    attempts = 0
                    async for event in _events(response):
                        last = event.id or last
                        pause = pause if event.retry is None else min(event.retry / 1000, _LONGEST_PAUSE)
                        if event.message is not None:
                            await self._arrived(None, event.message)
            except (httpx.HTTPError, OSError):
                attempts += 1
            await asyncio.sleep(pause)

    # --- the end ------------------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """The client disconnected: let its requests end for a moment."""
        if self._posts:
            await asyncio.wait([task for task, _ in self._posts.values()], timeout=_GRACE)

    async def close(self) -> int:
        """End the session."""
        import httpx

        await self._tasks.finish(0)
        if self._session is not None:
            try:
                await self._http.delete(self._url, headers=self._sent(None), timeout=_FAREWELL)
            except (httpx.HTTPError, OSError) as error:
                self._log(_unreachable(error))
        await self._http.aclose()
        return 0


async def _events(response: httpx.Response) -> AsyncGenerator[Event, None]:
    events = Events()
    async for chunk in response.aiter_bytes():
        for event in events.feed(chunk):
            yield event


def _kind(response: httpx.Response) -> str:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower()


def _unreachable(error: Exception) -> str:
    return f"the MCP server could not be reached ({type(error).__name__})"
