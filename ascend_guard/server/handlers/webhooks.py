"""The webhooks' endpoints: create, change, test, list."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from msgspec import convert

from ascend_guard.api.fields import Done, PageQuery
from ascend_guard.api.webhooks import (
    Deliveries,
    Delivery,
    WebhookAnswer,
    WebhookBody,
    WebhookChange,
    Webhooks,
    WebhookTest,
)
from ascend_guard.engine import webhooks
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request
from ascend_guard.server.requests.pages import behind, gather
from ascend_guard.server.webhooks.sender import Sender, message

from .registered import fields_of

R = TypeVar("R")

_ELSEWHERE = ThreadPoolExecutor(4, thread_name_prefix="ascend-guard-receiver")


async def configure_webhook(request: Request[WebhookBody, None]) -> WebhookAnswer:
    """Create a webhook, and return its secret this once."""
    given, webhook_id = request.body, webhooks.new_id()
    if request.caller.agent_id is not None:
        request.caller.require_agent(given.agent_id or "")
    events = webhooks.require_events(given.events)
    await _elsewhere(request, lambda sender: sender.check(given.url))
    secret = given.secret or webhooks.new_secret()
    sealed = webhooks.seal(request.services.store.secret, webhook_id, secret)
    url, origin = webhooks.sealed_address(request.services.store.secret, webhook_id, given.url)
    webhook = webhooks.Webhook(url, events, sealed, given.agent_id, given.active, origin=origin)
    kept = await request.write(
        lambda tx: webhooks.register(tx, request.organization, request.caller.name, webhook_id, webhook)
    )
    return _answer(request, webhook_id, kept, secret)


async def list_webhooks(request: Request[None, PageQuery]) -> Webhooks:
    """Return the webhooks that the caller may see."""
    found = await request.read(lambda reader: webhooks.webhooks(reader, request.organization))
    mine = [_answer(request, name, webhook) for name, webhook in found if _sees(request, webhook)]
    offset, limit = request.query.offset + (behind(request.query.cursor) or 0), request.query.limit
    more = offset + limit < len(mine)
    return Webhooks(mine[offset:][:limit], len(mine), more, str(offset + limit) if more else None)


async def update_webhook(request: Request[WebhookChange, None]) -> WebhookAnswer:
    """Change the given fields."""
    given, webhook_id = fields_of(request.body), request.path["webhook_id"]
    await _mine(request)
    if "events" in given:
        given["events"] = webhooks.require_events(given["events"])
    if "url" in given:
        url = given["url"]
        await _elsewhere(request, lambda sender: sender.check(url))
        given["url"], given["origin"] = webhooks.sealed_address(
            request.services.store.secret, webhook_id, url
        )
    if "secret" in given:
        given["secret"] = webhooks.seal(request.services.store.secret, webhook_id, given["secret"])
    kept = await request.write(
        lambda tx: webhooks.change(tx, request.organization, request.caller.name, webhook_id, given)
    )
    return _answer(request, webhook_id, kept)


async def delete_webhook(request: Request[None, None]) -> Done:
    """Delete a webhook and its pending deliveries."""
    await _mine(request)
    await request.write(
        lambda tx: webhooks.remove(tx, request.organization, request.caller.name, request.path["webhook_id"])
    )
    return Done(message="The webhook is deleted.")


async def test_webhook(request: Request[None, None]) -> WebhookTest:
    """Send ``webhook.test`` at once, even if the webhook is not active; it is not listed as a delivery."""
    webhook, webhook_id, now = await _mine(request), request.path["webhook_id"], request.services.clock()
    secret = webhooks.unseal(request.services.store.secret, webhook_id, webhook.secret)
    url = webhooks.address(request.services.store.secret, webhook_id, webhook)
    delivery_id, data, at = "dlv_" + secrets.token_hex(12), {"webhook_id": webhook_id}, iso(now)
    delivery = webhooks.Delivery(delivery_id, "webhook.test", at, data, at, at)
    headers, body = message(secret, delivery, now)
    begun = time.perf_counter()
    sent = await _elsewhere(request, lambda sender: sender.send(url, headers, body))
    milliseconds = round((time.perf_counter() - begun) * 1000, 1)
    return WebhookTest(sent.ok, sent.status_code, milliseconds, sent.error)


async def list_deliveries(request: Request[None, PageQuery]) -> Deliveries:
    """Return the finished and the pending deliveries."""
    await _mine(request)
    name, limit, offset = request.path["webhook_id"], request.query.limit, request.query.offset
    offset += behind(request.query.cursor) or 0
    found, total = await request.read(
        lambda reader: webhooks.deliveries(reader, request.organization, name, limit, offset)
    )
    shown = gather(found, lambda one: convert(one, Delivery, from_attributes=True), limit)
    reached = offset + len(shown.shown)
    more = reached < total and bool(shown.shown)
    return Deliveries(shown.shown, total, more, str(reached) if more else None)


async def _elsewhere(request: Request[Any, Any], work: Callable[[Sender], R]) -> R:
    """Use the network in separate threads: other organizations' webhooks may answer late."""
    sender = Sender(private=request.services.settings.private_webhooks)
    return await asyncio.get_running_loop().run_in_executor(_ELSEWHERE, work, sender)


async def _mine(request: Request[Any, Any]) -> webhooks.Webhook:
    """Return the requested webhook; for an agent's key, another agent's webhook does not exist."""
    webhook = await request.read(
        lambda reader: webhooks.get(reader, request.organization, request.path["webhook_id"])
    )
    if not _sees(request, webhook):
        raise webhooks.no_such()
    return webhook


def _sees(request: Request[Any, Any], webhook: webhooks.Webhook) -> bool:
    return request.caller.agent_id in (None, webhook.agent_id)


def _answer(
    request: Request[Any, Any], webhook_id: str, webhook: webhooks.Webhook, secret: str | None = None
) -> WebhookAnswer:
    return WebhookAnswer(
        webhook_id=webhook_id,
        id=webhook_id,
        url=webhooks.address(request.services.store.secret, webhook_id, webhook),
        events=webhook.events,
        active=webhook.active,
        created_at=iso(webhook.created_at),
        agent_id=webhook.agent_id,
        secret=secret,
    )


HANDLERS: dict[str, Handler] = {
    handler.__name__: handler
    for handler in (
        *(configure_webhook, list_webhooks, update_webhook),
        *(delete_webhook, test_webhook, list_deliveries),
    )
}
