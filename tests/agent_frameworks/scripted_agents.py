"""Agents of openai-agents and pydantic-ai whose models follow a script: one tool call, then what they were told of it."""

# Without ``from __future__ import annotations``: both frameworks read the annotations of the tools made in here.

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import agents
import pydantic_ai
from agents import Model, ModelResponse, RunContextWrapper, Usage, function_tool, set_tracing_disabled
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, TextPart, ToolCallPart
from pydantic_ai.messages import ModelResponse as PydanticResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel
from recorded import every_action

import ascend_guard
from ascend_guard import AgentAction, EmbeddedControlPlane, governed
from ascend_guard.engine.approve import submitted
from ascend_guard.store.port import ActionRow

set_tracing_disabled(True)

POLICY = """
version: 1
rules:
  - {name: ask, actions: [refund], when: args.order_id == "ask", effect: require_approval, timeout: 5m, reason: Look.}
  - {name: small, actions: [refund], when: args.amount <= 100, effect: allow}
  - {name: big, actions: [refund], when: args.amount > 100, effect: deny, reason: Never above 100.}
"""

COMMANDS = ("ascend-guard", "approvals approve", "kill-switch off")

Run = Callable[["Tools", dict[str, Any]], tuple[str, list[str]]]
"""Gives an agent the tool, has its model call it so; the run's end, and everything its model was told."""


class World:
    """A control plane of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "policy.yaml").write_text(POLICY)
        self.plane: EmbeddedControlPlane = ascend_guard.configure(  # type: ignore[assignment]  # a policy means embedded
            policy=folder / "policy.yaml", database_url=f"sqlite:///{folder}/ascend.db", agent_id="billing"
        )

    def rows(self) -> list[ActionRow]:
        """All actions, oldest first."""
        self.plane.store.write(lambda tx: None)
        return self.plane.read(lambda reader: every_action(reader))

    def asked(self, row: ActionRow) -> AgentAction:
        """What was submitted as this action."""
        return self.plane.read(lambda reader: submitted(reader, row).action)


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """One that is closed again."""
    world = World(folder)
    yield world
    world.plane.close()


class Tools:
    """One governed tool in the four forms that frameworks take.

    Args:
        ran: gets what the body was run with.
        options: of ``governed``.
        context: the tool's first parameter is the framework's context.
        awaited: it is a coroutine function.
        contexts: gets the run's state as the body saw it in its context.

    Attributes:
        state: what the run is given as its context.
    """

    def __init__(
        self,
        ran: list[Any],
        *,
        context: bool,
        awaited: bool,
        contexts: list[Any] | None = None,
        **options: Any,
    ) -> None:
        self.ran = ran
        self.state: dict[str, Any] = {"secret-of-the-conversation": 1}
        self.contexts = [] if contexts is None else contexts
        self.context = context
        self.awaited = awaited
        self.gate = governed("refund", "billing", **options)

    def of(self, kind: Any) -> Callable[..., Any]:
        """The tool, with a context parameter of this type."""
        ran = self.ran

        def seen(ctx: Any) -> None:
            given = ctx.deps if isinstance(ctx, RunContext) else ctx.context
            assert given is self.state
            self.contexts.append(dict(given))

        def refund(order_id: str, amount: float) -> str:
            """Pay an order back."""
            ran.append((order_id, amount))
            return f"refunded {amount} on {order_id}"

        async def arefund(order_id: str, amount: float) -> str:
            """Pay an order back."""
            await asyncio.sleep(0)
            return refund(order_id, amount)

        def refund_with(ctx: kind, order_id: str, amount: float) -> str:
            """Pay an order back."""
            seen(ctx)
            return refund(order_id, amount)

        async def arefund_with(ctx: kind, order_id: str, amount: float) -> str:
            """Pay an order back."""
            seen(ctx)
            return await arefund(order_id, amount)

        made = {
            (False, False): refund,
            (False, True): arefund,
            (True, False): refund_with,
            (True, True): arefund_with,
        }[self.context, self.awaited]
        made.__name__ = "refund"
        return self.gate(made)


class Script(Model):
    """Calls ``refund`` once, then says what it was told."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.told: list[str] = []

    async def get_response(
        self, system_instructions: Any, input: Any, *rest: Any, **more: Any
    ) -> ModelResponse:
        outputs = [item["output"] for item in input if isinstance(item, dict) and "output" in item]
        self.told += [str(output) for output in outputs]
        if outputs:
            text = ResponseOutputText(annotations=[], text="done", type="output_text")
            made: Any = ResponseOutputMessage(
                id="m", content=[text], role="assistant", status="completed", type="message"
            )
        else:
            made = ResponseFunctionToolCall(
                arguments=json.dumps(self.arguments), call_id="c1", name="refund", type="function_call"
            )
        return ModelResponse([made], Usage(), None)

    def stream_response(self, *args: Any, **more: Any) -> Any:
        raise NotImplementedError("nobody streams here")


def openai_agents(tools: Tools, arguments: dict[str, Any]) -> tuple[str, list[str]]:
    """The OpenAI Agents SDK."""
    model = Script(arguments)
    agent = agents.Agent(name="billing", model=model, tools=[function_tool(tools.of(RunContextWrapper[Any]))])
    result = agents.Runner.run_sync(agent, "Refund it.", context=tools.state)
    return str(result.final_output), model.told


def pydantic_agents(tools: Tools, arguments: dict[str, Any]) -> tuple[str, list[str]]:
    """pydantic-ai."""
    told: list[str] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> PydanticResponse:
        returns = [part for part in messages[-1].parts if part.part_kind in ("tool-return", "retry-prompt")]
        told.extend(str(part.content) for part in returns)
        if returns:
            return PydanticResponse([TextPart("done")])
        return PydanticResponse([ToolCallPart("refund", arguments)])

    agent = pydantic_ai.Agent(FunctionModel(answer), deps_type=dict)
    register = agent.tool if tools.context else agent.tool_plain
    register(tools.of(RunContext[dict]))
    result = agent.run_sync("Refund it.", deps=tools.state)
    return result.output, told


FRAMEWORKS: list[Run] = [openai_agents, pydantic_agents]
