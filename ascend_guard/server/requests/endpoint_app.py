"""One endpoint as an ASGI application.

A request is first authenticated by its headers alone (caller, access, rate limit). Then its body is read, decoded to the
endpoint's types and handled, and the answer encoded: on the event loop if that takes a moment, else in a lane. One place
turns every failure into the documented error body.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from ascend_guard.api.endpoint import Access, Endpoint
from ascend_guard.api.system import ErrorBody
from ascend_guard.errors import AscendError, AuthenticationError, RateLimitError, ServerError
from ascend_guard.server.access.auth import Gate
from ascend_guard.server.access.limits import RateLimiter
from ascend_guard.server.access.signing import require_signature
from ascend_guard.server.handling import Caller, Handler, Request, Services
from ascend_guard.server.limit_log import Notices
from ascend_guard.server.tracing import traced

from .asgi import Receive, Scope, Send, correlation_of, heads, read_body, require_once, respond
from .bodies import Room, require_few_values
from .decoding import Decoder
from .failures import RequestRefused, classified
from .lanes import LIGHT, SMALL, Lanes, apart

STOPPING = re.compile(r"/api/billing/kill-switch/[^/]+/trigger")
"""The path that turns a kill switch on."""

_log = logging.getLogger("ascend_guard.server")
_encode = msgspec.json.Encoder().encode


class EndpointContext:
    """What all endpoints share: authentication and rate limits.

    Args:
        services: what handlers may use.
        gate: authenticates requests.
        limiter: counts requests.
        notices: logs reached limits.
    """

    def __init__(self, services: Services, gate: Gate, limiter: RateLimiter, notices: Notices) -> None:
        self.services = services
        self.gate = gate
        self.limiter = limiter
        self.notices = notices
        self.room = Room(notices)
        self.lanes = Lanes(notices)
        self.apart = msgspec.structs.replace(services, store=apart(services.store))

    async def admit(
        self, scope: Scope, headers: dict[str, str], access: Access, extra: list[tuple[bytes, bytes]]
    ) -> Caller:
        """Return the caller, counted against the rate limits. Raises as ``Gate.admit``, and ``TooManyRequestsError``."""
        try:
            caller = await self.gate.admit(headers, access)
        except AuthenticationError:
            client = scope.get("client")
            try:
                self.limiter.hit_failed(client[0] if client else "")
            except RateLimitError as error:
                self.notices.note(
                    "refused keys", client[0] if client else "?", "sends keys or tokens that are refused"
                )
                error.retry_after = 1.0  # published clients sleep that long before they report a wrong key
                raise
            raise
        stopping = STOPPING.fullmatch(scope.get("path", "")) is not None
        for name, value in (await self.limiter.hit(caller, stopping=stopping)).items():
            extra.append((name.lower().encode(), value.encode()))
        return caller

    def refused(
        self, error: AscendError, name: str, headers: dict[str, str], extra: list[tuple[bytes, bytes]]
    ) -> tuple[int, bytes]:
        """Return the status and the body of a refusal; headers that it needs are added to ``extra``."""
        status, code, detail = classified(error)
        if status >= 500 and not isinstance(error, RequestRefused):
            _log.error("%s failed: %s", name, error)
        published = headers.get("user-agent", "").startswith("ascend-sdk/")
        if status == 409 and name == "register_agent" and published:
            status = 400  # its clients read the text of a duplicate only from a 400
        if isinstance(error, RateLimitError):
            for header, value in getattr(error, "headers", {}).items():
                extra.append((header.lower().encode(), value.encode()))
            extra.append((b"retry-after", str(max(1, round(error.retry_after or 1))).encode()))
        elif status == 401:
            extra.append((b"www-authenticate", b'Bearer realm="ascend-guard"'))
        elif status == 503:
            extra.append((b"retry-after", b"1"))
        return status, _encode(ErrorBody(detail, code, status))


_Handle = Callable[[Services], Coroutine[Any, Any, bytes]]


class Served:
    """One endpoint as an ASGI application."""

    def __init__(self, endpoint: Endpoint, handler: Handler, context: EndpointContext) -> None:
        self.endpoint = endpoint
        self._handler = handler
        self._context = context
        self._decoder = Decoder(endpoint)
        self._light = endpoint.name in LIGHT

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers, twice = heads(scope)
        correlation = correlation_of(headers)
        extra: list[tuple[bytes, bytes]] = []
        with traced(self.endpoint, headers, correlation) as span:
            try:
                require_once(twice)
                caller = await self._context.admit(scope, headers, self.endpoint.access, extra)
                answer = await self._answered(caller, scope, receive, headers, correlation)
                status = self.endpoint.status
            except AscendError as error:
                status, answer = self._context.refused(error, self.endpoint.name, headers, extra)
            except Exception:
                _log.exception("%s failed (%s)", self.endpoint.name, correlation)
                unexpected = ServerError(
                    "Internal error. The server's log has the details under this correlation id."
                )
                status, answer = self._context.refused(unexpected, self.endpoint.name, headers, extra)
            span(status)
        self._context.services.meter.answered(self.endpoint.name, status, time.perf_counter() - started)
        extra.append((b"x-correlation-id", correlation.encode()))
        await respond(send, status, answer, extra)

    async def _answered(
        self, caller: Caller, scope: Scope, receive: Receive, headers: dict[str, str], correlation: str
    ) -> bytes:
        context = self._context
        if not _announces_body(headers):  # then the server does not wait for one
            handle = partial(self._handled, caller, scope, b"", headers, correlation)
            return await (self._on_loop if self._light else self._in_lane)(caller, handle)
        with context.room.held(caller, headers):
            body = await read_body(receive, headers)
            handle = partial(self._handled, caller, scope, body, headers, correlation)
            light = self._light and len(body) <= SMALL
            return await (self._on_loop if light else self._in_lane)(caller, handle)

    async def _on_loop(self, caller: Caller, handle: _Handle) -> bytes:
        self._context.lanes.answers(caller)
        return await handle(self._context.services)

    async def _in_lane(self, caller: Caller, handle: _Handle) -> bytes:
        context = self._context
        return await context.lanes.run(caller, lambda: asyncio.run(handle(context.apart)))

    async def _handled(
        self,
        caller: Caller,
        scope: Scope,
        body: bytes,
        headers: dict[str, str],
        correlation: str,
        services: Services,
    ) -> bytes:
        require_few_values(body)
        if caller.signing_secret is not None:
            await require_signature(caller.signing_secret, headers, body, services.clock(), self.endpoint)
        call = Request(
            services,
            caller,
            scope["path_params"],
            self._decoder.body(body, headers),
            self._decoder.query(scope["query_string"]),
            headers,
            correlation,
            body,
        )
        return _encode(await self._handler(call))


def _announces_body(headers: dict[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
