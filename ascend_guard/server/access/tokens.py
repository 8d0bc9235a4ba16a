"""People's tokens: what is common to all of them, and those this server issues itself."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ascend_guard.engine.approvers import normal
from ascend_guard.errors import AuthenticationError, ValidationError
from ascend_guard.server.handling import Caller

ROLES = ("viewer", "approver", "admin")
"""Of a person, the least first."""

LOCAL_ISSUER = "ascend-guard"
LEEWAY = 30
"""Seconds that two clocks may differ."""

MAX_HOURS = 720.0

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
LONGEST_TOKEN = 16_384
_LONGEST_NAME = 255
_TYPES = ("jwt", "at+jwt")
_NOT_OURS = "The token is not accepted here. Sign in again, or ask for a new one."


class LocalIssuer:
    """Issues and verifies tokens with a key of the store's own: for a server without an OpenID Connect issuer.

    Args:
        secret: the store's. Whoever has it can sign in as anybody, as they could rewrite the database.
    """

    issuer = LOCAL_ISSUER

    def __init__(self, secret: bytes) -> None:
        seed = hmac.digest(secret, b"people's tokens", "sha256")
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key()

    def issue(
        self,
        user: str,
        *,
        role: str,
        groups: Iterable[str] = (),
        organization: str = "local",
        hours: float = 12.0,
    ) -> str:
        """A token for one person.

        Args:
            user: the person's name, as the audit trail will have it; an e-mail address, best.
            role: viewer, approver or admin.
            groups: the groups they approve for.
            organization: theirs.
            hours: how long it is good for; at most 720. There is no taking it back.

        Raises:
            ValidationError: one of them cannot be.
        """
        if not named(user):
            raise ValidationError(f"{user!r} is not a name for a person. Use an e-mail address.")
        if role not in ROLES:
            raise ValidationError(f"{role!r} is not a role of a person. Roles are {', '.join(ROLES)}.")
        if not 0 < hours <= MAX_HOURS:
            raise ValidationError(f"A token is good for up to {MAX_HOURS:g} hours, not for {hours:g}.")
        now = int(time.time())
        claims = {
            "iss": LOCAL_ISSUER,
            "aud": LOCAL_ISSUER,
            "sub": user,
            "email": user,
            "role": role,
            "groups": sorted(set(groups)),
            "organization": organization,
            "iat": now,
            "exp": now + max(1, int(hours * 3600)),
            "jti": secrets.token_urlsafe(12),
        }
        token = jwt.encode(claims, self._private, algorithm="EdDSA")
        if len(token) > LONGEST_TOKEN:
            raise ValidationError(f"These are too many groups for one token of {LONGEST_TOKEN} characters.")
        return token

    def verify(self, token: str) -> Caller:
        """Who a token says they are.

        Raises:
            AuthenticationError: it is not one of ours, or no longer good.
        """
        claims = checked(token, self._public, ("EdDSA",), LOCAL_ISSUER, LOCAL_ISSUER)
        role, organization = claims.get("role"), claims.get("organization")
        if role not in ROLES or not isinstance(organization, str) or not organization:
            raise AuthenticationError(_NOT_OURS)
        return person(claims["sub"], role, strings(claims.get("groups")), organization, claims)


def checked(
    token: str, key: Any, algorithms: Sequence[str], issuer: str, audience: str | None
) -> dict[str, Any]:
    """The claims of a token, once its signature, its times, its issuer and its audience are right.

    Args:
        token: the token.
        key: the issuer's public key.
        algorithms: those the issuer signs with; what the token says of it decides nothing.
        issuer: who must have issued it.
        audience: for whom it must have been issued; None when the caller of this sees to that.

    Raises:
        AuthenticationError: something is not right.
    """
    require_form(token)
    require = ["exp", "iat", "iss", "sub", *(["aud"] if audience is not None else [])]
    try:
        decoded = jwt.decode_complete(
            token,
            key,
            algorithms=list(algorithms),
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY,
            options={
                "require": require,
                "verify_aud": audience is not None,
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.ExpiredSignatureError:
        raise AuthenticationError("The token has expired. Sign in again, or ask for a new one.") from None
    except jwt.ImmatureSignatureError:
        raise AuthenticationError(
            "The token is not valid yet. Set the clocks of both machines right."
        ) from None
    except jwt.InvalidAudienceError:
        raise wrong_audience() from None
    except jwt.PyJWTError:
        raise AuthenticationError(_NOT_OURS) from None
    require_type(decoded["header"].get("typ"))
    claims: dict[str, Any] = decoded["payload"]
    return claims


def require_form(token: str) -> None:
    """Refuse what cannot be a token before anything reads it.

    Raises:
        AuthenticationError: it is too long, or not three parts in base64url.
    """
    if len(token) > LONGEST_TOKEN or not _TOKEN.fullmatch(token):
        raise AuthenticationError(_NOT_OURS)


def require_type(kind: object) -> None:
    """A token made for another purpose, such as signing out, signs nobody in (RFC 8725, 3.11).

    Raises:
        AuthenticationError: its header says that it is of another type.
    """
    if kind is None or (isinstance(kind, str) and kind.lower().removeprefix("application/") in _TYPES):
        return
    raise AuthenticationError(_NOT_OURS)


def wrong_audience() -> AuthenticationError:
    """The error for a token that was issued for somebody else."""
    return AuthenticationError("The token was issued for another application. Sign in to this one.")


def person(
    name: str, role: str, groups: Iterable[str], organization: str, claims: Mapping[str, Any]
) -> Caller:
    """A person.

    Args:
        name: for people and the audit log.
        role: viewer, approver or admin.
        groups: theirs.
        organization: theirs.
        claims: of their token, verified; its ``iss`` and ``sub`` say who they are.

    Raises:
        AuthenticationError: the name cannot be told from a key's, or cannot be read; the token is about nobody.
    """
    issuer, subject = claims["iss"], claims["sub"]
    if not named(name) or not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_NAME:
        raise AuthenticationError(_NOT_OURS)
    return Caller(
        organization,
        name,
        person=True,
        role=role,
        groups=frozenset(groups),
        issuer=issuer,
        subject=subject,
    )


def named(name: str) -> bool:
    """Whether this can be a person's name in the audit log, where ``key:...`` and ``anonymous`` are others'."""
    plain = normal(name)
    return (
        0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and name == name.strip()
        and plain not in ("", "anonymous", "system")
        and not plain.startswith("key:")
    )


def strings(value: object) -> list[str]:
    """The strings in a claim that is a string or a list of them; nothing from any other."""
    if isinstance(value, str):
        return [value]
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def text(claims: Mapping[str, Any], *names: str) -> str | None:
    """The first of these claims that is a string with something in it."""
    for name in names:
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
    return None
