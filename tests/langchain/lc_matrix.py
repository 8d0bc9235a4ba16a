"""Tool kinds, the paths a call can take, and how it can end: plain lists, so that a table can be made of them."""

# Without ``from __future__ import annotations``: LangChain reads the annotations of functions defined in here.

import asyncio
import copy
import operator
import pickle
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from ascend_guard_langchain import GovernanceMiddleware, govern_tool, govern_tools
from langchain_core.callbacks import CallbackManagerForToolRun, Callbacks
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    Tool,
    ToolException,
    convert_runnable_to_tool,
    tool,
)
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore, ToolNode, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from lc_world import HELLO, Scripted, agent, answers, call, says
from pydantic import BaseModel, ConfigDict, Field, field_validator

RAN: list[dict[str, Any]] = []
"""What every tool's body was run with, in order."""


def act(**arguments: Any) -> str:
    """The body of all tools."""
    RAN.append(arguments)
    return "did " + " ".join(f"{name}={value!r}" for name, value in sorted(arguments.items()))


# --- kinds -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """One way to write a tool.

    Args:
        name: for people.
        make: a fresh raw tool.
        args: what it is called with.
        judged: what its call must be judged on; the arguments its body runs with, where that is the same.
        edit: an approver's changes; none where there is nothing to edit.
        direct: what the framework would put in, for calls without it.
        text: called with a string.
        needs_call: cannot be called without a tool call.
        sync: has a sync body.
        fails: its body raises.
        direct_judged: what its call is judged on besides, where there is no node.
    """

    name: str
    make: Callable[[], BaseTool]
    args: dict[str, Any]
    judged: dict[str, Any]
    edit: dict[str, Any] = field(default_factory=dict)
    direct: Callable[[], dict[str, Any]] = dict
    text: str | None = None
    needs_call: bool = False
    sync: bool = True
    fails: bool = False
    direct_judged: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


USUAL: dict[str, Any] = {"order": "o-1"}
JUDGED: dict[str, Any] = {"order": "o-1", "amount": 3}
EDIT: dict[str, Any] = {"amount": 5}
KINDS: list[Kind] = []


def _kind(
    name: str,
    args: dict[str, Any] = USUAL,
    judged: dict[str, Any] = JUDGED,
    edit: dict[str, Any] = EDIT,
    **more: Any,
) -> Callable[[Callable[[], BaseTool]], Callable[[], BaseTool]]:
    def add(make: Callable[[], BaseTool]) -> Callable[[], BaseTool]:
        KINDS.append(Kind(name, make, args, judged, edit, **more))
        return make

    return add


def change(order: str, amount: int = 3) -> str:
    """Change an order."""
    return act(order=order, amount=amount)


async def achange(order: str, amount: int = 3) -> str:
    """Change an order."""
    await asyncio.sleep(0)
    return act(order=order, amount=amount)


class ChangeArguments(BaseModel):
    """What an order is changed by."""

    order: str
    amount: int = 3


@_kind("@tool")
def _() -> BaseTool:
    return tool("change_order")(change)


@_kind("@tool, async", sync=False)
def _() -> BaseTool:
    return tool("change_order")(achange)


@_kind("StructuredTool, sync and async")
def _() -> BaseTool:
    return StructuredTool.from_function(change, achange, name="change_order")


@_kind("StructuredTool, schema at module level")
def _() -> BaseTool:
    return StructuredTool.from_function(
        change, name="change_order", description="Change.", args_schema=ChangeArguments
    )


class OnlyRun(BaseTool):
    """A class with a sync body."""

    name: str = "change_order"
    description: str = "Change."

    def _run(self, order: str, amount: int = 3) -> str:
        return act(order=order, amount=amount)


class RunAndArun(OnlyRun):
    """A class with both bodies."""

    async def _arun(self, order: str, amount: int = 3) -> str:
        await asyncio.sleep(0)
        return act(order=order, amount=amount)


class ArunCallsRun(OnlyRun):
    """A class whose async body is its sync one."""

    async def _arun(self, order: str, amount: int = 3) -> str:
        return self._run(order, amount)


class ArunCallsRunInThread(OnlyRun):
    """A class whose async body is its sync one, in a thread."""

    async def _arun(self, order: str, amount: int = 3) -> str:
        return await asyncio.to_thread(self._run, order=order, amount=amount)


class ArunCallsSuper(OnlyRun):
    """A class that leaves its async body to BaseTool."""

    async def _arun(self, order: str, amount: int = 3) -> str:
        found: str = await super()._arun(order=order, amount=amount)
        return found


class AnyArguments(BaseTool):
    """A class that takes whatever it is given."""

    name: str = "change_order"
    description: str = "Change."

    def _run(self, **kwargs: Any) -> str:
        return act(**kwargs)


class WithManager(BaseTool):
    """A class that wants its run manager."""

    name: str = "change_order"
    description: str = "Change."

    def _run(self, order: str, amount: int = 3, run_manager: CallbackManagerForToolRun | None = None) -> str:
        return act(order=order, amount=amount) + str(run_manager is not None)


class WithConfig(BaseTool):
    """A class that wants the configuration."""

    name: str = "change_order"
    description: str = "Change."

    def _run(self, order: str, amount: int = 3, *, config: RunnableConfig) -> str:
        return act(order=order, amount=amount) + str(isinstance(config, dict))


for _name, _class in (
    ("class, _run", OnlyRun),
    ("class, _run and _arun", RunAndArun),
    ("class, _arun calls _run", ArunCallsRun),
    ("class, _arun calls _run in a thread", ArunCallsRunInThread),
    ("class, _arun calls super()", ArunCallsSuper),
    ("class with run_manager", WithManager),
    ("class with config", WithConfig),
):
    _kind(_name)(_class)


@_kind(
    "class of any arguments",
    args={"order": "o-1", "callbacks": "https://example.org"},
    judged={"order": "o-1", "callbacks": "https://example.org"},
    edit={"order": "o-2"},
)
def _() -> BaseTool:
    return AnyArguments()


class Address(BaseModel):
    """Where it goes."""

    street: str
    country: str = "AT"


class Rich(BaseModel):
    """Defaults, constraints, validators and models in models."""

    order: str = Field(min_length=1)
    address: Address
    amount: int = Field(3, ge=0)

    @field_validator("order", mode="after")
    @classmethod
    def _stripped(cls, value: str) -> str:
        return value.strip()


@_kind(
    "schema with nested models and validators",
    args={"order": " o-1 ", "address": {"street": "Ring 1"}},
    judged={"order": "o-1", "address": {"street": "Ring 1", "country": "AT"}, "amount": 3},
    edit={"amount": 5, "address": {"street": "Ring 2", "country": "AT"}},
)
def _() -> BaseTool:
    def send(order: str, address: Address, amount: int) -> str:
        return act(order=order, address=address.model_dump(), amount=amount)

    return StructuredTool.from_function(send, name="change_order", description="Send.", args_schema=Rich)


class Aliased(BaseModel):
    """The model says ``orderId``, the function ``order``."""

    order: str = Field(alias="orderId")
    amount: int = 3


@_kind("schema with aliases", args={"orderId": "o-1"})
def _() -> BaseTool:
    return StructuredTool.from_function(
        change, name="change_order", description="Change.", args_schema=Aliased
    )


class Strict(ChangeArguments):
    """Takes nothing it does not know."""

    model_config = ConfigDict(extra="forbid")


@_kind("schema that forbids others")
def _() -> BaseTool:
    return StructuredTool.from_function(
        change, name="change_order", description="Change.", args_schema=Strict
    )


_JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "amount": {"type": "integer"}},
    "required": ["order"],
}


@_kind("JSON schema")
def _() -> BaseTool:
    return StructuredTool(
        name="change_order", description="Change.", args_schema=_JSON_SCHEMA, func=change, coroutine=achange
    )


@_kind(
    "Tool of one string", args={"order": "o-1"}, judged={"order": "o-1"}, edit={"order": "o-2"}, text="o-1"
)
def _() -> BaseTool:
    return Tool("change_order", lambda order: act(order=order), "Change.")


@_kind(
    "Tool of a list of strings",
    args={"order": "o-1"},
    judged={"orders": ["o-1"]},
    edit={"orders": ["o-2"]},
    text="o-1",
)
def _() -> BaseTool:
    return Tool("change_order", lambda *orders: act(orders=list(orders)), "Change.")


@_kind("injected state", direct=lambda: {"state": {"messages": [1]}})
def _() -> BaseTool:
    @tool
    def change_order(order: str, state: Annotated[dict[str, Any], InjectedState], amount: int = 3) -> str:
        """Change an order."""
        return act(order=order, amount=amount) + str(len(state["messages"]))

    return change_order


@_kind("injected call id", needs_call=True)
def _() -> BaseTool:
    @tool
    def change_order(order: str, id: Annotated[str, InjectedToolCallId], amount: int = 3) -> str:
        """Change an order."""
        return act(order=order, amount=amount) + id

    return change_order


def _runtime() -> dict[str, Any]:
    return {
        "runtime": ToolRuntime(
            state={}, context=None, config={}, stream_writer=lambda _: None, tool_call_id="c1", store=None
        )
    }


@_kind("ToolRuntime", direct=_runtime)
def _() -> BaseTool:
    @tool
    def change_order(order: str, runtime: ToolRuntime, amount: int = 3) -> str:
        """Change an order."""
        return act(order=order, amount=amount) + str(runtime.tool_call_id)

    return change_order


@_kind("injected store", direct=lambda: {"store": InMemoryStore()})
def _() -> BaseTool:
    @tool
    def change_order(order: str, store: Annotated[BaseStore, InjectedStore()], amount: int = 3) -> str:
        """Change an order."""
        return act(order=order, amount=amount) + type(store).__name__

    return change_order


@_kind("configuration")
def _() -> BaseTool:
    @tool
    def change_order(order: str, config: RunnableConfig, amount: int = 3) -> str:
        """Change an order."""
        return act(order=order, amount=amount) + str("callbacks" in config)

    return change_order


@_kind("callbacks")
def _() -> BaseTool:
    def change_order(order: str, amount: int = 3, callbacks: Callbacks = None) -> str:
        """Change an order."""
        return act(order=order, amount=amount) + str(callbacks is not None)

    return StructuredTool.from_function(change_order)


# ToolNode takes away what a model says of a plain InjectedToolArg, and puts nothing there.
@_kind(
    "plain injected argument",
    judged={"order": "o-1", "tenant": "nobody", "amount": 3},
    direct=lambda: {"tenant": "acme"},
    direct_judged={"tenant": "acme"},
)
def _() -> BaseTool:
    @tool
    def change_order(order: str, tenant: Annotated[str, InjectedToolArg] = "nobody", amount: int = 3) -> str:
        """Change an order."""
        return act(order=order, tenant=tenant, amount=amount)

    return change_order


@_kind("content and artifact")
def _() -> BaseTool:
    @tool(response_format="content_and_artifact")
    def change_order(order: str, amount: int = 3) -> tuple[str, dict[str, Any]]:
        """Change an order."""
        return act(order=order, amount=amount), {"order": order}

    return change_order


@_kind("return_direct")
def _() -> BaseTool:
    return tool("change_order", return_direct=True)(change)


@_kind("Command", needs_call=True)
def _() -> BaseTool:
    @tool
    def change_order(order: str, id: Annotated[str, InjectedToolCallId], amount: int = 3) -> Command[Any]:
        """Change an order."""
        answer = ToolMessage(act(order=order, amount=amount), tool_call_id=id)
        return Command(update={"messages": [answer]})

    return change_order


def _failing(handled: bool) -> BaseTool:
    @tool
    def change_order(order: str, amount: int = 3) -> str:
        """Change an order."""
        act(order=order, amount=amount)
        raise ToolException("no such order")

    change_order.handle_tool_error = handled
    return change_order


_kind("handle_tool_error", fails=True)(lambda: _failing(True))
_kind("ToolException", fails=True)(lambda: _failing(False))


@_kind("handle_validation_error")
def _() -> BaseTool:
    made = tool("change_order")(change)
    made.handle_validation_error = True
    return made


@_kind("no arguments", args={}, judged={}, edit={})
def _() -> BaseTool:
    @tool
    def change_order() -> str:
        """Change an order."""
        return act()

    return change_order


@_kind("convert_runnable_to_tool", judged={"order": "o-1"}, edit={"order": "o-2"})
def _() -> BaseTool:
    def look(given: dict[str, Any]) -> str:
        return act(**given)

    return convert_runnable_to_tool(
        RunnableLambda(look), name="change_order", description="Change.", arg_types={"order": str}
    )


@_kind(
    "as_tool of a string", args={"order": "o-1"}, judged={"input": "o-1"}, edit={"input": "o-2"}, text="o-1"
)
def _() -> BaseTool:
    def look(given: str) -> str:
        return act(input=given)

    return RunnableLambda(look).as_tool(name="change_order", description="Change.")


# As langchain-mcp-adapters makes them; the node gives an argument of the name "runtime" by its name alone.
@_kind(
    "MCP adapter",
    args={"order": "o-1", "callbacks": "https://example.org"},
    judged={"order": "o-1", "callbacks": "https://example.org"},
    edit={"order": "o-2"},
    sync=False,
    direct_judged={"runtime": None},
)
def _() -> BaseTool:
    async def call_tool(runtime: Any = None, **arguments: Any) -> tuple[list[dict[str, Any]], Any]:
        await asyncio.sleep(0)
        if runtime is None:
            arguments["runtime"] = None
        return [{"type": "text", "text": act(**arguments)}], {"structured": True}

    return StructuredTool(
        name="change_order",
        description="Change.",
        args_schema=_JSON_SCHEMA,
        coroutine=call_tool,
        response_format="content_and_artifact",
    )


# --- paths -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """How the tool is governed on a path; not at all, to see what it does by itself."""

    action_type: str | None

    def tool(self, raw: BaseTool) -> BaseTool:
        return raw if self.action_type is None else govern_tool(raw, self.action_type)

    def tools(self, raw: BaseTool) -> list[BaseTool]:
        return [raw] if self.action_type is None else govern_tools([raw], {raw.name: self.action_type})

    def middleware(self, raw: BaseTool) -> list[GovernanceMiddleware]:
        return [] if self.action_type is None else [GovernanceMiddleware({raw.name: self.action_type})]


@dataclass(frozen=True)
class Path:
    """One way to call a tool: ``run(kind, raw, gate)`` gives what the caller gets.

    Args:
        name: for people.
        run: makes the call.
        asynchronous: the caller is a coroutine.
        call: the caller hands over a tool call, so what is refused is a message.
        node: the framework puts in what it injects.
        derived: it is another path once the tool has been wrapped or copied.
        takes: which kinds can be called so.
    """

    name: str
    run: Callable[[Kind, BaseTool, Gate], Any]
    asynchronous: bool = False
    call: bool = False
    node: bool = False
    derived: bool = False
    takes: Callable[[Kind], bool] = lambda kind: True

    def __str__(self) -> str:
        return self.name

    def applicable(self, kind: Kind) -> bool:
        """Whether this kind can be called so at all, governed or not."""
        return (kind.sync or self.asynchronous) and self.takes(kind)

    def answers_calls(self, kind: Kind) -> bool:
        """Whether there is a tool call to answer, so that a refusal is a message."""
        return self.call or kind.needs_call


PATHS: list[Path] = []


def _natural(kind: Kind, raw: BaseTool) -> dict[str, Any]:
    """What a caller without a tool call gives; with one where it has to be."""
    given = {**copy.deepcopy(kind.args), **kind.direct()}
    return call(raw.name, given) if kind.needs_call else given


def _call_of(kind: Kind, raw: BaseTool) -> dict[str, Any]:
    return call(raw.name, {**copy.deepcopy(kind.args), **kind.direct()})


def _sync(
    name: str, run: Callable[[Any, Any], Any], given: Callable[[Kind, BaseTool], Any] = _natural, **more: Any
) -> None:
    PATHS.append(Path(name, lambda kind, raw, gate: run(gate.tool(raw), given(kind, raw)), **more))


def _async(
    name: str,
    run: Callable[[Any, Any], Awaitable[Any]],
    given: Callable[[Kind, BaseTool], Any] = _natural,
    **more: Any,
) -> None:
    async def awaited(kind: Kind, raw: BaseTool, gate: Gate) -> Any:
        return await run(gate.tool(raw), given(kind, raw))

    PATHS.append(
        Path(name, lambda kind, raw, gate: asyncio.run(awaited(kind, raw, gate)), asynchronous=True, **more)
    )


async def _collected(stream: Any) -> Any:
    chunks = [chunk async for chunk in stream]
    return chunks[0] if len(chunks) == 1 else chunks


def _of_run(kind: Kind, raw: BaseTool) -> tuple[Any, dict[str, Any]]:
    given = {**copy.deepcopy(kind.args), **kind.direct()}
    return given, {"config": {}, **({"tool_call_id": "c1"} if kind.needs_call else {})}


def _one(answers: list[Any]) -> Any:
    (answer,) = answers
    return answer


def _text(kind: Kind, raw: BaseTool) -> str:
    return kind.text or "o-1"


def _takes_text(kind: Kind) -> bool:
    # Of what a string is made depends on the schema; these are the tools that are made for strings.
    return kind.text is not None


_sync("invoke", lambda made, given: made.invoke(given))
_sync("invoke, string", lambda made, given: made.invoke(given), _text, takes=_takes_text)
_sync("invoke, tool call", lambda made, given: made.invoke(given), _call_of, call=True)
_async("ainvoke", lambda made, given: made.ainvoke(given))
_async("ainvoke, string", lambda made, given: made.ainvoke(given), _text, takes=_takes_text)
_async("ainvoke, tool call", lambda made, given: made.ainvoke(given), _call_of, call=True)
_sync("batch", lambda made, given: _one(made.batch([given])))
_async("abatch", lambda made, given: _awaited_one(made.abatch([given])))
_sync("stream", lambda made, given: _one(list(made.stream(given))))
_async("astream", lambda made, given: _collected(made.astream(given)))
_sync("run", lambda made, given: made.run(given[0], **given[1]), _of_run)
_async("arun", lambda made, given: made.arun(given[0], **given[1]), _of_run)
_sync("with_config", lambda made, given: made.with_config(tags=["x"]).invoke(given), derived=True)
_async("with_config, async", lambda made, given: made.with_config(tags=["x"]).ainvoke(given), derived=True)
_sync("with_retry", lambda made, given: _retrying(made).invoke(given), derived=True)
_async("with_retry, async", lambda made, given: _retrying(made).ainvoke(given), derived=True)
_sync("with_fallbacks", lambda made, given: _falling_back(made).invoke(given), derived=True)
_async("with_fallbacks, async", lambda made, given: _falling_back(made).ainvoke(given), derived=True)
_sync("sequence", lambda made, given: (RunnableLambda(lambda x: x) | made).invoke(given), derived=True)
_async(
    "sequence, async", lambda made, given: (RunnableLambda(lambda x: x) | made).ainvoke(given), derived=True
)
_sync("parallel", lambda made, given: RunnableParallel(a=made).invoke(given)["a"], derived=True)
_async(
    "parallel, async",
    lambda made, given: _awaited_item(RunnableParallel(a=made).ainvoke(given), "a"),
    derived=True,
)
_sync("bind", lambda made, given: made.bind().invoke(given), derived=True)
_async("bind, async", lambda made, given: made.bind().ainvoke(given), derived=True)
_async("model_copy", lambda made, given: made.model_copy().ainvoke(given), derived=True)
_async("model_copy, deep", lambda made, given: made.model_copy(deep=True).ainvoke(given), derived=True)
_async("copy.copy", lambda made, given: copy.copy(made).ainvoke(given), derived=True)
_async("copy.deepcopy", lambda made, given: copy.deepcopy(made).ainvoke(given), derived=True)
_sync("copy.copy, sync", lambda made, given: copy.copy(made).invoke(given), derived=True)
_sync("copy.deepcopy, sync", lambda made, given: copy.deepcopy(made).invoke(given), derived=True)


async def _awaited_one(work: Awaitable[list[Any]]) -> Any:
    return _one(await work)


async def _awaited_item(work: Awaitable[Any], key: str) -> Any:
    return operator.itemgetter(key)(await work)


def _retrying(made: Any) -> Any:
    return made.with_retry(retry_if_exception_type=(ZeroDivisionError,), stop_after_attempt=3)


def _falling_back(made: Any) -> Any:
    return made.with_fallbacks(
        [RunnableLambda(lambda _: "instead")], exceptions_to_handle=(ZeroDivisionError,)
    )


def _pickles(kind: Kind) -> bool:
    try:
        pickle.loads(pickle.dumps(kind.make()))
    except Exception:
        return False
    return True


_async(
    "pickle",
    lambda made, given: pickle.loads(pickle.dumps(made)).ainvoke(given),
    derived=True,
    takes=_pickles,
)
_sync(
    "pickle, sync",
    lambda made, given: pickle.loads(pickle.dumps(made)).invoke(given),
    derived=True,
    takes=_pickles,
)


def _graph(tools: list[BaseTool]) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "tools")
    return builder.compile(store=InMemoryStore())


def _state(kind: Kind, raw: BaseTool) -> dict[str, Any]:
    return {"messages": [AIMessage("", tool_calls=[call(raw.name, copy.deepcopy(kind.args))], id="m")]}


def _agent(kind: Kind, tools: list[BaseTool], middleware: list[Any]) -> Any:
    turns = [says(call(tools[0].name, copy.deepcopy(kind.args)))]
    return agent(turns, tools, *middleware, store=InMemoryStore())


def _answered(state: dict[str, Any]) -> Any:
    return [*answers(state), state["messages"][-1].content]


def _node(name: str, make: Callable[[Kind, BaseTool, Gate], tuple[Any, Any]]) -> None:
    def run(kind: Kind, raw: BaseTool, gate: Gate) -> Any:
        graph, given = make(kind, raw, gate)
        return _answered(graph.invoke(given))

    async def arun(kind: Kind, raw: BaseTool, gate: Gate) -> Any:
        graph, given = make(kind, raw, gate)
        return _answered(await graph.ainvoke(given))

    PATHS.append(Path(name, run, call=True, node=True))
    PATHS.append(
        Path(
            name + ", async",
            lambda kind, raw, gate: asyncio.run(arun(kind, raw, gate)),
            asynchronous=True,
            call=True,
            node=True,
        )
    )


_node("ToolNode", lambda kind, raw, gate: (_graph([gate.tool(raw)]), _state(kind, raw)))
_node("create_agent, govern_tools", lambda kind, raw, gate: (_agent(kind, gate.tools(raw), []), HELLO))
_node(
    "create_agent, GovernanceMiddleware",
    lambda kind, raw, gate: (_agent(kind, [raw], gate.middleware(raw)), HELLO),
)

# --- ends ------------------------------------------------------------------------------------------------------------

ENDS: list[str] = ["allow", "deny", "approve", "edit", "refuse", "expire", "kill"]
"""Allowed by policy; denied by it; approved, approved with changes, refused by a person; out of time; stopped while it
waited."""


def rows() -> list[tuple[str, str, bool]]:
    """(kind, path, whether that kind can be called so) of the whole product."""
    return [(kind.name, path.name, path.applicable(kind)) for kind in KINDS for path in PATHS]


__all__ = ["ENDS", "KINDS", "PATHS", "RAN", "Gate", "Kind", "Path", "Scripted", "rows"]
