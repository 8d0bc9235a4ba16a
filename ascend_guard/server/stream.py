"""The pushed stream: decisions and the kill switch as server-sent events, one connection for each process of agents.

event: ready        the switches that are on, and the interval of heartbeats
 event: decision     an action was decided
 event: kill_switch  every switch that is on now
 event: reset        too much was missed: request the state of each pending action
 : heartbeat

Each event's id is the number of its audit record; a client that reconnects with ``Last-Event-ID`` gets what it
missed. A stream is closed, not left silent, when the server does not know the present state any more, or when its
key was revoked or its token has expired.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from ascend_guard.engine.liveness import REMOTE
from ascend_guard.errors import AscendError
from ascend_guard.model import KillSwitchState
from ascend_guard.store.port import Reader

from .change_feed import ChangeFeed, Listener, message, told_of
from .handling import Caller, Services
from .requests.asgi import Receive, Scope, Send, correlation_of
from .requests.endpoint_app import EndpointContext

MOST_MISSED = 5_000
"""The most audit records that are searched for what a client missed."""

HEARTBEAT = b": heartbeat\n\n"

_RUNNER = re.compile("[0-9a-f]{32}")
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies must pass on each event at once
    (b"x-content-type-options", b"nosniff"),
]


async def stream(
    context: EndpointContext,
    feed: ChangeFeed,
    caller: Caller,
    headers: dict[str, str],
    admitted: Callable[[], Awaitable[None]],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Serve one connection until either side ends it, or ``admitted`` raises ``AscendError``."""
    services = context.services
    listener = Listener(caller.organization, caller.agent_id)
    feed.add(listener)
    services.meter.streams += 1
    gone = asyncio.ensure_future(_gone(receive))
    try:
        look = partial(_opening, services=services, listener=listener, headers=headers)
        if "last-event-id" in headers:  # there may be much to send
            opening, on = await context.lanes.run(
                caller, lambda: services.store.apart(look), most=sys.maxsize
            )
        else:
            opening, on = await services.store.aread(look)
        if not listener.opened(on):
            feed.compare()
        repeated = (b"x-correlation-id", correlation_of(headers).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, repeated]})
        await send({"type": "http.response.body", "body": b"".join(opening), "more_body": True})
        with suppress(AscendError):
            await _pass_on(services, feed, listener, runner_in(scope), admitted, gone, send)
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        feed.remove(listener)
        services.meter.streams -= 1


async def _pass_on(
    services: Services,
    feed: ChangeFeed,
    listener: Listener,
    runner: str | None,
    admitted: Callable[[], Awaitable[None]],
    gone: asyncio.Future[None],
    send: Send,
) -> None:
    queue, clock = listener.queue, asyncio.get_running_loop().time
    looked = clock()
    while feed.fresh and not gone.done():
        if clock() - looked >= services.settings.heartbeat:
            await admitted()
            looked = clock()
        if runner is not None:
            await _note(services, runner, listener.organization)
        getting = asyncio.ensure_future(queue.get())
        either: set[asyncio.Future[Any]] = {getting, gone}
        await asyncio.wait(either, timeout=services.settings.heartbeat, return_when="FIRST_COMPLETED")
        if not getting.done():
            getting.cancel()
            if feed.fresh:
                await send({"type": "http.response.body", "body": HEARTBEAT, "more_body": True})
            continue
        messages = [getting.result()]
        while not queue.empty():
            messages.append(queue.get_nowait())
        known = [text for text in messages if text is not None]
        if known:
            await send({"type": "http.response.body", "body": b"".join(known), "more_body": True})
        if len(known) < len(messages):
            return


async def _note(services: Services, runner: str, organization: str) -> None:
    if services.register.stale(runner, services.clock()):
        try:
            await services.store.awrite(lambda tx: services.register.see(tx, runner, organization))
        except AscendError:
            pass  # its lease ends, and what it runs shows as unknown until it reports


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def runner_in(scope: Scope) -> str | None:
    """Return the listening process, from its query."""
    given = parse_qs(scope["query_string"].decode("latin-1")).get("runner", [""])[0]
    return REMOTE + given if _RUNNER.fullmatch(given) else None


def _opening(
    reader: Reader, services: Services, listener: Listener, headers: dict[str, str]
) -> tuple[list[bytes], dict[str, KillSwitchState]]:
    """Return the first messages of a stream, and the kill switches that are on by then."""
    head = reader.head(listener.organization).seq
    on = dict(reader.kill_switches(listener.organization))
    ready = message("ready", {"on": listener.heard(on), "heartbeat": services.settings.heartbeat}, head)
    last = headers.get("last-event-id", "")
    if not last:
        return [ready], on
    seen = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else -1
    if not 0 <= seen <= head:
        return [ready, message("reset", {}, head)], on
    events = reader.events_since(listener.organization, seen, limit=MOST_MISSED + 1)
    if len(events) > MOST_MISSED:
        return [ready, message("reset", {}, head)], on
    told = told_of(reader, listener.organization, events)
    missed = [one.text for one in told if one.text is not None and listener.concerns(one)]
    # The present switches come last, so that no older state replaces them.
    return [*missed, ready], on
