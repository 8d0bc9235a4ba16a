"""People's tokens: what all of them have in common, and those that this server issues itself."""

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
"""The roles of a person, the least powerful first."""

LOCAL_ISSUER = "ascend-guard"
LEEWAY = 30
"""Seconds by which two clocks may differ."""

MAX_HOURS = 720.0

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
LONGEST_TOKEN = 16_384
_LONGEST_NAME = 255
_TYPES = ("jwt", "at+jwt")
_NOT_OURS = "The token is not accepted here. Sign in again, or ask for a new one."


class LocalIssuer:
    """Issues and verifies tokens with a key from the store: for a server without an OpenID Connect issuer.

    Args:
        secret: the store's secret. Anyone who has it can sign in as any person, as they could rewrite the database.
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
        """Issue a token for one person.

        Args:
            user: the person's name for the audit trail, preferably an e-mail address.
            role: viewer, approver or admin.
            groups: the groups that the person approves for.
            organization: the person's organization.
            hours: how long it is valid; at most 720. It cannot be revoked.

        Raises:
            ValidationError: a value is invalid.
        """
        if not named(user):
            raise ValidationError(f"{user!r} is not a valid name for a person. Use an e-mail address.")
        if role not in ROLES:
            raise ValidationError(f"{role!r} is not a role for a person. Roles are {', '.join(ROLES)}.")
        if not 0 < hours <= MAX_HOURS:
            raise ValidationError(f"A token is valid for up to {MAX_HOURS:g} hours, not for {hours:g}.")
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
            raise ValidationError(
                f"There are too many groups for one token of {LONGEST_TOKEN} characters. Use fewer groups."
            )
        return token

    def verify(self, token: str) -> Caller:
        """Return the caller that a token identifies.

        Raises:
            AuthenticationError: this server did not issue it, or it is not valid any more.
        """
        claims = checked(token, self._public, ("EdDSA",), LOCAL_ISSUER, LOCAL_ISSUER)
        role, organization = claims.get("role"), claims.get("organization")
        if role not in ROLES or not isinstance(organization, str) or not organization:
            raise AuthenticationError(_NOT_OURS)
        return person(claims["sub"], role, strings(claims.get("groups")), organization, claims)


def checked(
    token: str, key: Any, algorithms: Sequence[str], issuer: str, audience: str | None
) -> dict[str, Any]:
    """Return the claims of a token, after checking its signature, its times, its issuer and its audience.

    Args:
        token: the token.
        key: the issuer's public key.
        algorithms: the issuer's algorithms; the token's own header does not decide.
        issuer: the required issuer.
        audience: the required audience; None when the caller of this function checks it.

    Raises:
        AuthenticationError: a check failed.
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
            "The token is not valid yet. Synchronize the clocks of both machines."
        ) from None
    except jwt.InvalidAudienceError:
        raise wrong_audience() from None
    except jwt.PyJWTError:
        raise AuthenticationError(_NOT_OURS) from None
    require_type(decoded["header"].get("typ"))
    claims: dict[str, Any] = decoded["payload"]
    return claims


def require_form(token: str) -> None:
    """Refuse text that cannot be a token before it is parsed.

    Raises:
        AuthenticationError: it is too long, or not three parts in base64url.
    """
    if len(token) > LONGEST_TOKEN or not _TOKEN.fullmatch(token):
        raise AuthenticationError(_NOT_OURS)


def require_type(kind: object) -> None:
    """Refuse a token that was issued for another purpose, such as signing out (RFC 8725, 3.11).

    Raises:
        AuthenticationError: its header says that it is of another type.
    """
    if kind is None or (isinstance(kind, str) and kind.lower().removeprefix("application/") in _TYPES):
        return
    raise AuthenticationError(_NOT_OURS)


def wrong_audience() -> AuthenticationError:
    """The error for a token that was issued for another application."""
    return AuthenticationError("The token was issued for another application. Sign in to this one.")


def person(
    name: str, role: str, groups: Iterable[str], organization: str, claims: Mapping[str, Any]
) -> Caller:
    """Return a person as a caller.

    Args:
        name: for people and the audit log.
        role: viewer, approver or admin.
        groups: the person's groups.
        organization: the person's organization.
        claims: the verified claims of the token; ``iss`` and ``sub`` identify the person.

    Raises:
        AuthenticationError: the name looks like a key's name or is unreadable, or the token identifies no person.
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
    """Return whether this can be a person's name in the audit log, where ``key:...`` and ``anonymous`` are reserved."""
    plain = normal(name)
    return (
        0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and name == name.strip()
        and plain not in ("", "anonymous", "system")
        and not plain.startswith("key:")
    )


def strings(value: object) -> list[str]:
    """Return the strings in a claim that is a string or a list of strings; an empty list for any other."""
    if isinstance(value, str):
        return [value]
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def text(claims: Mapping[str, Any], *names: str) -> str | None:
    """Return the first of these claims that is a non-empty string."""
    for name in names:
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
    return None
