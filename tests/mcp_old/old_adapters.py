"""A LangChain agent with MCP tools, as langchain-mcp-adapters loads them: governed on the agent's side, each call once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ascend_guard_langchain import GovernanceMiddleware, govern_tools
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.tools import load_mcp_tools
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

import ascend_guard
from ascend_guard import EmbeddedControlPlane

POLICY = """\
version: 1
rules:
  - {name: small, actions: [refund], when: args.amount <= 100, effect: allow}
  - {name: big, actions: [refund], when: args.amount > 100, effect: require_approval}
  - {name: no-wiping, actions: [langchain.wipe], effect: deny, reason: Nobody wipes.}
"""
SHOP = """
import sys
from mcp.server.fastmcp import FastMCP

server = FastMCP("shop")
journal = open(sys.argv[1], "a", buffering=1)


@server.tool()
def refund(order: str, amount: float) -> str:
    print("refund", order, amount, file=journal)
    return f"refunded {amount:.2f} on {order}"


@server.tool()
def wipe(order: str) -> str:
    print("wipe", order, file=journal)
    return "wiped"


server.run("stdio")
"""


class Scripted(GenericFakeChatModel):
    """A model that says what it was told to say."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[EmbeddedControlPlane]:
    """Whoever decides."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    one = ascend_guard.configure(
        policy=tmp_path / "policy.yaml", database_url=f"sqlite:///{tmp_path}/ascend.db"
    )
    yield one
    one.close()


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[list[BaseTool]]:
    """The tools of a real server, in a process of its own."""
    started = StdioServerParameters(command=sys.executable, args=["-c", SHOP, str(folder / "journal")])
    async with stdio_client(started) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield await load_mcp_tools(session)


def ran(folder: Path) -> list[str]:
    """What the server's tools did."""
    journal = folder / "journal"
    return journal.read_text().splitlines() if journal.exists() else []


def agent(tools: list[BaseTool], *calls: tuple[str, dict[str, Any]], **how: Any) -> Any:
    """An agent that makes these calls, one after the other."""
    script = [
        AIMessage("", tool_calls=[{"name": name, "args": given, "id": f"call-{number}"}])
        for number, (name, given) in enumerate(calls)
    ]
    return create_agent(Scripted(messages=iter([*script, AIMessage("Done.")])), tools, **how)


def told(said: dict[str, Any]) -> list[ToolMessage]:
    """What the tools answered."""
    return [message for message in said["messages"] if isinstance(message, ToolMessage)]


@pytest.mark.parametrize("by_tool", [False, True])
async def test_each_call_is_decided(plane: EmbeddedControlPlane, tmp_path: Path, by_tool: bool) -> None:
    """Allowed calls reach the server, denied ones do not, whichever of the two governs; each is one action."""
    names = {"refund": "refund"}
    async with shop(tmp_path) as tools:
        how = {"middleware": [] if by_tool else [GovernanceMiddleware(names)]}
        made = agent(
            govern_tools(tools, names) if by_tool else tools,
            ("refund", {"order": "o-1", "amount": 5}),
            ("wipe", {"order": "o-1"}),
            **how,
        )
        paid, refused = told(await made.ainvoke({"messages": [HumanMessage("Go on.")]}))
    assert "refunded 5.00 on o-1" in str(paid.content)
    assert refused.status == "error"
    assert "Nobody wipes." in str(refused.content)
    assert ran(tmp_path) == ["refund o-1 5.0"]
    rows = plane.read(lambda reader: reader.actions("local"))
    assert [(row.action_type, row.status) for row in rows] == [
        ("langchain.wipe", "denied"),
        ("refund", "approved"),
    ]


async def test_a_person_decides_and_edits(plane: EmbeddedControlPlane, tmp_path: Path) -> None:
    """The graph is interrupted, and what the approver made of the arguments is what the server gets."""
    thread: Any = {"configurable": {"thread_id": "t"}}
    async with shop(tmp_path) as tools:
        made = agent(
            tools,
            ("refund", {"order": "o-2", "amount": 900}),
            middleware=[GovernanceMiddleware({"refund": "refund"}, on_pending="interrupt")],
            checkpointer=InMemorySaver(),
        )
        held = await made.ainvoke({"messages": [HumanMessage("Go on.")]}, thread)
        assert held["__interrupt__"]
        (waiting,) = plane.pending()
        plane.approve(str(waiting.id), approver="ann", arguments={"amount": 90})
        (paid,) = told(await made.ainvoke(Command(resume="go on"), thread))
    assert "refunded 90.00 on o-2" in str(paid.content)
    assert ran(tmp_path) == ["refund o-2 90.0"]
