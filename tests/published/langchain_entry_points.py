"""Runs inside the environment with the published ``ascend-langchain``: uses its entry points as its documentation says.

Standard input: one command a line, ``{"base_url", "api_key", "options": {"agent_id", "agent_name"}, "calls": [{"id",
"do", "kwargs"}]}``; ``do`` is one of ``ENTRY_POINTS``. The package reads its configuration from the environment and
keeps it, so the first command's holds for all. Standard output: for every call one line, ``{"id", "result"}`` or ``{"id",
"raised", "message"}``. A result is ``{"result", "ran"}`` or ``{"raised", "message", "ran"}``: what the tool's caller got,
and whether the tool ran.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

import ascend_langchain
from ascend_langchain.wrapper import wrap_tools
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as langchain_tool

Said = dict[str, Any]


def outcome(ran: list[Any], call: Callable[[], Any]) -> Said:
    """What a call gave, or raised, and with what the function behind it ran."""
    try:
        result = call()
    except Exception as error:
        return {"raised": type(error).__name__, "message": str(error), "ran": ran}
    return {
        "result": result if isinstance(result, str | int | float | dict | list) else repr(result),
        "ran": ran,
    }


def about() -> Said:
    """Everything public the package has."""
    return {"version": ascend_langchain.__version__, "package": sorted(ascend_langchain.__all__)}


def governed(action_type: str, order: str, **options: Any) -> Said:
    """The decorator on a function."""
    ran: list[Any] = []

    @ascend_langchain.governed(action_type, "orders", **options)
    def look_up(order: str) -> str:
        ran.append(order)
        return f"order {order}"

    return outcome(ran, lambda: look_up(order))


def governed_async(action_type: str, order: str, **options: Any) -> Said:
    """The decorator on a coroutine function."""
    ran: list[Any] = []

    @ascend_langchain.governed_async(action_type, "orders", **options)
    async def look_up(order: str) -> str:
        ran.append(order)
        return f"order {order}"

    return outcome(ran, lambda: asyncio.run(look_up(order)))


def orders_tool(ran: list[Any]) -> Any:
    @langchain_tool
    def orders(query: str) -> str:
        """Look up an order."""
        ran.append(query)
        return f"order {query}"

    return orders


def tool_wrapper(action_type: str, order: str, asynchronous: bool = False, **options: Any) -> Said:
    """The wrapper around somebody's tool with one input of text."""

    class Orders(BaseTool):
        name: str = "orders"
        description: str = "Look up an order."

        def _run(self, tool_input: str, run_manager: Any = None) -> str:
            ran.append(tool_input)
            return f"order {tool_input}"

        async def _arun(self, tool_input: str, run_manager: Any = None) -> str:
            return self._run(tool_input)

    ran: list[Any] = []
    wrapped = ascend_langchain.AscendToolWrapper(tool=Orders(), action_type=action_type, **options)
    if asynchronous:
        return outcome(ran, lambda: asyncio.run(wrapped.ainvoke(order)))
    return outcome(ran, lambda: wrapped.invoke(order))


def wrapped_tools(order: str) -> Said:
    """``wrap_tools`` names the action after the tool."""
    ran: list[Any] = []
    (wrapped,) = wrap_tools([orders_tool(ran)], action_type_map={"orders": "orders_read"})
    return outcome(
        ran, lambda: {"name": wrapped.name, "checked": wrapped._check_governance(order)["approved"]}
    )


def base_tool(action_type: str, order: str, asynchronous: bool = False, **options: Any) -> Said:
    """A tool that is a subclass of the governed one."""
    ran: list[Any] = []

    class Orders(ascend_langchain.GovernedBaseTool):
        name: str = "orders"
        description: str = "Look up an order."

        def _execute(self, tool_input: str) -> str:
            ran.append(tool_input)
            return f"order {tool_input}"

    tool = Orders(action_type=action_type, **options)
    if asynchronous:
        return outcome(ran, lambda: asyncio.run(tool.ainvoke(order)))
    return outcome(ran, lambda: tool.invoke(order))


def structured_tool(order: str) -> Said:
    """The structured tool only carries a client: its calls are not governed by the package."""
    ran: list[Any] = []

    def look_up(query: str) -> str:
        ran.append(query)
        return f"order {query}"

    tool = ascend_langchain.GovernedStructuredTool.from_function(
        func=look_up, name="orders", description="Look up."
    )
    connection = tool.client.test_connection()
    return {**outcome(ran, lambda: tool.invoke({"query": order})), "connected": connection.connected}


def factory(action_type: str, order: str, **options: Any) -> Said:
    """``create_governed_tool``, whose function takes what the package's own schema of it lets through."""
    ran: list[Any] = []

    def look_up(**given: Any) -> str:
        ran.append(given)
        return f"order {sorted(given)}"

    tool = ascend_langchain.create_governed_tool(
        name="orders",
        description="Look up an order.",
        func=look_up,
        action_type=action_type,
        tool_name="orders",
        **options,
    )
    return outcome(ran, lambda: tool.func(query=order))


def callback(order: str, raises: bool = False, names: str = "orders", **options: Any) -> Said:
    """The callback handler beside a tool; LangChain stops for a handler's error only when it ``raises``."""
    ran: list[Any] = []
    handler = ascend_langchain.AscendCallbackHandler(**options)
    handler.raise_error = raises
    tool = orders_tool(ran)
    tool.name = names
    return outcome(ran, lambda: tool.invoke({"query": order}, config={"callbacks": [handler]}))


def callback_events(order: str) -> Said:
    """The callback handler told of a chain and of a model, as older versions of LangChain name them."""
    handler = ascend_langchain.AscendCallbackHandler(log_llm_calls=True, log_chain_events=True)
    chain, model = uuid.uuid4(), uuid.uuid4()
    handler.on_chain_start({"name": "orders"}, {"order": order}, run_id=chain)
    handler.on_llm_start({"name": "clerk"}, [order], run_id=model, parent_run_id=chain)
    known = len(handler._chain_ids)
    handler.on_llm_end(None, run_id=model, parent_run_id=chain)
    handler.on_chain_end({"order": "shipped"}, run_id=chain)
    return {"chains": [known, len(handler._chain_ids)]}


ENTRY_POINTS: dict[str, Callable[..., Said]] = {
    each.__name__: each
    for each in (
        about,
        governed,
        governed_async,
        tool_wrapper,
        wrapped_tools,
        base_tool,
        structured_tool,
        factory,
        callback,
        callback_events,
    )
}


def main() -> None:
    """Read commands until there are no more."""
    for line in sys.stdin:
        command = json.loads(line)
        os.environ.setdefault("ASCEND_API_URL", command["base_url"])
        os.environ.setdefault("ASCEND_API_KEY", command["api_key"])
        for name, value in command.get("options", {}).items():
            os.environ.setdefault(f"ASCEND_{name.upper()}", value)
        for call in command["calls"]:
            try:
                said = {"id": call["id"], "result": ENTRY_POINTS[call["do"]](**call.get("kwargs", {}))}
            except Exception as error:
                said = {"id": call["id"], "raised": type(error).__name__, "message": str(error)}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
