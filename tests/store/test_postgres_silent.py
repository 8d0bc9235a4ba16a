"""A PostgreSQL that hangs, as opposed to one that stops: within ten seconds all say so, and nothing is done twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests
from postgres_server import PostgresServer, private_server
from serving import Serving, serving
from silent_postgres import stalling_proxy, stopped
from store_kinds import SECRET, insert
from world import eventually

from ascend_guard.errors import StoreError
from ascend_guard.store.postgres.store import PostgresStore

WITHIN = 10.0
"""Seconds after which everything must have answered."""

Hang = Callable[[], Any]


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with private_server() as server:
        yield server


@pytest.fixture(params=["processes", "network"])
def hanging(own: PostgresServer, request: pytest.FixtureRequest) -> Iterator[tuple[str, Hang]]:
    """A database's address, and what makes it hang for a while."""
    with ExitStack() as stack:
        url = stack.enter_context(own.database())
        if request.param == "processes":
            yield url, lambda: stopped(own)
            return
        proxy = stack.enter_context(stalling_proxy(own.port))

        @contextmanager
        def stalled() -> Iterator[None]:
            proxy.flowing.clear()
            try:
                yield
            finally:
                proxy.flowing.set()

        yield url.replace(str(own.port), str(proxy.port)), stalled


class Asked:
    """Requests in threads of their own, with how each was answered."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, int]] = []
        self._threads: list[threading.Thread] = []

    def ask(self, name: str, ask: Callable[[], requests.Response]) -> None:
        """Send one."""

        def work() -> None:
            self.answers.append((name, ask().status_code))

        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def join(self) -> None:
        """Wait for all of them."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request was never answered"


def submit(served: Serving, key: str, name: str) -> requests.Response:
    """Ask for an action, as the request called ``name``."""
    body = {"agent_id": "my-agent", "agent_name": "my-agent", "action_type": "read", "resource": name}
    return served.ask(
        "POST", "/api/v1/actions/submit", key, {**body, "tool_name": "t"}, **{"Idempotency-Key": name}
    )


@pytest.mark.timeout(180)
def test_a_database_that_hangs_is_noticed(hanging: tuple[str, Hang]) -> None:
    """Requests and /ready are answered 503, streams end, and all is well again once it answers."""
    url, hang = hanging
    asked = Asked()
    with serving(PostgresStore(url, secret=SECRET)) as served:
        key = served.key()
        assert submit(served, key, "before").status_code == 200

        def stream() -> requests.Response:
            listening = requests.get(
                served.url + "/api/v1/stream", headers={"X-API-Key": key}, stream=True, timeout=60
            )
            lines = listening.iter_lines()
            assert next(lines) == b"event: ready"
            began.set()
            for _ in lines:
                pass
            return listening

        began = threading.Event()
        asked.ask("stream", stream)
        assert began.wait(20)
        with hang():
            for turn in range(6):  # before it is noticed, while it is, and after
                asked.ask("submit", lambda turn=turn: submit(served, key, f"turn {turn}"))  # type: ignore[misc]
                asked.ask("ready", lambda: requests.get(served.url + "/ready", timeout=60))
                asked.ask("kill", lambda: served.ask("GET", "/api/sdk/kill-switch/status", key))
                asked.ask("audit", lambda: served.ask("GET", "/api/audit/logs", served.token()))
                time.sleep(1.3)
            asked.join()  # while the database still hangs
            assert requests.get(served.url + "/health", timeout=10).status_code == 200
        assert Counter(asked.answers) == {
            ("stream", 200): 1,
            ("submit", 503): 6,
            ("ready", 503): 6,
            ("kill", 503): 6,
            ("audit", 503): 6,
        }
        eventually(lambda: requests.get(served.url + "/ready", timeout=60).status_code == 200)
        # What was answered 503 is sent again under its key: it becomes one action, whatever became of the first.
        for turn in range(6):
            again = [submit(served, key, f"turn {turn}").json()["action_id"] for _ in range(2)]
            assert len(set(again)) == 1
        names = Counter(
            row.resource for row in served.store.read(lambda reader: reader.actions("local", limit=100))
        )
        assert names == {"before": 1, **{f"turn {turn}": 1 for turn in range(6)}}


@pytest.mark.timeout(180)
def test_what_is_being_committed_when_the_database_hangs(hanging: tuple[str, Hang]) -> None:
    """Its caller hears within ten seconds that nobody knows, and the work runs once."""
    url, hang = hanging
    store = PostgresStore(url, secret=SECRET)
    ran: list[int] = []
    with ExitStack() as stack:

        def work(tx: Any) -> int:
            ran.append(1)
            number = insert(tx)
            tx.count_records("local", "agent")  # the action is on its way to the server
            stack.enter_context(hang())
            return number

        with pytest.raises(StoreError, match=r"not known|connection was lost"):
            store.write(work)  # ends while the database still hangs
        with pytest.raises(StoreError):
            eventually(store.changed, WITHIN)
    assert ran == [1]
    eventually(lambda: answers(store))
    assert store.read(lambda reader: reader.last_action("local")) in (0, 1)
    store.close()


def answers(store: PostgresStore) -> bool:
    """Whether it can be written."""
    try:
        store.write(lambda tx: None)
    except StoreError:
        return False
    return True
