"""Within a thread a tool call runs at most once, however often LangGraph runs its node again."""

from __future__ import annotations

import asyncio
import operator
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from ascend_guard_langchain import GovernanceMiddleware, govern_tool
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, interrupt
from lc_tools import Shop, guard
from lc_world import Bench, World, agent, answers, call, interrupts, says, thread
from stopping_plane import StoppedAtTheLastMoment, names_no_command
from support import PROFILE
from world import Meanwhile

import ascend_guard
from ascend_guard import governed
from ascend_guard.model import NOT_STARTED

MET: Counter[str] = Counter()
"""What the property met; it proves nothing if it met none."""

ACTIONS = {"pay": "ask_it", "look": "allow_it", "drop": "deny_it"}


class Store:
    """Three tools that note each run by the sum they are given, which names the call."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def tools(self) -> list[Any]:
        def make(name: str) -> Any:
            @tool(name)
            def body(order: str) -> str:
                """Do it."""
                self.ran.append(order)
                if order.endswith("fails"):
                    raise ValueError("it went wrong")
                return f"{name} {order}"

            return body

        return [make(name) for name in ACTIONS]


def node(tools: list[Any], middleware: GovernanceMiddleware, state: Any = MessagesState, **more: Any) -> Any:
    """A graph of one plain tool node."""
    made = ToolNode(
        tools, wrap_tool_call=middleware.wrap_tool_call, awrap_tool_call=middleware.awrap_tool_call, **more
    )
    return StateGraph(state).add_node("tools", made).add_edge(START, "tools")


calls = st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.booleans()), min_size=1, max_size=4).filter(
    lambda made: any(name == "pay" for name, _ in made)
)


Round = tuple[bool, list[int], tuple[str, str, str, str], bool]
"""What happens before the graph is resumed: whether the process is a new one, in which order the pending calls are decided,
how, and whether the rest is approved. Drawn beforehand: how many calls are pending depends on the node's threads."""

_decision = st.sampled_from(["approve", "deny", "later"])
rounds = st.tuples(
    st.booleans(),
    st.permutations(range(4)),
    st.tuples(_decision, _decision, _decision, _decision),
    st.booleans(),
)


@pytest.mark.timeout({"quick": 120, "ci": 900, "full": 3600}[PROFILE])
def test_each_call_runs_at_most_once() -> None:
    """Held, allowed and denied calls in one node, decided in any order, with restarts: none runs twice, and it ends."""
    MET.clear()
    _each_call_runs_at_most_once()
    assert MET["ran"] > 20
    assert MET["resumed"] > 20
    assert MET["repeated"] > 3


@settings(max_examples={"quick": 25, "ci": 75, "full": 1500}[PROFILE], deadline=None)
@given(
    messages=st.lists(calls, min_size=1, max_size=2),
    rounds=st.lists(rounds, min_size=1, max_size=8),
    asynchronous=st.booleans(),
    ids=st.sampled_from(["own", "reused"]),
)
def _each_call_runs_at_most_once(
    messages: list[list[tuple[str, bool]]], rounds: list[Round], asynchronous: bool, ids: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world, store = World(Path(folder)), Store()
        bench = Bench(Path(folder), asynchronous, durable=True)
        middleware = GovernanceMiddleware(ACTIONS, on_pending="interrupt")
        try:
            for number, made in enumerate(messages):
                turn = says(
                    *(
                        call(
                            name,
                            {"order": f"{number}-{place}" + ("-fails" if fails and name != "drop" else "")},
                            f"call_{place}" if ids == "reused" else f"call_{number}_{place}",
                        )
                        for place, (name, fails) in enumerate(made)
                    )
                )
                _to_the_end(world, bench, rounds, middleware, store, turn)
                assert max(Counter(store.ran).values(), default=0) <= 1
            world.verify()
            # A node that is interrupted cancels its other calls, which may have a permit by then.
            begun = [row for row in world.claimed() if not (row.error or "").startswith(NOT_STARTED)]
            assert len(begun) == len(store.ran)
            MET["ran"] += len(store.ran)
        finally:
            world.close()
            ascend_guard.config._default = None


def _to_the_end(
    world: World, bench: Bench, rounds: list[Round], middleware: Any, store: Store, turn: AIMessage
) -> None:
    wanted = {each["id"]: each["args"]["order"] for each in turn.tool_calls}
    state = bench.start(
        lambda saver: node(store.tools(), middleware, handle_tool_errors=True).compile(checkpointer=saver),
        {"messages": [turn]},
    )
    for restart, order, decisions, everything in islice(cycle(rounds), 4 * len(wanted) + 4):
        if not interrupts(state):
            break
        if restart:
            world.restart()
        pending = world.pending()
        for place in sorted(range(len(pending)), key=lambda place: order[place % 4]):
            if decisions[place % 4] != "later":
                (world.approve if decisions[place % 4] == "approve" else world.deny)(pending[place])
        if everything:
            for row in world.pending():
                world.approve(row)
        ids = [each.id for each in state["__interrupt__"]]
        state = bench.resume(dict.fromkeys(ids, "go on"))
        MET["resumed"] += 1
    else:
        for row in world.pending():
            world.approve(row)
        for _ in range(len(wanted)):
            state = bench.resume() if interrupts(state) else state
    assert not interrupts(state)
    rows = {str(row.id): row for row in world.rows()}
    for message in [each for each in answers(state) if each.tool_call_id in wanted][-len(wanted) :]:
        text = str(message.content)
        assert names_no_command(text)
        if text.startswith("Already ran, action "):
            MET["repeated"] += 1
            row = rows[text.removeprefix("Already ran, action ").partition(":")[0]]
            assert row.claimed_at is not None
            assert world.asked(row).action_details == {"order": wanted[message.tool_call_id]}
            assert (message.status == "success") is (row.outcome == "completed")


def play(graph: Any, given: Any, config: Any, asynchronous: bool = False, **more: Any) -> dict[str, Any]:
    state: dict[str, Any] = (
        asyncio.run(graph.ainvoke(given, config, **more))
        if asynchronous
        else graph.invoke(given, config, **more)
    )
    return state


def ask(*made: dict[str, Any], id: str | None = None) -> dict[str, Any]:
    return {"messages": [AIMessage("", tool_calls=list(made), id=id)]}


PAY, LOOK = call("pay", {"order": "P"}, "call_0"), call("look", {"order": "L"}, "call_1")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_ids_that_models_use_again(world: World, asynchronous: bool) -> None:
    """The same id in a later message, or in another thread, is another call."""
    store = Store()
    middleware = GovernanceMiddleware(ACTIONS, on_pending="interrupt")
    graph = node(store.tools(), middleware).compile(checkpointer=InMemorySaver())
    for name in ("a", "a", "b"):
        play(graph, ask(LOOK), thread(name), asynchronous)
    assert store.ran == ["L"] * 3


def test_messages_without_ids(world: World) -> None:
    """Where the state gives messages no ids, a tool call's id stands for one call in the whole thread."""

    class Plain(TypedDict):
        messages: Annotated[list[Any], operator.add]

    store = Store()
    middleware = GovernanceMiddleware(ACTIONS, on_pending="interrupt")
    graph = node(store.tools(), middleware, Plain).compile(checkpointer=InMemorySaver())
    play(graph, ask(LOOK), thread())
    state = play(graph, ask(LOOK), thread())
    assert str(state["messages"][-1].content).startswith("Already ran, action 1: ")
    play(graph, ask(LOOK), thread("another"))
    assert store.ran == ["L", "L"]


def test_one_id_twice_in_one_message(world: World) -> None:
    """They are one call, whatever the second one's arguments."""
    store = Store()
    middleware = GovernanceMiddleware(ACTIONS, on_pending="interrupt")
    graph = node(store.tools(), middleware).compile(checkpointer=InMemorySaver())
    twice = [call("pay", {"order": each}, "same") for each in ("A", "B")]
    state = play(graph, ask(*twice), thread())
    for _ in range(6):
        for row in world.pending():
            world.approve(row)
        if interrupts(state):
            state = play(graph, Command(resume="go on"), thread())
    assert len(store.ran) == 1
    assert not interrupts(state)


@pytest.mark.parametrize("on_pending", ["wait", "return", "interrupt"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_sibling_that_interrupts_by_itself(world: World, on_pending: Any, asynchronous: bool) -> None:
    """In every mode: the other calls of its node do not run again, and it hears its answer."""
    store, heard = Store(), []

    @tool
    def question(order: str) -> str:
        """Ask."""
        heard.append(interrupt("really?"))
        return f"heard {heard}"

    middleware = GovernanceMiddleware({**ACTIONS, "question": "allow_it"}, on_pending=on_pending)
    graph = node([*store.tools(), question], middleware).compile(checkpointer=InMemorySaver())
    play(graph, ask(LOOK, call("question", {"order": "Q"}, "q")), thread(), asynchronous)
    state = play(graph, Command(resume="yes"), thread(), asynchronous)
    assert (store.ran, heard) == (["L"], ["yes"])
    looked = next(message for message in answers(state) if message.tool_call_id == "call_1")
    assert str(looked.content).startswith("Already ran, action ")
    assert looked.status == "success"


@pytest.mark.parametrize("decorated", [True, False])
def test_tools_that_are_governed_without_the_middleware(world: World, decorated: bool) -> None:
    """``govern_tool`` in a plain node: a call runs once in a task; in a later one the same id is another call."""
    ran: list[str] = []

    def look(order: str) -> str:
        """Look."""
        ran.append(order)
        return f"look {order}"

    made = (
        govern_tool(tool(governed("allow_it", "look")(look)))
        if decorated
        else govern_tool(tool(look), "allow_it")
    )

    @tool
    def question(order: str) -> str:
        """Ask."""
        return str(interrupt("really?"))

    nodes = ToolNode([made, question])
    graph = (
        StateGraph(MessagesState)
        .add_node("tools", nodes)
        .add_edge(START, "tools")
        .compile(checkpointer=InMemorySaver())
    )
    both = (LOOK, call("question", {"order": "Q"}, "q"))
    play(graph, ask(*both), thread())
    state = play(graph, Command(resume="yes"), thread())
    assert ran == ["L"]
    assert str(answers(state)[0].content).startswith("Already ran, action 1: ")
    play(graph, ask(LOOK), thread())
    assert ran == ["L", "L"]


def test_a_node_that_langgraph_retries(world: World) -> None:
    """``RetryPolicy`` runs a node again when one of its calls raised: nothing that was begun is begun again."""
    store = Store()
    middleware = GovernanceMiddleware(ACTIONS, on_pending="interrupt")
    made = ToolNode(store.tools(), wrap_tool_call=middleware.wrap_tool_call, handle_tool_errors=False)
    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=ValueError)
    graph = (
        StateGraph(MessagesState)
        .add_node("tools", made, retry_policy=policy)
        .add_edge(START, "tools")
        .compile(checkpointer=InMemorySaver())
    )
    state = play(graph, ask(LOOK, call("look", {"order": "X-fails"}, "x")), thread())
    assert sorted(store.ran) == ["L", "X-fails"]
    told = {message.tool_call_id: message for message in answers(state)}
    assert {str(each.content)[:12] for each in told.values()} == {"Already ran,"}
    assert [told[id].status for id in ("call_1", "x")] == ["success", "error"]
    assert "It failed" in str(told["x"].content)


def test_langchains_retries_of_a_failed_call(world: World) -> None:
    """In a thread a failed call is not run again under its id; the model is told, and may make another."""
    store = Store()
    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    turn = says(call("look", {"order": "X-fails"}, "x"))
    made = agent([turn], store.tools(), retry, GovernanceMiddleware(ACTIONS), checkpointer=InMemorySaver())
    state = made.invoke({"messages": [("human", "go")]}, thread())
    assert store.ran == ["X-fails"]
    assert "It failed" in str(answers(state)[0].content)


@pytest.mark.parametrize("durability", ["exit", "async", "sync"])
def test_however_checkpoints_are_kept(world: World, durability: Any) -> None:
    """An agent's calls, whose answers may be lost with the checkpoint, run once."""
    store = Store()
    turn = says(LOOK, PAY)
    made = agent(
        [turn],
        store.tools(),
        GovernanceMiddleware(ACTIONS, on_pending="interrupt"),
        checkpointer=InMemorySaver(),
    )
    play(made, {"messages": [("human", "go")]}, thread(), durability=durability)
    world.approve(world.pending()[0])
    state = play(made, Command(resume="go on"), thread(), durability=durability)
    assert sorted(store.ran) == ["L", "P"]
    assert len(answers(state)) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("decorated", [True, False])
def test_a_node_that_makes_texts_of_errors(world: World, asynchronous: bool, decorated: bool) -> None:
    """``handle_tool_errors=True`` swallows neither the interrupt nor the refusal's words."""
    ran: list[str] = []

    def pay(order: str) -> str:
        """Pay."""
        ran.append(order)
        return f"pay {order}"

    made = tool(governed("ask_it", "pay")(pay)) if decorated else tool(pay)
    middleware = guard()
    graph = node([made], middleware, handle_tool_errors=True).compile(checkpointer=InMemorySaver())
    state = play(graph, ask(PAY), thread(), asynchronous)
    (asked,) = interrupts(state)
    assert names_no_command(str(asked))
    world.deny(1)
    state = play(graph, Command(resume="go on"), thread(), asynchronous)
    assert str(answers(state)[0].content).startswith("Denied:")
    assert ran == []


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("on_pending", ["wait", "return", "interrupt"])
def test_stopped_between_permit_and_body(world: World, asynchronous: bool, on_pending: Any) -> None:
    """The last check fails: nothing runs, the model is told, and the call, which never ran, may run later."""
    shop = Shop()
    plane = StoppedAtTheLastMoment(world.plane)
    middleware = guard("allow_it", on_pending, control_plane=plane)
    graph = node([shop.pay()], middleware).compile(checkpointer=InMemorySaver())
    message = ask(call("pay", {"amount": 5}), id="m")
    state = play(graph, message, thread(), asynchronous)
    text = str(answers(state)[0].content)
    assert text.startswith("Stopped: the kill switch is on")
    assert names_no_command(text)
    world.verify()
    (row,) = world.rows()
    assert (plane.checks, shop.ran, row.outcome) == (1, [], "failed")
    assert (row.error or "").startswith("not started: ")
    world.release()
    calm = node([shop.pay()], guard("allow_it", on_pending)).compile(checkpointer=InMemorySaver())
    play(calm, message, thread(), asynchronous)
    assert shop.ran == [5]


def test_two_waits_for_one_call(world: World) -> None:
    """Both are approved at once: one runs, the other is told, and its approval is withdrawn."""
    store = Store()
    message = ask(PAY, id="m")

    def once() -> str:
        graph = node(store.tools(), GovernanceMiddleware(ACTIONS)).compile(checkpointer=InMemorySaver())
        return str(answers(play(graph, message, thread()))[0].content)

    with ThreadPoolExecutor(2) as pool, Meanwhile(world.plane, world.approve, count=2):
        told = sorted(each.result() for each in [pool.submit(once), pool.submit(once)])
    assert store.ran == ["P"]
    assert told[0].startswith("Already ran, action ")
    assert told[1] == "pay P"
    world.verify()
    assert sorted(row.status for row in world.rows()) == ["approved", "denied"]
    assert world.events().count("withdrawn") == 1
