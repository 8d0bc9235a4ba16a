"""Which HTTP requests the proxy accepts, and which of their headers it forwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from .options import is_loopback

Pairs = Iterable[tuple[bytes, bytes]]

_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"}
    | {b"trailer", b"transfer-encoding", b"upgrade"}
)
_NOT_SENT = _HOP | {b"host", b"accept-encoding", b"origin", b"referer", b"expect"}
_OF_THE_BODY = b"content-"
# Headers that would lead a client round the proxy, or that are not true any more.
_NOT_RETURNED = _HOP | {b"alt-svc", b"content-length", b"content-encoding", b"location", b"refresh"}
_PROTOCOL = b"mcp-"
_ONCE = frozenset({"host", "origin", "authorization", "content-type", "last-event-id"})


class Turned(Exception):
    """A request is rejected.

    Args:
        status: the status of the answer.
        code: the code of the JSON-RPC error in it.
        why: the reason for its sender.
    """

    def __init__(self, status: int, code: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.code = code
        self.why = why


def single(headers: Pairs) -> dict[str, str]:
    """Return headers by lower-case name.

    Raises:
        Turned: a header that affects the request occurs twice, so that readers might differ, or is not plain text.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name in found and (name in _ONCE or name.startswith("mcp-")):
            raise Turned(400, -32600, f"the header {name} occurs twice")
        found[name] = raw_value.decode("latin-1")
    return found


def require_local(headers: Mapping[str, str]) -> None:
    """Require this machine's own names and pages, if the proxy listens on this machine alone: a foreign page could make its
    name resolve to this machine (DNS rebinding).

    Raises:
        Turned: it has another host or origin.
    """
    if not is_loopback(_host(f"//{headers.get('host', '')}")):
        raise Turned(421, -32600, "the Host is not this machine")
    if "origin" in headers and not is_loopback(_host(headers["origin"])):
        raise Turned(403, -32600, "the Origin is not this machine")


def require_plain(headers: Mapping[str, str]) -> None:
    """Require a body that is unencoded JSON. Raises ``Turned``."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Turned(415, -32600, "a message must be application/json")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Turned(415, -32600, "a message must not be encoded")


def forwarded(
    headers: Pairs, ours: Mapping[str, str], fixed: Mapping[str, str], *, body: bool
) -> list[tuple[bytes, bytes]]:
    """Return the headers for the server.

    Args:
        headers: the client's headers.
        ours: headers of every request; they replace the client's.
        fixed: new values for some of the client's headers.
        body: whether a message is sent with them, whose bytes differ from the client's.
    """
    headers = list(headers)
    dropped = _NOT_SENT | _named_in(headers)
    kept = [
        (name, fixed.get(lower.decode("latin-1"), value.decode("latin-1")).encode("latin-1"))
        for name, value in headers
        if (lower := name.lower()) not in dropped
        and not lower.startswith(_OF_THE_BODY)
        and lower.decode("latin-1") not in ours
    ]
    added = {**ours, "accept-encoding": "identity"}
    if body:
        added["content-type"] = "application/json"  # with no other character set
    return kept + [(name.encode(), value.encode()) for name, value in added.items()]


def returned(headers: Pairs) -> list[tuple[bytes, bytes]]:
    """Return the headers for the client."""
    headers = list(headers)
    dropped = _NOT_RETURNED | _named_in(headers)
    return [(name.lower(), value) for name, value in headers if name.lower() not in dropped]


def _named_in(headers: Pairs) -> set[bytes]:
    lists = [value for name, value in headers if name.lower() == b"connection"]
    named = {name.strip().lower() for value in lists for name in value.split(b",")}
    # A client must not have the protocol's own headers removed on the way.
    return {name for name in named if not name.startswith(_PROTOCOL)}


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
