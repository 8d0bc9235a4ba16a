"""Globs for names and resources, and the index that finds the rules that could match.

``*`` matches any run of characters (including ``/`` and ``.``), ``?`` exactly one character, and no other character is
special. Resources are text that an attacker may choose, up to a mebibyte, so no matcher ever backtracks: each
searches for the fixed pieces between the stars from left to right, once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

__all__ = ["ANY", "Matcher", "Patterns", "RuleIndex", "Scope", "compile_glob", "covers", "simplify"]

Patterns = tuple[str, ...]
Scope = tuple[Patterns, Patterns, Patterns, Patterns]
"""The actions, tools, agents and resources that a rule matches; an empty one means any."""
Matcher = Callable[[str], bool]
ANY: Patterns = ()

_SMALL = 8
_RESOURCES = 3


@lru_cache(maxsize=32_768)
def compile_glob(pattern: str) -> Matcher:
    """Return a function that says whether a text matches, in time linear in the text for each fixed piece."""
    pieces = pattern.split("*")
    head, *middle, tail = [*pieces, ""] if len(pieces) == 1 else pieces
    middle = [piece for piece in middle if piece]
    if "?" not in pattern and not middle:
        if len(pieces) == 1:
            return pattern.__eq__
        if not tail:
            return lambda text: text.startswith(head)
        if not head:
            return lambda text: text.endswith(tail)
    at_head, at_tail = _finder(head), _finder(tail)
    finders = [(_finder(piece), len(piece)) for piece in middle]
    head_size, tail_size = len(head), len(tail)
    least = head_size + tail_size + sum(map(len, middle))
    most = least if len(pieces) == 1 else None

    def matches(text: str) -> bool:
        size = len(text)
        if size < least or (most is not None and size > most):
            return False
        start, end = head_size, size - tail_size
        if at_head(text, 0, start) != 0 or at_tail(text, end, size) != end:
            return False
        for find, length in finders:
            found = find(text, start, end)
            if found < 0:
                return False
            start = found + length
        return True

    return matches


def _finder(piece: str) -> Callable[[str, int, int], int]:
    if "?" not in piece:
        return lambda text, start, end: text.find(piece, start, end)
    # Single characters only, no quantifier: nothing in it can backtrack.
    search = re.compile("".join("." if c == "?" else re.escape(c) for c in piece), re.DOTALL).search

    def find(text: str, start: int, end: int) -> int:
        found = search(text, start, end)
        return found.start() if found else -1

    return find


def covers(wide: str, narrow: str) -> bool:
    """Return True only when every text that matches ``narrow`` also matches ``wide``.

    Sound, not complete: a wildcard of ``narrow`` is treated as a literal character, which only ``*`` (and ``?`` against
    ``?``) of ``wide`` can match.
    """
    if wide == narrow:
        return True
    return not ("?" in wide and "*" in narrow) and compile_glob(wide)(narrow)


def simplify(patterns: Patterns) -> Patterns:
    """Return ``patterns``, or ANY when one of them matches everything."""
    return ANY if any(not pattern.strip("*") for pattern in patterns) else patterns


_Key = tuple[str, str]


def _keys(pattern: str) -> list[_Key]:
    """Return the keys for a pattern, the most selective first: the fixed text that every match contains."""
    head, *middle = re.split(r"[*?]", pattern)
    if not middle:
        return [("exact", pattern)]
    tail = middle.pop()
    ends = [("prefix", head)] * bool(head) + [("suffix", tail)] * bool(tail)
    return ends + [("inside", piece) for piece in middle if piece] or [("rest", "")]


class _GlobIndex:
    """Numbers indexed by globs; ``find`` returns all whose glob matches a text, and maybe a few more."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, list[int]]] = {}
        self._sizes: dict[str, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._files)

    def add(self, key: _Key, number: int) -> None:
        kind, text = key
        self._files.setdefault(kind, {}).setdefault(text, []).append(number)
        sizes = self._sizes.setdefault(kind, [])
        if len(text) not in sizes:
            sizes.append(len(text))

    def find(self, text: str) -> Iterator[int]:
        size = len(text)
        for kind, file in self._files.items():
            sizes = self._sizes[kind]
            if kind == "exact":
                yield from file.get(text, ())
            elif kind == "rest":
                yield from file[""]
            elif kind == "inside" and size * len(sizes) > 4 * len(file):
                for piece, numbers in file.items():
                    if piece in text:
                        yield from numbers
            else:
                for length in sizes:
                    if length > size:
                        continue
                    starts = range(size - length + 1)
                    for start in (
                        starts if kind == "inside" else starts[:1] if kind == "prefix" else starts[-1:]
                    ):
                        yield from file.get(text[start : start + length], ())


class RuleIndex:
    """Finds the few of many rules that could match a call, by the most selective part of their scopes.

    Args:
        scopes: one per rule; a rule is identified by its position here.
    """

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self._indexes = tuple(_GlobIndex() for _ in range(4))
        self._everywhere: list[int] = []
        crowds = [
            Counter(key for scope in scopes for pattern in simplify(scope[number]) for key in _keys(pattern))
            for number in range(4)
        ]
        for number, scope in enumerate(scopes):
            filings: list[tuple[int, int, list[_Key]]] = []
            for dimension, patterns in enumerate(map(simplify, scope)):
                if patterns:
                    sizes = crowds[dimension]
                    keys = [
                        min(_keys(pattern), key=lambda key: max(sizes[key], _SMALL)) for pattern in patterns
                    ]
                    # Names are looked up once and cached, resources every time: resources are indexed only for many rules.
                    crowd = sum(sizes[key] for key in keys)
                    filings.append((crowd if crowd > _SMALL else 0, dimension, keys))
            if not filings:
                self._everywhere.append(number)
                continue
            _, dimension, keys = min(filings)
            for key in keys:
                self._indexes[dimension].add(key, number)
        self.by_resource = bool(self._indexes[_RESOURCES])
        """Whether some rules can only be found by ``find_by_resource``."""

    def find(self, action: str | None, tool: str | None, agent: str | None) -> set[int]:
        """Return the rules that could match these names, except those indexed by resource. None skips a scope."""
        found = set(self._everywhere)
        for index, text in zip(self._indexes, (action, tool, agent), strict=False):
            if text is not None:
                found.update(index.find(text))
        return found

    def find_by_resource(self, name: str, resource_id: str | None) -> set[int]:
        """Return the rules indexed by resource that could match either text."""
        index = self._indexes[_RESOURCES]
        found = set(index.find(name))
        if resource_id is not None:
            found.update(index.find(resource_id))
        return found
