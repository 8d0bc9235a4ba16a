"""Agents whose model calls every tool it has, and tools that tell when they ran."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from ascend_guard_langchain import govern_tool
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, StructuredTool

from ascend_guard import AscendError, governed


class Model(GenericFakeChatModel):
    """A model that can be given tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def model(*names: str) -> Model:
    """A model that calls these tools once, all at the same time, and is done."""
    calls = [{"name": name, "args": {"x": 1}, "id": f"call-{i}"} for i, name in enumerate(names)]
    return Model(messages=iter([AIMessage("", tool_calls=calls), AIMessage("done")]))


class Ran(list[str]):
    """Which tools ran."""

    def function(self, name: str) -> Callable[..., Any]:
        """A function for a tool."""

        def body(x: int = 0) -> str:
            """Do something."""
            self.append(name)
            return "did it"

        return body

    def coroutine(self, name: str) -> Callable[..., Any]:
        """The same as a coroutine function."""

        async def body(x: int = 0) -> str:
            """Do something."""
            self.append(name)
            return "did it"

        return body

    def tool(self, kind: str, name: str) -> BaseTool:
        """A tool of one of the ``KINDS``."""
        function, coroutine = self.function(name), self.coroutine(name)
        gate = governed("note_write", "notes")
        if kind == "governed":
            function = gate(function)
        if kind in ("governed", "half"):
            coroutine = gate(coroutine)
        made = StructuredTool.from_function(function, coroutine, name=name, description="Do something.")
        return govern_tool(made) if kind == "gated" else made


KINDS = {"raw": None, "half": None, "gated": "govern_tool", "governed": "@governed"}
"""The kinds of tools, with what governs them."""


class Passing(AgentMiddleware[Any, Any]):
    """Middleware that looks at calls and lets them pass."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(request)


class Idle(AgentMiddleware[Any, Any]):
    """Middleware that has nothing to do with tools."""

    def before_model(self, state: Any, runtime: Any) -> None:
        return None


OTHERS: dict[str, Callable[[], AgentMiddleware[Any, Any]]] = {
    "Passing": Passing,
    "Idle": Idle,
    "ToolRetryMiddleware": lambda: ToolRetryMiddleware(max_retries=0),
}


def agent(
    tools: Iterable[BaseTool], middleware: Iterable[AgentMiddleware[Any, Any]] = (), **more: Any
) -> Any:
    """An agent that calls each of its tools."""
    given = list(tools)
    names = [tool.name for tool in given if isinstance(tool, BaseTool)]
    return create_agent(model(*names), given, middleware=list(middleware), **more)


def use(agent: Any, *, asynchronously: bool) -> None:
    """Let an agent do its work; what it may not do, it does not."""
    given = {"messages": [("user", "go")]}
    try:
        if asynchronously:
            asyncio.run(agent.ainvoke(given))
        else:
            agent.invoke(given)
    except AscendError:  # a function that is @governed raises
        pass
