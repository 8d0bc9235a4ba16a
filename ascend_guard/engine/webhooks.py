"""Webhooks: who is told of which events, what is on its way to them, and how a receiver knows that it is from us.

An event is an audit record. One cursor follows the trail: in one transaction the events after it become deliveries and it
moves on, so none is lost or doubled whatever crashes. It exists only while there is a webhook. A delivery is leased, sent by
somebody else, and its result recorded. One whose result never arrives is sent again: receivers get each event at least
once, in no promised order, and drop those whose ``id`` they have seen.

What is on its way is of the kind ``delivery:<webhook>``, the rest ``delivered:<webhook>``; the webhook's own record is due
when the first of its deliveries is, so that no receiver stands in the way of another.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from ascend_guard.errors import NotFoundError, ServerError, ValidationError
from ascend_guard.store.port import Reader, Transaction

OF: Mapping[str, tuple[str, ...]] = {
    "submitted": ("action.submitted",),  # and what was decided
    "approved": ("action.approved",),
    "denied": ("action.denied",),
    "expired": ("action.expired", "action.denied"),
    "withdrawn": ("action.withdrawn", "action.denied"),
    "reopened": ("action.pending",),  # an edited call needs other approval than was given
    "blocked": ("action.blocked",),
    "completed": ("action.completed",),
    "failed": ("action.failed",),
    "handed_over": ("action.handed_over",),
    "unknown": ("action.unknown",),
    "kill_switch.on": ("kill_switch.on",),
    "kill_switch.off": ("kill_switch.off",),
}
EVENTS = tuple(
    sorted({name for names in OF.values() for name in names} | {"action.pending", "policy.violation"})
)
"""What a webhook can be told of. Whatever is denied, by policy, person, deadline or its own call, is ``action.denied``."""

MOST = 100
"""Webhooks an organization may have."""

KEEP = 1000
"""Finished deliveries that are kept of each webhook."""

BACKLOG = 10_000
"""Deliveries that may wait for one receiver; with more its webhook is deactivated."""

IN_FLIGHT = 2
"""Deliveries of one webhook that are sent at the same time, by all replicas together."""

CURSOR = ("", "cursor", "webhooks")
REMOVED = "webhook-removed"
ANY_TIME = 2.0**53
STEP = 200
"""Records that one transaction makes or removes."""


class Webhook(Struct):
    """A webhook as it is kept. ``secret`` is encrypted; events up to the audit record ``since`` are none of its business."""

    url: str
    events: list[str]
    secret: str
    agent_id: str | None = None
    active: bool = True
    since: int = 0
    leases: dict[str, float] = field(default_factory=dict)
    created_at: float = 0.0


class Delivery(Struct):
    """One event on its way to a webhook, or arrived, under the API's names."""

    delivery_id: str
    event: str
    timestamp: str
    data: dict[str, Any]
    created_at: str
    updated_at: str
    status: Literal["pending", "delivered", "failed"] = "pending"
    attempts: int = 0
    status_code: int | None = None
    error: str | None = None
    next_attempt_at: str | None = None


class Attempt(Struct, frozen=True):
    """How sending went. ``retry_after`` is what the receiver said, ``jitter`` a factor on the wait before the next."""

    status_code: int | None
    error: str | None = None
    retry_after: str | None = None
    jitter: float = 1.0

    @property
    def ok(self) -> bool:
        """The receiver said that it has it."""
        return self.status_code is not None and 200 <= self.status_code < 300


class Happened(Struct, frozen=True):
    """One audit record as webhooks tell of it. Ids, types, decision, rule, reason and risk; never an argument's value."""

    seq: int
    timestamp: str
    organization: str
    names: tuple[str, ...]
    agent_id: str | None
    data: dict[str, Any]


class Cursor(Struct):
    """How far the trail has become deliveries, and how many webhooks there are."""

    seq: int
    webhooks: int


decode_webhook = msgspec.json.Decoder(Webhook).decode
decode_delivery = msgspec.json.Decoder(Delivery).decode
_decode_cursor = msgspec.json.Decoder(Cursor).decode


def new_id() -> str:
    """An identifier for a webhook."""
    return "wh_" + secrets.token_hex(12)


def new_secret() -> str:
    """A secret for signing."""
    return "whsec_" + secrets.token_urlsafe(32)


def seal(key: bytes, webhook_id: str, secret: str) -> str:
    """A webhook's secret as it is stored: encrypted under the store's key, and of use to this webhook only."""
    nonce = secrets.token_bytes(12)
    sealed: bytes = _cipher(key).encrypt(nonce, secret.encode(), webhook_id.encode())
    return (nonce + sealed).hex()


def unseal(key: bytes, webhook_id: str, sealed: str) -> str:
    """A webhook's secret as it is used.

    Raises:
        ServerError: it was not sealed under this key for this webhook.
    """
    from cryptography.exceptions import InvalidTag

    raw = bytes.fromhex(sealed)
    try:
        secret: bytes = _cipher(key).decrypt(raw[:12], raw[12:], webhook_id.encode())
    except InvalidTag:
        raise ServerError("A webhook's secret does not fit this store's key. Give it a new one.") from None
    return secret.decode()


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(hmac.digest(key, b"webhook secrets", "sha256"))


def require_events(events: list[str]) -> list[str]:
    """These events, each once.

    Raises:
        ValidationError: there is no such event.
    """
    unknown = sorted(set(events) - {*EVENTS, "*"})
    if unknown:
        raise ValidationError(f"There is no event {unknown[0]!r}. There are {', '.join(EVENTS)}, and *.")
    return list(dict.fromkeys(events))


def register(tx: Transaction, organization: str, by: str, webhook_id: str, webhook: Webhook) -> Webhook:
    """Begin to tell somebody of what happens from now on.

    Raises:
        ValidationError: there are ``MOST`` already.
    """
    if tx.count_records(organization, "webhook") >= MOST:
        raise ValidationError(f"There are {MOST} webhooks, which is the most. Remove one first.")
    at = cursor(tx) or Cursor(tx.next_seq, 0)
    at.webhooks += 1
    move(tx, at)
    webhook.since, webhook.created_at = tx.next_seq, tx.now
    tx.put_record(organization, "webhook", webhook_id, msgspec.json.encode(webhook))
    note(tx, "created", organization, by, webhook_id, webhook)
    return webhook


def change(
    tx: Transaction, organization: str, by: str, webhook_id: str, changes: Mapping[str, Any]
) -> Webhook:
    """Change a webhook's ``url``, ``events``, ``secret`` (sealed) or ``active``; None means as it is.

    What is on its way goes to the new address, signed with the new secret.

    Raises:
        NotFoundError: there is none of this identifier.
    """
    webhook = get(tx, organization, webhook_id)
    given = {name: value for name, value in changes.items() if value is not None}
    if given.get("active") and not webhook.active:
        webhook.since = tx.next_seq
    webhook = msgspec.structs.replace(webhook, **given)
    keep(tx, organization, webhook_id, webhook)
    note(tx, "updated", organization, by, webhook_id, webhook, changed=sorted(given))
    return webhook


def remove(tx: Transaction, organization: str, by: str, webhook_id: str) -> None:
    """Forget a webhook. Its deliveries follow in steps of ``sweep``.

    Raises:
        NotFoundError: there is none of this identifier.
    """
    webhook = get(tx, organization, webhook_id)
    tx.remove_record(organization, "webhook", webhook_id)
    tx.put_record(organization, REMOVED, webhook_id, b"{}", due_at=tx.now)
    at = cursor(tx)
    assert at is not None
    at.webhooks -= 1
    if at.webhooks:
        move(tx, at)
    else:
        tx.remove_record(*CURSOR)
    note(tx, "deleted", organization, by, webhook_id, webhook)


def get(reader: Reader, organization: str, webhook_id: str) -> Webhook:
    """The webhook of this identifier.

    Raises:
        NotFoundError: there is none, or it is another organization's.
    """
    known = re.fullmatch(r"wh_[0-9a-f]{24}", webhook_id)
    record = reader.record_of(organization, "webhook", webhook_id) if known else None
    if record is None:
        raise no_such()
    return decode_webhook(record.body)


def no_such() -> NotFoundError:
    """What to raise where there is no webhook, or not one for this caller."""
    return NotFoundError("There is no such webhook. GET /api/webhooks lists those there are.")


def webhooks(reader: Reader, organization: str) -> list[tuple[str, Webhook]]:
    """An organization's webhooks with their identifiers, oldest first."""
    return [
        (record.name, decode_webhook(record.body))
        for record in reader.records(organization, "webhook", limit=MOST)
    ]


def deliveries(
    reader: Reader, organization: str, webhook_id: str, limit: int, offset: int
) -> tuple[list[Delivery], int]:
    """What is on its way, the newest first, then what is finished, the latest first; and how many there are.

    Raises:
        NotFoundError: there is no such webhook.
    """
    get(reader, organization, webhook_id)
    found: list[Delivery] = []
    total = 0
    for kind in (waiting(webhook_id), finished(webhook_id)):
        count = reader.count_records(organization, kind)
        first = max(offset - total, 0)  # counted from the newest
        take = min(limit - len(found), count - first)
        if take > 0:
            records = reader.records(organization, kind, limit=take, offset=count - first - take)
            found += [decode_delivery(record.body) for record in reversed(records)]
        total += count
    return found, total


def signed(secret: str, body: dict[str, Any]) -> bytes:
    """A body with its own ``signature``: HMAC-SHA256 over the body without it, as ``canonical`` writes it."""
    return canonical({**body, "signature": "v1=" + _mac(secret, canonical(body))})


def signature_header(secret: str, body: bytes, now: float) -> str:
    """``X-Ascend-Signature``: HMAC-SHA256 over ``{t}.{body}``, with the very bytes that are sent."""
    return f"t={int(now)},v1={_mac(secret, b'%d.' % int(now) + body)}"


def canonical(body: dict[str, Any]) -> bytes:
    """JSON in UTF-8 with the keys of every object sorted and no space between its parts."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def verify_signature(
    secret: str, body: bytes, header: str | None, *, tolerance: float = 300, now: float | None = None
) -> bool:
    """Whether a webhook's request is from the control plane, for receivers.

    Args:
        secret: the webhook's.
        body: as received, byte for byte.
        header: ``X-Ascend-Signature``. Without it the body's own ``signature`` decides, which is the same on every try and
            so does not grow old: drop bodies whose ``id`` you have seen.
        tolerance: seconds the header's time may be off.
        now: seconds since the epoch; the clock's when left out.
    """
    if header is None:
        return _signed_by(secret, body)
    found = re.fullmatch(r"t=([0-9]{1,15}),v1=([0-9a-f]{64})", header)
    if found is None or abs((time.time() if now is None else now) - int(found[1])) > tolerance:
        return False
    return hmac.compare_digest(_mac(secret, found[1].encode() + b"." + body), found[2])


def _signed_by(secret: str, body: bytes) -> bool:
    try:
        said = json.loads(body)
        del said["signature"]
        genuine = signed(secret, said)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    # The bytes too: JSON with a key given twice reads differently to different readers.
    return hmac.compare_digest(genuine, body)


def _mac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def waiting(webhook_id: str) -> str:
    """Kind of the records of deliveries on their way; the others' is ``finished``."""
    return f"delivery:{webhook_id}"


def finished(webhook_id: str) -> str:
    """Kind of the records of deliveries that have arrived or failed."""
    return f"delivered:{webhook_id}"


def put(
    tx: Transaction, organization: str, webhook_id: str, delivery: Delivery, due_at: float | None
) -> None:
    """Keep a delivery. One that is due at no time is finished: the oldest of those make room for it."""
    body = msgspec.json.encode(delivery)
    if due_at is not None:
        tx.put_record(organization, waiting(webhook_id), delivery.delivery_id, body, due_at=due_at)
        return
    kind = finished(webhook_id)
    tx.remove_record(organization, waiting(webhook_id), delivery.delivery_id)
    tx.put_record(organization, kind, delivery.delivery_id, body)
    surplus = tx.count_records(organization, kind) - KEEP
    for record in tx.records(organization, kind, limit=min(surplus, STEP)) if surplus > 0 else ():
        tx.remove_record(organization, kind, record.name)


def keep(tx: Transaction, organization: str, webhook_id: str, webhook: Webhook) -> None:
    """Keep a webhook, due when something can be done about the first of its deliveries."""
    due_at = next((first.due_at for first in tx.due_records(waiting(webhook_id), ANY_TIME, limit=1)), None)
    if due_at is not None and webhook.active and len(webhook.leases) >= IN_FLIGHT:
        due_at = max(due_at, min(webhook.leases.values()))
    tx.put_record(organization, "webhook", webhook_id, msgspec.json.encode(webhook), due_at=due_at)


def cursor(reader: Reader) -> Cursor | None:
    """How far the trail has become deliveries; None when there is no webhook."""
    record = reader.record_of(*CURSOR)
    return None if record is None else _decode_cursor(record.body)


def move(tx: Transaction, to: Cursor) -> None:
    """Keep the cursor."""
    tx.put_record(*CURSOR, msgspec.json.encode(to))


def note(
    tx: Transaction, what: str, organization: str, by: str, webhook_id: str, webhook: Webhook, **more: Any
) -> None:
    """Put a change of a webhook on record."""
    # Of the address only where it is: the rest of one is often a secret itself.
    tx.record(
        f"webhook.{what}",
        organization=organization,
        actor=by,
        webhook_id=webhook_id,
        origin=re.split("(?<=[^/:])[/?#]", webhook.url, maxsplit=1)[0],
        events=webhook.events,
        agent_id=webhook.agent_id,
        active=webhook.active,
        **more,
    )
