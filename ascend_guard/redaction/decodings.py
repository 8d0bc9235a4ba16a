"""Decode the encodings in a text, and map places of the decoded text back to the text.

Escapes, percent-encoding, HTML entities, quoted-printable, hexadecimal, base64 and lists of byte values. Every pattern
takes linear time, and no view is longer than its source.
"""

from __future__ import annotations

import binascii
import bisect
import functools
import html
import re
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter

__all__ = ["Change", "Span", "View", "changed", "decoded"]

Span = tuple[int, int]
"""A place in a text: its start and its stop."""

Change = tuple[int, int, str]
"""Start, stop and new text of a place."""

Decoder = Callable[[str], Iterable[Change]]


class View:
    """A text, and where its pieces were in its source text.

    Attributes:
        text: the present text.
        before: the source; None for the first text.
        pieces: for each piece its start here, its start there, its length here, its length there.
    """

    __slots__ = ("before", "pieces", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.before: View | None = None
        self.pieces: list[tuple[int, int, int, int]] = []

    def in_text(self, start: int, stop: int) -> Span:
        """Return the same place in the first text."""
        view = self
        while view.before is not None:
            start, stop = view.place(start, stop)
            view = view.before
        return start, stop

    def place(self, start: int, stop: int) -> Span:
        """Return the same place in the source text. Inside a piece it is mapped in proportion, and rounded outwards."""
        here, there, size, was = self._piece(start)
        first = there + (start - here) * was // size
        here, there, size, was = self._piece(stop - 1)
        return first, there - (here - stop) * was // size  # rounded up

    def _piece(self, at: int) -> tuple[int, int, int, int]:
        return self.pieces[bisect.bisect(self.pieces, at, key=_start) - 1]


_start = itemgetter(0)


_GAP = "\x1f"


def changed(view: View, changes: Iterable[Change], *, alone: bool = False) -> View | None:
    """Return the view with parts of its text replaced, in order. None: there is no change.

    Args:
        alone: text that is not replaced is left out, and one character stands for it.
    """
    parts: list[str] = []
    pieces: list[tuple[int, int, int, int]] = []
    at = size = 0
    for start, stop, new in changes:
        if start > at:
            same = _GAP if alone else view.text[at:start]
            pieces.append((size, at, len(same), start - at))
            parts.append(same)
            size += len(same)
        if new:
            pieces.append((size, start, len(new), stop - start))
            parts.append(new)
            size += len(new)
        at = stop
    if not at:
        return None
    rest = len(view.text) - at
    if rest and not alone:
        pieces.append((size, at, rest, rest))
        parts.append(view.text[at:])
    made = View("".join(parts))
    made.before, made.pieces = view, pieces
    return made


def decoded(view: View) -> Iterator[View]:
    """Yield the view with each encoding decoded that occurs in it."""
    for decode, bytewise, runs in _DECODERS:
        # Whole runs of text are bytes; the text around them was not encoded with them.
        made = changed(view, decode(view.text), alone=runs)
        if made is None:
            continue
        joined = changed(made, _joins(made.text))
        # An escape names a character or a byte; it is unknown which.
        if joined is None or not bytewise:
            yield made
        if joined is not None:
            yield joined
        if "\0" in made.text and (wide := changed(made, _gaps(made.text))):
            yield wide


_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]{1,6}\}|"
    r"U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|[^A-Za-z1-9]|[abefnrtv])",
    re.DOTALL,
)
_SIGNS = {"a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}


def _escapes(text: str) -> Iterator[Change]:
    if "\\" not in text:
        return
    for found in _ESCAPE.finditer(text):
        inner = found[0][1:]
        if len(inner) == 1:
            new = _SIGNS.get(inner, inner)
        elif len(inner) == 11:
            new = chr(0x10000 + ((int(inner[1:5], 16) - 0xD800) << 10) + int(inner[7:], 16) - 0xDC00)
        else:
            code = (
                int(inner, 8)
                if inner[0] in "0123"
                else int(inner.strip("uUx{}"), 16)
                if inner[0] in "uUx"
                else -1
            )
            if not 0 <= code < 0x110000:
                continue
            new = chr(code)
        yield *found.span(), new


def _percents(text: str) -> Iterator[Change]:
    if "%" not in text:
        return
    for found in re.finditer(r"%([0-9a-fA-F]{2})", text):
        yield *found.span(), chr(int(found[1], 16))


def _form_values(text: str) -> Iterator[Change]:
    if "+" not in text:
        return
    for found in re.finditer(r"%([0-9a-fA-F]{2})|\+", text):
        yield *found.span(), chr(int(found[1], 16)) if found[1] else " "


def _quoted_printable(text: str) -> Iterator[Change]:
    if "=" not in text:
        return
    for found in re.finditer(r"=(?:([0-9A-F]{2})|\r?\n)", text):
        yield *found.span(), chr(int(found[1], 16)) if found[1] else ""


def _entities(text: str) -> Iterator[Change]:
    if "&" not in text:
        return
    for found in re.finditer(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});", text):
        yield *found.span(), html.unescape(found[0])


_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{8,}+")


def _hexadecimal(text: str, skip: int) -> Iterator[Change]:
    for found in _HEXADECIMAL.finditer(text):
        start = found.start() + skip
        stop = found.end() - (found.end() - start) % 2
        raw = bytes.fromhex(text[start:stop])
        if _is_text(raw):
            yield start, stop, raw.decode("latin-1")


# The end is optional: else a run that does not match would be read again from its second byte.
_SEPARATED = re.compile(
    r"(?<![0-9a-fA-F])(?:(?:0x)?[0-9a-fA-F]{2}(?:,? |[:,-])){3,}+(?:(?:0x)?[0-9a-fA-F]{2}(?![0-9a-fA-F]))?+"
)
_NUMBERS = re.compile(r"(?<![0-9])(?:[0-9]{1,3}(?:, ?| )){3,}+(?:[0-9]{1,3}(?![0-9]))?+")


def _separated(text: str) -> Iterator[Change]:
    """Single bytes: ``5a:71:37``, ``0x5a, 0x71``."""
    for run in _SEPARATED.finditer(text):
        for found in re.finditer(r"(?:0x)?([0-9a-fA-F]{2})[ ,:-]{0,2}", run[0]):
            yield run.start() + found.start(), run.start() + found.end(), chr(int(found[1], 16))


def _numbers(text: str) -> Iterator[Change]:
    """Single bytes: ``[90, 113, 55]``."""
    for run in _NUMBERS.finditer(text):
        for found in re.finditer(r"([0-9]+)[, ]{0,2}", run[0]):
            if int(found[1]) < 256:
                yield run.start() + found.start(), run.start() + found.end(), chr(int(found[1]))


_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{6,}+(?:\r?\n[ \t]{0,8}[A-Za-z0-9+/_-]{2,}+)*+")
_STANDARD = bytes.maketrans(b"-_", b"+/")


def _base64(text: str, skip: int) -> Iterator[Change]:
    """Decode from the character ``skip`` of each run on: a secret in a larger text begins at any of three places."""
    for found in _BASE64.finditer(text):
        if "\n" in found[0]:
            yield from _base64_lines(found, skip)
            continue
        start, end = found.start() + skip, found.end()
        raw = _bytes_of(text[start:end])
        if not _is_text(raw):
            continue
        # Four characters are three bytes; the rest is its own place, or places would not match.
        stop, size = end - (end - start) % 4, (end - start) // 4 * 3
        decoded = raw.decode("latin-1")
        yield start, stop, decoded[:size]
        if len(decoded) > size:
            yield stop, end, decoded[size:]


def _base64_lines(found: re.Match[str], skip: int) -> Iterator[Change]:
    places = [sign.start() for sign in re.finditer(r"[^\s]", found[0])][skip:]
    signs = "".join(found[0].split())[skip:]
    raw = _bytes_of(signs)
    if not _is_text(raw):
        return
    for at in range(0, len(signs) - 1, 4):
        # Including the line break after it.
        after = places[at + 4] if at + 4 < len(places) else places[-1] + 1
        new = raw[at // 4 * 3 : at // 4 * 3 + 3].decode("latin-1")
        yield found.start() + places[at], found.start() + after, new


def _bytes_of(signs: str) -> bytes:
    padded = signs.encode().translate(_STANDARD) + b"A" * (-len(signs) % 4)
    return binascii.a2b_base64(padded)[: len(signs) * 3 // 4]


# Ordinary words are valid base64, too, of meaningless bytes. Four characters are the shortest secret that is searched for.
_UTF8 = (
    b"[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf][\x80-\xbf]|"
    b"[\xf0-\xf4][\x80-\xbf][\x80-\xbf][\x80-\xbf]"
)
_TEXT = re.compile(b"(?:" + _UTF8 + b"){4}")


def _is_text(raw: bytes) -> bool:
    return _TEXT.search(raw) is not None


_JOINED = re.compile("[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def _joins(text: str) -> Iterator[Change]:
    """UTF-8 that was decoded byte by byte as characters."""
    if text.isascii():
        return
    for found in _JOINED.finditer(text):
        try:
            yield *found.span(), found[0].encode("latin-1").decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            continue


def _gaps(text: str) -> Iterator[Change]:
    """The empty bytes of UTF-16."""
    for found in re.finditer("\0+", text):
        yield *found.span(), ""


_DECODERS: tuple[tuple[Decoder, bool, bool], ...] = (
    (_escapes, False, False),
    (_percents, True, False),
    (_form_values, True, False),
    (_quoted_printable, True, False),
    (_entities, False, False),
    *((functools.partial(_hexadecimal, skip=skip), True, True) for skip in range(2)),
    (_separated, True, True),
    (_numbers, True, True),
    *((functools.partial(_base64, skip=skip), True, True) for skip in range(4)),
)
"""Decoders, whether the result of each is bytes, and whether it decodes runs or single characters."""
