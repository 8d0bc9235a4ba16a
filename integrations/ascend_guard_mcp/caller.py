"""The caller of an MCP server: the client, its conversation, and its authenticated identity."""

from __future__ import annotations

import hashlib
import json

from msgspec import Struct

_LONGEST = 100


class Caller(Struct, frozen=True):
    """What is known about the caller.

    Attributes:
        session_id: equal for calls of one conversation by one authenticated principal, and for no others; None if the
            transport knows neither, as on stdio.
        context: the client's own name and version, which are not verified.
    """

    session_id: str | None = None
    context: dict[str, str] = {}


NOBODY = Caller()


def caller_of(request: object) -> Caller:
    """Read a request context of mcp 1.x or 2.x.

    Args:
        request: the SDK's context of this message; None for calls in process.
    """
    if request is None:
        return NOBODY
    parameters = getattr(getattr(request, "session", None), "client_params", None)
    client = getattr(parameters, "client_info", None) or getattr(parameters, "clientInfo", None)
    said = " ".join(_plain(getattr(client, part, None)) for part in ("name", "version")).strip()
    return Caller(_session_id(request), {"mcp_client": said} if said else {})


def _session_id(request: object) -> str | None:
    http = getattr(request, "request", None)
    connection = getattr(getattr(request, "session", None), "_connection", None)
    if connection is not None:
        session = getattr(connection, "session_id", None)
    else:
        session = (getattr(http, "headers", None) or {}).get("mcp-session-id")
    known = (session, *_principal(http))
    if not any(known):
        return None
    # Hashed: without authentication the transport's id is enough to continue the conversation, and many people can read
    # what is stored here.
    return "mcp-" + hashlib.sha256(json.dumps(known).encode()).hexdigest()[:40]


def _principal(http: object) -> tuple[str | None, ...]:
    """Return client, issuer and subject of this message's token, or the identity from the surrounding application."""
    # The message's own: the SDK's context variable may belong to the message that opened the session.
    user = (getattr(http, "scope", None) or {}).get("user")
    token = getattr(user, "access_token", None)
    if token is None and getattr(user, "is_authenticated", False):
        return (None, None, _identity(user))
    if token is None:
        from mcp.server.auth.middleware.auth_context import get_access_token

        token = get_access_token()
    if token is None:
        return (None, None, None)
    claims = getattr(token, "claims", None) or {}
    issuer, subject = claims.get("iss"), getattr(token, "subject", None) or claims.get("sub")
    return (
        token.client_id,
        None if issuer is None else str(issuer),
        None if subject is None else str(subject),
    )


def _identity(user: object) -> str | None:
    """Return the identity of a user of Starlette's authentication, which has one of these attributes."""
    for name in ("identity", "display_name"):
        try:
            said = getattr(user, name)
        except Exception:
            said = None
        if said:
            return str(said)
    return None


def _plain(said: object) -> str:
    text = said if isinstance(said, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
