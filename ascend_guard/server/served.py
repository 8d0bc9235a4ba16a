"""One endpoint as an ASGI application.

A request is admitted by its headers alone (who is it, may they, how often); only then its body is read, decoded to its
endpoint's types, handled, and the answer encoded: on the event loop when that takes a moment, else in a lane. Whatever fails
becomes the documented error body in one place.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ascend_guard.api.endpoint import Access, Endpoint
from ascend_guard.api.system import ErrorBody
from ascend_guard.errors import AscendError, AuthenticationError, RateLimitError, ServerError, ValidationError

from .auth import Gate
from .bodies import Room, require_few_values
from .failures import Refused, classified
from .handling import Call, Caller, Handler, Services
from .lanes import LIGHT, SMALL, Lanes, apart
from .limits import RateLimiter
from .notices import Notices
from .tracing import traced
from .wire import Receive, Scope, Send, correlation_of, heads, read_body, require_once, respond

_log = logging.getLogger("ascend_guard.server")
_encode = msgspec.json.Encoder().encode


class Desk:
    """What all endpoints share: who may in, and how often.

    Args:
        services: what handlers may reach.
        gate: who may in.
        limiter: how often.
        notices: where it is logged that a limit was hit.
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
        """Who asks, counted against their limits. Raises ``AuthenticationError`` and what else ``Gate.admit`` raises."""
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
                error.retry_after = 1.0  # published clients sleep that long before they tell of the wrong key
                raise
            raise
        for name, value in (await self.limiter.hit(caller)).items():
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
        self._light = endpoint.name in LIGHT

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers, twice = heads(scope)
        correlation = correlation_of(headers)
        extra: list[tuple[bytes, bytes]] = []
        with traced(self.endpoint, headers, correlation) as span:
            try:
                require_once(twice)
                caller = await self._desk.admit(scope, headers, self.endpoint.access, extra)
                answer = await self._answered(caller, scope, receive, headers, correlation)
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

    async def _answered(
        self, caller: Caller, scope: Scope, receive: Receive, headers: dict[str, str], correlation: str
    ) -> bytes:
        desk = self._desk
        if self._body is None:  # what comes without being asked for is not kept
            handle = partial(self._handled, caller, scope, b"", headers, correlation)
            return await handle(desk.services) if self._light else await self._in_lane(caller, handle)
        with desk.room.held(caller, headers):
            body = await read_body(receive, headers)
            handle = partial(self._handled, caller, scope, body, headers, correlation)
            if self._light and len(body) <= SMALL:
                return await handle(desk.services)
            return await self._in_lane(caller, handle)

    async def _in_lane(
        self, caller: Caller, handle: Callable[[Services], Coroutine[Any, Any, bytes]]
    ) -> bytes:
        desk = self._desk
        return await desk.lanes.run(caller, lambda: asyncio.run(handle(desk.apart)))

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
        call = Call(
            services,
            caller,
            scope["path_params"],
            self._decoded(body),
            self._asked(scope["query_string"]),
            headers,
            correlation,
        )
        return _encode(await self._handler(call))

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
