"""Webhooks: which receiver gets which events, the deliveries in progress, and the signatures on them.

An event is an audit record. A cursor follows an organization's log: one transaction turns the events after it into
deliveries and moves it on, so no event is lost or doubled in a crash. The cursor exists only while there is a webhook. A
delivery is leased, sent outside the transaction, and its result recorded. If the result never arrives, it is sent again:
receivers get each event at least once, in no guaranteed order, and must ignore an ``id`` that they have seen.

Pending deliveries have the kind ``delivery:<webhook>``, all others ``delivered:<webhook>``. A record of the kind
``webhook-sending`` is due when the first delivery of its webhook is, so no receiver delays another. None of these is in the
audit log; the webhook itself is.
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
from ascend_guard.store.projections import Drop, thing

OF: Mapping[str, tuple[str, ...]] = {
    "submitted": ("action.submitted",),  # the decision is a further event
    "approved": ("action.approved",),
    "denied": ("action.denied",),
    "expired": ("action.expired", "action.denied"),
    "withdrawn": ("action.withdrawn", "action.denied"),
    "reopened": ("action.pending",),  # an edited call needs another approval
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
"""The events of webhooks. Every denial, by policy, person, deadline or the call itself, is ``action.denied``."""

MOST = 100
"""The most webhooks of an organization."""

KEEP = 1000
"""How many finished deliveries are kept for each webhook."""

BACKLOG = 10_000
"""The most deliveries that may wait for one receiver; with more, its webhook is deactivated."""

IN_FLIGHT = 2
"""The most deliveries of one webhook that are sent at the same time, by all replicas together."""

CURSOR = "cursor"
_NAME = "webhooks"
_ORGANIZATIONS = 1_000_000
REMOVED = "webhook-removed"
SENDING = "webhook-sending"
ANY_TIME = 2.0**53
STEP = 200
"""How many records one transaction creates or deletes."""


class Webhook(Struct):
    """A stored webhook.

    Its address and its secret are encrypted, because the log holds them and is exported; only the address's ``origin`` is
    not. (An older version stored the address as it is.) Events up to the audit record ``since`` are not sent to it.
    """

    url: str
    events: list[str]
    secret: str
    agent_id: str | None = None
    active: bool = True
    since: int = 0
    created_at: float = 0.0
    origin: str = ""


class Sending(Struct):
    """The deliveries of a webhook that are being sent, by identifier: until when nobody else sends them."""

    leases: dict[str, float] = field(default_factory=dict)


class Delivery(Struct):
    """One event that is to be delivered to a webhook, or was, with the API's field names."""

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
    """The result of one attempt. ``retry_after`` comes from the receiver; ``jitter`` multiplies the wait before the
    next."""

    status_code: int | None
    error: str | None = None
    retry_after: str | None = None
    jitter: float = 1.0

    @property
    def ok(self) -> bool:
        """Return whether the receiver confirmed it."""
        return self.status_code is not None and 200 <= self.status_code < 300


class Happened(Struct, frozen=True):
    """One audit record as sent to webhooks: ids, types, decision, rule, reason and risk; never an argument's value."""

    seq: int
    timestamp: str
    organization: str
    names: tuple[str, ...]
    agent_id: str | None
    data: dict[str, Any]


class Cursor(Struct):
    """The number of the record of an organization's log up to which deliveries were made."""

    seq: int


decode_webhook = msgspec.json.Decoder(Webhook).decode
decode_sending = msgspec.json.Decoder(Sending).decode
decode_delivery = msgspec.json.Decoder(Delivery).decode
_decode_cursor = msgspec.json.Decoder(Cursor).decode


def new_id() -> str:
    """Return a new identifier for a webhook."""
    return "wh_" + secrets.token_hex(12)


def new_secret() -> str:
    """Return a new secret for signing."""
    return "whsec_" + secrets.token_urlsafe(32)


def seal(key: bytes, webhook_id: str, secret: str) -> str:
    """Return a webhook's secret as stored: encrypted under the store's key, and valid for this webhook only."""
    nonce = secrets.token_bytes(12)
    sealed: bytes = _cipher(key).encrypt(nonce, secret.encode(), webhook_id.encode())
    return (nonce + sealed).hex()


def unseal(key: bytes, webhook_id: str, sealed: str) -> str:
    """Return a webhook's secret in plain text.

    Raises:
        ServerError: it was not sealed under this key for this webhook.
    """
    from cryptography.exceptions import InvalidTag

    raw = bytes.fromhex(sealed)
    try:
        secret: bytes = _cipher(key).decrypt(raw[:12], raw[12:], webhook_id.encode())
    except InvalidTag:
        raise ServerError(
            "A webhook's secret or address does not match this store's key. Give it new ones."
        ) from None
    return secret.decode()


def sealed_address(key: bytes, webhook_id: str, url: str) -> tuple[str, str]:
    """Return the fields ``url`` and ``origin`` of a webhook with this address."""
    return seal(key, webhook_id, url), _origin(url)


def address(key: bytes, webhook_id: str, webhook: Webhook) -> str:
    """Return a webhook's address.

    Raises:
        ServerError: it was not sealed under this key for this webhook.
    """
    return unseal(key, webhook_id, webhook.url) if webhook.origin else webhook.url


def _origin(url: str) -> str:
    """The part of an address that is no secret: often the rest is one."""
    return re.split("(?<=[^/:])[/?#]", url, maxsplit=1)[0]


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(hmac.digest(key, b"webhook secrets", "sha256"))


def require_events(events: list[str]) -> list[str]:
    """Return these events, each once.

    Raises:
        ValidationError: an event is unknown.
    """
    unknown = sorted(set(events) - {*EVENTS, "*"})
    if unknown:
        raise ValidationError(f"There is no event {unknown[0]!r}. Events are {', '.join(EVENTS)}, and *.")
    return list(dict.fromkeys(events))


def register(tx: Transaction, organization: str, by: str, webhook_id: str, webhook: Webhook) -> Webhook:
    """Create a webhook. It receives events from now on.

    Raises:
        ValidationError: there are ``MOST`` already.
    """
    if tx.count_records(organization, "webhook") >= MOST:
        raise ValidationError(f"There are already {MOST} webhooks, the maximum. Remove one first.")
    webhook.since, webhook.created_at = tx.next_seq(organization), tx.now
    if cursor(tx, organization) is None:
        move(tx, organization, Cursor(webhook.since))
    note(tx, "created", organization, by, webhook_id, webhook)
    return webhook


def change(
    tx: Transaction, organization: str, by: str, webhook_id: str, changes: Mapping[str, Any]
) -> Webhook:
    """Change a webhook's ``url`` and ``origin``, ``events``, ``secret`` or ``active``; None leaves a field unchanged.

    Pending deliveries go to the new address, signed with the new secret.

    Raises:
        NotFoundError: there is no webhook of this identifier.
    """
    webhook = get(tx, organization, webhook_id)
    given = {name: value for name, value in changes.items() if value is not None}
    if given.get("active") and not webhook.active:
        webhook.since = tx.next_seq(organization)
    webhook = msgspec.structs.replace(webhook, **given)
    note(tx, "updated", organization, by, webhook_id, webhook, changed=sorted(given.keys() - {"origin"}))
    keep(tx, organization, webhook_id, webhook, sending(tx, organization, webhook_id))
    return webhook


def remove(tx: Transaction, organization: str, by: str, webhook_id: str) -> None:
    """Delete a webhook. ``sweep`` deletes its deliveries step by step.

    Raises:
        NotFoundError: there is no webhook of this identifier.
    """
    webhook = get(tx, organization, webhook_id)
    tx.remove_record(organization, SENDING, webhook_id)
    tx.put_record(organization, REMOVED, webhook_id, b"{}", due_at=tx.now)
    if tx.count_records(organization, "webhook") == 1:
        tx.remove_record(organization, CURSOR, _NAME)
    note(tx, "deleted", organization, by, webhook_id, webhook)


def get(reader: Reader, organization: str, webhook_id: str) -> Webhook:
    """Return the webhook of this identifier.

    Raises:
        NotFoundError: it does not exist, or belongs to another organization.
    """
    known = re.fullmatch(r"wh_[0-9a-f]{24}", webhook_id)
    record = reader.record_of(organization, "webhook", webhook_id) if known else None
    if record is None:
        raise no_such()
    return decode_webhook(record.body)


def no_such() -> NotFoundError:
    """The error for a webhook that does not exist, or is not this caller's."""
    return NotFoundError("There is no such webhook. GET /api/webhooks lists all webhooks.")


def webhooks(reader: Reader, organization: str) -> list[tuple[str, Webhook]]:
    """Return an organization's webhooks with their identifiers, oldest first."""
    return [
        (record.name, decode_webhook(record.body))
        for record in reader.records(organization, "webhook", limit=MOST)
    ]


def deliveries(
    reader: Reader, organization: str, webhook_id: str, limit: int, offset: int
) -> tuple[list[Delivery], int]:
    """Return the pending deliveries, newest first, then the finished ones, latest first; and how many there are.

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
    """Return a body with its ``signature``: HMAC-SHA256 over the body without it, as ``canonical`` writes it."""
    return canonical({**body, "signature": "v1=" + _mac(secret, canonical(body))})


def signature_header(secret: str, body: bytes, now: float) -> str:
    """``X-Ascend-Signature``: HMAC-SHA256 over ``{t}.{body}``, with exactly the bytes that are sent."""
    return f"t={int(now)},v1={_mac(secret, b'%d.' % int(now) + body)}"


def canonical(body: dict[str, Any]) -> bytes:
    """JSON in UTF-8 with the keys of every object sorted and no spaces."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def verify_signature(
    secret: str, body: bytes, header: str | None, *, tolerance: float = 300, now: float | None = None
) -> bool:
    """Return whether a webhook's request comes from the control plane. For receivers.

    Args:
        secret: the webhook's secret.
        body: as received, byte for byte.
        header: ``X-Ascend-Signature``. Without it the body's own ``signature`` is checked. That one is the same on every
            attempt and so does not expire: ignore bodies whose ``id`` you have seen.
        tolerance: the most seconds that the header's time may differ.
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
    # Compare the bytes too: readers disagree on JSON with a duplicate key.
    return hmac.compare_digest(genuine, body)


def _mac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def waiting(webhook_id: str) -> str:
    """Kind of the records of pending deliveries; the others have the kind ``finished``."""
    return f"delivery:{webhook_id}"


def finished(webhook_id: str) -> str:
    """Kind of the records of deliveries that arrived or failed."""
    return f"delivered:{webhook_id}"


def put(
    tx: Transaction, organization: str, webhook_id: str, delivery: Delivery, due_at: float | None
) -> None:
    """Store a delivery. One without a due time is finished: the oldest finished deliveries are deleted for it."""
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


def sending(reader: Reader, organization: str, webhook_id: str) -> Sending:
    """Return which deliveries of a webhook are being sent."""
    record = reader.record_of(organization, SENDING, webhook_id)
    return Sending() if record is None else decode_sending(record.body)


def keep(tx: Transaction, organization: str, webhook_id: str, webhook: Webhook, sent: Sending) -> None:
    """Store which deliveries are being sent, and that the webhook is due when its first delivery is."""
    due_at = next((first.due_at for first in tx.due_records(waiting(webhook_id), ANY_TIME, limit=1)), None)
    if due_at is not None and webhook.active and len(sent.leases) >= IN_FLIGHT:
        due_at = max(due_at, min(sent.leases.values()))
    tx.put_record(organization, SENDING, webhook_id, msgspec.json.encode(sent), due_at=due_at)


def cursor(reader: Reader, organization: str) -> Cursor | None:
    """Return the position up to which deliveries were made; None when the organization has no webhook."""
    record = reader.record_of(organization, CURSOR, _NAME)
    return None if record is None else _decode_cursor(record.body)


def cursors(reader: Reader) -> list[tuple[str, Cursor]]:
    """Return every organization that has a webhook, with its cursor."""
    records = reader.due_records(CURSOR, ANY_TIME, limit=_ORGANIZATIONS)
    return [(record.organization, _decode_cursor(record.body)) for record in records]


def move(tx: Transaction, organization: str, to: Cursor) -> None:
    """Store the cursor."""
    tx.put_record(organization, CURSOR, _NAME, msgspec.json.encode(to), due_at=0.0)


def note(
    tx: Transaction, what: str, organization: str, by: str, webhook_id: str, webhook: Webhook, **more: Any
) -> None:
    """Record a change of a webhook in the audit trail, which makes it."""
    gone = {"drop": [Drop("webhook", webhook_id)]}
    change: dict[str, Any] = gone if what == "deleted" else {"put": [thing("webhook", webhook_id, webhook)]}
    tx.record(
        f"webhook.{what}",
        organization=organization,
        actor=by,
        webhook_id=webhook_id,
        origin=webhook.origin or _origin(webhook.url),
        events=webhook.events,
        agent_id=webhook.agent_id,
        active=webhook.active,
        **more,
        **change,
    )
