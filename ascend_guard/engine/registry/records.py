"""What an organization has registered, as typed values over the store's records.

1. Every lookup is made with the caller's organization: a record of another organization is not found, by name or by number
   (promise 9).
2. What is ``Logged`` is written and removed by an audit record that contains the whole value (promise 10). What is
   ``Unlogged`` is no part of a decision.
3. Names are unique within an organization and kind. The number of records is bounded by ``MOST``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from ascend_guard.arguments import normalise
from ascend_guard.errors import ConflictError, NotFoundError
from ascend_guard.redaction import scrub
from ascend_guard.store.paging import Page
from ascend_guard.store.port import Reader, Record, Transaction
from ascend_guard.store.projections import Drop, thing

T = TypeVar("T")
R = TypeVar("R", bound=Struct)

MOST = 10_000
"""The most records of one kind that an organization may have."""

_AT_ONCE = 1 << 20
"""Bytes of records that are read at once."""

_LONGEST_NAME = 1100
_LARGEST_NUMBER = 2**63


class Entry(Struct, Generic[T], frozen=True):
    """One record.

    Args:
        number: unique in its organization and kind, and never used again: that of the audit record that wrote it first.
        name: unique in its organization and kind.
        value: its content.
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch.
    """

    number: int
    name: str
    value: T
    created_at: float
    updated_at: float


class Records(Generic[T]):
    """All records of one kind, to read.

    Args:
        kind: the kind's name in the store.
        type: the type of the values.
        what: the kind's name in messages, in the singular.
        missing: error code when a record is not found; ``NOT_FOUND`` when None.
    """

    def __init__(self, kind: str, type: type[T], what: str, missing: str | None = None) -> None:
        self.kind = kind
        self.type = type
        self.what = what
        self._missing_code = missing
        self._decode = msgspec.json.Decoder(type).decode

    def find(self, reader: Reader, organization: str, name: str) -> Entry[T] | None:
        """The record with this name, or None."""
        if not possible(name):
            return None
        return self._entry(reader.record_of(organization, self.kind, name))

    def numbered(self, reader: Reader, organization: str, number: int) -> Entry[T] | None:
        """The record with this number, or None."""
        if not 0 < number < _LARGEST_NUMBER:
            return None
        return self._entry(reader.record_number(organization, self.kind, number))

    def get(self, reader: Reader, organization: str, name: str | int, *, by_number: bool = False) -> Entry[T]:
        """The record with this name, or with this number if it is an integer.

        Args:
            by_number: if no record has this name and it consists of digits, the record with this number.

        Raises:
            NotFoundError: it does not exist, or belongs to another organization.
        """
        if isinstance(name, int):
            found = self.numbered(reader, organization, name)
        else:
            found = self.find(reader, organization, name)
            if found is None and by_number and name.isascii() and name.isdigit() and len(name) < 20:
                found = self.numbered(reader, organization, int(name))
        if found is None:
            raise self.missing(name)
        return found

    def missing(self, name: str | int) -> NotFoundError:
        """The error for a record that does not exist."""
        error = NotFoundError(f"There is no {self.what} {name!r}.")
        error.code = self._missing_code
        return error

    def all(self, reader: Reader, organization: str) -> Iterator[Entry[T]]:
        """All records, oldest first, read page by page because together they may be very large."""
        behind = None
        while page := reader.records(organization, self.kind, page=Page(behind, _AT_ONCE)):
            for record in page:
                yield self._known(record)
            behind = page[-1].id

    def page(self, reader: Reader, organization: str, limit: int, offset: int, page: Page) -> list[Entry[T]]:
        """A part of the records, oldest first."""
        records = reader.records(organization, self.kind, limit=limit, offset=offset, page=page)
        return [self._known(record) for record in records]

    def count(self, reader: Reader, organization: str) -> int:
        """The number of records."""
        return reader.count_records(organization, self.kind)

    def full(self, reader: Reader, organization: str) -> bool:
        """Whether there are ``MOST`` records."""
        return self.count(reader, organization) >= MOST

    def require_room(self, reader: Reader, organization: str) -> None:
        """Raises ``ConflictError`` if there are ``MOST`` records."""
        if self.full(reader, organization):
            raise ConflictError(
                f"There are {MOST} things of the kind {self.what!r}, which is the most. Remove some first."
            )

    def surplus(self, reader: Reader, organization: str) -> list[str]:
        """The oldest records that must be removed before one more may be written."""
        count = self.count(reader, organization) - MOST + 1
        found = reader.records(organization, self.kind, limit=count) if count > 0 else []
        return [record.name for record in found]

    def _entry(self, record: Record | None) -> Entry[T] | None:
        return None if record is None else self._known(record)

    def _known(self, record: Record) -> Entry[T]:
        return Entry(record.id, record.name, self._decode(record.body), record.created_at, record.updated_at)


class Unlogged(Records[T]):
    """Records that are not in the audit log, because nothing is decided by them (``store.queries.is_bookkeeping``)."""

    def put(self, tx: Transaction, organization: str, name: str, value: T) -> T:
        """Write a new record, or replace the one with this name.

        Raises:
            ConflictError: the record is new and there are ``MOST`` records.
        """
        if tx.record_of(organization, self.kind, name) is None:
            self.require_room(tx, organization)
        tx.put_record(organization, self.kind, name, msgspec.json.encode(value))
        return value

    def forget(self, tx: Transaction, organization: str, name: str) -> None:
        """Delete a record, if it exists."""
        tx.remove_record(organization, self.kind, name)

    def make_room(self, tx: Transaction, organization: str) -> None:
        """Delete the oldest records until one more may be written."""
        for name in self.surplus(tx, organization):
            tx.remove_record(organization, self.kind, name)


class Logged(Records[T]):
    """Records that are in the audit log: each is written by an audit record, in one step with it."""

    def write(
        self,
        tx: Transaction,
        organization: str,
        name: str,
        value: T,
        event: str,
        by: str,
        about: Mapping[str, Any],
        *,
        instead_of: Iterable[str] = (),
        always: bool = False,
    ) -> Entry[T]:
        """Write a new record, or replace the one with this name.

        Args:
            event: name of the audit event.
            by: who writes it.
            about: further fields of the audit record.
            instead_of: names of records that are removed in the same step.
            always: write it even if there are ``MOST`` records.

        Raises:
            ConflictError: the record is new and there are ``MOST`` records.
        """
        before = tx.record_of(organization, self.kind, name)
        drop = [Drop(self.kind, old) for old in instead_of]
        if before is None and not always and not drop:
            self.require_room(tx, organization)
        put = [thing(self.kind, name, value)]
        more: dict[str, Any] = {"drop": drop} if drop else {}
        number = tx.record(event, organization=organization, actor=by, **about, **more, put=put)
        if before is None:
            return Entry(number, name, value, tx.now, tx.now)
        return Entry(before.id, name, value, before.created_at, tx.now)

    def erase(
        self, tx: Transaction, organization: str, name: str, event: str, by: str, about: Mapping[str, Any]
    ) -> None:
        """Delete a record, if it exists, with an audit record of this event."""
        drop = [Drop(self.kind, name)]
        tx.record(event, organization=organization, actor=by, **about, drop=drop)


class Registry(Logged[R]):
    """All registered things of one kind.

    A registration is recorded in the audit trail as ``<KIND>_REGISTERED`` with the whole value (``MODEL_REGISTERED``), an
    update as ``<KIND>_UPDATED`` with the changed fields, a removal as ``<KIND>_REMOVED``.

    Args:
        kind: the kind's name in the store, and in capital letters in the names of its audit events.
        type: the type of the values; it has a field ``registered_by``.
        what: the kind's name in messages, in the singular.
        key: the field of an audit record that holds the thing's name.
        field: the field of the audit record of a registration that holds the value; the kind when None.
        by_number: whether ``named`` also accepts a thing's number.
        missing: error code when a thing is not found; ``NOT_FOUND`` when None.
    """

    def __init__(
        self,
        kind: str,
        type: type[R],
        what: str,
        *,
        key: str,
        field: str | None = None,
        by_number: bool = False,
        missing: str | None = None,
    ) -> None:
        super().__init__(kind, type, what, missing)
        self._event = kind.upper()
        self._key = key
        self._field = field or kind
        self._by_number = by_number

    def named(self, reader: Reader, organization: str, name: str) -> Entry[R]:
        """The thing that a path names.

        Raises:
            NotFoundError: it does not exist, or belongs to another organization.
        """
        return self.get(reader, organization, name, by_number=self._by_number)

    def register(self, tx: Transaction, organization: str, name: str, value: R, by: str) -> Entry[R]:
        """Register a new thing.

        Raises:
            ConflictError: the name is in use, or there are ``MOST`` things of this kind.
        """
        if tx.record_of(organization, self.kind, name) is not None:
            raise ConflictError(f"The {self.what} {name!r} already exists. Change it, or use another name.")
        value = msgspec.structs.replace(value, registered_by=by)
        event, about = f"{self._event}_REGISTERED", {self._key: name, self._field: value}
        entry = self.write(tx, organization, name, value, event, by, about)
        self.written(tx, organization, entry, None, by)
        return entry

    def update(
        self, tx: Transaction, organization: str, name: str, changes: Mapping[str, Any], by: str
    ) -> Entry[R]:
        """Change some fields of a thing.

        Raises:
            NotFoundError: it does not exist.
        """
        entry = self.named(tx, organization, name)
        event = f"{self._event}_UPDATED"
        return self.change(tx, organization, entry, changes, by, event, {"changes": changes})

    def remove(self, tx: Transaction, organization: str, name: str, by: str) -> None:
        """Delete a thing.

        Raises:
            NotFoundError: it does not exist.
        """
        entry = self.named(tx, organization, name)
        self.erase(tx, organization, entry.name, f"{self._event}_REMOVED", by, {self._key: entry.name})

    def change(
        self,
        tx: Transaction,
        organization: str,
        entry: Entry[R],
        changes: Mapping[str, Any],
        by: str,
        event: str,
        about: Mapping[str, Any],
    ) -> Entry[R]:
        """Change some fields of a thing, with an audit record of the change's own.

        Args:
            entry: the thing before the change.
            changes: new values by field.
            by: who changes it.
            event: name of the audit event.
            about: further fields of the audit record.
        """
        value = msgspec.structs.replace(entry.value, **changes)
        named = {self._key: entry.name, **about}
        changed = self.write(tx, organization, entry.name, value, event, by, named)
        self.written(tx, organization, changed, entry.value, by)
        return changed

    def written(self, tx: Transaction, organization: str, entry: Entry[R], before: R | None, by: str) -> None:
        """Called after a thing and its audit record were written; a kind may record more. ``before``: None if it is new."""


def cleaned(data: dict[str, Any], limit: int = 65_536) -> dict[str, Any]:
    """A caller's own JSON as it may be stored and shown: secrets are redacted, by their names and by their shapes.

    Args:
        limit: the most bytes it may have.

    Raises:
        ValidationError: it is larger, or nested more than 16 deep.
    """
    # Nothing is bound to these values, so the key of their digest does not matter.
    plain: dict[str, Any] = _scrubbed(normalise(data, key=b"registry", limit=limit, depth=16).plain)
    return plain


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {scrub(key): _scrubbed(item) for key, item in value.items()}
    return value


def possible(name: str) -> bool:
    """Whether a record can have this name: databases accept neither NUL nor lone surrogates."""
    if not 0 < len(name) <= _LONGEST_NAME or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
