"""One run of an agent: a scripted model calls one tool, gets its answer and ends. Usage: KIND FOLDER.

``KIND`` is ``bare``; ``saved``, with a checkpointer and no middleware; ``allowed``, our middleware; ``held``: our
middleware interrupts, a person approves on the control plane, the graph is resumed; ``unasked``: LangChain's
HumanInTheLoopMiddleware, for another tool; ``asked``: it interrupts, and is resumed with an approval.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

from ascend_guard_langchain import GovernanceMiddleware
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from plane import arguments, control_plane
from serving import serve

from ascend_guard import EmbeddedControlPlane

kind, folder = sys.argv[1:]
ran = 0


class Scripted(GenericFakeChatModel):
    """A model to which the tools are already bound."""

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Scripted:
        return self


def script(name: str) -> Iterator[AIMessage]:
    """Yield its messages, run after run."""
    number = 0
    while True:
        asks = {"type": "tool_call", "name": name, "args": arguments(number), "id": f"call-{number}"}
        yield AIMessage("", tool_calls=[asks])
        yield AIMessage("done")
        number += 1


def run_tool(order_id: str, amount: int, note: str) -> str:
    """Pay for an order back."""
    global ran
    ran += 1
    return f"paid {order_id}"


def settings(number: int) -> dict[str, Any]:
    return {"configurable": {"thread_id": f"thread-{number}"}}


def ask(number: int) -> dict[str, Any]:
    return agent.invoke({"messages": [("user", f"pay back order {number}")]}, settings(number))


def check(answer: dict[str, Any], before: int) -> None:
    assert answer["messages"][-1].content == "done", answer
    assert ran == before + 1, answer


def through(number: int) -> None:
    """A run without an interrupt."""
    before = ran
    check(ask(number), before)


def decided(number: int) -> None:
    """A run that is interrupted and approved."""
    before = ran
    (stopped,) = ask(number)["__interrupt__"]
    assert ran == before
    if plane is not None:
        plane.approve(stopped.value["action_id"], approver="benchmark")
        resume: Any = True
    else:
        resume = {"decisions": [{"type": "approve"}]}
    check(agent.invoke(Command(resume=resume), settings(number)), before)


def governed_by(**options: Any) -> tuple[list[Any], EmbeddedControlPlane]:
    plane = control_plane(folder, "process")
    return [GovernanceMiddleware(control_plane=plane, **options)], plane


name = "pay_out" if kind == "held" else "refund"
middleware: list[Any] = []
plane: EmbeddedControlPlane | None = None
if kind == "allowed":
    middleware, plane = governed_by()
elif kind == "held":
    middleware, plane = governed_by(on_pending="interrupt")
elif kind in ("unasked", "asked"):
    middleware = [HumanInTheLoopMiddleware(interrupt_on={name if kind == "asked" else "another_tool": True})]
agent = create_agent(
    Scripted(messages=script(name)),
    [tool(name)(run_tool)],
    middleware=middleware,
    checkpointer=InMemorySaver() if kind in ("saved", "held", "asked") else None,
)
serve(decided if kind in ("held", "asked") else through)
if plane is not None:
    plane.close()
