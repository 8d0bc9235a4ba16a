"""Every event reaches its webhooks at least once, whoever crashes when; and nobody stands in another's way."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webhook_world import World, hang_up, world_at

from ascend_guard import ActionPendingError, AuthorizationDeniedError, governed
from ascend_guard.api.webhooks import WebhookChange
from ascend_guard.engine import webhooks
from ascend_guard.engine.webhooks import EVENTS, Attempt, verify_signature
from ascend_guard.errors import StoreError
from ascend_guard.server.webhooks import delivery
from ascend_guard.server.webhooks.delivery import DeliveryWorker


def lives(world: World, organization: str = "local", agent_id: str = "billing") -> None:
    """A day of an agent: a read, a failure, a denial, and a refund that somebody approves, denies, forgets."""
    plane = world.plane(organization, agent_id)

    @governed("file_read", control_plane=plane)
    def read(path: str) -> None:
        if path == "broken":
            raise ValueError(path)

    @governed("table_delete", control_plane=plane)
    def delete(table: str) -> None: ...

    @governed("refund", on_pending="raise", control_plane=plane)
    def refund(amount: float, note: str) -> None: ...

    read("argument-value")
    with pytest.raises(ValueError):
        read("broken")
    with pytest.raises(AuthorizationDeniedError):
        delete("argument-value")
    for number in range(3):
        with pytest.raises(ActionPendingError) as pending:
            refund(900.0 + number, "argument-value")
        assert pending.value.action_id is not None
        if number == 0:
            plane.approve(pending.value.action_id, approver="ann")
            refund(900.0, "argument-value")
        elif number == 1:
            plane.deny(pending.value.action_id, approver="ann", comment="no")
    world.now += 3600
    plane.housekeep()
    plane.kill(reason="stop", by="ann", agent_id=agent_id)
    with pytest.raises(AuthorizationDeniedError):
        read("argument-value")
    plane.release(reason="go", by="ann", agent_id=agent_id)
    world.store.flush()


A_DAY = Counter(
    {
        "action.submitted": 6,
        "action.approved": 3,
        "action.denied": 3,
        "action.pending": 3,
        "action.expired": 1,
        "action.completed": 2,
        "action.failed": 1,
        "action.blocked": 1,
        "policy.violation": 1,
        "kill_switch.on": 1,
        "kill_switch.off": 1,
    }
)


async def test_a_day_of_an_agent(world: World) -> None:
    """Each thing that happens is told under its names, signed, with ids and the decision but no argument."""
    receiver = world.receiver()
    made = await world.hook(receiver.url)
    lives(world)
    await world.work()
    assert Counter(receiver.events) == A_DAY
    for headers, raw in receiver.received:
        body = json.loads(raw)
        assert verify_signature(made.secret or "", raw, headers["x-ascend-signature"], now=world.now)
        assert verify_signature(made.secret or "", raw, None)
        assert headers["x-ascend-event"] == body["event"]
        assert headers["x-ascend-delivery"] == body["id"]
        assert headers["content-type"] == "application/json"
        assert set(body) == {"event", "timestamp", "data", "signature", "id"}
        assert body["data"]["agent_id"] == "billing"
        assert b"argument-value" not in raw
        assert (made.secret or "").encode() not in raw
    denied = next(body["data"] for body in receiver.bodies if body["event"] == "policy.violation")
    assert denied["rule"] == "no-deletes"
    assert denied["reason"] == "Deletes are off."
    assert denied["decision"] == "denied"
    assert {"action_id", "action_type", "tool_name", "risk_score", "risk_level"} < set(denied)
    assert {delivery.status for delivery in await world.deliveries(made.webhook_id)} == {"delivered"}


@given(st.sets(st.sampled_from(EVENTS), min_size=1))
@settings(max_examples=10)
def test_a_webhook_is_told_what_it_asked_for(names: set[str]) -> None:
    """Those events and no others."""

    async def play(world: World) -> None:
        receiver = world.receiver()
        await world.hook(receiver.url, *names)
        lives(world)
        await world.work()
        assert Counter(receiver.events) == Counter({name: A_DAY[name] for name in names if A_DAY[name]})

    in_a_world(play)


def in_a_world(play: Callable[[World], Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, world_at(Path(folder) / "ascend.db") as world:
        asyncio.run(play(world))


async def test_organizations_and_agents_are_kept_apart(world: World) -> None:
    """Another organization's events never arrive, another agent's not where one agent was named."""
    ours, theirs, one = world.receiver(), world.receiver(), world.receiver()
    await world.hook(ours.url)
    await world.hook(theirs.url, organization="rival")
    await world.hook(one.url, agent_id="billing")
    lives(world, agent_id="billing")
    lives(world, agent_id="shipping")
    lives(world, "rival", "spy")
    world.plane().kill(reason="all", by="ann")
    await world.work()
    assert {body["data"]["agent_id"] for body in theirs.bodies} == {"spy"}
    assert {body["data"]["agent_id"] for body in ours.bodies} == {"billing", "shipping", None}
    assert {body["data"]["agent_id"] for body in one.bodies} == {"billing", None}
    assert one.events.count("kill_switch.on") == 2


class Crashing:
    """A store in whose writes the process dies: before the change, or when it is durable."""

    def __init__(self, world: World, at: int, after: bool) -> None:
        self._store = world.store
        self._left = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def awrite(self, work: Callable[[Any], Any]) -> Any:
        self._left -= 1
        if self._left < 0 or (not self._left and not self._after):
            raise StoreError("dead")
        done = await self._store.awrite(work)
        if not self._left:
            raise StoreError("dead")
        return done


@given(
    st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4),
    st.lists(st.sampled_from([200, 500, 0]), max_size=12),
)
@settings(max_examples=25)
def test_crashes_lose_nothing(crashes: list[tuple[int, bool]], script: list[int]) -> None:
    """Workers that die before or after any write, and receivers that fail: each event arrives, as one delivery."""

    async def play(world: World) -> None:
        receiver = world.receiver()
        receiver.script = [(status, {}, b"") if status else hang_up for status in script]
        made = await world.hook(receiver.url, "kill_switch.on", "kill_switch.off")
        plane = world.plane()
        for number in range(4):
            plane.kill(reason=f"stop {number}", by="ann", agent_id=f"a{number}")
            plane.release(reason="go", by="ann", agent_id=f"a{number}")
        for at, after in crashes:
            world.services.store = Crashing(world, at, after)
            dying = DeliveryWorker(world.services)
            world.services.store = world.store
            for _ in range(30):
                try:
                    await dying.step()
                except StoreError:
                    break
                finally:
                    await dying.settled()
            world.now += 2 * delivery.LEASE
        for _ in range(12):
            await world.work()
            world.now += 100_000
        ids = [body["id"] for body in receiver.bodies]
        assert len(set(ids)) == 8
        kept = await world.deliveries(made.webhook_id)
        assert sorted(one.delivery_id for one in kept) == sorted(set(ids))
        # A script this short cannot exhaust the tries of any delivery, except together with crashes.
        assert all(one.status == "delivered" or one.attempts >= delivery.TRIES for one in kept)
        same = {(body["id"], body["signature"]) for body in receiver.bodies}
        assert len(same) == 8

    in_a_world(play)


async def test_the_waits_grow_for_about_a_day_then_it_fails(world: World) -> None:
    """Eight tries, each wait five times the last within the jitter, and the last error is shown."""
    receiver = world.receiver()
    receiver.otherwise = (503, {}, b"busy")
    made = await world.hook(receiver.url, "kill_switch.on")
    world.plane().kill(reason="stop", by="ann")
    begun = world.now
    for tries in range(1, delivery.TRIES):
        await world.work()
        assert len(receiver.received) == tries
        (one,) = await world.deliveries(made.webhook_id)
        assert (one.status, one.attempts, one.status_code) == ("pending", tries, 503)
        due = due_of(world, made.webhook_id)
        wait = delivery.FIRST_WAIT * delivery.WAIT_FACTOR ** (tries - 1)
        assert 0.8 * wait <= due - world.now <= 1.2 * wait
        world.now = due - 0.01
        await world.work()
        assert len(receiver.received) == tries
        world.now = due + 1e-6  # a transaction's time is in whole microseconds, and so may be just before
    await world.work()
    (one,) = await world.deliveries(made.webhook_id)
    assert (one.status, one.attempts, one.next_attempt_at) == ("failed", 8, None)
    assert "503" in one.error
    assert 20 * 3600 < world.now - begun < 34 * 3600
    assert len({headers["x-ascend-delivery"] for headers, _ in receiver.received}) == 1
    assert len({headers["x-ascend-signature"] for headers, _ in receiver.received}) == 8
    world.now += 10**6
    await world.work()
    assert len(receiver.received) == 8


def due_of(world: World, webhook_id: str) -> float:
    kind = webhooks.waiting(webhook_id)
    due = world.store.read(lambda reader: reader.due_records(kind, 2.0**53))[0].due_at
    assert due is not None
    return due


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("90", 90, 90),
        ("1", 4, 6),
        ("999999", 3600, 3600),
        ("soon", 4, 6),
        ("-5", 4, 6),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 3600, 3600),
    ],
)
async def test_retry_after_is_honoured_up_to_an_hour(
    world: World, said: str, least: float, most: float
) -> None:
    """Never sooner than the receiver asked, never later than the bound, never an error."""
    receiver = world.receiver()
    receiver.script = [(429, {"Retry-After": said}, b"")]
    made = await world.hook(receiver.url, "kill_switch.on")
    world.plane().kill(reason="stop", by="ann")
    await world.work()
    assert least <= due_of(world, made.webhook_id) - world.now <= most


async def test_gone_means_gone(world: World) -> None:
    """410 deactivates the webhook, on record, and what still waits for it fails without being sent."""
    receiver = world.receiver()
    receiver.otherwise = (410, {}, b"")
    made = await world.hook(receiver.url, "kill_switch.on")
    for number in range(6):
        world.plane().kill(reason="stop", by="ann", agent_id=f"a{number}")
    await world.work()
    assert len(receiver.received) <= webhooks.IN_FLIGHT
    assert {one.status for one in await world.deliveries(made.webhook_id)} == {"failed"}
    assert [record["event"] for record in world.trail()] == ["webhook.created", "webhook.deactivated"]
    assert not (await world.call("list_webhooks")).webhooks[0].active
    receiver.otherwise = (200, {}, b"")
    await world.call("update_webhook", WebhookChange(active=True), webhook_id=made.webhook_id)
    await world.work()
    seen = len(receiver.received)
    world.plane().kill(reason="stop", by="ann", agent_id="late")
    await world.work()
    assert len(receiver.received) == seen + 1


async def test_nothing_of_the_past_and_of_idle_times_is_told(world: World) -> None:
    """What happened before a webhook was there, or while it was not active, is none of its business."""
    receiver = world.receiver()
    plane = world.plane()
    plane.kill(reason="before", by="ann", agent_id="a")
    first = await world.hook(receiver.url, "kill_switch.on")
    plane.kill(reason="first", by="ann", agent_id="b")
    await world.hook(receiver.url, "kill_switch.on")  # while the cursor lags behind
    await world.work()
    assert [body["data"]["reason"] for body in receiver.bodies] == ["first"]
    await world.call("update_webhook", WebhookChange(active=False), webhook_id=first.webhook_id)
    plane.kill(reason="idle", by="ann", agent_id="c")
    await world.call("update_webhook", WebhookChange(active=True), webhook_id=first.webhook_id)
    await world.work()
    assert [body["data"]["reason"] for body in receiver.bodies] == ["first", "idle"]  # by the second webhook


async def test_two_workers_share_the_work(world: World) -> None:
    """Two replicas on one store: each delivery is sent once, and no webhook has more than two under way."""
    receiver = world.receiver()
    receiver.hold = threading.Event()
    made = await world.hook(receiver.url, "kill_switch.on")
    for number in range(10):
        world.plane().kill(reason="stop", by="ann", agent_id=f"a{number}")
    workers = [world.worker(), world.worker()]
    for _ in range(4):
        await asyncio.gather(*(worker.step() for worker in workers))
    await asyncio.to_thread(receiver.wait_for, webhooks.IN_FLIGHT)
    assert len(receiver.received) == webhooks.IN_FLIGHT
    receiver.hold.set()
    for _ in range(20):
        await asyncio.gather(*(worker.step() for worker in workers))
        await asyncio.gather(*(worker.settled() for worker in workers))
    assert len(receiver.received) == len({body["id"] for body in receiver.bodies}) == 10
    assert receiver.most <= webhooks.IN_FLIGHT
    assert {one.attempts for one in await world.deliveries(made.webhook_id)} == {1}


async def test_a_dead_receiver_holds_up_nobody(world: World) -> None:
    """While every webhook of one organization hangs, another's events arrive."""
    dead, alive = world.receiver(), world.receiver()
    dead.hold = threading.Event()
    for _ in range(20):
        await world.hook(dead.url, "kill_switch.on", organization="slow")
    await world.hook(alive.url, "kill_switch.on", organization="quick")
    for number in range(5):
        world.plane("slow").kill(reason="stop", by="ann", agent_id=f"a{number}")
    worker = world.worker()
    for _ in range(4):
        await worker.step()
    world.plane("quick").kill(reason="stop", by="ann")
    for _ in range(4):
        await worker.step()
    await asyncio.to_thread(alive.wait_for, 1)
    assert len(dead.received) <= delivery.THREADS // 2
    dead.hold.set()
    await worker.settled()
    await world.work(worker)
    assert len(dead.received) == 100


async def test_finished_deliveries_are_pruned_and_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the newest are kept; pages neither skip nor repeat one."""
    monkeypatch.setattr(webhooks, "KEEP", 7)
    receiver = world.receiver()
    made = await world.hook(receiver.url, "kill_switch.on")
    for number in range(20):
        world.plane().kill(reason=str(number), by="ann", agent_id=f"a{number}")
        await world.work()
    receiver.otherwise = (500, {}, b"")
    for number in range(3):
        world.plane().kill(reason=str(number), by="ann", agent_id=f"b{number}")
        await world.work()
    assert len(receiver.received) == 23
    everything = await world.deliveries(made.webhook_id)
    assert [one.status for one in everything] == ["pending"] * 3 + ["delivered"] * 7
    newest = [body["id"] for body in reversed(receiver.bodies)][:10]
    assert [one.delivery_id for one in everything] == newest
    for limit in (1, 2, 3, 4, 9):
        pages = [await world.deliveries(made.webhook_id, limit=limit, offset=o) for o in range(0, 12, limit)]
        assert [one.delivery_id for page in pages for one in page] == newest


async def test_a_backlog_deactivates_on_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that is dead for too long costs a bounded amount of storage, and the trail says what happened."""
    monkeypatch.setattr(webhooks, "BACKLOG", 5)
    receiver = world.receiver()
    receiver.otherwise = (500, {}, b"")
    made = await world.hook(receiver.url, "kill_switch.on")
    for number in range(9):
        world.plane().kill(reason="stop", by="ann", agent_id=f"a{number}")
    await world.work()
    assert [record["event"] for record in world.trail()] == ["webhook.created", "webhook.deactivated"]
    world.now += 100
    await world.work()
    assert {one.status for one in await world.deliveries(made.webhook_id)} == {"failed"}


async def test_deleting_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deliveries go with it in bounded steps, and the cursor with the last webhook."""
    monkeypatch.setattr(webhooks, "STEP", 3)
    receiver = world.receiver()
    receiver.otherwise = (500, {}, b"")
    made = await world.hook(receiver.url, "kill_switch.on")
    for number in range(10):
        world.plane().kill(reason="stop", by="ann", agent_id=f"a{number}")
    await world.work()
    await world.call("delete_webhook", webhook_id=made.webhook_id)
    await world.work()
    for kind in (
        webhooks.waiting(made.webhook_id),
        webhooks.finished(made.webhook_id),
        "webhook",
        webhooks.REMOVED,
    ):
        assert world.store.read(lambda reader, kind=kind: reader.count_records("local", kind)) == 0
    assert world.store.read(lambda reader: webhooks.cursor(reader, "local")) is None


async def test_without_webhooks_the_trail_is_not_read(world: World) -> None:
    """Not when idle, and not from its beginning when the first webhook comes."""
    worker = world.worker()
    lives(world)
    before = world.store.read(lambda reader: reader.head("local").seq)
    assert await worker.step() == delivery.POLL
    assert world.store.read(delivery.gather) is None
    await world.hook(world.receiver().url)
    cursor = world.store.read(lambda reader: webhooks.cursor(reader, "local"))
    assert cursor is not None
    assert cursor.seq == before + 1
    assert world.store.read(delivery.gather) is None


async def test_the_worker_runs_wakes_and_stops(world: World) -> None:
    """As a task: woken it sends at once; cancelled it records what it was sending first."""
    receiver = world.receiver()
    made = await world.hook(receiver.url, "kill_switch.on")
    worker = world.worker()
    task = asyncio.create_task(worker.run())
    world.plane().kill(reason="one", by="ann", agent_id="a")
    worker.wake()
    await asyncio.to_thread(receiver.wait_for, 1)
    receiver.hold = threading.Event()
    world.plane().kill(reason="two", by="ann", agent_id="b")
    await asyncio.to_thread(worker.wake)
    await asyncio.to_thread(receiver.wait_for, 2)
    task.cancel()
    await asyncio.sleep(0)
    receiver.hold.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one.status for one in await world.deliveries(made.webhook_id)] == ["delivered", "delivered"]


async def test_a_failing_store_does_not_end_the_worker(world: World) -> None:
    """It tries again: the next look finds what the last one could not take."""
    receiver = world.receiver()
    await world.hook(receiver.url, "kill_switch.on")
    broken = Crashing(world, 1, False)
    world.services.store = broken
    worker = world.worker()
    world.services.store = world.store
    task = asyncio.create_task(worker.run())
    world.plane().kill(reason="one", by="ann", agent_id="a")
    while broken._left > 0:
        worker.wake()
        await asyncio.sleep(0)
    broken._left = 10**6
    worker.wake()
    await asyncio.to_thread(receiver.wait_for, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_batch_that_somebody_else_has_taken_is_left_alone(world: World) -> None:
    """A replica that slept between reading the trail and writing deliveries makes none a second time."""
    receiver = world.receiver()
    await world.hook(receiver.url, "kill_switch.on")
    world.plane().kill(reason="stop", by="ann")
    batch = world.store.read(delivery.gather)
    assert batch is not None
    await world.work()
    assert world.store.write(lambda tx: delivery.fan_out(tx, batch)) is False
    await world.work()
    assert len(receiver.received) == 1


async def test_steps_are_bounded_and_lose_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little of the trail and however few deliveries one transaction takes."""
    monkeypatch.setattr(delivery, "_SCANNED", 4)
    monkeypatch.setattr(webhooks, "STEP", 2)
    first, second = world.receiver(), world.receiver()
    await world.hook(first.url)
    await world.hook(second.url)
    lives(world)
    batch = world.store.read(delivery.gather)
    assert batch is not None
    assert batch.upto - batch.after == 4
    await world.work()
    assert Counter(first.events) == Counter(second.events) == A_DAY
    monkeypatch.setattr(delivery, "_SCANNED_BYTES", 1)
    world.plane().kill(reason="stop", by="ann")
    world.plane().release(reason="go", by="ann")
    batch = world.store.read(delivery.gather)
    assert batch is not None
    assert batch.upto - batch.after == 1


async def test_late_results(world: World) -> None:
    """Of two holders of one delivery the one who delivered it is right, and a late failure changes nothing."""
    made = await world.hook(world.receiver().url, "kill_switch.on")
    for number in range(3):
        world.plane().kill(reason="stop", by="ann", agent_id=f"a{number}")
    batch = world.store.read(delivery.gather)
    assert batch is not None
    world.store.write(lambda tx: delivery.fan_out(tx, batch))

    def take() -> list[delivery.Job]:
        return world.store.write(lambda tx: delivery.lease(tx, delivery.THREADS, {}))

    def tell(job: delivery.Job, status: int | None) -> None:
        world.store.write(
            lambda tx: delivery.record(tx, job, Attempt(status, None if status == 200 else "no"))
        )

    late = take()
    assert len(late) == webhooks.IN_FLIGHT
    assert take() == []
    (due,) = world.store.read(lambda reader: reader.due_records(webhooks.SENDING, 2.0**53))
    assert due.due_at == world.now + delivery.LEASE  # nobody need look before one of them is back
    world.now += delivery.LEASE
    again = {job.delivery.delivery_id: job for job in take()}
    tell(late[0], None)
    tell(late[1], None)
    kept = {one.delivery_id: one for one in await world.deliveries(made.webhook_id)}
    assert all(kept[name].error is None for name in again)
    twice = next(job for job in late if job.delivery.delivery_id in again)
    name = twice.delivery.delivery_id
    tell(twice, 200)
    tell(again[name], 500)
    kept = {one.delivery_id: one for one in await world.deliveries(made.webhook_id)}
    assert (kept[name].status, kept[name].attempts, kept[name].status_code) == ("delivered", 2, 200)


async def test_a_process_that_dies_with_every_try_uses_them_up(world: World) -> None:
    """A delivery whose results never arrive is not sent for ever."""
    made = await world.hook(world.receiver().url, "kill_switch.on")
    world.plane().kill(reason="stop", by="ann")
    batch = world.store.read(delivery.gather)
    assert batch is not None
    world.store.write(lambda tx: delivery.fan_out(tx, batch))
    taken = 0
    for _ in range(20):
        taken += len(world.store.write(lambda tx: delivery.lease(tx, delivery.THREADS, {})))
        world.now += delivery.LEASE
    assert taken == delivery.TRIES
    (one,) = await world.deliveries(made.webhook_id)
    assert one.status == "failed"


async def test_a_record_that_is_not_understood_stops_nothing(world: World) -> None:
    """It is passed by, and those after it are told."""
    receiver = world.receiver()
    await world.hook(receiver.url, "kill_switch.on")
    world.store.write(
        lambda tx: tx.record("blocked", organization="local", actor="ann", rule={"not": "a name"})
    )
    world.plane().kill(reason="stop", by="ann")
    await world.work()
    assert [body["data"]["reason"] for body in receiver.bodies] == ["stop"]
