"""Two texts of a configuration side by side, without its secrets."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from .formats import servers
from .jsonc import Edit, apply, parse

HIDDEN = '"…"'
"""What stands for a value that is not shown."""

# A variable the client fills in is no secret, nor is the word before it.
_VARIABLE = re.compile(r"(?:\w+ )?\$\{(?:\w+:)?\w[\w.-]*\}")


def difference(path: Path, before: str, after: str) -> list[str]:
    """A unified diff, line by line, in which values of ``env`` and ``headers`` are hidden.

    Args:
        path: of the file.
        before: its text.
        after: its text after the change.
    """
    old, new = (_lines(without_secrets(text)) for text in (before, after))
    return list(difflib.unified_diff(old, new, f"{path}", f"{path} (after)", n=2, lineterm=""))


def without_secrets(text: str) -> str:
    """The text with the values of every server's environment and headers replaced, variables of the client excepted.

    Raises:
        ClientFileError: it is no configuration of a client.
    """
    edits: list[Edit] = []
    for server in servers(parse(text)):
        for key in ("env", "headers"):
            inside = server.node.get(key)
            for member in (inside.members if inside is not None else None) or ():
                value = member.node.value
                if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
                    edits.append((member.node.start, member.node.end, HIDDEN))
    return apply(text, edits)


def _lines(text: str) -> list[str]:
    # At line feeds only, as diff does; other characters that end lines may stand in strings.
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]
