"""What the proxy is told, checked before anything begins."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from ascend_guard.errors import ConfigurationError

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\x20-\x7e\t]+")
_OURS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept", "accept-encoding"}
    | {"mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id"}
)


def require_url(url: str, *, insecure: bool = False) -> str:
    """The address of an MCP server, as it may be used.

    Args:
        url: as given.
        insecure: plain http may lead to other machines.

    Raises:
        ConfigurationError: it is none, or says too much.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise ConfigurationError("--url is not a valid address. Write https://host/mcp.") from None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise ConfigurationError("--url is an http or https address, such as https://host/mcp.")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "--url holds a user or a password, which would show in lists of processes. "
            "Write --header 'Authorization: env:NAME', with the credential in the variable NAME."
        )
    if parts.fragment:
        raise ConfigurationError("--url ends before its #: a server never sees that part.")
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise ConfigurationError(
            f"--url leads to {host} by plain http, where anybody on the way can read and change the calls. "
            f"Use https, or add --insecure if the way is safe."
        )
    return url


def require_headers(given: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Headers for the server, by lower-case name; a value ``env:NAME`` comes out of the environment.

    Raises:
        ConfigurationError: one is malformed, the proxy's own, or its variable is not set. Values are never repeated.
    """
    headers: dict[str, str] = {}
    for line in given:
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not _TOKEN.fullmatch(name):
            raise ConfigurationError("--header is written 'Name: value' or 'Name: env:VARIABLE'.")
        if name in _OURS:
            raise ConfigurationError(f"--header {name}: that header is the proxy's own.")
        if name in headers:
            raise ConfigurationError(f"--header {name} is given twice.")
        if value.startswith("env:"):
            variable = value.removeprefix("env:")
            value = environment.get(variable, "").strip()
            if not value:
                raise ConfigurationError(f"--header {name}: the environment variable {variable} is not set.")
        if not _VALUE.fullmatch(value):
            raise ConfigurationError(f"--header {name}: its value is one line of printable ASCII.")
        headers[name] = value
    return headers


def require_address(text: str) -> tuple[str, int]:
    """Host and port to listen on.

    Raises:
        ConfigurationError: it is not HOST:PORT.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigurationError("--listen is HOST:PORT, such as 127.0.0.1:8900; port 0 takes a free one.")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether this name or address means this very machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
