"""One endpoint as an ASGI application.

A request is admitted (who is it, may they, how often), decoded to its endpoint's types, handled, and encoded. Whatever
fails becomes the documented error body in one place.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ascend_guard.api.endpoint import Access, Endpoint
from ascend_guard.api.system import ErrorBody
from ascend_guard.errors import AscendError, AuthenticationError, RateLimitError, ServerError, ValidationError

from .auth import Gate
from .failures import Refused, classified
from .handling import Call, Caller, Handler, Services
from .limits import RateLimiter
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
        self._body = None if endpoint.body is None else msgspec.json.Decoder(endpoint.body)
        self._query = endpoint.query

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
                call = Call(
                    self._desk.services,
                    caller,
                    scope["path_params"],
                    self._decoded(body),
                    self._asked(scope["query_string"]),
                    headers,
                    correlation,
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

    def _decoded(self, body: bytes) -> Any:
        if self._body is None:
            return None
        if not body and self.endpoint.body_optional:
            body = b"{}"
        try:
            return self._body.decode(body)
        except msgspec.ValidationError as error:
            missing = "missing required field" in str(error)
            raise Refused(
                f"The body of {self.endpoint.name} is not as it should be: {error}. See /openapi.json.",
                status=400 if missing else 422,
                code="MISSING_REQUIRED_FIELD" if missing else "VALIDATION_ERROR",
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(
                f"The body is not JSON: {error}. Send JSON in UTF-8.", status=400, code="INVALID_JSON"
            ) from None

    def _asked(self, query: bytes) -> Any:
        if self._query is None:
            return None
        try:
            given = dict(parse_qsl(query.decode("latin-1"), errors="replace", max_num_fields=50))
            return msgspec.convert(given, self._query, strict=False)
        except ValueError as error:  # msgspec's, or too many fields
            raise ValidationError(f"The query is not as it should be: {error}. See /openapi.json.") from None
