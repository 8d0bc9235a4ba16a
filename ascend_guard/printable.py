"""Make text safe to print: nothing in it controls a terminal, starts a line, or hides the text beside it.

Names, arguments, reasons and comments come from agents, and from servers that agents use. Their author may want a person to
see something else than the real text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["pieces", "safe"]

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Printable according to Unicode, but invisible: joiners, fillers, selectors, blank Braille.
_INVISIBLE = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0))
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_MOST_MARKS = 4
_OVERLAY = 1


def safe(text: str, *, table: bool = False) -> str:
    """Return the text for display: one line, with escapes for everything that a terminal would act upon or hide.

    Escaped are control and format characters (ESC, bidirectional controls, zero-width characters, ...), line
    breaks, spaces other than the plain one, unassigned and private characters, lone surrogates, letters
    without an image, and marks that would cover the text before them.

    Args:
        text: any text.
        table: it is shown beside other text, where right-to-left letters would change places with their neighbours on
            terminals that reorder; they are escaped too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(piece for piece, _ in pieces(text, table))


def pieces(text: str, table: bool) -> Iterator[tuple[str, bool]]:
    """Yield the text of ``safe`` in pieces, each with whether it is an escape."""
    marks = 1 + _MOST_MARKS  # a mark at the beginning would combine with what is printed before the text
    for char in text:
        plain = char.isprintable() and char not in _INVISIBLE
        if plain and not char.isascii():
            category = unicodedata.category(char)
            if category[0] == "M":
                marks += 1
                plain = marks <= _MOST_MARKS and category != "Me" and unicodedata.combining(char) != _OVERLAY
            else:
                marks = 0
            if table and unicodedata.bidirectional(char) in ("R", "AL", "AN"):
                plain = False
        else:
            marks = 0 if plain else 1 + _MOST_MARKS
        yield (char, False) if plain else (_escape(char), True)


def _escape(char: str) -> str:
    code = ord(char)
    wide = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _NAMED.get(char, wide)
