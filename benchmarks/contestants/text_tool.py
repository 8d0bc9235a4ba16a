"""The LangChain tool that every contestant of the group ``langchain`` calls, in whatever environment.

It takes one text and a run manager, for nothing else runs under ascend-langchain 2.0.1's wrapper. Imports nothing of ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

from langchain_core.tools import BaseTool


class Refund(BaseTool):
    """Nothing to do."""

    name: str = "refund_text"
    description: str = "Pay for an order back."

    def _run(self, tool_input: str, run_manager: Any = None) -> str:
        return f"paid {tool_input}"


def caller(tool: BaseTool) -> Callable[[int], None]:
    """One call, as a model asks for it, and a look at its answer."""

    def call(number: int) -> None:
        order = f"order-{number}"
        answer = tool.invoke(
            {"type": "tool_call", "name": tool.name, "args": {"tool_input": order}, "id": f"call-{number}"}
        )
        assert answer.content == f"paid {order}", answer

    return call
