"""One request to a webhook's receiver. Organizations choose receivers, so the server does not trust their addresses.

Rules (promises 8 and 9: a receiver must not lead the server to what is private):

1. An address must be public. It is looked up again for each request.
2. The request goes to the address that was checked. A name that leads elsewhere a moment later (DNS rebinding) changes
   nothing.
3. No redirect is followed and no proxy is used.
4. One deadline holds from the look-up to the end of the answer, and the answer is bounded (``bounded_socket``).
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from msgspec import Struct

from ascend_guard._version import __version__
from ascend_guard.bounded_socket import BoundedSocket, Bounds, TooLarge, first_reachable
from ascend_guard.engine import webhooks
from ascend_guard.errors import ValidationError

TIMEOUT = 10.0
"""Seconds that one request may take, from looking up the name to the end of the answer."""

LARGEST_ANSWER = 65_536
"""Bytes that are read of an answer, headers included."""

_NEVER = [
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/3"),
        "168.63.129.16/32",  # Azure's host, in a public range
        "100.100.100.200/32",  # Alibaba's metadata
        *("fd00:ec2::/32", "fd20:ce::254/128"),  # Amazon's and Google's metadata
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),  # Teredo, ORCHID, documentation, 6to4
    )
]
_PRIVATE = [
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("::1/128", "fc00::/7"),
    )
]
_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_PORTS = frozenset(
    [*(21, 22, 23, 25, 53, 110, 111, 135, 139, 143), *(389, 445, 465, 587, 993, 995, 2049, 3306, 5432, 6379)]
)

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], list[str]]


class Target(Struct, frozen=True):
    """The parts of a receiver's URL."""

    secure: bool
    host: str
    port: int
    path: str
    header: str


class Sender:
    """Sends to receivers.

    Args:
        private: whether private addresses and plain HTTP are allowed. Link-local ones, where clouds keep credentials,
            never are.
        resolve: addresses of a host; the system's resolver when left out.
    """

    def __init__(self, *, private: bool = False, resolve: Resolve | None = None) -> None:
        self._private = private
        self._resolve = resolve or _looked_up

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def check(self, url: str) -> tuple[Target, list[str]]:
        """Where a URL leads, and the addresses that may be used.

        Raises:
            ValidationError: it may not lead there, or leads nowhere.
        """
        target = parse(url, private=self._private)
        try:
            found = [ip_address(text.partition("%")[0]) for text in self._resolve(target.host, target.port)]
        except (OSError, ValueError, UnicodeError):
            found = []
        if not found:
            raise ValidationError(f"The webhook's host {target.host!r} cannot be found. Check its name.")
        for address in found:
            if not allowed(address, private=self._private):
                raise ValidationError(
                    f"The webhook's host {target.host!r} leads to an address that is not public. Use a public one, or "
                    f"allow private addresses in the server's settings."
                )
        return target, list(dict.fromkeys(map(str, found)))[:4]

    def send(self, url: str, headers: dict[str, str], body: bytes) -> webhooks.Attempt:
        """Post a body, once. It never raises: the result says what went wrong."""
        bounds = Bounds(time.monotonic() + TIMEOUT, LARGEST_ANSWER)
        try:
            target, addresses = self.check(url)
            return self._post(target, addresses, headers, body, bounds)
        except ValidationError as error:
            return webhooks.Attempt(None, error.message)
        except TimeoutError:
            return webhooks.Attempt(None, f"The receiver did not answer within {TIMEOUT:g} seconds.")
        except ssl.SSLCertVerificationError as error:
            return webhooks.Attempt(None, f"The receiver's certificate is not good: {error.verify_message}")
        except (OSError, http.client.HTTPException, TooLarge, ValueError) as error:
            return webhooks.Attempt(None, f"The receiver could not be reached: {type(error).__name__}.")

    def _post(
        self, target: Target, addresses: list[str], headers: dict[str, str], body: bytes, bounds: Bounds
    ) -> webhooks.Attempt:
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.auto_open = 0  # only the connection that is made here is used
        with self._connect(target, addresses, bounds) as raw:
            connection.sock = BoundedSocket(raw, bounds)
            connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
            for name, value in {
                "Host": target.header,
                "User-Agent": f"ascend-guard/{__version__}",
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close",
                **headers,
            }.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            with connection.getresponse() as response:
                status, after = response.status, response.getheader("Retry-After")
                try:
                    response.read()  # a receiver that is cut off while it answers may count that as a failure
                except (OSError, http.client.HTTPException, TooLarge, ValueError):
                    pass  # the status is what counts
        error = None if 200 <= status < 300 else f"The receiver answered {status}."
        return webhooks.Attempt(status, error, after)

    def _connect(self, target: Target, addresses: list[str], bounds: Bounds) -> socket.socket:
        raw = first_reachable(
            addresses,
            bounds,
            lambda address, seconds: socket.create_connection((address, target.port), seconds),
        )
        if not target.secure:
            return raw
        try:
            raw.settimeout(bounds.left())
            return self._context.wrap_socket(raw, server_hostname=target.host)
        except BaseException:
            raw.close()
            raise


def parse(url: str, *, private: bool = False) -> Target:
    """Split a webhook's URL, strictly: a URL that two readers could understand differently is refused.

    Raises:
        ValidationError: it is not one a webhook may have.
    """
    if not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise ValidationError(
            "The webhook's url has characters that do not belong in one. Write other letters than ASCII as xn--... in the "
            "host and as %XX elsewhere."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValidationError("The webhook's url cannot be read: its host or port is malformed.") from None
    if parts.scheme not in (("https", "http") if private else ("https",)):
        raise ValidationError("The webhook's url must begin with https://.")
    if "@" in parts.netloc:
        raise ValidationError("The webhook's url must not name a user; use the signature to know who calls.")
    host = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc:
        good = ":" in host and _is_address(host)
    elif re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
        good = _is_address(host)  # 2130706433, 0x7f.1, 0177.0.0.1 are addresses to some readers
    else:
        good = len(host) <= 253 and all(
            re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", label) for label in host.split(".")
        )
    if not good:
        raise ValidationError(
            "The webhook's host is not a name or a plainly written address such as 192.0.2.1 or [2001:db8::1]."
        )
    secure = parts.scheme == "https"
    number = (443 if secure else 80) if port is None else port
    if number in _PORTS or not number:
        raise ValidationError(f"Port {number} is not one where webhooks are received. Use another one.")
    shown = f"[{host}]" if ":" in host else host
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure, host, number, path, shown if port is None else f"{shown}:{port}")


def allowed(address: Address, *, private: bool = False) -> bool:
    """Whether a webhook may lead to this address: a public one, or with ``private`` one of a private network."""
    if isinstance(address, IPv6Address):
        nat64 = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
        address = address.ipv4_mapped or nat64 or address
    if any(address in network for network in _NEVER):
        return False
    if any(address in network for network in _PRIVATE):
        return private
    return address in _UNICAST if isinstance(address, IPv6Address) else address.is_global


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(str(ip_address(text)))
    except ValueError:
        return False


def _looked_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def message(secret: str, delivery: webhooks.Delivery, now: float) -> tuple[dict[str, str], bytes]:
    """The headers and the body that report an event to a receiver; every attempt has the same body."""
    told = {
        "id": delivery.delivery_id,
        "event": delivery.event,
        "timestamp": delivery.timestamp,
        "data": delivery.data,
    }
    body = webhooks.signed(secret, told)
    headers = {
        "X-Ascend-Signature": webhooks.signature_header(secret, body, now),
        "X-Ascend-Event": delivery.event,
        "X-Ascend-Delivery": delivery.delivery_id,
    }
    return headers, body
