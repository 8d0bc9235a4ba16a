"""Remove tools from lists that the policy denies for all arguments."""

from __future__ import annotations

from ascend_guard_mcp.gate import ToolGate

from .jsonrpc import encode, parse


async def without(gate: ToolGate, raw: bytes) -> bytes:
    """Return the same answer with only the tools that can be called; the original bytes when nothing is removed.

    A list that cannot be parsed is passed on: the list is only a convenience, calls are decided.
    """
    try:
        value = parse(raw)
    except ValueError:
        return raw
    lists = [found for part in (value if isinstance(value, list) else [value]) if (found := _tools(part))]
    names = {name for tools in lists for tool in tools if (name := _name(tool)) is not None}
    denied = await gate.always_denied(names) if names else set()
    if not denied:
        return raw
    for tools in lists:
        tools[:] = [tool for tool in tools if _name(tool) not in denied]
    return encode(value)


def _tools(part: object) -> list[object] | None:
    result = part.get("result") if isinstance(part, dict) else None
    tools = result.get("tools") if isinstance(result, dict) else None
    return tools if isinstance(tools, list) else None


def _name(tool: object) -> str | None:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) else None
