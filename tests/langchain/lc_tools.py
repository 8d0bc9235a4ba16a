"""A few plain tools and what they did."""

# Without ``from __future__ import annotations``: LangChain reads the annotations of functions defined in here.

import asyncio
from typing import Any

from ascend_guard_langchain import GovernanceMiddleware
from langchain_core.tools import BaseTool, tool


class Shop:
    """Tools over one body that counts its runs."""

    def __init__(self) -> None:
        self.ran: list[Any] = []

    def pay(self, name: str = "pay") -> BaseTool:
        """Pays; sync and, on the event loop, async."""

        def pay(amount: int) -> str:
            """Pay."""
            self.ran.append(amount)
            return f"paid {amount}"

        async def apay(amount: int) -> str:
            """Pay."""
            await asyncio.sleep(0)
            return pay(amount)

        from langchain_core.tools import StructuredTool

        return StructuredTool.from_function(pay, apay, name=name)

    def other(self, name: str = "other") -> BaseTool:
        """Does something else."""

        @tool(name)
        def other(amount: int) -> str:
            """Do something else."""
            self.ran.append(("other", amount))
            return f"other {amount}"

        return other


def guard(action: str = "ask_it", on_pending: Any = "interrupt", **more: Any) -> GovernanceMiddleware:
    """The middleware, with this action type for ``pay``."""
    return GovernanceMiddleware({"pay": action}, on_pending=on_pending, **more)
