"""Write a file that a person named: completely or not at all, and only over a plain file.

1. Without ``force`` no existing file is replaced: it may be evidence, or a policy.
2. With it, only a plain file is replaced. A device, a pipe, a socket, a folder or a link is never replaced by a file: the
   next program that writes to ``/dev/null`` would fill the disk, and the target of a link would stay unchanged.
3. The content is written to a temporary file beside it, and moved when all of it is on the disk.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .context import Refusal

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def write_file(path: Path, chunks: Iterable[bytes], *, force: bool, mode: int = 0o666) -> None:
    """Write a file.

    Args:
        path: the file.
        chunks: the content.
        force: an existing plain file may be replaced; it keeps its mode and its owner.
        mode: the permissions of a new file, less the umask.

    Raises:
        Refusal: it cannot be written; nothing was changed.
    """
    try:
        _write(path, chunks, force, mode)
    except FileExistsError:
        raise Refusal(f"{path} already exists. Add --force to replace it, or name another file.", 1) from None
    except OSError as error:
        if error.filename is None and isinstance(error, BrokenPipeError):
            raise
        raise Refusal(
            f"{path} cannot be written ({error.strerror or error}). Name another file.", 1
        ) from error
    except ValueError as error:
        raise Refusal(
            f"{str(path)!r} cannot be the name of a file ({error}). Name another file.", 1
        ) from error


def _write(path: Path, chunks: Iterable[bytes], force: bool, mode: int) -> None:
    old = _replaceable(path, force)
    number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            if old is None:
                os.fchmod(number, mode & ~_umask())
            else:
                with suppress(PermissionError):  # only root may change the owner
                    os.fchown(number, old.st_uid, old.st_gid)
                os.fchmod(number, stat.S_IMODE(old.st_mode))
            file.writelines(chunks)
            file.flush()
            os.fsync(number)
        if force:
            _replaceable(path, force)
            os.replace(draft, path)
        else:
            # Fails if a file was created there meanwhile.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            os.replace(draft, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def _replaceable(path: Path, force: bool) -> os.stat_result | None:
    """Return the existing plain file, or None if there is no file.

    Raises:
        FileExistsError: there is a file, and ``force`` is not set.
        Refusal: it is not a plain file.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "not a plain file")
        target = f" to {os.path.realpath(path)}" if stat.S_ISLNK(found.st_mode) else ""
        raise Refusal(f"{path} is {kind}{target}, and is never replaced by a file. Name another file.", 1)
    if not force:
        raise FileExistsError
    return found


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
