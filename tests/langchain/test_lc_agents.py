"""Agents inside tools, other middleware, many at once: each call is decided once, and nothing runs undecided."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ascend_guard_langchain import GovernanceMiddleware, govern_tool, govern_tools
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
    after_model,
    before_model,
)
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from lc_tools import Shop, guard
from lc_world import HELLO, Bench, World, agent, answers, call, interrupts, says, thread, until
from pydantic import PrivateAttr
from world import HALF_AN_HOUR, Meanwhile

from ascend_guard import AuthorizationDeniedError, governed

both_ways = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
PAY = says(call("pay", {"amount": 5}))


def run(made: Any, asynchronous: bool, given: Any = None, config: Any = None) -> dict[str, Any]:
    """Run an agent."""
    given = HELLO if given is None else given
    state: dict[str, Any] = (
        asyncio.run(made.ainvoke(given, config)) if asynchronous else made.invoke(given, config)
    )
    return state


# --- agents inside tools ------------------------------------------------------------------------------------------------


def delegating(inner: Any, shop: Shop, name: str = "delegate") -> BaseTool:
    """A tool that hands its work to an agent."""

    def delegate(task: str) -> str:
        """Hand it on."""
        shop.ran.append(name)
        return str(inner.invoke({"messages": [("human", task)]})["messages"][-2].content)

    async def adelegate(task: str) -> str:
        """Hand it on."""
        shop.ran.append(name)
        return str((await inner.ainvoke({"messages": [("human", task)]}))["messages"][-2].content)

    return StructuredTool.from_function(delegate, adelegate, name=name)


def nested(
    shop: Shop, levels: int, inner_mode: str, outer_mode: str, outer_action: str
) -> Callable[[Any], Any]:
    """Agents this many levels deep, the innermost of which pays."""

    def build(saver: Any) -> Any:
        made = agent([PAY], [shop.pay()], guard("ask_it", inner_mode))
        for level in range(levels):
            name = f"delegate{level}"
            options = {"checkpointer": saver} if level == levels - 1 else {}
            made = agent(
                [says(call(name, {"task": "pay"}, f"d{level}"))],
                [delegating(made, shop, name)],
                GovernanceMiddleware({name: outer_action}, on_pending=outer_mode),
                **options,
            )
        return made

    return build


@pytest.mark.parametrize("levels", [1, 2])
def test_a_nested_agent_waits(world: World, bench: Bench, levels: int) -> None:
    """Approved while it waits, the inner call runs once, linked to the calls it was made in."""
    shop = Shop()
    with Meanwhile(world.plane, world.approve):
        state = bench.start(nested(shop, levels, "wait", "wait", "allow_it"))
    world.verify()
    assert answers(state)[0].content == "paid 5"
    assert shop.ran == [f"delegate{level}" for level in reversed(range(levels))] + [5]
    rows = world.rows()
    assert [row.depth for row in rows] == list(range(levels + 1))
    assert {row.orchestration_session_id for row in rows} == {rows[0].orchestration_session_id}
    assert {row.session_id for row in rows} == {"t"}


@pytest.mark.parametrize("levels", [1, 2])
def test_a_nested_agent_is_told_and_asks_again(world: World, bench: Bench, levels: int) -> None:
    """Told that it is pending, the agents end; the same call of a later conversation turn takes it up, and runs once."""
    shop = Shop()
    state = bench.start(nested(shop, levels, "return", "wait", "allow_it"))
    assert answers(state)[0].content.startswith("Pending:")
    assert 5 not in shop.ran
    world.approve(world.pending()[0])
    bench.thread = "t"
    second = nested(shop, levels, "return", "wait", "allow_it")
    again = Bench(world.folder / "..", bench.asynchronous, durable=False)
    state = again.start(second)
    world.verify()
    assert answers(state)[0].content == "paid 5"
    assert shop.ran.count(5) == 1
    assert len([row for row in world.claimed() if row.action_type == "ask_it"]) == 1


@pytest.mark.parametrize("levels", [1, 2])
def test_a_nested_agent_is_interrupted(world: World, bench: Bench, levels: int) -> None:
    """The interrupt reaches whoever runs the outer graph; resumed, the inner call runs once."""
    shop = Shop()
    state = bench.start(nested(shop, levels, "interrupt", "interrupt", "allow_it"))
    (asked,) = interrupts(state)
    assert asked["tool"] == "pay"
    (again,) = interrupts(bench.resume(True))
    assert again["action_id"] == asked["action_id"]
    assert 5 not in shop.ran
    world.approve(asked["action_id"])
    state = bench.resume(True)
    world.verify()
    assert answers(state)[0].content == "paid 5"
    assert shop.ran.count(5) == 1
    assert len([row for row in world.claimed() if row.action_type == "ask_it"]) == 1


def test_a_nested_agent_is_refused(world: World, bench: Bench) -> None:
    """A no to the inner call holds, whatever the outer graph is resumed with."""
    shop = Shop()
    (asked,) = interrupts(bench.start(nested(shop, 1, "interrupt", "interrupt", "allow_it")))
    world.deny(asked["action_id"])
    state = bench.resume({"decisions": [{"type": "approve"}]})
    assert answers(state)[0].content.startswith("Denied:")
    assert 5 not in shop.ran


@pytest.mark.parametrize("levels", [1, 2])
def test_approvals_at_every_level(world: World, bench: Bench, levels: int) -> None:
    """Where every level asks, there is one run for each approval, and the innermost tool runs once."""
    shop = Shop()
    state = bench.start(nested(shop, levels, "interrupt", "interrupt", "ask_it"))
    for _ in range(20):
        if not interrupts(state):
            break
        for row in world.pending():
            world.approve(row)
        state = bench.resume()
    world.verify()
    assert answers(state)[0].content == "paid 5"
    assert shop.ran.count(5) == 1
    assert len(shop.ran) == len(world.claimed())
    assert not [row for row in world.rows() if row.status == "denied"]


@both_ways
def test_a_nested_call_inside_an_approval_taken_up_later(world: World, asynchronous: bool) -> None:
    """What an approved tool calls is linked to it, also when the approval came between two attempts."""
    shop = Shop()
    inner = govern_tool(shop.pay(), "allow_it")

    @tool
    def outer(amount: int) -> str:
        """Pay through another."""
        return str(inner.invoke({"amount": amount}))

    made = agent(
        [says(call("outer", {"amount": 5}))],
        [outer],
        GovernanceMiddleware({"outer": "ask_it"}, on_pending="interrupt"),
        checkpointer=InMemorySaver(),
    )
    run(made, asynchronous, config=thread())
    world.approve(1)
    from langgraph.types import Command

    state = run(made, asynchronous, Command(resume=1), thread())
    assert answers(state)[0].content == "paid 5"
    assert [(row.parent_action_id, row.depth, row.status) for row in world.rows()] == [
        (None, 0, "approved"),
        (1, 1, "approved"),
    ]


# --- other middleware ------------------------------------------------------------------------------------------------


class Around(AgentMiddleware[Any, Any]):
    """Middleware of one function over (request, handler)."""

    def __init__(self, around: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
        super().__init__()
        self.around = around

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return self.around(request, handler)


def editing(request: Any, handler: Any) -> Any:
    """Another amount."""
    return handler(request.override(tool_call={**request.tool_call, "args": {"amount": 6}}))


def twice(request: Any, handler: Any) -> Any:
    """The same again."""
    handler(request)
    return handler(request)


def cached(request: Any, handler: Any) -> Any:
    """Never asks the tool."""
    return ToolMessage("from the cache", tool_call_id=request.tool_call["id"], name="pay")


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_edited_arguments_are_judged(world: World, before: bool) -> None:
    """Wherever it stands, what other middleware makes of the arguments is what is judged and what runs."""
    shop = Shop()
    other = Around(editing)
    order = [other, guard("allow_it", "wait")] if before else [guard("allow_it", "wait"), other]
    agent([PAY], [shop.pay()], *order).invoke(HELLO)
    (row,) = world.rows()
    assert world.asked(row).action_details == {"amount": 6}
    assert shop.ran == [6]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_every_run_is_an_action(world: World, before: bool) -> None:
    """Middleware that runs the tool twice asks twice."""
    shop = Shop()
    order = [Around(twice), guard("allow_it", "wait")]
    agent([PAY], [shop.pay()], *(order if before else order[::-1])).invoke(HELLO)
    assert shop.ran == [5, 5]
    assert len(world.claimed()) == 2


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_running_twice_is_running_once(world: World, before: bool) -> None:
    """One approval is good for one run, and in a thread one tool call runs once: the second is told so, asking nobody."""
    shop = Shop()
    order = [Around(twice), guard("ask_it", "interrupt")]
    bench = Bench(world.folder, asynchronous=False, durable=False)
    bench.start(
        lambda saver: agent([PAY], [shop.pay()], *(order if before else order[::-1]), checkpointer=saver)
    )
    assert shop.ran == []
    world.approve(1)
    state = bench.resume()
    assert shop.ran == [5]
    assert answers(state)[0].content.startswith("Already ran, action 1:")
    assert world.pending() == []
    assert len(world.claimed()) == 1


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_what_never_reaches_the_tool_is_no_action(world: World, before: bool) -> None:
    """Middleware that answers from a cache runs nothing, so nothing is decided."""
    shop = Shop()
    order = [Around(cached), guard("deny_it", "wait")]
    state = agent([PAY], [shop.pay()], *(order if before else order[::-1])).invoke(HELLO)
    assert answers(state)[0].content == "from the cache"
    assert (shop.ran, world.rows()) == ([], [])


def test_an_exchanged_tool_is_governed_as_itself(world: World) -> None:
    """Middleware before ours exchanges the tool: the one that would run is judged, under its own name."""
    shop = Shop()
    other = shop.other()

    def exchanging(request: Any, handler: Any) -> Any:
        return handler(request.override(tool=other))

    middleware = GovernanceMiddleware({"pay": "allow_it", "other": "deny_it"})
    state = agent([PAY], [shop.pay()], Around(exchanging), middleware).invoke(HELLO)
    (row,) = world.rows()
    assert (row.tool_name, row.action_type, row.status) == ("other", "deny_it", "denied")
    assert answers(state)[0].status == "error"
    assert shop.ran == []


def test_an_unknown_tool_brought_by_other_middleware_is_governed(world: World) -> None:
    """A tool that the agent was not made with is judged like any other."""
    shop = Shop()
    pay = shop.pay()

    def bringing(request: Any, handler: Any) -> Any:
        return handler(request.override(tool=pay))

    other = shop.other()
    state = agent([PAY], [other], Around(bringing), guard("deny_it", "wait")).invoke(HELLO)
    assert answers(state)[0].content.startswith("Denied:")
    assert shop.ran == []


@both_ways
def test_langchains_retries(world: World, asynchronous: bool) -> None:
    """A tool that fails is tried again by LangChain's own middleware; each attempt is an action of its own."""
    ran: list[int] = []

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        ran.append(amount)
        raise ValueError("not yet")

    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    state = run(agent([PAY], [pay], retry, guard("allow_it", "wait")), asynchronous)
    world.verify()
    assert "not yet" in str(answers(state)[0].content)
    assert ran == [5, 5, 5]
    assert [row.outcome for row in world.rows()] == ["failed"] * 3


@both_ways
def test_langchains_retries_let_interrupts_through(world: World, asynchronous: bool) -> None:
    """Retries around ours do not swallow the interrupt, or take it for a failure."""
    shop = Shop()
    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    bench = Bench(world.folder, asynchronous, durable=False)
    state = bench.start(lambda saver: agent([PAY], [shop.pay()], retry, guard(), checkpointer=saver))
    assert len(interrupts(state)) == len(world.rows()) == 1
    world.approve(1)
    bench.resume()
    assert shop.ran == [5]


def test_a_limit_of_calls(world: World) -> None:
    """Calls that LangChain's own limit stops are not made, so not decided."""
    shop = Shop()
    turns = [says(call("pay", {"amount": n}, f"c{n}")) for n in range(3)]
    limit = ToolCallLimitMiddleware(run_limit=1)
    agent(turns, [shop.pay()], limit, guard("allow_it", "wait")).invoke(HELLO)
    assert shop.ran == [0]
    assert len(world.rows()) == 1


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
def test_jumps_to_the_tools(world: World, first: bool) -> None:
    """Middleware that makes up a tool call and jumps to the tools comes by the gate."""
    shop = Shop()

    @before_model(can_jump_to=["tools"])
    def jumping(state: Any, runtime: Any) -> Any:
        if any(isinstance(message, AIMessage) for message in state["messages"]):
            return None
        return {"messages": [PAY], "jump_to": "tools"}

    order = [jumping, guard("deny_it", "wait")]
    state = agent([], [shop.pay()], *(order if first else order[::-1])).invoke(HELLO)
    assert answers(state)[0].content.startswith("Denied:")
    assert shop.ran == []
    assert len(world.rows()) == 1


@pytest.mark.parametrize("target", ["end", "model"])
def test_jumps_past_the_tools(world: World, target: str) -> None:
    """Calls that are jumped over are neither made nor decided; a jump back to the model decides the next one."""
    shop = Shop()

    @after_model(can_jump_to=["end", "model"])
    def jumping(state: Any, runtime: Any) -> Any:
        if len(state["messages"]) > 2:
            return None
        dropped = ToolMessage("dropped", tool_call_id="c1", name="pay")
        return {"messages": [dropped], "jump_to": target}

    agent(
        [PAY, says(call("pay", {"amount": 6}, "c2"))], [shop.pay()], jumping, guard("allow_it", "wait")
    ).invoke(HELLO)
    assert shop.ran == ([] if target == "end" else [6])
    assert [world.asked(row).action_details for row in world.rows()] == [
        {"amount": each} for each in shop.ran
    ]


@both_ways
@pytest.mark.parametrize(
    "name",
    ["nothing", "p\u0430y", "pay\n", "pay\x00", "\x1b[31mpay", "PAY", " pay", "pa\u200by", "x" * 10_000, ""],
)
def test_unknown_tools(world: World, asynchronous: bool, name: str) -> None:
    """A name that only looks like a tool's runs nothing, and is told in characters that do no harm."""
    shop = Shop()
    state = run(
        agent([says(call(name, {"amount": 5}))], [shop.pay()], guard("allow_it", "wait")), asynchronous
    )
    (message,) = answers(state)
    assert message.status == "error"
    assert "no tool" in message.content
    assert str(message.content).isascii()
    assert str(message.content).isprintable()
    assert len(message.content) < 1000
    assert (shop.ran, world.rows()) == ([], [])


def test_tools_that_middleware_brings(world: World) -> None:
    """Tools that come with other middleware are the agent's as well, and decided like any."""
    shop = Shop()

    class Bringing(AgentMiddleware[Any, Any]):
        """Middleware with a tool."""

        tools = [shop.pay()]

    state = agent([PAY], [shop.other()], Bringing(), guard("deny_it", "wait")).invoke(HELLO)
    assert answers(state)[0].content.startswith("Denied:")
    assert shop.ran == []


@both_ways
@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
def test_langchains_own_approval_is_not_ours(world: World, asynchronous: bool, first: bool) -> None:
    """A yes to LangChain's human-in-the-loop middleware lets nothing through here, and its edit is what we judge."""
    shop = Shop()
    theirs = HumanInTheLoopMiddleware(interrupt_on={"pay": True})
    order = [theirs, guard()] if first else [guard(), theirs]
    bench = Bench(world.folder, asynchronous, durable=False)
    bench.start(lambda saver: agent([PAY], [shop.pay()], *order, checkpointer=saver))
    assert world.rows() == []
    edited = {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 6}}}
    (asked,) = interrupts(bench.resume({"decisions": [edited]}))
    assert asked["type"] == "ascend_guard.approval"
    assert world.asked(world.pending()[0]).action_details == {"amount": 6}
    (again,) = interrupts(bench.resume({"decisions": [{"type": "approve"}]}))
    assert again == asked
    assert shop.ran == []
    world.approve(1)
    bench.resume()
    assert shop.ran == [6]


@both_ways
@pytest.mark.parametrize("guarded", [True, False])
def test_a_tool_that_remembers(world: World, asynchronous: bool, guarded: bool) -> None:
    """What a tool keeps between its calls it still knows in the next one."""

    class Counter(BaseTool):
        """Counts its calls."""

        name: str = "count"
        description: str = "Count."
        calls: int = 0
        _hidden: int = PrivateAttr(default=0)

        def _run(self) -> str:
            self.calls += 1
            self._hidden += 1
            return f"{self.calls} {self._hidden}"

    made: BaseTool = Counter() if guarded else govern_tool(Counter(), "allow_it")
    middleware = [GovernanceMiddleware({"count": "allow_it"})] if guarded else []
    turns = [says(call("count", {}, f"c{n}")) for n in range(3)]
    state = run(agent(turns, [made], *middleware), asynchronous)
    assert [message.content for message in answers(state)] == ["1 1", "2 2", "3 3"]


@both_ways
def test_a_pending_call_inside_an_allowed_tool(world: World, asynchronous: bool) -> None:
    """What is pending inside a tool that was declared to raise interrupts the graph; resumed, it runs once."""
    shop = Shop()
    inner = govern_tool(shop.pay(), "ask_it", on_pending="raise")

    @tool
    def outer(amount: int) -> str:
        """Pay through another."""
        return str(inner.invoke({"amount": amount}))

    bench = Bench(world.folder, asynchronous, durable=False)
    turn = says(call("outer", {"amount": 5}))
    state = bench.start(
        lambda saver: agent(
            [turn],
            [outer],
            GovernanceMiddleware({"outer": "allow_it"}, on_pending="interrupt"),
            checkpointer=saver,
        )
    )
    (asked,) = interrupts(state)
    assert bench.resume()["__interrupt__"]
    world.approve(asked["action_id"])
    assert answers(bench.resume())[0].content == "paid 5"
    assert shop.ran == [5]


# --- in every combination ----------------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("action", ["allow_it", "deny_it"])
@pytest.mark.parametrize("shape", ["sync", "async", "both"])
@pytest.mark.parametrize("decorated", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("guarded", [True, False])
def test_decided_once(
    world: World, asynchronous: bool, action: str, shape: str, decorated: bool, wrapped: bool, guarded: bool
) -> None:
    """``@governed``, ``govern_tool`` and the middleware in any combination: one action, the innermost's."""
    if shape == "async":
        asynchronous = True
    ran: list[int] = []

    def pay(amount: int) -> str:
        """Pay."""
        ran.append(amount)
        return "paid"

    async def apay(amount: int) -> str:
        """Pay."""
        return pay(amount)

    gate: Callable[[Any], Any] = governed(action, "pay") if decorated else lambda function: function
    functions = {"sync": (gate(pay), None), "async": (None, gate(apay)), "both": (gate(pay), gate(apay))}
    made: BaseTool = StructuredTool.from_function(*functions[shape], name="pay")
    if wrapped:
        made = govern_tool(made) if decorated else govern_tool(made, action)
    middleware = [guard(action, "wait")] if guarded else []
    if not (wrapped or guarded):
        if not decorated:
            return
        # Without anybody to answer for it, the function's error is raised to whoever runs the agent.
        if action == "deny_it":
            with pytest.raises(AuthorizationDeniedError):
                run(agent([PAY], [made]), asynchronous)
            assert ran == []
            return
    state = run(agent([PAY], [made], *middleware), asynchronous)
    assert len(world.rows()) == 1
    assert world.rows()[0].action_type == action
    assert ran == ([5] if action == "allow_it" else [])
    assert answers(state)[0].status == ("success" if action == "allow_it" else "error")


@both_ways
@pytest.mark.parametrize("half", ["func", "coroutine"])
@pytest.mark.parametrize("guarded", [True, False])
def test_a_tool_governed_by_half(world: World, asynchronous: bool, half: str, guarded: bool) -> None:
    """One of two functions is ``@governed``: either way it is called, it is decided, and once."""
    ran: list[int] = []

    def pay(amount: int) -> str:
        """Pay."""
        ran.append(amount)
        return "paid"

    async def apay(amount: int) -> str:
        """Pay."""
        return pay(amount)

    gate = governed("allow_it", "pay")
    made: BaseTool = StructuredTool.from_function(
        gate(pay) if half == "func" else pay, gate(apay) if half == "coroutine" else apay, name="pay"
    )
    if not guarded:
        made = govern_tool(made, "allow_it")
    run(agent([PAY], [made], *([guard("allow_it", "wait")] if guarded else [])), asynchronous)
    assert ran == [5]
    assert len(world.rows()) == 1


def test_govern_tools_leaves_governed_ones(world: World) -> None:
    """Governing a list twice decides once."""
    shop = Shop()
    once = govern_tools([shop.pay()], {"pay": "allow_it"})
    assert govern_tools(once)[0] is once[0]
    agent([PAY], govern_tools(once)).invoke(HELLO)
    assert len(world.rows()) == 1


# --- many at once ------------------------------------------------------------------------------------------------------


def test_two_agents_share_one_middleware(world: World) -> None:
    """One object may serve several agents, in several threads: every conversation keeps its own calls."""
    shop = Shop()
    middleware = guard("ask_it")
    made = [
        agent([says(call("pay", {"amount": n}))], [shop.pay()], middleware, checkpointer=InMemorySaver())
        for n in range(6)
    ]
    workers = [threading.Thread(target=made[n].invoke, args=(HELLO, thread(f"t{n}"))) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = {(row.session_id, world.asked(row).action_details["amount"], row.status) for row in world.rows()}
    assert found == {(f"t{n}", n, "pending") for n in range(6)}
    assert shop.ran == []


def test_tools_of_one_name_in_two_agents(world: World) -> None:
    """Two tools of one name under one middleware: each agent runs its own."""
    first, second = Shop(), Shop()
    middleware = guard("allow_it", "wait")
    agent([PAY], [first.pay()], middleware).invoke(HELLO)
    agent([PAY], [second.pay()], middleware).invoke(HELLO)
    assert (first.ran, second.ran) == ([5], [5])


async def test_a_hundred_calls_wait_without_a_thread_each(world: World) -> None:
    """Waiting for a person on the event loop takes no thread, for sync-only tools either."""
    ran: list[int] = []

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        ran.append(amount)
        return "paid"

    made = govern_tool(pay, "ask_it")
    before = threading.active_count()
    tasks = [asyncio.create_task(made.ainvoke({"amount": n})) for n in range(100)]
    await until(lambda: len([row for row in world.pending() if row.waiter]) == 100)
    assert threading.active_count() - before < 10
    for row in world.pending():
        world.approve(row)
    assert await asyncio.gather(*tasks) == ["paid"] * 100
    assert sorted(ran) == list(range(100))


async def test_a_hundred_agents_wait_without_a_thread_each(world: World) -> None:
    """The same through agents and their middleware."""
    shop = Shop()
    middleware = guard("ask_it", "wait")
    made = [agent([says(call("pay", {"amount": n}))], [shop.pay()], middleware) for n in range(100)]
    before = threading.active_count()
    tasks = [asyncio.create_task(each.ainvoke(HELLO)) for each in made]
    await until(lambda: len([row for row in world.pending() if row.waiter]) == 100)
    assert threading.active_count() - before < 10
    for row in world.pending():
        if world.asked(row).action_details["amount"] % 2:
            world.approve(row)
        else:
            world.deny(row)
    await asyncio.gather(*tasks)
    assert sorted(shop.ran) == list(range(1, 100, 2))


# --- on_denied, on_pending="return" --------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("mode", ["wait", "return"])
def test_denials_that_are_raised(world: World, asynchronous: bool, mode: str) -> None:
    """``on_denied="raise"``: whoever runs the agent gets the error."""
    shop = Shop()
    with pytest.raises(AuthorizationDeniedError):
        run(agent([PAY], [shop.pay()], guard("deny_it", mode, on_denied="raise")), asynchronous)
    assert shop.ran == []


@both_ways
def test_a_denial_answers_every_repeat(world: World, asynchronous: bool) -> None:
    """``on_pending="return"``: pending, asked again, denied; the same call after that is denied too, and nobody is asked."""
    shop = Shop()
    config = thread()
    saver = InMemorySaver()
    turns = [says(call("pay", {"amount": 5}, f"c{n}")) for n in range(2)] + [AIMessage("later")]
    turns += [says(call("pay", {"amount": 5}, f"d{n}")) for n in range(2)]
    made = agent(turns, [shop.pay()], guard("ask_it", "return"), checkpointer=saver)
    told = answers(run(made, asynchronous, config=config))
    assert [message.content.partition(":")[0] for message in told] == ["Pending", "Pending"]
    assert len(world.rows()) == 1
    world.deny(1)
    told = answers(run(made, asynchronous, config=config))[2:]
    assert [message.content.partition(":")[0] for message in told] == ["Denied", "Denied"]
    assert len(world.rows()) == 1
    assert shop.ran == []


@both_ways
def test_a_returned_call_is_taken_up_once(world: World, asynchronous: bool) -> None:
    """Approved meanwhile, the same call runs once; two equal calls of one turn are one request."""
    shop = Shop()
    twice_at_once = says(call("pay", {"amount": 5}, "a"), call("pay", {"amount": 5}, "b"))
    turns = [twice_at_once, AIMessage("later"), twice_at_once]
    made = agent(turns, [shop.pay()], guard("ask_it", "return"), checkpointer=InMemorySaver())
    run(made, asynchronous, config=thread())
    assert len(world.rows()) == 1
    world.approve(1)
    run(made, asynchronous, config=thread())
    world.verify()
    assert shop.ran == [5]
    assert len(world.claimed()) == 1
    assert len(world.pending()) == 1


def test_a_returned_call_expires(world: World) -> None:
    """Nobody decided: the same call learns that it was denied."""
    shop = Shop()
    turns = [PAY, AIMessage("later"), says(call("pay", {"amount": 5}, "c2"))]
    made = agent(turns, [shop.pay()], guard("ask_it", "return"), checkpointer=InMemorySaver())
    made.invoke(HELLO, thread())
    world.clock.move(HALF_AN_HOUR + 1)
    told = answers(made.invoke(HELLO, thread()))[1]
    assert told.content.startswith("Denied:")
    assert shop.ran == []
