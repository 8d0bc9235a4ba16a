"""What an entry of a client's configuration says by itself: how it is reached, by whose credentials, and who decides."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from ascend_guard.redaction.names import is_secret_name
from ascend_guard_mcp.proxy.options import is_loopback

from .jsonc import Node

VARIABLE = re.compile(r"\$\{[^}]*\}")
"""What a client fills in, such as ``${input:token}``."""

DECIDERS = ("ASCEND_POLICY", "ASCEND_API_KEY")
"""Variables of which one says who decides."""


def url_of(entry: Node) -> str:
    """Its address, with ``1`` for what the client fills in; empty when it is reached by none."""
    address = entry.get("url")
    return "" if address is None else VARIABLE.sub("1", str(address.value))


def is_plain_http(entry: Node) -> bool:
    """Whether this server is reached over the network without encryption."""
    parts = urlsplit(url_of(entry))
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def has_credentials(entry: Node) -> bool:
    """Whether the entry of a server that is reached by URL says a secret: in a header, or in the query of its address.

    A secret in the path of the address cannot be told from a path.
    """
    headers = entry.get("headers")
    named = [
        (member.key, member.node.value) for member in (headers.members if headers is not None else None) or ()
    ]
    return any(
        value and is_secret_name(name) for name, value in [*named, *parse_qsl(urlsplit(url_of(entry)).query)]
    )


def says_who_decides(entry: Node) -> bool:
    """Whether its own environment names a policy or a server's key."""
    return any(variables(entry).get(name) for name in DECIDERS)


def variables(entry: Node) -> dict[str, str]:
    """The texts of its environment."""
    env = entry.get("env")
    return {
        member.key: member.node.value
        for member in (env.members if env is not None else None) or ()
        if isinstance(member.node.value, str)
    }
