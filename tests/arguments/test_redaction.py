"""Secrets are known by name, by annotation and by shape, and ordinary names and texts are left alone."""

from __future__ import annotations

import base64
import json
import sys
import urllib.parse
from collections.abc import Iterator
from typing import Annotated, Any, ForwardRef, Literal, NewType, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.redaction import REDACTED, Redact, is_redacted_hint, is_secret_name, scrub

Alias = Annotated[str, Redact]
Wrapped = NewType("Wrapped", Annotated[str, Redact])  # type: ignore[valid-newtype]
Bound = TypeVar("Bound")


@pytest.mark.parametrize(
    "hint",
    [
        Annotated[str, Redact],
        Annotated[str, Redact()],
        Annotated[Annotated[str, Redact], "other"],
        Annotated[str, Redact] | None,
        list[Annotated[str, Redact]],
        dict[str, list[Annotated[str, Redact] | None]],
        Wrapped,
        "Annotated[str, Redact]",
        "Alias | None",
        "NotThere[str, Redact]",
        "redaction.Redact",
        ForwardRef("Alias"),
        list["Alias"],
    ],
)
def test_annotations_that_say_redact(hint: Any) -> None:
    """Through aliases, unions, containers, and text that can or cannot be evaluated."""
    assert is_redacted_hint(hint, globals())


@pytest.mark.parametrize(
    "hint",
    [
        str, None, Any, str | None, list[str], Bound, Annotated[str, "other"], "str | None", "NotThere", 5,
        ForwardRef("NotThere"), Literal["Redact"], Literal["1/0", "Alias"], "Literal['Redact']", "1/0",
        object(), "NotRedacted", dict[str, tuple[int, ...]],
    ],
)  # fmt: skip
def test_annotations_that_do_not(hint: Any) -> None:
    """What is in a Literal is data."""
    assert not is_redacted_hint(hint, globals())


def test_a_literal_is_not_evaluated() -> None:
    """It may hold any text, code too."""
    touched: list[int] = []
    is_redacted_hint(Literal["touched.append(1)"], {"touched": touched})
    assert touched == []


if sys.version_info >= (3, 12):  # the type statement is new there

    def test_lazy_aliases() -> None:
        """An alias that evaluates is looked into; one that does not counts as secret."""
        space: dict[str, Any] = {"Annotated": Annotated, "Redact": Redact}
        exec("type A = Annotated[str, Redact]\ntype B = str\ntype C = NotThere\ntype D = list[D]", space)
        assert [is_redacted_hint(space[name]) for name in "ABC"] == [True, False, True]
        is_redacted_hint(space["D"])


secrets = st.text(min_size=4, max_size=30) | st.text(alphabet="ab\"'\\ /+%é\n", min_size=4, max_size=12)


@given(secrets, st.text(max_size=20), st.text(max_size=20))
def test_a_known_secret_is_taken_out_in_every_form(secret: str, before: str, after: str) -> None:
    """As it is, and as repr, JSON, percent-encoding or base64 would write it."""
    raw = secret.encode("utf-8", "surrogatepass")
    forms = [
        secret,
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        repr({"a": secret})[7:-2],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        urllib.parse.quote(raw, safe=""),
        urllib.parse.quote_plus(raw),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    ]
    for form in forms:
        scrubbed = scrub(f"{before}{form}{after}", [secret])
        assert form not in scrubbed.replace(REDACTED, "\0") or form in before + "\0" + after
        assert REDACTED in scrubbed


@given(st.lists(st.text(max_size=8), max_size=6), st.text(max_size=60))
def test_no_given_secret_survives(given_secrets: list[str], text: str) -> None:
    """Whatever the secrets are, also parts of one another or of the marker itself."""
    text = "".join(f"{text[:3]} {secret} " for secret in given_secrets) + text
    left = scrub(text, given_secrets).split(REDACTED)
    for secret in given_secrets:
        if len(secret) >= 4:
            assert not any(secret in part for part in left)


@given(st.text(max_size=200), st.lists(st.text(min_size=1, max_size=5), max_size=3))
def test_scrubbing_twice_is_scrubbing_once(text: str, given_secrets: list[str]) -> None:
    """The marker itself is no secret's shape."""
    once = scrub(text)
    assert scrub(once) == once
    assert isinstance(scrub(text, given_secrets), str)


def test_short_secrets_go_only_as_whole_words() -> None:
    """Or a PIN of 12 would eat half of every message."""
    assert scrub("12 is in 1234, pin=12; x12", ["12"]) == f"{REDACTED} is in 1234, pin={REDACTED}; x12"
    assert scrub("a b", ["", "a"]) == f"{REDACTED} b"


def test_overlapping_secrets_leave_one_marker() -> None:
    """Nothing of either stays, and their number is not told."""
    assert scrub("x abcdefgh y", ["abcdef", "defgh", "abcd"]) == f"x {REDACTED} y"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abc.DEF-123\nHost: x", "Authorization: \nHost: x"),
        ("got Bearer abcdefgh back", "got Bearer  back"),
        ("use Basic dXNlcjpwYXNz now", "use Basic  now"),
        ("key owkai_live_abc123 here", "key  here"),
        ("key ask_9f8e7d6c5b4a here", "key  here"),
        ("AKIAIOSFODNN7EXAMPLE leaked", " leaked"),
        ("sk-proj-abcdefghijklmnop1234 leaked", " leaked"),
        ("sk_live_abcdefghijklmnop1234 leaked", " leaked"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789 leaked", " leaked"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_1 expired", " expired"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nend", "\nend"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE and so on", ""),
        ("postgres://bob:hunter2@db:5432/x", "postgres://@db:5432/x"),
        ("redis://:hunter2@cache/0", "redis://@cache/0"),
        ("connect(password='hunter 2', user='bob')", "connect(password='', user='bob')"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "", "n": 1}'),
        ("GET /x?token=abc&page=2", "GET /x?token=&page=2"),
        ("error: client_secret=abc, retry", "error: client_secret=, retry"),
        ("Cookie: a=1; b=2\nnext", "Cookie: \nnext"),
        ("secrets: ['a', 'b'] end", "secrets:  end"),
        ("password: [REDACTED]", "password: "),
    ],
)
def test_shapes_of_credentials_are_taken_out(text: str, kept: str) -> None:
    """Whoever's they are."""
    assert scrub(text).replace(REDACTED, "") == kept
    assert REDACTED in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "Bearer authentication failed",
        "Basic Information about basic authentication",
        "ask_customer_name(order_id=5) took 3 ms",
        "f() got an unexpected keyword argument 'password'",
        "https://example.com:443/a@b?page=2",
        "max_tokens=512, author: bob, time: 12:30",
        "KeyError: 'customer_id'",
        "sk-learn is not installed",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Error messages stay useful."""
    assert scrub(text) == text


def _worst() -> Iterator[str]:
    pieces = [
        "eyJ", "eyJaaaa.", "://", "://a:", "sk-", "bearer ", "basic ", "basic a", "password=",
        "password='", "a", " ", "password: [", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "a.", "ask_a",
        "=", "AKIA", "\\'",
        'password "', "cookie: ", "token: {", "a=", "ghp_", "\n", "passwordA",
    ]  # fmt: skip
    for piece in pieces:
        yield piece * (200_000 // len(piece))


@pytest.mark.timeout(90)
def test_scrubbing_takes_linear_time() -> None:
    """Long texts of the worst kinds: a quadratic pattern would not come back in time."""
    for text in _worst():
        scrub(text, ["zzzz", "aaab", "z"])
        is_secret_name(text)
