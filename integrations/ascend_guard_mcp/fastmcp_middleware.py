"""Govern every tool call of FastMCP servers (package fastmcp 3 and 4)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Unpack

from fastmcp.server.context import Context
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import Tool, ToolResult

from ascend_guard.errors import AscendError, ConfigurationError

from .approved_call import admit, carry_out, passed_on, taken
from .caller import caller_of
from .gate import GateOptions, refusal
from .governed_handlers import Governance
from .input_rounds import Round

_listing: ContextVar[tuple[object, ...]] = ContextVar("ascend_guard_mcp_listing", default=())


class GovernanceMiddleware(Middleware):
    """Run each tool of this server only after a decision allows the call.

    Add it before other middleware, or let ``govern_server`` do it: earlier middleware may answer a call itself. Later
    middleware cannot change a call unnoticed: a call that arrives at the tool with other arguments is decided again. A
    mounted server with the same object decides once; one with its own object decides itself.

    Args:
        name: the server's name in policies; by default that of the server to which this is added.
        hide_denied: do not list tools that the policy denies for all arguments.
        **declared: see ``GateOptions``.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self, name: str | None = None, *, hide_denied: bool = False, **declared: Unpack[GateOptions]
    ) -> None:
        self._name = name
        self._hide_denied = hide_denied
        self._declared = declared
        self._by_name: dict[str, Governance] = {}
        # Report mistakes now, not at the first call.
        Governance("server" if name is None else name, hide_denied, declared)

    def install(self, server: Any) -> None:
        """Put this before all other middleware of a FastMCP server; repeating it with the same settings changes nothing.

        Raises:
            ConfigurationError: the server is governed with other settings.
        """
        for other in server.middleware:
            if isinstance(other, GovernanceMiddleware):
                other._governance(server.name).require_same(self._governance(server.name))
                return
        server.middleware.insert(0, self)
        self._watch(server)

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, ToolResult]
    ) -> ToolResult:
        """Decide the call, then run what was approved."""
        server, message = _server(context), context.message
        self._watch(server)
        arguments = message.arguments or {}
        if passed_on(self, server, message.name, arguments):
            return await call_next(context)

        async def body(judged: dict[str, object]) -> ToolResult:
            return await call_next(context.copy(message=message.model_copy(update={"arguments": judged})))

        return await self._governed(server, message.name, arguments, body)

    async def on_list_tools(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Sequence[Tool]]
    ) -> Sequence[Tool]:
        """Hide tools that policy always denies, if requested; by the names under which this client calls the tools."""
        around = _listing.get()
        if self in around:
            return await call_next(context)
        token = _listing.set((*around, self))
        try:
            tools = await call_next(context)
        finally:
            _listing.reset(token)
        return await self._governance(_server(context).name).shown(tools)

    def _governance(self, server: str) -> Governance:
        name = server if self._name is None else self._name
        known = self._by_name.get(name)
        if known is None:
            known = self._by_name[name] = Governance(name, self._hide_denied, self._declared)
        return known

    def _watch(self, server: Any) -> None:
        """Govern the server's tools as well, for calls that middleware changed, or that passed none."""
        if self in getattr(server.call_tool, "watchers", ()):
            return
        original = server.call_tool

        @functools.wraps(original)
        async def call_tool(name: str, arguments: dict[str, object] | None = None, **more: Any) -> Any:
            given = arguments or {}
            if more.get("run_middleware", True) or taken(self, server, name, given):
                return await original(name, arguments, **more)

            async def body(judged: dict[str, object]) -> Any:
                return await original(name, judged, **more)

            return await self._governed(server, name, given, body, at_the_tool=True)

        call_tool.watchers = (self, *getattr(original, "watchers", ()))  # type: ignore[attr-defined]
        server.call_tool = call_tool

    async def _governed(
        self,
        server: Any,
        tool: str,
        arguments: dict[str, object],
        body: Callable[[dict[str, object]], Awaitable[ToolResult]],
        *,
        at_the_tool: bool = False,
    ) -> ToolResult:
        request = _request(server)
        caller = caller_of(request)
        turn = Round(_sent(request))
        try:
            admission = await admit(self._governance(server.name).gate, tool, arguments, caller)
        except AscendError as error:
            state = turn.another(error, getattr(request, "protocol_version", None))
            return _pending(state) if state is not None else _told(error)

        async def run(judged: dict[str, object]) -> ToolResult:
            with _as_sent(request, turn):
                return await body(judged)

        return await carry_out(self, None if at_the_tool else server, tool, admission, caller, run, _told)


def _told(error: AscendError) -> ToolResult:
    # Returned, not raised: other middleware retries, rewrites and caches exceptions by their causes.
    return ToolResult(content=refusal(error), is_error=True)


def _pending(state: str) -> ToolResult:
    from fastmcp.tools.base import InputRequiredToolResult
    from mcp.types import InputRequiredResult

    return InputRequiredToolResult(InputRequiredResult(request_state=state))


def _server(context: MiddlewareContext[object]) -> Any:
    if context.fastmcp_context is None:
        raise ConfigurationError("This call has no server: GovernanceMiddleware must be added to one.")
    return context.fastmcp_context.fastmcp


def _request(server: Any) -> Any:
    """Return the SDK's context of the message that is being answered; None in process."""
    request = Context(fastmcp=server).request_context
    return getattr(request, "_srctx", None) or request  # fastmcp 4 wraps it


def _sent(request: object) -> dict[str, object]:
    """Return the fields of a further round, as sent by the client; fastmcp 3 has none."""
    params = getattr(request, "params", None) or {}
    return {key: params[key] for key in ("requestState", "inputResponses") if params.get(key) is not None}


@contextmanager
def _as_sent(request: Any, turn: Round) -> Iterator[None]:
    """Let the tool see the fields of its own rounds, not ours."""
    if not turn.ours:
        yield
        return
    from fastmcp.server.dependencies import bind_request_context

    others = {
        key: request.params[key] for key in request.params if key not in ("requestState", "inputResponses")
    }
    with bind_request_context(dataclasses.replace(request, params={**others, **turn.fields})):
        yield
