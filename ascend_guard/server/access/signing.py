"""Signatures of requests, for API keys with a signing secret (promise 6: a copied key is not enough).

1. A request with content, by a key with a signing secret, carries ``X-Signature``: ``v1=`` and the HMAC-SHA256, with that
   secret, of ``X-Request-Timestamp``, a dot and the body. A request with a missing or wrong signature is refused.
2. The signed body is the sent body, or the body as Python's ``json`` writes it with sorted keys, which the published
   clients sign.
3. The timestamp is at most five minutes old or ahead, so that a recorded request cannot be replayed for ever.
4. The published clients sign no request without content: without a body, or with an empty object. Such a request may be
   unsigned, but only to read, or at an endpoint that those clients use so. A signature that is sent is checked at every
   endpoint.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from ascend_guard.api.endpoint import Endpoint
from ascend_guard.server.requests.failures import RequestRefused

MOST_APART = 300.0
"""The most seconds between a request's timestamp and this server's clock."""

_BARE = frozenset(
    {
        "acknowledge_command",
        "activate_mcp_server",
        "deactivate_mcp_server",
        "delete_mcp_server",
        "delete_webhook",
        "deregister_agent",
        "scan_mcp_network",
        "test_webhook",
    }
)
"""Endpoints that change something, and that the published clients call without a body, so without a signature."""

_LARGE = 1 << 16
"""Bytes of a body above which the signature is checked in a thread, not between two other requests."""


async def require_signature(
    secret: str, headers: Mapping[str, str], body: bytes, now: float, endpoint: Endpoint | None
) -> None:
    """Check a request's signature.

    Args:
        secret: the secret of the key that sent it.
        headers: by lower-case name.
        body: as sent.
        now: seconds since the epoch.
        endpoint: the endpoint; None for one that takes no body.

    Raises:
        RequestRefused: the signature is missing, wrong, or too old.
    """
    given, timestamp = headers.get("x-signature"), headers.get("x-request-timestamp", "")
    if given is None:
        if _may_be_bare(endpoint) and body.strip() in (b"", b"{}"):
            return
        raise _refused("This API key has a signing secret, but the request has no X-Signature.")
    if not _recent(timestamp, now):
        raise _refused(
            f"X-Request-Timestamp is not an ISO 8601 time within {MOST_APART / 60:.0f} minutes of this server's clock."
        )
    if len(body) > _LARGE:
        right = await asyncio.to_thread(_right, secret, timestamp, body, given)
    else:
        right = _right(secret, timestamp, body, given)
    if not right:
        raise _refused("X-Signature does not match this timestamp and this body.")


def _right(secret: str, timestamp: str, body: bytes, given: str) -> bool:
    if _matches(secret, timestamp, body, given):
        return True
    try:
        text = json.dumps(json.loads(body), sort_keys=True)
    except (ValueError, RecursionError):
        return False
    return _matches(secret, timestamp, text.encode(), given)


def _matches(secret: str, timestamp: str, body: bytes, given: str) -> bool:
    signed = hmac.digest(secret.encode(), timestamp.encode("latin-1") + b"." + body, hashlib.sha256)
    return hmac.compare_digest(f"v1={signed.hex()}".encode(), given.encode("latin-1"))


def _may_be_bare(endpoint: Endpoint | None) -> bool:
    return endpoint is None or endpoint.method == "GET" or endpoint.name in _BARE


def _recent(timestamp: str, now: float) -> bool:
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return False
    moment = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    return abs(now - moment) <= MOST_APART


def _refused(what: str) -> RequestRefused:
    return RequestRefused(
        f"{what} Sign each request with the secret that `ascend-guard keys create --signing-secret` showed: pass "
        f"signing_secret= to the client, or set ASCEND_SIGNING_SECRET.",
        status=401,
        code="INVALID_SIGNATURE",
    )
