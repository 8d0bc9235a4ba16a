"""Rate limits: the requests that an organization's tier allows in a minute and in an hour.

The keys of an organization share its tier, on all replicas of one database (``quota``). Each person has that limit
alone, on each replica, and so has each key for turning a kill switch on: however many requests agents send, people can
decide and stop them.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ascend_guard.errors import ConfigurationError, RateLimitError
from ascend_guard.server.handling import Caller

from .quota import Own, Quota, Shelf

MINUTE, HOUR = 60, 3600

TIERS: dict[str, tuple[tuple[int, int], ...]] = {
    "free": ((60, MINUTE), (1_000, HOUR)),
    "pro": ((600, MINUTE), (10_000, HOUR)),
    "enterprise": ((6_000, MINUTE),),
    "unlimited": (),
}
"""Requests per number of seconds (REST API document, "Rate Limits"). An organization on its own server may be unlimited."""

FAILED = (60, MINUTE)
"""The limit of refused keys and tokens for one client address."""

OPEN = (600, MINUTE)
"""The limit of requests for public documents for one client address."""

LOCAL = "local"

_SLOTS = 20
_CALLERS = 20_000
_ADDRESSES = 10_000
_TIER_GOOD_FOR = 10.0  # seconds

K = TypeVar("K")
V = TypeVar("V")


class TooManyRequestsError(RateLimitError):
    """Too many requests.

    Args:
        message: what to do next.
        retry_after: seconds to wait.
        headers: headers for the answer.
    """

    def __init__(self, message: str, *, retry_after: float, headers: dict[str, str]) -> None:
        super().__init__(message, retry_after=retry_after)
        self.headers = headers


class _Window:
    """Counts requests in a sliding window, in slots of a twentieth of the window.

    A request counts until all of its slot is past. So a caller may wait a twentieth longer than the window, and never gets
    more than the limit, at a slot's boundary either.
    """

    __slots__ = ("_hits", "_slots", "_width", "limit")

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self._width = seconds / _SLOTS
        self._slots: deque[list[int]] = deque()  # [slot number, number of requests]
        self._hits = 0

    def left(self, now: float) -> int:
        """Return how many more requests are allowed."""
        first = int(now / self._width) - _SLOTS
        slots = self._slots
        while slots and slots[0][0] < first:
            self._hits -= slots.popleft()[1]
        return self.limit - self._hits

    def hit(self, now: float) -> None:
        """Count one request."""
        slot = int(now / self._width)
        slots = self._slots
        # The clock was set back: its counts stay until their own time, not for ever.
        if slots and slots[-1][0] >= slot:
            slots[-1][1] += 1
        else:
            slots.append([slot, 1])
        self._hits += 1

    def frees(self, now: float) -> int:
        """Return when more will be allowed: seconds since the epoch, rounded up."""
        return math.ceil((self._slots[0][0] + _SLOTS + 1) * self._width if self._slots else now)


class RateLimiter:
    """Counts requests and refuses those over the limit.

    The package ``limits`` was measured and rejected: one request costs 13 to 36 µs with it, for two windows and their
    headers, in every strategy; and its store in memory starts a thread every 10 ms that scans all windows while
    requests wait, up to 0.16 s with 5,000 callers.

    Args:
        tier_of: returns an organization's tier.
        clock: seconds since the epoch.
        local: the tier of the organization ``local``.
        shelf: stores the counts that replicas share; by default this process's memory.

    Raises:
        ConfigurationError: the tier is unknown.
    """

    def __init__(
        self,
        tier_of: Callable[[str], Awaitable[str] | str],
        clock: Callable[[], float],
        *,
        local: str = "enterprise",
        shelf: Shelf | None = None,
    ) -> None:
        if local not in TIERS:
            raise ConfigurationError(f"{local!r} is not a tier. Tiers are {', '.join(TIERS)}.")
        self._tier_of = tier_of
        self._clock = clock
        self._tiers = _Recent[str, tuple[str, float]](_CALLERS)
        self._local = local
        self._callers = _Recent[tuple[str, bool, str], tuple[str, list[_Window]]](_CALLERS)
        self._addresses = _Recent[str, _Window](_ADDRESSES)
        self._quotas = _Recent[str, Quota](_CALLERS)
        self._shelf = shelf or Own()
        self._readers = _Recent[str, _Window](_ADDRESSES)

    async def hit(self, caller: Caller, *, stopping: bool = False) -> dict[str, str]:
        """Count one request of a key or a person.

        Args:
            caller: the caller.
            stopping: whether it turns a kill switch on, which agents' requests must not prevent.

        Returns:
            The headers ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` for the window with the least left. Reset
            is when more will be allowed: seconds since the epoch.

        Raises:
            TooManyRequestsError: there were too many; this one is not counted.
        """
        if not caller.organization:  # an anonymous caller at a public endpoint
            return {}
        tier = await self._tier(caller.organization)
        if not TIERS[tier]:
            return {}
        if not caller.person and not stopping:
            return await self._hit_shared(caller.organization, tier)
        who = (caller.organization, caller.person, f"{caller.issuer} {caller.subject or caller.name}")
        kept = self._callers.get(who)
        if kept is None or kept[0] != tier:
            kept = (tier, [_Window(*limit) for limit in TIERS[tier]])
            self._callers.put(who, kept)
        now = self._clock()
        tightest, least = kept[1][0], kept[1][0].left(now)
        for window in kept[1][1:]:
            left = window.left(now)
            if left <= least:  # the longer window, when both are used up
                tightest, least = window, left
        if least > 0:
            for window in kept[1]:
                window.hit(now)
            return _headers(tightest.limit, least - 1, tightest.frees(now))
        raise _refusal(tightest.limit, tightest.frees(now), now, "Too many requests")

    async def _hit_shared(self, organization: str, tier: str) -> dict[str, str]:
        quota = self._quotas.get(organization)
        if quota is None or quota.limits is not TIERS[tier]:
            quota = Quota(organization, TIERS[tier], self._shelf, self._clock)
            self._quotas.put(organization, quota)
        allowed, limit, left, frees = await quota.hit()
        if allowed:
            return _headers(limit, left, math.ceil(frees))
        raise _refusal(limit, frees, self._clock(), "Too many requests")

    def hit_failed(self, address: str) -> None:
        """Count a refused key or token. A valid one is never refused because of others behind its address.

        It is not the protection against guessing, which is the 256 random bits of a key. It limits noise, and tells its
        sender.

        Args:
            address: the client's address; for IPv6 the network of 64 bits that one customer has.

        Raises:
            TooManyRequestsError: there were too many.
        """
        self._hit_address(
            self._addresses, address, FAILED, "Too many refused keys or tokens from this address"
        )

    def hit_open(self, address: str) -> None:
        """Count a request for a public document. Raises ``TooManyRequestsError``."""
        self._hit_address(self._readers, address, OPEN, "Too many requests from this address")

    def _hit_address(
        self, among: _Recent[str, _Window], address: str, limit: tuple[int, int], what: str
    ) -> None:
        whose = network(address)
        window = among.get(whose)
        if window is None:
            window = _Window(*limit)
            among.put(whose, window)
        now = self._clock()
        if window.left(now) <= 0:
            raise _refusal(window.limit, window.frees(now), now, what)
        window.hit(now)

    async def _tier(self, organization: str) -> str:
        if organization == LOCAL:
            return self._local
        kept = self._tiers.get(organization)
        now = self._clock()
        if kept is not None and 0 <= now - kept[1] < _TIER_GOOD_FOR:
            return kept[0]
        answer = self._tier_of(organization)
        tier = await answer if inspect.isawaitable(answer) else answer
        tier = tier if tier in TIERS else "free"
        self._tiers.put(organization, (tier, now))
        return tier


def _headers(limit: int, left: int, reset: int) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(left),
        "X-RateLimit-Reset": str(reset),
    }


def _refusal(limit: int, frees: float, now: float, what: str) -> TooManyRequestsError:
    reset = math.ceil(frees)
    wait = max(1, math.ceil(reset - now))
    return TooManyRequestsError(
        f"{what}. Try again in {wait} s.", retry_after=float(wait), headers=_headers(limit, 0, reset)
    )


def network(address: str) -> str:
    """Return the network that an address belongs to: for IPv6 the network of 64 bits that one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "?"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or int(parsed) >> 64)


class _Recent(Generic[K, V]):
    """A cache of the most recently used entries."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, name: K) -> V | None:
        entry = self._entries.get(name)
        if entry is not None:
            self._entries.move_to_end(name)
        return entry

    def put(self, name: K, value: V) -> None:
        self._entries[name] = value
        self._entries.move_to_end(name)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)
