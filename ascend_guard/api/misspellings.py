"""Names that clients get wrong: find the field that an unknown name probably means."""

from __future__ import annotations

import difflib
import functools
import unicodedata
from collections.abc import Collection

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "action": ("action_type",),
    "action_arguments": ("action_details", "parameters", "arguments"),
    "action_details": ("arguments", "parameters"),
    "agent": ("agent_id",),
    "agents": ("worker_agent_ids", "agent_id"),
    "args": ("action_details", "parameters", "arguments"),
    "arguments": ("action_details", "parameters", "modified_arguments"),
    "depth": ("orchestration_depth",),
    "details": ("action_details", "detail"),
    "edited_arguments": ("arguments", "modified_arguments"),
    "indicators": ("risk_indicators",),
    "mcp": ("mcp_server_name", "mcp_server"),
    "mcp_name": ("mcp_server_name", "mcp_server"),
    "mcp_server": ("mcp_server_name",),
    "mcp_server_id": ("mcp_server_name", "mcp_server"),
    "mcp_server_name": ("mcp_server", "server_name"),
    "model": ("model_id",),
    "model_name": ("model_id",),
    "model_identifier": ("model_id",),
    "modified_arguments": ("arguments",),
    "new_arguments": ("arguments", "modified_arguments"),
    "note": ("comments", "reason"),
    "orchestration_id": ("orchestration_session_id",),
    "orchestration_session": ("orchestration_session_id",),
    "parameters": ("arguments", "action_details"),
    "params": ("parameters", "action_details", "arguments"),
    "parent": ("parent_action_id",),
    "parent_id": ("parent_action_id",),
    "server": ("mcp_server_name", "mcp_server", "server_name"),
    "server_name": ("mcp_server_name", "mcp_server"),
    "session": ("session_id",),
    "tool": ("tool_name",),
    "workers": ("worker_agent_ids",),
}
"""Other names that clients use for a field, with the fields that may be meant, the most likely first."""

_ALIKE = 0.85
"""Similarity above which a name is a misspelling of another: one wrong letter of seven, or two of fourteen."""

_RELATED = 0.5
"""Least similarity of the nearest name for a suggestion in the message of a refused request."""

LONGEST = 64
"""The most characters of a name that is compared. A longer name is similar to no field."""


def letters(name: str) -> str:
    """Return a name without the differences of spelling: case, separators, and forms of the same character."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


def meant(name: str, known: tuple[str, ...]) -> str | None:
    """Return the known name that ``name`` misspells or replaces; None when it is a different name.

    Args:
        name: a name that is not in ``known``.
        known: the known names.
    """
    return None if len(name) > LONGEST else _meant(name, known)


@functools.lru_cache(maxsize=4096)
def _meant(name: str, known: tuple[str, ...]) -> str | None:
    # Clients send the same few names repeatedly. Long ones are not cached: they would fill the memory.
    bare = letters(name)
    for field in known:
        if letters(field) == bare:
            return field
    for spelling, fields in OTHER_NAMES.items():
        if letters(spelling) == bare:
            found = next((field for field in fields if field in known), None)
            if found is not None:
                return found
    return _closest(bare, known, _ALIKE)


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that is nearest to a refused one; None when none is near."""
    names = tuple(known)
    return meant(name, names) or _closest(letters(name[:LONGEST]), names, _RELATED)


def _closest(bare: str, known: tuple[str, ...], cutoff: float) -> str | None:
    spelled = {letters(field): field for field in known}
    found = difflib.get_close_matches(bare, list(spelled), n=1, cutoff=cutoff)
    return spelled[found[0]] if found else None
