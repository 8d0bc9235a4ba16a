"""A signal handler that raises, at every place where Python can run one, during a governed call of the main thread."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from interrupting import Interrupt, interrupted_at, raise_interrupt
from recorded import every_action
from support import PROFILE

from ascend_guard import EmbeddedControlPlane, governed, guard, interrupts
from ascend_guard.calling import scope
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite import barrier
from ascend_guard.store.sqlite.store import SQLiteStore

STRIDE = {"quick": 8, "ci": 4, "full": 1}[PROFILE]
"""Every how many places an interrupt is tried at."""

FIRST = random.randrange(STRIDE) if PROFILE == "quick" else 0
"""The first of them: each quick run tries other places. A failure names its place."""

pytestmark = pytest.mark.timeout({"quick": 120, "ci": 900, "full": 3000}[PROFILE])

ALLOW = "version: 1\ndefault: deny\nrules: [{name: all, actions: ['*'], effect: allow}]"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EmbeddedControlPlane]:
    """A control plane, and a handler that raises."""
    before = signal.signal(signal.SIGUSR1, raise_interrupt)
    store = SQLiteStore(tmp_path / "a.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy(ALLOW))
    yield plane
    plane.close()
    signal.signal(signal.SIGUSR1, before)


def held_by_somebody(path: Path) -> bool:
    """Whether another process would have to wait for the lock."""
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def check_nothing_left(plane: EmbeddedControlPlane) -> None:
    """No lock, no context, no handler, no transaction is left as it was in the middle of the call."""
    store = plane.store
    assert isinstance(store, SQLiteStore)
    assert scope.current() is None, "the context is still inside the call"
    assert interrupts._main.mode == interrupts.OPEN
    assert not store._writer._lock._is_owned()  # type: ignore[attr-defined]
    store._writer.hold()  # so that the background thread is not in the middle of a commit
    try:
        assert not held_by_somebody(store._beside(".lock"))
        assert not held_by_somebody(store._beside(".lock-queue"))
        assert not store._connection.in_transaction
    finally:
        store._writer.let_go()


def slots_left(plane: EmbeddedControlPlane) -> tuple[int, int]:
    """How many calls a killer would find, in the table that other processes map, and how many slots are lost to this one."""
    store = plane.store
    assert isinstance(store, SQLiteStore)
    slots = store._liveness.slots
    running = barrier.still_running(store._runners, plane.organization, barrier.EVERYONE)
    return len(running), slots._capacity - len(set(slots._free))


def outcomes(plane: EmbeddedControlPlane) -> dict[int, str | None]:
    """By action, with what was posted."""
    return plane.read(lambda reader: {row.id: row.outcome for row in every_action(reader)})


def in_function(plane: EmbeddedControlPlane, body: Callable[[], None]) -> Callable[[], None]:
    """A call of a governed function."""
    return governed("read", "r", control_plane=plane)(body)


def in_block(plane: EmbeddedControlPlane, body: Callable[[], None]) -> Callable[[], None]:
    """A guarded block."""

    def call() -> None:
        with guard("read", "r", control_plane=plane):
            body()

    return call


def in_stream(plane: EmbeddedControlPlane, body: Callable[[], None]) -> Callable[[], None]:
    """A governed generator, iterated to its end."""

    @governed("read", "r", control_plane=plane)
    def chunks() -> Iterator[int]:
        body()
        yield 1

    def call() -> None:
        for _ in chunks():
            pass

    return call


def dropped(plane: EmbeddedControlPlane, body: Callable[[], None]) -> Callable[[], None]:
    """A generator that a governed function hands back, and that is dropped after a chunk."""

    def chunks() -> Iterator[int]:
        body()
        yield 1

    tool = governed("read", "r", control_plane=plane)(lambda: chunks())

    def call() -> None:
        next(tool())

    return call


def managed(plane: EmbeddedControlPlane, body: Callable[[], None]) -> Callable[[], None]:
    """A governed context manager."""

    @governed("read", "r", control_plane=plane)
    @contextmanager
    def manager() -> Iterator[None]:
        body()
        yield

    def call() -> None:
        with manager():
            pass

    return call


def handed_over(plane: EmbeddedControlPlane, body: Callable[[], None]) -> Callable[[], None]:
    """A governed function whose result holds work that cannot be followed."""

    def tool() -> list[Iterator[int]]:
        body()
        return [iter((1,))]

    return governed("read", "r", control_plane=plane)(tool)


def sweep(
    plane: EmbeddedControlPlane,
    make: Any,
    places: Callable[[int], tuple[int, ...]],
    stride: int,
    often: bool = False,
    early: int = 0,
) -> Iterator[str]:
    """Interrupt one call after the other, at one place after the other; how each ended.

    Each of the ``early`` places is tried. A call that is interrupted ``often`` may have no outcome until its process ends;
    all else must hold for it as well.
    """
    ran: list[int] = []
    call = make(plane, lambda: ran.append(1))
    with interrupted_at(()) as count:
        call()
    everything = count[0]
    for place in sorted({*range(early), *range(FIRST % stride, everything, stride)}):
        finished = max(outcomes(plane))
        call()  # its outcome lies in the queue
        before = len(ran)
        try:
            with interrupted_at(places(place)):
                call()
            end = "ended"
        except Interrupt:
            end = "interrupted"
        check_nothing_left(plane)
        found = outcomes(plane)
        assert found[finished + 1] == "completed", f"a finished call lost its outcome (place {place})"
        mine = [outcome for number, outcome in found.items() if number > finished + 1]
        assert len(mine) <= 1
        if end == "ended":
            assert mine == ["completed"]
        assert often or mine != [None], f"an interrupted call has no outcome (place {place})"
        if len(ran) == before:
            assert mine in ([], ["failed"]) or (often and mine == [None])
        yield end if mine else "nothing was submitted"


@pytest.mark.parametrize("make", [in_function, in_block, in_stream, dropped, managed, handed_over])
def test_no_interrupt_leaves_a_call_listed_as_running(
    world: EmbeddedControlPlane, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it comes: the call has an outcome, a killer finds nothing, its permit is forgotten, and its slot is free."""
    # Python swallows what a handler raises while a dropped generator is closed. pytest would keep it, and with it the call.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    ran: list[int] = []
    call = make(world, lambda: ran.append(1))
    with interrupted_at(()) as count:
        call()
    interrupted = 0
    for place in range(FIRST, count[0], STRIDE):
        try:
            with interrupted_at((place,)):
                call()
        except Interrupt:
            interrupted += 1
        assert interrupts._main.mode == interrupts.OPEN
        if world._claimed:  # the frames of an interrupted call may refer to one another
            gc.collect()
        assert not world._claimed, f"place {place}"
        assert not len(world.store._liveness.slots), f"place {place}"  # type: ignore[attr-defined]
    assert slots_left(world) == (0, 0)
    assert None not in outcomes(world).values(), "an interrupted call has no outcome"
    assert interrupted > 50
    assert len(ran) > 10


@pytest.mark.parametrize("make", [in_function, in_block])
def test_an_interrupt_at_every_place_reaches_only_its_own_call(
    world: EmbeddedControlPlane, make: Any
) -> None:
    """Whatever was interrupted has an outcome, the call before has its own, and nothing is left behind."""
    stride = (STRIDE + 1) // 2
    # Few places come before the submission, and some of them must be tried.
    ends = list(sweep(world, make, lambda place: (place,), stride, early=24))
    assert len(ends) * stride > 200
    assert ends.count("interrupted") * stride > 250
    assert ends.count("nothing was submitted") >= 2  # there are fewer such places on newer Pythons
    assert world.verify_audit().ok


def test_a_second_interrupt_while_the_first_is_handled(world: EmbeddedControlPlane) -> None:
    """No finished call loses its outcome, no lock is held, the context is left, wherever the second one comes."""
    for distance in (1, 2, 3, 8):
        ends = list(
            sweep(
                world,
                in_function,
                lambda place, distance=distance: (place, place + distance),
                {8: 28, 4: 14, 1: 7}[STRIDE],
                often=True,
            )
        )
        assert "interrupted" in ends
    assert world.verify_audit().ok


def test_a_handler_that_a_section_begun_in_haste_did_not_look_for(world: EmbeddedControlPlane) -> None:
    """A section inside it looks for all of them, and everything is put back as it was."""
    interrupts.release(interrupts.hold())
    before = signal.signal(signal.SIGUSR2, raise_interrupt)
    try:
        outer = interrupts.hold(soon_again=True)
        inner = interrupts.hold()
        signal.raise_signal(signal.SIGUSR2)
        interrupts.release(inner)
        with pytest.raises(Interrupt):
            interrupts.release(outer)
        assert signal.getsignal(signal.SIGUSR2) is raise_interrupt
    finally:
        signal.signal(signal.SIGUSR2, before)
    interrupts.release(interrupts.hold())
    assert signal.getsignal(signal.SIGUSR2) == before
    assert signal.getsignal(signal.SIGUSR1) is raise_interrupt


def test_a_handler_that_raises_nothing_does_not_end_a_wait(world: EmbeddedControlPlane) -> None:
    """It runs at once, and the wait goes on; one that raises ends it with what it raised, even an ``Exception``."""
    ran: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        ran.append(number)
        if len(ran) == 2:
            raise OSError("time is up")

    def wait() -> str:
        signal.raise_signal(signal.SIGUSR1)
        return "waited"

    signal.signal(signal.SIGUSR1, handle)
    with interrupts.uninterrupted():
        assert interrupts.interruptibly(wait) == "waited"
        assert len(ran) == 1

    def wait_inside() -> None:
        with interrupts.uninterrupted():
            try:
                interrupts.interruptibly(wait)
            except Exception as error:  # what is inside must not take it for its own
                raise AssertionError("taken for a failure of the wait") from error

    with pytest.raises(OSError, match="time is up"):
        wait_inside()
    assert interrupts._main.mode == interrupts.OPEN


def test_every_noted_signal_is_handed_on(world: EmbeddedControlPlane) -> None:
    """Several handlers raise at the end of one section: each of them has run."""
    ran: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        ran.append(number)
        raise Interrupt

    numbers = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGRTMIN + 1]
    before = [signal.signal(number, handle) for number in numbers]

    def interrupted() -> None:
        with interrupts.uninterrupted():
            for number in numbers:
                signal.raise_signal(number)
            assert ran == []

    try:
        with pytest.raises(Interrupt):
            interrupted()
        assert sorted(ran) == sorted(numbers)
        assert [signal.getsignal(number) for number in numbers] == [handle] * 4
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_a_slot_is_free_or_held_wherever_an_interrupt_comes(world: EmbeddedControlPlane) -> None:
    """An interrupted announcement or end that is repeated leaves no slot that is listed, lost, or used twice."""
    store = world.store
    assert isinstance(store, SQLiteStore)
    slots = store._liveness.slots
    assert len(slots._free) == slots._capacity

    def call() -> None:
        for number in range(70):  # more than there are slots at first
            slots.passed(slots.announce("local", "worker", str(number)))
        for number in range(70):
            slots.end("local", str(number))

    interrupted = 0
    with interrupted_at(()) as count:
        call()
    for place in range(0, count[0], {8: 11, 4: 5, 1: 1}[STRIDE]):
        try:
            with interrupted_at((place,)):
                call()
        except Interrupt:
            interrupted += 1
        for organization, action_id in slots.begun:
            assert slots.end(organization, action_id)
        assert slots_left(world) == (0, 0), f"place {place}"
        assert len(slots._free) == slots._capacity, f"place {place}"
    assert interrupted > 50
    assert slots._capacity > 70
