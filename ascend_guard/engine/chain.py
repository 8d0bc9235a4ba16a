"""The chain of one log, followed record by record, and what was found to be wrong with it."""

from __future__ import annotations

import msgspec

from ascend_guard.store.log import GENESIS, LOCAL, leaf, link
from ascend_guard.store.projections import Recorded, decode

MOST_PROBLEMS = 1000
"""Problems that are reported; verification ends there."""


class Problem(msgspec.Struct, frozen=True):
    """A change that was made after writing.

    Args:
        seq: the record it was found at; 0 if it is about no record.
        what: what is wrong with it.
        organization: the organization of the log.
    """

    seq: int
    what: str
    organization: str = LOCAL

    @property
    def where(self) -> str:
        """The place in words; empty if it is about the database or the file as a whole."""
        log = f"the log of {self.organization}" if self.organization else "the system's log"
        if self.seq:
            return f"record {self.seq:,}" + ("" if self.organization == LOCAL else f" of {log}")
        return log if self.organization else ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class Report(msgspec.Struct, frozen=True):
    """The result of a verification.

    Args:
        records: how many records there are.
        head: a hash over the ends of all logs, in hexadecimal.
        problems: what is wrong.
        signed_by: the public key of an export's checkpoint, in hexadecimal.
    """

    records: int
    head: str
    problems: list[Problem]
    signed_by: str | None = None

    @property
    def ok(self) -> bool:
        """Return whether nothing was edited, removed, reordered or cut."""
        return not self.problems


class TooMany(Exception):
    """There are more problems than are reported."""


class Chain:
    """Follows the chain of one log record by record and collects what is wrong."""

    def __init__(self, organization: str, problems: list[Problem]) -> None:
        self.organization = organization
        self.seq = 0
        self.hash = GENESIS
        self.sound = True
        self._problems = problems

    def wrong(self, seq: int, what: str) -> None:
        """Note a problem.

        Raises:
            TooMany: there are enough.
        """
        self.sound = False
        self._problems.append(Problem(seq, what, self.organization))
        if len(self._problems) >= MOST_PROBLEMS:
            raise TooMany

    def add(self, seq: int, body: object, salt: object, stored: object) -> Recorded | None:
        """Check this record, whose columns may hold anything, and return it; None when it is not readable."""
        if seq != self.seq + 1:
            missing = f"{self.seq + 1} to {seq - 1}" if seq - 2 > self.seq else str(self.seq + 1)
            self.wrong(seq, f"record {missing} missing before it" if seq > self.seq else "out of order")
        self.seq = seq
        if not (isinstance(body, bytes) and isinstance(salt, bytes) and isinstance(stored, bytes)):
            self.wrong(seq, "the record was edited")
            return None
        if leaf(salt, body) != stored:
            self.wrong(seq, "the record was edited")
        self.hash = link(self.hash, stored)
        try:
            record = decode(body)
        except (msgspec.MsgspecError, ValueError):
            self.wrong(seq, "the record is not readable")
            return None
        if record.seq != seq:
            self.wrong(seq, f"the record says it is number {record.seq}")
        if record.organization != self.organization:
            self.wrong(seq, f"the record is of the organization {record.organization!r}")
        return record

    def end(self, seq: int, hash_: bytes) -> None:
        """Check that the chain leads to this end, which was sealed or signed."""
        if self.seq < seq:
            self.wrong(self.seq, f"{seq - self.seq} records were cut from the end")
        elif self.seq > seq:
            self.wrong(self.seq, f"{self.seq - seq} records were added at the end")
        elif hash_ != self.hash and self.sound:
            self.wrong(self.seq, "a record was replaced: the chain does not lead to its sealed end")


def head_of(heads: list[tuple[str, int, bytes]]) -> str:
    """Return one hash over the ends of all logs, in hexadecimal."""
    found = GENESIS
    for organization, seq, hash_ in sorted(heads):
        found = link(found, msgspec.json.encode([organization, seq, hash_.hex()]))
    return found.hex()
