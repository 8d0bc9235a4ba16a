"""LangChain and LangGraph agents whose tools run only after a decision allows the call.

::

    from ascend_guard_langchain import GovernanceMiddleware, govern_tools

    agent = create_agent(model, tools, middleware=[GovernanceMiddleware(action_types={"send_email": "email_send"})])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .governed_tools import govern_tool, govern_tools, is_governed
    from .inspection import require_governed
    from .middleware import GovernanceMiddleware

_HOME = {
    "GovernanceMiddleware": "middleware",
    "govern_tool": "governed_tools",
    "govern_tools": "governed_tools",
    "is_governed": "governed_tools",
    "require_governed": "inspection",
}

__all__ = ["GovernanceMiddleware", "govern_tool", "govern_tools", "is_governed", "require_governed"]


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'ascend_guard_langchain' has no attribute {name!r}")
    from importlib import import_module

    try:
        home = import_module(f".{module}", __name__)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in (
            "langchain",
            "langchain_core",
            "langgraph",
            "pydantic",
        ):
            raise
        raise ImportError(
            f"{name} needs {error.name}, which is not installed. Install it: pip install 'ascend-guard[langchain]'",
            name=error.name,
        ) from None
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return __all__
