"""Signatures of requests, for API keys that have a signing secret (promise 6: a key that was copied is not enough).

1. A request that says something, by a key with a signing secret, carries ``X-Signature``: ``v1=`` and HMAC-SHA256 with that
   secret over ``X-Request-Timestamp``, a dot and the body. A request without it, or with another one, is refused.
2. The body is signed as it is sent, or as Python's ``json`` writes it with sorted keys, which is what the published clients
   sign.
3. The timestamp is at most five minutes old or ahead, so that a request that was recorded is not good for ever.
4. The published clients sign nothing where they have nothing to say: without a body, or with an empty object. Such a request
   may go unsigned, but only to look, or to an endpoint that those clients ask so. A signature that is sent is checked
   everywhere.
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
"""Seconds between a request's timestamp and this server's clock."""

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
"""Endpoints that do something, and that the published clients ask without a body, so without a signature."""

_LARGE = 1 << 16
"""Bytes of a body that is not read once more between two other requests, but beside them."""


async def require_signature(
    secret: str, headers: Mapping[str, str], body: bytes, now: float, endpoint: Endpoint | None
) -> None:
    """Check a request's signature.

    Args:
        secret: of the key that it was sent with.
        headers: by lower-case name.
        body: as it was sent.
        now: seconds since the epoch.
        endpoint: which it asks; None for one that takes no body.

    Raises:
        RequestRefused: it is missing, wrong, or too old.
    """
    given, timestamp = headers.get("x-signature"), headers.get("x-request-timestamp", "")
    if given is None:
        if _may_be_bare(endpoint) and body.strip() in (b"", b"{}"):
            return
        raise _refused("This API key has a signing secret, and the request has no X-Signature.")
    if not _recent(timestamp, now):
        raise _refused(
            f"X-Request-Timestamp is not an ISO 8601 time within {MOST_APART / 60:.0f} minutes of this server's clock."
        )
    if len(body) > _LARGE:
        right = await asyncio.to_thread(_right, secret, timestamp, body, given)
    else:
        right = _right(secret, timestamp, body, given)
    if not right:
        raise _refused("X-Signature is not that of this timestamp and this body.")


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
