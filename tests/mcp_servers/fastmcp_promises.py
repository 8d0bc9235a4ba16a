"""What holds for FastMCP's own features, of either major: middleware of its users, mounted servers, proxies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ascend_guard_mcp import GovernanceMiddleware, govern_server, governs
from fastmcp import Client, FastMCP
from fastmcp.server import create_proxy
from fastmcp.server.middleware import Middleware
from fastmcp.server.middleware.tool_injection import ToolInjectionMiddleware
from fastmcp.tools.base import Tool
from mcp_world import World

from ascend_guard.errors import ConfigurationError


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A database of the test's own."""
    one = World(tmp_path)
    yield one
    one.close()


def shop(world: World, name: str = "shop") -> Any:
    """A server with one tool that is allowed up to an amount, and one that is denied."""
    server: Any = FastMCP(name)

    async def spend(order: str, amount: int) -> str:
        world.journal.note("spend", order=order, amount=amount)
        return f"spent {amount}"

    server.tool(spend)
    server.tool(spend, name="wipe")
    return server


async def text(server: Any, tool: str, **arguments: Any) -> str:
    """What a client is told."""
    async with Client(server) as client:
        result = await client.call_tool(tool, arguments, raise_on_error=False)
    return str(result.content[0].text)


def types_of(world: World) -> list[str]:
    """The action types that were asked about."""
    return [row.action_type for row in world.rows()]


class Raise(Middleware):
    """Changes what is spent, by a new message or in the very arguments."""

    def __init__(self, amount: int, *, in_place: bool = False, tool: str | None = None) -> None:
        self._amount, self._in_place, self._tool = amount, in_place, tool

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        message = context.message
        if self._in_place:
            message.arguments["amount"] = self._amount
            return await call_next(context)
        changed = {
            "arguments": {**message.arguments, "amount": self._amount},
            "name": self._tool or message.name,
        }
        return await call_next(context.copy(message=message.model_copy(update=changed)))


@pytest.mark.parametrize("in_place", [False, True], ids=["new message", "in place"])
@pytest.mark.parametrize("installed", [False, True], ids=["added", "installed"])
async def test_middleware_that_changes_a_call(world: World, in_place: bool, installed: bool) -> None:
    """What comes to the tool with other arguments than were approved is asked about as it is."""
    server = shop(world)
    if installed:
        govern_server(server, wait=0, control_plane=world.plane)
    else:
        server.add_middleware(GovernanceMiddleware(wait=0, control_plane=world.plane))
    server.add_middleware(Raise(5000, in_place=in_place))
    said = await text(server, "spend", order="a", amount=1)
    assert said.startswith("Pending: "), said
    assert world.journal.runs() == []
    assert [world.asked(row).action_details["amount"] for row in world.rows()] == [1, 5000]
    assert world.rows()[1].status == "pending"


async def test_middleware_that_changes_the_tool(world: World) -> None:
    """An approved call that is led to another tool is asked about as one of that tool."""
    server = govern_server(shop(world), control_plane=world.plane)
    server.add_middleware(Raise(1, tool="wipe"))
    assert (await text(server, "spend", order="a", amount=1)).startswith("Denied: ")
    assert (types_of(world), world.journal.runs()) == (["shop.spend", "shop.wipe"], [])


async def test_middleware_before_it(world: World) -> None:
    """What middleware before it makes of a call is what is judged; govern_server stands before all of it."""
    server = shop(world)
    server.add_middleware(Raise(7))
    server.add_middleware(GovernanceMiddleware(control_plane=world.plane))
    assert await text(server, "spend", order="a", amount=1) == "spent 7"
    assert [world.asked(row).action_details["amount"] for row in world.rows()] == [7]
    server = shop(world)
    server.add_middleware(Raise(8))
    govern_server(server, control_plane=world.plane)
    assert isinstance(server.middleware[0], GovernanceMiddleware)


async def test_going_round_middleware(world: World) -> None:
    """A call that skips the chain, as middleware can make it, is asked about as well."""
    server = govern_server(shop(world), control_plane=world.plane)
    said = await server.call_tool("wipe", {"order": "a", "amount": 1}, run_middleware=False)
    assert said.is_error
    assert said.content[0].text.startswith("Denied: ")
    await server.call_tool("spend", {"order": "a", "amount": 1}, run_middleware=False)
    assert types_of(world) == ["shop.wipe", "shop.spend"]
    assert len(world.journal.runs()) == 1


async def test_injected_tools(world: World) -> None:
    """Tools that middleware adds are governed, wherever it stands."""

    def wipe(order: str) -> str:
        world.journal.note("wipe", order=order)
        return "wiped"

    for first in (True, False):
        server: Any = FastMCP("shop")
        adding = ToolInjectionMiddleware(tools=[Tool.from_function(wipe)])
        guard = GovernanceMiddleware(control_plane=world.plane)
        for middleware in (guard, adding) if first else (adding, guard):
            server.add_middleware(middleware)
        assert (await text(server, "wipe", order="a")).startswith("Denied: ")
    assert world.journal.runs() == []


async def test_the_same_object_on_both(world: World) -> None:
    """A mounted server that has the very same middleware asks once, under the name of the outer one."""
    guard = GovernanceMiddleware(control_plane=world.plane, action_types={"in_spend": "shop.spend"})
    child, parent = shop(world, "child"), FastMCP("parent")
    for server in (child, parent):
        server.add_middleware(guard)
    parent.mount(child, namespace="in")
    assert await text(parent, "in_spend", order="a", amount=1) == "spent 1"
    assert types_of(world) == ["shop.spend"]
    assert len(world.journal.runs()) == 1
    assert (await text(parent, "in_spend", order="b", amount=1)) == "spent 1"
    assert len(world.rows()) == len(world.journal.runs()) == 2
    assert (await text(child, "spend", order="c", amount=1)) == "spent 1"
    assert types_of(world)[-1] == "child.spend"


async def test_hidden_tools_of_mounted_servers(world: World) -> None:
    """What is listed is judged by the names it is called by, not by those a mounted server has for itself."""
    guard = GovernanceMiddleware(
        control_plane=world.plane, hide_denied=True, action_types={"in_spend": "shop.spend"}
    )
    child, parent = shop(world, "child"), FastMCP("parent")
    for server in (child, parent):
        server.add_middleware(guard)
    parent.mount(child, namespace="in")
    async with Client(parent) as client:
        assert [tool.name for tool in await client.list_tools()] == ["in_spend"]


async def test_one_of_each(world: World) -> None:
    """Two objects are two gates: both must allow it, and the inner action is linked to the outer one."""
    child = govern_server(shop(world, "child"), control_plane=world.plane)
    parent: Any = FastMCP("parent")
    parent.mount(child, namespace="in")
    govern_server(
        parent, control_plane=world.plane, action_types={"in_spend": "shop.spend", "in_wipe": "a.look"}
    )
    assert await text(parent, "in_spend", order="a", amount=1) == "spent 1"
    assert (await text(parent, "in_wipe", order="b", amount=1)).startswith("Denied: ")
    assert types_of(world) == ["shop.spend", "child.spend", "a.look", "child.wipe"]
    outer, inner, *_ = world.rows()
    assert world.asked(inner).parent_action_id == int(outer.id)
    assert [row.outcome for row in world.rows()] == ["completed", "completed", "failed", None]


async def test_a_proxy(world: World) -> None:
    """A server that passes calls on to another is governed like any."""
    proxy = govern_server(create_proxy(shop(world, "behind"), name="shop"), control_plane=world.plane)
    assert await text(proxy, "spend", order="a", amount=1) == "spent 1"
    assert (await text(proxy, "wipe", order="a", amount=1)).startswith("Denied: ")
    assert types_of(world) == ["shop.spend", "shop.wipe"]
    assert len(world.journal.runs()) == 1


def test_which_tools_of_mounted_servers_are_not_governed(world: World) -> None:
    """Those of a server nobody governs, under the names the outer one gives them."""
    inner = shop(world, "inner")
    middle: Any = FastMCP("middle")
    middle.mount(inner, namespace="in")
    outer = shop(world, "outer")
    outer.mount(middle, namespace="mid")
    assert governs(outer) == ["mid_in_spend", "mid_in_wipe", "spend", "wipe"]
    govern_server(inner, control_plane=world.plane)
    assert governs(outer) == ["spend", "wipe"]
    govern_server(outer, control_plane=world.plane)
    assert governs(outer) == []


def test_settings(world: World) -> None:
    """A wrong setting is said where it is written; added by hand and installed again it is one."""
    for wrong in ({"wait": -1}, {"hide_denied": 1}, {"name": ""}, {"wiat": 1}):
        with pytest.raises(ConfigurationError):
            GovernanceMiddleware(**wrong)
    server = shop(world)
    server.add_middleware(GovernanceMiddleware(wait=1, control_plane=world.plane))
    govern_server(server, wait=1, control_plane=world.plane)
    assert len([one for one in server.middleware if isinstance(one, GovernanceMiddleware)]) == 1
    with pytest.raises(ConfigurationError, match="already governed"):
        govern_server(server, wait=2, control_plane=world.plane)
