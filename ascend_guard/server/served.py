"""One endpoint as an ASGI application.

A request is admitted (who is it, may they, how often), decoded to its endpoint's types, handled, and encoded. Whatever
fails becomes the documented error body in one place.
"""

from __future__ import annotations

import logging
import re
import time

import msgspec

from ascend_guard.api.endpoint import Access, Endpoint
from ascend_guard.api.system import ErrorBody
from ascend_guard.errors import AscendError, AuthenticationError, RateLimitError, ServerError

from .auth import Gate
from .decoding import Decoder
from .failures import Refused, classified
from .handling import Call, Caller, Handler, Services
from .limits import RateLimiter
from .signing import require_signature
from .tracing import traced
from .wire import Receive, Scope, Send, correlation_of, heads, read_body, require_once, respond

STOPPING = re.compile(r"/api/billing/kill-switch/[^/]+/trigger")
"""The path that turns a kill switch on."""

_log = logging.getLogger("ascend_guard.server")
_encode = msgspec.json.Encoder().encode


class Desk:
    """What all endpoints share: who may in, and how often.

    Args:
        services: what handlers may reach.
        gate: who may in.
        limiter: how often.
    """

    def __init__(self, services: Services, gate: Gate, limiter: RateLimiter) -> None:
        self.services = services
        self.gate = gate
        self.limiter = limiter

    async def admit(
        self, scope: Scope, headers: dict[str, str], access: Access, extra: list[tuple[bytes, bytes]]
    ) -> Caller:
        """Who asks, counted against their limits. Raises ``AuthenticationError`` and what else ``Gate.admit`` raises."""
        try:
            caller = await self.gate.admit(headers, access)
        except AuthenticationError:
            client = scope.get("client")
            try:
                self.limiter.hit_failed(client[0] if client else "")
            except RateLimitError as error:
                error.retry_after = 1.0  # published clients sleep that long before they tell of the wrong key
                raise
            raise
        stopping = STOPPING.fullmatch(scope.get("path", "")) is not None
        for name, value in (await self.limiter.hit(caller, stopping=stopping)).items():
            extra.append((name.lower().encode(), value.encode()))
        return caller

    def refused(
        self, error: AscendError, name: str, headers: dict[str, str], extra: list[tuple[bytes, bytes]]
    ) -> tuple[int, bytes]:
        """The status and the body of a refusal; headers it needs are added to ``extra``."""
        status, code, detail = classified(error)
        if status >= 500 and not isinstance(error, Refused):
            _log.error("%s failed: %s", name, error)
        published = headers.get("user-agent", "").startswith("ascend-sdk/")
        if status == 409 and name == "register_agent" and published:
            status = 400  # its clients read a duplicate's words from a 400 only
        if isinstance(error, RateLimitError):
            for header, value in getattr(error, "headers", {}).items():
                extra.append((header.lower().encode(), value.encode()))
            extra.append((b"retry-after", str(max(1, round(error.retry_after or 1))).encode()))
        elif status == 401:
            extra.append((b"www-authenticate", b'Bearer realm="ascend-guard"'))
        elif status == 503:
            extra.append((b"retry-after", b"1"))
        return status, _encode(ErrorBody(detail, code, status))


class Served:
    """One endpoint as an ASGI application."""

    def __init__(self, endpoint: Endpoint, handler: Handler, desk: Desk) -> None:
        self.endpoint = endpoint
        self._handler = handler
        self._desk = desk
        self._decoder = Decoder(endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers, twice = heads(scope)
        correlation = correlation_of(headers)
        extra: list[tuple[bytes, bytes]] = []
        with traced(self.endpoint, headers, correlation) as span:
            try:
                require_once(twice)
                body = await read_body(receive, headers)
                caller = await self._desk.admit(scope, headers, self.endpoint.access, extra)
                if caller.signing_secret is not None:
                    now = self._desk.services.clock()
                    await require_signature(caller.signing_secret, headers, body, now, self.endpoint)
                call = Call(
                    self._desk.services,
                    caller,
                    scope["path_params"],
                    self._decoder.body(body, headers),
                    self._decoder.query(scope["query_string"]),
                    headers,
                    correlation,
                    body,
                )
                answer = _encode(await self._handler(call))
                status = self.endpoint.status
            except AscendError as error:
                status, answer = self._desk.refused(error, self.endpoint.name, headers, extra)
            except Exception:
                _log.exception("%s failed (%s)", self.endpoint.name, correlation)
                unexpected = ServerError("It failed in a way nobody expected.")
                status, answer = self._desk.refused(unexpected, self.endpoint.name, headers, extra)
            span(status)
        self._desk.services.meter.answered(self.endpoint.name, status, time.perf_counter() - started)
        extra.append((b"x-correlation-id", correlation.encode()))
        await respond(send, status, answer, extra)
