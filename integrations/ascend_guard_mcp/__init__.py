"""MCP servers whose tools run only after a decision allows the call.

The public names are resolved when they are first used, so importing the package imports no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .fastmcp_middleware import GovernanceMiddleware
    from .inspection import governs, require_governed
    from .servers import govern_server

_HOME = {
    "GovernanceMiddleware": "fastmcp_middleware",
    "govern_server": "servers",
    "governs": "inspection",
    "require_governed": "inspection",
}

__all__ = ["GovernanceMiddleware", "govern_server", "governs", "require_governed"]


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'ascend_guard_mcp' has no attribute {name!r}")
    from importlib import import_module

    try:
        value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("ascend_guard", "ascend_guard_mcp"):
            raise
        also = " and your server's own framework, `pip install fastmcp`" if missing == "fastmcp" else ""
        raise ImportError(
            f"{name} needs the package {missing}: pip install 'ascend-guard[mcp]'{also}.", name=missing
        ) from error
    return value


def __dir__() -> list[str]:
    return __all__
