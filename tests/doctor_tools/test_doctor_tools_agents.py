"""The tools of an agent: what is called governed does not run undecided, and nothing that runs is left out."""

from __future__ import annotations

from typing import Any

import ascend_guard_langchain.inspection as inspection
import pytest
from ascend_guard_langchain import GovernanceMiddleware, govern_tool, govern_tools
from ascend_guard_langchain.inspection import ToolState, require_governed, tools_of
from doctor_tools_world import KINDS, OTHERS, Idle, Passing, Ran, agent, model, use
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent
from pydantic import BaseModel, PrivateAttr

from ascend_guard import ConfigurationError, EmbeddedControlPlane, governed

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")

GOVERNANCE = "GovernanceMiddleware"


def states(found: Any) -> dict[str, ToolState]:
    """What was found, by name; no name twice."""
    tools = tools_of(found).tools
    assert len({state.name for state in tools}) == len(tools)
    return {state.name: state for state in tools}


@settings(max_examples=40)
@given(data=st.data())
def test_what_is_called_governed_does_not_run(plane: EmbeddedControlPlane, data: st.DataObject) -> None:
    """Any tools under any middleware, where everything is denied: exactly those that are not governed run."""
    ran = Ran()
    kinds = data.draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4), label="tools")
    tools = [ran.tool(kind, f"{kind}{number}") for number, kind in enumerate(kinds)]
    names = data.draw(st.permutations([*OTHERS, GOVERNANCE]), label="middleware")
    names = names[: data.draw(st.integers(0, len(names)), label="how many")]
    made = agent(tools, [GovernanceMiddleware() if name == GOVERNANCE else OTHERS[name]() for name in names])
    found = tools_of(made)
    by = {state.name: state.by for state in found.tools}
    outer = GOVERNANCE if GOVERNANCE in names else None
    assert by == {tool.name: KINDS[kind] or outer for tool, kind in zip(tools, kinds, strict=True)}
    for name in ("Passing", "ToolRetryMiddleware"):
        after = outer is not None and name in names[names.index(GOVERNANCE) :]
        assert any(name in warning for warning in found.warnings) is after
    ainvoke = data.draw(st.booleans(), label="ainvoke")
    use(made, asynchronously=ainvoke)
    stopped = "half" if ainvoke else "governed"  # of a half governed tool only the coroutine is
    assert sorted(ran) == sorted(name for name in by if by[name] is None and not name.startswith(stopped))


@settings(max_examples=25)
@given(
    sync=st.sampled_from(["none", "ours", "other", "hidden"]),
    asynchronous=st.sampled_from(["none", "ours", "other", "hidden"]),
    ainvoke=st.booleans(),
)
def test_a_tool_node_of_ones_own(
    plane: EmbeddedControlPlane, sync: str, asynchronous: str, ainvoke: bool
) -> None:
    """Middleware counts where it is in both chains; never is a tool called governed that runs undecided."""
    ran, ours, other = Ran(), GovernanceMiddleware(), Passing()

    def hidden(request: Any, handler: Any) -> Any:
        return ours.wrap_tool_call(request, handler) if request.tool is None else handler(request)

    async def ahidden(request: Any, handler: Any) -> Any:
        return await (ours.awrap_tool_call(request, handler) if request.tool is None else handler(request))

    wraps = {"none": None, "ours": ours.wrap_tool_call, "other": other.wrap_tool_call, "hidden": hidden}
    awraps = {"none": None, "ours": ours.awrap_tool_call, "other": other.awrap_tool_call, "hidden": ahidden}
    # create_agent of the prebuilt kind asks a model first; the node alone takes its calls.
    node: Any = ToolNode(
        [ran.tool("raw", "act")], wrap_tool_call=wraps[sync], awrap_tool_call=awraps[asynchronous]
    )
    state = states(create_react_agent(model("act"), node))["act"]
    assert state.governed is (sync == "ours" and asynchronous in ("ours", "none"))
    assert (state.note is not None) is (not state.governed and "ours" in (sync, asynchronous))
    use(create_react_agent(model("act"), node), asynchronously=ainvoke)
    assert not (state.governed and ran)


def test_a_node_of_another_kind() -> None:
    """A subclass that runs tools in its own way may pass the middleware; one that only says how it is made does not."""
    ours = GovernanceMiddleware()

    class Quick(ToolNode):
        def _run_one(self, *given: Any) -> Any:
            return None

    class Named(ToolNode):
        def __init__(self, tools: Any) -> None:
            super().__init__(tools, wrap_tool_call=ours.wrap_tool_call)

    quick = states(
        create_react_agent(model(), Quick([Ran().tool("raw", "a")], wrap_tool_call=ours.wrap_tool_call))
    )
    assert not quick["a"].governed
    assert "_run_one" in str(quick["a"].note)
    assert states(create_react_agent(model(), Named([Ran().tool("raw", "a")])))["a"].by == GOVERNANCE


def test_middleware_that_is_no_longer_ours() -> None:
    """A subclass that wraps calls in its own way governs nothing that could be known."""

    class Lax(GovernanceMiddleware):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return handler(request)

    assert not states(agent([Ran().tool("raw", "a")], [Lax()]))["a"].governed


def test_agents_in_agents() -> None:
    """A sub-agent is looked at wherever it hangs: in a node, a closure, a module variable, an object, a tool's own field."""
    ran = Ran()

    def sub(name: str) -> Any:
        return agent([ran.tool("raw", name)], name=f"{name}_agent")

    closed, held, field, default, listed = map(sub, ("closed", "held", "field", "default", "listed"))

    @tool
    def ask(question: str, by: Any = default) -> str:
        """Ask somebody."""
        return str([closed.invoke({}), _helper(question)])

    class Team:
        def __init__(self) -> None:
            self.held = held

        async def lead(self, state: Any) -> Any:
            return await self.held.ainvoke(state)

    class Search(BaseTool):
        name: str = "search"
        description: str = "Search."
        _agent: Any = PrivateAttr()

        def _run(self, x: int) -> str:
            return str(self._agent.invoke({}))

    search = Search()
    search._agent = field
    graph = StateGraph(MessagesState)
    graph.add_node("lead", Team().lead)
    graph.add_node("work", agent([ask, search], [GovernanceMiddleware()]))
    graph.add_node("either", RunnableLambda(lambda state: [listed][0].invoke(state)) | RunnableLambda(str))
    graph.add_edge(START, "lead")
    found = states(graph.compile())
    by = {name: state.by for name, state in found.items()}
    loose = dict.fromkeys(("closed", "held", "field", "default", "listed", "in_module"))
    assert by == {"ask": GOVERNANCE, "search": GOVERNANCE, **loose}
    assert found["closed"].where == "agent > work > tools > ask > closed > tools"
    assert found["in_module"].where.startswith("agent > work > tools > ask > _helper")
    assert found["held"].where.endswith("held > tools")


_in_module = agent([Ran().tool("raw", "in_module")])


def _helper(question: str) -> Any:
    return _in_module.invoke({"messages": [question]})


def test_the_prebuilt_agent() -> None:
    """LangGraph's own agent has no middleware: its tools must be governed themselves."""
    ran = Ran()
    found = states(create_react_agent(model(), [ran.tool("raw", "a"), ran.tool("gated", "b")]))
    assert {name: state.by for name, state in found.items()} == {"a": None, "b": "govern_tool"}


def test_tools_of_the_provider() -> None:
    """What runs at the model's provider is listed, and never governed."""
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    schema: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for made in (
        agent([Ran().tool("raw", "a"), search, {"google_search": {}}, schema], [GovernanceMiddleware()]),
        [Ran().tool("gated", "a"), search, {"google_search": {}}, schema],
    ):
        found = states(made)
        assert set(found) == {"a", "web_search", "google_search"}
        assert found["a"].governed
        assert not found["web_search"].governed
        assert "provider" in str(found["web_search"].note)


def test_lists_and_single_tools() -> None:
    """Anything with tools in it, functions among them, is an agent enough."""
    ran = Ran()
    raw, gated, decided = ran.tool("raw", "raw"), ran.tool("gated", "gated"), ran.tool("governed", "decided")

    def plain(x: int) -> int:
        return x

    def made(x: int) -> int:
        return x

    gate = governed("note_write", "notes")(made)
    wanted = {
        "raw": None,
        "gated": "govern_tool",
        "decided": "@governed",
        "plain": None,
        "made": "@governed",
        "len": None,
    }
    things: list[Any] = [raw, gated, decided, plain, gate, len]
    for given_as in (things, tuple(things), {str(n): thing for n, thing in enumerate(things)}):
        assert {name: state.by for name, state in states(given_as).items()} == wanted
    assert states(raw)["raw"].by is None
    assert states(gate)["made"].by == "@governed"
    assert states(raw.with_retry() | str)["raw"].by is None
    assert tools_of([]).tools == []
    assert tools_of(RunnableLambda(str)).tools == []


def test_a_schema_is_no_tool() -> None:
    """The tool that stands for a structured response runs nothing, so there is nothing to govern."""

    class Answer(BaseModel):
        text: str

    require_governed(agent([Ran().tool("raw", "a")], [GovernanceMiddleware()], response_format=Answer))


def test_the_tools_of_middleware() -> None:
    """A tool that middleware brings is the agent's."""

    class Bringing(Idle):
        tools = [Ran().tool("raw", "brought")]

    assert states(agent([], [Bringing()]))["brought"].by is None
    assert states(agent([], [Bringing(), GovernanceMiddleware()]))["brought"].by == GOVERNANCE


@pytest.mark.parametrize("thing", [None, 3, "agent", {"model": "gpt"}, ["search"], object(), pytest])
def test_no_agent(thing: object) -> None:
    """What is no agent is not called governed."""
    with pytest.raises(ConfigurationError, match="neither an agent nor a tool"):
        require_governed(thing)


def test_refusing_to_start() -> None:
    """Every tool that is not governed is named, with where it is and the remedy; a governed agent starts."""
    ran = Ran()
    tools = [ran.tool("raw", "send\n\x1b[2J"), ran.tool("gated", "fine")]
    with pytest.raises(ConfigurationError) as refused:
        require_governed(agent([*tools, ran.tool("half", "pay")]))
    message = str(refused.value)
    assert message.startswith("2 of 3 tools")
    assert message.isprintable()
    for word in ("'pay'", "send", "agent > tools", "GovernanceMiddleware", "govern_tools"):
        assert word in message
    assert "'fine'" not in message
    require_governed(agent(tools, [GovernanceMiddleware()]))
    require_governed(govern_tools(tools))
    require_governed(create_agent(model()))


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked through is not called governed, whatever was found until then."""
    made = agent([Ran().tool("raw", "a")], [GovernanceMiddleware()])
    require_governed(made)
    monkeypatch.setattr(inspection, "MOST", 20)
    assert not tools_of(made).complete
    with pytest.raises(ConfigurationError, match="more than 20 objects"):
        require_governed(made)


def test_looking_runs_nothing() -> None:
    """No property and no function of what is looked at is called, and what refuses to be looked at is left."""

    class Sly:
        @property
        def __class__(self) -> type:
            raise RuntimeError("looked at")

        @property
        def agent(self) -> Any:
            raise RuntimeError("looked at")

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("looked at")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("looked at")

        __hash__ = None  # type: ignore[assignment]

    sly = Sly()

    @tool
    def ask(x: int) -> str:
        """Ask."""
        return str(sly)

    found = tools_of([govern_tool(ask), {"sly": sly}, [sly]])
    assert [state.name for state in found.tools] == ["ask"]
