"""Check whether a client can start the entry of a server behind the proxy, before anything is written.

The proxy is started with the command and the environment of the entry, without this shell's ``ASCEND_`` variables, which a
client does not pass on. With ``--check`` it does everything except starting the server and serving.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .configuration import VARIABLE
from .routing import DECIDERS, Entry, Route, Unroutable, route_of, says_who_decides, variables

_DECIDING = (*DECIDERS, "ASCEND_API_URL", "ASCEND_DATABASE_URL")

LONGEST = 60.0
"""Seconds that the proxy may take for its check."""


@dataclass(slots=True)
class Trial:
    """Tries entries; each way to start the proxy is tried once.

    Args:
        hint: what a person can do about an entry without a control plane, as the end of a sentence.
        folder: where the proxy is started, if the entry does not say.
    """

    hint: str
    folder: Path
    _known: dict[object, str | None] = field(default_factory=dict)

    def __call__(self, entry: Entry) -> Iterator[str]:
        """Yield what a person should know about an entry; nothing when it starts without problems.

        Args:
            entry: the entry of a server behind the proxy.

        Raises:
            Unroutable: it would not start; the message says why.
        """
        route, own = route_of(entry), variables(entry)
        if route is None:
            raise Unroutable("it does not go through the proxy")
        if "--policy" not in route.launcher.options and not says_who_decides(entry):
            raise Unroutable(f"it has no control plane: {self.hint}")
        filled = [name for name in _DECIDING if VARIABLE.search(own.get(name, ""))]
        if filled:
            yield f"its start was not tried, because the client fills in {', '.join(filled)}"
            return
        problem = self._problem(entry, route)
        if problem is not None:
            raise Unroutable(f"it would not start: {problem}")
        program = route.command[0] if route.command else ""
        if program and not VARIABLE.search(program) and shutil.which(program, path=own.get("PATH")) is None:
            yield f"its command {program!r} is not found on this PATH; the client may have another"

    def _problem(self, entry: Entry, route: Route) -> str | None:
        """Return why the proxy does not start; None when it does."""
        own = {name: value for name, value in variables(entry).items() if not VARIABLE.search(value)}
        said = entry.get("cwd")
        folder = said if isinstance(said, str) and os.path.isdir(said) else str(self.folder)
        behind = ["--", *route.command] if route.command else ["--url", "http://127.0.0.1/"]
        key = (route.launcher, tuple(sorted(own.items())), folder, bool(route.command))
        if key not in self._known:
            words = [route.launcher.command, *route.launcher.options, "mcp-proxy", "--check", *behind]
            self._known[key] = _started(words, own, folder)
        return self._known[key]


def _started(words: list[str], own: dict[str, str], folder: str) -> str | None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")}
    try:
        ran = subprocess.run(  # noqa: S603 - this program, with the words that are about to be written
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**clean, **own},
            cwd=folder,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        return f"its check took longer than {LONGEST:.0f} seconds"
    except (OSError, ValueError) as error:
        return f"{words[0]} cannot be run ({getattr(error, 'strerror', None) or error})"
    if ran.returncode == 0:
        return None
    lines = [
        line.removeprefix("ascend-guard mcp-proxy: ").strip()
        for line in ran.stderr.splitlines()
        if line.strip()
    ]
    return " ".join(lines)[:1000].rstrip(".") or f"it ended with status {ran.returncode}"
