"""A world for LangChain tools: a control plane with a clock, people who decide meanwhile, scripted models, agents."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

import ascend_guard
from ascend_guard import AgentAction, EmbeddedControlPlane
from ascend_guard.engine.approve import submitted
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.port import ActionRow
from ascend_guard.store.sqlite.store import SQLiteStore

WORLD_POLICY = """
version: 1
rules:
  - {name: nothing-with-666, actions: [ask_limited], when: args.amount == 666, effect: deny, reason: No such sum.}
  - {name: refused, actions: ["deny_*"], effect: deny, reason: Not here.}
  - {name: asked, actions: ["ask_*"], effect: require_approval, approvers: [ann], timeout: 30m, reason: A person decides.}
  - {name: allowed, actions: ["allow_*"], effect: allow}
"""
HALF_AN_HOUR = 1800.0


class World:
    """A control plane on a folder, the configured default, with a clock that can be moved.

    Args:
        folder: where the database is; another world on the same folder is the same one after a restart.
        since: seconds the clock is ahead.
    """

    def __init__(self, folder: Path, since: float = 0.0) -> None:
        self.folder = folder
        self.ahead = since
        self.plane = self._open()

    def _open(self) -> EmbeddedControlPlane:
        def clock() -> float:
            return time.time() + self.ahead

        store = SQLiteStore(self.folder / "ascend.db", durability="process", clock=clock)
        plane = EmbeddedControlPlane(store, parse_policy(WORLD_POLICY), agent_id="billing", clock=clock)
        ascend_guard.configure(control_plane=plane)
        return plane

    def restart(self) -> None:
        """The same database, opened anew."""
        self.plane.close()
        self.plane = self._open()

    def close(self) -> None:
        """Let go of the database."""
        self.plane.close()

    # --- people ------------------------------------------------------------------------------------------------------

    def approve(self, row: ActionRow | str | int, **edits: Any) -> None:
        """Ann says yes, with these arguments changed."""
        number = row.id if isinstance(row, ActionRow) else row
        self.plane.approve(str(number), approver="ann", **({"arguments": edits} if edits else {}))

    def deny(self, row: ActionRow | str | int) -> None:
        """Ann says no."""
        number = row.id if isinstance(row, ActionRow) else row
        self.plane.deny(str(number), approver="ann", comment="not this one")

    def kill(self, _: object = None) -> None:
        """Everything stops."""
        self.plane.kill(reason="stop it", by="ann")

    def release(self) -> None:
        """Everything goes on."""
        self.plane.release(reason="safe", by="ann")

    def expire(self, _: object = None) -> None:
        """The deadline of everything that waits passes."""
        self.ahead += HALF_AN_HOUR + 1
        self.plane.housekeep()

    # --- what was recorded -------------------------------------------------------------------------------------------

    def rows(self) -> list[ActionRow]:
        """All actions, oldest first."""
        return self.plane.read(lambda reader: list(reader.every_action()))

    def asked(self, row: ActionRow) -> AgentAction:
        """What was submitted as this action."""
        return self.plane.read(lambda reader: submitted(reader, row.id).action)

    def pending(self) -> list[ActionRow]:
        """What waits for a person."""
        return [row for row in self.rows() if row.status == "pending"]

    def claimed(self) -> list[ActionRow]:
        """What was begun."""
        return [row for row in self.rows() if row.claimed_at is not None]

    def trail(self) -> str:
        """Every byte of the audit trail."""
        return b"\n".join(row.body for row in self.plane.read(lambda reader: list(reader.audit()))).decode()

    def events(self) -> list[str]:
        """The names of the audit records."""
        return [
            msgspec.json.decode(row.body)["event"]
            for row in self.plane.read(lambda reader: list(reader.audit()))
        ]

    def verify(self) -> None:
        """Everything that was posted is written, and the trail is whole."""
        self.plane.store.write(lambda tx: None)
        report = self.plane.verify_audit()
        assert report.ok, report.problems

    def waiting(self, count: int, wanted: Callable[[], bool]) -> list[ActionRow]:
        """Return once this many calls wait for a person."""
        while wanted():
            found = [row for row in self.pending() if row.waiter]
            if len(found) >= count:
                return found
            time.sleep(0.001)
        return []


class Meanwhile:
    """Somebody who does something as soon as a call waits; what they met is raised on leaving."""

    def __init__(self, world: World, do: Callable[[ActionRow], object], count: int = 1) -> None:
        self._world = world
        self._do = do
        self._count = count
        self._error: BaseException | None = None
        self._over = False
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        try:
            for row in self._world.waiting(self._count, lambda: not self._over):
                self._do(row)
        except BaseException as error:
            self._error = error
            self._world.kill()  # or the call would wait for ever

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        self._over = True
        self._thread.join()
        if self._error is not None:
            raise self._error from error


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
