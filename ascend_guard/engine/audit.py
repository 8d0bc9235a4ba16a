"""Export the audit logs, and verify an export offline.

An export is one line of JSON per record, the logs one after the other, and a signed checkpoint as its last line::

    {"leaf":"<hex>","salt":"<hex>","record":<the exact bytes that were hashed>}
    {"checkpoint":{"heads":[["<organization>",<seq>,"<hex>"],…],"timestamp":…,"public_key":"<hex>","signature":"<hex>"}}

The chain reveals edits, removals and reordering. The checkpoint, signed with Ed25519, reveals a cut at the end;
verifying it needs only the public key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

import msgspec

from ascend_guard.errors import StoreError, ValidationError
from ascend_guard.model import iso
from ascend_guard.store.log import SYSTEM, sealed
from ascend_guard.store.port import Reader

from .chain import Chain, Problem, Report, TooMany, head_of
from .verification import verify

__all__ = ["Checkpoint", "Problem", "Report", "export", "head_of", "verify", "verify_export"]

_PURPOSE = b"ascend-guard audit checkpoint\n"


class Checkpoint(msgspec.Struct, frozen=True):
    """A signed statement of the last record of each log: organization, number and hash of the chain."""

    heads: list[tuple[str, int, str]]
    timestamp: str
    public_key: str
    signature: str


def export(reader: Reader, key: bytes, now: float) -> Iterator[bytes]:
    """Yield the lines of an export, including newlines.

    Args:
        reader: the store.
        key: the store's secret, from which the signing key is derived.
        now: seconds since the epoch, for the checkpoint.

    Raises:
        StoreError: the trail does not verify; what was yielded until then has no checkpoint, and so is not an export.
    """
    problems: list[Problem] = []
    heads: list[tuple[str, int, str]] = []
    for head in reader.heads():
        chain = Chain(head.organization, problems)
        for row in reader.log(head.organization):
            chain.add(row.seq, row.body, row.salt, row.leaf)
            yield _line(row.salt, row.leaf, row.body)
        chain.end(head.seq, head.hash)
        if problems or not sealed(key, head.organization, head.seq, head.hash, head.mac):
            what = str(problems[0]) if problems else "its end is not sealed"
            raise StoreError(
                f"The audit trail does not verify, so no checkpoint is signed: {what}. See `ascend-guard audit verify`."
            )
        heads.append((head.organization, head.seq, head.hash.hex()))
    signer = _signer(key)
    timestamp = iso(now)
    public_key = signer.public_key().public_bytes_raw().hex()
    signature = signer.sign(_statement(heads, timestamp)).hex()
    yield _checkpoint_line(Checkpoint(heads, timestamp, public_key, signature))


def _line(salt: bytes, leaf: bytes, body: bytes) -> bytes:
    return b'{"leaf":"%b","salt":"%b","record":%b}\n' % (leaf.hex().encode(), salt.hex().encode(), body)


def _checkpoint_line(checkpoint: Checkpoint) -> bytes:
    return msgspec.json.encode({"checkpoint": checkpoint}) + b"\n"


_LINE = re.compile(rb'\{"leaf":"([0-9a-f]{64})","salt":"([0-9a-f]{32})","record":(\{.*\})\}', re.DOTALL)


class _Named(msgspec.Struct):
    seq: int
    organization: str


def verify_export(lines: Iterable[bytes] | IO[bytes], public_key: str | None = None) -> Report:
    """Verify an export, offline.

    Args:
        lines: the file.
        public_key: hexadecimal; the checkpoint must be signed with it. By default any signer is accepted, and the report
            says which one signed.

    Raises:
        ValidationError: the file is not an export.
    """
    problems: list[Problem] = []
    chains: dict[str, Chain] = {}
    checkpoint: Checkpoint | None = None
    count, last = 0, SYSTEM
    try:
        for number, raw in enumerate(lines, 1):
            line = raw.rstrip(b"\r\n")
            if checkpoint is not None:
                problems.append(Problem(0, f"there is text after the checkpoint, in line {number}", SYSTEM))
                break
            if line.startswith(b'{"checkpoint":'):
                try:
                    checkpoint = msgspec.json.decode(line, type=dict[str, Checkpoint])["checkpoint"]
                    if _checkpoint_line(checkpoint) != line + b"\n":
                        problems.append(Problem(0, "the checkpoint was edited", SYSTEM))
                except (msgspec.MsgspecError, KeyError, ValueError):
                    problems.append(Problem(0, "the checkpoint is not readable", SYSTEM))
                    break
                continue
            found = _LINE.fullmatch(line)
            if found is None:
                if number == 1:
                    raise ValidationError(
                        "This is not an audit export. Make one with `ascend-guard audit export FILE`."
                    )
                problems.append(Problem(0, f"line {number} is not readable", SYSTEM))
                continue
            stored, salt, body = bytes.fromhex(found[1].decode()), bytes.fromhex(found[2].decode()), found[3]
            try:
                named = msgspec.json.decode(body, type=_Named)
            except (msgspec.MsgspecError, ValueError):
                problems.append(Problem(0, f"the record in line {number} is not readable", SYSTEM))
                continue
            count += 1
            if chains and named.organization in chains and named.organization != last:
                problems.append(Problem(0, f"line {number} is between the lines of another log", SYSTEM))
            last = named.organization
            chain = chains.setdefault(named.organization, Chain(named.organization, problems))
            chain.add(named.seq, body, salt, stored)
        _check_checkpoint(chains, problems, checkpoint, public_key)
    except TooMany:
        pass
    head = head_of([(chain.organization, chain.seq, chain.hash) for chain in chains.values()])
    return Report(count, head, problems, None if checkpoint is None else checkpoint.public_key)


def _check_checkpoint(
    chains: dict[str, Chain], problems: list[Problem], checkpoint: Checkpoint | None, public_key: str | None
) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    def wrong(what: str) -> None:
        problems.append(Problem(0, what, SYSTEM))

    if checkpoint is None:
        wrong("the signed checkpoint is missing: the end of the file was cut")
        return
    if public_key is not None and not hmac.compare_digest(
        public_key.lower().encode(), checkpoint.public_key.encode()
    ):
        wrong(f"it is signed by another key, {checkpoint.public_key}")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(checkpoint.public_key))
        key.verify(bytes.fromhex(checkpoint.signature), _statement(checkpoint.heads, checkpoint.timestamp))
    except (InvalidSignature, ValueError):
        wrong("the signature of the checkpoint is wrong")
    ends = {organization: (seq, hash_) for organization, seq, hash_ in checkpoint.heads}
    if list(chains) != [organization for organization in ends if organization in chains]:
        wrong("the logs are in another order than in the signed checkpoint")
    for organization in chains.keys() - ends.keys():
        wrong(f"the signed checkpoint has no log of {organization!r}")
    for organization, (seq, hash_) in ends.items():
        chain = chains.get(organization) or Chain(organization, problems)
        if (chain.seq, chain.hash.hex()) != (seq, hash_):
            chain.wrong(chain.seq, f"the signed checkpoint says that the log ends at record {seq}, not here")


def _statement(heads: list[tuple[str, int, str]], timestamp: str) -> bytes:
    return _PURPOSE + msgspec.json.encode([heads, timestamp])


def _signer(key: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(hmac.digest(key, b"audit signing", "sha256"))
