"""The tools of an MCP server: what is called governed does not run undecided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from ascend_guard_mcp import govern_server
from ascend_guard_mcp.inspection import ToolState, require_governed, tools_of
from fastmcp import Client as FastClient
from fastmcp import FastMCP
from fastmcp.server import create_proxy
from fastmcp.utilities.versions import VersionSpec
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import types
from mcp.client.client import Client
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer

from ascend_guard import ConfigurationError, EmbeddedControlPlane, governed


def states(server: object) -> dict[str, ToolState]:
    """What was found, by name."""
    return {state.name: state for state in tools_of(server)}


def low_level(*names: str, needs_client: bool = False, fails: int = 0) -> Server[Any]:
    """A low-level server; one that needs its client to list its tools, or fails to at first, if so said."""
    left = [RuntimeError("not now")] * fails

    async def listing(context: Any, params: Any) -> types.ListToolsResult:
        if left:
            raise left.pop()
        if needs_client:
            context.session.check_client_capability(None)
        return types.ListToolsResult(
            tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in names]
        )

    async def calling(context: Any, params: Any) -> types.CallToolResult:
        return types.CallToolResult(content=[])

    return Server("low", on_list_tools=listing, on_call_tool=calling)


def tool(ran: list[str], name: str, *, gate: bool) -> Callable[..., Any]:
    """A tool, with a gate of its own or without."""

    def body(x: int = 0) -> str:
        ran.append(name)
        return "did it"

    return governed("note_write", "notes")(body) if gate else body


@settings(max_examples=25)
@given(
    kind=st.sampled_from(["official", "fastmcp", "mounted"]),
    gates=st.lists(st.booleans(), max_size=3),
    all=st.booleans(),
)
def test_what_is_called_governed_does_not_run(
    plane: EmbeddedControlPlane, kind: str, gates: list[bool], all: bool
) -> None:
    """On any server with any tools, where everything is denied: exactly those that are not governed run."""
    ran: list[str] = []
    prefix = "in_" if kind == "mounted" else ""
    server: Any = MCPServer("s") if kind == "official" else FastMCP("s")
    for number, gate in enumerate(gates):
        name = f"tool{number}"
        server.tool(name=name)(tool(ran, prefix + name, gate=gate))
    if all:
        govern_server(server)
    if kind == "mounted":
        inner, server = server, FastMCP("outer")
        server.mount(inner, "in")
    found = states(server)
    assert list(found) == [f"{prefix}tool{number}" for number in range(len(gates))]
    for state, gate in zip(found.values(), gates, strict=True):
        assert state.by == ("govern_server" if all else "@governed" if gate else None)

    async def use() -> None:
        async with Client(server) if kind == "official" else FastClient(server) as client:
            for name in found:
                more = {} if kind == "official" else {"raise_on_error": False}
                await client.call_tool(name, {}, **more)

    asyncio.run(use())
    assert ran == [name for name, state in found.items() if not state.governed]


def test_low_level_servers() -> None:
    """They are asked for their tools; those of one that does not tell are one line, and not governed."""
    assert {name: state.by for name, state in states(low_level("a", "b")).items()} == {"a": None, "b": None}
    assert states(govern_server(low_level("a")))["a"].by == "govern_server"
    (silent,) = tools_of(low_level("a", needs_client=True))
    assert (silent.name, silent.governed) == ("*", False)
    assert "does not list" in str(silent.note)
    assert tools_of(govern_server(low_level("a", needs_client=True))) == []
    (failing,) = tools_of(low_level("a", fails=1))
    assert (failing.name, failing.governed) == ("*", False)
    assert tools_of(Server("empty")) == []


def test_mounted_servers() -> None:
    """One that is governed by itself is, wherever it is mounted; the others are not."""
    outer: FastMCP = FastMCP("outer")
    for name in ("open", "closed"):
        inner: FastMCP = FastMCP(name)
        inner.tool(name="act")(tool([], "act", gate=False))
        outer.mount(govern_server(inner) if name == "closed" else inner, name)
    wanted = {"open_act": None, "closed_act": "govern_server"}
    assert {name: state.by for name, state in states(outer).items()} == wanted
    outermost: FastMCP = FastMCP("outermost")
    for prefix in ("x", "y"):
        outermost.mount(outer, prefix)
    assert {name: state.by for name, state in states(outermost).items()} == {
        f"{prefix}_{name}": by for prefix in ("x", "y") for name, by in wanted.items()
    }


def test_tools_that_are_not_listed() -> None:
    """Whoever has the permission can call a tool that others do not see, so it is looked at as well."""
    outer, inner = FastMCP[Any]("outer"), FastMCP[Any]("inner")
    for server in (outer, inner):
        server.tool(name="secret", auth=lambda context: False)(tool([], "secret", gate=False))
        server.tool(name="off")(tool([], "off", gate=False))
        server.tool(name="decided")(tool([], "decided", gate=True))
        server.disable(names={"off", "decided"})
    outer.mount(inner, "in")
    found = tools_of(outer)
    assert {(state.name, state.where, state.by) for state in found} == {
        (name, where, "@governed" if name == "decided" else None)
        for name in ("secret", "off", "decided")
        for where in ("server", "server > inner")
    }
    with pytest.raises(ConfigurationError, match=r"4 of 6 tools .*not listed to every client"):
        require_governed(outer)
    require_governed(govern_server(outer))


@pytest.mark.parametrize("gates", [(True, False), (False, True)])
@pytest.mark.parametrize("off", [None, "1", "2"])
def test_versions_of_a_tool(gates: tuple[bool, bool], off: str | None) -> None:
    """Of two versions one is not governed, so the tool is not, whichever is listed and wherever it is mounted."""
    inner, outer = FastMCP[Any]("inner"), FastMCP[Any]("outer")
    for version, gate in zip(("1", "2"), gates, strict=True):
        inner.tool(name="act", version=version)(tool([], "act", gate=gate))
    if off:
        inner.disable(version=VersionSpec(eq=off))
    outer.mount(inner, "in")
    for server in (inner, outer):
        with pytest.raises(ConfigurationError, match="act"):
            require_governed(server)


async def test_refusing_to_start() -> None:
    """Tools are named with the remedy, while an event loop runs as well; a governed server starts."""
    server = MCPServer("s")
    server.tool(name="send_mail")(tool([], "send", gate=False))
    server.tool(name="fine")(tool([], "fine", gate=True))
    with pytest.raises(ConfigurationError, match=r"1 of 2 tools .*: 'send_mail'\. Call govern_server"):
        require_governed(server)
    with pytest.raises(ConfigurationError, match=r"'\*' \(all tools"):
        require_governed(low_level("a", needs_client=True))
    require_governed(govern_server(server))


@pytest.mark.parametrize("thing", [None, 3, "server", FastMCP, object()])
def test_no_server(thing: object) -> None:
    """What is no server is not called governed."""
    with pytest.raises(ConfigurationError, match="not an MCP server"):
        require_governed(thing)


@pytest.mark.parametrize("mounted", [True, False])
def test_a_proxy_whose_server_is_gone(mounted: bool) -> None:
    """Tools that cannot be listed are not called governed, unless everything is."""
    server: FastMCP = create_proxy("http://127.0.0.1:9/mcp")
    if mounted:
        proxy, server = server, FastMCP("outer")
        server.mount(proxy, "in")
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        require_governed(server)
    require_governed(govern_server(server))
