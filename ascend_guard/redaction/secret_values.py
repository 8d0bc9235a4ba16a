"""Find known secrets in free text, in all forms in which other code writes them (promise 8).

1. Texts are compared without case and compatibility forms (Unicode NFKD, case folded).
2. A text is read as it is, and with its escapes, percent-encoding, HTML entities, hexadecimal, base64 and lists of byte
   values decoded. Decoded text is decoded once more, so two nested encodings are found.
3. A part of ``PART`` characters counts as much as the whole secret, at any place in the secret. If secrets have more
   than ``MOST_PARTS`` parts together, only both ends of each secret and longer parts are sure to be found.
4. A secret under ``PART`` characters counts only as a whole. One under ``SHORTEST`` counts only as a whole word that is
   not encoded: otherwise too much would be removed from other texts.
5. The work is linear in the text and in the secrets: a text has a limited number of decoded views, none is longer than
   the text, and one pass over each searches for the parts of all secrets.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from .decodings import Span, View, changed, decoded

__all__ = ["MOST_PARTS", "PART", "SHORTEST", "find_secrets"]

PART = 8
"""How many characters of a secret are enough to be removed."""

SHORTEST = 4
"""How many characters a secret must have to be found inside a word."""

MOST_PARTS = 1 << 14
"""The most parts of secrets that are searched for. If there are more, every second, third, ... is searched for."""


def find_secrets(text: str, secrets: Sequence[str]) -> Iterator[Span]:
    """Yield the places where a text shows a secret, or a long part of one: start and stop. They may overlap."""
    wanted = _Wanted(secrets)
    if not wanted.sizes:
        return
    whole = View(text)
    once = list(decoded(whole))
    twice = (again for view in once for again in decoded(view))
    for view in itertools.chain((whole,), once, twice):
        for start, stop in wanted.spans(view):
            yield view.in_text(start, stop)


# --- rule 1: folding --------------------------------------------------------------------------------------------------


class _Folds(dict[int, str]):
    def __missing__(self, code: int) -> str:
        apart = unicodedata.normalize("NFKD", chr(code))
        # By capitals, because some letters have the same capital but fold differently: "i" and "ı".
        folded = unicodedata.normalize("NFKD", apart.upper().casefold())
        if len(self) < 4096:
            self[code] = folded
        return folded


_FOLDS = _Folds()


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_FOLDS)


def _unfolded(view: View, folded: str) -> View:
    """Return a view with the folded text, in which places can be mapped back."""
    if len(folded) == len(view.text):  # no letter becomes an empty text
        return view
    changes = (
        (at, at + 1, new)
        for at, sign in enumerate(view.text)
        if sign > "\x7f" and len(new := _FOLDS[ord(sign)]) != 1
    )
    return changed(view, changes) or view


# --- rules 3 and 4: what is looked for --------------------------------------------------------------------------------


class _Wanted:
    """The secrets and their parts, by length.

    Attributes:
        sizes: for each length, the texts to find. Texts of ``PART`` characters have the secret and the place in it.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self.sizes: dict[int, dict[str, tuple[str, int]]] = {}
        self._words: set[str] = set()
        long: list[str] = []
        for secret in dict.fromkeys(secrets):
            folded = _folded(secret)
            if len(folded) >= PART:
                long.append(folded)
            elif folded:
                self.sizes.setdefault(len(folded), {})[folded] = (folded, 0)
                if len(secret) < SHORTEST:
                    self._words.add(folded)
        self._step = -(-sum(len(folded) - PART + 1 for folded in long) // MOST_PARTS) or 1
        for folded in long:
            last = len(folded) - PART
            parts = self.sizes.setdefault(PART, {})
            for at in (*range(0, last, self._step), last):
                part = folded[at : at + PART]
                # Indentation is not a secret, although a secret may contain some.
                if not part.isspace() or folded.isspace():
                    parts.setdefault(part, (folded, at))

    def spans(self, view: View) -> Iterator[Span]:
        """Yield the places where the view shows one of them, in the text of the view."""
        text = _folded(view.text)
        back: View | None = None
        for size, parts in self.sizes.items():
            for start in _occurrences(text, size, parts):
                stop = start + size
                if size == PART and self._step > 1:
                    start, stop = self._grown(text, start, *parts[text[start:stop]])
                elif text[start:stop] in self._words and (
                    view.before is not None or _inside_word(text, start, stop)
                ):
                    continue
                back = _unfolded(view, text) if back is None else back
                if back is view:
                    yield start, stop
                else:
                    yield back.place(start, stop)

    def _grown(self, text: str, start: int, secret: str, at: int) -> Span:
        """Extend the place by as much of the secret as lies between two searched parts."""
        stop, end = start + PART, at + PART
        for _ in range(self._step):
            if start and at and text[start - 1] == secret[at - 1]:
                start, at = start - 1, at - 1
        for _ in range(self._step):
            if stop < len(text) and end < len(secret) and text[stop] == secret[end]:
                stop, end = stop + 1, end + 1
        return start, stop


_FEW = 24


def _occurrences(text: str, size: int, parts: dict[str, tuple[str, int]]) -> Iterator[int]:
    if len(parts) > _FEW:
        for at in range(len(text) - size + 1):
            if text[at : at + size] in parts:
                yield at
        return
    for part in parts:
        at = text.find(part)
        while at >= 0:
            yield at
            at = text.find(part, at + 1)


def _inside_word(text: str, start: int, stop: int) -> bool:
    around = text[start - 1 : start] + text[stop : stop + 1]
    return any(sign == "_" or sign.isalnum() for sign in around)
