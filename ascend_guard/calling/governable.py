"""What ``@governed`` refuses to wrap, and what to write instead.

Promise 1: a wrapper works only where every way to run the tool goes through it. A class has subclasses. A tool object of
a framework has methods (``invoke``, ``run``, ``call``) that a wrapper of the object would pass on to the raw tool. No
framework is imported to recognise its tool objects: the module and name of their classes, or their attributes, are enough.
"""

from __future__ import annotations

import functools
import inspect

from ascend_guard.errors import ConfigurationError

_UNDER = "put @governed under {}, on the function, so that the framework calls the governed one"
_SERVER = "; or govern all tools of a server with ascend_guard_mcp.govern_server(server)"
_LANGCHAIN = (
    f"{_UNDER.format('@tool')}; or govern a finished tool with ascend_guard_langchain.govern_tool(tool)"
)
_FRAMEWORKS = {
    "langchain_core": _LANGCHAIN,
    "langchain": _LANGCHAIN,
    "agents.tool": _UNDER.format("@function_tool"),
    "pydantic_ai": _UNDER.format("@agent.tool or Tool(...)"),
    "mcp": _UNDER.format("@server.tool()") + _SERVER,
    "fastmcp": _UNDER.format("@server.tool") + _SERVER,
    "llama_index": _UNDER.format("FunctionTool.from_defaults(...)"),
    "crewai": _UNDER.format("@tool, or on the _run method of a BaseTool"),
    "google.adk": _UNDER.format("FunctionTool(...)"),
    "autogen_core": _UNDER.format("FunctionTool(...)"),
    "agent_framework": _UNDER.format("@tool"),
    "smolagents": _UNDER.format("@tool, or on the forward method of a Tool"),
    "haystack": _UNDER.format("@tool or Tool(...)"),
    "strands": _UNDER.format("@tool"),
    "claude_agent_sdk": _UNDER.format("@tool"),
    "semantic_kernel": _UNDER.format("@kernel_function"),
}
"""What to write instead, by the package or module of a tool object's class."""

_SCHEMAS = (
    *(
        "args_schema",
        "parameters",
        "params_json_schema",
        "parameters_json_schema",
        "input_schema",
        "inputSchema",
    ),
    *("inputs", "schema", "function_schema", "tool_spec", "metadata"),
)
"""The attributes in which tool objects describe their arguments."""


def require_governable(tool: object) -> None:
    """Refuse objects that a wrapper cannot govern.

    Raises:
        ConfigurationError: the object is a class, a property, a framework's tool object, or not callable. The message
            says what to write instead.
    """
    if isinstance(tool, type):
        raise ConfigurationError(
            f"governed cannot wrap the class {tool.__name__}: its subclasses could be used without a decision. "
            f"Put @governed on the methods that act."
        )
    if isinstance(tool, property):
        raise ConfigurationError(
            "governed cannot wrap a property: put @governed under @property, on the function."
        )
    found = _framework_of(tool)
    if found is not None:
        framework, instead = found
        raise ConfigurationError(
            f"governed cannot wrap {type(tool).__name__} of {framework}: it is a finished tool, which its framework runs by "
            f"methods that would run without a decision. Instead, {instead}."
        )
    if inspect.iscoroutine(tool):
        raise ConfigurationError(
            f"governed wraps a function, but {tool.__qualname__}(...) is already called: remove the parentheses."
        )
    if not callable(tool) and not isinstance(tool, classmethod | staticmethod):
        raise ConfigurationError(f"governed needs a callable, not {type(tool).__name__}.")


def _framework_of(tool: object) -> tuple[str, str] | None:
    """Return where a tool object comes from, and what to write instead; None for anything else."""
    if isinstance(tool, functools.partial | classmethod | staticmethod) or inspect.isroutine(tool):
        return None
    for kind in type(tool).__mro__:
        named = kind.__name__.lower()
        if "tool" in named or "function" in named:
            for package, instead in _FRAMEWORKS.items():
                if kind.__module__ == package or kind.__module__.startswith(f"{package}."):
                    return package.partition(".")[0], instead
    if _describes_itself(tool):
        return type(tool).__module__, _UNDER.format("what makes the tool")
    return None


def _describes_itself(tool: object) -> bool:
    """Return whether it has a name, a description and an argument schema, as every framework's tool objects have."""

    def has(name: str) -> bool:
        return inspect.getattr_static(tool, name, None) is not None  # runs no code of the object

    return has("name") and has("description") and any(map(has, _SCHEMAS))
