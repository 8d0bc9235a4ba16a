"""Find the tools of an MCP server, and those that would run without a decision."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ascend_guard.calling.governed import BoundGoverned, Governed
from ascend_guard.errors import ConfigurationError

from .governed_handlers import GovernedHandlers
from .sdk_handlers import is_first_major, keys
from .servers import handlers_of, is_fastmcp, low_level

EVERY_TOOL = "*"
"""Stands for the tools of a server that does not list them."""

_REMEDY = "Call govern_server(server) where the server is created."
_ALL = "all tools: the server does not list them without a client"
_HIDDEN = "not listed to every client"


class ToolState(NamedTuple):
    """One tool of a server.

    Attributes:
        name: the name for clients; ``*`` stands for all tools of a server that does not list them.
        governed: whether it runs only after a decision.
        by: what governs it: ``govern_server`` (or its middleware), or ``@governed``.
        where: the server on which it was found.
        note: further information, or None.
    """

    name: str
    governed: bool
    by: str | None
    where: str
    note: str | None = None


def tools_of(server: object, name: str = "server") -> list[ToolState]:
    """Find a server's tools, and what governs each. May be called while an event loop runs.

    A tool whose function is ``@governed`` is governed, even on an ungoverned server.

    Args:
        server: an object that ``govern_server`` accepts.
        name: the server's name in ``where``.

    Raises:
        ConfigurationError: this is not an MCP server, or it does not list its tools.
    """
    if not is_fastmcp(server) and low_level(server) is None:
        raise ConfigurationError(
            f"{name} is of the type {type(server).__name__}, which is not an MCP server. Pass the MCPServer, "
            "Server or FastMCP object."
        )
    states = _of_fastmcp(server, name) if is_fastmcp(server) else _of_official(server, name)
    try:
        # In its own thread, so that it can be called from a running event loop.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, states).result()
    except Exception as error:  # a proxy requests its servers' lists, and providers of tools can run any code
        raise ConfigurationError(
            f"The tools of {name} cannot be listed ({type(error).__name__}: {str(error)!a}). The servers behind it must "
            "answer."
        ) from error


def governs(server: object) -> list[str]:
    """Return the names of a server's tools that would run without a decision; empty when all are governed.

    ``*`` stands for the tools of a low-level server that does not list them without a client.

    Args:
        server: an object that ``govern_server`` accepts.

    Raises:
        ConfigurationError: this is not an MCP server, or it does not list its tools.
    """
    return sorted({tool.name for tool in tools_of(server) if not tool.governed})


def require_governed(server: object) -> None:
    """Refuse to start with a server that has a tool which would run without a decision::

        govern_server(server)
        require_governed(server)

    Args:
        server: an object that ``govern_server`` accepts.

    Raises:
        ConfigurationError: a tool is not governed (the message lists them), or this is not an MCP server.
    """
    tools = tools_of(server)
    unasked = [tool for tool in tools if not tool.governed]
    if unasked:
        listed = ", ".join(f"{tool.name!a}{f' ({tool.note})' if tool.note else ''}" for tool in unasked)
        raise ConfigurationError(
            f"{len(unasked)} of {len(tools)} tools would run without a decision: {listed}. {_REMEDY}"
        )


async def _of_official(server: Any, where: str) -> list[ToolState]:
    low = low_level(server)
    governed = isinstance(handlers_of(low), GovernedHandlers)
    if server is low:
        names = [name for name in await _listed(low) if not (governed and name == EVERY_TOOL)]
        return [_state(name, governed, False, where, _ALL if name == EVERY_TOOL else None) for name in names]
    found = {tool.name: _is_governed(tool) for tool in server._tool_manager.list_tools()}
    if not governed:  # an override may list more than the manager has
        found |= {tool.name: False for tool in await server.list_tools() if tool.name not in found}
    return [_state(name, governed, own, where) for name, own in found.items()]


def _state(tool: str, by_server: bool, own: bool, where: str, note: str | None = None) -> ToolState:
    by = "govern_server" if by_server else "@governed" if own else None
    return ToolState(tool, by is not None, by, where, note)


async def _listed(low: object) -> list[str]:
    """Return a low-level server's tools; ``*`` if its handler needs a client's request, an empty list if no tool can
    run."""
    list_tools, call_tool = keys(low)
    handlers = handlers_of(low)
    if call_tool not in handlers:
        return []
    try:
        if is_first_major(low):
            listed = (await handlers[list_tools](None)).root
        else:
            from mcp.types import PaginatedRequestParams

            listed = await handlers[list_tools].handler(None, PaginatedRequestParams())
        return [tool.name for tool in listed.tools]
    except Exception:  # handlers can run any code
        return [EVERY_TOOL]


async def _of_fastmcp(server: Any, where: str, governed: bool = False) -> list[ToolState]:
    """Return the listed tools, and those that need a permission or are switched off."""
    from .fastmcp_middleware import GovernanceMiddleware

    governed = governed or any(isinstance(each, GovernanceMiddleware) for each in server.middleware)
    inner: dict[int, dict[str, ToolState]] = {}
    hidden: list[ToolState] = []
    for provider in server.providers:
        mounted = _mounted(provider)
        if mounted is not None:
            there = await _of_fastmcp(mounted, f"{where} > {mounted.name}", governed)
            # If a tool has several versions, an ungoverned one counts.
            there.sort(key=lambda state: not state.governed)
            inner[id(mounted)] = {state.name: state for state in there}
        elif not governed:  # the server's own list omits a provider that fails
            tools = await provider.list_tools()
            hidden += [_state(tool.name, False, _is_governed(tool), where, _HIDDEN) for tool in tools]
    found: list[ToolState] = []
    seen: set[tuple[object, ...]] = set()
    for tool in await server.list_tools(run_middleware=False):
        place, name = id(getattr(tool, "_server", None)), getattr(tool, "_original_name", "")
        state = inner.get(place, {}).get(name) or _state(tool.name, governed, _is_governed(tool), where)
        found.append(state._replace(name=tool.name, where=where))
        seen |= {(place, name), (id(server), tool.name, state.governed)}
    for place, states in inner.items():
        found += [state._replace(note=_HIDDEN) for name, state in states.items() if (place, name) not in seen]
    return found + [state for state in hidden if (id(server), state.name, state.governed) not in seen]


def _mounted(provider: Any) -> Any:
    """Return the server whose tools a provider adds, however it is wrapped; None for any other provider."""
    while hasattr(provider, "_inner"):
        provider = provider._inner
    return getattr(provider, "server", None)


def _is_governed(tool: object) -> bool:
    return issubclass(type(getattr(tool, "fn", None)), Governed | BoundGoverned)
