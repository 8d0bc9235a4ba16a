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
from collections.abc import Callable, Iterable
from pathlib import Path

Identity = tuple[int, int]

SETTLED = 1.0
"""Seconds for which a folder must not have changed before it is relied on, and between two looks at every file."""


class Watched:
    """The files of one open database.

    Args:
        folder: where the database is.
        inner: a folder in it.
        files: each, in one of the two folders, must stay what it is.
        clock: seconds since the epoch by the clock that file systems use.

    Raises:
        OSError: one of them is not there.
    """

    def __init__(
        self, folder: Path, inner: Path, files: Iterable[Path], clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = os.fspath(folder)
        # By descriptor, which is faster than by name; its name belongs to the outer folder.
        self._inner = os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._files = tuple(os.fspath(file) for file in files)
        self._clock = clock
        self._relied_on = (0, 0, 0)
        self._looked_at = 0.0
        try:
            self._identities = self._look()
        except BaseException:
            self.close()
            raise

    def unchanged(self) -> bool:
        """Whether each file is still the one that was there at the beginning."""
        now = self._clock()
        try:
            folder, inner = os.stat(self._folder), os.stat(self._inner)
            state = folder.st_ctime_ns, folder.st_ino, inner.st_ctime_ns
            if state == self._relied_on and 0.0 <= now - self._looked_at < SETTLED:
                return True
            if self._look() != self._identities:
                return False
        except OSError:
            return False
        self._looked_at = now
        settled = max(folder.st_ctime_ns, inner.st_ctime_ns) < (now - SETTLED) * 1e9
        self._relied_on = state if settled else (0, 0, 0)
        return True

    def close(self) -> None:
        """Stop watching."""
        os.close(self._inner)

    def _look(self) -> tuple[Identity, ...]:
        return tuple(_identity(os.stat(file)) for file in self._files)


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
