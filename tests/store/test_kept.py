"""What was posted is recorded in the end, whatever holds the database up meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import settle
from store_kinds import NOW, insert

from ascend_guard.errors import ConflictError, StoreError
from ascend_guard.store import writer
from ascend_guard.store.failures import LastingStoreError
from ascend_guard.store.port import Transaction
from ascend_guard.store.sqlite.store import SQLiteStore
from ascend_guard.store.writer import GroupCommit, Ticket


@contextmanager
def foreign_writer(path: Path) -> Iterator[None]:
    """Another program is in the middle of a transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def outcome(path: Path) -> str | None:
    """Of the only action, as the log of the file has it: its row may be written later."""
    connection = sqlite3.connect(path)
    try:
        found = connection.execute("SELECT event FROM log WHERE event<>'submitted'").fetchone()
        return None if found is None else found[0]
    finally:
        connection.close()


def test_an_outcome_outlives_a_foreign_writer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again until it is recorded, and the log says both; a decision fails after the usual time."""
    store = SQLiteStore(tmp_path / "a.db", durability="process", clock=lambda: NOW)
    store._connection.execute("PRAGMA busy_timeout=50")
    number = store.write(insert)
    with foreign_writer(store.path):
        store.post(lambda tx: settle(tx, "local", number, "completed", 0.1, None), "Action 1 ended")
        with pytest.raises(StoreError, match="locked"):
            store.write(insert)
        assert outcome(store.path) is None
        assert [(r.levelname, "yet" in r.message) for r in caplog.records] == [("ERROR", True)]
    store.close()
    assert outcome(store.path) == "completed"
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_an_outcome_is_recorded_by_the_thread_alone(tmp_path: Path) -> None:
    """Nothing else has to be called."""
    store = SQLiteStore(tmp_path / "a.db", durability="process", clock=lambda: NOW)
    store._connection.execute("PRAGMA busy_timeout=50")
    number = store.write(insert)
    recorded = threading.Event()

    def work(tx: Transaction) -> None:
        settle(tx, "local", number, "completed", 0.1, None)
        tx.after_commit(recorded.set)

    with foreign_writer(store.path):
        store.post(work, "Action 1 ended")
        store.flush()
        assert not recorded.is_set()
    assert recorded.wait(60)
    store.close()


def test_closing_says_what_it_could_not_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries for a limited time."""
    monkeypatch.setattr(writer, "PARTING", 0.3)
    store = SQLiteStore(tmp_path / "a.db", durability="process", clock=lambda: NOW)
    store._connection.execute("PRAGMA busy_timeout=10")
    number = store.write(insert)
    failed: list[BaseException] = []
    with foreign_writer(store.path):
        store.post(lambda tx: settle(tx, "local", number, "completed", 0.1, None), "Action 1", failed.append)
        store.close()
    assert [type(error) for error in failed] == [StoreError]
    assert "Action 1" in caplog.records[-1].message


def test_a_coroutine_that_comes_while_it_closes() -> None:
    """It finds no background thread, and gets an answer all the same: its work is committed, or closed to it."""
    closed = threading.Event()

    def commit(group: Sequence[Ticket[str]]) -> None:
        for ticket in group:
            if closed.is_set():
                ticket.error = StoreError("it is closed")
            else:
                ticket.result = ticket.work(None)  # type: ignore[arg-type]  # this work needs no transaction

    group_commit = GroupCommit(commit)

    async def come() -> str:
        return await asyncio.wait_for(group_commit.arun(lambda tx: "done"), 30)

    async def closing() -> str:
        """Come when closing has begun and has not emptied the queue yet."""
        group_commit.hold()
        thread = threading.Thread(target=group_commit.close, args=(closed.set,))
        thread.start()
        while not group_commit._closing:
            await asyncio.sleep(0.001)
        try:
            return await come()
        finally:
            group_commit.let_go()
            await asyncio.to_thread(thread.join)

    assert asyncio.run(come()) == "done"  # by the background thread
    assert asyncio.run(closing()) == "done"
    with pytest.raises(StoreError, match="it is closed"):
        asyncio.run(come())


ENDS = st.sampled_from(["works", "busy", "refused", "broken"])


@given(st.lists(st.tuples(st.booleans(), st.lists(ENDS, max_size=3)), min_size=1, max_size=12))
def test_posted_work_is_done_once_and_first(works: list[tuple[bool, list[str]]]) -> None:
    """Whatever the database does to each attempt: what it takes in the end is done once, and in the order of posting."""
    left = {number: list(ends) for number, (_, ends) in enumerate(works)}
    done: list[int] = []
    refused: list[int] = []

    def commit(group: list[Ticket[int]]) -> None:
        for ticket in group:
            number = ticket.work(None)  # type: ignore[arg-type]  # this work needs no transaction
            end = left[number].pop(0) if left[number] else "works"
            if end == "works":
                done.append(number)
                ticket.result = number
            else:
                kinds = {"busy": StoreError, "refused": ConflictError, "broken": LastingStoreError}
                ticket.error = kinds[end]("no")

    group_commit = GroupCommit(commit)  # type: ignore[arg-type]  # any sequence
    posted = []
    for number, (waits, ends) in enumerate(works):
        if waits:
            try:
                group_commit.run(lambda tx, number=number: number)
            except StoreError:
                assert ends[0] in ("busy", "broken")
            except ConflictError:
                assert ends[0] == "refused"
        else:
            posted.append(number)
            group_commit.post(
                lambda tx, number=number: number, "", lambda error, number=number: refused.append(number)
            )
    group_commit.close(lambda: None)
    lasting = [n for n in posted if next((e for e in works[n][1] if e != "busy"), "works") != "works"]
    assert sorted(n for n in done if n in posted) == [n for n in posted if n not in lasting]
    assert set(refused) <= set(lasting)
    at_once = [n for n in done if n in posted and works[n][1][:1] != ["busy"]]
    assert at_once == sorted(at_once)
