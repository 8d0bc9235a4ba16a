"""What a database or operating-system error means for the user, and how to mend it."""

from __future__ import annotations

import errno
from pathlib import Path

from ascend_guard.errors import StoreError

BUSY_TIMEOUT = 5.0
"""Seconds to wait for a foreign program (a database browser) that holds the file; our own processes queue elsewhere."""

ELSEWHERE = "name another place with database_url or ASCEND_DATABASE_URL"


def explain(error: Exception, path: Path) -> StoreError:
    """The error to raise instead of one of the database's or the operating system's."""
    text = str(error)
    number = getattr(error, "errno", None)
    at = Path(getattr(error, "filename", None) or path)
    if "full" in text or number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        mend = (
            "The disk is full, or a quota or limit on files is reached. Free some space; nothing runs until decisions can "
            "be recorded."
        )
    elif number in (errno.EMFILE, errno.ENFILE):
        mend = "This process has too many files open: close some, or raise the limit (ulimit -n)."
    elif number == errno.EISDIR or at.is_dir():
        mend = f"{at} is a directory where a file belongs. Move it away, or {ELSEWHERE}."
    elif "not a database" in text or "malformed" in text:
        mend = "The file is damaged or is not a database. Restore it from a backup, or move it away to begin a new one."
    elif "readonly" in text or number in (errno.EACCES, errno.EPERM, errno.EROFS):
        mend = (
            "It cannot be written. Decisions must be recorded before a tool runs: make the folder writable for this "
            f"user, or {ELSEWHERE}."
        )
    elif "unable to open" in text or number in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST):
        mend = f"It cannot be opened. Check that the folder exists and is writable, or {ELSEWHERE}."
    elif "locked" in text:
        mend = f"Another program has kept it locked for over {BUSY_TIMEOUT:g} s. Close whatever else has the file open."
    elif "WAL" in text:
        mend = "Put it on a local disk: network file systems cannot be shared safely."
    elif "I/O" in text or isinstance(error, OSError):
        mend = "The disk does not take it: check free space, quotas and the disk's health."
    else:
        mend = "See `ascend-guard doctor`."
    return StoreError(f"The database {path} failed ({type(error).__name__}: {text}). {mend}")


def tampered(path: Path) -> StoreError:
    """The error for a trail whose head nobody with the key has written."""
    return StoreError(
        f"The end of the audit trail in {path} was not written by the holder of its key: records were cut, or the file "
        f"was edited, or the key file belongs to another database. Nothing runs until this is cleared up: see "
        f"`ascend-guard audit verify`."
    )


def emptied(path: Path) -> StoreError:
    """The error for a database without content whose key is still there."""
    return StoreError(
        f"The database {path} is empty, but its key is there: somebody emptied it. Restore it from a backup; to begin a "
        f"new trail, move the key file away as well."
    )


def replaced(path: Path) -> StoreError:
    """The error for a database that is no longer where it was opened."""
    return StoreError(
        f"The database {path} was moved, deleted or replaced while it was in use, so nothing can be recorded in it. Put "
        f"it back, or configure the control plane again."
    )
