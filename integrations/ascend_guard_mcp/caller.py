"""Who calls an MCP server: the client, its conversation, and whom it authenticated as."""

from __future__ import annotations

import hashlib
import json

from msgspec import Struct

_LONGEST = 100


class Caller(Struct, frozen=True):
    """What is known of who calls.

    Attributes:
        session_id: equal for calls of one conversation by one authenticated principal, and for no others; None where the
            transport knows neither, as on stdio.
        context: the client's own name and version. It may say what it likes.
    """

    session_id: str | None = None
    context: dict[str, str] = {}


NOBODY = Caller()


def caller_of(request: object) -> Caller:
    """Read a request context of mcp 1.x or 2.x.

    Args:
        request: the context the SDK made for this very message; None for calls made in process.
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
    # Hashed: without authentication the transport's id is all it takes to continue the conversation, and what is
    # stored here is read by many.
    return "mcp-" + hashlib.sha256(json.dumps(known).encode()).hexdigest()[:40]


def _principal(http: object) -> tuple[str | None, ...]:
    """Client, issuer and subject of the token this message came with, or whom the application around says it is."""
    # The message's own: the SDK's context variable may be that of the message which opened the session.
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
    """A user of Starlette's authentication, which has either of these."""
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
