"""Notice that a file which an open database depends on was moved, deleted or replaced.

SQLite goes on with the files it has open, even when they have no name any more, while another process makes new ones: each
then has its own kill switch and its own approvals. So every commit and every read first makes sure that the files are still
the ones that were opened (promises 3 to 5).

1. A file in a folder cannot be deleted, moved or replaced without changing the folder's own change time. While the folders
   are unchanged the files need not be looked at: two calls of the system instead of one for each file.
2. Change times are as coarse as the system's tick, so a folder that changed within the last second is not relied on.
3. At least once a second every file is looked at whatever its folder says, for file systems that do not keep rule 1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

Identity = tuple[int, int]

SETTLED = 1.0
"""Seconds for which a folder must not have changed before it is relied on, and between two looks at every file."""


class Watched:
    """The files of one open database.

    Args:
        files: each must stay what it is. Their folders are watched.
        clock: seconds since the epoch by the clock that file systems use.

    Raises:
        OSError: one of them is not there.
    """

    def __init__(self, files: list[Path], clock: Callable[[], float] = time.time) -> None:
        self._files = tuple(os.fspath(file) for file in files)
        self._folders = tuple(dict.fromkeys(os.path.dirname(file) for file in self._files))
        self._clock = clock
        self._identities = self._look()
        self._relied_on: tuple[tuple[int, int, int], ...] | None = None
        self._looked_at = 0.0

    def unchanged(self) -> bool:
        """Whether each file is still the one that was there at the beginning."""
        now = self._clock()
        try:
            folders = tuple(map(_state, self._folders))
            if folders == self._relied_on and 0.0 <= now - self._looked_at < SETTLED:
                return True
            if self._look() != self._identities:
                return False
        except OSError:
            return False
        self._looked_at = now
        settled = all(changed < (now - SETTLED) * 1e9 for _, _, changed in folders)
        self._relied_on = folders if settled else None
        return True

    def _look(self) -> tuple[Identity, ...]:
        return tuple(_identity(os.stat(file)) for file in self._files)


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


def _state(folder: str) -> tuple[int, int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino, found.st_ctime_ns
