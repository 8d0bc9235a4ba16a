"""Verify the audit trail in the database, export it, and verify an export offline.

An export is one line of JSON per record, in order, and a signed checkpoint as its last line::

    {"hash":"<hex>","record":<the exact bytes that were hashed>}
    {"checkpoint":{"seq":…,"hash":"<hex>","timestamp":…,"public_key":"<hex>","signature":"<hex>"}}

The chain reveals edits, removals and reordering. The checkpoint, signed with Ed25519, reveals a cut at the end;
verifying it needs only the public key.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from typing import IO, Any

import msgspec

from ascend_guard.errors import StoreError, ValidationError
from ascend_guard.model import OutcomeStatus, iso
from ascend_guard.store.chain import GENESIS, link, sealed
from ascend_guard.store.port import ActionRow, Head, Reader

_PURPOSE = b"ascend-guard audit checkpoint\n"


class Problem(msgspec.Struct, frozen=True):
    """A change that was made after writing.

    Args:
        seq: the record it was found at.
        what: what is wrong with it.
    """

    seq: int
    what: str


class Report(msgspec.Struct, frozen=True):
    """The result of a verification. ``signed_by`` is the public key of an export's checkpoint, in hexadecimal."""

    records: int
    head: str
    problems: list[Problem]
    signed_by: str | None = None

    @property
    def ok(self) -> bool:
        """Return whether nothing was edited, removed, reordered or cut."""
        return not self.problems


class Checkpoint(msgspec.Struct, frozen=True):
    """A signed statement of the last record of the trail."""

    seq: int
    hash: str
    timestamp: str
    public_key: str
    signature: str


class _Chain:
    """Follows the chain record by record and collects what is wrong."""

    def __init__(self) -> None:
        self.seq = 0
        self.hash = GENESIS
        self.problems: list[Problem] = []

    def add(self, seq: int, body: object, hash_: object) -> dict[str, Any]:
        """Check this record, whose columns may hold anything, and return it; empty when it is not readable."""
        if not isinstance(body, bytes):
            body = str(body).encode("utf-8", "replace")
        record: dict[str, Any] = {}
        try:
            record = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError):
            self.problems.append(Problem(seq, "the record is not readable"))
        if seq != self.seq + 1:
            missing = f"{self.seq + 1} to {seq - 1}" if seq - 2 > self.seq else str(self.seq + 1)
            what = f"record {missing} missing before it" if seq > self.seq else "out of order"
            self.problems.append(Problem(seq, what))
        if record and record.get("seq") != seq:
            self.problems.append(Problem(seq, f"the record says it is number {record.get('seq')}"))
        expected = link(self.hash, body)
        if expected != hash_:
            self.problems.append(
                Problem(seq, "the record was edited, or the one before it was removed or moved")
            )
        # Continuing from the stored hash shows where the damage ends.
        self.seq, self.hash = seq, hash_ if isinstance(hash_, bytes) else expected
        return record


def verify(reader: Reader, key: bytes) -> Report:
    """Verify the trail in a database, and that the actions match it.

    Args:
        reader: the store.
        key: the store's secret, which seals the head.
    """
    chain = _Chain()
    states: dict[int, dict[str, Any]] = {}
    count = 0
    for row in reader.audit():
        count += 1
        record = chain.add(row.seq, row.body, row.hash)
        if record and (record.get("event") != row.event or record.get("action_id") != row.action_id):
            chain.problems.append(Problem(row.seq, "its index entries were edited"))
        _follow(states, record)
    head = reader.head()
    _check_head(chain, head, key)
    if not chain.problems:
        _check_actions(reader, states, chain)
    return Report(count, chain.hash.hex(), chain.problems)


def _check_head(chain: _Chain, head: Head, key: bytes) -> None:
    if not sealed(key, head.seq, head.hash, head.mac):
        chain.problems.append(
            Problem(head.seq, "the seal of the trail's end was not made with the store's key")
        )
    elif head.seq != chain.seq:
        chain.problems.append(
            Problem(chain.seq, f"{head.seq - chain.seq} records were cut from the end")
            if head.seq > chain.seq
            else Problem(chain.seq, f"{chain.seq - head.seq} records were added at the end")
        )
    elif head.hash != chain.hash:
        chain.problems.append(Problem(chain.seq, "the last record is not the one that was written"))


_STATUS_AFTER = {
    "approved": "approved",
    "denied": "denied",
    "expired": "denied",
    "withdrawn": "denied",
    "reopened": "pending",
}
_OUTCOMES = tuple(OutcomeStatus)


def _follow(states: dict[int, dict[str, Any]], record: dict[str, Any]) -> None:
    action_id, event = record.get("action_id"), record.get("event")
    if not isinstance(action_id, int) or not isinstance(event, str):
        return
    state = states.setdefault(
        action_id, {"status": None, "submitted": None, "started": None, "outcome": None, "digest": None}
    )
    if event == "submitted":
        state["status"], state["digest"] = record.get("decision"), record.get("digest")
        state["submitted"] = record.get("seq")
    elif event in _STATUS_AFTER:
        state["status"] = _STATUS_AFTER[event]
    elif event == "started":
        state["started"] = record.get("seq")
    elif event in _OUTCOMES:
        state["outcome"] = event


def _check_actions(reader: Reader, states: dict[int, dict[str, Any]], chain: _Chain) -> None:
    for row in reader.every_action():
        state = states.pop(row.id, None)
        if state is None:
            chain.problems.append(Problem(chain.seq, f"action {row.id} is not in the trail"))
        elif _state(row) != state:
            chain.problems.append(Problem(chain.seq, f"action {row.id} does not match its trail"))
    for action_id in states:
        chain.problems.append(
            Problem(chain.seq, f"action {action_id} is in the trail, but not in the table of actions")
        )


def _state(row: ActionRow) -> dict[str, Any]:
    return {
        "status": row.status,
        "submitted": row.submitted_seq,
        "started": row.started_seq if row.claimed_at is not None else None,
        "outcome": row.outcome,
        "digest": row.digest,
    }


def export(reader: Reader, key: bytes, now: float) -> Iterator[bytes]:
    """Yield the lines of an export, including newlines.

    Args:
        reader: the store.
        key: the store's secret, from which the signing key is derived.
        now: seconds since the epoch, for the checkpoint.

    Raises:
        StoreError: the trail does not verify; what was yielded until then has no checkpoint, and so is not an export.
    """
    chain = _Chain()
    for row in reader.audit():
        chain.add(row.seq, row.body, row.hash)
        yield _line(row.hash, row.body)
    _check_head(chain, reader.head(), key)
    if chain.problems:
        first = chain.problems[0]
        raise StoreError(
            f"The audit trail does not verify, so no checkpoint is signed: record {first.seq}: {first.what}. "
            f"See `ascend-guard audit verify`."
        )
    seq, last = chain.seq, chain.hash
    signer = _signer(key)
    timestamp = iso(now)
    public_key = signer.public_key().public_bytes_raw().hex()
    signature = signer.sign(_statement(seq, last.hex(), timestamp)).hex()
    yield _checkpoint_line(Checkpoint(seq, last.hex(), timestamp, public_key, signature))


def _line(hash_: bytes, body: bytes) -> bytes:
    return b'{"hash":"' + hash_.hex().encode() + b'","record":' + body + b"}\n"


def _checkpoint_line(checkpoint: Checkpoint) -> bytes:
    return msgspec.json.encode({"checkpoint": checkpoint}) + b"\n"


_PREFIX = len(b'{"hash":"')
_BODY = _PREFIX + 64 + len(b'","record":')


def verify_export(lines: Iterable[bytes] | IO[bytes], public_key: str | None = None) -> Report:
    """Verify an export, offline.

    Args:
        lines: the file.
        public_key: hexadecimal; the checkpoint must be signed with it. By default any signer is accepted, and the report
            says which one signed.

    Raises:
        ValidationError: the file is not an export.
    """
    chain = _Chain()
    checkpoint: Checkpoint | None = None
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip(b"\r\n")
        if checkpoint is not None:
            chain.problems.append(Problem(chain.seq, "there is text after the checkpoint"))
            break
        if line.startswith(b'{"checkpoint":'):
            try:
                checkpoint = msgspec.json.decode(line, type=dict[str, Checkpoint])["checkpoint"]
                if _checkpoint_line(checkpoint) != line + b"\n":
                    chain.problems.append(Problem(chain.seq, "the checkpoint was edited"))
            except (msgspec.MsgspecError, KeyError, ValueError):
                chain.problems.append(Problem(chain.seq, "the checkpoint is not readable"))
                break
            continue
        if not line.startswith(b'{"hash":"') or not line.endswith(b"}") or len(line) <= _BODY:
            if number == 1:
                raise ValidationError(
                    "This is not an audit export. Make one with `ascend-guard audit export FILE`."
                )
            chain.problems.append(Problem(chain.seq + 1, "the line is not readable"))
            continue
        body = line[_BODY:-1]
        try:
            seq = int(msgspec.json.decode(body, type=dict[str, Any])["seq"])
            hash_ = bytes.fromhex(line[_PREFIX : _PREFIX + 64].decode())
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
            chain.problems.append(Problem(chain.seq + 1, "the record is not readable"))
            continue
        chain.add(seq, body, hash_)
        if _line(hash_, body) != line + b"\n":
            chain.problems.append(Problem(seq, "the line around the record was edited"))
    _check_checkpoint(chain, checkpoint, public_key)
    return Report(
        chain.seq, chain.hash.hex(), chain.problems, None if checkpoint is None else checkpoint.public_key
    )


def _check_checkpoint(chain: _Chain, checkpoint: Checkpoint | None, public_key: str | None) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if checkpoint is None:
        chain.problems.append(
            Problem(chain.seq, "the signed checkpoint is missing: the end of the file was cut")
        )
        return
    if public_key is not None and not hmac.compare_digest(
        public_key.lower().encode(), checkpoint.public_key.encode()
    ):
        chain.problems.append(
            Problem(checkpoint.seq, f"it is signed by another key, {checkpoint.public_key}")
        )
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(checkpoint.public_key))
        statement = _statement(checkpoint.seq, checkpoint.hash, checkpoint.timestamp)
        key.verify(bytes.fromhex(checkpoint.signature), statement)
    except (InvalidSignature, ValueError):
        chain.problems.append(Problem(checkpoint.seq, "the signature of the checkpoint is wrong"))
    if checkpoint.seq != chain.seq or checkpoint.hash != chain.hash.hex():
        chain.problems.append(
            Problem(
                chain.seq,
                f"the signed checkpoint says that the trail ends at record {checkpoint.seq}, not here",
            )
        )


def _statement(seq: int, hash_: str, timestamp: str) -> bytes:
    return _PURPOSE + msgspec.json.encode([seq, hash_, timestamp])


def _signer(key: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(hmac.digest(key, b"audit signing", "sha256"))
