"""Work that a tool hands back undone: checked at its first step, done once, recorded by its own end, or as handed over."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from deferred_kinds import FOLLOWED, AsyncBlock, Block, Deferred, Steps
from support import PROFILE
from world import events, rows, settled, story

from ascend_guard import (
    AuthorizationDeniedError,
    ConflictError,
    EmbeddedControlPlane,
    KillSwitchError,
    governed,
)
from ascend_guard.calling.scope import current


class Noted:
    """The body of the work: what it was called under."""

    def __init__(self) -> None:
        self.actions: list[int | None] = []

    def __call__(self) -> str:
        running = current()
        self.actions.append(None if running is None else running.action_id)
        return "done"


def sync_tool(kind: Deferred, body: Noted) -> Callable[[list[str]], Any]:
    """A plain function that hands the work back."""

    @governed("order_read")
    def tool(orders: list[str]) -> Any:
        return kind.make(body)

    return tool


def awaited_tool(kind: Deferred, body: Noted) -> Callable[[list[str]], Any]:
    """A coroutine function that does, awaited."""

    @governed("order_read")
    async def tool(orders: list[str]) -> Any:
        return kind.make(body)

    return lambda orders: asyncio.run(tool(orders))


# Work that is stopped, closed or given up holds coroutines that nothing awaits: that is the point.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
both = pytest.mark.parametrize("tool_of", [sync_tool, awaited_tool])
kinds = pytest.mark.parametrize("kind", FOLLOWED, ids=str)
kinds_and_some_awaited = pytest.mark.parametrize(
    ("kind", "tool_of"),
    [(kind, sync_tool) for kind in FOLLOWED]
    + [
        (kind, awaited_tool)
        for kind in FOLLOWED
        if PROFILE == "full" or kind.name in ("generator", "contextmanager", "coroutine", "async-manager")
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
"""Work is followed in the same way whether the tool was called or awaited: all kinds once, and one of each way to use it."""


@both
@kinds
def test_the_work_is_done_and_recorded_by_its_own_end(
    plane: EmbeddedControlPlane, kind: Deferred, tool_of: Any
) -> None:
    """It counts as running until the caller has done it, gives what it gives ungoverned, and runs inside its action."""
    body = Noted()
    work = tool_of(kind, body)(["o-1"])
    assert (body.actions, rows(plane)[0].outcome) == ([], None)
    assert kind.run(work) == kind.gives
    settled(plane)
    (row,) = rows(plane)
    assert (body.actions, row.outcome) == ([row.id], "completed")


@kinds_and_some_awaited
def test_the_kill_switch_is_asked_at_the_first_step(
    plane: EmbeddedControlPlane, kind: Deferred, tool_of: Any
) -> None:
    """Turned on after the decision and before the work, it stops the work."""
    body = Noted()
    work = tool_of(kind, body)(["o-1"])
    plane.kill(reason="fire", by="ann")
    with pytest.raises(KillSwitchError, match="did not run"):
        kind.run(work)
    settled(plane)
    (row,) = rows(plane)
    assert (body.actions, row.outcome) == ([], "failed")
    assert "not started: KillSwitchError" in (row.error or "")
    plane.release(reason="out", by="ann")
    with contextlib.suppress(Exception):
        kind.run(work)
    anew = kind.again and tool_of is sync_tool
    assert body.actions == ([2] if anew else [])  # on a decision of its own


@kinds_and_some_awaited
def test_the_arguments_are_compared_at_the_first_step(
    plane: EmbeddedControlPlane, kind: Deferred, tool_of: Any
) -> None:
    """Changed after the decision and before the work, they block the work."""
    body = Noted()
    orders = ["o-1"]
    work = tool_of(kind, body)(orders)
    orders.append("o-2")
    with pytest.raises(AuthorizationDeniedError, match="arguments changed"):
        kind.run(work)
    settled(plane)
    assert (body.actions, rows(plane)[0].outcome) == ([], "failed")


@kinds_and_some_awaited
def test_work_that_is_given_up_is_recorded_as_not_started(
    plane: EmbeddedControlPlane, kind: Deferred, tool_of: Any
) -> None:
    """Collected before its first step, it ran nothing and does not count as running for ever."""
    body = Noted()
    work = tool_of(kind, body)(["o-1"])
    del work
    gc.collect()
    settled(plane)
    (row,) = rows(plane)
    assert (body.actions, row.outcome) == ([], "failed")
    assert (row.error or "").startswith("not started")
    assert events(plane) == ["submitted", "started", "failed"]


@kinds_and_some_awaited
def test_work_that_is_closed_is_recorded_as_not_started(
    plane: EmbeddedControlPlane, kind: Deferred, tool_of: Any
) -> None:
    """The same where the caller closes it, of which there are those that can be."""
    body = Noted()
    work = tool_of(kind, body)(["o-1"])
    if not hasattr(work, "close"):
        return
    work.close()
    del work  # from Python 3.13 on, work that is closed keeps its frame until it is collected
    gc.collect()
    settled(plane)
    (row,) = rows(plane)
    assert (body.actions, row.outcome) == ([], "failed")
    assert (row.error or "").startswith("not started")


@kinds
def test_work_is_done_once(plane: EmbeddedControlPlane, kind: Deferred) -> None:
    """Used a second and a third time it does nothing more, or is decided anew: every body has an action of its own."""
    body = Noted()
    work = sync_tool(kind, body)(["o-1"])
    for _ in range(3):
        with contextlib.suppress(Exception):  # each kind has its own way to say no
            kind.run(work)
    settled(plane)
    assert body.actions == [row.id for row in rows(plane)]
    assert len(body.actions) == (3 if kind.again else 1)
    assert {row.outcome for row in rows(plane)} == {"completed"}


@kinds
def test_work_made_anew_is_stopped_by_the_kill_switch(plane: EmbeddedControlPlane, kind: Deferred) -> None:
    """After one use the switch goes on: nothing runs, by whichever decision."""
    body = Noted()
    work = sync_tool(kind, body)(["o-1"])
    kind.run(work)
    plane.kill(reason="fire", by="ann")
    with contextlib.suppress(Exception):
        kind.run(work)
    assert body.actions == [1]


@kinds
def test_an_error_of_the_work_is_its_outcome(plane: EmbeddedControlPlane, kind: Deferred) -> None:
    """It reaches the caller as it is."""

    class Failing(Noted):
        def __call__(self) -> str:
            super().__call__()
            raise KeyError("o-1")

    body = Failing()
    work = sync_tool(kind, body)(["o-1"])
    with pytest.raises(KeyError, match="o-1"):
        kind.run(work)
    settled(plane)
    (row,) = rows(plane)
    assert (body.actions, row.outcome, row.error) == ([1], "failed", "KeyError: 'o-1'")


def test_what_the_body_does_to_its_own_arguments_is_its_doing(plane: EmbeddedControlPlane) -> None:
    """A tool that completes its arguments before it hands work back does not block that work; its caller's change does."""

    @governed("order_read")
    def tool(query: dict[str, Any]) -> Iterator[Any]:
        query.setdefault("limit", 10)
        return iter(query.items())

    query = {"order": "o-1"}
    assert list(tool(query)) == [("order", "o-1"), ("limit", 10)]
    work = tool(query)
    query["limit"] = 1000
    with pytest.raises(AuthorizationDeniedError, match="arguments changed"):
        list(work)
    assert [row.outcome for row in rows(plane)] == ["completed", "failed"]


# --- what cannot be followed ---------------------------------------------------------------------------------------------


class Lines(NamedTuple):
    """Data beside work."""

    count: int
    lines: Any


@dataclass
class Answer:
    """The same."""

    count: int
    lines: Any


@dataclass(slots=True)
class SlottedAnswer:
    """The same, in slots."""

    count: int
    lines: Any


class Connection:
    """Work can begin by any of its methods."""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *left: object) -> None:
        pass

    def execute(self) -> None:
        pass


class Lazy:
    """Does its work as often as it is iterated over."""

    def __iter__(self) -> Iterator[int]:
        yield 1


class Job:
    """Work that is called."""

    def __call__(self) -> None:
        pass


OUT_OF_SIGHT: dict[str, Callable[[], Any]] = {
    "partial": lambda: functools.partial(print, 1),
    "function": lambda: lambda: None,
    "method": lambda: Connection().execute,
    "callable": Job,
    "file": lambda: io.StringIO("a\nb"),
    "connection": Connection,
    "stack": contextlib.ExitStack,
    "lazy": Lazy,
    "tuple": lambda: (1, iter("ab")),
    "named tuple": lambda: Lines(1, iter("ab")),
    "dataclass": lambda: Answer(1, iter("ab")),
    "slotted dataclass": lambda: SlottedAnswer(1, iter("ab")),
    "dictionary": lambda: {"rows": map(str, [1])},
    "list of managers": lambda: [Block(Noted())],
    "deep": lambda: [{"a": ({"b": [AsyncBlock(Noted())]},)}],
}


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("name", OUT_OF_SIGHT)
def test_what_cannot_be_followed_is_handed_over(
    plane: EmbeddedControlPlane, name: str, awaited: bool
) -> None:
    """The caller gets the very object, and the record does not claim that its work was done."""
    made = OUT_OF_SIGHT[name]()

    def tool() -> Any:
        return made

    async def coroutine() -> Any:
        return made

    got = asyncio.run(governed("order_read")(coroutine)()) if awaited else governed("order_read")(tool)()
    assert got is made
    settled(plane)
    assert [row.outcome for row in rows(plane)] == ["handed_over"]
    assert events(plane) == ["submitted", "started", "handed_over"]
    assert str(story(plane)[-1]["detail"]).startswith("handed over a ")


def test_a_stream_of_work_is_handed_over(plane: EmbeddedControlPlane) -> None:
    """Chunks that are work themselves are not followed, so the stream's end is not theirs."""

    @governed("order_read")
    def jobs() -> Iterator[Any]:
        yield 1
        yield lambda: None

    @governed("order_read")
    def found() -> Any:
        return map(lambda each: lambda: each, [1, 2])

    assert len(list(jobs())) == len(list(found())) == 2
    assert [row.outcome for row in rows(plane)] == ["handed_over", "handed_over"]


class Plain:
    """An object is data, whatever its methods do."""

    def method(self) -> None:
        pass


class Value:
    """A value that can be iterated over, as pydantic's models can."""

    def __eq__(self, other: object) -> bool:
        return True

    def __iter__(self) -> Iterator[int]:
        yield 1


def _endless() -> list[Any]:
    ring: list[Any] = [1]
    ring.append(ring)
    return ring


DATA: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "text": lambda: "done",
    "rows": lambda: [{"id": number, "tags": ("a", b"b", None, 1.5)} for number in range(100)],
    "path": lambda: Path("a/b"),
    "class": lambda: Plain,
    "object": Plain,
    "value": Value,
    "range": lambda: range(3),
    "view": lambda: {1: 2}.keys(),
    "named tuple": lambda: Lines(1, "ab"),
    "dataclass": lambda: Answer(1, ["ab"]),
    "ring": _endless,
}


@pytest.mark.parametrize("name", DATA)
def test_data_is_completed(plane: EmbeddedControlPlane, name: str) -> None:
    """What holds no work ended with the call."""
    made = DATA[name]()
    assert governed("order_read")(lambda: made)() is made
    assert [row.outcome for row in rows(plane)] == ["completed"]


# --- details of following ------------------------------------------------------------------------------------------------


def test_a_followed_object_looks_like_its_own(plane: EmbeddedControlPlane) -> None:
    """It is of the same class for ``isinstance``, and shows what data it has, but reaches no work before its time."""

    class Pages(Steps):
        total = 2

        @property
        def first(self) -> Any:
            return next(self)

    body = Noted()
    work = governed("order_read")(lambda: Pages(body))()
    assert isinstance(work, Pages)
    assert work.total == 2
    with pytest.raises(AttributeError, match="before this Pages has begun"):
        work.first  # noqa: B018 - reading it is the work
    with pytest.raises(AttributeError, match="before this Pages has begun"):
        work._body()
    with pytest.raises(TypeError, match="cannot be copied"):
        __import__("copy").copy(work)
    assert body.actions == []
    assert next(work) == 1
    assert work.first == 0
    assert list(work) == []


def test_an_iterator_that_is_given_up_midway_is_completed(plane: EmbeddedControlPlane) -> None:
    """As a generator is: the caller wanted no more of it."""
    work = governed("order_read")(lambda: Steps(Noted()))()
    assert next(work) == 1
    del work
    gc.collect()
    settled(plane)
    assert (rows(plane)[0].outcome, story(plane)[-1]["detail"]) == (
        "completed",
        "closed by the caller after 1 chunks",
    )


def test_the_kill_switch_stops_an_iterator_between_chunks(plane: EmbeddedControlPlane) -> None:
    """As it stops a generator, for good."""
    work = governed("order_read")(lambda: Steps(Noted()))()
    assert next(work) == 1
    plane.kill(reason="fire", by="ann")
    with pytest.raises(KillSwitchError, match="half way"):
        next(work)
    plane.release(reason="out", by="ann")
    assert list(work) == []
    assert rows(plane)[0].outcome == "failed"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_manager_is_told_of_the_kill_switch_when_it_is_left(
    plane: EmbeddedControlPlane, asynchronous: bool
) -> None:
    """Its exit is the second half of the work: it gets the error, so that it undoes instead of finishing."""
    left: list[Any] = []

    class Sync(Block):
        def __exit__(self, *error: Any) -> None:
            left.append(error[0])

    class Async(AsyncBlock):
        async def __aexit__(self, *error: Any) -> None:
            left.append(error[0])

    def use() -> None:
        with governed("order_read")(lambda: Sync(Noted()))():
            plane.kill(reason="fire", by="ann")

    async def ause() -> None:
        async with governed("order_read")(lambda: Async(Noted()))():
            plane.kill(reason="fire", by="ann")

    with pytest.raises(KillSwitchError, match="half way"):
        asyncio.run(ause()) if asynchronous else use()
    assert left == [KillSwitchError]
    assert rows(plane)[0].outcome == "failed"


def test_a_block_that_fails_inside_a_manager(plane: EmbeddedControlPlane) -> None:
    """What leaves the block is the outcome, unless the manager takes it back."""
    gate = governed("order_read")
    with pytest.raises(ValueError, match="inside"), gate(lambda: Block(Noted()))():
        raise ValueError("inside")
    with gate(lambda: contextlib.suppress(ValueError))():
        raise ValueError("inside")
    assert [row.outcome for row in rows(plane)] == ["failed", "completed"]


def test_managers_of_the_standard_library(plane: EmbeddedControlPlane) -> None:
    """``closing`` and ``nullcontext`` work as they do, and are recorded when they are left."""
    gate = governed("order_read")
    closed = io.StringIO()
    with gate(lambda: contextlib.closing(closed))() as opened:
        assert opened is closed
        assert rows(plane)[0].outcome is None
    assert closed.closed
    with gate(lambda: contextlib.nullcontext(7))() as value:
        assert value == 7
    assert [row.outcome for row in rows(plane)] == ["completed", "completed"]


def test_a_manager_that_is_an_iterator_is_one_piece_of_work(plane: EmbeddedControlPlane) -> None:
    """Entered, its steps belong to the block, and the outcome is the block's."""

    class Scan(Steps):
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *left: object) -> None:
            pass

    body = Noted()
    scan = governed("order_read")(lambda: Scan(body))()
    with scan as steps:
        assert list(steps) == [1, 0]
        assert rows(plane)[0].outcome is None
    assert rows(plane)[0].outcome == "completed"
    with pytest.raises(ConflictError, match="has been used"), scan:
        pass
    assert body.actions == [1]


def test_two_threads_share_no_permit(plane: EmbeddedControlPlane) -> None:
    """A manager used as a decorator by many threads at once: each body has a decision of its own."""
    from concurrent.futures import ThreadPoolExecutor

    body = Noted()

    @governed("order_read")
    @contextlib.contextmanager
    def session(order: str) -> Iterator[None]:
        body()
        yield

    work = session("o-1")(lambda: None)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: work(), range(40)))
    settled(plane)
    assert sorted(body.actions, key=str) == sorted((row.id for row in rows(plane)), key=str)
    assert len(body.actions) == 40
    assert {row.outcome for row in rows(plane)} == {"completed"}


def test_an_awaited_manager_cannot_be_made_anew(plane: EmbeddedControlPlane) -> None:
    """Where the call cannot be made again from the decorator, the second use is refused."""
    body = Noted()

    @governed("order_read")
    async def opener() -> Any:
        return contextlib.contextmanager(lambda: (yield body()))()

    work = asyncio.run(opener())(lambda: "done")
    assert work() == "done"
    with pytest.raises(ConflictError, match="has been used"):
        work()
    assert body.actions == [1]


@pytest.mark.parametrize("how", ["stopped", "closed"])
def test_a_loop_that_ends_in_the_middle(plane: EmbeddedControlPlane, how: str) -> None:
    """What began and was closed has failed, or is unknown if it was collected with its loop; the other did not start."""
    ran: list[str] = []

    @governed("order_read")
    async def tool(order: str) -> None:
        ran.append(order)
        await asyncio.sleep(3600)

    loop = asyncio.new_event_loop()
    begun = loop.create_task(tool("begun"))

    async def until() -> None:
        while not ran:
            assert len(asyncio.all_tasks()) == 2, "the call has ended"
            await asyncio.sleep(0)

    loop.run_until_complete(until())
    held, go_on = threading.Event(), threading.Event()

    def commit(tx: object) -> None:
        held.set()
        go_on.wait()

    holder = threading.Thread(target=plane.store.write, args=(commit,))
    holder.start()
    held.wait()
    late = loop.create_task(tool("late"))
    loop.run_until_complete(asyncio.sleep(0))  # it has submitted, and nobody can answer
    if how == "closed":
        loop.close()
    go_on.set()
    holder.join()
    while len(rows(plane)) < 2:
        time.sleep(0.001)
    begun._log_destroy_pending = late._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would log it
    del begun, late
    loop.close()
    del loop
    gc.collect()
    settled(plane)
    first, second = rows(plane)
    assert ran == ["begun"]
    assert (first.outcome, first.error) in (("failed", "GeneratorExit"), ("unknown", None))
    assert (second.outcome, second.error) == ("failed", "not started: the caller was cancelled")
    assert len([event for event in events(plane) if event in ("failed", "unknown")]) == 2


def test_a_future_that_never_ends_is_unknown(plane: EmbeddedControlPlane) -> None:
    """Collected before it was done: nobody can say what came of it."""
    from concurrent.futures import Future

    future: Future[None] | None = governed("order_read")(lambda: Future())()
    assert rows(plane)[0].outcome is None
    del future
    gc.collect()
    settled(plane)
    assert [row.outcome for row in rows(plane)] == ["unknown"]
