"""Lanes: fair, bounded, and never in the way of what decides and what stops."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import Serving, serving
from world import eventually

from ascend_guard.api.table import BY_NAME, ENDPOINTS
from ascend_guard.server.access.limits import TooManyRequestsError
from ascend_guard.server.handling import Caller
from ascend_guard.server.limit_log import Notices
from ascend_guard.server.requests import bodies
from ascend_guard.server.requests.asgi import LARGEST_BODY
from ascend_guard.server.requests.bodies import PER_CALLER, Room, require_few_values
from ascend_guard.server.requests.failures import RequestRefused
from ascend_guard.server.requests.lanes import LANES, LIGHT, LONGEST_REST, SMALL, SWITCH_INTERVAL, Lanes

Job = tuple[int, int]
"""An organization and one of its callers."""

SUBMIT = "/api/v1/actions/submit"


def test_lanes_are_shared_fairly() -> None:
    """One at a time for a caller and for an organization, two altogether, in order, and no one is passed by."""
    seen: Counter[str] = Counter()

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=8, max_size=40), st.randoms())
    def run(jobs: list[Job], random: Any) -> None:
        async def work() -> list[tuple[int, Job]]:
            lanes, lock = Lanes(Notices()), threading.Lock()
            running: Counter[Any] = Counter()
            begun: list[tuple[int, Job]] = []

            def job(number: int, who: Job) -> None:
                with lock:
                    begun.append((number, who))
                    for whose in (who, who[0], "all"):
                        running[whose] += 1
                    assert running[who] == running[who[0]] == 1
                    assert running["all"] <= LANES
                    seen["together"] += running["all"] == LANES
                time.sleep(random.random() / 1000)
                with lock:
                    for whose in (who, who[0], "all"):
                        running[whose] -= 1

            await asyncio.gather(
                *(
                    lanes.run(
                        Caller(f"o{who[0]}", f"c{who[1]}"), lambda number=number, who=who: job(number, who)
                    )  # type: ignore[misc]
                    for number, who in enumerate(jobs)
                )
            )
            assert not lanes._turns
            lanes.close()
            return begun

        begun = asyncio.run(work())
        assert sorted(number for number, _ in begun) == list(range(len(jobs)))
        for who in set(jobs):
            own = [number for number, whose in begun if whose == who]
            assert own == sorted(own)
        for place, (number, (organization, caller)) in enumerate(begun):
            first = number == min(n for n, (o, c) in begun if (o, c) == (organization, caller))
            if first:  # each other caller of its organization had a turn or two before
                mine = [c for _, (o, c) in begun[:place] if o == organization]
                assert max(Counter(mine).values(), default=0) <= 2, (jobs, begun)
                seen["passed"] += bool(mine)

    run()
    assert seen["together"] > 10
    assert seen["passed"] > 10


@contextmanager
def busy(served: Serving) -> Iterator[None]:
    """Every lane is taken, by organizations of nobody here."""
    context, free = served.server._context, threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    taken = threading.Semaphore(0)

    def hold() -> None:
        taken.release()
        free.wait(60)

    async def take() -> None:
        tasks.extend(
            asyncio.create_task(context.lanes.run(Caller(f"busy{number}", "c"), hold))
            for number in range(LANES)
        )

    tasks: list[asyncio.Task[None]] = []
    loops.append(served.server._loop)  # type: ignore[attr-defined]
    asyncio.run_coroutine_threadsafe(take(), loops[0]).result(20)
    for _ in range(LANES):
        assert taken.acquire(timeout=20)
    try:
        yield
    finally:
        free.set()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    """A server whose loop the test can reach."""
    with serving(tmp_path / "a.db") as server:
        found = [task.get_loop() for task in _tasks(server)]
        server.server._loop = found[0]  # type: ignore[attr-defined]
        yield server


def _tasks(served: Serving) -> list[Any]:
    """The server's own tasks, found by asking it from within."""
    caught: list[Any] = []
    original = served.server.change_feed._look

    async def look(*, turned: bool) -> None:
        task = asyncio.current_task()
        caught.append(task)
        served.server.change_feed._look = original  # type: ignore[method-assign]
        await original(turned=turned)

    served.server.change_feed._look = look  # type: ignore[method-assign]
    served.key()  # something to look for
    eventually(lambda: caught)
    return caught


def test_decisions_and_the_kill_switch_do_not_wait_for_lanes(served: Serving) -> None:
    """While every lane is busy they are answered; a list and a large body wait, and are answered afterwards."""
    key, admin, token = served.key(), served.key(None, role="admin"), served.token(role="admin")
    body = {
        "agent_id": "my-agent",
        "agent_name": "A",
        "action_type": "orders_read",
        "resource": "r",
        "tool_name": "t",
    }
    large = {**body, "parameters": {"text": "x" * SMALL}}
    waited: list[int] = []

    def later(method: str, path: str, credential: str, body: Any = None) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: waited.append(served.ask(method, path, credential, body).status_code)
        )
        thread.start()
        return thread

    with busy(served):
        waiting = [later("GET", "/api/audit/logs", token), later("POST", SUBMIT, key, large)]
        action = served.ask("POST", SUBMIT, key, body).json()["action_id"]
        assert served.ask("GET", f"/api/v1/actions/{action}/status", key).status_code == 200
        assert requests.get(served.url + "/ready", timeout=20).status_code == 200
        kill = {"reason": "because of the test", "agent_id": "my-agent"}
        assert served.ask("POST", "/api/billing/kill-switch/local/trigger", admin, kill).status_code == 200
        assert (
            served.ask("GET", "/api/sdk/kill-switch/status?agent_id=my-agent", key).json()["blocked"] is True
        )
        assert served.ask("POST", "/api/billing/kill-switch/local/release", admin, kill).status_code == 200
        assert waited == []
    for thread in waiting:
        thread.join(30)
    assert waited == [200, 200]


def test_every_other_endpoint_is_handled_in_a_lane() -> None:
    """The list of light ones names endpoints that exist, and no list but an agent's commands, of which there are few."""
    assert set(BY_NAME) >= LIGHT
    lists = {
        endpoint.name for endpoint in ENDPOINTS if "limit" in getattr(endpoint.query, "__struct_fields__", ())
    }
    assert not lists & LIGHT


def test_too_many_that_wait_are_refused(served: Serving) -> None:
    """A caller with too many long requests is refused, and only that one."""

    async def work() -> None:
        lanes, free = Lanes(Notices()), threading.Event()
        mine, other = Caller("a", "mine"), Caller("a", "other")
        tasks = [asyncio.create_task(lanes.run(mine, lambda: free.wait(20), most=3)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequestsError):
            await lanes.run(mine, lambda: None, most=3)
        tasks.append(asyncio.create_task(lanes.run(other, lambda: True, most=3)))
        await asyncio.sleep(0)
        free.set()
        assert await asyncio.gather(*tasks) == [True] * 4
        lanes.close()

    asyncio.run(work())


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2 * LARGEST_BODY), st.booleans(), st.booleans()),
        max_size=120,
    )
)
def test_large_bodies_have_bounded_room(moves: list[tuple[int, int, bool, bool]]) -> None:
    """Whatever comes and goes, no caller holds too much, small bodies are never refused, and all is given back."""
    room = Room(Notices())
    held: list[tuple[Caller, Any]] = []
    for who, size, chunked, leave in moves:
        if leave and held:
            held.pop(0)[1].__exit__(None, None, None)
            continue
        caller = Caller("o", f"c{who}")
        headers = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(size)}
        one = room.held(caller, headers)
        try:
            one.__enter__()
        except TooManyRequestsError:
            assert chunked or size > SMALL
            assert room._held[("o", f"c{who}")] > PER_CALLER - LARGEST_BODY
        else:
            held.append((caller, one))
        assert all(0 < bytes_ <= PER_CALLER for bytes_ in room._held.values())
        assert room._total == sum(room._held.values())
    for _, one in held:
        one.__exit__(None, None, None)
    assert room._held == {}
    assert room._total == 0


def test_bodies_of_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of at most half as many values as allowed is refused, whatever is in its texts; none of twice as many passes."""
    most = 40
    monkeypatch.setattr(bodies, "MOST_VALUES", most)
    monkeypatch.setattr(bodies, "_FEW", 0)
    seen: Counter[bool] = Counter()
    text = st.text(st.sampled_from('a,[]{}":\\ü'), max_size=6)
    plain = st.recursive(
        st.none() | st.integers() | text,
        lambda inner: st.lists(inner, max_size=40) | st.dictionaries(text, inner, max_size=20),
        max_leaves=60,
    )

    def values(data: Any) -> int:
        if isinstance(data, dict):
            return 1 + sum(map(values, data.values()))
        return 1 + sum(map(values, data)) if isinstance(data, list) else 1

    @settings(deadline=None, max_examples=300)
    @given(plain | st.lists(plain, min_size=5, max_size=12), st.booleans())
    def judge(data: Any, ascii_: bool) -> None:
        refused = False
        try:
            require_few_values(json.dumps(data, ensure_ascii=ascii_).encode())
        except RequestRefused:
            refused = True
        count = values(data)
        if count * 2 <= most:
            assert not refused
        elif count > most + 1:
            assert refused
        seen[refused] += 1

    judge()
    assert min(seen[True], seen[False]) > 20


def test_a_body_of_many_values_over_http(served: Serving) -> None:
    """It is refused with the remedy; the same data as one string is decided."""
    key = served.key()
    rows = [0] * 30_000
    body = {
        "agent_id": "my-agent",
        "agent_name": "A",
        "action_type": "orders_read",
        "resource": "r",
        "tool_name": "t",
    }
    refused = served.ask("POST", SUBMIT, key, {**body, "parameters": {"rows": rows}})
    assert (refused.status_code, refused.json()["error_code"]) == (422, "TOO_MANY_VALUES")
    assert "Pass a reference" in refused.json()["detail"]
    assert (
        served.ask("POST", SUBMIT, key, {**body, "parameters": {"rows": json.dumps(rows)}}).status_code == 200
    )


@pytest.mark.parametrize("other", [None, Caller("acme", "c1"), Caller("acme", "c2"), Caller("globex", "c1")])
def test_an_organization_rests_while_others_are_answered(
    monkeypatch: pytest.MonkeyPatch, other: Caller | None
) -> None:
    """After a lane it rests four times as long, if another caller was answered on the event loop a moment ago."""
    rests: list[float] = []
    me = Caller("acme", "c1")

    async def work() -> None:
        lanes = Lanes(Notices())
        await lanes.run(me, lambda: time.sleep(0.05))
        if other is not None:
            lanes.answers(other)
        lanes.answers(me)
        monkeypatch.setattr(asyncio, "sleep", lambda rest: _note(rests, rest))
        await lanes.run(me, lambda: None)
        lanes.close()

    asyncio.run(work())
    assert len(rests) == (other is not None and other != me)
    assert all(0 < rest <= LONGEST_REST for rest in rests)


async def _note(rests: list[float], rest: float) -> None:
    rests.append(rest)


def test_threads_switch_quickly_while_a_lane_works() -> None:
    """And as before afterwards, also where a lane fails, a caller goes away, or another server's lane still works."""
    before = sys.getswitchinterval()
    free = [threading.Event(), threading.Event()]
    seen: list[float] = []

    def work(number: int) -> None:
        assert free[number].wait(20)
        seen.append(sys.getswitchinterval())
        raise ZeroDivisionError

    async def both() -> None:
        servers = [Lanes(Notices()), Lanes(Notices())]
        tasks = [
            asyncio.create_task(lanes.run(Caller("acme", "c"), lambda number=number: work(number)))  # type: ignore[misc]
            for number, lanes in enumerate(servers)
        ]
        for number, task in enumerate(tasks):
            free[number].set()
            with pytest.raises(ZeroDivisionError):
                await task
        gone = asyncio.create_task(servers[0].run(Caller("globex", "c"), lambda: time.sleep(0.05)))
        await asyncio.sleep(0.01)
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        for lanes in servers:
            lanes.close()

    asyncio.run(both())
    assert seen == [pytest.approx(SWITCH_INTERVAL)] * 2
    assert sys.getswitchinterval() == before
