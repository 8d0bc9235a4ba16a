"""The state of one walk over a call's arguments: its position, its output, and its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from msgspec import Struct, field

from ascend_guard.errors import ValidationError

__all__ = [
    "HIDDEN",
    "Handler",
    "Path",
    "Walk",
    "enter",
    "is_redacted_here",
    "refuse_change",
    "refuse_size",
    "subject",
    "tagged",
    "where",
    "wrap",
]

Path = tuple[Any, Any] | None
"""The place of a value: the path of its container, and its name or index there. None for the arguments."""

Handler = Callable[["Walk", Any, Path, int], Any]
"""Writes the encoding of a value, at a path and a depth, and returns its plain view."""

_NOWHERE: Mapping[str, frozenset[tuple[str, ...]]] = MappingProxyType({})

HIDDEN = object()
"""A step of a path after which no names are given: the inside of a redacted value."""


class Walk(Struct, gc=False):
    """The state of one walk.

    Args:
        other: reads values that are not builtin types.
        redact: names to redact, besides those that look secret; names in ``places`` only at those places.
        limit: most bytes of the whole encoding.
        depth: most nested containers.
        left: the rest of the limit; a value that is too large is refused before it is copied.
        at: the container or object being read, for errors.
        out: the encoding so far, in which keys are sorted.
        order: for each mapping and set so far, the order of its keys; empty text if it is the sorted one.
        inside: the plain instances being read, by address; an unreadable value ends the reading of all of them.
        excess: the limit that was exceeded, ``size`` or ``depth``.
        opaque: the paths of what could not be read, or not in full.
        secrets: the text of what was redacted.
        places: the whole paths of keys that are redacted in one place only, by the key.
    """

    other: Handler
    redact: frozenset[str]
    limit: int
    depth: int
    left: int
    mutable: bool = False
    at: Path = None
    excess: str = ""
    out: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    inside: set[int] = field(default_factory=set)
    opaque: list[Path] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    places: Mapping[str, frozenset[tuple[str, ...]]] = _NOWHERE

    def __repr__(self) -> str:
        # It contains secrets, and is a local variable wherever an error may be raised.
        return "Walk()"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


def where(path: Path) -> str:
    """Return a path as people write it: ``items[2].client``. Names inside a redacted value are not shown."""
    steps: list[str] = []
    while path is not None:
        path, step = path
        if step is HIDDEN:
            steps.clear()
        elif step is ...:
            steps.append("[...]")
        elif type(step) is str and step.isidentifier() and len(step) <= 64:
            steps.append(f".{step}")
        else:
            steps.append(f"[{step[:64]!a}]" if type(step) is str else f"[{step}]")
    return "".join(reversed(steps)).removeprefix(".")


def is_redacted_here(walk: Walk, path: Path, name: str) -> bool:
    """Return whether a name is redacted at this path. The places of list items do not count."""
    places = walk.places.get(name)
    if places is None:
        return True
    steps = [name]
    while path is not None:
        path, step = path
        if type(step) is str:
            steps.append(step)
    return tuple(reversed(steps)) in places


def subject(path: Path) -> str:
    """Return the beginning of a sentence about a path."""
    return f"The argument {where(path)[:200]}" if path else "The arguments"


def _exclude(path: Path) -> str:
    """Return what a developer writes to exclude the parameter with which a path begins."""
    while path is not None and path[0] is not None:
        path = path[0]
    name = path[1] if path is not None and type(path[1]) is str and path[1].isidentifier() else "name"
    return f"exclude=({name[:64]!r},)"


def refuse_change(path: Path) -> NoReturn:
    """Refuse a container that another thread changed while it was read."""
    raise ValidationError(f"{subject(path)} changed while it was read; pass a copy that nothing else changes")


def refuse_size(walk: Walk, path: Path) -> NoReturn:
    """Refuse a walk that exceeded its limit."""
    walk.excess = "size"
    with_it = f", with {where(path)[:200]}," if path else ""
    raise ValidationError(
        f"The arguments{with_it} are larger than {walk.limit:,} bytes; "
        "pass a reference (a path, an id) instead of the content, or exclude the parameter from the decision "
        f"with {_exclude(path)}"
    )


def enter(walk: Walk, path: Path, depth: int, size: int) -> None:
    """Begin a value at this depth that will take at least this much of the limit."""
    walk.at = path
    if depth > walk.depth:
        walk.excess = "depth"
        raise ValidationError(
            f"{subject(path)} is nested in more than {walk.depth} containers, or in itself; pass a flatter value, or "
            f"exclude the parameter from the decision with {_exclude(path)}"
        )
    walk.left -= size
    if walk.left < 0:
        refuse_size(walk, path)


def wrap(walk: Walk, path: Path, depth: int, tag: str, content: Any) -> dict[str, Any]:
    """Return the plain view of a value that JSON cannot express, as its own container."""
    enter(walk, path, depth, 0)
    return {tag: content}


def tagged(letter: str, *texts: str) -> str:
    """Return a letter and texts, each text with its length in front."""
    return letter + "".join([f"{len(text)}:{text}" for text in texts])
