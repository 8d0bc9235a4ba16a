"""A tier is an organization's, over all its keys and all replicas of one database."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_server import shared_server
from serving import Serving, serving
from support import SCHEDULES

from ascend_guard.engine.keys import make_key, make_organization
from ascend_guard.errors import StoreError
from ascend_guard.server.access.quota import ALONE, Lease, Limits, Own, Quota, Shared
from ascend_guard.store.port import Store
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.sqlite.store import SQLiteStore

SECRET = b"s" * 32
FREE = ((60, 60), (1000, 3600))
_numbers = itertools.count()
_runner = asyncio.Runner()  # a replica lives in one event loop


class Clock:
    """Time that passes when told to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def opened(kind: str, folder: Path, stack: ExitStack, number: int = 2) -> list[Any]:
    """Stores of as many replicas on one database."""
    stores: list[Any]
    if kind == "sqlite":
        stores = [SQLiteStore(folder / "a.db", durability="process") for _ in range(number)]
    else:
        url = stack.enter_context(shared_server().database())
        stores = [PostgresStore(url, secret=SECRET) for _ in range(number)]
    return stores


@pytest.fixture(params=["sqlite", "postgres"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Store]]:
    """Those of two replicas, of each kind."""
    with ExitStack() as stack:
        found = opened(request.param, tmp_path, stack)
        for store in found:
            stack.callback(store.close)
        yield found


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(1, 9),
        st.one_of(st.just(0.0), st.floats(0, 4), st.floats(15, 25), st.floats(50, 70)),
    ),
    min_size=1,
    max_size=25,
)


def busiest(times: list[float], seconds: float) -> int:
    """The most that fell into any span of this length."""
    return max(
        (sum(at <= other < at + seconds for other in times[n:]) for n, at in enumerate(times)), default=0
    )


def played(quotas: list[Quota], clock: Clock, steps: list[tuple[int, int, float]]) -> tuple[list[float], int]:
    """When requests got through, whichever replica they asked; and how many did not."""
    through: list[float] = []
    refused = 0

    async def play() -> None:
        nonlocal refused
        for replica, number, pause in steps:
            for allowed, *_ in await asyncio.gather(*(quotas[replica].hit() for _ in range(number))):
                if allowed:
                    through.append(clock.now)
                else:
                    refused += 1
            clock.now += pause

    _runner.run(play())
    return through, refused


def test_no_span_has_more_than_the_tier(stores: list[Store]) -> None:
    """Over both replicas, however requests are spread; and after a quiet window all of it is there again."""
    seen: Counter[str] = Counter()

    @given(steps=STEPS, limit=st.integers(1, 12))
    @settings(max_examples=SCHEDULES)
    def check(steps: list[tuple[int, int, float]], limit: int) -> None:
        clock, organization = Clock(), f"org-{next(_numbers)}"
        limits = ((limit, 60), (limit * 3, 3600))
        quotas = [Quota(organization, limits, Shared(store), clock) for store in stores]
        through, refused = played(quotas, clock, steps)
        assert busiest(through, 60) <= limit
        assert busiest(through, 3600) <= limit * 3
        seen["refused"] += refused
        seen["by both"] += len({replica for replica, *_ in steps}) == 2
        clock.now += 3800
        again, _ = played(quotas, clock, [(0, limit * 2, 3.1), (1, limit * 2, 0.0)])
        assert len(again) == limit

    check()
    assert seen["refused"] > 20
    assert seen["by both"] > 20


def test_what_a_lease_left_is_returned() -> None:
    """A replica that took more than it needed gives the rest back with its next lease; nothing is lost for an hour."""
    clock, shelf = Clock(), Own()
    quotas = [Quota("o", FREE, shelf, clock) for _ in range(2)]
    through, _ = played(quotas, clock, [(0, 20, 3.1), (0, 1, 3.1), (1, 1, 3.1), (0, 1, 3.1)])
    assert len(through) == 23
    rest, _ = played(quotas, clock, [(1, 60, 3.1), (0, 60, 3.1), (1, 60, 0.0)])
    assert len(rest) == 60 - 23


class Counting(Own):
    """Notes each question to the book."""

    def __init__(self, asked: list[int]) -> None:
        super().__init__()
        self._asked = asked

    async def take(
        self, organization: str, limits: Limits, now: float, want: int, unused: Lease | None
    ) -> Lease:
        self._asked.append(want)
        return await super().take(organization, limits, now, want, unused)


def test_few_requests_wait_for_the_database(tmp_path: Path) -> None:
    """Of six thousand requests of a busy organization in a minute, some two hundred ask for a lease."""
    asked: list[int] = []
    clock = Clock()
    quota = Quota("o", ((6000, 60),), Counting(asked), clock)
    through, refused = played([quota], clock, [(0, 100, 1.0)] * 60)
    assert (len(through), refused) == (6000, 0)
    assert len(asked) < 250


def test_a_refusal_is_remembered() -> None:
    """Who goes on asking when there is nothing left costs the database one question for each slot, and no more."""
    asked: list[int] = []
    clock = Clock()
    quota = Quota("o", FREE, Counting(asked), clock)
    played([quota], clock, [(0, 60, 0.0)])
    asked.clear()
    through, refused = played([quota], clock, [(0, 50, 0.1)] * 100)
    assert (through, refused) == ([], 5000)
    assert len(asked) <= 10 / 3 + 2


def test_a_database_that_does_not_answer_refuses_nobody() -> None:
    """Until it does, a replica counts by itself; afterwards nothing is returned that was not taken there."""
    clock, down = Clock(), [False]

    class Failing(Own):
        async def take(
            self, organization: str, limits: Limits, now: float, want: int, unused: Lease | None
        ) -> Lease:
            if down[0]:
                raise StoreError("not now")
            return await super().take(organization, limits, now, want, unused)

    shelf = Failing()
    quota = Quota("o", FREE, shelf, clock)
    assert len(played([quota], clock, [(0, 10, 0.0)])[0]) == 10
    down[0] = True
    alone, refused = played([quota], clock, [(0, 100, 3.1)])
    assert 60 <= len(alone) <= 70
    assert refused
    down[0] = False
    clock.now += ALONE
    back, _ = played([quota], clock, [(0, 100, 0.0)])
    assert 45 <= len(back) <= 50


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_replicas_and_four_keys_have_one_tier(kind: str, tmp_path: Path) -> None:
    """Over HTTP, all at once: sixty requests get through in a minute, and people and the kill switch besides."""
    clock = Clock()
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(serving(store, clock=clock)) for store in opened(kind, tmp_path, stack)
        ]

        def make(tx: Any) -> list[str]:
            make_organization(tx, "small", "free", "test")
            keys = [make_key(tx, "small", agent_id=None, role="agent", by="test")[0] for _ in range(3)]
            return [*keys, make_key(tx, "small", agent_id=None, role="admin", by="test")[0]]

        keys = replicas[0].store.write(make)

        def ask(number: int) -> requests.Response:
            return replicas[number % 2].ask("GET", "/api/v1/actions", keys[number % len(keys)])

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(150)))
            clock.now += 3.1
            answers += pool.map(ask, range(150))
        through = sum(answer.status_code == 200 for answer in answers)
        assert through == 60
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 240
        for answer in refused:
            assert answer.headers["X-RateLimit-Limit"] == "60"
            assert answer.headers["X-RateLimit-Remaining"] == "0"
            assert 1 <= int(answer.headers["Retry-After"]) <= 64
        for replica in replicas:
            stop = {"reason": "these agents ask too much"}
            trigger = "/api/billing/kill-switch/small/trigger"
            assert replica.ask("POST", trigger, keys[0], stop).status_code == 403
            assert replica.ask("POST", trigger, keys[-1], stop).status_code == 200
            assert replica.ask("GET", "/api/v1/actions", replica_token(replica)).status_code == 200


def replica_token(replica: Serving) -> str:
    """A person of the organization; both replicas sign with one secret."""
    return replica.token(organization="small")
