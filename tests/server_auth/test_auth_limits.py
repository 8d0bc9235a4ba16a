"""Rate limits: how many requests a key or a person gets, and what the headers say."""

from __future__ import annotations

import asyncio
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import standing

from ascend_guard.errors import ConfigurationError, RateLimitError
from ascend_guard.server.access import limits
from ascend_guard.server.access.limits import HOUR, MINUTE, RateLimiter
from ascend_guard.server.handling import Caller

TIER = {"free-org": "free", "pro-org": "pro", "big-org": "enterprise"}


def caller(organization: str = "free-org", name: str = "key:1", person: bool = False) -> Caller:
    """Somebody."""
    return Caller(organization, name, person)


class Desk:
    """A limiter and its clock."""

    def __init__(self, **options: str) -> None:
        self.clock = standing()
        self.limiter = RateLimiter(lambda organization: TIER.get(organization, "?"), self.clock, **options)

    def hit(self, who: Caller) -> dict[str, str]:
        """One request."""
        return asyncio.run(self.limiter.hit(who))

    def hits(self, who: Caller, most: int = 20_000) -> int:
        """How many requests are let through at this moment."""

        async def play() -> int:
            for count in range(most):
                try:
                    await self.limiter.hit(who)
                except RateLimitError:
                    return count
            return most

        return asyncio.run(play())


@pytest.mark.parametrize(
    ("organization", "minute"),
    [("free-org", 60), ("pro-org", 600), ("big-org", 6000), ("local", 6000), ("?", 60)],
)
def test_what_a_tier_allows_in_a_minute(organization: str, minute: int) -> None:
    """REST API document, "Rate Limits"; an organization nobody made gets the least."""
    desk = Desk()
    assert desk.hits(caller(organization)) == minute
    desk.clock.now += 70
    assert desk.hits(caller(organization)) == minute


@pytest.mark.parametrize(("organization", "hour"), [("free-org", 1000), ("pro-org", 10_000)])
def test_what_a_tier_allows_in_an_hour(organization: str, hour: int) -> None:
    """However it is spread; the headers then speak of the hour."""
    desk = Desk()
    count = 0
    for _ in range(30):
        count += desk.hits(caller(organization))
        desk.clock.now += 65
    assert count == hour
    with pytest.raises(RateLimitError) as error:
        desk.hit(caller(organization))
    assert error.value.headers["X-RateLimit-Limit"] == str(hour)
    desk.clock.now += error.value.retry_after
    assert desk.hit(caller(organization))


def test_when_both_windows_are_used_up() -> None:
    """The headers speak of the one that takes longer."""
    desk = Desk()
    for _ in range(40):
        desk.hit(caller())
    for _ in range(16):
        desk.clock.now += 65
        assert desk.hits(caller()) == 60
    with pytest.raises(RateLimitError) as error:
        desk.hit(caller())
    assert error.value.headers["X-RateLimit-Limit"] == "1000"
    assert error.value.retry_after > MINUTE * 2


def test_enterprise_has_no_limit_in_an_hour() -> None:
    """Six thousand in every minute."""
    desk = Desk()
    count = 0
    for _ in range(5):
        count += desk.hits(caller("big-org"))
        desk.clock.now += 65
    assert count == 30_000


def test_the_tier_of_local_can_be_another() -> None:
    """And must be one of the three."""
    assert Desk(local="free").hits(caller("local")) == 60
    with pytest.raises(ConfigurationError, match="not a tier"):
        Desk(local="gold")


def test_the_keys_of_an_organization_share_its_tier() -> None:
    """However many there are; another organization has its own."""
    desk = Desk()
    assert sum(desk.hits(caller(name=f"key:{number}"), 25) for number in range(6)) == 60
    assert desk.hits(caller("pro-org")) == 600


def test_people_have_their_own() -> None:
    """An organization whose agents used up its tier keeps nobody from deciding; a person is who the issuer says."""
    desk = Desk()
    assert desk.hits(caller()) == 60
    for subject in ("1", "2"):
        ann = Caller("free-org", "ann@example.com", True, issuer="i", subject=subject)
        assert desk.hits(ann, 40) == 40
        assert desk.hits(msgspec.structs.replace(ann, name="Ann@Example.com")) == 20
    assert desk.hits(Caller("pro-org", "ann@example.com", True, issuer="i", subject="1")) == 600


def test_agents_that_used_up_the_tier_can_be_stopped() -> None:
    """Turning a kill switch on counts by itself, for each key."""
    desk = Desk()
    assert desk.hits(caller()) == 60
    for name in ("key:1", "key:2"):
        assert (
            asyncio.run(desk.limiter.hit(caller(name=name), stopping=True))["X-RateLimit-Remaining"] == "59"
        )


def test_nobody_in_particular_has_none() -> None:
    """An endpoint for everybody does not count."""
    assert Desk().hit(Caller("", "anonymous", role="none")) == {}


def test_what_the_headers_say() -> None:
    """The limit, what is left, and when more is: seconds since the epoch."""
    desk = Desk()
    first = desk.hit(caller())
    assert first["X-RateLimit-Limit"] == "60"
    assert first["X-RateLimit-Remaining"] == "59"
    assert desk.clock.now + MINUTE <= int(first["X-RateLimit-Reset"]) <= desk.clock.now + MINUTE * 1.05 + 1
    for left in range(58, -1, -1):
        assert desk.hit(caller())["X-RateLimit-Remaining"] == str(left)
    with pytest.raises(RateLimitError, match="Try again in") as error:
        desk.hit(caller())
    assert error.value.headers == first | {"X-RateLimit-Remaining": "0"}
    assert error.value.retry_after == int(first["X-RateLimit-Reset"]) - desk.clock.now


@given(
    waits=st.lists(
        st.one_of(st.just(0.0), st.floats(0, 3), st.floats(55, 65), st.floats(0, 100)),
        min_size=1,
        max_size=100,
    ),
    begun=st.floats(0, 2e9),
    limit=st.integers(1, 8),
)
def test_never_more_than_the_limit_in_any_span(waits: list[float], begun: float, limit: int) -> None:
    """Wherever the span begins, no more get through; after ``retry_after`` the next one does."""
    seconds = 60
    window = limits._Window(limit, seconds)
    now, let_through = begun, []
    for wait in waits:
        now += wait
        left = window.left(now)
        assert 0 <= left <= limit
        if left:
            window.hit(now)
            let_through.append(now)
        else:
            later = window.frees(now)
            assert now < later <= math.ceil(now + seconds * 1.05) + 1
    for number, start in enumerate(let_through):
        assert sum(start <= at < start + seconds for at in let_through[number:]) <= limit
    if not window.left(now):
        assert window.left(window.frees(now)) > 0


@given(begun=st.floats(0, 2e9), later=st.floats(0, 59.99))
def test_a_burst_is_one_wherever_it_falls(begun: float, later: float) -> None:
    """Everything at once, and then nothing more for a minute: there is no boundary at which a second burst fits."""
    window = limits._Window(3, MINUTE)
    for _ in range(3):
        window.hit(begun)
    assert window.left(begun + later) == 0
    assert window.left(begun + MINUTE * 1.06) == 3


@given(steps=st.lists(st.floats(-10_000, 10_000), max_size=50))
def test_a_clock_that_jumps(steps: list[float]) -> None:
    """Neither forwards nor backwards does it give more than the limit for what it says the time is, nor an error."""
    window = limits._Window(5, 60)
    now = 1e9
    for step in steps:
        now += step
        if window.left(now) > 0:
            window.hit(now)
        assert 0 <= window.left(now) <= 5


def test_a_tier_is_asked_for_now_and_then() -> None:
    """Not for each request; a new tier counts within ten seconds, and from a coroutine as well."""
    asked = []

    async def tier_of(organization: str) -> str:
        asked.append(organization)
        return "free" if len(asked) == 1 else "pro"

    clock = standing()
    limiter = RateLimiter(tier_of, clock)

    async def play() -> None:
        for _ in range(50):
            assert (await limiter.hit(caller()))["X-RateLimit-Limit"] == "60"
        clock.now += 10
        assert (await limiter.hit(caller()))["X-RateLimit-Limit"] == "600"

    asyncio.run(play())
    assert asked == ["free-org"] * 2


def test_failures_of_one_address() -> None:
    """Sixty in a minute; other addresses, and good keys behind the same one, are not held up."""
    desk = Desk()
    for _ in range(60):
        desk.limiter.hit_failed("192.0.2.1")
    with pytest.raises(RateLimitError, match="refused keys") as error:
        desk.limiter.hit_failed("192.0.2.1")
    assert "192.0.2.1" not in str(error.value)
    desk.limiter.hit_failed("192.0.2.2")
    desk.hit(caller())
    desk.clock.now += error.value.retry_after
    desk.limiter.hit_failed("192.0.2.1")


@pytest.mark.parametrize(
    ("address", "same", "another"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ("fe80::1%eth0", "fe80::2", "fe80:0:0:1::1"),
        ("", "nonsense", "192.0.2.1"),
    ],
)
def test_what_one_address_is(address: str, same: str, another: str) -> None:
    """Of IPv6 a whole network of 64 bits, as one customer has it; whatever is no address counts together."""
    desk = Desk()
    for number in range(60):
        desk.limiter.hit_failed(address if number % 2 else same)
    for one in (address, same):
        with pytest.raises(RateLimitError):
            desk.limiter.hit_failed(one)
    desk.limiter.hit_failed(another)


def test_what_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has many addresses takes no more memory; those seen last are kept."""
    monkeypatch.setattr(limits, "_ADDRESSES", 100)
    monkeypatch.setattr(limits, "_CALLERS", 100)
    desk = Desk()
    for number in range(1000):
        desk.limiter.hit_failed(f"192.0.{number // 256}.{number % 256}")
        desk.hit(caller(name=f"{number}@example.com", person=True))
    assert len(desk.limiter._addresses._entries) == 100
    assert len(desk.limiter._callers._entries) == 100
    window = limits._Window(10_000, HOUR)
    for second in range(20_000):
        window.hit(float(second))
        window.left(float(second))
    assert len(window._slots) <= limits._SLOTS + 1
