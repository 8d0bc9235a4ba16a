"""One walk over a call's arguments: the view that people may see, and a digest of the real values.

The digest is HMAC-SHA256 (RFC 2104) over a typed, length-prefixed encoding. So arguments that a tool could distinguish have
different digests, and without the key it is impossible to test guesses of a secret against it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ascend_guard.errors import ValidationError
from ascend_guard.redaction.hidden import HiddenKey, Secrets

from .canonical import join_order, read_fields
from .instances import read_instance
from .walk import Walk, refuse_size, subject, where

__all__ = ["Arguments", "digest_key_of", "digest_of", "normalise"]

MAX_SIZE = 1 << 20
"""Default limit of the canonical encoding of all arguments together, in bytes."""

MAX_DEPTH = 64
"""Default limit of nested containers in the plain view, including the view itself."""


NO_SECRETS = Secrets()


class Arguments(Struct, frozen=True):
    """A call's arguments, normalised.

    Two values identify the arguments. ``digest`` protects "unchanged": it covers everything that a tool could see,
    including the order of the keys of every mapping, of attributes, and of ``**kwargs``. ``identity`` recognises the
    same call: it is the same digest without any order, because a model that repeats a call may write its keys in
    another order.

    Args:
        plain: what policy, people and the store see: redacted, bounded JSON data (dict with text keys, list,
            valid text, 64-bit int, finite float, bool, None). Other values have forms such as ``{"$bytes": ...}``.
        digest: HMAC-SHA256 over the unredacted arguments, in hexadecimal.
        mutable: something in them could change while a person decides.
        opaque: paths, such as ``items[2].client``, of what could not be read, or not in full.
        secrets: the text of what was redacted, for ``scrub()``.
        unordered: the key and the message of ``identity``, when some mapping is not in the order of its keys.
    """

    plain: dict[str, Any]
    digest: str
    mutable: bool
    opaque: tuple[str, ...] = ()
    secrets: Secrets = NO_SECRETS
    unordered: tuple[HiddenKey, HiddenKey] | None = None

    @property
    def identity(self) -> str:
        """HMAC-SHA256 like ``digest``, without the order of any mapping; equal to it when every mapping is in the order of
        its keys. Computed on request, because few calls need it."""
        return self.digest if self.unordered is None else _mac(*self.unordered)

    def __repr__(self) -> str:
        return f"Arguments({', '.join(map(ascii, self.plain))}; digest={self.digest[:12]}...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("names", list(self.plain)), ("digest", self.digest)]


def normalise(
    named: Mapping[str, Any],
    *,
    key: bytes,
    redact: frozenset[str] = frozenset(),
    limit: int = MAX_SIZE,
    depth: int = MAX_DEPTH,
) -> Arguments:
    """Read a call's named arguments once: the view that may be shown, and a digest that binds an approval to them.

    Runs no code of the arguments' own classes: content is read with the methods of the base classes and from where
    it is stored. The one exception is a ``tzinfo`` written in Python, whose offset is requested.

    Args:
        named: argument values by name, from a ``Binder``.
        key: secret key of the digest.
        redact: names to redact, besides those that look secret: parameters, and keys or fields at any depth. With dots, as
            ``card.number``, only the key at that place; ``*.number`` is ``number`` anywhere.
        limit: most bytes of the canonical encoding. Larger arguments are refused, never cut: padding must not hide
            anything.
        depth: most nested containers.

    Raises:
        ValidationError: too large, too deep, cyclic, unreadable, or changed while being read.
    """
    walk = _walk(redact, limit, depth)
    plain = _read(walk, named)
    data = _encoded(walk)
    order = join_order(walk.order)
    digest = _mac(key, data + order.encode("utf-8", "surrogatepass") if order else data)
    opaque = tuple(dict.fromkeys(map(where, walk.opaque))) if walk.opaque else ()
    secrets = Secrets(dict.fromkeys(walk.secrets)) if walk.secrets else NO_SECRETS
    hidden = (HiddenKey(key), HiddenKey(data)) if order else None
    return Arguments(plain, digest, walk.mutable, opaque, secrets, hidden)


def digest_of(
    named: Mapping[str, Any],
    *,
    key: bytes,
    redact: frozenset[str] = frozenset(),
    limit: int = MAX_SIZE,
    depth: int = MAX_DEPTH,
) -> str:
    """Return the digest that ``normalise`` returns, to find out whether arguments changed since.

    Takes the same arguments and raises the same errors. Redaction does not affect the digest.
    """
    walk = _walk(redact, limit, depth)
    _read(walk, named)
    data = _encoded(walk)
    order = join_order(walk.order)
    # The encoding marks its own end, so the order after it cannot be taken for a part of it.
    return _mac(key, data + order.encode("utf-8", "surrogatepass") if order else data)


def _walk(redact: frozenset[str], limit: int, depth: int) -> Walk:
    names, places = _selected(redact)
    return Walk(read_instance, names, limit, depth, limit, places=places)


@functools.lru_cache(maxsize=1024)
def _selected(redact: frozenset[str]) -> tuple[frozenset[str], dict[str, frozenset[tuple[str, ...]]]]:
    """Return the names to look for, and the places of those that are redacted in some places only."""
    paths = [tuple(name.replace("[]", "").split(".")) for name in redact]
    anywhere = {path[-1] for path in paths if len(path) == 1 or path[0] == "*"}
    places: dict[str, set[tuple[str, ...]]] = {}
    for path in paths:
        if path[-1] not in anywhere:
            places.setdefault(path[-1], set()).add(path)
    return (
        frozenset(anywhere.union(places, redact)),  # a key may contain dots
        {name: frozenset(found) for name, found in places.items()},
    )


def _read(walk: Walk, named: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain = named.copy() if type(named) is dict else dict(named)
        for name in plain:
            if type(name) is not str:
                raise ValidationError("The name of an argument is not text; name every argument with a str")
        return read_fields(walk, plain, None, 1, walk.redact)
    except (ValidationError, MemoryError):
        raise
    except Exception as error:
        # Without its cause: text that a hostile value produces while it is read must not reach a log.
        what = "is nested too deep" if isinstance(error, RecursionError) else "could not be read"
        raise ValidationError(
            f"{subject(walk.at)} {what} ({type(error).__name__}); pass plain data instead"
        ) from None


def _encoded(walk: Walk) -> bytes:
    data = "".join(walk.out).encode("utf-8", "surrogatepass")
    if len(data) > walk.limit:
        refuse_size(walk, None)
    return data


def _mac(key: bytes, data: bytes) -> str:
    inner, outer = _keyed(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(data)
    outer.update(inner.digest())
    digest: str = outer.hexdigest()
    return digest


def digest_key_of(secret: bytes) -> bytes:
    """Derive the key of the digests from the secret of a store or an API key; the secret cannot be found from it. It is
    equal for equal secrets, so that a call can be recognised in another process."""
    import hmac  # needed once in a process

    return HiddenKey(hmac.digest(secret, b"argument digests", "sha256"))


@functools.lru_cache(maxsize=16)
def _keyed(key: bytes) -> tuple[Any, Any]:
    # hmac.digest() prepares its key on every call, which is most of its cost for so short a message.
    from hashlib import sha256

    block = (sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    return sha256(bytes(byte ^ 0x36 for byte in block)), sha256(bytes(byte ^ 0x5C for byte in block))
