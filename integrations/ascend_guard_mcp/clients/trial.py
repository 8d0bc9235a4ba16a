"""Whether a client can start an entry that leads through the proxy: tried before anything is written.

The proxy is started by the words and the environment of the entry, without the ``ASCEND_`` variables of this shell, which a
client's servers do not get. With ``--check`` it does everything but start the server and serve.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .facts import DECIDERS, VARIABLE, says_who_decides, variables
from .jsonc import Node, parse
from .routing import Unroutable, options_of

_DECIDING = (*DECIDERS, "ASCEND_API_URL", "ASCEND_DATABASE_URL")

LONGEST = 60.0
"""Seconds that the proxy may take to check itself."""


@dataclass(slots=True)
class Trial:
    """Tries entries, each way to start the proxy once.

    Args:
        hint: what a person can do about an entry that does not say who decides, as half a sentence.
        folder: where the proxy is started, when the entry does not say.
    """

    hint: str
    folder: Path
    _known: dict[object, str | None] = field(default_factory=dict)

    def __call__(self, text: str) -> Iterator[str]:
        """What a person should know of an entry; nothing when it starts and all is well.

        Args:
            text: the entry, led through the proxy.

        Raises:
            Unroutable: it would not start; the message says why.
        """
        entry = parse(text)
        options, server = options_of(entry)
        if "--policy" not in options and not says_who_decides(entry):
            raise Unroutable(f"nothing says who decides its calls: {self.hint}")
        own = variables(entry)
        filled = [
            name
            for name in (*DECIDERS, "ASCEND_API_URL", "ASCEND_DATABASE_URL")
            if VARIABLE.search(own.get(name, ""))
        ]
        if filled:
            yield f"whether it starts was not tried: the client fills in {', '.join(filled)}"
            return
        problem = self._problem(entry, options, server)
        if problem is not None:
            raise Unroutable(f"it would not start: {problem}")
        if server and not VARIABLE.search(server[0]) and _nowhere(server[0], own.get("PATH")):
            yield f"its command {server[0]!r} is not found on this PATH; the client may have another"

    def _problem(self, entry: Node, options: list[str], server: list[str]) -> str | None:
        """Why the proxy does not start; None when it does."""
        command = str(getattr(entry.get("command"), "value", ""))
        own = {name: value for name, value in variables(entry).items() if not VARIABLE.search(value)}
        said = entry.get("cwd")
        folder = str(said.value) if said is not None and os.path.isdir(str(said.value)) else str(self.folder)
        behind = ["--", *server] if server else ["--url", "http://127.0.0.1/"]
        key = (command, tuple(options), tuple(sorted(own.items())), folder, bool(server))
        if key not in self._known:
            self._known[key] = _started([command, *options, "mcp-proxy", "--check", *behind], own, folder)
        return self._known[key]


def _started(words: list[str], own: dict[str, str], folder: str) -> str | None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASCEND_")}
    try:
        ran = subprocess.run(  # noqa: S603 - this program, by the words that are about to be written
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
        return f"it did not check itself in {LONGEST:.0f} seconds"
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


def _nowhere(command: str, path: str | None) -> bool:
    return shutil.which(command, path=path) is None
