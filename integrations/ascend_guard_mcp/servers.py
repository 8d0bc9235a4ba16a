"""Govern every tool call of the official SDK's servers, mcp 1.x and 2.x, high and low level."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, NoReturn, TypeVar, Unpack

from ascend_guard.errors import AscendError, ConfigurationError

from .approved_call import admit, carry_out, taken
from .caller import NOBODY
from .gate import GateOptions, refusal
from .governed_handlers import Governance, GovernedHandlers
from .sdk_handlers import is_first_major, wraps

S = TypeVar("S")


def govern_server(
    server: S, name: str | None = None, *, hide_denied: bool = False, **declared: Unpack[GateOptions]
) -> S:
    """Run each tool of this server only after a decision allows the call.

    Tools, handlers and middleware that are registered later are governed as well: the gate is directly before the handler,
    inside all middleware, so the judged call is the call that runs. Governing a server again with the same settings changes
    nothing.

    Args:
        server: an ``MCPServer`` or ``Server`` of mcp 2.x, a ``FastMCP`` or ``Server`` of mcp 1.x, or a FastMCP server of
            the fastmcp package, which gets a ``GovernanceMiddleware`` before all its others.
        name: the server's name in policies; by default its own name.
        hide_denied: do not list tools that the policy denies for all arguments.
        **declared: see ``GateOptions``.

    Returns:
        The same server.

    Raises:
        ConfigurationError: this is not such a server, it is governed with other settings, or a setting is wrong.
    """
    if is_fastmcp(server):
        from .fastmcp_middleware import GovernanceMiddleware

        GovernanceMiddleware(name, hide_denied=hide_denied, **declared).install(server)
        return server
    low = low_level(server)
    if low is None:
        raise ConfigurationError(
            f"govern_server needs an MCP server, not {type(server).__name__}: pass the MCPServer, Server or FastMCP object."
        )
    governance = Governance(low.name if name is None else name, hide_denied, declared)
    handlers = handlers_of(low)
    if isinstance(handlers, GovernedHandlers):
        handlers.governance.require_same(governance)
        governance = handlers.governance
    else:
        setattr(low, _attribute(low), GovernedHandlers(governance, wraps(low, governance), handlers))
    high: Any = server
    if high is not low and not hasattr(high.call_tool, "governance"):
        high.call_tool = _in_process(high, low, governance)
    return server


# --- the kinds of server -------------------------------------------------------------------------------------------


def is_fastmcp(server: object) -> bool:
    """Return whether it is a FastMCP server of the fastmcp package."""
    return any(
        kind.__name__ == "FastMCP" and kind.__module__.partition(".")[0] == "fastmcp"
        for kind in type(server).__mro__
    )


def low_level(server: object) -> Any:
    """Return the low-level server of one of the official SDK's, or itself; None for anything else."""
    low = getattr(server, "_lowlevel_server", None) or getattr(server, "_mcp_server", None) or server
    known = any(kind.__module__.startswith("mcp.server.lowlevel") for kind in type(low).__mro__)
    return low if known and isinstance(getattr(low, _attribute(low), None), dict) else None


def handlers_of(low: object) -> dict[Any, Any]:
    """Return the table of a low-level server's handlers; a ``GovernedHandlers`` if it is governed."""
    handlers: dict[Any, Any] = getattr(low, _attribute(low))
    return handlers


def _attribute(low: object) -> str:
    return "request_handlers" if is_first_major(low) else "_request_handlers"


# --- calls in process, both ----------------------------------------------------------------------------------------


def _in_process(server: Any, low: Any, governance: Governance) -> Callable[..., Awaitable[Any]]:
    """``call_tool`` of a high-level server: called by the developer, or by the handler that already has a decision."""
    home = "mcp.server.fastmcp.exceptions" if is_first_major(low) else "mcp.server.mcpserver.exceptions"
    tool_error: type[Exception] = import_module(home).ToolError
    gate, original = governance.gate, server.call_tool

    def told(error: AscendError) -> NoReturn:
        raise tool_error(refusal(error)) from error

    @functools.wraps(original)
    async def call_tool(
        name: str, arguments: dict[str, object] | None = None, *rest: object, **more: object
    ) -> Any:
        if taken(governance, low, name, arguments or {}):
            return await original(name, arguments, *rest, **more)
        try:
            admission = await admit(gate, name, arguments, NOBODY)
        except AscendError as error:
            told(error)

        async def body(judged: dict[str, object]) -> Any:
            return await original(name, judged, *rest, **more)

        return await carry_out(governance, None, name, admission, NOBODY, body, told)

    call_tool.governance = governance  # type: ignore[attr-defined]
    return call_tool
