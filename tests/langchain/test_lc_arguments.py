"""What a call is judged on, what makes it the same call, what is kept secret, and what is left behind."""

# Without ``from __future__ import annotations``: LangChain reads the annotations of functions defined in here.

import asyncio
import gc
import logging
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import ascend_guard_langchain.gate as gate_module
import pytest
from ascend_guard_langchain import GovernanceMiddleware, govern_tool, govern_tools, is_governed
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents.middleware import ToolCallRequest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.types import Command
from lc_tools import Shop, guard
from lc_world import HELLO, Bench, World, agent, answers, call, interrupts, says, thread, until
from pydantic import BaseModel, ConfigDict
from world import Meanwhile

from ascend_guard import (
    ActionPendingError,
    AuthorizationDeniedError,
    ConfigurationError,
    Exclude,
    Redact,
    ValidationError,
    governed,
)
from ascend_guard.calling import scope

ANYTHING: dict[str, Any] = {"type": "object", "properties": {"value": {}}}


def remembering(ran: list[Any]) -> BaseTool:
    """A tool that takes any JSON."""

    def keep(**arguments: Any) -> str:
        ran.append(arguments)
        return "kept"

    return StructuredTool(name="keep", description="Keep.", args_schema=ANYTHING, func=keep)


def held(made: BaseTool, arguments: dict[str, Any]) -> str:
    """Make a call that waits for a person; its action."""
    with pytest.raises(ActionPendingError) as caught:
        made.invoke(arguments)
    assert caught.value.action_id is not None
    return caught.value.action_id


# --- the same call, and another one ------------------------------------------------------------------------------------


def test_another_order_of_keys(world: World) -> None:
    """Tools can tell it apart, so an approval is not used for it; a denial answers it (decision record 28)."""
    ran: list[Any] = []
    made = govern_tool(remembering(ran), "ask_it", on_pending="raise")
    first = held(made, {"a": 1, "b": {"c": 2, "d": 3}})
    world.approve(first)
    second = held(made, {"b": {"d": 3, "c": 2}, "a": 1})
    assert second != first
    assert ran == []
    world.deny(second)
    for _ in range(2):
        with pytest.raises(AuthorizationDeniedError):
            made.invoke({"b": {"d": 3, "c": 2}, "a": 1})
    assert len(world.rows()) == 2


def test_an_annotation_excludes(world: World) -> None:
    """What is annotated ``Exclude`` is passed on, and is in no record; an edit of another argument keeps it."""
    ran: list[Any] = []

    @tool
    def pay(order: str, session: Annotated[str, Exclude] = "") -> str:
        """Pay."""
        ran.append((order, session))
        return "paid"

    made = govern_tool(pay, "ask_it", on_pending="raise")
    arguments = {"order": "A", "session": "only for the tool"}
    action = held(made, arguments)
    world.approve(action, order="B")
    made.invoke(arguments)
    assert ran == [("B", "only for the tool")]
    (row,) = world.rows()
    assert world.asked(row).excluded == ("session",)
    assert "only for the tool" not in world.trail() + repr(world.rows())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1, True),
        (1, 1.0),
        (0, False),
        (None, "None"),
        ([], {}),
        ("", None),
        (0.0, -0.0),
        (unicodedata.normalize("NFC", "Zoë"), unicodedata.normalize("NFD", "Zoë")),
        ("pay", "p\u0430y"),
        ([1, [2]], [[1], 2]),
        ({"a": None}, {}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("deep", [False, True])
def test_values_that_only_look_the_same(world: World, one: Any, other: Any, deep: bool) -> None:
    """Another type or another spelling is another call: an approval of one is none of the other."""
    ran: list[Any] = []
    made = govern_tool(remembering(ran), "ask_it", on_pending="raise")
    wrap: Callable[[Any], Any] = (lambda value: [{"x": value}]) if deep else (lambda value: value)
    first = held(made, {"value": wrap(one)})
    world.approve(first)
    assert held(made, {"value": wrap(other)}) != first
    assert ran == []
    made.invoke({"value": wrap(one)})
    assert ran == [{"value": wrap(one)}]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_json_is_judged_as_it_runs(world: World, value: Any) -> None:
    """Whatever a model sends, the body runs with that and the decision was made on that; else it does not run."""
    ran: list[Any] = []
    made = govern_tool(remembering(ran), "allow_it")
    count = len(world.rows())
    try:
        made.invoke({"value": value})
    except ValidationError:
        assert ran == []
        return
    (row,) = world.rows()[count:]
    assert ran == [{"value": value}]
    assert repr(ran[0]["value"]) == repr(value)
    assert set(world.asked(row).action_details) == {"value"}


NAMES = [
    "callbacks",
    "run_manager",
    "config",
    "runtime",
    "state",
    "store",
    "tool_call_id",
    "self",
    "args",
    "kwargs",
    "name",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_names_the_framework_uses(world: World, name: str, asynchronous: bool) -> None:
    """An argument of such a name is judged, or does not reach the tool; a model cannot slip one past the decision."""
    ran: list[Any] = []

    def keep(**arguments: Any) -> str:
        ran.append(arguments)
        return "kept"

    async def akeep(**arguments: Any) -> str:
        return keep(**arguments)

    made: BaseTool = StructuredTool(
        name="keep", description="Keep.", args_schema=ANYTHING, func=keep, coroutine=akeep
    )
    turn = says(call("keep", {name: "evil", "value": 1}))
    ready = agent([turn], [made], GovernanceMiddleware({"keep": "allow_it"}))
    try:
        asyncio.run(ready.ainvoke(HELLO)) if asynchronous else ready.invoke(HELLO)
    except Exception:
        assert "evil" not in repr(ran)
        return
    for row, arguments in zip(world.rows(), ran, strict=True):
        judged = world.asked(row).action_details
        assert {key: value for key, value in arguments.items() if value == "evil"} == {
            key: value for key, value in judged.items() if value == "evil"
        }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_names_the_framework_uses_in_a_class(world: World, name: str, asynchronous: bool) -> None:
    """The same for a class that takes whatever it is given."""
    ran: list[Any] = []

    class Keep(BaseTool):
        name: str = "keep"
        description: str = "Keep."

        def _run(this, **arguments: Any) -> str:
            ran.append(arguments)
            return "kept"

    made = govern_tool(Keep(), "allow_it")
    given = {name: "evil", "value": 1}
    try:
        asyncio.run(made.ainvoke(given)) if asynchronous else made.invoke(given)
    except Exception:
        assert "evil" not in repr(ran)
        return
    (row,) = world.rows()
    assert ran == [world.asked(row).action_details]


def test_a_model_cannot_forge_what_is_injected(world: World) -> None:
    """A plain injected argument that a caller gives is judged; a node takes away what a model says of it."""
    ran: list[str] = []

    @tool
    def look(order: str, tenant: Annotated[str, InjectedToolArg] = "nobody") -> str:
        """Look."""
        ran.append(tenant)
        return tenant

    govern_tool(look, "allow_it").invoke({"order": "o", "tenant": "acme"})
    turn = says(call("look", {"order": "o", "tenant": "evil"}))
    agent([turn], [look], GovernanceMiddleware({"look": "allow_it"})).invoke(HELLO)
    assert ran == ["acme", "nobody"]
    assert [world.asked(row).action_details["tenant"] for row in world.rows()] == ran


@pytest.mark.parametrize("asynchronous", [False, True])
def test_two_bodies_of_different_defaults(world: World, asynchronous: bool) -> None:
    """Each path is judged by the function that runs on it."""

    class Only(BaseModel):
        order: str

    ran: list[Any] = []

    def look(order: str, dry: bool = True) -> str:
        ran.append(dry)
        return "looked"

    async def alook(order: str, dry: bool = False) -> str:
        return look(order, dry)

    made = govern_tool(
        StructuredTool.from_function(look, alook, name="look", description="Look.", args_schema=Only),
        "allow_it",
    )
    asyncio.run(made.ainvoke({"order": "o"})) if asynchronous else made.invoke({"order": "o"})
    (row,) = world.rows()
    assert world.asked(row).action_details["dry"] is ran[0] is (not asynchronous)


def test_an_edit_of_another_type_is_not_taken(world: World) -> None:
    """The schema would make True a 1: that is not what was approved, so nothing runs."""
    shop = Shop()
    made = govern_tool(shop.pay(), "ask_it", on_pending="raise")
    first = held(made, {"amount": 5})
    world.approve(first, amount=True)
    with pytest.raises((ValidationError, AuthorizationDeniedError)):
        made.invoke({"amount": 5})
    assert shop.ran == []


class _Amount(BaseModel):
    amount: Decimal


@pytest.mark.parametrize(
    ("schema", "asked", "edited", "kind"),
    [(ANYTHING, 900, 90, int), (_Amount, "900.00", {"$decimal": "90.00"}, Decimal)],
    ids=["json", "pydantic"],
)
def test_an_edit_of_what_a_function_collects(
    world: World, schema: Any, asked: Any, edited: Any, kind: type
) -> None:
    """The schema tells the types: what is written at ``**`` holds for all of them, and is often wrong."""
    ran: list[dict[str, Any]] = []

    def keep(**arguments: dict[str, Any]) -> str:
        ran.append(arguments)
        return "kept"

    made = govern_tool(
        StructuredTool(name="keep", description="Keep.", args_schema=schema, func=keep),
        "ask_it",
        on_pending="raise",
    )
    world.approve(held(made, {"amount": asked}), amount=edited)
    assert made.invoke({"amount": asked}) == "kept"
    assert [(type(each["amount"]), str(each["amount"])[:2]) for each in ran] == [(kind, "90")]


def test_an_edit_that_a_validator_changes_is_not_taken(world: World) -> None:
    """What runs is what was approved, or nothing."""
    from pydantic import field_validator

    ran: list[str] = []

    class Upper(BaseModel):
        model_config = ConfigDict(extra="forbid")
        order: str

        @field_validator("order")
        @classmethod
        def _upper(cls, value: str) -> str:
            return value.upper()

    def look(order: str) -> str:
        ran.append(order)
        return order

    made = govern_tool(
        StructuredTool.from_function(look, name="look", description="Look.", args_schema=Upper),
        "ask_it",
        on_pending="raise",
    )
    first = held(made, {"order": "a"})
    world.approve(first, order="b")
    with pytest.raises(ValidationError, match="another value than the approved"):
        made.invoke({"order": "a"})
    assert ran == []
    second = held(made, {"order": "a"})
    world.approve(second, order="B")
    made.invoke({"order": "a"})
    assert ran == ["B"]


# --- secrets -------------------------------------------------------------------------------------------------------------

SECRET = "correct-horse-battery"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("end", ["allow", "deny", "approve", "refuse", "fail", "kill"])
@pytest.mark.parametrize("how", ["name", "annotation", "declared"])
def test_secrets_stay_where_they_were(
    world: World, caplog: pytest.LogCaptureFixture, asynchronous: bool, end: str, how: str
) -> None:
    """A secret argument reaches the tool, and nothing else: no message of ours, interrupt, log, or audit record."""
    caplog.set_level(logging.DEBUG, "ascend_guard")
    ran: list[str] = []
    name = "password" if how == "name" else "word"

    def annotated(word: Annotated[str, Redact]) -> str:
        """Log in."""
        ran.append(word)
        if end == "fail":
            raise ValueError(f"wrong: {word}")
        return "in"

    def plain(password: str) -> str:
        """Log in."""
        return annotated(password)

    def unmarked(word: str) -> str:
        """Log in."""
        return annotated(word)

    function = {"name": plain, "annotation": annotated, "declared": unmarked}[how]
    made = tool("login")(function)
    kind = {"allow": "allow_it", "deny": "deny_it", "fail": "allow_it"}.get(end, "ask_it")
    declared: Any = {"redact": ("word",)} if how == "declared" else {}
    middleware = GovernanceMiddleware({"login": kind}, on_pending="interrupt", **declared)
    turn = says(call("login", {name: SECRET}))
    bench = Bench(world.folder, asynchronous, durable=False)
    said: list[Any] = []
    try:
        state = bench.start(lambda saver: agent([turn], [made], middleware, checkpointer=saver))
        said += interrupts(state) + [message.content for message in answers(state)]
        if interrupts(state):
            {"approve": world.approve, "refuse": world.deny, "kill": world.kill}[end](world.pending()[0])
            said += [message.content for message in answers(bench.resume())]
    except ValueError:
        assert end == "fail"
    world.verify()
    assert ran == ([SECRET] if end in ("allow", "approve", "fail") else [])
    assert SECRET not in repr(said)
    assert SECRET not in caplog.text
    assert SECRET not in world.trail()
    assert SECRET not in repr(world.rows())
    assert world.asked(world.rows()[0]).action_details[name] != SECRET


# --- what is left behind -------------------------------------------------------------------------------------------------


def clean() -> None:
    """Nothing of a call is left in this context."""
    assert scope.manner() is None
    assert scope._manner.get() is None
    assert scope.current() is None
    assert scope.scoped().session_id is None
    left = {
        name: variable.get()
        for name, variable in vars(gate_module).items()
        if type(variable).__name__ == "ContextVar" and variable.get() is not None
    }
    assert left == {}


def request(made: BaseTool, amount: int = 5) -> ToolCallRequest:
    """What a node hands to middleware."""
    return ToolCallRequest(tool_call=call(made.name, {"amount": amount}), tool=made, state={}, runtime=None)  # type: ignore[arg-type]


ERRORS: list[BaseException | None] = [
    None,
    ValueError("no"),
    GraphInterrupt(()),
    KeyboardInterrupt(),
    ConfigurationError("x"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("mode", ["wait", "return"])
@pytest.mark.parametrize("action", ["allow_it", "deny_it", "ask_it"])
def test_nothing_is_left_in_the_context(
    world: World, error: BaseException | None, mode: str, action: str
) -> None:
    """However a call ends, the next one in the same context is made in nobody's name or manner."""

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        if error is not None:
            raise error
        return "paid"

    middleware = guard(action, mode)

    def handler(asked: ToolCallRequest) -> Any:
        assert asked.tool is not None
        return asked.tool.invoke(asked.tool_call)

    async def ahandler(asked: ToolCallRequest) -> Any:
        assert asked.tool is not None
        return await asked.tool.ainvoke(asked.tool_call)

    def once() -> None:
        try:
            if action == "ask_it" and mode == "wait":
                with Meanwhile(world.plane, world.approve):
                    middleware.wrap_tool_call(request(pay), handler)
            else:
                middleware.wrap_tool_call(request(pay), handler)
        except (Exception, KeyboardInterrupt):
            pass
        clean()

    async def aonce() -> None:
        try:
            if action == "ask_it" and mode == "wait":
                with Meanwhile(world.plane, world.approve):
                    await middleware.awrap_tool_call(request(pay), ahandler)
            else:
                await middleware.awrap_tool_call(request(pay), ahandler)
        except Exception:
            pass
        clean()

    once()
    if not isinstance(error, KeyboardInterrupt):
        asyncio.run(aonce())
    gc.collect()


async def test_cancelled_while_it_waits(world: World) -> None:
    """The tool does not run, the action still waits for a person, and nothing is left in the context."""
    shop = Shop()
    middleware = guard("ask_it", "wait")
    pay = shop.pay()

    async def handler(asked: ToolCallRequest) -> Any:
        assert asked.tool is not None
        return await asked.tool.ainvoke(asked.tool_call)

    async def work() -> None:
        try:
            await middleware.awrap_tool_call(request(pay), handler)
        finally:
            clean()

    task = asyncio.create_task(work())
    await until(lambda: bool([row for row in world.pending() if row.waiter]))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.verify()
    world.approve(1)
    await asyncio.sleep(0.05)
    assert shop.ran == []
    assert world.rows()[0].claimed_at is None


async def test_cancelled_while_it_runs(world: World) -> None:
    """It is recorded as failed."""
    started = asyncio.Event()

    @tool
    async def pay(amount: int) -> str:
        """Pay."""
        started.set()
        await asyncio.Event().wait()
        return "never"

    task = asyncio.create_task(
        agent([says(call("pay", {"amount": 5}))], [pay], guard("allow_it", "wait")).ainvoke(HELLO)
    )
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    clean()
    world.verify()
    assert [row.outcome for row in world.rows()] == ["failed"]


async def test_a_tool_in_its_own_context(world: World) -> None:
    """A task a tool leaves behind does not go on in the tool's name once another call is made."""
    made = govern_tool(Shop().pay(), "allow_it")
    later: list[asyncio.Task[Any]] = []

    @tool
    async def leave(amount: int) -> str:
        """Leave something behind."""

        async def work() -> str:
            await asyncio.sleep(0.01)
            return str(await made.ainvoke({"amount": amount}))

        later.append(asyncio.create_task(work()))
        return "left"

    await govern_tool(leave, "allow_it").ainvoke({"amount": 1})
    clean()
    assert await later[0] == "paid 1"
    assert len(world.rows()) == 2


# --- calls inside calls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_tool_that_calls_itself(world: World, asynchronous: bool) -> None:
    """Each of its calls is decided, down to the deepest."""
    ran: list[int] = []
    made: dict[str, Any] = {}

    @tool
    def count(amount: int) -> str:
        """Count down."""
        ran.append(amount)
        return str(made["count"].invoke({"amount": amount - 1})) if amount else "zero"

    made["count"] = govern_tool(count, "allow_it")
    run = made["count"]
    assert (asyncio.run(run.ainvoke({"amount": 3})) if asynchronous else run.invoke({"amount": 3})) == "zero"
    assert ran == [3, 2, 1, 0]
    assert [row.depth for row in world.rows()] == [0, 1, 2, 3]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_tool_that_calls_itself_with_the_same_arguments(world: World, asynchronous: bool) -> None:
    """Not even the very same call is let through by the permit of the one around it."""
    ran: list[int] = []
    made: dict[str, Any] = {}

    class Loop(BaseTool):
        name: str = "loop"
        description: str = "Loop."

        def _run(self, amount: int) -> str:
            ran.append(amount)
            return str(made["loop"]._run(amount)) if len(ran) < 3 else "done"

        async def _arun(self, amount: int) -> str:
            first, second = self._run(amount), self._run(amount)
            return first + second

    made["loop"] = run = govern_tool(Loop(), "allow_it")
    asyncio.run(run.ainvoke({"amount": 1})) if asynchronous else run.invoke({"amount": 1})
    assert len(ran) == (4 if asynchronous else 3)
    # The one step from _arun to _run is the same call; every other is another.
    assert len(world.claimed()) == len(ran)


@pytest.mark.parametrize("sum", [5, 6])
def test_an_async_body_that_hands_on_other_arguments(world: World, sum: int) -> None:
    """The permit is for the arguments that were judged: handed on with others, the call is decided again."""
    ran: list[int] = []

    class Pay(BaseTool):
        name: str = "pay"
        description: str = "Pay."

        def _run(self, amount: int) -> str:
            ran.append(amount)
            return f"paid {amount}"

        async def _arun(self, amount: int) -> str:
            return self._run(amount=sum)

    assert asyncio.run(govern_tool(Pay(), "allow_it").ainvoke({"amount": 5})) == f"paid {sum}"
    assert ran == [sum]
    assert [world.asked(row).action_details["amount"] for row in world.rows()] == (
        [5] if sum == 5 else [5, 6]
    )


def test_a_call_that_cannot_be_recognised(world: World) -> None:
    """An argument nobody can look into: no graph is interrupted for what no resumption could find again."""
    ran: list[int] = []

    def pay(amount: int, helper: Any = object()) -> str:  # noqa: B008
        """Pay."""
        ran.append(amount)
        return "paid"

    class Only(BaseModel):
        amount: int

    made = StructuredTool.from_function(pay, name="pay", description="Pay.", args_schema=Only)
    turn = says(call("pay", {"amount": 5}))
    state = agent([turn], [made], guard("ask_it"), checkpointer=InMemorySaver()).invoke(HELLO, thread())
    assert interrupts(state) == []
    assert "cannot be recognised" in answers(state)[0].content
    assert ran == []


@pytest.mark.parametrize("action", ["allow_it", "deny_it"])
def test_a_governed_tool_inside_a_tool(world: World, action: str) -> None:
    """A refusal inside a tool that ran is not told as if the outer tool had not run."""
    shop = Shop()
    inner = govern_tool(shop.pay(), action)

    @tool
    def outer(amount: int) -> str:
        """Pay through another."""
        shop.ran.append("outer")
        return str(inner.invoke({"amount": amount}))

    made = agent([says(call("outer", {"amount": 5}))], [outer], GovernanceMiddleware({"outer": "allow_it"}))
    message = answers(made.invoke(HELLO))[0]
    assert shop.ran == (["outer", 5] if action == "allow_it" else ["outer"])
    assert [row.depth for row in world.rows()] == [0, 1]
    world.verify()
    assert world.rows()[0].outcome == ("completed" if action == "allow_it" else "failed")
    assert message.status == ("success" if action == "allow_it" else "error")


@pytest.mark.parametrize("on_pending", ["return", "interrupt"])
def test_the_manner_is_the_agents_calls_alone(world: World, on_pending: str) -> None:
    """What a tool calls inside waits for a person as it was declared to, whatever the agent around it does."""
    shop = Shop()
    inner = govern_tool(shop.pay(), "ask_it")

    @tool
    def outer(amount: int) -> str:
        """Pay through another."""
        return str(inner.invoke({"amount": amount}))

    made = agent(
        [says(call("outer", {"amount": 5}))],
        [outer],
        GovernanceMiddleware({"outer": "allow_it"}, on_pending=on_pending),  # type: ignore[arg-type]
        checkpointer=InMemorySaver(),
    )
    with Meanwhile(world.plane, world.approve):
        state = made.invoke(HELLO, thread())
    assert answers(state)[0].content == "paid 5"
    assert shop.ran == [5]


def test_governed_tools_as_runnables(world: World) -> None:
    """In a chain a refusal is an error, and what comes after it does not run."""
    shop = Shop()
    after: list[Any] = []
    chain = (
        RunnableLambda(lambda n: {"amount": n})
        | govern_tool(shop.pay(), "deny_it")
        | RunnableLambda(after.append)
    )
    with pytest.raises(AuthorizationDeniedError):
        chain.invoke(5)
    assert chain.batch([1, 2], return_exceptions=True)
    assert (shop.ran, after) == ([], [])
    assert len(world.rows()) == 3


def test_what_is_said_of_a_tool(world: World) -> None:
    """``is_governed`` tells, a tool is governed once, a table names only tools there are."""
    shop = Shop()
    raw = shop.pay()
    made = govern_tool(raw, "allow_it")
    assert (is_governed(raw), is_governed(made), is_governed(made.model_copy())) == (False, True, True)
    with pytest.raises(ConfigurationError, match="already"):
        govern_tool(made)
    with pytest.raises(ConfigurationError, match="no tool 'refund'"):
        govern_tools([raw], {"refund": "refund"})
    with pytest.raises(ConfigurationError):
        govern_tool(lambda x: x)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="@governed"):
        govern_tool(StructuredTool.from_function(governed("allow_it")(raw.func)), "allow_it")  # type: ignore[attr-defined]
    for wrong in ({"on_pending": "never"}, {"on_denied": "ignore"}, {"timeout": -1}, {"no_such": 1}):
        with pytest.raises(ConfigurationError):
            GovernanceMiddleware(**wrong)  # type: ignore[arg-type]


def test_resuming_without_being_interrupted(world: World) -> None:
    """A resume of a conversation that waits for nothing runs nothing."""
    shop = Shop()
    made = agent(
        [says(call("pay", {"amount": 5}))], [shop.pay()], guard("deny_it"), checkpointer=InMemorySaver()
    )
    made.invoke(HELLO, thread())
    made.invoke(Command(resume="approve"), thread())
    assert shop.ran == []
