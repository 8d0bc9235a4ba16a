"""What a process of the soak saw, one JSON line each, appended to a file of its own. It uses nothing of the product."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class Journal:
    """A file that is written with one system call a line, so a killed process leaves whole lines.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, event: str, **data: Any) -> None:
        """Note one event with the machine's monotonic clock, which all processes share."""
        line = {"at": time.monotonic_ns(), "event": event, **data}
        os.write(self._file, json.dumps(line).encode() + b"\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All events of one process, in order."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]
