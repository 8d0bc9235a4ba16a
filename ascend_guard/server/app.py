"""The whole server: the table's endpoints with their handlers, the background tasks, start and end."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from ascend_guard.api.endpoint import Access
from ascend_guard.api.system import ErrorBody
from ascend_guard.api.table import ENDPOINTS
from ascend_guard.arguments import digest_key_of
from ascend_guard.engine.housekeeping import housekeep
from ascend_guard.engine.intake import Intake
from ascend_guard.engine.keys import tier_of
from ascend_guard.engine.liveness import Register
from ascend_guard.engine.policy import Policy
from ascend_guard.errors import AscendError, StoreError
from ascend_guard.store.port import Store

from .access.auth import Gate, Verifier
from .access.limits import RateLimiter
from .access.quota import Shared
from .access.signing import require_signature
from .access.tokens import LocalIssuer
from .change_feed import ChangeFeed
from .handlers import HANDLERS
from .handling import ServerSettings, Services
from .limit_log import Notices
from .metrics import Meter
from .openapi import document
from .requests.asgi import Receive, Scope, Send, correlation_of, heads, require_once, respond
from .requests.connection_limits import Streams
from .requests.endpoint_app import EndpointContext, Served
from .stream import stream
from .webhooks.delivery import DeliveryWorker

_log = logging.getLogger("ascend_guard.server")

HOUSEKEEPING = 1.0
"""Seconds between two rounds of housekeeping: passed deadlines and dead processes."""


class Server:
    """One replica.

    Args:
        store: the store; closed with the server.
        policy: the policy.
        settings: see ``ServerSettings``.
        verifiers: verifiers of people's tokens, besides the local issuer.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        settings: ServerSettings | None = None,
        verifiers: Sequence[Verifier] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = settings or ServerSettings()
        register = Register()
        intake = Intake(store, register, policy)
        digest_key = digest_key_of(store.secret)
        self.services = Services(store, policy, clock, settings, register, intake, Meter(), digest_key)
        self.change_feed = ChangeFeed(store)
        self.gate = Gate(store, clock, [LocalIssuer(store.secret), *verifiers])
        self._deliveries = DeliveryWorker(self.services)

        async def tier(organization: str) -> str:
            return await store.aread(lambda reader: tier_of(reader, organization))

        self.notices = Notices()
        limiter = RateLimiter(tier, clock, local=settings.tier, shelf=Shared(store))
        self._context = EndpointContext(self.services, self.gate, limiter, self.notices)
        self.change_feed.watch(self._happened)
        self._fixed: dict[tuple[str, str], Served] = {}
        self._starlette = self._application()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application. Paths without parameters bypass the router, which costs as much as all other work."""
        served = self._fixed.get((scope.get("method", ""), scope.get("path", "")))
        if served is None:
            await self._starlette(scope, receive, send)
            return
        scope["path_params"] = {}
        await served(scope, receive, send)

    def _application(self) -> Starlette:
        context = self._context
        routes = []
        for endpoint in ENDPOINTS:
            served = Served(endpoint, HANDLERS[endpoint.name], context)
            for path in (endpoint.path, *endpoint.aliases):
                routes.append(_Route(path, endpoint=served, methods=[endpoint.method]))
                if "{" not in path:
                    self._fixed[endpoint.method, path] = served
        routes += [
            _Route("/api/v1/stream", endpoint=_Stream(context, self.change_feed), methods=["GET"]),
            _Route(
                "/openapi.json",
                endpoint=_Open(context, self._document, "application/json"),
                methods=["GET"],
            ),
            _Route(
                "/metrics",
                endpoint=_Open(context, self.services.meter.exposition, Meter.content_type),
                methods=["GET"],
            ),
        ]
        app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={HTTPException: _astray})
        app.router.redirect_slashes = False
        return app

    def _document(self) -> bytes:
        return _OPENAPI

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        beside = [
            asyncio.create_task(self.change_feed.run(), name="change feed"),
            asyncio.create_task(self._housekeep(), name="housekeeping"),
            asyncio.create_task(self._deliveries.run(), name="deliveries"),
        ]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            for task in beside:
                with suppress(asyncio.CancelledError):
                    await task
            self._context.lanes.close()
            await asyncio.to_thread(self.services.store.close)

    async def _housekeep(self) -> None:
        services = self.services
        while True:
            try:
                await asyncio.to_thread(housekeep, services.store, services.clock(), lambda: None)
            except Exception as error:
                _log.warning("Housekeeping failed; deadlines are not checked now: %s", error)
            await asyncio.sleep(HOUSEKEEPING)

    def _happened(self, events: list[str]) -> None:
        if any(event.startswith("api_key.") for event in events):
            self.gate.forget()
        self._deliveries.wake()


class _Route(Route):
    """A route whose path is matched to its end: Starlette's ``$`` accepts a trailing newline, which proxies' rules miss."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(path, **options)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z")


class _Stream:
    """The pushed stream's endpoint."""

    def __init__(self, context: EndpointContext, change_feed: ChangeFeed) -> None:
        self._context = context
        self._change_feed = change_feed
        self._streams = Streams(context.notices, context.services.settings.streams_per_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, twice = heads(scope)
        extra: list[tuple[bytes, bytes]] = []
        try:
            require_once(twice)
            caller = await self._context.admit(scope, headers, Access.CALLER, extra)
            if caller.signing_secret is not None:
                now = self._context.services.clock()
                await require_signature(caller.signing_secret, headers, b"", now, None)

            async def admitted() -> None:
                with suppress(StoreError):  # the change feed itself reports when the database is unreachable
                    await self._context.gate.admit(headers, Access.CALLER)

            with self._streams.one(caller):
                await stream(
                    self._context, self._change_feed, caller, headers, admitted, scope, receive, send
                )
        except AscendError as error:  # it did not begin; a later error ends it
            status, body = self._context.refused(error, "stream", headers, extra)
            extra.append((b"x-correlation-id", correlation_of(headers).encode()))
            await respond(send, status, body, extra)


_OPENAPI = msgspec.json.encode(document(ENDPOINTS))


class _Open:
    """A public document, with a rate limit. It is generated at most once a second."""

    def __init__(self, context: EndpointContext, write: Callable[[], bytes], content_type: str) -> None:
        self._context = context
        self._write = write
        self._type = content_type.encode()
        self._written: tuple[float, bytes] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        try:
            self._context.limiter.hit_open(client[0] if client else "")
        except AscendError as error:
            headers: list[tuple[bytes, bytes]] = []
            self._context.notices.note(
                "open documents", client[0] if client else "?", "requests public documents too often"
            )
            status, body = self._context.refused(error, "document", {}, headers)
            await respond(send, status, body, headers)
            return
        await respond(send, 200, self._now(), [], self._type)

    def _now(self) -> bytes:
        now = time.monotonic()
        if self._written is None or now - self._written[0] >= 1.0:
            self._written = now, self._write()
        return self._written[1]


async def _astray(request: Request, error: Exception) -> Response:
    """The answer for an unknown path, or an unknown method of a path."""
    assert isinstance(error, HTTPException)
    missing = error.status_code == 404
    headers = {"content-type": "application/json"}
    if not missing:
        routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
        headers["allow"] = ", ".join(sorted({method for route in routes for method in route.methods}))
    body = ErrorBody(
        "There is no such endpoint. See /openapi.json."
        if missing
        else "This endpoint does not have this method. See /openapi.json.",
        "NOT_FOUND" if missing else "METHOD_NOT_ALLOWED",
        error.status_code,
    )
    return Response(msgspec.json.encode(body), error.status_code, headers=headers)
