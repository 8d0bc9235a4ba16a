"""Explain database and operating-system errors to the user, and how to fix them."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from ascend_guard.errors import StoreError

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another program (a database browser) that locks the file; our own processes queue elsewhere."""


class LastingStoreError(StoreError):
    """The database refused the content: it would refuse the same content again."""


ELSEWHERE = "name another location with database_url or ASCEND_DATABASE_URL"


def explain(error: Exception, path: Path) -> StoreError:
    """Return the error to raise instead of one of the database or the operating system."""
    kind = LastingStoreError if isinstance(error, _LASTING) else StoreError
    return kind(f"The database {path} failed ({type(error).__name__}: {error}). {advice(error, path)}")


def advice(error: Exception, path: Path | None = None) -> str:
    """Return what to do about an error of the operating system, or of the database at ``path``."""
    text = str(error)
    number = getattr(error, "errno", None)
    named = getattr(error, "filename", None)
    at = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else path
    if "full" in text or number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = (
            "The disk is full, or a quota or limit on files is reached. Free some space; no call runs until decisions can "
            "be recorded."
        )
    elif number in (errno.EMFILE, errno.ENFILE):
        remedy = "This process has too many files open: close some, or raise the limit (ulimit -n)."
    elif at is not None and (number == errno.EISDIR or os.path.isdir(at)) and number != errno.EACCES:
        remedy = f"{at} is a directory, but must be a file. Move it away, or {ELSEWHERE}."
    elif "not a database" in text or "malformed" in text:
        remedy = "The file is damaged or is not a database. Restore it from a backup, or move it away to create a new one."
    elif "readonly" in text or number in (errno.EACCES, errno.EPERM, errno.EROFS) or forbidden(at):
        remedy = (
            f"It cannot be written, or cannot be read, by this user. {'' if at is None else owned(at)}Decisions must be "
            f"recorded before a tool runs: run this as the user that the agents run as, make the folder and the files in "
            f"it writable for this user, or {ELSEWHERE}."
        )
    elif "unable to open" in text or number in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
        remedy = f"It cannot be opened. Check that the folder exists and is writable, or {ELSEWHERE}."
    elif "locked" in text:
        remedy = f"Another program has kept it locked for over {BUSY_TIMEOUT:g} s. Close the programs that have it open."
    elif "WAL" in text:
        remedy = "Put it on a local disk: network file systems do not lock reliably."
    elif "I/O" in text or isinstance(error, OSError):
        remedy = "The disk failed: check free space, quotas and the disk's health."
    else:
        remedy = "See `ascend-guard doctor`."
    return remedy


def forbidden(path: Path | None) -> bool:
    """Return whether this user may not use a file, or the nearest existing folder above it."""
    if path is None:
        return False
    for at in (path, *path.parents):
        if os.path.lexists(at):
            folder = os.path.isdir(at)
            return not os.access(at, os.R_OK | os.W_OK | (os.X_OK if folder else 0))
    return False


def owned(path: Path) -> str:
    """Return a sentence on the owner and this user, if they differ: ``It belongs to root; this is nobody. ``"""
    for at in (path, *path.parents):
        try:
            owner = os.stat(at).st_uid
        except OSError:
            continue  # the first readable folder is the one without access, or contains it
        if owner == os.geteuid():
            break
        return f"{at} belongs to {user_name(owner)}; this runs as {user_name(os.geteuid())}. "
    return ""


def user_name(number: int) -> str:
    """Return the name of the user with this number."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


_LASTING = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


def tampered(path: Path) -> StoreError:
    """Return the error for a trail whose head was not sealed with the key."""
    return StoreError(
        f"The end of the audit trail in {path} was not written by the holder of its key: records were cut, or the file "
        f"was edited, or the key file belongs to another database. No call runs until this is resolved: see "
        f"`ascend-guard audit verify`."
    )


def emptied(path: Path) -> StoreError:
    """Return the error for a database without content whose key still exists."""
    return StoreError(
        f"The database {path} is empty, but its key exists: the database was emptied. Restore it from a backup; to begin a "
        f"new trail, move the key file away as well."
    )


def replaced(path: Path) -> StoreError:
    """Return the error for a database that is no longer where it was opened, or has lost a file on which it depends."""
    return StoreError(
        f"The database {path}, or a file beside it on which it depends ({', '.join(BESIDE)}), was moved, deleted or "
        f"replaced while it was in use. Other processes may work on other files now, so no call runs. Put it back, or "
        f"stop every process that uses it, then configure the control plane again."
    )


def restored(path: Path) -> StoreError:
    """Return the error for a database whose trail lacks a record that this process wrote or read."""
    return StoreError(
        f"The audit trail in {path} does not contain the last record this process has seen: the database was restored to "
        f"an older state while it was in use. No call runs. Stop every process that uses it, see `ascend-guard audit "
        f"verify`, then start them again."
    )


BESIDE = ("-wal", "-shm", ".lock", ".lock-queue", ".key", ".runners")
"""Suffixes of the files on which an open database depends."""


_POSTGRES = {
    "28": "It rejects this user: check the user and the password in the URL, and the server's pg_hba.conf.",
    "3D000": "The database does not exist: create it (createdb), or correct the name at the end of the URL.",
    "42501": "This user lacks the right to do that. As the database's owner: "
    "GRANT CREATE, USAGE ON SCHEMA public TO the user (to make the tables), or make the user their owner.",
    "53100": "The server's disk is full. Free some space; no call runs until decisions can be recorded.",
    "53200": "The server is out of memory.",
    "53300": "The server has too many connections: raise max_connections, or close some of them. A process of ascend-guard "
    "needs up to seven.",
    "25006": "It is a standby or a read-only session. Name the primary server, or several hosts in the URL.",
    "55P03": "Another process locks the end of the audit trail for too long; find it in pg_stat_activity.",
    "57014": "It took too long. Find what blocks it in pg_stat_activity.",
    "57P": "The server is stopping or starting. Calls continue automatically once it answers again.",
    "08": "The connection was lost. Calls continue automatically once the server answers again.",
    "25P": "The connection was lost. Calls continue automatically once the server answers again.",
    "54000": "A name is too long to be indexed (about 2,600 bytes).",
}
"""Remedies by SQLSTATE, or its beginning (PostgreSQL, appendix A)."""

_BEFORE_SQLSTATE = {
    "authentication failed": "28",
    "no password supplied": "28",
    "pg_hba.conf": "28",
    "does not exist": "3D000",
    "permission denied for database": "42501",
    "too many": "53300",
    "connection slots": "53300",
    "read-only": "25006",
    "in hot standby mode": "25006",
    "starting up": "57P",
    "shutting down": "57P",
    "recovery mode": "57P",
    "server closed the connection": "08",
    "connection is closed": "08",
    "connection is lost": "08",
    "SSL": "SSL",
}
"""Messages of a server before there is a session, for which the driver has no SQLSTATE."""


def explain_postgres(kind: str, text: str, sqlstate: str | None, where: str) -> StoreError:
    """Return the error to raise instead of one of PostgreSQL.

    Args:
        kind: the type of the driver's error.
        text: its text, without any password.
        sqlstate: its code, if it came from within a session.
        where: the database, for people.
    """
    if sqlstate is None:
        role = 'role "' in text and "does not exist" in text
        found = (code for part, code in _BEFORE_SQLSTATE.items() if part in text)
        sqlstate = "28" if role else next(found, "")
    remedy = next((remedy for code, remedy in _POSTGRES.items() if sqlstate.startswith(code)), None)
    if sqlstate == "SSL":
        remedy = "The encrypted connection failed: check sslmode and sslrootcert in the URL."
    if remedy is None and sqlstate == "":
        remedy = "It cannot be reached: check that the server runs, and host and port in the URL."
    text = " ".join(text.split())
    return StoreError(
        f"The database {where} failed ({kind}: {text}). {remedy or 'See `ascend-guard doctor`.'}"
    )
