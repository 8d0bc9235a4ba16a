"""The requests that an organization's keys have left, over all replicas of a database.

Rules:

1. The keys of an organization share its tier, on all replicas. No more requests than the tier allows are accepted in any
   span of a window's length.
2. A replica takes requests from the shared book in small leases, so that few requests wait for the database. A lease is
   valid for the slot (a twentieth of the shortest window) in which it was taken, and counts in full until the next lease
   returns its unused part.
3. If a book cannot be written, no request is refused: until it can, each replica counts alone.

Replicas' clocks must agree to about a slot (3 s), which NTP ensures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from ascend_guard.errors import StoreError
from ascend_guard.store.port import Store, Transaction

SLOTS = 20
"""The number of slots of a window: a request counts until all of its slot is past."""

ALONE = 10.0
"""Seconds between two attempts to write a book after a failure: else a request in each slot would wait for that."""

KIND = "rate"
"""The kind of the records that store the books. They belong to no organization, so none lists them."""

Limits = tuple[tuple[int, int], ...]
"""Requests per number of seconds, for each window."""


class Book(msgspec.Struct):
    """The taken requests: by window (its seconds) and slot, how many."""

    used: dict[int, dict[int, int]] = {}


class Lease(msgspec.Struct):
    """Requests that a replica may accept.

    Args:
        granted: how many.
        slots: for each window, the slot in which they count.
        left: for each window, how many more can be taken.
        frees: for each window, when more will be left: seconds since the epoch.
        until: the time until which this lease is valid.
        refused: whether nothing was granted.
    """

    granted: int
    slots: dict[int, int]
    left: dict[int, int]
    frees: dict[int, float]
    until: float
    refused: bool


def take(book: Book, limits: Limits, now: float, want: int, unused: Lease | None) -> Lease:
    """Take requests from a book, after the unused part of an earlier lease was returned to it.

    Args:
        book: it is changed.
        limits: the organization's limits.
        now: seconds since the epoch.
        want: the most requests to take.
        unused: an earlier lease; ``granted`` is its unused part.
    """
    slots: dict[int, int] = {}
    left: dict[int, int] = {}
    for limit, seconds in limits:
        used = book.used.setdefault(seconds, {})
        if unused is not None and unused.granted and unused.slots.get(seconds) in used:
            used[unused.slots[seconds]] -= unused.granted
        # The clock was set back, or is behind another replica's: counts stay until their own time.
        slots[seconds] = max([int(now * SLOTS / seconds), *used])
        for slot in [slot for slot, count in used.items() if slot < slots[seconds] - SLOTS or count <= 0]:
            del used[slot]
        left[seconds] = limit - sum(used.values())
    granted = max(0, min(want, *left.values()))
    frees: dict[int, float] = {}
    for _, seconds in limits:
        used, slot = book.used[seconds], slots[seconds]
        if granted:
            used[slot] = used.get(slot, 0) + granted
        left[seconds] -= granted
        frees[seconds] = (min(used, default=slot) + SLOTS + 1) * seconds / SLOTS
    shortest = min(seconds for _, seconds in limits)
    until = (int(now * SLOTS / shortest) + 1) * shortest / SLOTS
    if not granted:
        until = min(until, *(frees[seconds] for _, seconds in limits if left[seconds] <= 0))
    return Lease(granted, slots, left, frees, until, refused=not granted)


class Shelf(Protocol):
    """Stores an organization's book."""

    async def take(
        self, organization: str, limits: Limits, now: float, want: int, unused: Lease | None
    ) -> Lease:
        """See ``take``. Raises ``StoreError``."""
        ...


class Own:
    """Books in this process's memory."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}

    async def take(
        self, organization: str, limits: Limits, now: float, want: int, unused: Lease | None
    ) -> Lease:
        """See ``Shelf``."""
        return take(self._books.setdefault(organization, Book()), limits, now, want, unused)


class Shared:
    """Books in the database, shared by all replicas.

    Args:
        store: the database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def take(
        self, organization: str, limits: Limits, now: float, want: int, unused: Lease | None
    ) -> Lease:
        """See ``Shelf``."""

        def work(tx: Transaction) -> Lease:
            kept = tx.record_of("", KIND, f"rate of {organization}")
            book = Book() if kept is None else msgspec.json.decode(kept.body, type=Book)
            lease = take(book, limits, now, want, unused)
            tx.put_record("", KIND, f"rate of {organization}", msgspec.json.encode(book))
            return lease

        return await self._store.awrite(work)


class Quota:
    """One organization's requests, as this replica accepts them.

    Args:
        organization: its name.
        limits: the limits of its tier.
        shelf: stores its book.
        clock: seconds since the epoch.
    """

    def __init__(self, organization: str, limits: Limits, shelf: Shelf, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._organization = organization
        self._shelf = shelf
        self._alone = Own()
        self._clock = clock
        self._lease: Lease | None = None
        self._want = 1
        self._spent = 0  # used of leases in the present slot
        self._taking = asyncio.Lock()
        self._taken_from: Shelf | None = None
        self._alone_until = 0.0

    async def hit(self) -> tuple[bool, int, int, float]:
        """Count one request.

        Returns:
            Whether it is accepted; and for the window with the least left (of several, the longest) its limit, how many are
            left, and when more will be.
        """
        lease = self._lease
        if lease is None or not self._holds(lease):
            async with self._taking:
                lease = self._lease
                if lease is None or not self._holds(lease):
                    lease = self._lease = await self._take(lease)
        allowed = lease.granted > 0
        if allowed:
            lease.granted -= 1
            self._spent += 1
        limit, seconds = min(self.limits, key=lambda window: (lease.left[window[1]], -window[1]))
        return allowed, limit, lease.left[seconds] + lease.granted, lease.frees[seconds]

    def _holds(self, lease: Lease) -> bool:
        """Return whether the lease can still decide about a request."""
        return self._clock() < lease.until and (lease.granted > 0 or lease.refused)

    async def _take(self, before: Lease | None) -> Lease:
        now = self._clock()
        if before is not None and now < before.until:
            self._want = min(self._want * 2, max(1, self.limits[0][0] // 10))
        else:
            self._want, self._spent = max(1, self._spent // 2), 0
        if now >= self._alone_until:
            try:
                return await self._taken(self._shelf, now, before)
            except StoreError:
                self._alone_until = now + ALONE
        return await self._taken(self._alone, now, before)

    async def _taken(self, shelf: Shelf, now: float, before: Lease | None) -> Lease:
        unused = before if shelf is self._taken_from else None
        lease = await shelf.take(self._organization, self.limits, now, self._want, unused)
        self._taken_from = shelf
        return lease
