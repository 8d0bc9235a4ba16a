"""The store's secret, a file beside the database: it seals the audit trail and keys the digests."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ascend_guard.errors import ConfigurationError, StoreError

_LENGTH = 32


def load_secret(path: Path, *, may_make: bool) -> bytes:
    """Read the secret, or create it if there is none and ``may_make``.

    Raises:
        StoreError: it is missing but must exist, or is damaged.
        OSError: it cannot be read or written.
    """
    try:
        secret = _decoded(path.read_text(errors="replace"))
    except FileNotFoundError:
        if not may_make:
            raise StoreError(
                f"The key of the audit trail, {path}, is missing. Restore it from a backup. Without it, it is unknown "
                f"whether the trail was cut; to begin a new trail, move the database away."
            ) from None
        return _make(path)
    if secret is None:
        raise StoreError(
            f"The key file {path} is damaged. Restore it from a backup; if there is no trail yet, remove it."
        )
    return secret


def kept_secret(folder: Path) -> bytes:
    """Return the secret of a database that is not on this disk, stored in its own folder and created when missing.

    Raises:
        StoreError: it cannot be read or written, or is damaged.
    """
    path = folder / "postgres.key"
    try:
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)
            (folder / ".gitignore").write_text("*\n")  # prevents publishing the key by accident
        return load_secret(path, may_make=True)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"The key of the audit trail cannot be stored at {path} ({error}). Set ASCEND_SECRET_KEY, or make the folder "
            f"writable."
        ) from error


def parse_secret(text: str) -> bytes:
    """Parse the secret from a setting: 64 hexadecimal digits.

    Raises:
        ConfigurationError: it is something else.
    """
    secret = _decoded(text)
    if secret is None:
        raise ConfigurationError(
            "ASCEND_SECRET_KEY must be 64 hexadecimal digits, as `openssl rand -hex 32` prints them. All replicas share it."
        )
    return secret


def _decoded(text: str) -> bytes | None:
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        return None
    return secret if len(secret) == _LENGTH else None


def _make(path: Path) -> bytes:
    secret = secrets.token_bytes(_LENGTH)
    draft = path.with_name(path.name + ".new")
    # Completely or not at all: a truncated key could be guessed.
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(secret.hex() + "\n")
        out.flush()
        os.fsync(file)
    os.replace(draft, path)
    return secret
