"""What a receiver can rely on: the signature of every request, in its header and in its body."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.engine.webhooks import signature_header, signed, verify_signature

SECRET = "whsec_0123456789abcdef"
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
bodies = st.fixed_dictionaries({"event": st.just("action.approved"), "data": values})
times = st.integers(0, 2**33)


@given(bodies, times, st.integers(-300, 300))
def test_what_was_signed_verifies(body: dict[str, Any], now: int, off: int) -> None:
    """By the header within its tolerance, and by the body alone."""
    sent = signed(SECRET, body)
    header = signature_header(SECRET, sent, now + 0.5)
    assert verify_signature(SECRET, sent, header, now=now + off)
    assert verify_signature(SECRET, sent, None)
    assert json.loads(sent)["data"] == body["data"]


@given(bodies, times, st.data())
def test_any_changed_byte_is_noticed(body: dict[str, Any], now: int, data: st.DataObject) -> None:
    """In the body or in the header, anywhere."""
    sent = signed(SECRET, body)
    header = signature_header(SECRET, sent, now)
    at = data.draw(st.integers(0, len(sent) - 1))
    other = data.draw(st.integers(1, 255))
    tampered = sent[:at] + bytes([sent[at] ^ other]) + sent[at + 1 :]
    assert not verify_signature(SECRET, tampered, header, now=now)
    assert not verify_signature(SECRET, tampered, None)
    place = data.draw(st.integers(0, len(header) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda c: c != header[place]))
    assert not verify_signature(SECRET, sent, header[:place] + letter + header[place + 1 :], now=now)
    assert not verify_signature(SECRET + "x", sent, header, now=now)
    assert not verify_signature(SECRET + "x", sent, None)


@given(bodies, times, st.integers(301, 10**6), st.booleans())
def test_an_old_or_early_header_is_refused(body: dict[str, Any], now: int, off: int, early: bool) -> None:
    """A request that was recorded cannot be played again later."""
    sent = signed(SECRET, body)
    header = signature_header(SECRET, sent, now)
    moved = now - off if early else now + off
    assert not verify_signature(SECRET, sent, header, now=moved)
    assert verify_signature(SECRET, sent, header, now=moved, tolerance=off)


@given(st.binary(max_size=60), st.one_of(st.none(), st.text(max_size=40)))
def test_nonsense_is_refused_without_an_error(body: bytes, header: str | None) -> None:
    """A receiver calls it on whatever the network brings."""
    assert not verify_signature(SECRET, body, header)


def test_a_key_given_twice_does_not_pass() -> None:
    """JSON that two readers understand differently is not what was signed."""
    sent = signed(SECRET, {"event": "action.denied", "data": {}})
    twice = b'{"event":"action.approved",' + sent[1:]
    assert json.loads(twice)["event"] == "action.denied"
    assert not verify_signature(SECRET, twice, None)


def test_the_documented_recipe_is_the_one_used() -> None:
    """As a receiver in any language would write it."""
    sent = signed(
        SECRET, {"event": "action.denied", "timestamp": "t", "data": {"b": 1, "a": "ü"}, "id": "dlv_1"}
    )
    bare = '{"data":{"a":"ü","b":1},"event":"action.denied","id":"dlv_1","timestamp":"t"}'.encode()
    mac = hmac.new(SECRET.encode(), bare, hashlib.sha256).hexdigest()
    assert json.loads(sent)["signature"] == f"v1={mac}"
    whole = hmac.new(SECRET.encode(), b"1700000000." + sent, hashlib.sha256).hexdigest()
    assert signature_header(SECRET, sent, 1_700_000_000.9) == f"t=1700000000,v1={whole}"


def test_deeply_nested_bodies_are_refused() -> None:
    """A body meant to exhaust the reader is refused like any other."""
    assert not verify_signature(SECRET, b"[" * 100_000, None)
    assert not verify_signature(SECRET, b'{"signature":' + b"9" * 10_000 + b"}", None)
