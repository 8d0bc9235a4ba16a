"""Whose child a span is: across nesting, generators, tasks and threads, and never across a ``yield``."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from listening import Heard, Script
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan

from ascend_guard import governed, guard
from ascend_guard.calling.scope import scope


def parents(heard: Heard) -> dict[str, str | None]:
    """Name of each span to name of its parent."""
    names = {span.context.span_id: span.name for span in heard.spans()}
    return {span.name: None if span.parent is None else names[span.parent.span_id] for span in heard.spans()}


def test_nested_calls_nest(heard: Heard) -> None:
    """A governed call in a governed call is its child, and what either opens is in its own."""
    plane = Script()

    @governed("write", "inner", control_plane=plane)
    def inner() -> None:
        with heard.tracer().start_as_current_span("sql"):
            pass

    @governed("order", "outer", control_plane=plane)
    def outer() -> None:
        with heard.tracer().start_as_current_span("prepare"):
            inner()
        with heard.tracer().start_as_current_span("tidy"):
            pass

    with heard.tracer().start_as_current_span("agent"):
        outer()
    found = {name: parent for name, parent in parents(heard).items() if not name.startswith("ascend.")}
    assert found == {
        "agent": None,
        "execute_tool outer": "agent",
        "prepare": "execute_tool outer",
        "execute_tool inner": "prepare",
        "sql": "execute_tool inner",
        "tidy": "execute_tool outer",
    }
    inner_span = heard.span("execute_tool inner")
    assert inner_span.attributes is not None
    assert inner_span.attributes["ascend.orchestration.depth"] == 1
    outer_span = heard.span("execute_tool outer")
    session = "ascend.orchestration.session_id"
    assert inner_span.attributes[session] == (outer_span.attributes or {})[session]


def test_what_the_control_plane_opens_is_in_the_step_it_works_on(heard: Heard) -> None:
    """A client's HTTP spans lie in the decision, in the wait, or for the kill switch in the call itself."""

    class Client(Script):
        def perform(self, effect: Any) -> Any:
            with heard.tracer().start_as_current_span(f"POST {type(effect).__name__}"):
                return super().perform(effect)

    @governed("refund", "payments", control_plane=Client({"payments": "held-approved"}))
    def pay() -> None: ...

    pay()
    opened = [(name, parent) for name, parent in parents(heard).items() if name.startswith("POST")]
    assert opened == [
        ("POST CheckKillSwitch", "execute_tool payments"),
        ("POST Submit", "ascend.submit"),
        ("POST AwaitDecision", "ascend.wait"),
        ("POST Claim", "ascend.claim"),
        ("POST Begin", "execute_tool payments"),
        ("POST Settle", "execute_tool payments"),
    ]


def test_a_generator_is_current_in_its_steps_only(heard: Heard) -> None:
    """Between two chunks the consumer's own span is current again, and its baggage reaches every step."""
    seen: list[object] = []

    @governed("read", "rows", control_plane=Script())
    def rows() -> Iterator[int]:
        for number in range(3):
            with heard.tracer().start_as_current_span(f"fetch {number}"):
                seen.append(baggage.get_baggage("page"))
            yield number

    with heard.tracer().start_as_current_span("agent") as agent:
        for number in rows():
            assert trace.get_current_span() is agent
            token = context.attach(baggage.set_baggage("page", number))
            with heard.tracer().start_as_current_span(f"use {number}"):
                pass
            context.detach(token)
            context.attach(baggage.set_baggage("page", number))
    found = parents(heard)
    for number in range(3):
        assert found[f"fetch {number}"] == "execute_tool rows"
        assert found[f"use {number}"] == "agent"
    assert seen == [None, 0, 1]


@pytest.mark.parametrize("how", ["exhaust", "close", "drop", "throw"])
def test_a_generators_span_ends_with_it(heard: Heard, how: str) -> None:
    """Exhausted, closed, collected or stopped by an exception: one span, ended, the context as before."""

    @governed("read", "rows", control_plane=Script())
    def rows() -> Generator[int, None, None]:
        yield from range(3)

    before = context.get_current()
    stream = rows()
    assert next(stream) == 0
    assert heard.exporter.get_finished_spans() == ()
    if how == "exhaust":
        assert list(stream) == [1, 2]
    elif how == "close":
        stream.close()
    elif how == "drop":
        del stream
        gc.collect()
    else:
        with pytest.raises(KeyError):
            stream.throw(KeyError("no such row"))
    span = heard.span("execute_tool rows")
    assert (span.attributes or {}).get("error.type") == ("KeyError" if how == "throw" else None)
    assert context.get_current() is before


def test_a_generator_nobody_starts_has_no_span(heard: Heard) -> None:
    """It is decided at the first ``next``, so there is nothing to tell before."""

    @governed("read", "rows", control_plane=Script())
    def rows() -> Iterator[int]:
        yield 1

    rows()
    assert heard.spans() == []


def test_a_generator_may_be_driven_from_several_contexts(heard: Heard) -> None:
    """Started in one context, continued in another, closed in a third: children and parents stay right."""

    @governed("read", "rows", control_plane=Script())
    def rows() -> Iterator[int]:
        for number in range(3):
            with heard.tracer().start_as_current_span(f"fetch {number}"):
                yield_value = number
            yield yield_value

    stream = rows()
    for number in range(2):
        assert contextvars.Context().run(next, stream) == number
    contextvars.Context().run(stream.close)  # type: ignore[attr-defined]
    found = parents(heard)
    assert found["execute_tool rows"] is None
    assert found["fetch 0"] == found["fetch 1"] == "execute_tool rows"


async def test_async_generators_are_current_in_their_steps_only(heard: Heard) -> None:
    """The same for a stream on the event loop, closed early."""

    @governed("read", "rows", control_plane=Script())
    async def rows() -> AsyncGenerator[int, None]:
        for number in range(5):
            with heard.tracer().start_as_current_span(f"fetch {number}"):
                await asyncio.sleep(0)
            yield number

    with heard.tracer().start_as_current_span("agent") as agent:
        stream = rows()
        async for number in stream:
            assert trace.get_current_span() is agent
            with heard.tracer().start_as_current_span(f"use {number}"):
                await asyncio.sleep(0)
            if number == 1:
                await stream.aclose()
    found = parents(heard)
    assert found["execute_tool rows"] == "agent"
    for number in range(2):
        assert found[f"fetch {number}"] == "execute_tool rows"
        assert found[f"use {number}"] == "agent"


def test_an_async_stream_abandoned_with_its_loop_ends_too(heard: Heard) -> None:
    """The loop closes the streams nobody finished when it shuts down."""

    @governed("read", "rows", control_plane=Script())
    async def rows() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def begin() -> AsyncIterator[int]:
        stream = rows()
        await anext(stream)
        return stream

    asyncio.run(begin())
    assert heard.span("execute_tool rows").parent is None


async def test_a_thousand_tasks_keep_their_own_parents(heard: Heard) -> None:
    """Concurrent calls, each nested in one of its own task, do not mix."""
    plane = Script()

    @governed("read", "inner", control_plane=plane)
    async def inner(number: int) -> None:
        await asyncio.sleep(0)
        with heard.tracer().start_as_current_span(f"body {number}"):
            await asyncio.sleep(0)

    @governed("order", "outer", control_plane=plane)
    async def outer(number: int) -> None:
        await asyncio.sleep(0)
        await inner(number)

    async def agent(number: int) -> None:
        with heard.tracer().start_as_current_span(f"agent {number}"):
            await outer(number)

    await asyncio.gather(*map(agent, range(1000)))
    spans = {span.context.span_id: span for span in heard.spans()}

    def up(span: ReadableSpan) -> ReadableSpan:
        assert span.parent is not None
        return spans[span.parent.span_id]

    bodies = [span for span in spans.values() if span.name.startswith("body")]
    assert len(bodies) == 1000
    for body in bodies:
        assert up(body).name == "execute_tool inner"
        assert up(up(body)).name == "execute_tool outer"
        assert up(up(up(body))).name == body.name.replace("body", "agent")
    assert len({up(body).context.span_id for body in bodies}) == 1000


def test_threads_keep_their_own_parents(heard: Heard) -> None:
    """A bare thread starts a trace of its own; one that runs in a copied context continues its caller's."""
    plane = Script()

    @governed("read", "inner", control_plane=plane)
    def inner(number: int) -> None:
        with heard.tracer().start_as_current_span(f"body {number}"):
            pass

    with (
        concurrent.futures.ThreadPoolExecutor(8) as pool,
        heard.tracer().start_as_current_span("agent") as agent,
    ):
        list(pool.map(inner, range(100)))
        copied = [pool.submit(contextvars.copy_context().run, inner, number) for number in range(100, 200)]
        concurrent.futures.wait(copied)
    spans = {span.context.span_id: span for span in heard.spans()}
    for span in spans.values():
        if span.name.startswith("body"):
            assert span.parent is not None
            tool = spans[span.parent.span_id]
            assert tool.name == "execute_tool inner"
            copied_context = int(span.name.split()[1]) >= 100
            assert (tool.parent is not None) is copied_context
            assert (tool.context.trace_id == agent.get_span_context().trace_id) is copied_context


async def test_a_cancelled_call_ends_its_span(heard: Heard) -> None:
    """Cancelled in its body, or while waiting for a person."""
    plane = Script()

    class Patient(Script):
        async def aperform(self, effect: Any) -> Any:
            if type(effect).__name__ == "AwaitDecision":
                recording.set()
                await asyncio.sleep(1)  # the cancelled call waits for it
            return await super().aperform(effect)

    recording = asyncio.Event()

    @governed("read", "body", control_plane=plane)
    async def body() -> None:
        await asyncio.sleep(60)

    @governed("read", "wait", control_plane=Patient({"wait": "held"}))
    async def wait() -> None: ...

    for tool in (body, wait):
        task = asyncio.ensure_future(tool())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    attributes = [heard.span(f"execute_tool {name}").attributes or {} for name in ("body", "wait")]
    assert [each["error.type"] for each in attributes] == ["CancelledError"] * 2
    assert [each["ascend.decision"] for each in attributes] == ["approved", "pending"]
    assert [each.get("ascend.outcome") for each in attributes] == ["failed", None]


async def test_a_call_cancelled_while_its_outcome_is_recorded_ends_its_span(heard: Heard) -> None:
    """The tool has run; that nobody knows whether this was recorded does not lose the span."""

    class Slow(Script):
        async def aperform(self, effect: Any) -> Any:
            if type(effect).__name__ == "Settle":
                recording.set()
                await asyncio.sleep(1)  # the cancelled call waits for it
            return await super().aperform(effect)

    recording = asyncio.Event()

    @governed("read", "body", control_plane=Slow())
    async def body() -> None: ...

    task = asyncio.ensure_future(body())
    await recording.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (heard.span("execute_tool body").attributes or {})["ascend.outcome"] == "completed"


def test_work_handed_back_is_in_the_calls_span(heard: Heard) -> None:
    """A plain function that returns a generator, or a coroutine, is over when that is."""

    @governed("read", "rows", control_plane=Script())
    def rows() -> Any:
        return (numbered(number) for number in range(2))

    @governed("read", "later", control_plane=Script())
    def later() -> Any:
        async def work() -> None:
            numbered(7)

        return work()

    def numbered(number: int) -> int:
        with heard.tracer().start_as_current_span(f"work {number}"):
            return number

    assert list(rows()) == [0, 1]
    asyncio.run(later())
    found = parents(heard)
    assert found["work 0"] == found["work 1"] == "execute_tool rows"
    assert found["work 7"] == "execute_tool later"


def test_guarded_blocks_restore_the_context(heard: Heard) -> None:
    """Also when they end with an error."""
    before = context.get_current()
    with (
        pytest.raises(ZeroDivisionError),
        guard("read", "disk", control_plane=Script()),
        scope(session_id="s"),
    ):
        _ = 1 / 0
    assert context.get_current() is before
    assert (heard.span("execute_tool disk").attributes or {})["error.type"] == "ZeroDivisionError"
