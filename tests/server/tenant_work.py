"""What the store is asked for a request, by which another organization's identifier and one that nothing has are compared.

Run as a program, it measures instead how long both take: ``python tests/server/tenant_work.py [rounds]``.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sized
from pathlib import Path
from typing import Any, TypeVar

from ascend_guard.store.port import Reader, Transaction
from ascend_guard.store.sqlite.store import SQLiteStore

R = TypeVar("R")

Asked = list[tuple[str, int]]

_BESIDE = frozenset(("change feed", "housekeeping", "deliveries"))
_CACHED = frozenset(("find_record",))  # the caller's own key, which is remembered for a second


class WatchedStore(SQLiteStore):
    """Notes each question and change that a request puts to it, and how much came back.

    Attributes:
        asked: what was noted since it was last cleared.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.asked: Asked = []
        super().__init__(*arguments, **options)

    async def aread(self, work: Callable[[Reader], R]) -> R:
        return await super().aread(self._noted(work))

    def apart(self, work: Callable[[Reader], R]) -> R:
        return super().apart(self._noted(work))

    async def awrite(
        self, work: Callable[[Transaction], R], orphaned: Callable[[R], None] | None = None
    ) -> R:
        return await super().awrite(self._noted(work), orphaned)

    def _noted(self, work: Callable[[Any], R]) -> Callable[[Any], R]:
        task = asyncio.current_task()
        if task is not None and task.get_name() in _BESIDE:
            return work
        return lambda inner: work(_Noted(inner, self.asked))


class _Noted:
    def __init__(self, inner: Any, asked: Asked) -> None:
        self._inner, self._asked = inner, asked

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def ask(*given: Any, **named: Any) -> Any:
            answer = found(*given, **named)
            if name not in _CACHED and (not given or given[0] != ""):  # tiers are remembered as well
                if isinstance(answer, Iterator):
                    answer = iter(listed := list(answer))
                    self._asked.append((name, len(listed)))
                else:
                    self._asked.append(
                        (name, len(answer) if isinstance(answer, Sized) else answer is not None)
                    )
            return answer

        return ask


def _measure(rounds: int) -> None:
    from organization_of_things import POLICY_OF_THINGS, Ahead, credentials
    from serving import serving
    from test_server_tenants import ROUTES, VICTIM, World, requests_of, well_formed

    from ascend_guard.api.endpoint import Access
    from ascend_guard.server.handling import ServerSettings

    path, clock = Path(tempfile.mkdtemp()) / "a.db", Ahead()
    found: list[tuple[float, float, float, str]] = []
    with serving(
        path, POLICY_OF_THINGS, settings=ServerSettings(private_webhooks=True), clock=clock
    ) as server:
        world = World(server, path, clock)
        things, key = world.things, server.key(world.things["agent"], "agent", VICTIM)
        much = {"agent_id": things["agent"], "agent_name": "x", "action_type": "orders_read", "resource": "r"}
        inside = {"orchestration_session_id": things["session"], "session_id": things["session"]}
        for _ in range(400):
            world.ask("POST", "/api/v1/actions/submit", key, None, much | inside)
        given = credentials(server, world.other())
        for endpoint, route in ROUTES:
            people = endpoint.access in (Access.PERSON, Access.PERSON_ADMIN)
            credential = given["a person who is admin" if people else "an admin's key"]
            pairs = zip(
                requests_of(endpoint, route, things),
                requests_of(endpoint, route, well_formed(things)),
                strict=True,
            )
            for real, ghost in pairs:
                if real == ghost:
                    continue
                clock.seconds += 5.0 * rounds / 30
                took: tuple[list[float], list[float]] = ([], [])
                for turn in range(rounds):
                    for which in (0, 1) if turn % 2 else (1, 0):
                        url, query, body = (real, ghost)[which]
                        begun = time.perf_counter()
                        world.ask(endpoint.method, url, credential, query, body)
                        took[which].append(time.perf_counter() - begun)
                ranks = sum(
                    rank
                    for rank, (_, which) in enumerate(sorted((t, w) for w in (0, 1) for t in took[w]), 1)
                    if which == 0
                )
                mean, deviation = (
                    rounds * (2 * rounds + 1) / 2,
                    (rounds * rounds * (2 * rounds + 1) / 12) ** 0.5,
                )
                named = f"{endpoint.method} {real[0].replace(things.mark, 'V')} {json.dumps(real[2])[:60]}"
                medians = [statistics.median(times) * 1000 for times in took]
                found.append(((ranks - mean) / deviation, medians[0], medians[1], named))
    found.sort(key=lambda one: -abs(one[0]))
    beyond = sum(abs(z) > 3 for z, *_ in found)
    print(f"{len(found)} pairs, {rounds} rounds; rank sum beyond 3 standard deviations: {beyond}")
    for z, real_ms, ghost_ms, named in found[:12]:
        print(f"z={z:+.1f}  another's {real_ms:.2f} ms, nobody's {ghost_ms:.2f} ms  {named}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    _measure(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
