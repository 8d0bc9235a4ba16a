"""A known secret is found in other texts whatever encoding, case or part it is in, in linear time."""

from __future__ import annotations

import base64
import html
import json
import quopri
import random
import sys
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SCHEDULES

from ascend_guard.redaction import REDACTED, scrub
from ascend_guard.redaction import secret_values as secret_values
from ascend_guard.redaction.decodings import View, decoded
from ascend_guard.redaction.secret_values import MOST_PARTS, PART

Change = Callable[[str, random.Random], str]


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _wrapped(text: str, chance: random.Random) -> str:
    """In the base64 of a larger text, at any of the three places."""
    return base64.b64encode(chance.randbytes(chance.randrange(7)) + _raw(text) + b"~end").decode()


def _cut(size: int, chance: random.Random) -> tuple[int, int]:
    length = chance.randint(PART, size)
    start = chance.choice((0, size - length, chance.randint(0, size - length)))
    return start, start + length


SPELLINGS: dict[str, Change] = {
    "as it is": lambda text, _: text,
    "upper": lambda text, _: text.upper(),
    "lower": lambda text, _: text.lower(),
    "swapped case": lambda text, _: text.swapcase(),
    "decomposed": lambda text, _: unicodedata.normalize("NFD", text),
    "composed": lambda text, _: unicodedata.normalize("NFKC", text),
    "part": lambda text, chance: text[slice(*_cut(len(text), chance))],
}

ENCODERS: dict[str, Change] = {
    "none": lambda text, _: text,
    "repr": lambda text, _: repr(text)[1:-1],
    "repr of bytes": lambda text, _: repr(_raw(text))[2:-1],
    "ascii": lambda text, _: ascii(text)[1:-1],
    "json": lambda text, _: json.dumps(text)[1:-1],
    "json, unicode": lambda text, _: json.dumps(text, ensure_ascii=False)[1:-1],
    "code points": lambda text, _: "".join(f"\\u{{{ord(sign):x}}}" for sign in text),
    "octal": lambda text, _: "".join(f"\\{byte:03o}" for byte in _raw(text)),
    "percent": lambda text, _: urllib.parse.quote(_raw(text)),
    "percent, all": lambda text, _: "".join(f"%{byte:02x}" for byte in _raw(text)),
    "percent, apostrophes": lambda text, _: urllib.parse.quote(_raw(text), safe="'"),
    "form": lambda text, _: urllib.parse.quote_plus(_raw(text)),
    "hex": lambda text, _: _raw(text).hex(),
    "HEX": lambda text, _: _raw(text).hex().upper(),
    "hex:": lambda text, _: _raw(text).hex(":"),
    "0x": lambda text, _: ", ".join(f"0x{byte:02x}" for byte in _raw(text)),
    "numbers": lambda text, _: str(list(_raw(text))),
    "base64": lambda text, _: base64.b64encode(_raw(text)).decode(),
    "base64 for addresses": lambda text, _: base64.urlsafe_b64encode(_raw(text)).decode().rstrip("="),
    "base64 in lines": lambda text, _: base64.encodebytes(_raw(text)).decode(),
    "base64 of a larger text": _wrapped,
    "base64 of UTF-16": lambda text, _: base64.b64encode(text.encode("utf-16-le", "surrogatepass")).decode(),
    "html": lambda text, _: html.escape(text),
    "html, all": lambda text, _: "".join(f"&#{ord(sign)};" for sign in text),
    "html, hexadecimal": lambda text, _: "".join(f"&#x{ord(sign):X};" for sign in text),
    "quoted-printable": lambda text, _: quopri.encodestring(_raw(text)).decode("latin-1"),
}
LATIN = {"base64 of UTF-16", "html, all", "html, hexadecimal", "quoted-printable"}
"""Encoders that do not carry every character: only secrets of letters that they carry are given to them."""

_used: Counter[str] = Counter()

LEFT = 24
"""Most characters that may stay of an encoded secret: padding, and what was put around it."""

anything = st.text(min_size=10, max_size=40)
typical = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.!$&<>'\"\\ %",
    min_size=10,
    max_size=60,
).filter(lambda text: not text.isspace())


@st.composite
def hidden(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A secret, what a message shows of it, and how that came about."""
    names = [draw(st.sampled_from(sorted(ENCODERS))) for _ in range(2)]
    secret = draw(typical if LATIN & set(names) else typical | anything)
    spelling = draw(st.sampled_from(sorted(SPELLINGS)))
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    shown = SPELLINGS[spelling](secret, chance)
    for name in names:
        shown = ENCODERS[name](shown, chance)
    return secret, shown, [spelling, *names]


@settings(max_examples=SCHEDULES * 6)
@given(hidden(), st.text(max_size=20), st.text(max_size=20), st.text(min_size=12, max_size=20))
def _secret_is_gone(what: tuple[str, str, list[str]], before: str, after: str, other: str) -> None:
    secret, shown, how = what
    _used.update(how)
    scrubbed = scrub(f"{before} {shown} {after}", [other, secret])
    left = scrubbed.replace(REDACTED, "")
    assert REDACTED in scrubbed
    assert shown not in scrubbed
    # What the first encoder put around it is up to eight times as long after the second.
    allowed = LEFT * (8 if how[1] == "base64 of a larger text" else 2)
    assert len(left) <= len(before) + len(after) + 2 + allowed


def test_a_secret_is_taken_out_however_it_is_written() -> None:
    """In any case or part, through up to two encoders, each of which was tried."""
    _used.clear()
    _secret_is_gone()
    assert {name for name in (*SPELLINGS, *ENCODERS) if _used[name] < 3} == set()


@given(st.characters())
def test_folding_is_the_same_for_every_spelling_of_a_letter(sign: str) -> None:
    """In capitals, in small letters, composed or not."""
    folded = secret_values._folded(sign)
    spellings = [
        sign.upper(),
        sign.lower(),
        *(unicodedata.normalize(form, sign) for form in ("NFC", "NFD", "NFKC")),
    ]
    assert {secret_values._folded(other) for other in spellings} == {folded}


@pytest.mark.parametrize(
    "text",
    [
        "File not found: reports/2026/summary.csv (permission denied for user anna)",
        "HTTPSConnectionPool(host='api.example.com', port=443): Max retries exceeded with url: /v1/refunds",
        "0x7f12ab2c4c60 deadbeef 5a:71:37:00:11 [1, 2, 3, 4, 5, 6] &amp; &#39; %20 \\n \\u0041 =C3=BC",
        'duplicate key value violates unique constraint "orders_pkey" DETAIL: Key (id)=(5) already exists.',
    ],
)
def test_other_text_stays(text: str) -> None:
    """What decodes to something else is left as it is."""
    assert scrub(text, ["hunter2-hunter2-hunter2", "Zq7-OTHER", "4711", "xyz"]) == text


def test_what_stands_around_a_secret_stays() -> None:
    """Only the encoded secret is taken out, character by character."""
    secret = "sk-live-0123456789"
    encoded = base64.b64encode(b"abc" + secret.encode() + b"xyz").decode()
    assert scrub(f"got {encoded} back", [secret]) == f"got YWJj{REDACTED}eHl6 back"
    assert scrub(f"a {secret[:-2]}... b", [secret]) == f"a {REDACTED}... b"
    assert scrub(f"a%20{urllib.parse.quote('ä' + secret)}%20b", ["ä" + secret]) == f"a%20{REDACTED}%20b"


def test_a_part_under_eight_characters_stays() -> None:
    """Or common syllables of a long redacted text would leave nothing of any message."""
    assert scrub("sk-live is a prefix", ["sk-live-0123456789"]) == "sk-live is a prefix"


def test_parts_of_very_long_secrets() -> None:
    """Both ends are found by eight characters, and any part that is longer than the distance of the parts."""
    chance = random.Random(5)
    secret = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=MOST_PARTS * 5))
    distance = len(secret) // MOST_PARTS + 1
    for part in (secret[:PART], secret[-PART:], secret[1000 : 1000 + PART + distance], secret[7:90], secret):
        assert scrub(f"- {part} -", [secret]) == f"- {REDACTED} -"


class _Counted(dict[str, tuple[str, int]]):
    """Counts how often something is looked up in it."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


def test_the_work_grows_with_the_text_and_not_with_the_secrets() -> None:
    """One look-up for each character, whether there are a hundred secrets or ten thousand."""
    text = "".join(random.Random(1).choices("abcdef ", k=5000))
    for many in (100, 10_000):
        parts = _Counted({f"{number:08x}": ("", 0) for number in range(many)})
        list(secret_values._occurrences(text, PART, parts))
        assert parts.asked == len(text) - PART + 1


def test_views_are_bounded() -> None:
    """No view is longer than the text, and there are at most a few hundred, of the worst texts too."""
    for text in _worst(6000):
        once = list(decoded(View(text)))
        twice = [again for view in once for again in decoded(view)]
        assert len(once) + len(twice) < 300
        assert all(len(view.text) <= len(text) for view in (*once, *twice))


def _worst(size: int) -> Iterator[str]:
    pieces = [
        "a", "5a", "5a:", "90, ", "%41", "%2541", "\\x41", "\\\\", "\\u005cx41", "&#x41;", "&amp;", "=41", "+", "QUFB",
        "QUFB\n", "5a 71", "0x5a, ", "\\303\\274", "ß", "é", "İ", "1,", "\\ud83d\\ude00", "&#", "%", "\0", "\ufdfa",
    ]  # fmt: skip
    for piece in pieces:
        yield piece * (size // len(piece))
    yield base64.b64encode(base64.b64encode(random.Random(2).randbytes(size // 2))).decode()
    yield random.Random(3).randbytes(size // 2).hex()


@pytest.mark.timeout(120)
def test_the_worst_texts_come_back() -> None:
    """Long texts of the worst kinds, with many secrets, long ones and short ones; quadratic work would not end in time."""
    many = [
        *(f"secret-{number}-{number * 7}" for number in range(5000)),
        "a" * 50_000,
        *map(str, range(3000)),
        "aab",
        "aaaaab",
    ]
    for text in _worst(40_000):
        assert isinstance(scrub(text, many), str)


def test_python_decodes_what_it_encodes() -> None:
    """The encoders of these tests are what they say: each differs from the plain text for some secret."""
    sample, chance = "Zq7-tëst <'\"&>\\ %+/\n12", random.Random(6)
    same = [name for name, encode in ENCODERS.items() if encode(sample, chance) == sample]
    assert same == ["none"]
    assert sys.getdefaultencoding() == "utf-8"
