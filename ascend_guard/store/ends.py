"""The ends of the logs during a transaction.

1. The end of each log is sealed with the store's key. Nothing is appended to an end that this key has not sealed
   (promise 10).
2. A new organization is recorded in the system's log, so that no log can disappear as a whole. A log whose end is missing
   is not begun again: nothing runs until that is resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ascend_guard.errors import StoreError
from ascend_guard.model import iso

from .log import GENESIS, LOCAL, SYSTEM, key_of, of_key, sealed, sealer
from .projections import seconds, thing
from .queries import Queries
from .rows import Head

LOG = "log"
"""Kind of the things of the system that say which logs were begun."""

Inserted = tuple[int, int | None, str, bytes, bytes, bytes]
"""A row of the log, as it is inserted."""


class Known(NamedTuple):
    """What this process knows of a log.

    Args:
        head: its end after the last commit of this process.
        key: of the last record that this process has written; 0 if it has written none.
        leaf: of that record.
    """

    head: Head
    key: int = 0
    leaf: bytes = b""


class End:
    """The end of one organization's log during a transaction.

    Args:
        head: the head when the transaction began.
        new: whether the log begins in this transaction.
    """

    __slots__ = ("action", "hash", "head", "new", "number", "projected", "seq", "turns")

    def __init__(self, head: Head, new: bool = False) -> None:
        self.head = head
        self.new = new
        self.number = head.number
        self.seq = head.seq
        self.hash = head.hash
        self.action = head.last_action
        self.turns = head.turns
        self.projected = head.projected


class Ends(Queries):
    """The part of a transaction that knows where the logs end.

    Args:
        execute: runs a statement.
        key: the store's secret.
    """

    now: float
    record: Callable[..., int]

    def __init__(self, execute: Callable[..., Any], key: bytes) -> None:
        super().__init__(execute)
        self._key = key
        self._seal = sealer(key)
        self.timestamp = ""
        self._ends: dict[str, End] = {}
        self._known: dict[str, Known] = {}
        self._log: list[Inserted] = []
        self._lagging: set[str] = set()

    def _begun(self, now: float) -> None:
        self.timestamp = iso(now)
        self.now = seconds(self.timestamp)  # exactly the time that the records state

    def _end(self, organization: str) -> End:
        """Return the end of a log, read and checked when the transaction first needs it; a new log if there is none."""
        end = self._ends.get(organization)
        if end is None:
            head = self._unmoved(organization) or self.head(organization)
            if head.number < 0:
                end = self._begin_log(organization)
            else:
                self._require_sealed(head)
                end = self._ends[organization] = End(head)
        return end

    def _unmoved(self, organization: str) -> Head | None:
        """Return the end as this process left it, if no other has written to the database since."""
        return None

    def _require_sealed(self, head: Head) -> None:
        known = self._known.get(head.organization)
        if known is not None:
            if known.head == head:
                return
            self._moved(known)
        if not sealed(self._key, head.organization, head.seq, head.hash, head.mac):
            raise StoreError(
                "The end of the audit trail was not sealed with its key: records were cut or the database "
                "was edited. No call runs until this is resolved: see `ascend-guard audit verify`."
            )

    def _moved(self, known: Known) -> None:
        """Called when another process has written to a log since this one did."""

    def _begin_log(self, organization: str) -> End:
        begun = organization in (SYSTEM, LOCAL) or self.record_of(SYSTEM, LOG, organization) is not None
        if begun:
            raise StoreError(
                f"The end of the audit trail of {organization!r} is missing: the database was edited. No call runs until "
                f"this is resolved: see `ascend-guard audit verify`."
            )
        newest: int = self._execute("SELECT coalesce(max(number), -1) FROM heads").fetchone()[0]
        number = max(newest, *(end.number for end in self._ends.values()), -1) + 1
        head = Head(number, organization, 0, GENESIS, b"", 0, 0, 0)
        end = self._ends[organization] = End(head, new=True)
        put = [thing(LOG, organization, {"number": number})]
        self.record(
            "log.begun", organization=SYSTEM, actor="system", log=organization, number=number, put=put
        )
        return end

    def _next_heads(self) -> list[tuple[Head, bool]]:
        """Return the heads that a commit changes, and whether each is new."""
        changed: list[tuple[Head, bool]] = []
        for organization, end in self._ends.items():
            head = end.head
            counted = end.action, end.turns, end.projected
            before = head.seq, head.last_action, head.turns, head.projected
            if end.new or (end.seq, *counted) != before:
                mac = self._seal(organization, end.seq, end.hash)
                changed.append((Head(end.number, organization, end.seq, end.hash, mac, *counted), end.new))
        return changed

    def _remember(self, heads: list[tuple[Head, bool]]) -> None:
        """The commit has succeeded."""
        leaves = {of_key(key)[0]: leaf for key, *_, leaf in self._log}
        for head, _ in heads:
            organization = head.organization
            last = leaves.get(head.number)
            if last is not None:
                self._known[organization] = Known(head, key_of(head.number, head.seq), last)
            else:
                known = self._known.get(organization)
                self._known[organization] = Known(head) if known is None else known._replace(head=head)
            self._numbers[organization] = head.number
            (self._lagging.add if head.projected < head.seq else self._lagging.discard)(organization)

    def _number(self, organization: str) -> int | None:
        end = self._ends.get(organization)
        return super()._number(organization) if end is None else end.number

    def _name(self, number: int) -> str:
        for organization, end in self._ends.items():
            if end.number == number:
                return organization
        return super()._name(number)

    def _key_of(self, organization: str, number: int) -> int:
        return key_of(self._end(organization).number, number)

    def _turns(self, organization: str) -> int:
        end = self._ends.get(organization)
        return super()._turns(organization) if end is None else end.turns

    def last_action(self, organization: str) -> int:
        end = self._ends.get(organization)
        return super().last_action(organization) if end is None else end.action

    def next_seq(self, organization: str) -> int:
        return self._end(organization).seq + 1

    def next_action(self, organization: str) -> int:
        return self._end(organization).action + 1
