"""The store's secret, a file beside the database: it seals the audit trail and keys the digests."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ascend_guard.errors import StoreError

_LENGTH = 32


def load_secret(path: Path, *, may_make: bool) -> bytes:
    """Read the secret, or make it where there is none and ``may_make``.

    Raises:
        StoreError: it is missing where it must not be, or damaged.
        OSError: it cannot be read or written.
    """
    try:
        secret = bytes.fromhex(path.read_text().strip())
    except FileNotFoundError:
        if not may_make:
            raise StoreError(
                f"The key of the audit trail, {path}, is missing. Restore it from a backup. Without it nobody can tell "
                f"whether the trail was cut; to begin a new trail, move the database away."
            ) from None
        return _make(path)
    except ValueError:
        secret = b""
    if len(secret) != _LENGTH:
        raise StoreError(
            f"The key file {path} is damaged. Restore it from a backup; if there is no trail yet, remove it."
        )
    return secret


def _make(path: Path) -> bytes:
    secret = secrets.token_bytes(_LENGTH)
    draft = path.with_name(path.name + ".new")
    # Whole or not at all: a key that was cut short could be guessed.
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(secret.hex() + "\n")
        out.flush()
        os.fsync(file)
    os.replace(draft, path)
    return secret
