"""Connections to PostgreSQL that are lost: what is certain goes on, and what is not certain is never done twice."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from cutting_proxy import cutting_proxy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from postgres_server import PostgresServer, database
from recorded import every_action
from store_kinds import SECRET, insert

from ascend_guard.engine.audit import verify
from ascend_guard.errors import StoreError
from ascend_guard.store.port import Transaction, switch_on
from ascend_guard.store.postgres import queries as postgres_queries
from ascend_guard.store.postgres.store import PostgresStore

UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)


def whole(store: PostgresStore) -> bool:
    """Whether the chain is as it was written."""
    return store.snapshot(lambda reader: verify(reader, store.secret)).ok


@pytest.mark.timeout(900)  # each example waits until the store has found its way back
@settings(phases=UNSHRUNK, suppress_health_check=list(HealthCheck))
@given(
    direction=st.sampled_from(["up", "down"]),
    after=st.one_of(st.integers(0, 400), st.integers(0, 4000)),
    marker=st.sampled_from([b"BEGIN", b"INSERT INTO actions", b"runners"]),
    recorded=st.booleans(),
)
def test_a_commit_is_done_once_wherever_the_connection_is_cut(
    server: PostgresServer, direction: str, after: int, marker: bytes, recorded: bool
) -> None:
    """At any byte of what is sent or answered: the work is done, once, and its caller hears of it."""
    with database() as url, cutting_proxy(server.port) as proxy:
        store = PostgresStore(url.replace(str(server.port), str(proxy.port)), secret=SECRET)

        def work(tx: Transaction) -> None:
            tx.add_runner(f"runner {tx.last_action('local')}", "local", 1)
            if recorded:
                insert(tx)
            else:
                tx.put_record("local", "cursor", f"{tx.count_records('local', 'cursor')}", b"{}")

        store.write(work)
        proxy.arm(direction, after, marker)
        store.write(work)
        proxy.disarm()
        store.write(work)
        if recorded:
            assert store.read(lambda reader: [row.id for row in every_action(reader)]) == [1, 2, 3]
        else:
            assert store.read(lambda reader: reader.count_records("local", "cursor")) == 3
        assert whole(store)
        store.close()


def test_what_cannot_be_found_out_is_not_repeated(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the commit is lost and the server stays out of reach: an error says so, and the work ran once."""
    monkeypatch.setattr(postgres_queries, "PATIENCE", 0.1)
    with database() as url, cutting_proxy(server.port) as proxy:
        store = PostgresStore(url.replace(str(server.port), str(proxy.port)), secret=SECRET)
        store.write(insert)
        ran: list[int] = []

        def work(tx: Transaction) -> int:
            ran.append(1)
            proxy.refusing = True
            proxy.arm("down", 0, b"COMMIT")
            return insert(tx)

        with pytest.raises(StoreError, match="is unknown"):
            store.write(work)
        assert ran == [1]
        proxy.refusing = False
        until_answered(store)
        assert store.read(lambda reader: reader.last_action("local")) == 2
        assert whole(store)
        store.close()


def test_reads_connect_again(server: PostgresServer) -> None:
    """Once, without anybody noticing; and when the server is away they say so."""
    with database() as url, cutting_proxy(server.port) as proxy:
        store = PostgresStore(url.replace(str(server.port), str(proxy.port)), secret=SECRET)
        store.write(insert)
        assert store.read(lambda reader: reader.last_action("local")) == 1
        proxy.cut_all()
        assert store.read(lambda reader: reader.last_action("local")) == 1
        assert store.write(insert) == 2
        proxy.refusing = True
        proxy.cut_all()
        with pytest.raises(StoreError, match=r"Calls continue automatically|cannot be reached"):
            store.read(lambda reader: reader.last_action("local"))
        with pytest.raises(StoreError, match=r"Calls continue automatically|cannot be reached"):
            store.write(insert)
        until(lambda: raised(store.changed))
        assert raised(lambda: store.alive("somebody"))
        proxy.refusing = False
        until(lambda: not raised(store.changed))
        assert store.write(insert) == 3
        assert whole(store)
        store.close()


def test_after_silence_there_may_be_news(server: PostgresServer) -> None:
    """What was announced while nobody listened is not missed."""
    with database() as url, cutting_proxy(server.port) as proxy:
        far = PostgresStore(url.replace(str(server.port), str(proxy.port)), secret=SECRET)
        near = PostgresStore(url, secret=SECRET)
        until(far.changed)
        until(lambda: not far.changed())
        proxy.refusing = True
        proxy.cut_all()
        until(lambda: raised(far.changed))
        near.write(lambda tx: switch_on(tx, "local", "", "fire", "ann"))
        proxy.refusing = False
        until(lambda: not raised(far.changed, news=True))
        far.close()
        near.close()


def test_a_replica_that_stands_still_holds_nobody_up_for_ever(url: str) -> None:
    """The server ends its transaction; the next one writes, and the one that stood still runs its work again."""
    still, other = PostgresStore(url, secret=SECRET), PostgresStore(url, secret=SECRET)
    holding, ran = threading.Event(), list[int]()

    def stand(tx: Transaction) -> int:
        ran.append(1)
        if len(ran) == 1:
            holding.set()
            written.wait(60)
        return insert(tx)

    written = threading.Event()
    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(still.write(stand)))
    thread.start()
    assert holding.wait(10)
    assert other.write(insert) == 1
    written.set()
    thread.join()
    assert numbers == [2]
    assert ran == [1, 1]
    assert whole(other)
    still.close()
    other.close()


def test_a_restart_under_load_loses_nothing_that_was_answered(own_server: PostgresServer) -> None:
    """Writers fail meanwhile and go on by themselves; each answer they got is there afterwards."""
    with own_server.database() as url:
        store = PostgresStore(url, secret=SECRET)
        answered: list[int] = []
        failures: list[StoreError] = []
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                try:
                    answered.append(store.write(insert))
                except StoreError as error:
                    failures.append(error)

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            before = len(answered)
            until(lambda before=before: len(answered) > before + 50)
            own_server.restart()
        before = len(answered)
        until(lambda: len(answered) > before + 50)
        stop.set()
        for thread in threads:
            thread.join()
        assert len(answered) == len(set(answered))
        there = {row.id for row in store.read(lambda reader: every_action(reader))}
        assert set(answered) <= there
        assert whole(store)
        until(lambda: not raised(store.changed))
        watching = PostgresStore(url, secret=SECRET)
        until(lambda: watching.alive(store.runner))
        watching.close()
        store.close()


def raised(ask: Any, *, news: bool = False) -> bool:
    """Whether it cannot be known, or with ``news`` whether there are none."""
    try:
        return not ask() and news
    except StoreError:
        return True


def until(true: Any) -> None:
    """Wait for it; the test's time-out ends what never comes."""
    while not true():
        threading.Event().wait(0.01)


def until_answered(store: PostgresStore) -> None:
    """The server can be reached again."""
    until(lambda: not raised(lambda: store.read(lambda reader: reader.heads())))
