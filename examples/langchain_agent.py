"""A LangChain agent whose tools one middleware governs: the agent sees denials, waits for people, and gets their edits.

Run it from anywhere (``pip install 'ascend-guard[langchain]'``). The model is scripted: nothing goes over the network::

    python examples/langchain_agent.py
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from ascend_guard_langchain import GovernanceMiddleware
    from langchain.agents import create_agent
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage, HumanMessage
    from langchain_core.tools import tool
except ImportError as error:
    sys.exit(f"This needs {error.name}. Install it: pip install 'ascend-guard[langchain]'")

import ascend_guard

POLICY = """\
version: 1
rules:
  - name: look-ups
    actions: [langchain.find_order]
    when: args.order_id.matches("^[0-9]{1,9}$") && args.all(name, name == "order_id") && risk.score < 70
    effect: allow
  - name: small-refunds
    actions: [refund]
    tools: [refund]
    when: |
      args.amount > 0 && args.amount <= 100 && risk.score < 70
      && args.order_id.matches("^[0-9]{1,9}$") && args.all(name, name in ["order_id", "amount"])
    effect: allow
  - name: big-refunds
    actions: [refund]
    when: args.amount > 100 || risk.score >= 70
    effect: require_approval
    reason: Refunds above 100 need finance.
  - {name: no-deletions, actions: [langchain.delete_order], effect: deny, reason: Agents do not delete orders.}
"""


@tool
def find_order(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id}: paid, 940.00"


@tool
def refund(order_id: str, amount: float) -> str:
    """Pay an order back."""
    return f"refunded {amount:.2f} on order {order_id}"


@tool
def delete_order(order_id: str) -> str:
    """Delete an order."""
    return f"order {order_id} is gone"


class Scripted(GenericFakeChatModel):
    """A model with scripted messages."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


def calls(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{name}"}])


def run(*script: AIMessage, middleware: GovernanceMiddleware) -> list[str]:
    """Return the tools' answers to a model that follows this script."""
    agent = create_agent(
        Scripted(messages=iter([*script, AIMessage("Done.")])),
        tools=[find_order, refund, delete_order],
        middleware=[middleware],
    )
    said = agent.invoke({"messages": [HumanMessage("Please sort out order 7731.")]})
    return [message.content for message in said["messages"] if message.type == "tool"]


def main(folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY)
    plane = ascend_guard.configure(
        policy=folder / "policy.yaml", database_url=f"sqlite:///{folder}/ascend.db", agent_id="support-agent"
    )
    governance = GovernanceMiddleware(action_types={"refund": "refund"}, on_pending="return")

    found, paid = run(
        calls("find_order", order_id="7731"),
        calls("refund", order_id="7731", amount=12.5),
        middleware=governance,
    )
    print("1. The policy allows both:", found, "/", paid)

    (denied,) = run(calls("delete_order", order_id="7731"), middleware=governance)
    print("2. The model is told why not:", denied)

    big = calls("refund", order_id="7731", amount=940.0)
    (pending,) = run(big, middleware=governance)
    print("3. A person has to decide:", pending)

    (waiting,) = plane.pending()
    plane.approve(str(waiting.id), approver="ana", arguments={"amount": 470.0})
    (edited,) = run(big, middleware=governance)
    print("4. Ana approved half of it, and the same call now runs with that:", edited.splitlines()[0])

    (again,) = run(big, middleware=governance)
    print("5. One approval is valid for one run:", again.split(";")[0])

    report = plane.verify_audit()
    print(f"6. The audit trail has {report.records} records and is intact: {report.ok}")
    plane.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
