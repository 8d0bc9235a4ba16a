"""The worker that takes events from the audit trail to their webhooks.

Each of its steps is one transaction, and any may be its last: what was not recorded is done again, by this replica or
another. Sending is at least once, and in no promised order.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from ascend_guard.engine import webhooks
from ascend_guard.engine.webhooks import Attempt, Delivery, Happened, Webhook
from ascend_guard.errors import AscendError
from ascend_guard.model import iso
from ascend_guard.server.handling import Services
from ascend_guard.store.port import Reader, Transaction

from .sender import Sender, message

_log = logging.getLogger("ascend_guard.server")

THREADS = 16
"""Requests at the same time; half of them for one organization at most."""

POLL = 1.0
"""Seconds between two looks for what other replicas left."""

LEASE = 30.0
"""Seconds until a delivery whose result was not recorded is sent again: three times what a request may take."""

TRIES = 8
FIRST_WAIT, WAIT_FACTOR = 5.0, 5.0
"""Seconds before the second try, and how much longer each wait is than the last: 8 tries take 27 hours."""

RETRY_AFTER_MOST = 3600.0
_SCANNED, _SCANNED_BYTES = 500, 4 << 20


class Batch(Struct, frozen=True):
    """What happened between two places of an organization's log."""

    organization: str
    after: int
    upto: int
    events: list[Happened]


class Job(Struct, frozen=True):
    """A delivery that its holder shall send now."""

    organization: str
    webhook_id: str
    webhook: Webhook
    delivery: Delivery


class _Asked(Struct):
    action_type: str | None = None
    tool_name: str | None = None


class _Body(Struct):
    seq: int
    timestamp: str
    organization: str
    event: str
    actor: str
    action_id: int | None = None
    decision: str | None = None
    rule: str | None = None
    reason: str | None = None
    agent_id: str | None = None
    action: _Asked | None = None


_body = msgspec.json.Decoder(_Body).decode

_DENIED = ("denied", "expired", "withdrawn", "blocked")


def gather(reader: Reader) -> Batch | None:
    """What has happened since a cursor, as much as one step takes; None when nobody need be told of anything."""
    cursors = webhooks.cursors(reader)
    if not cursors:
        return None
    ends = {head.organization: head.seq for head in reader.heads()}
    behind = [(organization, cursor) for organization, cursor in cursors if ends[organization] > cursor.seq]
    # In any order, so that no organization is always last.
    return _gathered(reader, *random.choice(behind)) if behind else None  # noqa: S311 - fairness, no secret


def _gathered(reader: Reader, organization: str, cursor: webhooks.Cursor) -> Batch:
    bodies: list[_Body] = []
    upto, size = cursor.seq, 0
    for scanned, row in enumerate(reader.log(organization, cursor.seq), 1):
        upto, size = row.seq, size + len(row.body)
        if row.event in webhooks.OF:
            try:
                bodies.append(_body(row.body))
            except msgspec.MsgspecError:  # it must not stand in the way of all that follow
                _log.error("Webhooks are not told of audit record %s: it is not readable.", row.seq)
        if scanned >= _SCANNED or size >= _SCANNED_BYTES:
            break
    return Batch(organization, cursor.seq, upto, [_happened(reader, body) for body in bodies])


def _happened(reader: Reader, body: _Body) -> Happened:
    data: dict[str, Any] = {"agent_id": body.agent_id}
    if not body.event.startswith("kill_switch."):
        row = None if body.action_id is None else reader.action(body.organization, body.action_id)
        asked = row or body.action or _Asked()
        data = {
            "action_id": None if body.action_id is None else str(body.action_id),
            "agent_id": row.agent_id if row else body.actor,
            "action_type": asked.action_type,
            "tool_name": asked.tool_name,
            "decision": body.decision or ("denied" if body.event in _DENIED else "approved"),
            "rule": body.rule or (row.rule if row else None),
            "risk_score": _plain(row.risk_score) if row else None,
            "risk_level": row.risk_level if row else None,
        }
        body.reason = body.reason or (row.reason if row else None)
    data["reason"] = None if body.reason is None else body.reason[:1000]
    names = webhooks.OF[body.event]
    if body.event == "submitted":
        names += (f"action.{body.decision}",)
        names += ("policy.violation",) if body.decision == "denied" else ()
    return Happened(body.seq, body.timestamp, body.organization, names, data["agent_id"], data)


def _plain(score: float) -> float:
    return int(score) if score.is_integer() else score  # so that every language writes it the same way


def fan_out(tx: Transaction, batch: Batch) -> bool:
    """Make deliveries of a batch and move the cursor, together; False when somebody else did."""
    organization = batch.organization
    cursor = webhooks.cursor(tx, organization)
    if cursor is None or cursor.seq != batch.after:
        return False
    upto, made = batch.upto, 0
    told = webhooks.webhooks(tx, organization)
    touched: dict[str, Webhook] = {}
    for happened in batch.events:
        if made >= webhooks.STEP:
            upto = happened.seq - 1
            break
        for webhook_id, webhook in told:
            for name in _wanted(webhook, happened):
                _enqueue(tx, webhook_id, happened, name)
                touched[webhook_id] = webhook
                made += 1
    webhooks.move(tx, organization, webhooks.Cursor(upto))
    for webhook_id, webhook in touched.items():
        if tx.count_records(organization, webhooks.waiting(webhook_id)) > webhooks.BACKLOG:
            _deactivate(tx, organization, webhook_id, webhook, "too many deliveries waited for it")
        sent = webhooks.sending(tx, organization, webhook_id)
        webhooks.keep(tx, organization, webhook_id, webhook, sent)
    return True


def _wanted(webhook: Webhook, happened: Happened) -> list[str]:
    """Under which names a webhook is told of this, if at all."""
    if not webhook.active or happened.seq <= webhook.since:
        return []
    # The switch for everybody (no agent) stops this webhook's agent too.
    if webhook.agent_id is not None and happened.agent_id not in (webhook.agent_id, None):
        return []
    return [name for name in happened.names if name in webhook.events or "*" in webhook.events]


def _enqueue(tx: Transaction, webhook_id: str, happened: Happened, name: str) -> None:
    """Put a delivery on its way. The same event always makes the same one."""
    key = f"{webhook_id} {happened.seq} {name}".encode()
    delivery_id = "dlv_" + hashlib.sha256(key).hexdigest()[:24]
    delivery = Delivery(delivery_id, name, happened.timestamp, happened.data, tx.timestamp, tx.timestamp)
    webhooks.put(tx, happened.organization, webhook_id, delivery, tx.now)


def _deactivate(tx: Transaction, organization: str, webhook_id: str, webhook: Webhook, why: str) -> None:
    """Tell a webhook nothing any more."""
    webhook.active = False
    webhooks.note(tx, "deactivated", organization, "system", webhook_id, webhook, reason=why)


def lease(tx: Transaction, free: int, busy: Mapping[str, int]) -> list[Job]:
    """Take up to ``free`` due deliveries; nobody else does until the lease ends.

    Args:
        free: how many can be sent now.
        busy: how many are being sent here already, by organization.
    """
    jobs: list[Job] = []
    taken, given_up = Counter(busy), 0
    for record in tx.due_records(webhooks.SENDING, tx.now, limit=1000):
        organization, webhook_id = record.organization, record.name
        registered = tx.record_of(organization, "webhook", webhook_id)
        if registered is None:
            continue
        most = min(free - len(jobs), THREADS // 2 - taken[organization])
        if most <= 0 or given_up >= webhooks.STEP:
            continue
        webhook, sent = webhooks.decode_webhook(registered.body), webhooks.decode_sending(record.body)
        sent.leases = {name: until for name, until in sent.leases.items() if until > tx.now}
        most = min(most, webhooks.IN_FLIGHT - len(sent.leases)) if webhook.active else webhooks.STEP
        for waiting in tx.due_records(webhooks.waiting(webhook_id), tx.now, limit=most) if most > 0 else ():
            delivery = webhooks.decode_delivery(waiting.body)
            if not webhook.active or delivery.attempts >= TRIES:
                error = "The webhook was not active." if not webhook.active else delivery.error
                _finish(
                    tx, organization, webhook_id, delivery, "failed", error or "Its last try never ended."
                )
                given_up += 1
                continue
            delivery.attempts += 1
            delivery.updated_at, delivery.next_attempt_at = tx.timestamp, iso(tx.now + LEASE)
            sent.leases[delivery.delivery_id] = tx.now + LEASE
            webhooks.put(tx, organization, webhook_id, delivery, tx.now + LEASE)
            taken[organization] += 1
            jobs.append(Job(organization, webhook_id, webhook, delivery))
        webhooks.keep(tx, organization, webhook_id, webhook, sent)
    return jobs


def record(tx: Transaction, job: Job, attempt: Attempt) -> None:
    """Keep the result of a job: arrived, to be tried again, or failed."""
    kind = webhooks.waiting(job.webhook_id)
    known = tx.record_of(job.organization, "webhook", job.webhook_id)
    waits = tx.record_of(job.organization, kind, job.delivery.delivery_id)
    if known is None or waits is None:
        return  # the webhook is deleted, or somebody who took over a late job has delivered it
    webhook, delivery = webhooks.decode_webhook(known.body), webhooks.decode_delivery(waits.body)
    if delivery.attempts != job.delivery.attempts and not attempt.ok:
        return  # somebody else is trying
    sent = webhooks.sending(tx, job.organization, job.webhook_id)
    sent.leases.pop(delivery.delivery_id, None)
    delivery.status_code = attempt.status_code
    if attempt.ok:
        _finish(tx, job.organization, job.webhook_id, delivery, "delivered", None)
    elif attempt.status_code == 410 or delivery.attempts >= TRIES:
        _finish(tx, job.organization, job.webhook_id, delivery, "failed", attempt.error)
    else:
        wait = FIRST_WAIT * WAIT_FACTOR ** (delivery.attempts - 1) * attempt.jitter
        due_at = tx.now + max(wait, min(_seconds(attempt.retry_after, tx.now), RETRY_AFTER_MOST))
        delivery.error, delivery.updated_at, delivery.next_attempt_at = (
            attempt.error,
            tx.timestamp,
            iso(due_at),
        )
        webhooks.put(tx, job.organization, job.webhook_id, delivery, due_at)
    if attempt.status_code == 410 and webhook.active:
        _deactivate(tx, job.organization, job.webhook_id, webhook, "its receiver answered 410, Gone")
    webhooks.keep(tx, job.organization, job.webhook_id, webhook, sent)


def _seconds(text: str | None, now: float) -> float:
    """``Retry-After``: seconds, or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _finish(
    tx: Transaction, organization: str, webhook_id: str, delivery: Delivery, status: Any, error: str | None
) -> None:
    delivery.status, delivery.error = status, error
    delivery.updated_at, delivery.next_attempt_at = tx.timestamp, None
    webhooks.put(tx, organization, webhook_id, delivery, None)


def sweep(tx: Transaction) -> None:
    """Forget some of the deliveries of a deleted webhook."""
    for marker in tx.due_records(webhooks.REMOVED, tx.now, limit=1):
        for kind in (webhooks.waiting(marker.name), webhooks.finished(marker.name)):
            for old in tx.records(marker.organization, kind, limit=webhooks.STEP):
                tx.remove_record(marker.organization, kind, old.name)
        if not any(
            tx.count_records(marker.organization, kind)
            for kind in (webhooks.waiting(marker.name), webhooks.finished(marker.name))
        ):
            tx.remove_record(marker.organization, webhooks.REMOVED, marker.name)


def _outlook(reader: Reader) -> tuple[Batch | None, bool]:
    return gather(reader), bool(reader.due_records(webhooks.REMOVED, webhooks.ANY_TIME, limit=1))


def _first(reader: Reader) -> float | None:
    """When the first delivery is due."""
    first = reader.due_records(webhooks.SENDING, webhooks.ANY_TIME, limit=1)
    return first[0].due_at if first else None


class DeliveryWorker:
    """Sends what is due. Any number may work on one store.

    Args:
        services: the store, the clock, and whether private addresses are allowed.
        sender: how requests are made; the default follows the settings.
    """

    def __init__(self, services: Services, sender: Sender | None = None) -> None:
        self._services = services
        self._store = services.store
        self._sender = sender or Sender(private=services.settings.private_webhooks)
        self._pool = ThreadPoolExecutor(THREADS, "ascend-guard-webhooks")
        self._sending: dict[asyncio.Task[None], str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something happened: look now. May be called from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Work until cancelled; then the requests under way are finished and their results recorded."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._woken.clear()
                try:
                    wait = await self.step()
                except AscendError as error:
                    wait = POLL
                    _log.warning("Webhooks wait: %s", error)
                except Exception:
                    wait = POLL
                    _log.exception("Webhooks wait: the step failed.")
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
        finally:
            await self.settled()
            self._pool.shutdown(wait=False)

    async def step(self) -> float:
        """Do what can be done now, and begin what takes time; seconds until the next step."""
        batch, removed = await self._store.aread(_outlook, current=True)
        if batch is not None:
            await self._store.awrite(partial(fan_out, batch=batch))
        if removed:
            await self._store.awrite(sweep)
        more = batch is not None or removed
        first = await self._store.aread(_first)
        free = THREADS - len(self._sending)
        if first is None or not free:
            return 0.0 if more else POLL
        wait = first - self._services.clock()
        if wait > 0:
            return 0.0 if more else min(wait, POLL)
        jobs = await self._store.awrite(partial(lease, free=free, busy=Counter(self._sending.values())))
        for job in jobs:
            task = asyncio.get_running_loop().create_task(self._deliver(job))
            self._sending[task] = job.organization
            task.add_done_callback(self._sent)
        return 0.0 if more or jobs else POLL

    async def settled(self) -> None:
        """Return once nothing is being sent."""
        while self._sending:
            await asyncio.wait(self._sending)

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._woken.set()

    async def _deliver(self, job: Job) -> None:
        try:
            attempt = await asyncio.get_running_loop().run_in_executor(self._pool, self._send, job)
            await self._store.awrite(partial(record, job=job, attempt=attempt))
        except Exception:
            _log.exception(
                "The result of delivery %s was not recorded; it is sent again.", job.delivery.delivery_id
            )

    def _send(self, job: Job) -> Attempt:
        try:
            secret = webhooks.unseal(self._store.secret, job.webhook_id, job.webhook.secret)
            url = webhooks.address(self._store.secret, job.webhook_id, job.webhook)
        except AscendError as error:
            return Attempt(None, error.message)
        headers, body = message(secret, job.delivery, self._services.clock())
        sent = self._sender.send(url, headers, body)
        return msgspec.structs.replace(sent, jitter=random.uniform(0.8, 1.2))  # noqa: S311
