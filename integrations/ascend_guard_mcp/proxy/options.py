"""The options of the proxy, checked before anything starts."""

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
    """Return the address of an MCP server, checked.

    Args:
        url: as given.
        insecure: allow plain http to other machines.

    Raises:
        ConfigurationError: it is not an address, or contains a credential or a fragment.
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
        raise ConfigurationError("--url must be an http or https address, such as https://host/mcp.")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "--url contains a user or a password, which lists of processes would show. "
            "Write --header 'Authorization: env:NAME', with the credential in the variable NAME."
        )
    if parts.fragment:
        raise ConfigurationError(
            "Remove the # and the text after it from --url: a server never receives that part."
        )
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise ConfigurationError(
            f"--url uses plain http to {host}, so others in the network can read and change the calls. "
            f"Use https, or add --insecure if the network is safe."
        )
    return url


def require_headers(given: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return headers for the server, by lower-case name; a value ``env:NAME`` is read from the environment.

    Raises:
        ConfigurationError: one is malformed or reserved for the proxy, or its variable is not set. Values are never shown.
    """
    headers: dict[str, str] = {}
    for line in given:
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not _TOKEN.fullmatch(name):
            raise ConfigurationError("Write --header as 'Name: value' or 'Name: env:VARIABLE'.")
        if name in _OURS:
            raise ConfigurationError(f"--header {name}: the proxy sets that header itself.")
        if name in headers:
            raise ConfigurationError(f"--header {name} occurs twice. Keep one.")
        if value.startswith("env:"):
            variable = value.removeprefix("env:")
            value = environment.get(variable, "").strip()
            if not value:
                raise ConfigurationError(f"--header {name}: the environment variable {variable} is not set.")
        if not _VALUE.fullmatch(value):
            raise ConfigurationError(f"--header {name}: its value must be one line of printable ASCII.")
        headers[name] = value
    return headers


def require_address(text: str) -> tuple[str, int]:
    """Return the host and port to listen on.

    Raises:
        ConfigurationError: it is not HOST:PORT.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigurationError(
            "--listen must be HOST:PORT, such as 127.0.0.1:8900; port 0 takes a free one."
        )
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether this name or address means this same machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
