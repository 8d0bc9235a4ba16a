"""The audit log: one for each organization, append-only, with every record connected to the one before it.

A record's body is the exact bytes that were hashed, together with random salt::

    leaf(n) = SHA-256(0x00 || salt(n) || body(n))
    hash(n) = SHA-256(0x01 || hash(n-1) || leaf(n))          hash(0) = 32 zero bytes
    mac     = HMAC-SHA256(key, organization || 0x00 || n || hash(n))      of the last record only

Editing, removing or reordering a record breaks the chain. Cutting the end leaves a head whose mac can be made only with the
key. The salt keeps a leaf from being guessed, so a body can be erased later, while its leaf stays in the chain. The
prefixes of leaves and links follow RFC 6962; there is no tree.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from os import urandom

from .rows import Head

GENESIS = bytes(32)
SALT = 16
"""Bytes of a salt."""

SYSTEM = ""
"""The log of what belongs to no organization: which organizations there are. No organization has this name."""

_SPAN = 40
LARGEST = (1 << _SPAN) - 1
"""The largest number of a record or an action."""

MOST_LOGS = 1 << 22
"""The most organizations: keys are numbers of 64 bits."""


LOCAL = "local"
"""The organization of a database that no server uses; it has a log from the beginning, as the system has."""


def first_heads(key: bytes) -> list[Head]:
    """Return the ends of the logs that every database has."""
    return [
        Head(number, organization, 0, GENESIS, seal(key, organization, 0, GENESIS), 0, 0, 0)
        for number, organization in enumerate((SYSTEM, LOCAL))
    ]


def key_of(number: int, seq: int) -> int:
    """Return the key of a row: an organization's number, and a number that counts within the organization.

    So an organization's rows lie next to each other, in their order, without a further index.
    """
    return number << _SPAN | seq


def of_key(key: int) -> tuple[int, int]:
    """Return the organization's number and the number within the organization."""
    return key >> _SPAN, key & LARGEST


class Salts:
    """Random salts. Not safe for threads: a transaction has its own."""

    def __init__(self) -> None:
        self._left = b""

    def __call__(self) -> bytes:
        """Return a new salt. Asking the system once for many is several times faster."""
        if not self._left:
            self._left = urandom(SALT * 256)
        salt, self._left = self._left[:SALT], self._left[SALT:]
        return salt


def leaf(salt: bytes, body: bytes) -> bytes:
    """Return the hash of a record (32 bytes)."""
    return hashlib.sha256(b"\0" + salt + body).digest()


def link(previous: bytes, leaf: bytes) -> bytes:
    """Return the hash of the chain up to this leaf (32 bytes)."""
    return hashlib.sha256(b"\1" + previous + leaf).digest()


def seal(key: bytes, organization: str, seq: int, hash_: bytes) -> bytes:
    """Return the mac of the head of an organization's log (32 bytes)."""
    return hmac.digest(key, _sealed_text(organization, seq, hash_), "sha256")


def sealer(key: bytes) -> Callable[[str, int, bytes], bytes]:
    """Return ``seal`` with a prepared key, which is most of the work for so short a message (RFC 2104)."""
    keyed = hmac.new(key, digestmod="sha256")

    def seal_one(organization: str, seq: int, hash_: bytes) -> bytes:
        mac = keyed.copy()
        mac.update(_sealed_text(organization, seq, hash_))
        return mac.digest()

    return seal_one


def sealed(key: bytes, organization: str, seq: int, hash_: bytes, mac: bytes) -> bool:
    """Return whether this head was sealed with this key. In a database that was edited, its columns may hold anything."""
    if not (isinstance(seq, int) and isinstance(hash_, bytes) and isinstance(mac, bytes)) or seq < 0:
        return False
    return hmac.compare_digest(seal(key, organization, seq, hash_), mac)


def _sealed_text(organization: str, seq: int, hash_: bytes) -> bytes:
    return organization.encode() + b"\0" + seq.to_bytes(8, "big") + hash_
