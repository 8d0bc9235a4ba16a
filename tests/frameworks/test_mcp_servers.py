"""MCP: tools on a server, called through a client, are governed, and listed as they were before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from framework_tools import (
    ALLOWED,
    ANSWER,
    CALL,
    DENIED,
    assert_ran,
    assert_refused,
    decided,
    each_shape,
    make,
)
from mcp.client.client import Client
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import TextContent

from ascend_guard import EmbeddedControlPlane, governed

each_mode = pytest.mark.parametrize("mode", ["auto", "legacy"])


def serving(*tools: Callable[..., Any]) -> MCPServer:
    """A server with these tools, called ``tool0``, ``tool1`` and so on."""
    server = MCPServer("orders")
    for number, function in enumerate(tools):
        server.tool(name=f"tool{number}")(function)
    return server


@each_mode
@each_shape
async def test_a_denied_tool_does_not_run(plane: EmbeddedControlPlane, shape: str, mode: str) -> None:
    """The client gets an error result; the raw function on the same server makes no difference."""
    pair = make(shape, DENIED)
    async with Client(serving(pair.raw, pair.governed), mode=mode) as client:
        result = await client.call_tool("tool1", CALL)
    assert result.is_error
    assert_refused(plane, pair)


@each_mode
@each_shape
async def test_an_allowed_tool_runs_once(plane: EmbeddedControlPlane, shape: str, mode: str) -> None:
    """One call, one run, one recorded action with the arguments by name."""
    pair = make(shape, ALLOWED)
    async with Client(serving(pair.raw, pair.governed), mode=mode) as client:
        result = await client.call_tool("tool1", CALL)
    assert not result.is_error
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert content.text == ANSWER
    assert result.structured_content == {"result": ANSWER}
    assert_ran(plane, pair)


@each_mode
@each_shape
async def test_the_tool_is_listed_the_same(shape: str, mode: str) -> None:
    """Name, description and both schemas are those of the raw function."""
    pair = make(shape, DENIED)
    listed = []
    for function in (pair.raw, pair.governed):
        server = MCPServer("orders")
        server.tool()(function)
        async with Client(server, mode=mode) as client:
            (tool,) = (await client.list_tools()).tools
        listed.append(tool)
    raw, made = listed
    assert made == raw
    assert set(made.input_schema["properties"]) == {"order_id", "amount", "tags", "note"}
    assert made.output_schema is not None
    assert made.description is not None
    assert made.description.startswith("Change an order.")


@each_mode
async def test_wrong_arguments_are_asked_about_nowhere(plane: EmbeddedControlPlane, mode: str) -> None:
    """What the server refuses by the schema reaches neither the control plane nor the body."""
    pair = make("function", ALLOWED)
    async with Client(serving(pair.raw, pair.governed), mode=mode) as client:
        result = await client.call_tool("tool1", {**CALL, "amount": -1})
    assert result.is_error
    assert_ran(plane, pair, 0)


@each_mode
@pytest.mark.parametrize("shape", ["function", "coroutine"])
async def test_it_stays_a_function_after_registration(
    plane: EmbeddedControlPlane, shape: str, mode: str
) -> None:
    """The decorator hands the governed tool back as it is, and a second server can have it too."""
    pair = make(shape, DENIED)
    first, second = MCPServer("first"), MCPServer("second")
    assert first.tool(name="change")(pair.governed) is pair.governed
    assert second.tool(name="change")(pair.governed) is pair.governed
    for server in (first, second):
        async with Client(server, mode=mode) as client:
            assert (await client.call_tool("change", CALL)).is_error
    assert_refused(plane, pair, 2)


@each_mode
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_resources_and_prompts_are_governed(
    plane: EmbeddedControlPlane, asynchronous: bool, mode: str
) -> None:
    """A governed function that serves a resource or a prompt does not run when denied, and does when allowed."""
    ran: list[str] = []

    def look(order_id: str) -> str:
        ran.append(order_id)
        return order_id

    async def alook(order_id: str) -> str:
        ran.append(order_id)
        return order_id

    raw: Any = alook if asynchronous else look
    server = MCPServer("orders")
    server.resource("raw://{order_id}")(raw)
    server.prompt(name="raw")(raw)
    for kind in (DENIED, ALLOWED):
        gate = governed(kind, "orders")
        server.resource(kind.replace("_", "-") + "://{order_id}")(gate(raw))
        server.prompt(name=kind)(gate(raw))
    async with Client(server, mode=mode) as client:
        with pytest.raises(Exception, match=r"."):
            await client.read_resource("order-delete://o-1")
        with pytest.raises(Exception, match=r"."):
            await client.get_prompt(DENIED, {"order_id": "o-1"})
        assert ran == []
        await client.read_resource("order-read://o-2")
        await client.get_prompt(ALLOWED, {"order_id": "o-3"})
    assert ran == ["o-2", "o-3"]


@each_mode
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_tools_with_a_context_are_governed(
    plane: EmbeddedControlPlane, asynchronous: bool, mode: str
) -> None:
    """The context the server passes in reaches the body, is in no schema, and does not disturb the decision."""
    ran: list[str] = []

    def drop(order_id: str, ctx: Context) -> str:
        ran.append(order_id)
        return ctx.request_id

    async def adrop(order_id: str, ctx: Context) -> str:
        ran.append(order_id)
        return ctx.request_id

    raw: Any = adrop if asynchronous else drop
    denied, allowed = governed(DENIED, "orders"), governed(ALLOWED, "orders")
    async with Client(serving(raw, denied(raw), allowed(raw)), mode=mode) as client:
        listed = (await client.list_tools()).tools
        assert [set(tool.input_schema["properties"]) for tool in listed] == [{"order_id"}] * 3
        assert (await client.call_tool("tool1", {"order_id": "o-1"})).is_error
        assert ran == []
        assert not (await client.call_tool("tool2", {"order_id": "o-2"})).is_error
    assert ran == ["o-2"]
    assert [(kind, (seen or {})["order_id"]) for kind, seen, _ in decided(plane)] == [
        (DENIED, "o-1"),
        (ALLOWED, "o-2"),
    ]
