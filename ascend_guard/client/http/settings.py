"""The address of a server, the settings under which it is called, and which requests may be sent to it."""

from __future__ import annotations

import copy
import ipaddress
import re
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from requests.utils import default_headers, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection

from ascend_guard.errors import AscendError, ConfigurationError, ValidationError

from .connection import Connection, SecureConnection

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[ -~\xa0-\xff]*")
_SEGMENT = r"/(?!(?:\.|%2[eE]){1,2}(?:[/?]|\Z))[!\"$-.0->@-\[\]-~]*"  # no dot segments, which would lead out of the prefix
_PATH = re.compile(rf"(?:{_SEGMENT})+(?:\?[!\"$-~]*)?")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")

_FRAMING = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)


class Peer:
    """The address of a control plane, or of another server that is asked in the same way.

    Args:
        url: https, or http on this machine.
        setting: what errors name as the place where it is set.

    Raises:
        ConfigurationError: it is something else; the message names the remedy.
    """

    def __init__(self, url: str, setting: str) -> None:
        remedy = f"Set {setting} to one like https://ascend.example.com."
        if "@" in url:
            raise ConfigurationError(f"The server's URL must have no user or password in it. {remedy}")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        path = parts.path.rstrip("/")
        if (
            not _HOST.fullmatch(host)
            or parts.netloc.endswith(":")
            or "?" in url
            or "#" in url
            or (path and not _PATH.fullmatch(path))
            or parts.scheme not in ("https", "http")
        ):
            raise ConfigurationError(f"{url!r} is not a server's URL. {remedy}")
        self.setting = setting
        self.secure = parts.scheme == "https"
        self.local = is_local(host)
        if not self.secure and not self.local:
            raise ConfigurationError(
                f"{url!r} would send keys in clear text: http is for localhost, 127.0.0.1 and [::1]. {remedy}"
            )
        self.name = f"[{host}]" if ":" in host else host
        self.host = self.name.rstrip(".")
        if port is not None:
            self.name += f":{port}"
            self.host += "" if port == (443 if self.secure else 80) else f":{port}"
        self.origin = f"{parts.scheme}://{self.name}"
        self.prefix = path
        self.proxy = ""

    def url(self, path: str) -> str:
        """The whole URL of a path. For a plain proxy the prefix is a whole URL already."""
        return self.prefix + path if "://" in self.prefix else self.origin + self.prefix + path


def is_local(host: str) -> bool:
    """Whether a host's name always means this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return host == "::1" or (address.version == 4 and address.is_loopback)


def check_target(method: str, path: str) -> None:
    """Refuse a method or a path that would make another request.

    Raises:
        ValidationError: it is not a method, or not a path on this server.
    """
    if not _NAME.fullmatch(method):
        raise ValidationError(f"{method!r} is not an HTTP method.")
    if not _PATH.fullmatch(path):
        raise ValidationError(f"{path!r} is not a path. A path begins with / and is quoted.")


def checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name.

    Raises:
        ValidationError: a name or a value cannot be sent. The value is not shown: it may be a key.
    """
    kept = {}
    for name, value in headers.items():
        lower = name.lower()
        if not _NAME.fullmatch(name) or lower in _FRAMING:
            raise ValidationError(f"The header {name!r} cannot be set.")
        if not _VALUE.fullmatch(value):
            raise ValidationError(
                f"The value of the header {name} has a line break, a control character or one outside Latin-1 in it."
            )
        kept[lower] = value
    return kept


def settle(
    peer: Peer, session: requests.Session | None, headers: dict[str, str]
) -> tuple[urllib3.HTTPConnectionPool, dict[str, str]]:
    """Ask requests, once, how to reach a server.

    Returns:
        A pool to copy, not to use, and the headers of every request.

    Raises:
        ConfigurationError: the settings of the session or of the environment cannot be used for it.
    """
    try:
        if session is not None:
            return _settle(peer, session, headers)
        with requests.Session() as own:
            return _settle(peer, own, headers)
    except AscendError:
        raise
    except Exception as error:
        # The messages of requests may quote headers; those of the system are about files.
        said = f" ({error})" if type(error) is OSError else ""
        raise ConfigurationError(
            f"The session's settings cannot be used for {peer.name}: {type(error).__name__}{said}. "
            "Check its proxies, certificates and auth, HTTPS_PROXY and REQUESTS_CA_BUNDLE."
        ) from None


def _settle(
    peer: Peer, session: requests.Session, headers: dict[str, str]
) -> tuple[urllib3.HTTPConnectionPool, dict[str, str]]:
    url = peer.origin + peer.prefix
    settings = session.merge_environment_settings(url, {}, None, None, None)
    verify, cert, proxies = settings["verify"], settings["cert"], settings["proxies"]
    proxy = select_proxy(url, proxies)
    if proxy and not peer.secure and not is_local(urlsplit(proxy).hostname or ""):
        proxies = {}  # "localhost" would be the proxy's machine, and the keys would be sent in clear text
    # This keeps requests from looking into ~/.netrc. The session's own auth is asked for each request (``authenticated``).
    request = requests.Request("GET", url, headers=headers, auth=lambda prepared: prepared)
    prepared = session.prepare_request(request)
    adapter = session.get_adapter(url)
    if not isinstance(adapter, HTTPAdapter):
        raise ConfigurationError(f"The session's adapter for {peer.origin} must be a requests HTTPAdapter.")
    found = adapter.get_connection_with_tls_context(prepared, verify, proxies=proxies, cert=cert)
    pool = copy.copy(cast("urllib3.HTTPConnectionPool", found))
    adapter.cert_verify(pool, url, verify, cert)  # type: ignore[no-untyped-call]  # the stubs of requests have no types here
    if pool.ConnectionCls not in (HTTPConnection, HTTPSConnection) or (
        pool.proxy is not None and pool.proxy.scheme != "http"
    ):
        raise ConfigurationError(
            "Only http:// proxies are supported; https goes through them encrypted all the way. "
            f"Set HTTPS_PROXY to one, or put {peer.name} into NO_PROXY."
        )
    unverified = (
        getattr(pool, "cert_reqs", None) in ("CERT_NONE", ssl.CERT_NONE)
        or getattr(pool, "assert_hostname", None) is False
    )
    if peer.secure and not peer.local and unverified:
        raise ConfigurationError(
            f"The session does not verify the certificate of {peer.name} (verify=False): "
            "another server could answer in its place. "
            "Set session.verify, or REQUESTS_CA_BUNDLE, to your CA's bundle."
        )
    kind = SecureConnection if peer.secure else Connection
    # urllib3 names a protocol here, with attributes of certificates that it does not ask for.
    pool.ConnectionCls = kind  # pyright: ignore[reportAttributeAccessIssue]
    if pool.proxy is not None:
        peer.proxy = f"{pool.proxy.host}:{pool.proxy.port}"
        if not peer.secure:
            peer.prefix = url
    pool.proxy_headers = {name: _text(value) for name, value in pool.proxy_headers.items()}
    return pool, {"host": peer.host, **_merged(prepared)}


def authenticated(
    session: requests.Session, method: str, url: str, headers: dict[str, str], body: bytes | None
) -> dict[str, str]:
    """The headers of a request with those that the session's authentication sets: a token may have been renewed.

    Raises:
        ConfigurationError: the authentication failed, or changed more than headers.
        ValidationError: a header that it set cannot be sent.
    """
    prepared = requests.PreparedRequest()
    prepared.method, prepared.url, prepared.body = method, url, body
    prepared.headers = CaseInsensitiveDict(headers)
    prepared.hooks = default_hooks()
    try:
        prepared.prepare_auth(session.auth, url)
    except Exception as error:  # its text may hold a secret
        raise ConfigurationError(
            f"The session's auth failed ({type(error).__name__}), so {method} {urlsplit(url).path} was not sent. "
            "Check session.auth."
        ) from None
    if prepared.url != url or prepared.body is not body or prepared.method != method:
        raise ConfigurationError(
            "The session's auth changed the URL, the method or the body. It may set headers only."
        )
    kept = {name: _text(value) for name, value in prepared.headers.items()}
    framing = {name: value for name, value in headers.items() if name in _FRAMING}
    return framing | checked({name: value for name, value in kept.items() if name.lower() not in _FRAMING})


def _merged(prepared: requests.PreparedRequest) -> dict[str, str]:
    usual = default_headers()
    kept = {}
    for name, value in prepared.headers.items():
        text = _text(value)
        if usual.get(name) != text and name.lower() not in _FRAMING:
            kept[name] = text
    return {"accept-encoding": "identity", "user-agent": "ascend-guard", **checked(kept)}


def _text(value: str | bytes) -> str:
    """A header's value; requests lets it be bytes."""
    return value if isinstance(value, str) else value.decode("latin-1")
