"""Writing a file that a person named: whole or not at all, and never over what is no plain file.

1. Without ``force`` nothing that is there is replaced: what is there may be evidence, or somebody's policy.
2. With it, only a plain file is. A device, a pipe, a socket, a folder or a link is never replaced by a file: the next
   program that writes to ``/dev/null`` would fill the disk, and what a link led to would be left behind unchanged.
3. The content is written beside the place under a name of its own, and moved there when all of it is on the disk.
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
    """Write this to a file.

    Args:
        path: where to.
        chunks: the content.
        force: a plain file that is there may be replaced; it keeps its mode and its owner.
        mode: the permissions of a new file, less the umask.

    Raises:
        Refusal: it cannot be written there; nothing was changed.
    """
    try:
        _write(path, chunks, force, mode)
    except FileExistsError:
        raise Refusal(f"{path} exists already. Add --force to replace it, or name another file.", 1) from None
    except OSError as error:
        if error.filename is None and isinstance(error, BrokenPipeError):
            raise
        raise Refusal(
            f"{path} cannot be written ({error.strerror or error}). Name another place.", 1
        ) from error
    except ValueError as error:
        raise Refusal(
            f"{str(path)!r} cannot be the name of a file ({error}). Name another place.", 1
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
                with suppress(PermissionError):  # only root may give files away
                    os.fchown(number, old.st_uid, old.st_gid)
                os.fchmod(number, stat.S_IMODE(old.st_mode))
            file.writelines(chunks)
            file.flush()
            os.fsync(number)
        if force:
            _replaceable(path, force)
            os.replace(draft, path)
        else:
            # Fails where something has come to be there meanwhile.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            os.replace(draft, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def _replaceable(path: Path, force: bool) -> os.stat_result | None:
    """The plain file that is there, or None where nothing is.

    Raises:
        FileExistsError: something is there, and it is not to be replaced.
        Refusal: it is no plain file.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no plain file")
        target = f" to {os.path.realpath(path)}" if stat.S_ISLNK(found.st_mode) else ""
        raise Refusal(f"{path} is {kind}{target}, and is never replaced by a file. Name another file.", 1)
    if not force:
        raise FileExistsError
    return found


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
