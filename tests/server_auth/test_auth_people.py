"""People who signed in elsewhere: what a token must be, who it says they are, and where the issuer's keys come from."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from auth_world import (
    AUDIENCE,
    EC,
    ED,
    OTHER_RSA,
    RSA,
    SMALL_RSA,
    Issuer,
    certificate,
    jwk,
    pem,
    raw_token,
    reply,
    serving,
)
from hypothesis import given
from hypothesis import strategies as st
from world import standing

from ascend_guard.errors import AuthenticationError, ConfigurationError
from ascend_guard.server.access import oidc as people
from ascend_guard.server.access.oidc import OidcIssuer
from ascend_guard.server.handling import Caller


def verifier(issuer: Issuer, **options: Any) -> OidcIssuer:
    """One for this application."""
    return OidcIssuer(issuer.url, AUDIENCE, **({"jwks_url": issuer.jwks} | options))


def verified(issuer: Issuer, token: str, **options: Any) -> Caller:
    """Who that is."""
    return asyncio.run(verifier(issuer, **options).verify(token))


def refused(issuer: Issuer, token: str, **options: Any) -> str:
    """Why that is nobody."""
    with pytest.raises(AuthenticationError) as error:
        verified(issuer, token, **options)
    return str(error.value)


# --- what a token must be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")]
)
def test_each_algorithm_of_the_issuer(issuer: Issuer, key: Any, algorithm: str, kid: str) -> None:
    """RSA, elliptic curves and Ed25519, whether or not the token says which of the keys it was."""
    who = Caller("local", "ann@example.com", True, "viewer", issuer=issuer.url, subject="u-1")
    assert verified(issuer, issuer.token(key, algorithm, kid)) == who
    assert verified(issuer, issuer.token(key, algorithm, None)) == who


def test_without_a_name_a_key_must_be_the_only_one(issuer: Issuer) -> None:
    """With two of one kind, a token that names none is refused rather than tried on both."""
    issuer.keys.append(jwk(OTHER_RSA, "rsa-2", "RS256"))
    assert "key is not known" in refused(issuer, issuer.token(kid=None))
    assert verified(issuer, issuer.token(OTHER_RSA, kid="rsa-2")).person


def hs_token(issuer: Issuer, secret: bytes, algorithm: str = "HS256") -> str:
    """Signed with something that everybody knows."""
    unsigned = raw_token({"alg": algorithm, "typ": "JWT", "kid": "rsa"}, issuer.claims(role="admin"))
    head = unsigned.rsplit(".", 1)[0]
    mac = hmac.digest(secret, head.encode(), algorithm.replace("HS", "sha"))
    return f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_a_public_key_is_no_shared_secret(issuer: Issuer) -> None:
    """A token signed with the issuer's public key as an HS256 secret is refused, in any form of that key."""
    published = json.dumps(issuer.keys[0])
    for secret in (pem(RSA), pem(RSA).strip(), published.encode(), issuer.keys[0]["n"].encode(), b""):
        for algorithm in ("HS256", "HS384", "HS512"):
            refused(issuer, hs_token(issuer, secret, algorithm))


def test_a_shared_secret_among_the_keys_is_not_used(issuer: Issuer) -> None:
    """Even when the issuer's own document has one."""
    secret = b"k" * 32
    shared = {"kty": "oct", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode(), "kid": "rsa"}
    issuer.keys[:] = [shared | {"alg": "HS256"}, shared, shared | {"alg": "RS256"}]
    refused(issuer, hs_token(issuer, secret))


@pytest.mark.parametrize(
    "name", ["none", "None", "NONE", "nOnE", "", None, 1, ["RS256"], {"RS256": 1}, "RS256 ", "PS256"]
)
@pytest.mark.parametrize("signature", [b"", b"x"])
def test_no_algorithm_of_the_tokens_choosing(issuer: Issuer, name: Any, signature: bytes) -> None:
    """``none`` and whatever else is written there chooses nothing."""
    refused(issuer, raw_token({"alg": name, "kid": "rsa"}, issuer.claims(role="admin"), signature))


def test_a_key_is_for_one_algorithm(issuer: Issuer) -> None:
    """A key that is published for one is not used with another, nor with one that was not configured."""
    refused(issuer, issuer.token(RSA, "RS512"))
    refused(issuer, issuer.token(RSA, "PS256"))
    refused(issuer, issuer.token(RSA, "RS256"), algorithms=("ES256",))
    refused(issuer, issuer.token(RSA, "RS512"), algorithms=("RS256", "RS512"))
    refused(issuer, issuer.token(EC, "ES256", "rsa"))
    issuer.keys[0] = jwk(RSA, "rsa", None, kind="RS256")
    assert verified(issuer, issuer.token(RSA, "RS512"), algorithms=("RS256", "RS512")).person


def test_a_key_for_encryption_signs_nothing(issuer: Issuer) -> None:
    """It says so itself."""
    issuer.keys[0] = jwk(RSA, "rsa", "RS256", use="enc")
    refused(issuer, issuer.token())


def test_a_key_that_is_too_small(issuer: Issuer) -> None:
    """RSA of 1024 bits is not accepted from any issuer."""
    issuer.keys.append(jwk(SMALL_RSA, "small", "RS256"))
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        token = issuer.token(SMALL_RSA, kid="small")
    refused(issuer, token)


@pytest.mark.parametrize(
    "kid",
    [
        "../../etc/passwd",
        "rsa' OR '1'='1",
        "http://evil.example/keys",
        "rsa\x00",
        "",
        "RSA",
        "x" * 5000,
        "rsa ",
    ],
)
def test_the_name_of_a_key_is_only_looked_up(issuer: Issuer, kid: str) -> None:
    """It leads nowhere: the issuer is asked for its one document and nothing else."""
    refused(issuer, issuer.token(OTHER_RSA, kid=kid))
    assert set(issuer.asked) == {"/keys"}


def test_keys_that_the_token_brings_are_not_used(issuer: Issuer) -> None:
    """Neither in ``jwk`` nor from ``jku`` or ``x5u``."""
    own = jwk(OTHER_RSA, "mine", "RS256")
    for headers in (
        {"jwk": own},
        {"jwk": own, "kid": "rsa"},
        {"jku": f"{issuer.url}/mine", "kid": "mine"},
        {"x5u": f"{issuer.url}/mine", "kid": "mine"},
    ):
        refused(issuer, jwt.encode(issuer.claims(), OTHER_RSA, "RS256", headers=headers))
    assert set(issuer.asked) == {"/keys"}


_NOW = int(time.time())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        *(({name: None}, "not accepted") for name in ("exp", "iat", "sub", "iss")),
        ({"aud": None}, "another application"),
        ({"iss": "https://else.where"}, "not accepted"),
        ({"aud": "else"}, "another application"),
        ({"aud": []}, "another application"),
        ({"aud": {AUDIENCE: 1}}, "another application"),
        ({"aud": f"{AUDIENCE} "}, "another application"),
        ({"aud": AUDIENCE.upper()}, "another application"),
        ({"aud": None, "client_id": AUDIENCE}, "another application"),
        ({"aud": "else", "client_id": AUDIENCE, "token_use": "access"}, "another application"),
        ({"aud": None, "client_id": "else", "token_use": "access"}, "another application"),
        ({"token_use": "refresh"}, "another application"),
        ({"exp": _NOW - 60}, "expired"),
        ({"exp": -1}, "expired"),
        ({"nbf": _NOW + 3600}, "not valid yet"),
        ({"iat": _NOW + 3600}, "not valid yet"),
        ({"exp": "never"}, "not accepted"),
        ({"exp": [_NOW + 60]}, "not accepted"),
        ({"nbf": "now"}, "not accepted"),
        ({"sub": 7}, "not accepted"),
        ({"email": "key:1"}, "not accepted"),
        ({"email": "ann\n@example.com"}, "not accepted"),
        ({"email": "a" * 300}, "not accepted"),
    ],
)
def test_claims_that_are_not_good(issuer: Issuer, changed: dict[str, Any], words: str) -> None:
    """Each token differs from a good one in one thing, and is signed with the issuer's key."""
    if changed.get("sub", "") == 7:
        token = jwt.api_jws.encode(json.dumps(issuer.claims(sub=7)).encode(), RSA, "RS256", {"kid": "rsa"})
    else:
        claims = issuer.claims(**changed)
        token = jwt.api_jws.encode(json.dumps(claims).encode(), RSA, "RS256", {"kid": "rsa"})
    assert words in refused(issuer, token)


def test_clocks_may_differ_a_little(issuer: Issuer) -> None:
    """Half a minute, not two."""
    assert verified(issuer, issuer.token(exp=int(time.time()) - 10)).person
    assert verified(issuer, issuer.token(iat=int(time.time()) + 10, nbf=int(time.time()) + 10)).person
    refused(issuer, issuer.token(exp=int(time.time()) - 120))
    refused(issuer, issuer.token(iat=int(time.time()) + 120))


def test_tokens_for_another_purpose(issuer: Issuer) -> None:
    """A token made to sign out, or to prove a key, signs nobody in, though the issuer signed it for us."""
    for kind in ("logout+jwt", "dpop+jwt", "secevent+jwt", 1, []):
        refused(issuer, jwt.encode(issuer.claims(), RSA, "RS256", headers={"kid": "rsa", "typ": kind or [1]}))
    for kind in ("JWT", "jwt", "at+jwt", "application/at+jwt"):
        token = jwt.encode(issuer.claims(), RSA, "RS256", headers={"kid": "rsa", "typ": kind})
        assert verified(issuer, token).person


# --- who it says they are ------------------------------------------------------------------------------------------------

_SOME = st.sampled_from(
    [
        "viewer",
        "viewers",
        "approver",
        "approvers",
        "admin",
        "admins",
        "Admin",
        "finance",
        "",
        "acme",
        "bob",
        1,
        None,
        True,
    ]
)
_VALUE = st.one_of(
    _SOME, st.lists(_SOME, max_size=4), st.dictionaries(st.sampled_from(["admin", "a"]), _SOME, max_size=1)
)
_CLAIMS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            *("role", "custom:role", "groups", "cognito:groups", "organization", "custom:organization"),
            *("email", "email_verified", "cognito:username", "username"),
        ),
        _VALUE,
    )
    | {
        "token_use": st.sampled_from(["id", "access", "other", 1]),
        "aud": st.sampled_from([AUDIENCE, "else", [AUDIENCE]]),
    },
)


def expected(claims: dict[str, Any]) -> Caller | None:
    """Who these claims are, by the rules as they are written down; None for nobody."""

    def word(*names: str) -> str | None:
        found = [claims[name] for name in names if name in claims]
        return next((value for value in found if isinstance(value, str) and value), None)

    if claims.get("token_use", "id") not in ("id", "access") or AUDIENCE not in (
        claims["aud"],
        *claims["aud"],
    ):
        return None
    source = claims["cognito:groups"] if "cognito:groups" in claims else claims.get("groups", [])
    groups = (
        {source}
        if isinstance(source, str)
        else {g for g in source if isinstance(g, str)}
        if isinstance(source, list)
        else set()
    )
    role = "viewer"
    for group in groups:
        named = group.removesuffix("s")
        if group in ("approver", "approvers", "admin", "admins") and (named == "admin" or role == "viewer"):
            role = named
    for claim in ("custom:role", "role"):
        if claim in claims:
            role = claims[claim] if claims[claim] in ("viewer", "approver", "admin") else "viewer"
    email, doubted = word("email"), claims.get("email_verified", True) is not True
    if email is None and claims.get("token_use") == "access":
        role = "viewer"
    if email is not None and doubted:
        email, role = None, "viewer"
    name = email or word("cognito:username", "username") or "u-1"
    organization = word("organization", "custom:organization") or "home"
    return Caller(organization, name, True, role, None, frozenset(groups), claims["iss"], claims["sub"])


@pytest.fixture(scope="module")
def ready(lasting_issuer: Issuer) -> Iterator[tuple[Issuer, OidcIssuer, asyncio.Runner]]:
    """An issuer whose keys are known already."""
    lasting_issuer.reset()
    with asyncio.Runner() as runner:
        made = verifier(lasting_issuer, organization="home", clock=standing())
        runner.run(made.verify(lasting_issuer.token()))
        yield lasting_issuer, made, runner


@given(claims=_CLAIMS)
def test_who_a_token_says_they_are(
    ready: tuple[Issuer, OidcIssuer, asyncio.Runner], claims: dict[str, Any]
) -> None:
    """For any claims: the person by the rules, and nobody else; what is not understood grants nothing."""
    issuer, made, runner = ready
    full = issuer.claims(email=None) | claims
    if full.get("email_verified") in (1, "true"):  # 1 == True
        full["email_verified"] = True
    who = expected(full)
    token = jwt.encode(full, RSA, "RS256", headers={"kid": "rsa"})
    if who is None:
        with pytest.raises(AuthenticationError):
            runner.run(made.verify(token))
    else:
        assert runner.run(made.verify(token)) == who


def test_an_address_that_nobody_vouches_for(issuer: Issuer) -> None:
    """Names nobody, and whoever has it may look only: they could take a colleague's, or count as two people."""
    for doubted in (False, "false", None, "maybe"):
        claims = issuer.claims(role="admin") | {"email_verified": doubted, "cognito:username": "mallory"}
        token = jwt.encode(claims, RSA, "RS256", headers={"kid": "rsa"})
        caller = verified(issuer, token)
        assert (caller.name, caller.role) == ("mallory", "viewer")
    for vouched in (True, "true"):
        assert verified(issuer, issuer.token(role="admin", email_verified=vouched)).role == "admin"


# --- where the keys come from ----------------------------------------------------------------------------------------------


def test_the_discovery_document_says_where_the_keys_are(issuer: Issuer) -> None:
    """When no address of keys is given (OpenID Connect Discovery 1.0, 4)."""
    assert verified(issuer, issuer.token(), jwks_url=None).person
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://else.where"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "http://198.51.100.7/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"jwks_uri": "//127.0.0.1/keys"},
        {"jwks_uri": 7},
    ],
)
def test_discovery_documents_that_are_not_good(
    issuer: Issuer, document: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Another issuer's, or one that leads where anybody in between could answer: nothing is asked there."""
    issuer.document |= document
    assert "key is not known" in refused(issuer, issuer.token(), jwks_url=None)
    assert issuer.asked == ["/.well-known/openid-configuration"]
    if isinstance(document.get("jwks_uri"), str):
        assert "cannot be used for an issuer's keys" in caplog.text


def test_over_https(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer's certificate must be good, and from https no document leads to plain http."""
    tls = certificate(tmp_path / "localhost.pem")
    with serving(tls) as secure:
        refused(secure, secure.token())
        assert secure.asked == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls))
        assert verified(secure, secure.token()).person
        assert verified(secure, secure.token(), jwks_url=None).person
        secure.document["jwks_uri"] = issuer.jwks
        refused(secure, secure.token(), jwks_url=None)
        assert issuer.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "http://idp.example.com/keys",
        "http://localhost.example.com/keys",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "http://10.0.0.1/keys",
        "http://[::ffff:10.0.0.1]/",
        "ftp://idp.example.com",
        "idp.example.com",
        "https://",
        "",
        "http://[::1",
    ],
)
def test_addresses_of_keys(address: str) -> None:
    """https, or this machine: anybody on the way could answer with keys of their own."""
    with pytest.raises(ConfigurationError, match=r"https|address"):
        OidcIssuer(address, AUDIENCE)
    OidcIssuer("https://idp.example.com/", AUDIENCE)
    OidcIssuer("http://[::1]:8080/", AUDIENCE)


@pytest.mark.parametrize("algorithms", [("HS256",), ("RS256", "none"), ("RS256", "HS512"), (), ("rs256",)])
def test_algorithms_that_cannot_be_configured(algorithms: tuple[str, ...]) -> None:
    """No shared secrets, none at all, and nothing that is misspelt."""
    with pytest.raises(ConfigurationError, match="cannot be signed with"):
        OidcIssuer("https://idp.example.com", AUDIENCE, algorithms=algorithms)


def _redirecting(handler: Any) -> None:
    reply(handler, b"", 302, {"Location": "/elsewhere"})


def _huge(handler: Any) -> None:
    body = json.dumps({"keys": [jwk(RSA, "rsa", "RS256")], "x": "y" * 2_000_000}).encode()
    reply(handler, body)


def _zipped(handler: Any) -> None:
    import gzip

    reply(handler, gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"})


def _short(handler: Any) -> None:
    reply(handler, b'{"keys": [', headers={"Content-Length": "500"})


def _answering(body: bytes, status: int = 200) -> Any:
    return lambda handler: reply(handler, body, status)


@pytest.mark.parametrize(
    "answer",
    [
        _redirecting,
        _huge,
        _zipped,
        _short,
        _answering(b"", 500),
        _answering(b'{"keys": []}', 404),
        _answering(b'{"keys": []}'),
        _answering(b""),
        _answering(b"\xff\xfe"),
        _answering(b"[]"),
        _answering(b'{"keys": {}}'),
        _answering(b'{"keys": [1]}'),
        _answering(json.dumps({"keys": [jwk(RSA, "rsa", "RS512")]}).encode()),
        _answering(b"[" * 100_000),
        _answering(b'{"keys": [{"kty": "RSA"}, {"kty": ["RSA"], "kid": "rsa"}, {"kid": {}}]}'),
    ],
)
def test_issuers_that_do_not_answer_with_keys(
    issuer: Issuer, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """They let nobody in. The operator is told why; whoever asks is not."""
    issuer.answers["/keys"] = answer
    issuer.answers["/elsewhere"] = _answering(json.dumps({"keys": issuer.keys}).encode())
    assert refused(issuer, issuer.token()) == people._UNKNOWN_KEY
    assert issuer.asked == ["/keys"]
    assert "cannot be fetched" in caplog.text


def test_an_issuer_that_is_not_there() -> None:
    """Nobody listens at its address."""
    made = OidcIssuer("http://127.0.0.1:1", AUDIENCE)
    token = jwt.encode({"iss": "http://127.0.0.1:1"}, RSA, "RS256", headers={"kid": "rsa"})
    with pytest.raises(AuthenticationError):
        asyncio.run(made.verify(token))


def test_keys_in_pieces(issuer: Issuer) -> None:
    """A body that comes in chunks is read to its end."""

    def chunked(handler: Any) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        body = json.dumps({"keys": issuer.keys}).encode()
        for start in range(0, len(body), 100):
            piece = body[start : start + 100]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    issuer.answers["/keys"] = chunked
    assert verified(issuer, issuer.token()).person


def test_one_bad_key_does_not_take_the_others_away(issuer: Issuer) -> None:
    """What the library cannot read is passed over."""
    bad: list[Any] = [
        {"kty": "RSA", "n": 1, "e": None},
        {"kty": "EC", "crv": "P-999"},
        {"alg": ["x"], "kty": "OKP"},
        {},
    ]
    issuer.keys[:0] = bad
    assert verified(issuer, issuer.token()).person


def slowly(part: str, over: threading.Event) -> Any:
    """Answer nothing, or one byte now and then, until it is over."""

    def answer(handler: Any) -> None:
        if part == "body":
            handler.send_response(200)
            handler.end_headers()
        elif part == "head":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-")
        while part != "nothing" and not over.wait(0.05):
            handler.wfile.write(b" " if part == "body" else b"x")
        over.wait()

    return answer


@pytest.mark.parametrize("part", ["nothing", "body", "head"])
def test_an_issuer_that_takes_its_time_holds_up_nobody(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The event loop goes on meanwhile, and the token is refused in the end."""
    monkeypatch.setattr(people, "_TIMEOUT", 0.3)
    over = threading.Event()
    issuer.answers["/keys"] = slowly(part, over)

    async def play() -> int:
        made = verifier(issuer)
        asking = asyncio.create_task(made.verify(issuer.token()))
        turns = 0
        while not asking.done():
            await asyncio.sleep(0.005)
            turns += 1
        with pytest.raises(AuthenticationError):
            await asking
        # Nobody else waits for that long, and the issuer is not asked again so soon.
        with pytest.raises(AuthenticationError):
            await made.verify(issuer.token())
        over.set()
        return turns

    assert asyncio.run(play()) > 10
    assert issuer.asked == ["/keys"]


@pytest.mark.parametrize("part", ["nothing", "body", "head"])
def test_an_issuer_that_took_its_time_is_asked_again(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Its keys are had as soon as it answers, even while it goes on with its first answer."""
    monkeypatch.setattr(people, "_TIMEOUT", 0.3)
    over, clock = threading.Event(), standing()
    issuer.answers["/keys"] = slowly(part, over)

    async def play() -> Caller:
        made = verifier(issuer, clock=clock)
        with pytest.raises(AuthenticationError):
            await made.verify(issuer.token())
        issuer.answers.clear()
        clock.now += 10
        return await made.verify(issuer.token())

    try:
        assert asyncio.run(play()).person
    finally:
        over.set()


def test_many_at_once_ask_the_issuer_once(issuer: Issuer) -> None:
    """A hundred people who come in together wait for one fetch."""

    async def play() -> list[Caller]:
        made = verifier(issuer)
        return await asyncio.gather(
            *(made.verify(issuer.token(email=f"p{n}@example.com")) for n in range(100))
        )

    assert len({caller.name for caller in asyncio.run(play())}) == 100
    assert issuer.asked == ["/keys"]


def test_a_caller_who_goes_away_does_not_stop_the_fetch(issuer: Issuer) -> None:
    """The others who wait for it get their answer."""

    async def play() -> Caller:
        made = verifier(issuer)
        first = asyncio.create_task(made.verify(issuer.token()))
        second = asyncio.create_task(made.verify(issuer.token()))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(play()).person
    assert issuer.asked == ["/keys"]


def test_unknown_keys_do_not_make_us_ask_and_ask(issuer: Issuer) -> None:
    """However many tokens name keys that are not there, the issuer is asked once in ten seconds."""
    clock = standing()

    async def play() -> None:
        made = verifier(issuer, clock=clock)
        await made.verify(issuer.token())
        for step in range(30):
            clock.now = 1_700_000_000.0 + step
            for number in range(10):
                with pytest.raises(AuthenticationError):
                    await made.verify(issuer.token(OTHER_RSA, kid=f"made-up-{step}-{number}"))

    asyncio.run(play())
    assert issuer.asked == ["/keys"] * 3


def test_a_new_key_is_found(issuer: Issuer) -> None:
    """An issuer that signs with a new key is believed once its document says so, and the old key is dropped."""
    clock = standing()

    async def play() -> None:
        made = verifier(issuer, clock=clock)
        await made.verify(issuer.token())
        issuer.keys[:] = [jwk(OTHER_RSA, "rsa-2", "RS256")]
        clock.now += 10
        assert (await made.verify(issuer.token(OTHER_RSA, kid="rsa-2"))).person
        clock.now += 10
        with pytest.raises(AuthenticationError):
            await made.verify(issuer.token())

    asyncio.run(play())


def test_a_key_that_its_issuer_withdrew_is_dropped(issuer: Issuer) -> None:
    """After five minutes the next sign-in makes us look, without waiting for it."""
    clock = standing()

    async def play() -> None:
        made = verifier(issuer, clock=clock)
        await made.verify(issuer.token())
        issuer.keys[:] = [jwk(OTHER_RSA, "rsa-2", "RS256")]
        clock.now += 301
        assert (await made.verify(issuer.token())).person
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        with pytest.raises(AuthenticationError):
            await made.verify(issuer.token())

    asyncio.run(play())


def test_known_keys_outlast_their_issuer_for_an_hour(issuer: Issuer) -> None:
    """While it is away people who signed in go on; after an hour nobody does, until it is back."""
    clock = standing()

    async def play() -> None:
        made = verifier(issuer, clock=clock)
        await made.verify(issuer.token())
        issuer.answers["/keys"] = _answering(b"", 503)
        for later in (600, 1800, 3600):
            clock.now = 1_700_000_000.0 + later
            assert (await made.verify(issuer.token())).person
        await asyncio.sleep(0)
        clock.now += 1
        with pytest.raises(AuthenticationError):
            await made.verify(issuer.token())
        issuer.answers.clear()
        clock.now += 10
        assert (await made.verify(issuer.token())).person

    asyncio.run(play())
