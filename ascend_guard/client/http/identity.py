"""A client's settings (arguments, then the environment, then defaults) and the headers made from them."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct, field

from ascend_guard._version import __version__
from ascend_guard.errors import AuthenticationError, ConfigurationError, ValidationError
from ascend_guard.model import KillSwitchState, iso

DEFAULT_URL = "https://pilot.owkai.app"
"""SDK document, "Constructor Options"."""

RETRY_FOR = 300.0
"""Seconds within which an exchange's last pause ends if the caller does not say. The documented rate limits per minute reset
several times within it. A limit per hour does not: no caller waits that long without asking for it."""

_PREFIXES = ("ask_", "owkai_")
_SHORTEST_KEY = 16
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"", "0", "false", "no", "off"})


def _not_listening(_: str) -> None:
    return None


def _no_stream() -> None: ...


class Identity(Struct, frozen=True, kw_only=True):
    """Who sends requests, and with which settings.

    Args:
        api_key: begins with ``ask_`` or ``owkai_``.
        api_url: the control plane's address.
        timeout: seconds one request may take.
        debug: whether requests and answers are logged.
        agent_id: the agent that actions are asked for, unless a call names another.
        agent_name: its name for people.
        environment: the name of the environment it runs in.
        signing_secret: requests with a body are signed with it.
        retry_for: seconds within which the pauses between a call's attempts end, unless the call says.
        clock: seconds, for deadlines.
        pushed: what the pushed stream says of an agent's kill switch; None while it is not live.
        follow: begin to listen to the stream, if that was not done before.
    """

    api_key: str
    api_url: str
    timeout: float = 30.0
    debug: bool = False
    agent_id: str | None = None
    agent_name: str | None = None
    environment: str = "production"
    signing_secret: str | None = None
    retry_for: float = RETRY_FOR
    clock: Callable[[], float] = field(default=time.monotonic)
    pushed: Callable[[str], KillSwitchState | None] = field(default=_not_listening)
    follow: Callable[[], None] = field(default=_no_stream)

    def __repr__(self) -> str:
        return f"Identity({self.masked()}, api_url={self.api_url!r}, agent_id={self.agent_id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("api_key", self.masked()), ("api_url", self.api_url), ("agent_id", self.agent_id)]

    def masked(self) -> str:
        """The key's prefix, which may be shown."""
        return f"{self.api_key.partition('_')[0]}_***"

    def secrets(self) -> list[str]:
        """Texts that no log may show."""
        return [secret for secret in (self.api_key, self.signing_secret) if secret]

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {
            "User-Agent": f"ascend-guard/{__version__} Python",
            "X-SDK-Version": __version__,
            "X-Environment": self.environment,
        }

    def call_headers(self, body: bytes | None, token: str | None = None) -> dict[str, str]:
        """The headers of one request: credentials, correlation id, time and signature.

        Args:
            body: the bytes that are sent.
            token: a person's token, sent instead of the key.

        Raises:
            ValidationError: the token does not have the form of one.
        """
        timestamp = self.now()
        headers = {
            "Authorization": f"Bearer {self.api_key if token is None else _token(token)}",
            "Content-Type": "application/json",
            "X-Correlation-ID": f"asc_{uuid.uuid4().hex}",
            "X-Request-Timestamp": timestamp,
        }
        if token is None:
            headers["X-API-Key"] = self.api_key
        if self.signing_secret and body:
            # Over the body as Python's own json writes it with sorted keys: that is what the published clients sign.
            text = json.dumps(msgspec.json.decode(body), sort_keys=True)
            signed = hmac.digest(self.signing_secret.encode(), f"{timestamp}.{text}".encode(), hashlib.sha256)
            headers["X-Signature"] = f"v1={signed.hex()}"
        return headers

    def now(self) -> str:
        """The time as the API writes it."""
        return iso(time.time())

    def agent(self) -> tuple[str, str]:
        """The identifier and the name of the agent that actions are submitted for."""
        agent_id = self.agent_id or "default-agent"
        return agent_id, self.agent_name or agent_id

    def require_agent(self, agent_id: str | None) -> str:
        """The agent of a call: the one it names, or the client's own.

        Raises:
            ValidationError: neither names one.
        """
        found = agent_id or self.agent_id
        if not found:
            raise ValidationError(
                "No agent is named: pass agent_id=, give it to the client, or set ASCEND_AGENT_ID."
            )
        return found


def identity_of(
    *,
    api_key: str | None,
    api_url: str | None,
    timeout: float,
    debug: bool | None,
    agent_id: str | None,
    agent_name: str | None,
    environment: str | None,
    signing_secret: str | None,
    retry_for: float = RETRY_FOR,
) -> Identity:
    """Arguments first, the environment second (SDK document, "Environment Variables"), defaults last.

    Raises:
        AuthenticationError: there is no key, or it does not have the form of one. The message does not show it.
        ConfigurationError: another value is not valid.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise ConfigurationError("timeout must be a number of seconds greater than 0.")
    if isinstance(retry_for, bool) or not isinstance(retry_for, int | float) or not 0 <= retry_for < math.inf:
        raise ConfigurationError("retry_for must be a number of seconds, 0 or more.")
    return Identity(
        api_key=_key(api_key if api_key is not None else os.environ.get("ASCEND_API_KEY")),
        api_url=_text("api_url", api_url, "ASCEND_API_URL") or DEFAULT_URL,
        timeout=float(timeout),
        debug=_flag(os.environ.get("ASCEND_DEBUG", "")) if debug is None else debug,
        agent_id=_text("agent_id", agent_id, "ASCEND_AGENT_ID"),
        agent_name=_text("agent_name", agent_name, "ASCEND_AGENT_NAME"),
        environment=_printable("environment", environment or "production"),
        signing_secret=_text("signing_secret", signing_secret, "ASCEND_SIGNING_SECRET"),
        retry_for=float(retry_for),
    )


def _key(key: object) -> str:
    remedy = 'Set ASCEND_API_KEY, or pass api_key=. A key begins with "ask_" or "owkai_" and has at least 16 characters.'
    if key is None or key == "":
        raise AuthenticationError(f"There is no API key. {remedy}")
    if (
        not isinstance(key, str)
        or not key.startswith(_PREFIXES)
        or len(key) < _SHORTEST_KEY
        or not (key.isascii() and key.isprintable())
        or " " in key
    ):
        raise AuthenticationError(
            f"The API key is not formed like one, so it was not sent anywhere. {remedy}"
        )
    return key


def _token(token: object) -> str:
    if (
        not isinstance(token, str)
        or not token
        or not (token.isascii() and token.isprintable())
        or " " in token
    ):
        raise ValidationError("token must be a person's token: text without spaces.")
    return token


def _text(name: str, value: object, variable: str | None = None) -> str | None:
    if value is None:
        return (os.environ.get(variable) or None) if variable else None
    if not isinstance(value, str) or not value:
        what = "an empty one" if value == "" else type(value).__name__
        raise ConfigurationError(f"{name} must be a non-empty string, not {what}.")
    return value


def _printable(name: str, value: object) -> str:
    if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
        raise ConfigurationError(f"{name} must be printable ASCII text, for it is sent as a header.")
    return value


def _flag(value: str) -> bool:
    word = value.strip().lower()
    if word not in _YES | _NO:
        raise ConfigurationError("ASCEND_DEBUG must be true or false.")
    return word in _YES
