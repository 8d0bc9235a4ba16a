"""A file of somebody else's, read and replaced without losing anything of it."""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from .jsonc import ClientFileError

_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_ANYBODY_WRITES = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was read.

    Args:
        path: where it really is; symbolic links are followed.
        data: its bytes.
    """

    path: Path
    data: bytes

    @property
    def text(self) -> str:
        """Its text, without a byte order mark, line endings as they are.

        Raises:
            ClientFileError: it is not UTF-8.
        """
        for mark, name in _OTHER_ENCODINGS.items():
            if self.data.startswith(mark):
                raise ClientFileError(f"{self.path} is written in {name}. Save it as UTF-8, which JSON is.")
        try:
            return self.data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise ClientFileError(
                f"{self.path} is not UTF-8: byte {error.start}, in line {line}. Save it as UTF-8, which JSON is."
            ) from None

    def with_text(self, text: str) -> File:
        """The same file with another text; a byte order mark stays."""
        mark = codecs.BOM_UTF8 if self.data.startswith(codecs.BOM_UTF8) else b""
        return replace(self, data=mark + text.encode("utf-8"))


def read(path: Path) -> File:
    """Read a file.

    Raises:
        ClientFileError: there is none, or it cannot be read.
    """
    try:
        target = path.resolve(strict=True)
        return File(target, target.read_bytes())
    except FileNotFoundError:
        what = "is a link to a file that is gone" if path.is_symlink() else "does not exist"
        raise ClientFileError(f"{path} {what}. Name the client's configuration file.") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise ClientFileError(f"{path} cannot be read ({_why(error)}). Name a file that can.") from None


def check_writable(file: File) -> None:
    """See that it could be replaced.

    Raises:
        ClientFileError: it could not.
    """
    try:
        mode = file.path.stat().st_mode
    except OSError as error:
        raise ClientFileError(f"{file.path} cannot be written ({_why(error)}). Run this again.") from None
    # Mode bits and not os.access alone: a person's mark "read-only" holds for the superuser as well.
    if not mode & _ANYBODY_WRITES or not os.access(file.path, os.W_OK):
        raise ClientFileError(
            f"{file.path} is read-only. Make it writable (chmod u+w), or run this as its owner."
        )
    if not os.access(file.path.parent, os.W_OK | os.X_OK):
        raise ClientFileError(
            f"{file.path.parent} is read-only, and a file is replaced in its folder. Make it writable (chmod u+w)."
        )


def check_unchanged(file: File) -> None:
    """See that it is still as it was read.

    Raises:
        ClientFileError: somebody changed it.
        OSError: it cannot be read any more.
    """
    if file.path.read_bytes() != file.data:
        raise ClientFileError(
            f"{file.path} was changed by somebody else meanwhile, and is left as it is. Run this again."
        )


def write(before: File, after: File) -> None:
    """Replace a file by another one of the same mode and owner, in one step.

    Args:
        before: as it was read; it must still be so.
        after: as it shall be.

    Raises:
        ClientFileError: somebody changed it since it was read, or it cannot be written. It is as it was.
    """
    check_writable(before)
    try:
        status = before.path.stat()
        check_unchanged(before)
        put(before.path, after.data, mode=stat.S_IMODE(status.st_mode), owner=(status.st_uid, status.st_gid))
    except OSError as error:
        raise ClientFileError(
            f"{before.path} cannot be written ({_why(error)}). It is as it was; run this as its owner."
        ) from None


def put(path: Path, data: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file in one step: whoever reads it sees all of the old one or all of the new one.

    Args:
        path: where; what is there is replaced.
        data: its bytes.
        mode: its permissions.
        owner: user and group it shall belong to; who runs this when left out.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if os.name == "posix":
                made = os.fstat(descriptor)
                if owner is not None and owner != (made.st_uid, made.st_gid):
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        # The new file stands already: where a folder cannot be synchronised, that is no failure to write.
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
