"""The LangChain tool of every contestant in the group ``langchain``, in any environment.

It takes one text and a run manager, because no other tool runs under ascend-langchain 2.0.1's wrapper. Imports nothing of
ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

from langchain_core.tools import BaseTool


class Refund(BaseTool):
    """A tool that does nothing."""

    name: str = "refund_text"
    description: str = "Pay for an order back."

    def _run(self, tool_input: str, run_manager: Any = None) -> str:
        return f"paid {tool_input}"


def caller(tool: BaseTool) -> Callable[[int], None]:
    """Make one call, as a model requests it, and check its answer."""

    def call(number: int) -> None:
        order = f"order-{number}"
        answer = tool.invoke(
            {"type": "tool_call", "name": tool.name, "args": {"tool_input": order}, "id": f"call-{number}"}
        )
        assert answer.content == f"paid {order}", answer

    return call
