"""People who signed in at an OpenID Connect issuer, such as Amazon Cognito: verify their tokens."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import jwt
import msgspec

from ascend_guard.errors import AuthenticationError, ConfigurationError
from ascend_guard.server.handling import Caller

from .tokens import ROLES, checked, person, require_form, strings, text, wrong_audience

ALGORITHMS = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA")
)
"""Algorithms with a public key. With a shared secret, everyone who verifies tokens could issue them."""

_GROUPS = {
    "viewer": "viewer",
    "viewers": "viewer",
    "approver": "approver",
    "approvers": "approver",
    "admin": "admin",
    "admins": "admin",
}
_UNKNOWN_KEY = "The token is not accepted here: its issuer's key is not known. Sign in again."

_GOOD_FOR = 3600.0  # seconds after which keys are not used any more, even if no new ones can be fetched
_NEW_AFTER = 300.0
_APART = 10.0  # least seconds between two fetches, however many tokens need one
_TIMEOUT = 5.0
_LARGEST = 512 * 1024
_MOST_KEYS = 100

_log = logging.getLogger("ascend_guard")

T = TypeVar("T")


class OidcIssuer:
    """Verifies the tokens of one OpenID Connect issuer, for one application.

    People are identified by the issuer and ``sub``, and named by their e-mail address if the issuer has verified it.
    Their role is the claim ``role`` or ``custom:role``, else the highest of the groups named viewer, approver(s), admin(s),
    else viewer. Their organization is the claim ``organization`` or ``custom:organization``, else the one given here.
    These claims grant rights: in Amazon Cognito, the application's client must not be able to write the custom
    attributes.

    Amazon Cognito's access tokens contain no e-mail address. With them a person may read, but not decide: otherwise the
    audit log would contain one person under two names.

    Args:
        issuer: its address, exactly as in ``iss``.
        audience: this application's client id.
        jwks_url: the address of its keys; by default from its discovery document.
        organization: the organization of people whose tokens have none.
        algorithms: the algorithms with which it signs.
        clock: seconds, for the age of its keys.

    Raises:
        ConfigurationError: an address is neither https nor on this machine, or an algorithm uses a shared secret.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        jwks_url: str | None = None,
        organization: str = "local",
        algorithms: Sequence[str] = ("RS256", "ES256", "EdDSA"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        unfit = sorted(set(algorithms) - ALGORITHMS)
        if unfit or not algorithms:
            raise ConfigurationError(
                f"Tokens of people cannot be signed with {', '.join(unfit) or 'nothing'}. Choose from "
                f"{', '.join(sorted(ALGORITHMS))}."
            )
        if not issuer or not audience:
            raise ConfigurationError(
                "An issuer of tokens needs its address and this application's client id."
            )
        _require_address(jwks_url or issuer)
        self.issuer = issuer
        self._audience = audience
        self._organization = organization
        self._algorithms = tuple(algorithms)
        self._keys = _Keys(issuer, jwks_url, self._algorithms, clock)

    async def verify(self, token: str) -> Caller:
        """Return the caller that a token identifies.

        Raises:
            AuthenticationError: the token is not valid here, or its issuer's keys cannot be fetched.
        """
        require_form(token)
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise AuthenticationError(_UNKNOWN_KEY) from None
        kid, algorithm = header.get("kid"), header.get("alg")
        # These two fields select among the issuer's own keys, each for one algorithm; they grant nothing.
        key = await self._keys.find(kid, algorithm) if isinstance(algorithm, str) else None
        if key is None:
            raise AuthenticationError(_UNKNOWN_KEY)
        claims = checked(token, key, self._algorithms, self.issuer, None)
        self._require_audience(claims)
        return self._caller(claims)

    def _require_audience(self, claims: Mapping[str, Any]) -> None:
        use = claims.get("token_use")
        if use not in (None, "id", "access"):
            raise wrong_audience()
        if "aud" in claims:
            audiences = strings(claims["aud"])
        else:  # Amazon Cognito's access tokens have the application here
            audiences = strings(claims.get("client_id")) if use == "access" else []
        if self._audience not in audiences:
            raise wrong_audience()

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        groups = strings(claims.get("cognito:groups", claims.get("groups")))
        vouched = claims.get("email_verified", True) in (True, "true")
        email = text(claims, "email")
        name = (email if vouched else None) or text(claims, "cognito:username", "username", "sub") or ""
        role = _role(claims, groups)
        if (email is not None and not vouched) or (email is None and claims.get("token_use") == "access"):
            role = "viewer"
        organization = text(claims, "organization", "custom:organization") or self._organization
        return person(name, role, groups, organization, claims)


def _role(claims: Mapping[str, Any], groups: Sequence[str]) -> str:
    for claim in ("role", "custom:role"):
        if claim in claims:
            role = claims[claim]
            return role if role in ROLES else ROLES[0]  # an unknown role grants nothing
    found = [_GROUPS[group] for group in groups if group in _GROUPS]
    return max(found, key=ROLES.index, default=ROLES[0])


# --- the issuer's keys ---------------------------------------------------------------------------------------------


class _Document(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Keys:
    """An issuer's keys, fetched when needed and cached for a while."""

    def __init__(
        self, issuer: str, url: str | None, algorithms: Sequence[str], clock: Callable[[], float]
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._algorithms = algorithms
        self._clock = clock
        self._keys: dict[tuple[str | None, str], jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        # A separate thread: a slow issuer delays no other work.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ascend-guard-issuer")

    async def find(self, kid: object, algorithm: str) -> jwt.PyJWK | None:
        """Return the key of this name for this algorithm; without a name, the only key."""
        key = self._known(kid, algorithm)
        if key is None or self._clock() - self._fetched > _NEW_AFTER:
            fetching = self._fetch()
            if key is None and fetching is not None:
                await asyncio.wait({fetching})  # a caller that disconnects does not cancel it
                key = self._known(kid, algorithm)
        return key

    def _known(self, kid: object, algorithm: str) -> jwt.PyJWK | None:
        if self._clock() - self._fetched > _GOOD_FOR:
            return None
        if isinstance(kid, str):
            return self._keys.get((kid, algorithm))
        fitting = [key for (_, other), key in self._keys.items() if other == algorithm]
        return fitting[0] if kid is None and len(fitting) == 1 else None

    def _fetch(self) -> asyncio.Task[None] | None:
        """Return the fetch in progress, a new one, or None if the last one was a moment ago."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        now = self._clock()
        if now - self._tried < _APART:
            return None
        self._tried = now
        self._fetching = asyncio.create_task(self._renew(now))
        return self._fetching

    async def _renew(self, now: float) -> None:
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._download)
        try:
            self._keys = await asyncio.wait_for(work, 2 * _TIMEOUT)
            self._fetched = now
        except Exception as error:  # after any error, tokens that need these keys are refused
            # The text stays in the log: it may contain an internal address.
            reason = str(error) or type(error).__name__
            _log.warning("The keys of the issuer %s cannot be fetched: %s", self._issuer, reason)

    def _download(self) -> dict[tuple[str | None, str], jwt.PyJWK]:
        url = self._url
        if url is None:
            place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
            document = _get(place, _Document)
            if document.issuer != self._issuer:  # OpenID Connect Discovery 1.0, 4.3
                raise ValueError(f"{place} is the discovery document of another issuer")
            url = document.jwks_uri
            _require_address(url)
            if url.startswith("http:") and not self._issuer.startswith("http:"):
                raise ValueError(f"{place} leads from https to http")
        found: dict[tuple[str | None, str], jwt.PyJWK] = {}
        for data in _get(url, _KeySet).keys[:_MOST_KEYS]:
            kid, algorithm = data.get("kid"), data.get("alg")
            if data.get("use", "sig") != "sig" or not isinstance(kid, str | None):
                continue
            for name in self._algorithms if algorithm is None else (algorithm,):
                key = _key(data, name) if name in self._algorithms else None
                if key is not None:
                    found.setdefault((kid, name), key)
        if not found:
            raise ValueError(f"{url} has no key for {', '.join(self._algorithms)}")
        return found


def _key(data: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        return jwt.PyJWK(data, algorithm)
    except Exception:  # one invalid key does not affect the others
        return None


def _get(url: str, kind: type[T]) -> T:
    """GET an address and decode its answer, as the client asks a control plane: no redirect is followed, one deadline holds
    for all of it, and it is bounded."""
    from ascend_guard.client.http.transport import Transport  # takes a moment to load: only this thread waits

    parts = urlsplit(url)
    transport = Transport(
        f"{parts.scheme}://{parts.netloc}",
        headers={"Accept": "application/json"},
        timeout=_TIMEOUT,
        limit=_LARGEST,
        setting="the issuer's address",
    )
    try:
        answer = transport.send("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    finally:
        transport.close()
    if answer.status != 200:
        raise ValueError(f"{url} answered {answer.status}")
    return msgspec.json.decode(answer.body, type=kind)


def _require_address(url: str) -> None:
    """Refuse addresses at which a third party in between could answer with its own keys.

    Raises:
        ConfigurationError: it is neither https nor plain http to this machine.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _here(host))):
        raise ConfigurationError(
            f"{url!r} cannot be used for an issuer's keys. Use an https address; http is allowed for this machine only."
        )


def _here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
