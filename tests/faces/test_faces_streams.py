"""Generators and async generators stay what they are: every chunk, send, throw, return and close as without the gate."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from face_kinds import Body, drained, raw
from hypothesis import given
from hypothesis import strategies as st
from world import asked, events, rows, settled, story

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, KillSwitchError, governed
from ascend_guard.calling.scope import current
from ascend_guard.flow import Effect, Settle

# --- the protocol, against the raw generator ---------------------------------------------------------------------------


class Thrown(Exception):
    """What tests throw into generators."""


def script(plan: list[str], log: list[Any]) -> Generator[Any, Any, Any]:
    """A generator that does what the plan says at each step, and notes what it is given."""
    try:
        for index, what in enumerate(plan):
            if what == "raise":
                raise ValueError(f"at {index}")
            if what == "return":
                return f"returned at {index}"
            try:
                log.append((yield index))
            except Thrown as error:
                log.append(f"caught {error}")
                if what == "rethrow":
                    raise
                if what == "other":
                    raise KeyError(index) from error
            except GeneratorExit:
                log.append("closing")
                if what == "break":
                    raise ValueError("while closing") from None
                raise
        return "the end"
    finally:
        log.append("cleaned up")


async def ascript(plan: list[str], log: list[Any]) -> AsyncGenerator[Any, Any]:
    """The same, without a return value."""
    try:
        for index, what in enumerate(plan):
            await asyncio.sleep(0)
            if what == "raise":
                raise ValueError(f"at {index}")
            if what == "return":
                return
            try:
                log.append((yield index))
            except Thrown as error:
                log.append(f"caught {error}")
                if what == "rethrow":
                    raise
                if what == "other":
                    raise KeyError(index) from error
            except GeneratorExit:
                log.append("closing")
                if what == "break":
                    raise ValueError("while closing") from None
                raise
    finally:
        log.append("cleaned up")


plans = st.lists(
    st.sampled_from(["keep", "keep", "rethrow", "other", "raise", "return", "break"]), max_size=5
)
moves = st.lists(
    st.one_of(
        st.just(("next", None)),
        st.tuples(st.just("send"), st.integers(0, 9)),
        st.just(("throw", "thrown")),
        st.just(("throw", "stop")),
        st.just(("throw", "exit")),
        st.just(("close", None)),
    ),
    max_size=8,
)
_THROWN: dict[str, Callable[[], BaseException]] = {
    "thrown": lambda: Thrown("in"),
    "stop": lambda: StopIteration("in"),
    "exit": GeneratorExit,
}


def said(error: BaseException) -> tuple[str, ...]:
    """An exception, for comparison."""
    return (type(error).__name__, *map(str, error.args))


def driven(stream: Generator[Any, Any, Any], moves: list[tuple[str, Any]]) -> list[Any]:
    """What a generator answers to each move."""
    answers: list[Any] = []
    for move, value in moves:
        try:
            if move == "next":
                answers.append(next(stream))
            elif move == "send":
                answers.append(stream.send(value))
            elif move == "throw":
                answers.append(stream.throw(_THROWN[value]()))
            else:
                answers.append(stream.close())
        except BaseException as error:
            answers.append(said(error))
    return answers


async def adriven(stream: AsyncGenerator[Any, Any], moves: list[tuple[str, Any]]) -> list[Any]:
    """The same for async generators."""
    answers: list[Any] = []
    for move, value in moves:
        try:
            if move == "next":
                answers.append(await anext(stream))
            elif move == "send":
                answers.append(await stream.asend(value))
            elif move == "throw":
                answers.append(await stream.athrow(_THROWN[value]()))
            else:
                answers.append(await stream.aclose())
        except BaseException as error:
            answers.append(said(error))
    return answers


def honest(answers: list[Any]) -> str:
    """The outcome of a generator that was begun and gave these answers, one of which ended it."""
    # A TypeError is for a value sent before the first yield, which begins and ends nothing.
    ends = [each[0] if each else "closed" for each in answers if each is None or isinstance(each, tuple)]
    over = next(end for end in ends if end != "TypeError")
    return (
        "completed"
        if over in ("closed", "StopIteration", "StopAsyncIteration", "GeneratorExit")
        else "failed"
    )


@given(plan=plans, moves=moves)
def test_a_governed_generator_answers_like_the_raw_one(
    plane: EmbeddedControlPlane, plan: list[str], moves: list[tuple[str, Any]]
) -> None:
    """Any sequence of next, send, throw and close gives the same answers and the same effects inside."""
    logs: list[list[Any]] = [[], []]
    plain, stream = script(plan, logs[0]), governed("order_read")(script)(plan, logs[1])
    expected, answers = driven(plain, moves), driven(stream, moves)
    assert answers == expected
    assert logs[0] == logs[1]
    expected += driven(plain, [("close", None)])
    answers += driven(stream, [("close", None)])
    assert answers == expected
    assert logs[0] == logs[1]
    if logs[1]:
        assert rows(plane)[-1].outcome == honest(expected)


@given(plan=plans, moves=moves)
def test_a_governed_async_generator_answers_like_the_raw_one(
    plane: EmbeddedControlPlane, plan: list[str], moves: list[tuple[str, Any]]
) -> None:
    """Any sequence of anext, asend, athrow and aclose gives the same answers and the same effects inside."""

    async def both() -> None:
        logs: list[list[Any]] = [[], []]
        plain, stream = ascript(plan, logs[0]), governed("order_read")(ascript)(plan, logs[1])
        expected, answers = await adriven(plain, moves), await adriven(stream, moves)
        assert answers == expected
        assert logs[0] == logs[1]
        expected += await adriven(plain, [("close", None)])
        answers += await adriven(stream, [("close", None)])
        assert answers == expected
        assert logs[0] == logs[1]
        if logs[1]:
            assert rows(plane)[-1].outcome == honest(expected)

    asyncio.run(both())


# --- when the decision is made -----------------------------------------------------------------------------------------


class Interrupting:
    """A control plane that cancels the calling task while its outcome waits behind somebody else's commit."""

    def __init__(self, plane: EmbeddedControlPlane) -> None:
        self._plane = plane
        self._interrupted = False
        self.digest_key, self.agent_id, self.agent_name = plane.digest_key, plane.agent_id, plane.agent_name

    def perform(self, effect: Effect[Any]) -> Any:
        return self._plane.perform(effect)

    async def aperform(self, effect: Effect[Any]) -> Any:
        task = asyncio.current_task()
        if isinstance(effect, Settle) and task is not None and not self._interrupted:
            self._interrupted = True
            held, go_on = threading.Event(), threading.Event()

            def commit(tx: object) -> None:
                held.set()
                go_on.wait()

            threading.Thread(target=self._plane.store.write, args=(commit,)).start()
            held.wait()
            task.cancel()
            threading.Timer(0.01, go_on.set).start()
        return await self._plane.aperform(effect)


@pytest.mark.parametrize("style", ["async", "astream"])
def test_a_cancellation_that_comes_too_late_does_not_lose_the_outcome(
    plane: EmbeddedControlPlane, style: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The tool has done its work; whoever gives up while that is being written down does not undo it."""
    body = Body()
    tool = governed("order_read", control_plane=Interrupting(plane))(raw(style, body))

    async def consume() -> None:
        if style == "async":
            await tool("o-1")
        else:
            async for _ in tool("o-1"):
                pass

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(consume())

    asyncio.run(main())
    settled(plane)
    assert body.ran == [("o-1", 10.0, "n")]
    assert rows(plane)[0].outcome == "completed"
    assert events(plane) == ["submitted", "started", "completed"]
    assert "could not be recorded" not in caplog.text


@pytest.mark.parametrize("style", ["stream", "astream"])
def test_nothing_is_asked_before_the_first_chunk_is(plane: EmbeddedControlPlane, style: str) -> None:
    """A stream that nobody consumes asks nothing, does nothing and leaves nothing behind."""
    body = Body()
    stream = governed("order_read")(raw(style, body))("o-1")
    assert events(plane) == []
    del stream
    settled(plane)
    assert events(plane) == []
    assert body.ran == []


def test_a_denied_stream_is_over(plane: EmbeddedControlPlane) -> None:
    """After the denial there is nothing more to get."""
    body = Body()
    stream = governed("order_delete")(raw("stream", body))("o-1")
    with pytest.raises(AuthorizationDeniedError):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)
    assert body.ran == []


def test_a_function_that_returns_a_generator_is_decided_when_called(plane: EmbeddedControlPlane) -> None:
    """Its own body runs at the call, so the decision comes before; the outcome is that of the generator."""
    body = Body()
    made: list[str] = []

    @governed("order_read")
    def lister(order: str) -> Generator[int, None, Any]:
        made.append(order)
        return raw("stream", body)(order)

    stream = lister("o-1")
    assert made == ["o-1"]
    assert events(plane) == ["submitted", "started"]
    assert next(stream) == 0
    assert rows(plane)[0].outcome is None
    assert drained(stream)[0] == [1, 2]
    assert rows(plane)[0].outcome == "completed"


def test_a_function_that_returns_an_async_generator_is_completed_when_that_is(
    plane: EmbeddedControlPlane,
) -> None:
    """Work handed back undone is not recorded as done, and the kill switch stops it between chunks."""
    body = Body()

    @governed("order_read")
    def lister(order: str) -> AsyncGenerator[int, None]:
        return raw("astream", body)(order)

    async def consume() -> None:
        stream = lister("o-1")
        assert rows(plane)[0].outcome is None
        assert await anext(stream) == 0
        plane.kill(reason="fire", by="ann")
        with pytest.raises(KillSwitchError):
            await anext(stream)

    asyncio.run(consume())
    assert rows(plane)[0].outcome == "failed"


@pytest.mark.parametrize("style", ["stream", "astream"])
def test_a_coroutine_that_returns_a_stream_is_completed_when_that_is(
    plane: EmbeddedControlPlane, style: str
) -> None:
    """``stream = await tool()`` is how many clients stream: the awaiting is not the work."""
    body = Body()

    @governed("order_read")
    async def opener(order: str) -> Any:
        return raw(style, body)(order)

    async def consume() -> None:
        stream = await opener("o-1")
        assert rows(plane)[0].outcome is None
        chunks = [chunk async for chunk in stream] if style == "astream" else list(stream)
        assert chunks == [0, 1, 2]

    asyncio.run(consume())
    assert rows(plane)[0].outcome == "completed"


def test_a_function_that_returns_a_task_is_completed_when_that_is(plane: EmbeddedControlPlane) -> None:
    """A task or future handed back is work that has not been done yet."""

    @governed("order_read")
    def later(order: str) -> asyncio.Task[str]:
        async def work() -> str:
            await asyncio.sleep(0)
            raise ValueError(order)

        return asyncio.create_task(work())

    async def consume() -> None:
        task = later("o-1")
        assert rows(plane)[0].outcome is None
        with pytest.raises(ValueError, match="o-1"):
            await task

    asyncio.run(consume())
    assert rows(plane)[0].outcome == "failed"


def test_a_function_that_returns_a_future_is_completed_when_that_is(plane: EmbeddedControlPlane) -> None:
    """Work handed to an executor has not been done yet either."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        go_on.wait()
        raise ValueError("too late")

    with ThreadPoolExecutor(1) as pool:
        future = governed("order_read")(lambda: pool.submit(work))()
        begun.wait()
        before = rows(plane)[0].outcome
        go_on.set()
        assert str(future.exception()) == "too late"
    assert before is None
    assert rows(plane)[0].outcome == "failed"


# --- ends --------------------------------------------------------------------------------------------------------------


def detail(plane: EmbeddedControlPlane) -> str | None:
    """How the last outcome came about."""
    return next((record.get("detail") for record in reversed(story(plane)) if "duration" in record), None)


@given(count=st.integers(0, 3), ending=st.sampled_from(["close", "drop", "exhaust"]))
def test_how_a_stream_ended_is_recorded(plane: EmbeddedControlPlane, count: int, ending: str) -> None:
    """Exhausted, closed or dropped: completed, with the number of chunks, and cleaned up; nothing when never begun."""
    body = Body()
    before = len(rows(plane))
    stream = governed("order_read")(raw("stream", body))("o-1")
    for _ in range(count):
        next(stream)
    if ending == "close":
        stream.close()
        stream.close()
    elif ending == "exhaust":
        assert drained(stream) == ([*range(count, 3)], ("done", "o-1", 10.0, "n"))
    del stream
    settled(plane)
    if not count and ending != "exhaust":
        assert len(rows(plane)) == before
        return
    assert body.cleaned == 1
    assert rows(plane)[-1].outcome == "completed"
    told = "3 chunks" if ending == "exhaust" else f"closed by the caller after {count} chunks"
    assert detail(plane) == told


@given(count=st.integers(1, 3), ending=st.sampled_from(["close", "drop", "exhaust", "break"]))
def test_how_an_async_stream_ended_is_recorded(plane: EmbeddedControlPlane, count: int, ending: str) -> None:
    """Exhausted, closed, left by a break or dropped: completed, with the number of chunks, and cleaned up."""
    body = Body()

    async def consume() -> None:
        stream = governed("order_read")(raw("astream", body))("o-1")
        if ending == "break":
            got = 0
            async for _ in stream:
                got += 1
                if got == count:
                    break
        else:
            for _ in range(count):
                await anext(stream)
        if ending == "close":
            await stream.aclose()
            await stream.aclose()
        elif ending == "exhaust":
            assert [chunk async for chunk in stream] == [*range(count, 3)]
        del stream
        while rows(plane)[-1].outcome is None:
            await asyncio.sleep(0)

    asyncio.run(consume())
    settled(plane)
    assert body.cleaned == 1
    assert rows(plane)[-1].outcome == "completed"
    assert detail(plane) == (
        "3 chunks" if ending == "exhaust" else f"closed by the caller after {count} chunks"
    )


def test_a_stream_whose_cleaning_up_fails_is_failed(plane: EmbeddedControlPlane) -> None:
    """An error while closing reaches whoever closes, and the record."""

    @governed("order_read")
    def untidy() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            raise ValueError("while cleaning up")

    stream = untidy()
    next(stream)
    with pytest.raises(ValueError, match="while cleaning up"):
        stream.close()
    (row,) = rows(plane)
    assert (row.outcome, row.error) == ("failed", "ValueError: while cleaning up")


def test_a_cancelled_async_stream_is_recorded(plane: EmbeddedControlPlane) -> None:
    """Cancelling the consumer in the middle of a chunk cleans the tool up and leaves an outcome."""
    body = Body()

    @governed("order_read")
    async def slow() -> AsyncGenerator[int, None]:
        try:
            yield 0
            await asyncio.sleep(3600)
            yield 1
        finally:
            body.cleaned += 1

    async def main() -> None:
        async def consume() -> None:
            async for _ in slow():
                begun.set()

        begun = asyncio.Event()
        task = asyncio.create_task(consume())
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    settled(plane)
    assert body.cleaned == 1
    (row,) = rows(plane)
    assert (row.outcome, row.error) == ("failed", "CancelledError")


def test_an_unfinished_stream_collected_during_another_commit(plane: EmbeddedControlPlane) -> None:
    """The garbage collector may finalise a stream in the middle of a commit of the same thread; its outcome waits."""
    body = Body()

    def abandon() -> None:
        stream = governed("order_read")(raw("stream", body))("o-1")
        next(stream)
        ring: list[Any] = [stream]
        ring.append(ring)

    gc.disable()
    try:
        abandon()
        assert body.cleaned == 0
        plane.store.write(lambda tx: gc.collect(1))
    finally:
        gc.enable()
    assert body.cleaned == 1
    while rows(plane)[0].outcome is None:
        settled(plane)
    settled(plane)
    assert rows(plane)[0].outcome == "completed"


def test_many_unfinished_streams_collected_while_others_commit(plane: EmbeddedControlPlane) -> None:
    """Under load in several threads, every abandoned stream still gets its outcome and nothing hangs."""
    body = Body()
    lister = governed("order_read")(raw("stream", body))
    reader = governed("order_read")(raw("sync", body))

    def work() -> None:
        for number in range(15):
            stream = lister(number)
            next(stream)
            ring: list[Any] = [stream]
            ring.append(ring)
            del stream, ring
            reader(number)
            gc.collect(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    while any(row.outcome is None for row in rows(plane)):
        settled(plane)
    assert [row.outcome for row in rows(plane)] == ["completed"] * 90
    settled(plane)


# --- whose context -----------------------------------------------------------------------------------------------------


def test_a_generator_does_not_leak_its_context_between_chunks(plane: EmbeddedControlPlane) -> None:
    """What the consumer does between chunks is not done inside the tool; what the tool does is."""
    inner = governed("inner_read")(lambda: current())

    @governed("order_read")
    def stream() -> Generator[Any, None, None]:
        yield inner()
        yield inner()

    chunks = stream()
    inside = [next(chunks)]
    assert current() is None
    inner()
    inside.append(next(chunks))
    chunks.close()
    outer, first, between, second = rows(plane)
    assert [asked(plane, row.id).parent_action_id for row in (first, between, second)] == [
        outer.id,
        None,
        outer.id,
    ]
    assert [running.depth for running in inside] == [1, 1]


def test_an_async_generator_does_not_leak_its_context_between_chunks(plane: EmbeddedControlPlane) -> None:
    """The same on the event loop, where consumer and tool share one context."""

    @governed("inner_read")
    async def inner() -> None:
        await asyncio.sleep(0)

    @governed("order_read")
    async def stream() -> AsyncGenerator[int, None]:
        await inner()
        yield 0
        await inner()

    async def consume() -> None:
        async for _ in stream():
            assert current() is None
            await inner()

    asyncio.run(consume())
    outer, *others = rows(plane)
    assert [asked(plane, row.id).parent_action_id for row in others] == [outer.id, None, outer.id]


def test_a_stream_may_be_passed_around(plane: EmbeddedControlPlane) -> None:
    """Begun in one context, continued in a thread, closed in a third: nothing is mixed up and the outcome is kept."""
    body = Body()
    stream = governed("order_read")(raw("stream", body))("o-1")
    got = [contextvars.copy_context().run(next, stream)]
    thread = threading.Thread(target=lambda: got.append(next(stream)))
    thread.start()
    thread.join()
    contextvars.Context().run(stream.close)
    assert got == [0, 1]
    assert rows(plane)[0].outcome == "completed"
    assert current() is None


def test_streams_inside_streams(plane: EmbeddedControlPlane) -> None:
    """``yield from`` a governed generator inside a governed one: linked, transparent for values and returns."""
    body = Body()
    inner = governed("inner_read")(raw("stream", body))

    @governed("order_read")
    def outer() -> Generator[int, None, Any]:
        return (yield from inner("o-1"))

    assert drained(outer()) == ([0, 1, 2], ("done", "o-1", 10.0, "n"))
    first, second = rows(plane)
    assert asked(plane, second.id).parent_action_id == first.id
    assert (first.outcome, second.outcome) == ("completed", "completed")


def test_the_kill_switch_stops_a_stream_that_was_thrown_into(plane: EmbeddedControlPlane) -> None:
    """Sending and throwing are steps like any other: the switch is looked at before the tool goes on."""
    log: list[Any] = []
    stream = governed("order_read")(script)(["keep", "keep", "keep"], log)
    next(stream)
    plane.kill(reason="fire", by="ann")
    with pytest.raises(KillSwitchError):
        stream.throw(Thrown("in"))
    assert log == ["closing", "cleaned up"]
    assert rows(plane)[0].outcome == "failed"
