"""How many requests an organization's keys have left, over all replicas that share a database.

Rules:

1. The keys of an organization share its tier, whichever replica they ask. In no span of a window's length do more requests
   get through than the tier allows.
2. A replica takes requests from the shared book in small leases, so that few requests wait for the database. A lease is
   good for the slot (a twentieth of the shortest window) in which it was taken, and counts in full until the next one
   returns what was left of it.
3. A book that cannot be written refuses nobody: until it can, each replica counts by itself.

Replicas' clocks must agree to about a slot (3 s), as they do under NTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from ascend_guard.errors import StoreError
from ascend_guard.store.port import Store, Transaction

SLOTS = 20
"""Into which a window is divided: a request counts until all of its slot is past."""

ALONE = 10.0
"""Seconds after a book could not be written until it is tried again: a request in each slot would wait for that."""

KIND = "rate"
"""Of the records that are the books. They are nobody's: no organization lists them, or is changed by being counted."""

Limits = tuple[tuple[int, int], ...]
"""How many requests in how many seconds, for each window."""


class Book(msgspec.Struct):
    """What was taken: by window (its seconds) and slot, how many requests."""

    used: dict[int, dict[int, int]] = {}


class Lease(msgspec.Struct):
    """Requests that a replica may let through.

    Args:
        granted: how many.
        slots: of each window, the slot in which they count.
        left: of each window, how many more anybody may take.
        frees: of each window, when more will be left: seconds since the epoch.
        until: the moment up to which this is good.
        refused: whether nothing was granted.
    """

    granted: int
    slots: dict[int, int]
    left: dict[int, int]
    frees: dict[int, float]
    until: float
    refused: bool


def take(book: Book, limits: Limits, now: float, want: int, unused: Lease | None) -> Lease:
    """Take requests from a book, and return first what was left of an earlier lease.

    Args:
        book: it is changed.
        limits: the organization's.
        now: seconds since the epoch.
        want: how many at most.
        unused: an earlier lease; ``granted`` is what is left of it.
    """
    slots: dict[int, int] = {}
    left: dict[int, int] = {}
    for limit, seconds in limits:
        used = book.used.setdefault(seconds, {})
        if unused is not None and unused.granted and unused.slots.get(seconds) in used:
            used[unused.slots[seconds]] -= unused.granted
        # A clock that was set back, or runs behind another replica's: what was counted stays until then.
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
    """Where an organization's book is."""

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
    """Books in the database, which all replicas write.

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
    """One organization's requests, as this replica lets them through.

    Args:
        organization: its name.
        limits: its tier's.
        shelf: where its book is.
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
        self._spent = 0  # of leases in the present slot
        self._taking = asyncio.Lock()
        self._taken_from: Shelf | None = None
        self._alone_until = 0.0

    async def hit(self) -> tuple[bool, int, int, float]:
        """Count one request.

        Returns:
            Whether it may go on; and of the window with the least left (the longest, of those with as little) its limit, how
            many are left, and when more will be.
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
        """Whether it still says what a request may do."""
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
