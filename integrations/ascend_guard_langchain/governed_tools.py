"""Tools that run only after a decision allows the call, on every path."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TypeVar, Unpack, cast

from langchain_core.tools import BaseTool

from ascend_guard.calling.declarations import Declaration, options
from ascend_guard.calling.descriptions import checked_names
from ascend_guard.calling.governed import BoundGoverned, Governed
from ascend_guard.errors import ConfigurationError

from .gate import LangChainGate, OnDenied, gate_of, with_gate
from .tool_arguments import HANDS_ON

T = TypeVar("T", bound=BaseTool)

_LANGCHAIN = "langchain."


def govern_tool(
    tool: T,
    action_type: str | None = None,
    *,
    tool_name: str | None = None,
    on_denied: OnDenied = "message",
    **declared: Unpack[Declaration],
) -> T:
    """Return a copy of a tool whose calls are decided before they run, on every path: ``invoke``, ``batch``, ``stream``,
    ``run``, their async forms, pipes, and the tool nodes of agents.

    It keeps the tool's class, name, schema and behaviour. The validated arguments are judged, including defaults and
    without what LangGraph injects (state, store, runtime, the call's id).

    Args:
        tool: any LangChain tool. If its function is already ``@governed``, the call is decided there, and only there.
        action_type: action category; by default ``langchain.<name>``.
        tool_name: the tool or service; by default the tool's name.
        on_denied: what happens to a call that must not run: a ``message`` for the model (an error ``ToolMessage``;
            without a tool call to answer, the error is raised), or ``raise`` always.
        **declared: see ``ascend_guard.calling.declarations.Declaration``.

    Raises:
        ConfigurationError: this is not a tool, or it cannot be governed this way.
    """
    made = _governed(tool, action_type, tool_name, on_denied, declared)
    if not decided_inside(tool):
        _require_names(declared, [tool])
    return made


def _governed(
    tool: T, action_type: str | None, tool_name: str | None, on_denied: OnDenied, declared: Declaration
) -> T:
    if not isinstance(tool, BaseTool):
        raise ConfigurationError(
            f"govern_tool needs a LangChain tool, not {type(tool).__name__}: put @tool on the function first, or "
            "govern the function with ascend_guard.governed."
        )
    if isinstance(gate_of(tool), LangChainGate):
        raise ConfigurationError(f"The tool {tool.name!r} is already governed; govern it once.")
    if on_denied not in ("message", "raise"):
        raise ConfigurationError(f"on_denied must be 'message' or 'raise', not {on_denied!r}.")
    if decided_inside(tool):
        if action_type is not None or declared:
            raise ConfigurationError(
                f"The function of the tool {tool.name!r} is @governed, which decides its calls: put the declaration "
                "there."
            )
        chosen = None
    else:
        chosen = options(action_type or _LANGCHAIN + tool.name, tool_name or tool.name, declared)
    return cast(T, with_gate(tool, LangChainGate(type(tool), chosen, on_denied)))


def _require_names(declared: Declaration, tools: list[BaseTool]) -> None:
    """Refuse a name in ``redact`` or ``exclude`` that no tool has, if the tools declare their arguments.

    Raises:
        ConfigurationError: there is such a name.
    """
    if all(tool.args for tool in tools):
        names = {name for tool in tools for name in tool.args}
        for option in ("redact", "exclude"):
            checked_names(option, declared.get(option), names)


def govern_tools(
    tools: Iterable[BaseTool],
    action_types: Mapping[str, str] | None = None,
    *,
    on_denied: OnDenied = "message",
    **declared: Unpack[Declaration],
) -> list[BaseTool]:
    """Govern several tools; tools that are already governed stay unchanged.

    Args:
        tools: any LangChain tools.
        action_types: action categories by the tools' names; ``langchain.<name>`` for a tool that is not in the table.
        on_denied: as in ``govern_tool``.
        **declared: the declaration for all of them; see ``ascend_guard.calling.declarations.Declaration``.

    Raises:
        ConfigurationError: a tool cannot be governed, or a name in the table is not a tool's.
    """
    given = list(tools)
    table = dict(action_types or {})
    unknown = sorted(set(table) - {tool.name for tool in given if isinstance(tool, BaseTool)})
    if unknown:
        raise ConfigurationError(
            f"There is no tool {unknown[0]!r} among {', '.join(tool.name for tool in given) or 'none'}: so the action type "
            "for it has no effect."
        )
    ungoverned = [tool for tool in given if isinstance(tool, BaseTool) and not is_governed(tool)]
    if ungoverned:
        _require_names(declared, ungoverned)
    governed = []
    for tool in given:
        if isinstance(tool, BaseTool) and is_governed(tool):
            governed.append(tool)
        else:
            action_type = table.get(getattr(tool, "name", ""))
            governed.append(_governed(tool, action_type, None, on_denied, declared))
    return governed


def is_governed(tool: BaseTool) -> bool:
    """Return whether this tool runs only after a decision: it is a copy from ``govern_tool``, or its functions are
    ``@governed``."""
    return isinstance(gate_of(tool), LangChainGate) or decided_inside(tool)


def decided_inside(tool: BaseTool) -> bool:
    """Return whether every function in which a call of this tool could end is ``@governed``."""
    kind = type(tool)
    if kind._run in HANDS_ON and kind._arun in HANDS_ON:
        functions = [getattr(tool, name, None) for name in ("func", "coroutine")]
    else:
        functions = [
            None if (method := inspect.getattr_static(kind, name)) is inherited else method
            for name, inherited in (("_run", None), ("_arun", BaseTool._arun))
        ]
    given = [function for function in functions if callable(function)]
    return bool(given) and all(isinstance(function, Governed | BoundGoverned) for function in given)
