"""Detect that a file on which an open database depends was moved, deleted or replaced.

SQLite continues with the files that it has open, even without a name, while another process creates new ones: each
then has its own kill switch and its own approvals. So every commit and every read first checks that the files are still
those that were opened (promises 3 to 5).

1. A file cannot be deleted, moved or replaced without changing the change time of its folder. While the database's
   folder is unchanged, its files are not checked: one system call instead of one for each file.
2. Change times are as coarse as the system's tick, so a folder that changed within the last second is not relied on.
3. At least once a second every file is checked, whatever the folder says: for files in other folders, and for file
   systems that do not keep rule 1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

Identity = tuple[int, int]

SETTLED = 1.0
"""Seconds without a change after which the folder is relied on, and between two checks of every file."""


class Watched:
    """The files of one open database.

    Args:
        folder: the folder of the database.
        files: files that must stay the same.
        clock: seconds since the epoch, by the clock that file systems use.

    Raises:
        OSError: a file does not exist.
    """

    def __init__(self, folder: Path, files: Iterable[Path], clock: Callable[[], float] = time.time) -> None:
        self._folder = os.fspath(folder)
        self._files = tuple(os.fspath(file) for file in files)
        self._clock = clock
        self._relied_on = (0, 0)
        self._looked_at = 0.0
        self._identities = self._look()

    def unchanged(self) -> bool:
        """Return whether each file is still the original one."""
        now = self._clock()
        try:
            folder = os.stat(self._folder)
            state = folder.st_ctime_ns, folder.st_ino
            if state == self._relied_on and 0.0 <= now - self._looked_at < SETTLED:
                return True
            if self._look() != self._identities:
                return False
        except OSError:
            return False
        self._looked_at = now
        self._relied_on = state if folder.st_ctime_ns < (now - SETTLED) * 1e9 else (0, 0)
        return True

    def _look(self) -> tuple[Identity, ...]:
        return tuple(_identity(os.stat(file)) for file in self._files)


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
