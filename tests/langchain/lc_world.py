"""What the shared world lacks for LangChain tools: a policy by names of actions, scripted models, agents, conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import world
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

WORLD_POLICY = """
version: 1
rules:
  - {name: nothing-with-666, actions: [ask_limited], when: args.amount == 666, effect: deny, reason: No such sum.}
  - {name: refused, actions: ["deny_*"], effect: deny, reason: Not here.}
  - {name: asked, actions: ["ask_*"], effect: require_approval, approvers: [ann], timeout: 30m, reason: A person decides.}
  - {name: allowed, actions: ["allow_*"], effect: allow}
"""


class World(world.World):
    """The shared world with this policy."""

    def __init__(self, folder: Path, ahead: float = 0.0) -> None:
        super().__init__(folder, WORLD_POLICY, ahead=ahead)


async def until(true: Callable[[], bool]) -> None:
    """Give way on the event loop until this holds."""
    while not true():
        await asyncio.sleep(0.001)


# --- models and agents -----------------------------------------------------------------------------------------------


class Scripted(BaseChatModel):
    """A model that makes its turns one after the other, as far as the conversation has come; so it survives restarts."""

    turns: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, *_: Any, **__: Any) -> Scripted:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        made = sum(isinstance(message, AIMessage) for message in messages)
        turn = self.turns[made].model_copy(deep=True) if made < len(self.turns) else AIMessage("done")
        return ChatResult(generations=[ChatGeneration(message=turn)])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return self._generate(messages)


def call(name: str, args: dict[str, Any], id: str = "c1") -> dict[str, Any]:
    """A tool call as models make it."""
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


def says(*calls: dict[str, Any]) -> AIMessage:
    """A message with tool calls."""
    return AIMessage("", tool_calls=list(calls))


def agent(turns: Sequence[AIMessage], tools: Sequence[Any], *middleware: Any, **options: Any) -> Any:
    """An agent whose model makes these turns."""
    return create_agent(Scripted(turns=list(turns)), list(tools), middleware=list(middleware), **options)


def thread(name: str = "t") -> dict[str, Any]:
    """Configuration of one conversation."""
    return {"configurable": {"thread_id": name}}


HELLO: dict[str, Any] = {"messages": [("human", "go")]}


def answers(state: dict[str, Any]) -> list[ToolMessage]:
    """What the tools answered."""
    messages: list[AnyMessage] = state["messages"]
    return [message for message in messages if isinstance(message, ToolMessage)]


CHANGED = "A person changed this call before it ran: "
"""How the note begins that tells a model what an approver changed."""


def told(message: ToolMessage) -> tuple[str, str]:
    """The tool's own words, and the note that follows them; empty without one."""
    own, _, note = str(message.content).partition("\n\n" + CHANGED)
    return own, note


def interrupts(state: dict[str, Any]) -> list[dict[str, Any]]:
    """What whoever runs the graph is asked."""
    return [interrupt.value for interrupt in state.get("__interrupt__", ())]


Build = Callable[[Any], Any]
"""An agent with this checkpointer."""


class Bench:
    """An agent in one conversation, driven sync or async, its checkpoints in memory or in a file.

    With a file the agent is built anew for each step, as after a restart.
    """

    def __init__(self, folder: Path, asynchronous: bool, durable: bool) -> None:
        self.asynchronous = asynchronous
        self.durable = durable
        self._file = str(folder / "checkpoints.db")
        self._memory = InMemorySaver()
        self.build: Build = lambda saver: None
        self.thread = "t"

    def start(self, build: Build, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """Begin a conversation with the agent this builds."""
        self.build = build
        return self.step(HELLO if given is None else given)

    def resume(self, payload: Any = "go on") -> dict[str, Any]:
        """Resume the graph with this."""
        return self.step(Command(resume=payload))

    def step(self, given: Any) -> dict[str, Any]:
        """Run the graph until it ends or is interrupted."""
        return asyncio.run(self._astep(given)) if self.asynchronous else self._step(given)

    def _step(self, given: Any) -> dict[str, Any]:
        state: dict[str, Any]
        if self.durable:
            with SqliteSaver.from_conn_string(self._file) as saver:
                state = self.build(saver).invoke(given, thread(self.thread))
        else:
            state = self.build(self._memory).invoke(given, thread(self.thread))
        return state

    async def _astep(self, given: Any) -> dict[str, Any]:
        state: dict[str, Any]
        if self.durable:
            async with AsyncSqliteSaver.from_conn_string(self._file) as saver:
                state = await self.build(saver).ainvoke(given, thread(self.thread))
        else:
            state = await self.build(self._memory).ainvoke(given, thread(self.thread))
        return state
