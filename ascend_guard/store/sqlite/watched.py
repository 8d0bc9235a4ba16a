"""Notice that a file which an open database depends on was moved, deleted or replaced.

SQLite goes on with the files it has open, even when they have no name any more, while another process makes new ones: each
then has its own kill switch and its own approvals. So every commit and every read first makes sure that the files are still
the ones that were opened (promises 3 to 5).

1. A file cannot be deleted, moved or replaced without changing the change time of the folder that it is in. While the
   database's folder is unchanged, the files in it need not be looked at: one call of the system instead of one for each.
2. Change times are as coarse as the system's tick, so a folder that changed within the last second is not relied on.
3. At least once a second every file is looked at whatever the folder says: for files in folders of their own, and for
   file systems that do not keep rule 1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

Identity = tuple[int, int]

SETTLED = 1.0
"""Seconds for which the folder must not have changed before it is relied on, and between two looks at every file."""


class Watched:
    """The files of one open database.

    Args:
        folder: where the database is.
        files: each must stay what it is.
        clock: seconds since the epoch by the clock that file systems use.

    Raises:
        OSError: one of them is not there.
    """

    def __init__(self, folder: Path, files: Iterable[Path], clock: Callable[[], float] = time.time) -> None:
        self._folder = os.fspath(folder)
        self._files = tuple(os.fspath(file) for file in files)
        self._clock = clock
        self._relied_on = (0, 0)
        self._looked_at = 0.0
        self._identities = self._look()

    def unchanged(self) -> bool:
        """Whether each file is still the one that was there at the beginning."""
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
