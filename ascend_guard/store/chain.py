"""The hash chain of audit records: it connects each record to the one before it, and the last one to the key.

A record's body is the exact bytes that were hashed::

    hash(n) = SHA-256(hash(n-1) || body(n))          hash(0) = 32 zero bytes
    mac     = HMAC-SHA256(key, seq || hash)          of the last record only

Editing, removing or reordering a record breaks the chain. Cutting the end leaves a head whose mac can be made only with the
key. The chain follows RFC 6962's reasoning for append-only logs, without its tree.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

GENESIS = bytes(32)


def link(previous: bytes, body: bytes) -> bytes:
    """Return the hash of the record with this body (32 bytes)."""
    return hashlib.sha256(previous + body).digest()


def seal(key: bytes, seq: int, hash_: bytes) -> bytes:
    """Return the mac of the head of the chain (32 bytes)."""
    return hmac.digest(key, seq.to_bytes(8, "big") + hash_, "sha256")


def sealer(key: bytes) -> Callable[[int, bytes], bytes]:
    """Return ``seal`` with a prepared key, which is most of the work for so short a message (RFC 2104)."""
    keyed = hmac.new(key, digestmod="sha256")

    def seal_one(seq: int, hash_: bytes) -> bytes:
        mac = keyed.copy()
        mac.update(seq.to_bytes(8, "big") + hash_)
        return mac.digest()

    return seal_one


def sealed(key: bytes, seq: int, hash_: bytes, mac: bytes) -> bool:
    """Return whether this head was sealed with this key."""
    return hmac.compare_digest(seal(key, seq, hash_), mac)
