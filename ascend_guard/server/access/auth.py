"""Authenticate a request by the API key or the person's token in its headers, and check the access of the endpoint."""

from __future__ import annotations

import base64
import binascii
import inspect
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from ascend_guard.api.endpoint import Access
from ascend_guard.engine.keys import KEY, KeyInfo, hash_of, key_of, signing_secret_of
from ascend_guard.errors import AuthenticationError, AuthorizationDeniedError
from ascend_guard.server.handling import Caller
from ascend_guard.store.port import Store

from .tokens import require_form

ANONYMOUS = Caller("", "anonymous", role="none")

_REMEMBERED_FOR = 1.0  # seconds
_REMEMBERED = 10_000
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]+)")
_BEGINNINGS = ("owkai_", "ask_")
_HOW = "Send the API key in the header X-API-Key, or as a bearer token."
_REFUSED = f"The API key is not accepted. {_HOW}"
_SIGN_IN = "Only people may do this, not API keys. Sign in, and send your own token as the bearer token."
_NO_ISSUER = "The token is not accepted here: this server does not know its issuer. Sign in again."


class Verifier(Protocol):
    """Verifies the tokens of one issuer, for one application."""

    @property
    def issuer(self) -> str:
        """The ``iss`` of its tokens."""
        ...

    def verify(self, token: str) -> Caller | Awaitable[Caller]:
        """Return the caller that a token identifies. Raises ``AuthenticationError``."""
        ...


class _Issued(msgspec.Struct):
    iss: str


class Gate:
    """Authenticates requests.

    Args:
        store: the store with the API keys.
        clock: seconds since the epoch.
        people: verifiers of people's tokens; several may be for one issuer, one for each application.
    """

    def __init__(self, store: Store, clock: Callable[[], float], people: Sequence[Verifier]) -> None:
        self._store = store
        self._clock = clock
        self._people: dict[str, list[Verifier]] = {}
        for verifier in people:
            self._people.setdefault(verifier.issuer, []).append(verifier)
        self._known: OrderedDict[str, tuple[float, KeyInfo]] = OrderedDict()
        self._forgotten = 0

    async def admit(self, headers: Mapping[str, str], access: Access) -> Caller:
        """Return the caller of a request.

        Args:
            headers: by lower-case name.
            access: the access that the endpoint requires.

        Raises:
            AuthenticationError: the credential is unknown, or an API key was sent where only people are allowed.
            AuthorizationDeniedError: an admin is required.
            StoreError: the keys cannot be read.
        """
        if access is Access.PUBLIC:
            return ANONYMOUS
        credential, bearer = _credential(headers)
        if bearer and credential.count(".") == 2 and not credential.startswith(_BEGINNINGS):
            caller = await self._person(credential)
        elif access in (Access.PERSON, Access.PERSON_ADMIN):
            raise AuthenticationError(
                _SIGN_IN
            )  # without checking it: this answer must not reveal whether the key is valid
        else:
            caller = await self._key(credential)
        if access in (Access.ADMIN, Access.PERSON_ADMIN) and not caller.admin:
            raise AuthorizationDeniedError("Only an admin may do this. Ask one, or use an admin's API key.")
        return caller

    def forget(self) -> None:
        """Read every key again: one was created or revoked."""
        self._known.clear()
        self._forgotten += 1

    async def _key(self, key: str) -> Caller:
        if not KEY.fullmatch(key):
            raise AuthenticationError(_REFUSED)
        info = await self._looked_up(key)
        if info is None:
            raise AuthenticationError(_REFUSED)
        return Caller(
            info.organization,
            f"key:{info.key_id}",
            role=info.role,
            agent_id=info.agent_id,
            signing_secret=signing_secret_of(self._store.secret, info),
        )

    async def _looked_up(self, key: str) -> KeyInfo | None:
        name = hash_of(key)
        now = self._clock()
        at, info = self._known.get(name, (0.0, None))
        if info is not None and 0 <= now - at < _REMEMBERED_FOR:
            return info
        forgotten = self._forgotten
        info = await self._store.aread(lambda reader: key_of(reader, key))
        # A key that was read before its revocation must not be cached after it. Unknown keys are never cached: an
        # attacker who invents keys would displace the others.
        if info is not None and forgotten == self._forgotten:
            self._known[name] = (now, info)
            self._known.move_to_end(name)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return info

    async def _person(self, token: str) -> Caller:
        verifiers = self._people.get(_issuer_of(token), [])
        refusal = AuthenticationError(_NO_ISSUER)
        for verifier in verifiers:
            try:
                answer = verifier.verify(token)
                return await answer if inspect.isawaitable(answer) else answer
            except AuthenticationError as error:
                refusal = error
        raise refusal


def _credential(headers: Mapping[str, str]) -> tuple[str, bool]:
    """Return the one key or token that was sent, and whether it is a bearer token.

    Raises:
        AuthenticationError: none or two different ones were sent.
    """
    key, authorization = headers.get("x-api-key"), headers.get("authorization")
    if authorization is None:
        if key is None:
            raise AuthenticationError(f"This needs an API key or a person's token. {_HOW}")
        return key, False
    found = _BEARER.fullmatch(authorization)
    if found is None:
        raise AuthenticationError(f"The Authorization header is malformed. {_HOW}")
    if key is not None and found[1] == key[:6] + "*" * len(found[1][6:]):
        return key, False  # one of the published clients sends a masked key beside the key
    if key is not None and key != found[1]:
        raise AuthenticationError("X-API-Key and Authorization contain two different keys. Send one.")
    return found[1], True


def _issuer_of(token: str) -> str:
    """The issuer that a token claims, unverified. It only selects the verifier."""
    require_form(token)
    payload = token.split(".")[1]
    try:
        return msgspec.json.decode(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Issued
        ).iss
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError, RecursionError):
        raise AuthenticationError(_NO_ISSUER) from None
