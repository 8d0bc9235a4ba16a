"""What the port promises, kept by every store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from recorded import change, every_record, length, settle
from store_kinds import NOW, AnyStore, Database, approve, insert

from ascend_guard.engine.audit import verify
from ascend_guard.engine.kill import release
from ascend_guard.errors import ConflictError, NotFoundError, StoreError
from ascend_guard.store.paging import Page
from ascend_guard.store.port import Reader, Transaction, switch_on
from ascend_guard.store.projections import thing


def whole(store: AnyStore) -> bool:
    """Whether the trail and the actions in it are as they were written."""
    return store.snapshot(lambda reader: verify(reader, store.secret)).ok


def events(store: AnyStore) -> list[str]:
    """Of the whole trail."""
    return [row.event for row in store.read(lambda reader: every_record(reader))]


def note(event: str, **named: Any) -> Callable[[Transaction], None]:
    """A work that records something."""
    return lambda tx: tx.record(event, organization="local", actor="me", **named)


def test_a_work_sees_what_it_has_written(db: Database) -> None:
    """Inside its transaction, before anybody else does."""
    store = db.open()

    def work(tx: Transaction) -> None:
        number = insert(tx, status="pending", claimed_at=None, expires_at=NOW + 1, fingerprint="f")
        assert tx.last_action("local") == number
        assert tx.last_action("other") == 0
        found = tx.action("local", number)
        assert found is not None
        assert found.id == number
        assert tx.action("other", number) is None
        assert [r.id for r in tx.repeatable("local", "f")] == [number]
        change(tx, number, status="approved", runner="me", claimed_at=NOW)
        tx.add_runner("me", "local", number)
        assert [r.status for r in tx.running("me")] == ["approved"]
        assert settle(tx, "other", number, "failed", 1.0, None) is None
        assert settle(tx, "local", number, "failed", 1.0, "why") == "agent"
        assert settle(tx, "local", number, "failed", 1.0, "why") is None
        assert tx.running("me") == []
        approve(tx, number, "ann", "ok")
        assert [(one.approver, one.comment) for one in tx.approvals("local", number)] == [("ann", "ok")]
        note("put", put=[thing("agent", "a", {"a": 1})])(tx)
        assert tx.count_records("local", "agent") == 1
        tx.put_record("local", "cursor", "c", b"{}")
        assert tx.count_records("local", "cursor") == 1
        switch_on(tx, "local", "", "fire", "ann")
        assert tx.kill_switches("local")[""].reason == "fire"
        assert store.read(lambda reader: reader.last_action("local")) == 0

    store.write(work)
    assert store.read(lambda reader: reader.last_action("local")) == 1


def test_a_work_that_fails_leaves_nothing_behind(db: Database) -> None:
    """Neither rows nor records, kill switches or numbers; and what was to happen after it does not."""
    store, called = db.open(), list[int]()

    def work(tx: Transaction) -> None:
        insert(tx)
        insert(tx, organization="other")
        switch_on(tx, "local", "", "fire", "ann")
        note("put", put=[thing("agent", "a", {})])(tx)
        tx.put_record("local", "cursor", "a", b"{}")
        tx.add_runner("me", "local", 1)
        tx.after_commit(lambda: called.append(1))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(work)
    assert store.read(lambda reader: (reader.last_action("local"), length(reader))) == (0, 0)
    assert store.read(lambda reader: reader.kill_switches("local")) == {}
    assert store.read(lambda reader: reader.head("other").number) < 0
    assert store.read(
        lambda reader: [reader.count_records("local", kind) for kind in ("agent", "cursor")]
    ) == [0, 0]
    assert store.read(lambda reader: reader.runners()) == []
    assert store.write(insert) == 1
    assert called == []
    assert whole(store)


def test_callbacks_come_once_and_when_it_is_durable(db: Database) -> None:
    """However often the work ran."""
    store, other, seen = db.open(), db.open(), list[int]()

    def work(tx: Transaction) -> None:
        insert(tx)
        tx.after_commit(lambda: seen.append(other.snapshot(lambda reader: reader.last_action("local"))))

    store.write(work)
    assert seen == [1]


def test_one_that_fails_does_not_trouble_the_others_of_its_group(db: Database) -> None:
    """Refusals that touched nothing, refusals that did, and bugs; each gets its own error."""
    store, failed = db.open(), list[tuple[int, str]]()

    def refuse(tx: Transaction) -> None:
        raise NotFoundError("no")

    def touch(tx: Transaction) -> None:
        insert(tx)
        raise ConflictError("late")

    def break_(tx: Transaction) -> None:
        note("never")(tx)
        raise ZeroDivisionError

    works: list[Callable[[Transaction], Any]] = [note("a"), refuse, insert, touch, note("b"), break_, insert]
    for number, work in enumerate(works):
        store.post(
            work, "It ended", lambda error, number=number: failed.append((number, type(error).__name__))
        )
    store.flush()
    assert sorted(failed) == [(1, "NotFoundError"), (3, "ConflictError"), (5, "ZeroDivisionError")]
    assert events(store) == ["a", "submitted", "started", "b", "submitted", "started"]
    assert whole(store)


def test_what_is_posted_comes_before_what_is_written_or_read_later(db: Database) -> None:
    """In this process."""
    store = db.open()
    for index in range(20):
        store.post(note(f"posted {index}"), "It ended")
    store.write(note("written"))
    assert events(store) == [*(f"posted {index}" for index in range(20)), "written"]
    store.post(note("last"), "It ended")
    assert events(store)[-1] == "last"
    store.post(note("closing"), "It ended")
    store.close()
    assert events(db.open())[-1] == "closing"


async def test_coroutines_write_and_read(db: Database) -> None:
    """A thousand at once, each with its own answer."""
    store = db.open()
    numbers = await asyncio.gather(*(store.awrite(insert) for _ in range(1000)))
    assert sorted(numbers) == list(range(1, 1001))
    found = await asyncio.gather(
        *(store.aread(lambda reader, n=n: reader.action("local", n), current=True) for n in numbers[:50])
    )
    assert [r.id for r in found if r is not None] == numbers[:50]
    assert whole(store)


async def test_an_answer_nobody_takes_is_told_to_orphaned(db: Database) -> None:
    """The caller was cancelled, but its work is durable."""
    store, orphans = db.open(), list[int]()
    began, go_on = threading.Event(), threading.Event()

    def work(tx: Transaction) -> int:
        began.set()
        go_on.wait(10)
        return insert(tx)

    task = asyncio.create_task(store.awrite(work, orphans.append))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go_on.set()
    await asyncio.to_thread(store.flush)
    assert orphans == [1]
    assert store.read(lambda reader: reader.last_action("local")) == 1


def test_threads_and_stores_share_one_trail(db: Database) -> None:
    """Four stores, as four processes would have, with four threads each: nothing is lost, the chain is one."""
    stores = [db.open() for _ in range(4)]
    numbers: list[int] = []

    def work(store: AnyStore) -> None:
        for _ in range(10):
            number = store.write(insert)
            numbers.append(number)
            store.post(
                lambda tx, number=number: settle(tx, "local", number, "completed", 0.5, None),
                "It ended",
            )

    threads = [threading.Thread(target=work, args=(store,)) for store in stores for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.flush()
    assert sorted(numbers) == list(range(1, 161))
    assert stores[0].read(lambda reader: length(reader)) == 320
    assert whole(stores[0])
    assert {r.outcome for r in stores[0].read(lambda reader: reader.actions("local", limit=200))} == {
        "completed"
    }


def test_a_kill_switch_is_seen_at_the_next_look(db: Database) -> None:
    """By every store, whatever it remembers."""
    one, two = db.open(), db.open()
    for index in range(3):
        assert two.read(lambda reader: reader.kill_switches("local")) == {}
        one.write(lambda tx, index=index: switch_on(tx, "local", "a", f"fire {index}", "ann"))
        assert two.read(lambda reader: reader.kill_switches("local"))["a"].reason == f"fire {index}"
        assert two.write(lambda tx: tx.kill_switches("local"))["a"].reason == f"fire {index}"
        assert two.read(lambda reader: reader.kill_switches("other")) == {}
        one.write(lambda tx: release(tx, "local", "a", "out", "ann"))
        with pytest.raises(NotFoundError):
            one.write(lambda tx: release(tx, "local", "a", "out", "ann"))


def test_calls_of_two_organizations_may_have_one_number(db: Database) -> None:
    """A process that runs both is told apart: neither call hides the other, nor ends it."""
    store, left = db.open(), list[set[tuple[str, str]]]()

    def running(organization: str) -> list[str]:
        return [call.action_id for call in store.kill(organization, "", "fire", "ann").running]

    for name in ("a", "b"):

        def start(tx: Transaction, name: str = name) -> int:
            number = insert(tx, organization=name, runner=store.runner)
            tx.add_runner(store.runner, name, number)
            return number

        assert store.write(start) == 1
        assert store.begin(name, "agent", "1") is None
    assert (running("a"), running("b")) == (["1"], ["1"])
    store.write(lambda tx: settle(tx, "a", 1, "completed", 0.1, None))
    store.ended("a", "1")
    assert (running("a"), running("b")) == ([], ["1"])
    store.close(lambda tx, begun: left.append(begun))
    assert left == [{("b", "1")}]
    store.ended("b", "1")


def test_an_action_another_process_has_settled_cannot_be_settled_again(db: Database) -> None:
    """What a process believes of its own claims is never taken for granted; the rest of its group is not troubled."""
    one, two, answers = db.open(), db.open(), list[Any]()
    numbers = [one.write(insert) for _ in range(3)]

    def settling(number: int) -> Callable[[Transaction], str | None]:
        return lambda tx: settle(tx, "local", number, "completed", 1.0, None)

    assert two.write(settling(numbers[1])) == "agent"
    for number in numbers:
        one.post(lambda tx, number=number: answers.append((number, settling(number)(tx))), "It ended")
    one.flush()
    assert dict(answers) == {1: "agent", 2: None, 3: "agent"}
    assert one.write(settling(numbers[1])) is None
    assert whole(one)


def test_an_outcome_replaces_unknown_and_nothing_else(db: Database) -> None:
    """Another process may have believed this one dead."""
    one, two = db.open(), db.open()
    number = one.write(insert)
    two.write(lambda tx: change(tx, number, outcome="unknown"))
    assert one.write(lambda tx: settle(tx, "local", number, "completed", 1.0, None)) == "agent"
    assert one.write(lambda tx: settle(tx, "local", number, "failed", 1.0, None)) is None


def test_a_snapshot_is_one_moment(db: Database) -> None:
    """What is written while it is read is not in it, and it holds up nobody."""
    store = db.open()
    store.write(lambda tx: [insert(tx) for _ in range(1500)])

    def work(reader: Reader) -> tuple[int, int, int]:
        actions = reader.every_action("local")
        next(actions)
        store.write(insert)
        return 1 + sum(1 for _ in actions), sum(1 for _ in reader.log("local")), reader.last_action("local")

    assert store.snapshot(work) == (1500, 1500, 1500)
    assert store.read(lambda reader: reader.last_action("local")) == 1501


def test_changed_is_true_once_after_what_somebody_may_wait_for(db: Database) -> None:
    """From any process: decisions, kill switches, and what waits for a person."""
    one, two = db.open(), db.open()
    until(two.changed)
    pending: Callable[[Transaction], int] = lambda tx: insert(tx, status="pending", claimed_at=None)
    for work in (note("approved"), lambda tx: switch_on(tx, "local", "", "fire", "ann"), pending):
        one.write(work)
        until(two.changed)
        until(lambda: not two.changed())


def until(true: Callable[[], bool]) -> None:
    """Wait for it; the test's time-out ends what never comes."""
    while not true():
        threading.Event().wait(0.005)


def test_who_has_gone_is_not_alive(db: Database) -> None:
    """And who is there is."""
    one, two = db.open(), db.open()
    assert one.runner != two.runner
    assert one.alive(one.runner)
    assert one.alive(two.runner)
    assert not one.alive("nobody")
    two.close()
    until(lambda: not one.alive(two.runner))


def test_a_closed_store_says_so(db: Database) -> None:
    """Whatever is asked of it; and closing twice is no error."""
    store = db.open()
    store.close()
    store.close()
    asked: list[Callable[[], Any]] = [
        lambda: store.read(lambda reader: reader.heads()),
        lambda: store.write(insert),
        lambda: store.post(insert, "It ended"),
        store.changed,
    ]
    for ask in asked:
        with pytest.raises(StoreError, match="was closed"):
            ask()


def test_columns_that_do_not_exist_are_a_mistake(db: Database) -> None:
    """Names are never put into SQL unseen."""
    store = db.open()
    store.write(insert)
    with pytest.raises(AssertionError, match="no such columns"):
        store.write(lambda tx: change(tx, 1, **{"status=''; --": 1}))
    assert store.read(lambda reader: reader.head("local").seq) == 1


def test_what_was_recorded_is_not_changed_by_its_maker_later(db: Database) -> None:
    """A record is kept as it was when it was given, and so is what it changed."""
    store = db.open()

    def work(tx: Transaction) -> None:
        number, columns = insert(tx), {"reason": "then"}
        tx.record("changed", organization="local", actor="me", action_id=number, set=columns)
        columns["reason"] = "now"

    store.write(work)
    assert [r.reason for r in store.read(lambda reader: reader.actions("local"))] == ["then"]
    assert whole(store)


@pytest.mark.parametrize("after", [-1, -(2**40), -(2**63), 2**40, 2**63, 2**70])
def test_a_log_is_its_organizations_alone(db: Database, after: int) -> None:
    """Whatever number is asked for; each organization counts from one."""
    store, names = db.open(), ["a", "local", "b"]
    for name in names:
        for _ in range(3):
            store.write(lambda tx, name=name: insert(tx, organization=name))
    for name in names:
        (found, events, page) = store.read(
            lambda reader, name=name: (
                list(reader.log(name, after)),
                reader.events_since(name, after),
                reader.log_page(name, 10, page=Page(behind=after)),
            )
        )
        assert [row.seq for row in found] == [one.seq for one in events] == ([1, 2, 3] if after < 0 else [])
        assert all(msgspec.json.decode(row.body)["organization"] == name for row in found)
        assert [row.seq for row in page] == ([] if after < 0 else [3, 2, 1])
        assert store.read(lambda reader, name=name: reader.log_record(name, after)) is None
        assert [row.id for row in store.read(lambda reader, name=name: reader.every_action(name))] == [
            1,
            2,
            3,
        ]
        assert store.read(lambda reader, name=name: reader.actions(name, before=after)) == (
            [] if after < 0 else store.read(lambda reader, name=name: reader.actions(name))
        )
    assert whole(store)


def test_words_for_some_of_the_approved(db: Database) -> None:
    """A list by a word of the API has what the policy approved, what completed, or what waits; and the count agrees."""
    store = db.open()

    def work(tx: Transaction) -> dict[str, list[int]]:
        auto = insert(tx, status="approved", claimed_at=NOW)
        agreed, ran, failed = (insert(tx, status="approved", claimed_at=NOW) for _ in range(3))
        for number in (agreed, ran):
            change(tx, number, decided_by="ann")
        settle(tx, "local", ran, "completed", 1.0, None)
        settle(tx, "local", failed, "failed", 1.0, "why")
        waits = insert(tx, status="pending", claimed_at=None)
        insert(tx, status="denied", claimed_at=None)
        return {
            "auto_approved": [failed, auto],
            "executed": [ran],
            "pending_approval": [waits],
            "approved": [failed, ran, agreed, auto],
        }

    expected = store.write(work)
    for word, numbers in expected.items():
        found = store.read(lambda reader, word=word: reader.actions("local", status=word))
        assert [one.id for one in found] == numbers
        assert store.read(lambda reader, word=word: reader.count_actions("local", status=word)) == len(
            numbers
        )
    assert store.read(lambda reader: reader.actions("local", status="done")) == []
