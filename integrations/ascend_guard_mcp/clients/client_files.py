"""The places of MCP clients' configuration files.

Sources: https://modelcontextprotocol.io/docs/develop/connect-local-servers (Claude Desktop),
https://code.claude.com/docs/en/mcp (Claude Code), https://cursor.com/docs/mcp (Cursor),
https://code.visualstudio.com/docs/copilot/reference/mcp-configuration (VS Code).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CLIENTS: Mapping[str, str] = {
    "claude-desktop": "Claude Desktop",
    "claude-code": "Claude Code",
    "cursor": "Cursor",
    "vscode": "VS Code",
}
"""The clients whose files are searched: the key, and the name for people."""

_VSCODE_EDITIONS = ("Code", "Code - Insiders")


@dataclass(frozen=True, slots=True)
class Place:
    """A file that a client reads.

    Args:
        client: a key of ``CLIENTS``.
        scope: ``project``, or ``user`` for all projects of the user.
        path: the file, whether it exists or not.
    """

    client: str
    scope: str
    path: Path


def places(
    folder: Path,
    *,
    platform: str = sys.platform,
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Place]:
    """Return the files that clients read on this system, whether they exist or not.

    Args:
        folder: the project's folder.
        platform: the value of ``sys.platform``.
        home: the user's home folder; by default this user's.
        environment: the system's variables; by default the process's own.
    """
    home = Path.home() if home is None else home
    settings = _settings(platform, home, os.environ if environment is None else environment)
    yield Place("claude-code", "project", folder / ".mcp.json")
    yield Place("cursor", "project", folder / ".cursor" / "mcp.json")
    yield Place("vscode", "project", folder / ".vscode" / "mcp.json")
    yield Place("claude-desktop", "user", settings / "Claude" / "claude_desktop_config.json")
    yield Place("cursor", "user", home / ".cursor" / "mcp.json")
    for edition in _VSCODE_EDITIONS:
        user = settings / edition / "User"
        yield Place("vscode", "user", user / "mcp.json")
        for path in sorted(user.glob("profiles/*/mcp.json")):
            yield Place("vscode", "user", path)
        yield Place("vscode", "user", user / "settings.json")


def _settings(platform: str, home: Path, environment: Mapping[str, str]) -> Path:
    """Return the folder for the settings of desktop applications, as Electron defines it."""
    if platform == "win32":
        return Path(environment.get("APPDATA") or home / "AppData" / "Roaming")
    if platform == "darwin":
        return home / "Library" / "Application Support"
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
