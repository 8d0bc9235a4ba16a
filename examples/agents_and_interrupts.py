"""Two agents in one graph, interrupted in the middle by LangGraph, and continued by another process after a restart.

A supervisor delegates work to a payments agent; the payments agent's tool needs a person. No process has to run while that
person thinks: the graph is in a checkpoint, the request is in the control plane. Resuming the graph decides nothing.

Run it from anywhere (``pip install 'ascend-guard[langchain]' langgraph-checkpoint-sqlite``)::

    python examples/agents_and_interrupts.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from ascend_guard_langchain import GovernanceMiddleware
    from langchain.agents import create_agent
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langchain_core.tools import tool
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.types import Command
except ImportError as error:
    sys.exit(
        f"This needs {error.name}. Install it: pip install 'ascend-guard[langchain]' langgraph-checkpoint-sqlite"
    )

import ascend_guard
from ascend_guard import EmbeddedControlPlane

POLICY = """\
version: 1
rules:
  - name: hand-over                   # starts no payment by itself: whatever the other agent calls is judged too
    actions: [langchain.ask_payments]
    when: type(args.task) == string && args.all(name, name == "task") && risk.score < 70
    effect: allow
  - name: payments
    actions: [payment_process]
    effect: require_approval
    reason: Payments need finance.
"""
THREAD: Any = {"configurable": {"thread_id": "conversation-7"}}


class Once(BaseChatModel):
    """A model that makes one tool call, then repeats the tool's answer. It keeps no state, so a restart loses nothing."""

    call: Any

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        last = messages[-1]
        answer = (
            AIMessage(last.text) if isinstance(last, ToolMessage) else AIMessage("", tool_calls=[self.call])
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self) -> str:
        return "once"


@tool
def pay(invoice: str, amount: float) -> str:
    """Pay an invoice."""
    return f"paid {amount:.2f} for {invoice}"


def control_plane(folder: Path) -> EmbeddedControlPlane:
    return ascend_guard.configure(
        policy=folder / "policy.yaml", database_url=f"sqlite:///{folder}/ascend.db", agent_id="supervisor"
    )


def build(saver: SqliteSaver) -> Any:
    """The graph, the same in every process."""
    governance = GovernanceMiddleware(action_types={"pay": "payment_process"}, on_pending="interrupt")
    payments = create_agent(
        Once(call={"name": "pay", "args": {"invoice": "R-12", "amount": 940.0}, "id": "pay-1"}),
        tools=[pay],
        middleware=[governance],
    )

    @tool
    def ask_payments(task: str) -> str:
        """Delegate something to the payments agent."""
        return str(payments.invoke({"messages": [HumanMessage(task)]})["messages"][-1].text)

    return create_agent(
        Once(call={"name": "ask_payments", "args": {"task": "Pay invoice R-12."}, "id": "ask-1"}),
        tools=[ask_payments],
        middleware=[governance],
        checkpointer=saver,
    )


def step(folder: Path, word: str) -> None:
    """Run one process: begin the conversation, or resume it with a word."""
    plane = control_plane(folder)
    with SqliteSaver.from_conn_string(str(folder / "graph.db")) as saver:
        given: Any = (
            {"messages": [HumanMessage("Please pay R-12.")]} if word == "begin" else Command(resume=word)
        )
        said = build(saver).invoke(given, THREAD)
        held = said.get("__interrupt__", ())
        print(f"held: {held[0].value['reason']}" if held else said["messages"][-1].text)
    plane.close()


def main(folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY)

    def process(word: str) -> str:
        """Run a separate process until it ends."""
        ran = subprocess.run(
            [sys.executable, __file__, str(folder), word], capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    print("1. The payments agent's call stops the whole graph,", process("begin"))
    print(
        "2. Another process resumes it and says 'approved', which is nobody's approval,", process("approved")
    )
    person = control_plane(folder)
    (waiting,) = person.pending()
    person.approve(str(waiting.id), approver="ana")
    print(
        f"3. Ana approves action {waiting.id} of {waiting.session_id}, and a third process goes on:",
        process("go on"),
    )
    rows = person.read(lambda reader: reader.actions("local"))
    (paid,) = (row for row in rows if row.action_type == "payment_process")
    print(
        f"4. Three processes, one request, and it ran once: {paid.status} by {paid.decided_by}, {paid.outcome}"
    )
    person.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        step(Path(sys.argv[1]), sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
