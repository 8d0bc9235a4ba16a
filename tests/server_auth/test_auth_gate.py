"""The gate: what a request's headers may look like, who may use what, and how soon a key that was revoked is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auth_world import Issuer, World, raw_token
from hypothesis import given
from hypothesis import strategies as st
from world import standing

from ascend_guard.api.endpoint import Access
from ascend_guard.errors import AuthenticationError, AuthorizationDeniedError, StoreError
from ascend_guard.server.access.auth import Gate
from ascend_guard.server.access.oidc import OidcIssuer
from ascend_guard.server.access.tokens import LOCAL_ISSUER, LocalIssuer
from ascend_guard.server.handling import Caller
from ascend_guard.store.projections import Drop, thing


class Desk:
    """A gate, and whoever stands in front of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = standing()
        self.issuer = LocalIssuer(world.store.secret)
        self.gate = Gate(world.store, self.clock, [self.issuer])

    def admit(self, access: Access = Access.CALLER, **headers: str) -> Caller:
        """Ask; ``x_api_key`` and ``authorization`` are headers."""
        given_ = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(self.gate.admit(given_, access))

    def refused(self, access: Access = Access.CALLER, **headers: str) -> str:
        """Ask, and hear a no."""
        with pytest.raises(AuthenticationError) as error:
            self.admit(access, **headers)
        return str(error.value)


@pytest.fixture
def desk(world: World) -> Desk:
    """A gate."""
    return Desk(world)


def test_the_ways_to_send_a_key(desk: Desk) -> None:
    """As X-API-Key, as a bearer's, or as both (REST API document, "Authentication")."""
    key, info = desk.world.key("acme", "seller")
    who = Caller("acme", f"key:{info.key_id}", role="agent", agent_id="seller")
    assert desk.admit(x_api_key=key) == who
    assert desk.admit(authorization=f"Bearer {key}") == who
    assert desk.admit(authorization=f"bearer {key}") == who
    assert desk.admit(authorization=f"BEARER  {key}", x_api_key=key) == who


def test_two_different_keys_are_refused(desk: Desk) -> None:
    """Even when both are good, and even when one is empty."""
    first, second = desk.world.key()[0], desk.world.key()[0]
    assert "two different" in desk.refused(x_api_key=first, authorization=f"Bearer {second}")
    assert "two different" in desk.refused(x_api_key="", authorization=f"Bearer {second}")
    token = desk.issuer.issue("ann@example.com", role="admin")
    assert "two different" in desk.refused(x_api_key=first, authorization=f"Bearer {token}")


def test_a_persons_token_is_a_bearers(desk: Desk) -> None:
    """It may stand in both headers, as the published client sends it, but not as X-API-Key alone."""
    token = desk.issuer.issue("ann@example.com", role="approver", groups=["finance"])
    signed_in = (LOCAL_ISSUER, "ann@example.com")
    who = Caller("local", "ann@example.com", True, "approver", None, frozenset({"finance"}), *signed_in)
    assert desk.admit(authorization=f"Bearer {token}") == who
    assert desk.admit(authorization=f"Bearer {token}", x_api_key=token) == who
    assert "not accepted" in desk.refused(x_api_key=token)


ROLES = ("agent key", "admin key", "viewer", "approver", "admin", "nobody", "stranger's key")
ALLOWED: dict[Access, dict[str, type[Exception] | None]] = {
    Access.PUBLIC: dict.fromkeys(ROLES, None),
    Access.CALLER: {**dict.fromkeys(ROLES, None), "nobody": AuthenticationError},
    Access.ADMIN: {
        "agent key": AuthorizationDeniedError,
        "admin key": None,
        "viewer": AuthorizationDeniedError,
        "approver": AuthorizationDeniedError,
        "admin": None,
        "nobody": AuthenticationError,
    },
    Access.PERSON: {
        "agent key": AuthenticationError,
        "admin key": AuthenticationError,
        "viewer": None,
        "approver": None,
        "admin": None,
        "nobody": AuthenticationError,
    },
    Access.PERSON_ADMIN: {
        "agent key": AuthenticationError,
        "admin key": AuthenticationError,
        "viewer": AuthorizationDeniedError,
        "approver": AuthorizationDeniedError,
        "admin": None,
        "nobody": AuthenticationError,
    },
}


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("who", ROLES)
def test_who_may_use_what(desk: Desk, access: Access, who: str) -> None:
    """Every kind of endpoint, by every kind of caller; an API key never passes for a person."""
    if who == "nobody":
        headers = {}
    elif who == "stranger's key":
        headers = {"x_api_key": f"owkai_{'A' * 43}"}
    elif who.endswith("key"):
        headers = {"x_api_key": desk.world.key(role=who.split()[0])[0]}
    else:
        headers = {"authorization": f"Bearer {desk.issuer.issue('ann@example.com', role=who)}"}
    expected = ALLOWED[access].get(who, AuthenticationError)
    if who == "stranger's key" and access is not Access.PUBLIC:
        expected = AuthenticationError
    if expected is None:
        caller = desk.admit(access, **headers)
        assert caller.role == ("none" if access is Access.PUBLIC else who.removesuffix(" key"))
        assert caller.person == (access is not Access.PUBLIC and "key" not in who)
    else:
        with pytest.raises(expected):
            desk.admit(access, **headers)


def test_the_public_is_not_looked_at(desk: Desk) -> None:
    """What is for anybody needs neither headers nor the store."""
    desk.world.store.close()
    headers = {"x_api_key": "\N{SNOWMAN}", "authorization": "Basic"}
    assert desk.admit(Access.PUBLIC, **headers) == Caller("", "anonymous", role="none")


def test_whether_a_key_exists_is_not_told(desk: Desk) -> None:
    """The same words for a key that never was, one that was revoked, and text that is none; no secret in any."""
    key, info = desk.world.key()
    desk.world.revoke(info)
    words = {desk.refused(x_api_key=text) for text in (key, f"owkai_{'A' * 43}", "hello", "owkai_", "")}
    assert len(words) == 1
    good, _ = desk.world.key()
    words = {desk.refused(Access.PERSON, x_api_key=text) for text in (good, key, "hello")}
    assert len(words) == 1
    assert good not in words.pop()


def test_a_revoked_key_is_refused_within_a_second(desk: Desk) -> None:
    """And at once where the gate is told to forget what it knows."""
    key, info = desk.world.key()
    desk.admit(x_api_key=key)
    desk.world.revoke(info)
    assert desk.admit(x_api_key=key).name == f"key:{info.key_id}"
    desk.clock.now += 1.0
    desk.refused(x_api_key=key)

    key, info = desk.world.key()
    desk.admit(x_api_key=key)
    desk.world.revoke(info)
    desk.gate.forget()
    desk.refused(x_api_key=key)


def test_a_clock_that_is_set_back_keeps_no_key_alive(desk: Desk) -> None:
    """What is remembered is not good for longer than a second by any clock."""
    key, info = desk.world.key()
    desk.admit(x_api_key=key)
    desk.world.revoke(info)
    desk.clock.now -= 3600
    desk.refused(x_api_key=key)


def test_what_was_read_before_a_revocation_is_not_remembered_after(world: World) -> None:
    """A look-up that began before the revocation and ended after it serves its own request only."""
    key, info = world.key()
    clock = standing()

    class Slow:
        secret = world.store.secret

        async def aread(self, work: Callable[[Any], Any], **how: Any) -> Any:
            answer = world.store.read(work)
            await held.wait()
            return answer

    async def play() -> None:
        gate = Gate(Slow(), clock, [])  # type: ignore[arg-type]
        first = asyncio.create_task(gate.admit({"x-api-key": key}, Access.CALLER))
        await asyncio.sleep(0)
        world.revoke(info)
        gate.forget()
        held.set()
        await first
        with pytest.raises(AuthenticationError):
            await gate.admit({"x-api-key": key}, Access.CALLER)

    held = asyncio.Event()
    asyncio.run(play())


def test_a_new_key_is_good_at_once(desk: Desk) -> None:
    """That there was no such key is not remembered."""
    key, info = desk.world.key()
    body = desk.world.store.read(lambda reader: reader.record_number("local", "api_key", int(info.key_id)))
    assert body is not None
    by = {"organization": "local", "actor": "a test"}
    desk.world.store.write(lambda tx: tx.record("api_key.gone", drop=[Drop("api_key", body.name)], **by))
    desk.refused(x_api_key=key)
    put = [thing("api_key", body.name, msgspec.Raw(body.body))]
    desk.world.store.write(lambda tx: tx.record("api_key.back", put=put, **by))
    desk.admit(x_api_key=key)


def test_a_store_that_fails_lets_nobody_in(desk: Desk) -> None:
    """Its error is what the caller gets, and nothing remembered stands in for it after a second."""
    key, _ = desk.world.key()
    desk.admit(x_api_key=key)
    desk.world.store.close()
    desk.clock.now += 1.0
    with pytest.raises(StoreError):
        desk.admit(x_api_key=key)


def test_what_is_remembered_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys used last are, and those only; made-up keys take no room at all."""
    monkeypatch.setattr("ascend_guard.server.access.auth._REMEMBERED", 3)
    made = [desk.world.key()[0] for _ in range(5)]
    for key in made:
        desk.admit(x_api_key=key)
    for number in range(9):
        desk.refused(x_api_key=f"owkai_{number:043}")
    assert len(desk.gate._known) == 3


_AROUND = st.text(alphabet=" \t\r\n\x00\x0b\x1f\xa0\u2003\ufeff,;=\"'bBearerxX.0٣", max_size=6)


@given(
    before=_AROUND,
    after=_AROUND,
    scheme=st.sampled_from(["Bearer", "bearer", "Basic", "Token", "Bearer,", ""]),
)
def test_only_these_headers_let_a_key_in(desk: Desk, before: str, after: str, scheme: str) -> None:
    """A scheme, spaces and the key; whatever else stands around the key, it is refused."""
    key, _ = desk.world.key()
    try:
        desk.admit(x_api_key=f"{before}{key}{after}")
        assert not before
        assert not after
    except AuthenticationError:
        assert before or after
    try:
        desk.admit(authorization=f"{scheme}{before}{key}{after}")
        assert scheme.lower() == "bearer"
        assert set(before) == {" "}
        assert not after
    except AuthenticationError:
        assert scheme.lower() != "bearer" or set(before) != {" "} or after


@given(key=st.text(max_size=80), authorization=st.one_of(st.none(), st.text(max_size=80)))
def test_random_headers_let_nobody_in(desk: Desk, key: str, authorization: str | None) -> None:
    """Whatever is sent, the answer is a refusal of ours."""
    headers = {"x_api_key": key} | ({} if authorization is None else {"authorization": authorization})
    desk.refused(**headers)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    header=_JSON
    | st.fixed_dictionaries({"alg": _JSON | st.sampled_from(["none", "EdDSA", "HS256"]), "kid": _JSON}),
    claims=_JSON | st.fixed_dictionaries({"iss": st.just("ascend-guard") | _JSON, "exp": _JSON}),
    signature=st.binary(max_size=70),
)
def test_random_tokens_let_nobody_in(desk: Desk, header: Any, claims: Any, signature: bytes) -> None:
    """Any JSON for a header and for claims, with any bytes for a signature."""
    desk.refused(authorization=f"Bearer {raw_token(header, claims, signature)}")


@given(parts=st.lists(st.text(alphabet="AZaz09-_=+/é ", max_size=40), min_size=3, max_size=3))
def test_three_parts_are_no_token_yet(desk: Desk, parts: list[str]) -> None:
    """Text with two dots in it that is no token."""
    desk.refused(authorization=f"Bearer {'.'.join(parts)}")


@pytest.mark.parametrize(
    "token",
    [
        "a" * 1_000_000 + ".b.c",
        f"eyJhbGciOiJFZERTQSJ9.{'a' * 20_000}.YQ",
        "[" * 5000 + ".a.b",
        raw_token(b"[" * 5000, b"{" * 5000),
        raw_token({"alg": "EdDSA"}, b'{"iss":' + b"[" * 3000 + b"]" * 3000 + b"}"),
        raw_token({"alg": "EdDSA"}, b'{"iss":"ascend-guard","exp":1' + b"0" * 5000 + b"}"),
        raw_token({"alg": "EdDSA"}, b"\xff\xfe"),
        "..",
        "a..",
        "a.b.c.d",
        "\ud800.a.b",
    ],
)
def test_huge_and_broken_tokens(desk: Desk, token: str) -> None:
    """They are refused like any other, and quickly."""
    desk.refused(authorization=f"Bearer {token}")


def test_a_token_goes_to_whoever_verifies_its_issuer(desk: Desk, issuer: Issuer) -> None:
    """Several applications of one issuer are each asked; no issuer's tokens pass for another's."""
    first = OidcIssuer(issuer.url, "first-app", jwks_url=issuer.jwks, organization="acme")
    second = OidcIssuer(issuer.url, "second-app", jwks_url=issuer.jwks, organization="local")
    desk.gate = Gate(desk.world.store, desk.clock, [desk.issuer, first, second])
    for app, organization in (("first-app", "acme"), ("second-app", "local")):
        caller = desk.admit(authorization=f"Bearer {issuer.token(aud=app)}")
        assert (caller.name, caller.organization) == ("ann@example.com", organization)
    assert "another application" in desk.refused(authorization=f"Bearer {issuer.token(aud='third-app')}")
    forged = issuer.token(iss="ascend-guard", aud="ascend-guard", role="admin")
    assert "not accepted" in desk.refused(authorization=f"Bearer {forged}")
    assert "does not know its issuer" in desk.refused(
        authorization=f"Bearer {issuer.token(iss='https://else.where')}"
    )
