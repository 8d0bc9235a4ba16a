"""What somebody was told, one line of JSON each, durable before anything else is done."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class Journal:
    """Appends lines, each at once and whole, so that a process that is killed leaves no half of one.

    Args:
        path: the file; what it holds stays.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, what: str, **data: Any) -> None:
        """Add a line. ``at`` is seconds of the clock that all processes of this machine share."""
        line = {"what": what, "at": time.monotonic(), **data}
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fsync(self._file)


def told(path: Path) -> list[dict[str, Any]]:
    """The lines so far. One that is being written may be read by half, which a moment later it is not any more."""
    for _ in range(100):
        text = path.read_bytes() if path.exists() else b""
        if not text or text.endswith(b"\n"):
            break
        time.sleep(0.01)
    return [json.loads(line) for line in text.splitlines()]
