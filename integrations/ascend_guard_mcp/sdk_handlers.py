"""The governed handlers of ``tools/call`` and ``tools/list`` for the official SDK's servers, both major versions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from ascend_guard.errors import AscendError

from .approved_call import admit, carry_out
from .caller import caller_of
from .gate import refusal
from .governed_handlers import Governance, Wrap
from .input_rounds import Round

Handler = Callable[..., Awaitable[Any]]


def is_first_major(low: object) -> bool:
    """Return whether this low-level server is from mcp 1.x."""
    return hasattr(low, "request_handlers")


def keys(low: object) -> tuple[object, object]:
    """Return the keys of the handlers of ``tools/list`` and ``tools/call``."""
    if not is_first_major(low):
        return "tools/list", "tools/call"
    types = _types()
    return types.ListToolsRequest, types.CallToolRequest


def wraps(low: object, governance: Governance) -> dict[object, Wrap]:
    """Return the wrappers for the handlers of a low-level server.

    Args:
        low: the low-level server.
        governance: how it is governed.
    """
    list_tools, call_tool = keys(low)
    first = is_first_major(low)
    calling: Callable[..., object] = _calling_1 if first else _calling_2
    around: dict[object, Wrap] = {call_tool: functools.partial(calling, low, governance)}
    if governance.hide_denied:
        around[list_tools] = functools.partial(_listing_1 if first else _listing_2, governance)
    return around


def _calling_2(low: Any, governance: Governance, entry: Any) -> Any:
    gate, types = governance.gate, _types()

    async def call(context: Any, params: Any) -> Any:
        caller = caller_of(context)
        turn = Round(
            params.model_dump(
                by_alias=True, mode="json", exclude_none=True, include={"request_state", "input_responses"}
            )
        )
        try:
            admission = await admit(gate, params.name, params.arguments, caller)
        except AscendError as error:
            state = turn.another(error, context.protocol_version)
            if state is not None:
                return types.InputRequiredResult(request_state=state)
            return _told(error)

        async def body(arguments: dict[str, object]) -> Any:
            changes: dict[str, object] = {}
            if arguments or params.arguments is not None:  # a call without arguments stays without
                changes["arguments"] = arguments
            raw = {**(context.params or {}), **changes}
            if turn.ours:
                raw = {key: raw[key] for key in raw if key not in ("requestState", "inputResponses")}
                raw |= turn.fields
                sent = type(params).model_validate({"name": params.name, **turn.fields}, by_name=False)
                changes |= {"request_state": sent.request_state, "input_responses": sent.input_responses}
            judged = params.model_copy(update=changes)
            return await entry.handler(dataclasses.replace(context, params=raw), judged)

        return await carry_out(governance, low, params.name, admission, caller, body, _told)

    return dataclasses.replace(entry, handler=call)


def _calling_1(low: object, governance: Governance, handler: Handler) -> Handler:
    gate, types = governance.gate, _types()

    @functools.wraps(handler)
    async def call(request: Any) -> Any:
        params = request.params
        caller = caller_of(_request_context(low))
        try:
            admission = await admit(gate, params.name, params.arguments, caller)
        except AscendError as error:
            return types.ServerResult(_told(error))

        async def body(arguments: dict[str, object]) -> Any:
            if not arguments and params.arguments is None:
                return await handler(request)
            judged = params.model_copy(update={"arguments": arguments})
            return await handler(request.model_copy(update={"params": judged}))

        def told(error: AscendError) -> object:
            return types.ServerResult(_told(error))

        return await carry_out(governance, None, params.name, admission, caller, body, told)

    return call


def _listing_2(governance: Governance, entry: Any) -> Any:
    async def listed(context: Any, params: Any) -> Any:
        result = await entry.handler(context, params)
        if isinstance(result, dict):
            result = _types().ListToolsResult.model_validate(result)
        return await _shown(governance, result)

    return dataclasses.replace(entry, handler=listed)


def _listing_1(governance: Governance, handler: Handler) -> Handler:
    @functools.wraps(handler)
    async def listed(request: object) -> Any:
        answer = await handler(request)
        return _types().ServerResult(await _shown(governance, getattr(answer, "root", answer)))

    return listed


async def _shown(governance: Governance, result: Any) -> Any:
    if not hasattr(result, "tools"):
        return result
    return result.model_copy(update={"tools": await governance.shown(result.tools)})


def _told(error: AscendError) -> Any:
    content = [{"type": "text", "text": refusal(error)}]
    return _types().CallToolResult.model_validate({"content": content, "isError": True})


def _request_context(low: Any) -> Any:
    try:
        return low.request_context
    except LookupError:
        return None


def _types() -> Any:
    """Return the types of the installed major version: a type checker knows only one."""
    return import_module("mcp.types")
