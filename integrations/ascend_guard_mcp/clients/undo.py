"""What a configuration said before: kept beside it, so that every change can be taken back to the byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import put
from .jsonc import ClientFileError

SUFFIX = ".ascend-guard.json"
"""Behind a configuration's name: the file that remembers it."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """One server's entry as it was.

    Args:
        original: its text before it was led through the proxy.
        routed: the digest of the text that replaced it.
    """

    original: str
    routed: str


Memory = Mapping[str, Kept]
"""By the servers' names."""


def beside(path: Path) -> Path:
    """Where the memory of a configuration is."""
    return path.with_name(path.name + SUFFIX)


def digest(text: str) -> str:
    """By which a text is known again."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def recall(path: Path) -> dict[str, Kept]:
    """What is remembered of a configuration; empty when nothing is.

    Args:
        path: the configuration.

    Raises:
        ClientFileError: there is a memory, but it cannot be read.
    """
    place = beside(path)
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ClientFileError(
            f"{place} cannot be read ({error.strerror}); it remembers what servers were."
        ) from None
    try:
        found: dict[str, Any] = json.loads(data)
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']!r}")
        return {
            str(name): Kept(_text(kept["original"]), _text(kept["routed"]))
            for name, kept in dict(found["servers"]).items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ClientFileError(
            f"{place} remembers what servers were, and is not understood ({type(error).__name__}). Put it back from a "
            f"backup; or move it away, and servers are restored from their arguments."
        ) from None


def remember(path: Path, memory: Memory) -> None:
    """Keep what is remembered of a configuration; with nothing to remember, the file goes.

    Args:
        path: the configuration.
        memory: everything that is remembered from now on.

    Raises:
        OSError: it cannot be kept; what was remembered before still is.
    """
    place = beside(path)
    value = {
        "about": "What ascend-guard replaced in the file beside this one. Made and removed by it; may hold secrets.",
        "version": _VERSION,
        "servers": {
            name: {"original": kept.original, "routed": kept.routed} for name, kept in memory.items()
        },
    }
    if memory:
        status = path.stat()
        data = (json.dumps(value, indent=2) + "\n").encode("ascii")
        put(place, data, mode=0o600, owner=(status.st_uid, status.st_gid))
    else:
        place.unlink(missing_ok=True)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
