"""Text that may be printed: nothing in it acts on a terminal, writes a line of its own, or hides what is beside it.

Names, arguments, reasons and comments come from agents, and from servers that agents use. Whoever wrote them may want a
person to see something else than what is there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["pieces", "safe"]

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Printable as far as Unicode goes, but nothing is seen of them: joiners, fillers, selectors, blank Braille.
_INVISIBLE = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0))
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_MOST_MARKS = 4
_OVERLAY = 1


def safe(text: str, *, table: bool = False) -> str:
    """The text as it may be shown: one line, with escapes for whatever a terminal would act upon or hide.

    Escaped are control and format characters (ESC, bidirectional controls, zero-width characters, ...), line
    breaks, spaces other than the plain one, unassigned and private characters, lone surrogates, letters
    without an image, and marks that would cover or bury what stands before them.

    Args:
        text: any text.
        table: it goes beside other text, where right-to-left letters would swap it with its neighbours on
            terminals that reorder; they are escaped too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(piece for piece, _ in pieces(text, table))


def pieces(text: str, table: bool) -> Iterator[tuple[str, bool]]:
    """The text as ``safe`` gives it, in pieces, each with whether it is an escape."""
    marks = 1 + _MOST_MARKS  # a mark in front would sit on what is printed before the text
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
