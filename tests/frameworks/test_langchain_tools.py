"""LangChain: tools made of governed functions are governed, and look to the model as they did before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from framework_tools import ALLOWED, ANSWER, CALL, DENIED, Pair, assert_ran, assert_refused, each_shape, make
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane


def _decorated(pair: Pair, function: Callable[..., Any]) -> BaseTool:
    return tool(function)


def _named(pair: Pair, function: Callable[..., Any]) -> BaseTool:
    return tool("change_order", description="Change an order.")(function)


def _structured(pair: Pair, function: Callable[..., Any]) -> BaseTool:
    if pair.is_async:
        return StructuredTool.from_function(coroutine=function)
    return StructuredTool.from_function(function)


MAKERS = (_decorated, _named, _structured)
Maker = Callable[[Pair, Callable[..., Any]], BaseTool]
each_maker = pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__.strip("_"))


def registered(pair: Pair, maker: Maker) -> BaseTool:
    """The governed tool, registered after the raw one."""
    maker(pair, pair.raw)
    return maker(pair, pair.governed)


@each_maker
@each_shape
async def test_a_denied_tool_does_not_run(plane: EmbeddedControlPlane, shape: str, maker: Maker) -> None:
    """However it is invoked: the error is raised to the agent, the body never runs."""
    pair = make(shape, DENIED)
    made = registered(pair, maker)
    calls = 2
    with pytest.raises(AuthorizationDeniedError):
        await made.ainvoke(CALL)
    with pytest.raises(AuthorizationDeniedError):
        await made.abatch([CALL])
    if not pair.is_async:
        calls = 5
        with pytest.raises(AuthorizationDeniedError):
            made.invoke(CALL)
        with pytest.raises(AuthorizationDeniedError):
            made.batch([CALL])
        with pytest.raises(AuthorizationDeniedError):
            list(made.stream(CALL))
    assert_refused(plane, pair, calls)


@each_maker
@each_shape
async def test_an_allowed_tool_runs_once(plane: EmbeddedControlPlane, shape: str, maker: Maker) -> None:
    """Every way to invoke it runs the body once, and is one recorded action with the arguments by name."""
    pair = make(shape, ALLOWED)
    made = registered(pair, maker)
    answers = [await made.ainvoke(CALL), *await made.abatch([CALL])]
    if not pair.is_async:
        answers += [made.invoke(CALL), *made.batch([CALL]), *made.stream(CALL)]
    assert answers == [ANSWER] * len(answers)
    assert_ran(plane, pair, len(answers))


@each_maker
@each_shape
def test_the_model_sees_the_same_tool(shape: str, maker: Maker) -> None:
    """Name, description and arguments (types, descriptions, defaults) are those of the raw function's tool."""
    pair = make(shape, DENIED)
    raw, made = maker(pair, pair.raw), maker(pair, pair.governed)
    assert (made.name, made.description, made.args) == (raw.name, raw.description, raw.args)
    assert made.tool_call_schema.model_json_schema() == raw.tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    assert convert_to_openai_tool(made) == convert_to_openai_tool(raw)
    assert set(made.args) == {"order_id", "amount", "tags", "note"}
    assert made.description.startswith("Change an order.")


@pytest.mark.parametrize("shape", ["function", "coroutine", "string annotations"])
def test_docstrings_are_parsed(shape: str) -> None:
    """Descriptions taken from the docstring survive the gate."""
    pair = make(shape, DENIED)
    raw, made = (tool(parse_docstring=True)(function) for function in (pair.raw, pair.governed))
    assert made.args == raw.args
    assert made.args["tags"]["description"] == "its marks."
    assert convert_to_openai_tool(pair.governed) == convert_to_openai_tool(pair.raw)


@each_shape
async def test_a_tool_call_ends_in_a_tool_message(plane: EmbeddedControlPlane, shape: str) -> None:
    """Called the way an agent's executor does, with a tool call, the answer comes back under its id."""
    pair = make(shape, ALLOWED)
    made = registered(pair, _decorated)
    call = {"name": made.name, "args": CALL, "id": "call-1", "type": "tool_call"}
    message = await made.ainvoke(call)
    assert isinstance(message, ToolMessage)
    assert (message.content, message.tool_call_id) == (ANSWER, "call-1")
    assert_ran(plane, pair)


async def test_a_tool_with_both_bodies_governs_both(plane: EmbeddedControlPlane) -> None:
    """A structured tool of a sync and an async function asks for each on its own path."""
    sync, slow = make("function", DENIED), make("coroutine", DENIED)
    StructuredTool.from_function(sync.raw, slow.raw)
    made = StructuredTool.from_function(sync.governed, slow.governed)
    with pytest.raises(AuthorizationDeniedError):
        made.invoke(CALL)
    with pytest.raises(AuthorizationDeniedError):
        await made.ainvoke(CALL)
    assert slow.ran == []
    assert_refused(plane, sync, 2)


@pytest.mark.parametrize("shape", ["function", "coroutine", "method", "coroutine method"])
async def test_a_copied_tool_is_governed(plane: EmbeddedControlPlane, shape: str) -> None:
    """Copies that LangChain makes of a tool, retries and bound configurations included, ask like the first."""
    pair = make(shape, DENIED)
    made = registered(pair, _structured)
    variants = (
        made.model_copy(),
        made.with_config(tags=["x"]),
        made.with_retry(stop_after_attempt=1),
        RunnableLambda(lambda given: given) | made,
    )
    for variant in variants:
        with pytest.raises(AuthorizationDeniedError):
            await variant.ainvoke(CALL)
    assert_refused(plane, pair, len(variants))


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_runnable_of_one_argument(
    plane: EmbeddedControlPlane, asynchronous: bool, allowed: bool
) -> None:
    """``RunnableLambda`` over a governed function, after one over the raw function, is governed."""
    from ascend_guard import governed

    ran: list[str] = []

    def look(order_id: str) -> str:
        ran.append(order_id)
        return order_id

    async def alook(order_id: str) -> str:
        ran.append(order_id)
        return order_id

    raw: Any = alook if asynchronous else look
    RunnableLambda(raw)
    runnable = RunnableLambda(governed(ALLOWED if allowed else DENIED, "orders")(raw))
    if allowed:
        assert await runnable.ainvoke("o-1") == "o-1"
    else:
        with pytest.raises(AuthorizationDeniedError):
            await runnable.ainvoke("o-1")
    assert ran == ["o-1"] * allowed
