"""The gate of a tool itself, without an agent: which calls are decided, which are let through, and what is answered."""

# Without ``from __future__ import annotations``: LangChain reads the annotations of functions defined in here.

import asyncio
import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from ascend_guard_langchain.gate import PATHS, LangChainGate, _governed_class, calling, gate_of, with_gate
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from lc_world import World, call, told, until
from pydantic import BaseModel, Field, PrivateAttr
from world import Meanwhile

import ascend_guard
from ascend_guard import (
    AscendError,
    AuthorizationDeniedError,
    ConfigurationError,
    KillSwitchError,
    ValidationError,
    governed,
)
from ascend_guard.calling.declarations import Declaration, options
from ascend_guard.calling.scope import in_manner
from ascend_guard.errors import ActionPendingError, AlreadyRanError
from ascend_guard.model import Permit

RAN: list[Any] = []
CALL = call("pay", {"amount": 5})
TASK = {"configurable": {"thread_id": "t", "checkpoint_ns": "tools:1"}}


@pytest.fixture(autouse=True)
def _nothing_ran(world: World) -> None:
    RAN.clear()
    _governed_class.cache_clear()  # each test makes its classes, whichever ran before it


class Plain(BaseTool):
    """A tool as they should be."""

    name: str = "pay"
    description: str = "Pay."

    def _run(self, amount: int) -> str:
        RAN.append(amount)
        return f"paid {amount}"


class Handing(Plain):
    """Its ``_arun`` hands on, as often as there are amounts to add."""

    adds: list[int] = [0]

    async def _arun(self, amount: int) -> str:
        for more in self.adds:
            self._run(amount + more)
        return f"paid {amount}"


def pay(amount: int) -> str:
    """Pay."""
    RAN.append(amount)
    return f"paid {amount}"


async def apay(amount: int) -> str:
    """Pay."""
    RAN.append(f"async {amount}")
    return f"paid {amount}"


def gated(
    tool: BaseTool, action: str | None = "allow_it", on_denied: Any = "message", **declared: Any
) -> Any:
    """A copy of a tool with a gate; without an action, its function is to decide."""
    said = None if action is None else options(action, tool.name, cast(Declaration, declared))
    return with_gate(tool, LangChainGate(type(tool), said, on_denied))


def statuses(world: World) -> list[str]:
    """What was decided of each action, oldest first."""
    return [row.status for row in world.rows()]


# --- what can be given a gate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
def test_a_tool_with_an_attribute_in_the_place_of_a_method_gets_no_gate(name: str) -> None:
    """LangChain would call the attribute."""
    odd = Plain()
    object.__setattr__(odd, name, pay)
    with pytest.raises(ConfigurationError, match=f"{name} of the tool 'pay' was replaced"):
        gated(odd)


@pytest.mark.parametrize("module", [__name__, None, "langchain_core_of_mine"])
@pytest.mark.parametrize("name", PATHS[2:])
def test_a_class_with_its_own_way_to_be_called_gets_no_gate(name: str, module: str | None) -> None:
    """It may do its work there; only LangChain's own methods are known to come by ``_run``."""

    def own(self: Any, *args: Any, **kwargs: Any) -> Any: ...

    own.__module__ = module  # type: ignore[assignment]  # code that was made from text has none
    with pytest.raises(ConfigurationError, match=rf"has its own {name}\(\)"):
        gated(type("Odd", (Plain,), {name: own})())


@pytest.mark.parametrize(
    ("raised", "told"), [(TypeError("sealed"), ConfigurationError), (LookupError("sealed"), LookupError)]
)
def test_a_class_that_cannot_be_derived_from_gets_no_gate(raised: Exception, told: type[Exception]) -> None:
    """What it says of that is passed on; a failure of another kind is no answer."""

    class Sealed(Plain):
        @classmethod
        def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
            raise raised

    with pytest.raises(told, match="sealed"):
        gated(Sealed())


class Private(Plain):
    """A tool that keeps something to itself."""

    _till: list[int] = PrivateAttr(default_factory=list)

    def _run(self, amount: int) -> str:
        self._till.append(amount)
        return super()._run(amount)


def test_a_copy_keeps_what_the_tool_keeps_to_itself(world: World) -> None:
    """With its gate beside it; the tool itself has none."""
    tool = Private()
    made = gated(tool)
    made.invoke({"amount": 5})
    assert (made._till, tool._till) == ([5], [5])
    assert type(made) is not Private
    assert isinstance(made, Private)
    assert isinstance(gate_of(made), LangChainGate)
    for other in (tool, Plain(), pay, None):
        assert gate_of(other) is None  # type: ignore[arg-type]  # whatever an agent may have for a tool
    assert len(world.rows()) == 1


def test_a_tool_need_not_keep_anything_to_itself(world: World) -> None:
    """Older versions of LangChain give tools no private attributes."""
    tool = Plain()
    object.__setattr__(tool, "__pydantic_private__", None)
    assert gate_of(tool) is None
    assert gated(tool).invoke({"amount": 5}) == "paid 5"
    assert len(world.rows()) == 1


# --- every call is decided ---------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda made: made.invoke({"amount": 5}),
    "ainvoke": lambda made: asyncio.run(made.ainvoke({"amount": 5})),
    "run": lambda made: made.run({"amount": 5}),
    "arun": lambda made: asyncio.run(made.arun({"amount": 5})),
}
TOOLS: dict[str, Callable[[], BaseTool]] = {
    "a class": Plain,
    "a class that hands on": Handing,
    "a function": lambda: StructuredTool.from_function(pay, name="pay"),
    "both": lambda: StructuredTool.from_function(pay, apay, name="pay"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tool", TOOLS)
def test_each_call_is_decided_once(world: World, tool: str, way: str) -> None:
    """Allowed, it runs once; denied, it does not."""
    run = WAYS[way]
    assert run(gated(TOOLS[tool]())) == "paid 5"
    assert len(RAN) == 1
    with pytest.raises(AuthorizationDeniedError, match="Not here"):
        run(gated(TOOLS[tool](), "deny_it"))
    assert len(RAN) == 1
    assert statuses(world) == ["approved", "denied"]
    assert [world.asked(row).action_details for row in world.rows()] == [{"amount": 5}] * 2


@pytest.mark.parametrize("tool", [Plain, Handing])
def test_the_methods_that_do_the_work_are_decided_themselves(world: World, tool: type[BaseTool]) -> None:
    """Also where something calls them without LangChain."""
    made, refused = gated(tool()), gated(tool(), "deny_it")
    assert made._run(amount=5) == "paid 5"
    assert asyncio.run(made._arun(amount=5)) == "paid 5"
    with pytest.raises(AuthorizationDeniedError):
        refused._run(amount=5)
    with pytest.raises(AuthorizationDeniedError):
        asyncio.run(refused._arun(amount=5))
    assert RAN == [5, 5]
    assert statuses(world) == ["approved", "approved", "denied", "denied"]


@pytest.mark.parametrize("tool", [Plain, TOOLS["a function"]])
async def test_a_call_that_waits_holds_no_thread(world: World, tool: Callable[[], BaseTool]) -> None:
    """A sync tool is handed to a thread when it is approved: a call that is cancelled before that runs nowhere."""
    task = asyncio.create_task(gated(tool(), "ask_it").ainvoke({"amount": 5}))
    await until(lambda: any(row.waiter for row in world.pending()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.approve(1)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert RAN == []
    assert world.rows()[0].claimed_at is None


def test_a_plane_that_is_declared_decides(world: World, tmp_path: Path) -> None:
    """Before the configured default."""
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    ascend_guard.configure(control_plane=world.plane)
    gated(Plain(), control_plane=other.plane).invoke({"amount": 5})
    assert (len(world.rows()), len(other.rows())) == (0, 1)
    other.close()


class Asking(BaseTool):
    """A tool whose ``_run`` asks for what LangChain has to give."""

    name: str = "pay"
    description: str = "Pay."

    def _run(self, amount: int, config: RunnableConfig, run_manager: Any = None) -> str:
        RAN.append((config.get("tags"), run_manager is not None))
        return f"paid {amount}"


class Different(Plain):
    """A tool whose two methods differ in what they take."""

    def _run(self, amount: int, fee: int = 1) -> str:
        return f"paid {amount} and {fee}"

    async def _arun(self, amount: int, fee: int = 2) -> str:
        return f"paid {amount} and {fee}"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_method_gets_what_it_asks_for(world: World, asynchronous: bool) -> None:
    """Configuration and callbacks, as without a gate; neither is judged."""
    made, config = gated(Asking()), {"tags": ["x"]}
    given = {"amount": 5}
    answer = asyncio.run(made.ainvoke(given, config)) if asynchronous else made.invoke(given, config)
    assert (answer, RAN) == ("paid 5", [(["x"], True)])
    assert world.asked(world.rows()[0]).action_details == {"amount": 5}


def test_a_call_is_judged_by_the_method_that_runs(world: World) -> None:
    """With the defaults of that one."""
    made = gated(Different())
    assert made._run(amount=5) == "paid 5 and 1"
    assert asyncio.run(made._arun(amount=5)) == "paid 5 and 2"
    assert [world.asked(row).action_details["fee"] for row in world.rows()] == [1, 2]


# --- the step from _arun on to _run ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adds", "decided"),
    [([0], 1), ([0, 0], 2), ([1], 2), ([1, 0], 2), ([0, 1], 2), ([], 1)],
)
def test_an_async_body_may_hand_its_call_on_once(world: World, adds: list[int], decided: int) -> None:
    """With the same arguments; whatever else it calls is decided like any call."""
    made = gated(Handing(adds=adds))
    asyncio.run(made.arun({"amount": 5}))
    assert [amount - 5 for amount in RAN] == adds
    assert statuses(world) == ["approved"] * decided


def test_what_is_handed_on_to_another_tool_is_decided(world: World) -> None:
    """Also with the same arguments."""
    other = gated(Plain(), "deny_it")

    class Misled(Plain):
        async def _arun(self, amount: int) -> str:
            return str(other._run(amount=amount))

    with pytest.raises(AuthorizationDeniedError):
        asyncio.run(gated(Misled()).arun({"amount": 5}))
    assert RAN == []
    assert statuses(world) == ["approved", "denied"]


def test_nothing_is_left_to_hand_on_after_a_call(world: World) -> None:
    """A body that ends or fails without handing on leaves the next call to be decided."""

    class Lazy(Plain):
        async def _arun(self, amount: int) -> str:
            if amount == 5:
                raise ValueError("it broke")
            return "nothing paid"

    made = gated(Lazy())

    async def calls() -> None:
        for amount in (5, 6):
            try:
                await made._arun(amount=amount)
            except ValueError:
                pass
            made._run(amount=amount)

    asyncio.run(calls())
    assert RAN == [5, 6]
    assert statuses(world) == ["approved"] * 4


def test_a_body_that_calls_itself_is_decided_again(world: World) -> None:
    """A sync body, and a coroutine, end where LangChain calls them: no step follows that could be let through."""
    made: list[Any] = []

    class Twice(Plain):
        def _run(self, amount: int) -> str:
            RAN.append(amount)
            return str(made[0]._run(amount=amount)) if len(RAN) == 1 else "paid"

    made.append(gated(Twice()))
    made[0].invoke({"amount": 5})
    assert (RAN, statuses(world)) == ([5, 5], ["approved"] * 2)

    async def again(amount: int) -> str:
        return str(made[0]._run(amount=amount, config={}))

    made[0] = gated(StructuredTool.from_function(pay, again, name="pay"))
    asyncio.run(made[0].ainvoke({"amount": 6}))
    assert (RAN[2:], statuses(world)[2:]) == ([6], ["approved"] * 2)


class Wrapping(StructuredTool):
    """A class over functions, whose ``_arun`` does something of its own first."""

    async def _arun(self, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        return self._run(*args, config=config, **kwargs)


def test_a_class_over_functions_may_hand_on_as_well(world: World) -> None:
    """It need not come to the coroutine, where it has one."""
    made = gated(Wrapping.from_function(pay, apay, name="pay"))
    assert asyncio.run(made.ainvoke({"amount": 5})) == "paid 5"
    assert (RAN, statuses(world)) == ([5], ["approved"])


# --- tools whose functions decide --------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [None, "deny_it"])
def test_a_function_that_decides_is_left_to_it(world: World, action: str | None) -> None:
    """Its calls are decided there and once, on the loop and off it, even where the gate could decide them."""
    gate = governed("allow_it", "pay")
    made = gated(StructuredTool.from_function(gate(pay), gate(apay), name="pay"), action)
    made.invoke({"amount": 5})
    asyncio.run(made.ainvoke({"amount": 6}))
    assert (RAN, statuses(world)) == ([5, "async 6"], ["approved"] * 2)
    assert {row.action_type for row in world.rows()} == {"allow_it"}


def test_a_function_that_decides_decides_its_own_calls_alone(world: World) -> None:
    """The sync function's calls are decided by the gate where only the coroutine decides."""
    made = gated(StructuredTool.from_function(pay, governed("allow_it", "pay")(apay), name="pay"), "deny_it")
    with pytest.raises(AuthorizationDeniedError):
        made.invoke({"amount": 5})
    asyncio.run(made.ainvoke({"amount": 6}))
    assert RAN == ["async 6"]
    assert [row.action_type for row in world.rows()] == ["deny_it", "allow_it"]


def test_a_function_that_decided_and_was_exchanged_runs_no_more(world: World) -> None:
    """The gate knows no action type to decide as, so nothing runs."""
    made = gated(StructuredTool.from_function(governed("allow_it", "pay")(pay), name="pay"), None)
    made.invoke({"amount": 5})
    made.func = pay
    for run in (WAYS["invoke"], WAYS["ainvoke"]):
        with pytest.raises(ConfigurationError, match="lost its gate"):
            run(made)
    assert RAN == [5]


class Small(BaseModel):
    """What a tool takes that pays no large sums."""

    amount: int = Field(le=10)


def test_a_copy_with_another_schema_is_judged_by_that(world: World) -> None:
    """An approver's edits are read by the schema of the very tool that was called."""
    made = gated(StructuredTool.from_function(pay, name="pay"), "ask_it")
    with Meanwhile(world.plane, lambda row: world.approve(row, amount=50)):
        assert made.invoke({"amount": 5}) == "paid 50"
    small = made.model_copy(update={"args_schema": Small})
    with (
        Meanwhile(world.plane, lambda row: world.approve(row, amount=50)),
        pytest.raises(ValidationError, match="do not match the schema of the tool"),
    ):
        small.invoke({"amount": 6})
    assert RAN == [50]


# --- what is answered --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_refusal_is_a_message_where_a_tool_call_is_answered(world: World, asynchronous: bool) -> None:
    """And an error where there is none to answer, or where errors are declared."""

    def run(made: Any, given: Any) -> Any:
        return asyncio.run(made.ainvoke(given)) if asynchronous else made.invoke(given)

    answer = run(gated(Plain(), "deny_it"), CALL)
    assert isinstance(answer, ToolMessage)
    assert (answer.status, answer.tool_call_id, answer.name) == ("error", "c1", "pay")
    assert str(answer.content).startswith("Denied:")
    for made, given in (
        (gated(Plain(), "deny_it"), {"amount": 5}),
        (gated(Plain(), "deny_it", "raise"), CALL),
    ):
        with pytest.raises(AuthorizationDeniedError):
            run(made, given)
    assert RAN == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failure_of_the_tool_is_its_own(world: World, asynchronous: bool) -> None:
    """No refusal is made of it."""

    class Broken(Plain):
        def _run(self, amount: int) -> str:
            raise LookupError("it broke")

    made = gated(Broken())
    with pytest.raises(LookupError, match="it broke"):
        asyncio.run(made.ainvoke(CALL)) if asynchronous else made.invoke(CALL)
    assert world.rows()[0].outcome == "failed"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_answer_says_what_an_approver_changed(world: World, asynchronous: bool) -> None:
    """After the tool's own words."""
    made = gated(Plain(), "ask_it")
    with Meanwhile(world.plane, lambda row: world.approve(row, amount=6)):
        answer = asyncio.run(made.ainvoke(CALL)) if asynchronous else made.invoke(CALL)
    own, note = told(answer)
    assert own == "paid 6"
    assert "amount" in note
    assert told(gated(Plain()).invoke(CALL)) == ("paid 5", "")


class Carried(Exception):
    """What an agent's middleware makes of an error."""


def test_what_an_agent_calls_is_its_own_to_handle(world: World) -> None:
    """The tool it calls, while it calls it; other tools, and calls afterwards, answer for themselves."""
    made, other = gated(Plain(), "deny_it"), gated(Plain(), "deny_it")
    for given in (CALL, {"amount": 5}):
        with calling(made, Carried), pytest.raises(Carried, match="Not here"):
            made.invoke(given)
        with calling(made, Carried):
            assert other.invoke(CALL).status == "error"
    assert made.invoke(CALL).status == "error"


def test_a_call_inside_of_an_agents_call_answers_for_itself(world: World) -> None:
    """Also one of the same tool."""
    made: list[Any] = []

    class Killing(Plain):
        def _run(self, amount: int) -> str:
            world.kill()
            return str(made[0].invoke(call("pay", {"amount": 6}, "c2")).content)

    made.append(gated(Killing()))
    with calling(made[0], Carried):
        answer = made[0].invoke(CALL)
    assert answer.status == "success"
    assert "kill switch" in str(answer.content).lower()
    with pytest.raises(KillSwitchError):
        made[0].invoke({"amount": 7})


# --- how a call is made ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_denied", ["message", "raise"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_tool_call_runs_once_in_a_task(world: World, asynchronous: bool, on_denied: str) -> None:
    """Repeated, it is answered that it ran, which is no refusal; without an id nothing is known to be repeated."""
    made = gated(Plain(), "allow_it", on_denied)

    def run(given: Any) -> Any:
        return asyncio.run(made.ainvoke(given, TASK)) if asynchronous else made.invoke(given, TASK)

    assert run(CALL).content == "paid 5"
    again = run(CALL)
    assert str(again.content).startswith("Already ran")
    assert again.status == "success"
    assert run(call("pay", {"amount": 5}, "c2")).content == "paid 5"
    assert [run({"amount": 5}), run({"amount": 5})] == ["paid 5"] * 2
    assert RAN == [5] * 4


@pytest.mark.parametrize("config", [None, {}, {"configurable": None}, {"configurable": {}}])
def test_outside_of_a_task_a_tool_call_may_run_again(world: World, config: Any) -> None:
    """However little is said of where it is made."""
    made = gated(Plain())
    for _ in range(2):
        assert made.run({"amount": 5}, tool_call_id="c1", config=config).content == "paid 5"
        assert asyncio.run(made.arun({"amount": 5}, tool_call_id="c1", config=config)).content == "paid 5"
    assert RAN == [5] * 4


def test_the_manner_around_a_call_holds(world: World) -> None:
    """Whether it waits and the name of its request; the note of an edit is the gate's to give."""
    made = gated(Plain(), "ask_it")
    for _ in range(2):
        with in_manner("raise", "request"):
            assert made.invoke(CALL).content.startswith("Pending")
    (row,) = world.rows()
    world.approve(row, amount=6)
    with in_manner("raise", "request"):
        assert told(made.invoke(call("pay", {"amount": 5}, "c2")))[0] == "paid 6"
    with in_manner("raise", "another"):
        assert made.invoke(CALL).content.startswith("Pending")


def test_the_name_of_a_call_is_the_one_around_it(world: World) -> None:
    """Or, where none is given, the one it has in its task."""
    made = gated(Plain())
    for tool_call_id, ran in (("c1", True), ("c2", False)):
        with in_manner(None, None, None, "once"):
            answer = made.invoke(call("pay", {"amount": 5}, tool_call_id), TASK)
        assert (answer.content == "paid 5") is ran
    for tool_call_id, ran in (("c3", True), ("c3", False), ("c4", True)):
        with in_manner(None, None):
            answer = made.invoke(call("pay", {"amount": 5}, tool_call_id), TASK)
        assert (answer.content == "paid 5") is ran


def test_an_agent_is_told_what_was_approved(world: World) -> None:
    """By the manner it calls its tool in; the answer then bears no note of the gate's."""
    made = gated(Plain(), "ask_it")
    seen: list[Permit] = []
    with (
        Meanwhile(world.plane, lambda row: world.approve(row, amount=6)),
        in_manner(None, None, seen.append),
        calling(made, Carried),
    ):
        assert told(made.invoke(CALL)) == ("paid 6", "")
    (permit,) = seen
    assert permit.edits


@pytest.mark.parametrize("error", [ActionPendingError, AlreadyRanError])
def test_errors_without_a_tool_call_are_raised(world: World, error: type[AscendError]) -> None:
    """There is no message to put them in."""
    made = gated(Plain(), "ask_it" if error is ActionPendingError else "allow_it", on_pending="raise")
    with in_manner(None, None, None, "once"):
        if error is AlreadyRanError:
            made.invoke({"amount": 5})
        with pytest.raises(error):
            made.invoke({"amount": 5})


# --- copies, and changes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda made: made.model_copy(), lambda made: pickle.loads(pickle.dumps(made))],
    ids=["copy", "deepcopy", "model_copy", "pickle"],
)
def test_a_copy_has_the_gate(world: World, copied: Callable[[Any], Any]) -> None:
    """With what was declared, before the first call and after it."""
    tool = gated(Handing(name="hand", adds=[0, 1]), "deny_it", "raise")
    for _ in range(2):
        made = copied(tool)
        assert type(made) is type(tool)
        assert (made.name, made.adds) == ("hand", [0, 1])
        for run in (WAYS["invoke"], WAYS["ainvoke"], lambda made: made.invoke(CALL)):
            with pytest.raises(AuthorizationDeniedError):
                run(made)
        with pytest.raises(AuthorizationDeniedError):
            tool.invoke({"amount": 5})
    assert RAN == []


def test_a_changed_copy_is_a_copy_with_the_change() -> None:
    """Unless it changes how the tool is called."""
    made = gated(Plain())
    assert made.model_copy(update={"name": "other"}).name == "other"
    with pytest.raises(ConfigurationError, match="was replaced"):
        made.model_copy(update={"_run": pay})


def test_a_method_is_not_exchanged(world: World) -> None:
    """The assignment is refused and leaves nothing behind; others are as they were."""
    made = gated(Plain())
    made.description = "Pay at once."
    assert made.description == "Pay at once."
    for name in PATHS[:2]:
        with pytest.raises(ConfigurationError, match="lost its gate"):
            setattr(made, name, pay)
        assert name not in vars(made)
    assert made.invoke({"amount": 5}) == "paid 5"
    assert len(world.rows()) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_tool_that_lost_its_gate_does_not_run(way: str) -> None:
    """Nor does one that has an attribute in the place of the method that decides."""
    bare = type(gated(Plain()))()
    with pytest.raises(ConfigurationError, match="lost its gate"):
        WAYS[way](bare)
    with pytest.raises(ConfigurationError, match="lost its gate"):
        pickle.dumps(bare)
    for name in PATHS[:2]:
        made = gated(Plain())
        object.__setattr__(made, name, pay)
        with pytest.raises(ConfigurationError, match=f"{name} of the tool 'pay' was replaced"):
            WAYS[way](made)
    assert RAN == []


@pytest.mark.parametrize("name", PATHS[2:])
def test_a_tool_that_was_changed_is_not_called_by_its_inner_methods_either(name: str) -> None:
    """Code that calls ``_run`` or ``_arun`` itself is refused as well."""
    made = gated(Plain())
    object.__setattr__(made, name, pay)
    with pytest.raises(ConfigurationError, match="was replaced"):
        made._run(amount=5)
    with pytest.raises(ConfigurationError, match="was replaced"):
        asyncio.run(made._arun(amount=5))
    assert RAN == []
