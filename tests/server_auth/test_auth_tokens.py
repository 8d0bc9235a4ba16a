"""Tokens this server issues itself."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
import pytest
from auth_world import RSA, pem, raw_token
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.errors import AuthenticationError, ValidationError
from ascend_guard.server.access.tokens import LOCAL_ISSUER, LocalIssuer, named
from ascend_guard.server.handling import Caller

SECRET = b"s" * 32
ISSUER = LocalIssuer(SECRET)
KEY = Ed25519PrivateKey.from_private_bytes(hmac.digest(SECRET, b"people's tokens", "sha256"))


def signed(
    key: Any = KEY, algorithm: str = "EdDSA", headers: dict[str, Any] | None = None, **changed: Any
) -> str:
    """A token with these claims changed; None takes one away."""
    now = int(time.time())
    good = {
        "iss": "ascend-guard",
        "aud": "ascend-guard",
        "sub": "ann@example.com",
        "email": "ann@example.com",
        "role": "admin",
        "groups": [],
        "organization": "local",
        "iat": now,
        "exp": now + 60,
        "jti": "j",
    }
    claims = {name: value for name, value in (good | changed).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def test_the_tokens_of_these_tests_would_do() -> None:
    """Unchanged they are accepted, so that what is refused below is refused for what was changed."""
    assert ISSUER.verify(signed()).role == "admin"


@given(
    user=st.text(min_size=1, max_size=40),
    role=st.sampled_from(["viewer", "approver", "admin"]),
    groups=st.lists(st.text(min_size=1, max_size=10), max_size=5),
    organization=st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
    hours=st.floats(0.001, 720),
)
def test_what_is_issued_is_what_is_verified(
    user: str, role: str, groups: list[str], organization: str, hours: float
) -> None:
    """A person comes back as who they were issued for, or nothing is issued."""
    try:
        token = ISSUER.issue(user, role=role, groups=groups, organization=organization, hours=hours)
    except ValidationError:
        assert not named(user)
        return
    assert named(user)
    person = Caller(organization, user, True, role, None, frozenset(groups), LOCAL_ISSUER, user)
    assert ISSUER.verify(token) == person


def test_a_token_says_all_that_was_promised() -> None:
    """Its claims, by their names."""
    token = ISSUER.issue("ann@example.com", role="approver", groups=["b", "a"], organization="acme", hours=2)
    claims = jwt.decode(token, KEY.public_key(), algorithms=["EdDSA"], audience="ascend-guard")
    assert claims.pop("jti")
    assert claims.pop("exp") - claims.pop("iat") == 7200
    assert claims == {
        "iss": "ascend-guard",
        "aud": "ascend-guard",
        "sub": "ann@example.com",
        "email": "ann@example.com",
        "role": "approver",
        "groups": ["a", "b"],
        "organization": "acme",
    }


def test_another_stores_tokens_are_refused() -> None:
    """The key is the store's own."""
    with pytest.raises(AuthenticationError):
        LocalIssuer(b"t" * 32).verify(ISSUER.issue("ann@example.com", role="admin"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: signed(exp=int(time.time()) - 3600), "expired"),
        (lambda: signed(nbf=int(time.time()) + 3600), "not valid yet"),
        (lambda: signed(iat=int(time.time()) + 3600), "not valid yet"),
        (lambda: signed(iss="https://else.where"), "not accepted"),
        (lambda: signed(aud="else"), "another application"),
        (lambda: signed(aud=["else"]), "another application"),
        *(
            (partial(signed, **{name: None}), "not accepted")
            for name in ("exp", "iat", "iss", "sub", "aud", "role")
        ),
        (lambda: signed(organization=None), "not accepted"),
        (lambda: signed(organization=""), "not accepted"),
        (lambda: signed(organization=["local"]), "not accepted"),
        (lambda: signed(role="root"), "not accepted"),
        (lambda: signed(groups=["g" * 20_000]), "not accepted"),
        (lambda: signed(role=["admin"]), "not accepted"),
        (lambda: signed(sub="key:7"), "not accepted"),
        (lambda: signed(sub="KEY:7"), "not accepted"),
        (lambda: signed(sub="anonymous"), "not accepted"),
        (lambda: signed(sub=" ann"), "not accepted"),
        (lambda: signed(sub="an\u202en"), "not accepted"),
        (lambda: signed(sub=""), "not accepted"),
        (lambda: signed(exp="soon"), "not accepted"),
        (lambda: signed(exp=float("inf")), "not accepted"),
        (lambda: signed(exp=float("nan")), "not accepted"),
        (lambda: signed(exp=True), "expired"),
        (lambda: signed(headers={"typ": "logout+jwt"}), "not accepted"),
        (lambda: signed(headers={"crit": ["exp"], "exp": 1}), "not accepted"),
        (lambda: signed(RSA, "RS256"), "not accepted"),
        (lambda: jwt.encode({"sub": "a"}, SECRET, algorithm="HS256"), "not accepted"),
        (lambda: raw_token({"alg": "none"}, {"iss": "ascend-guard", "sub": "a"}), "not accepted"),
        (lambda: raw_token({"alg": "none"}, {"iss": "ascend-guard", "sub": "a"}, b""), "not accepted"),
    ],
)
def test_tokens_that_are_not_good(make: Callable[[], str], words: str) -> None:
    """Each differs from a good one in one thing."""
    token = make()
    with pytest.raises(AuthenticationError, match=words) as error:
        ISSUER.verify(token)
    assert token.split(".")[1] not in str(error.value)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_secret(algorithm: str) -> None:
    """A token signed with the public key as a shared secret is refused, whatever form the key has."""
    raw = KEY.public_key().public_bytes_raw()
    for secret in (raw, pem(KEY), SECRET):
        part = raw_token(
            {"alg": algorithm, "typ": "JWT"}, jwt.decode(signed(), options={"verify_signature": False})
        )
        head = part.rsplit(".", 1)[0]
        mac = hmac.digest(secret, head.encode(), algorithm.replace("HS", "sha"))
        with pytest.raises(AuthenticationError):
            ISSUER.verify(f"{head}.{jwt.utils.base64url_encode(mac).decode()}")


@given(place=st.integers(0, 10_000), char=st.sampled_from("AQgw-_09az"))
def test_no_character_of_a_token_can_be_changed(place: int, char: str) -> None:
    """Whatever is changed, it is another token."""
    token = ISSUER.issue("ann@example.com", role="viewer")
    place %= len(token)
    if token[place] not in (char, "."):
        with pytest.raises(AuthenticationError):
            ISSUER.verify(token[:place] + char + token[place + 1 :])


@pytest.mark.parametrize("hours", [0, -1, 721, float("nan"), float("inf")])
def test_how_long_a_token_may_be_good(hours: float) -> None:
    """No longer than thirty days, and at all."""
    with pytest.raises(ValidationError, match="hours"):
        ISSUER.issue("ann@example.com", role="viewer", hours=hours)


def test_too_much_for_a_token() -> None:
    """What no server would read is not issued."""
    with pytest.raises(ValidationError, match="too many groups"):
        ISSUER.issue("ann@example.com", role="viewer", groups=[f"group-{n}" for n in range(3000)])
    with pytest.raises(ValidationError, match="not a role"):
        ISSUER.issue("ann@example.com", role="agent")
