"""Another organization's identifier takes as long as one that nothing has: measured for every request, and reported.

The figures are the test's properties in its report (``pytest --junitxml``); whether the store has as much work to do, which
does not depend on the machine, is a test of its own (``test_server_tenants``).
"""

from __future__ import annotations

import http.client
import json
import math
import socket
import statistics
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from operator import sub
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from organization_of_things import POLICY_OF_THINGS, credentials
from serving import serving
from support import PROFILE
from test_server_tenants import ROUTES, VICTIM, World, requests_of, well_formed
from world import Clock

from ascend_guard.api.endpoint import Access
from ascend_guard.server.handling import ServerSettings

ROUNDS = {"quick": 12, "ci": 24, "full": 300}[PROFILE]
"""How often each pair is sent."""

AGAIN = {"quick": 60, "ci": 300, "full": 1_000}[PROFILE]
"""How often those are sent again that seem to differ most: of some two hundred pairs, a few do by chance."""

SUSPECTS = 6
"""How many of them, by the p and by the difference."""


@dataclass(frozen=True)
class Times:
    """How long two requests took that were sent in turn: one names another organization's thing, one names nothing.

    Attributes:
        named: what was asked.
        real: seconds that each request took which names a thing that is there.
        ghost: likewise, one that nothing has; in the same order.
        statuses: which answers there were to both.
    """

    named: str
    real: list[float]
    ghost: list[float]
    statuses: set[tuple[int, int]]

    @property
    def difference(self) -> float:
        """The median of the differences within a pair, in microseconds; positive where the real one takes longer."""
        return statistics.median(map(sub, self.real, self.ghost)) * 1e6

    @property
    def p(self) -> float:
        """How likely ranks as far apart are by chance (Mann-Whitney, two-sided, by the normal distribution)."""
        count = len(self.real)
        both = sorted([(took, 0) for took in self.real] + [(took, 1) for took in self.ghost])
        ranks = sum(rank for rank, (_, which) in enumerate(both, 1) if which == 0)
        deviation = (count * count * (2 * count + 1) / 12) ** 0.5
        return math.erfc(abs(ranks - count * (2 * count + 1) / 2) / deviation / 2**0.5)


def measured(world: World, rounds: int, only: Collection[str] = ()) -> Iterator[Times]:
    """The times of every request that names a thing.

    Args:
        world: whose organization has many actions besides.
        rounds: how often each pair is sent, the one or the other first in turn.
        only: what is asked (``Times.named``); everything when empty.
    """
    things = world.things
    key = world.server.key(things["agent"], "agent", VICTIM)
    much = {"agent_id": things["agent"], "agent_name": "x", "action_type": "orders_read", "resource": "r"}
    inside = {"orchestration_session_id": things["session"], "session_id": things["session"]}
    for _ in range(400):
        world.ask("POST", "/api/v1/actions/submit", key, None, much | inside)
    connection = http.client.HTTPConnection(world.server.url.removeprefix("http://"), timeout=30)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(method: str, asked: tuple[str, Any, Any], credential: str) -> tuple[float, int]:
        url, query, body = asked
        target = f"{url}?{urlencode(query)}" if query else url
        sent = None if body is None else json.dumps(body).encode()
        begun = time.perf_counter()
        connection.request(method, target, sent, {"Authorization": f"Bearer {credential}"})
        response = connection.getresponse()
        response.read()
        return time.perf_counter() - begun, response.status

    for endpoint, route in ROUTES:
        # A new organization for each, whose own records are few: a number that it has itself is not another's.
        given = credentials(world.server, world.other())
        people = endpoint.access in (Access.PERSON, Access.PERSON_ADMIN)
        credential = given["a person who is admin" if people else "an admin's key"]
        pairs = zip(
            requests_of(endpoint, route, things),
            requests_of(endpoint, route, well_formed(things)),
            strict=True,
        )
        for real, ghost in pairs:
            named = f"{endpoint.method} {real[0].replace(things.mark, 'V')} {real[1] or ''} {json.dumps(real[2])[:80]}"
            if real == ghost or (only and named not in only):
                continue
            world.clock.ahead += 5.0 * rounds / 30
            times = Times(named, [], [], set())
            for turn in range(rounds + 2):
                took = [(0.0, 0)] * 2
                for which in (0, 1) if turn % 2 else (1, 0):
                    took[which] = ask(endpoint.method, (real, ghost)[which], credential)
                if turn >= 2:  # the first ones fill caches
                    times.real.append(took[0][0])
                    times.ghost.append(took[1][0])
                    times.statuses.add((took[0][1], took[1][1]))
            yield times
    connection.close()


@pytest.mark.timeout(900)
def test_the_times_are_reported(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Every request that can name a thing is timed against one that names nothing, with the same answers."""
    path, clock = tmp_path / "a.db", Clock()
    with serving(
        path, POLICY_OF_THINGS, settings=ServerSettings(private_webhooks=True), clock=clock
    ) as server:
        world = World(server, path, clock)
        all_times = list(measured(world, ROUNDS))
        for times in all_times:
            assert all(real == ghost for real, ghost in times.statuses), (times.named, times.statuses)
            assert not {real for real, _ in times.statuses} & {401, 429}, times.named
        suspects = {
            times.named
            for by in (lambda times: times.p, lambda times: -abs(times.difference))
            for times in sorted(all_times, key=by)[:SUSPECTS]
        }
        again = list(measured(world, AGAIN, suspects))
    assert len(all_times) > 100
    record_property("pairs", len(all_times))
    record_property("rounds", ROUNDS)
    record_property(
        "median of the median differences in microseconds",
        round(statistics.median(times.difference for times in all_times), 1),
    )
    for times in all_times:
        record_property(times.named, f"{times.difference:+.1f} us, p {times.p:.3f}")
    for times in sorted(again, key=lambda times: -abs(times.difference)):
        record_property(
            f"again, {AGAIN} rounds: {times.named}", f"{times.difference:+.1f} us, p {times.p:.2g}"
        )
