"""FastMCP: tools, prompts and resources on a server, called through its client, are governed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools import Tool, tool
from fastmcp.utilities.types import create_function_without_params, get_cached_typeadapter
from framework_tools import (
    ALLOWED,
    ANSWER,
    CALL,
    DENIED,
    SHAPES,
    assert_ran,
    assert_refused,
    decided,
    each_shape,
    make,
)

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, governed


def serving(*tools: Callable[..., Any]) -> FastMCP:
    """A server with these tools, called ``tool0``, ``tool1`` and so on."""
    server: FastMCP = FastMCP("orders")
    for number, function in enumerate(tools):
        server.tool(function, name=f"tool{number}")
    return server


@each_shape
async def test_a_denied_tool_does_not_run(plane: EmbeddedControlPlane, shape: str) -> None:
    """The client gets an error; the raw function on the same server, called before, makes no difference."""
    pair = make(shape, DENIED)
    async with Client(serving(pair.raw, pair.governed)) as client:
        await client.call_tool("tool0", CALL)
        pair.ran.clear()
        with pytest.raises(ToolError):
            await client.call_tool("tool1", CALL)
    assert_refused(plane, pair)


@each_shape
async def test_an_allowed_tool_runs_once(plane: EmbeddedControlPlane, shape: str) -> None:
    """One call, one run, one recorded action with the arguments by name."""
    pair = make(shape, ALLOWED)
    async with Client(serving(pair.raw, pair.governed)) as client:
        result = await client.call_tool("tool1", CALL)
    assert result.data == ANSWER
    assert_ran(plane, pair)


@each_shape
async def test_the_tool_is_listed_the_same(shape: str) -> None:
    """Name, description and both schemas are those of the raw function."""
    pair = make(shape, DENIED)
    listed = []
    for function in (pair.raw, pair.governed):
        server: FastMCP = FastMCP("orders")
        server.tool(function)
        async with Client(server) as client:
            (tool,) = await client.list_tools()
        listed.append(tool)
    raw, made = listed
    assert made == raw
    assert set(made.input_schema["properties"]) == {"order_id", "amount", "tags", "note"}
    assert made.output_schema is not None
    assert made.description is not None
    assert made.description.startswith("Change an order.")


@each_shape
async def test_a_tool_made_without_a_server_is_governed(plane: EmbeddedControlPlane, shape: str) -> None:
    """``Tool.from_function`` and ``run``, after the raw function's, ask as well."""
    pair = make(shape, DENIED)
    Tool.from_function(pair.raw)
    with pytest.raises(AuthorizationDeniedError):
        await Tool.from_function(pair.governed).run(CALL)
    assert_refused(plane, pair)


async def _outcome(adapter: Any) -> Any:
    """What a type adapter's call gives, awaited when it is a coroutine."""
    result = adapter.validate_python(CALL)
    return await result if hasattr(result, "__await__") else result


@each_shape
async def test_its_type_adapters_do_not_go_round_the_gate(plane: EmbeddedControlPlane, shape: str) -> None:
    """FastMCP caches adapters by function and copies functions to resolve annotations; neither may run the raw one."""
    pair = make(shape, DENIED)
    get_cached_typeadapter(pair.raw)
    with pytest.raises(Exception, match=r"."):
        await _outcome(get_cached_typeadapter(pair.governed))
    assert pair.ran == []


@each_shape
async def test_functions_it_copies_are_governed_or_cannot_be_copied(
    plane: EmbeddedControlPlane, shape: str
) -> None:
    """A copy without some parameters, made of the code, must not be a way to the raw body."""
    pair = make(shape, DENIED)

    async def attempt() -> None:
        result = create_function_without_params(pair.governed, ["note"])(**CALL, note=None)
        if hasattr(result, "__await__"):
            await result

    with pytest.raises(Exception, match=r"."):
        await attempt()
    assert pair.ran == []


RAN: list[str] = []


def look(order_id: str) -> str:
    """Look at an order; the annotations are strings."""
    RAN.append(order_id)
    return order_id


async def alook(order_id: str) -> str:
    """Look at an order, slowly."""
    RAN.append(order_id)
    return order_id


@pytest.mark.parametrize("raw", [look, alook], ids=lambda raw: raw.__name__)
@pytest.mark.parametrize("kind", ["prompt", "resource"])
async def test_prompts_and_resources_are_governed(
    plane: EmbeddedControlPlane, kind: str, raw: Callable[..., Any]
) -> None:
    """A governed function that serves a prompt or a resource does not run when denied, and does when allowed."""
    RAN.clear()
    server: FastMCP = FastMCP("orders")

    def add(name: str, function: Any) -> None:
        if kind == "prompt":
            server.prompt(function, name=name)
        else:
            server.resource(name.replace("_", "-") + "://{order_id}", name=name)(function)

    async def ask(client: Client[Any], name: str, order_id: str) -> None:
        if kind == "prompt":
            await client.get_prompt(name, {"order_id": order_id})
        else:
            await client.read_resource(name.replace("_", "-") + f"://{order_id}")

    add("raw", raw)
    for action in (DENIED, ALLOWED):
        add(action, governed(action, "orders")(raw))
    async with Client(server) as client:
        await ask(client, "raw", "o-0")
        with pytest.raises(Exception, match=r"."):
            await ask(client, DENIED, "o-1")
        assert RAN == ["o-0"]
        await ask(client, ALLOWED, "o-2")
    assert RAN == ["o-0", "o-2"]
    assert [action for action, _, _ in decided(plane)] == [DENIED, ALLOWED]


def drop(order_id: str, ctx: Context) -> str:
    """Drop an order."""
    RAN.append(order_id)
    return ctx.request_id


async def adrop(order_id: str, ctx: Context) -> str:
    """Drop an order, slowly."""
    RAN.append(order_id)
    return ctx.request_id


@pytest.mark.parametrize("raw", [drop, adrop], ids=lambda raw: raw.__name__)
async def test_tools_with_a_context_are_governed(
    plane: EmbeddedControlPlane, raw: Callable[..., Any]
) -> None:
    """The context the server injects reaches the body, is in no schema, and does not disturb the decision."""
    RAN.clear()
    denied, allowed = governed(DENIED, "orders"), governed(ALLOWED, "orders")
    async with Client(serving(raw, denied(raw), allowed(raw))) as client:
        listed = await client.list_tools()
        assert [set(tool.input_schema["properties"]) for tool in listed] == [{"order_id"}] * 3
        with pytest.raises(ToolError):
            await client.call_tool("tool1", {"order_id": "o-1"})
        assert RAN == []
        await client.call_tool("tool2", {"order_id": "o-2"})
    assert RAN == ["o-2"]
    assert [(kind, (seen or {})["order_id"]) for kind, seen, _ in decided(plane)] == [
        (DENIED, "o-1"),
        (ALLOWED, "o-2"),
    ]


# Python lets nobody set an attribute, such as a mark, on a bound method.
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if "method" not in shape])
async def test_a_marked_function_is_governed(plane: EmbeddedControlPlane, shape: str) -> None:
    """``fastmcp.tools.tool`` only marks a function for a server; marked before or after, the governed one is served."""
    pair = make(shape, DENIED)
    server: FastMCP = FastMCP("orders")
    server.add_tool(tool(name="raw")(pair.raw))
    server.add_tool(Tool.from_function(governed(DENIED, "orders")(pair.raw), name="before"))
    server.add_tool(tool(name="after")(pair.governed))
    async with Client(server) as client:
        assert {listed.name for listed in await client.list_tools()} == {"raw", "before", "after"}
        for name in ("before", "after"):
            with pytest.raises(ToolError):
                await client.call_tool(name, CALL)
    assert_refused(plane, pair, 2)


def chunks(order_id: str) -> Iterator[str]:
    """Give an order in two pieces."""
    RAN.append(order_id)
    yield order_id
    yield order_id


async def achunks(order_id: str) -> AsyncIterator[str]:
    """Give an order in two pieces, slowly."""
    RAN.append(order_id)
    yield order_id
    yield order_id


@pytest.mark.parametrize("raw", [chunks, achunks], ids=lambda raw: raw.__name__)
async def test_generators_are_governed(plane: EmbeddedControlPlane, raw: Callable[..., Any]) -> None:
    """The server collects the chunks of an allowed generator; a denied one gives none."""
    RAN.clear()
    denied, allowed = governed(DENIED, "orders"), governed(ALLOWED, "orders")
    async with Client(serving(raw, denied(raw), allowed(raw))) as client:
        with pytest.raises(ToolError):
            await client.call_tool("tool1", {"order_id": "o-1"})
        assert RAN == []
        result = await client.call_tool("tool2", {"order_id": "o-2"})
    assert [content.text for content in result.content] == ['["o-2","o-2"]']
    assert RAN == ["o-2"]
    assert [(kind, events.count("completed")) for kind, _, events in decided(plane)] == [
        (DENIED, 0),
        (ALLOWED, 1),
    ]
