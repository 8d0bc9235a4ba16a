"""What an organization has registered, as typed values over the store's records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from ascend_guard.arguments import normalise
from ascend_guard.errors import ConflictError, NotFoundError
from ascend_guard.redaction import scrub
from ascend_guard.store.paging import Page
from ascend_guard.store.port import Reader, Record, Transaction

T = TypeVar("T")

MOST = 10_000
"""How many things of one kind an organization may register."""

_AT_ONCE = 1 << 20
"""Bytes of entries that are read at once."""

_LONGEST_NAME = 1100
_LARGEST_NUMBER = 2**63


class Entry(Struct, Generic[T], frozen=True):
    """Something registered.

    Args:
        number: unique among all things of all organizations, and never given twice.
        name: unique in its organization and kind.
        value: what was said of it.
        created_at: seconds since the epoch.
        updated_at: likewise.
    """

    number: int
    name: str
    value: T
    created_at: float
    updated_at: float


class Shelf(Generic[T]):
    """Everything of one kind.

    Args:
        kind: its name in the store.
        type: of the values.
        what: its name for people, in the singular.
        missing: error code for one that is not there; the usual one when left out.
    """

    def __init__(self, kind: str, type: type[T], what: str, missing: str | None = None) -> None:
        self.kind = kind
        self.what = what
        self._missing_code = missing
        self._decode = msgspec.json.Decoder(type).decode

    def find(self, reader: Reader, organization: str, name: str) -> Entry[T] | None:
        """The one of this name, if there is one."""
        if not possible(name):
            return None
        return self._entry(reader.record_of(organization, self.kind, name))

    def numbered(self, reader: Reader, organization: str, number: int) -> Entry[T] | None:
        """The one of this number, if there is one."""
        if not 0 < number < _LARGEST_NUMBER:
            return None
        return self._entry(reader.record_number(organization, self.kind, number))

    def get(self, reader: Reader, organization: str, name: str | int) -> Entry[T]:
        """The one of this name, or of this number when it is an integer.

        Raises:
            NotFoundError: there is none, or it belongs to another organization.
        """
        found = (
            self.numbered(reader, organization, name)
            if isinstance(name, int)
            else self.find(reader, organization, name)
        )
        if found is None:
            raise self.missing(name)
        return found

    def pick(self, reader: Reader, organization: str, name: str) -> Entry[T]:
        """The one of this name; or, when nothing is called so and it is digits, of this number.

        Raises:
            NotFoundError: there is none, or it belongs to another organization.
        """
        found = self.find(reader, organization, name)
        if found is None and name.isascii() and name.isdigit() and len(name) < 20:
            found = self.numbered(reader, organization, int(name))
        if found is None:
            raise self.missing(name)
        return found

    def missing(self, name: str | int) -> NotFoundError:
        """The error for one that is not there."""
        error = NotFoundError(f"There is no {self.what} {name!r}.")
        error.code = self._missing_code
        return error

    def all(self, reader: Reader, organization: str) -> Iterator[Entry[T]]:
        """Oldest first, read a page at a time: together they may be very large."""
        behind = None
        while page := reader.records(organization, self.kind, page=Page(behind, _AT_ONCE)):
            for record in page:
                yield self._known(record)
            behind = page[-1].id

    def page(self, reader: Reader, organization: str, limit: int, offset: int, page: Page) -> list[Entry[T]]:
        """Some of them, oldest first."""
        records = reader.records(organization, self.kind, limit=limit, offset=offset, page=page)
        return [self._known(record) for record in records]

    def count(self, reader: Reader, organization: str) -> int:
        """How many there are."""
        return reader.count_records(organization, self.kind)

    def full(self, reader: Reader, organization: str) -> bool:
        """Whether there is no room for one more."""
        return self.count(reader, organization) >= MOST

    def add(self, tx: Transaction, organization: str, name: str, value: T) -> Entry[T]:
        """Register something new.

        Raises:
            ConflictError: there is one of this name, or there are ``MOST`` already.
        """
        if tx.record_of(organization, self.kind, name) is not None:
            raise ConflictError(f"The {self.what} {name!r} already exists. Change it, or use another name.")
        return self.put(tx, organization, name, value)

    def put(self, tx: Transaction, organization: str, name: str, value: T) -> Entry[T]:
        """Register something, or replace what has this name.

        Raises:
            ConflictError: it would be one more than ``MOST``.
        """
        if tx.record_of(organization, self.kind, name) is None and self.full(tx, organization):
            raise ConflictError(
                f"There are {MOST} things of the kind {self.what!r}, which is the most. Remove some first."
            )
        return self.keep(tx, organization, name, value)

    def keep(self, tx: Transaction, organization: str, name: str, value: T) -> Entry[T]:
        """The same, however many there are."""
        tx.put_record(organization, self.kind, name, msgspec.json.encode(value))
        kept = tx.record_of(organization, self.kind, name)
        assert kept is not None
        return self._known(kept)

    def remove(self, tx: Transaction, organization: str, name: str) -> None:
        """Forget it."""
        tx.remove_record(organization, self.kind, name)

    def make_room(self, tx: Transaction, organization: str) -> None:
        """Forget the oldest, until there is room for one more."""
        surplus = self.count(tx, organization) - MOST + 1
        for record in tx.records(organization, self.kind, limit=surplus) if surplus > 0 else ():
            tx.remove_record(organization, self.kind, record.name)

    def _entry(self, record: Record | None) -> Entry[T] | None:
        return None if record is None else self._known(record)

    def _known(self, record: Record) -> Entry[T]:
        return Entry(record.id, record.name, self._decode(record.body), record.created_at, record.updated_at)


def cleaned(data: dict[str, Any], limit: int = 65_536) -> dict[str, Any]:
    """Somebody's own JSON as it may be stored and shown: without secrets, by their names and by their shapes.

    Args:
        limit: the most bytes it may have.

    Raises:
        ValidationError: it is larger, or deeper than 16.
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
    """Whether anything can have this name: databases take neither NUL nor half a character."""
    if not 0 < len(name) <= _LONGEST_NAME or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
