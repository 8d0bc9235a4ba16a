"""Ways around the gate: tools that are not what they seem, and tools that are changed afterwards, do not run undecided."""

# Without ``from __future__ import annotations``: LangChain reads the annotations of functions defined in here.

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest
from ascend_guard_langchain import govern_tool
from langchain_core.tools import BaseTool, StructuredTool
from lc_tools import Shop, guard
from lc_world import HELLO, World, agent, call, says

from ascend_guard import AscendError, governed

RAN: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


class Plain(BaseTool):
    """A tool as they should be."""

    name: str = "pay"
    description: str = "Pay."

    def _run(self, amount: int) -> str:
        RAN.append("_run")
        return "paid"


def _work(self: Any, *args: Any, **kwargs: Any) -> Any:
    RAN.append("around")
    return "paid"


async def _awork(self: Any, *args: Any, **kwargs: Any) -> Any:
    RAN.append("around")
    return "paid"


def _works(self: Any, *args: Any, **kwargs: Any) -> Any:
    RAN.append("around")
    yield "paid"


async def _aworks(self: Any, *args: Any, **kwargs: Any) -> Any:
    RAN.append("around")
    yield "paid"


WAYS: dict[str, tuple[Any, Callable[[BaseTool], Any]]] = {
    "invoke": (_work, lambda made: made.invoke({"amount": 5})),
    "ainvoke": (_awork, lambda made: asyncio.run(made.ainvoke({"amount": 5}))),
    "run": (_work, lambda made: made.run({"amount": 5})),
    "arun": (_awork, lambda made: asyncio.run(made.arun({"amount": 5}))),
    "batch": (_work, lambda made: made.batch([{"amount": 5}])),
    "abatch": (_awork, lambda made: asyncio.run(made.abatch([{"amount": 5}]))),
    "stream": (_works, lambda made: list(made.stream({"amount": 5}))),
    "astream": (_aworks, lambda made: asyncio.run(_all(made.astream({"amount": 5})))),
}


async def _all(stream: Any) -> list[Any]:
    return [each async for each in stream]


def attempt(run: Callable[[], Any]) -> None:
    """Do it; it may be refused, by us or by pydantic. What counts is what ran."""
    try:
        run()
    except (AscendError, ValueError, AttributeError):
        pass


@pytest.mark.parametrize("way", WAYS)
def test_a_class_that_works_around_its_run(world: World, way: str) -> None:
    """A class that does its work somewhere else than in ``_run`` is refused, or decided; it never just runs."""
    method, run = WAYS[way]
    odd = type("Odd", (Plain,), {way: method, "__module__": __name__})
    attempt(lambda: run(govern_tool(odd(), "deny_it")))
    assert RAN == []
    turn = says(call("pay", {"amount": 5}))
    for asynchronous in (False, True):
        made = agent([turn], [odd()], guard("deny_it", "wait"))
        attempt(
            lambda made=made, a=asynchronous: asyncio.run(made.ainvoke(HELLO)) if a else made.invoke(HELLO)
        )
    assert RAN == []


def _patched(*args: Any, **kwargs: Any) -> str:
    RAN.append("patched")
    return "paid"


async def _apatched(*args: Any, **kwargs: Any) -> str:
    return _patched()


PATCHES = {
    "_run": _patched,
    "_arun": _apatched,
    "run": _patched,
    "arun": _apatched,
    "invoke": _patched,
    "ainvoke": _apatched,
}


def _put(made: Any, name: str, how: str) -> Any:
    if how == "assigned":
        setattr(made, name, PATCHES[name])
    elif how == "object":
        object.__setattr__(made, name, PATCHES[name])
    else:
        return made.model_copy(update={name: PATCHES[name]})
    return made


@pytest.mark.parametrize("how", ["assigned", "object", "copied"])
@pytest.mark.parametrize("name", PATCHES)
def test_a_tool_patched_before_it_is_governed(world: World, name: str, how: str) -> None:
    """A method that was put on the tool itself is not out of the gate's reach."""

    def run(asynchronous: bool) -> None:
        made = govern_tool(_put(Plain(), name, how), "deny_it")
        asyncio.run(made.ainvoke({"amount": 5})) if asynchronous else made.invoke({"amount": 5})

    attempt(lambda: run(False))
    attempt(lambda: run(True))
    assert RAN == []


@pytest.mark.parametrize("how", ["assigned", "copied"])
@pytest.mark.parametrize("name", ["_run", "_arun"])
def test_a_tool_patched_after_it_is_governed(world: World, name: str, how: str) -> None:
    """Instrumentation that replaces a governed tool's body does not replace its gate."""

    def run(asynchronous: bool) -> None:
        made = _put(govern_tool(Plain(), "deny_it"), name, how)
        asyncio.run(made.ainvoke({"amount": 5})) if asynchronous else made.invoke({"amount": 5})

    attempt(lambda: run(False))
    attempt(lambda: run(True))
    assert RAN == []


@pytest.mark.parametrize("how", ["assigned", "object"])
@pytest.mark.parametrize("name", PATCHES)
def test_an_agents_tool_patched_after_a_call(world: World, name: str, how: str) -> None:
    """The copy that the middleware made of it shares its attributes, and does not run with such a one."""
    tool = Plain()
    made = agent([says(call("pay", {"amount": 5}))], [tool], guard("deny_it", "wait"))
    made.invoke(HELLO)
    attempt(lambda: _put(tool, name, how))
    attempt(lambda: made.invoke(HELLO))
    attempt(lambda: asyncio.run(made.ainvoke(HELLO)))
    assert RAN == []


def pay(amount: int) -> str:
    """Pay."""
    RAN.append("pay")
    return "paid"


async def apay(amount: int) -> str:
    """Pay."""
    return pay(amount)


def _exchanged(made: Any, field: str, function: Any, how: str) -> Any:
    if how == "assigned":
        setattr(made, field, function)
        return made
    return made.model_copy(update={field: function})


@pytest.mark.parametrize("how", ["assigned", "copied"])
@pytest.mark.parametrize("called", [True, False], ids=["after a call", "at once"])
@pytest.mark.parametrize("guarded", [True, False], ids=["in an agent", "by itself"])
def test_an_exchanged_function(world: World, how: str, called: bool, guarded: bool) -> None:
    """A governed function that is exchanged for a raw one takes the decision with it: the tool does not run."""
    gate = governed("deny_it", "pay")
    for field, asynchronous in (("func", False), ("coroutine", True)):
        made: Any = StructuredTool.from_function(gate(pay), gate(apay), name="pay")
        made = govern_tool(made)
        if called:
            attempt(lambda made=made: made.invoke({"amount": 5}))
            attempt(lambda made=made: asyncio.run(made.ainvoke({"amount": 5})))
        made = _exchanged(made, field, apay if asynchronous else pay, how)
        if guarded:
            made = agent([says(call("pay", {"amount": 5}))], [made], guard("deny_it", "wait"))
        given = HELLO if guarded else {"amount": 5}
        attempt(
            lambda made=made, a=asynchronous, g=given: asyncio.run(made.ainvoke(g)) if a else made.invoke(g)
        )
    assert RAN == []


def test_an_exchanged_function_of_a_governed_copy(world: World) -> None:
    """What replaces the function of a copy that is decided at its gate is decided there as well."""
    made = govern_tool(StructuredTool.from_function(Shop().pay().func, name="pay"), "deny_it")  # type: ignore[attr-defined]
    for how in ("assigned", "copied"):
        attempt(lambda how=how: _exchanged(made, "func", pay, how).invoke({"amount": 5}))
    assert RAN == []
    assert [row.status for row in world.rows()] == ["denied", "denied"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_wrapper_over_a_governed_function_is_not_governed(world: World, asynchronous: bool) -> None:
    """``functools.wraps`` copies attributes; that does not make the wrapper governed."""
    inner = governed("allow_it", "pay")(pay)

    @functools.wraps(inner)
    def outer(amount: int) -> str:
        RAN.append("outer")
        return str(inner(amount))

    made = agent(
        [says(call("pay", {"amount": 5}))],
        [StructuredTool.from_function(outer, name="pay")],
        guard("deny_it", "wait"),
    )
    asyncio.run(made.ainvoke(HELLO)) if asynchronous else made.invoke(HELLO)
    assert RAN == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_subclass_of_a_governed_class(world: World, asynchronous: bool) -> None:
    """A class derived from a governed tool's class has no gate, and does not run."""
    made = govern_tool(Plain(), "deny_it")

    class Sub(type(made)):  # type: ignore[misc]
        def _run(self, amount: int) -> str:
            RAN.append("sub")
            return str(super()._run(amount))

    attempt(
        lambda: asyncio.run(Sub().ainvoke({"amount": 5})) if asynchronous else Sub().invoke({"amount": 5})
    )
    assert "_run" not in RAN


@pytest.mark.parametrize("how", ["construct", "validate", "dump", "init"])
def test_a_tool_rebuilt_from_its_fields(world: World, how: str) -> None:
    """Rebuilt with the governed class but without its gate, it does not run."""
    made: Any = govern_tool(Shop().pay(), "deny_it")
    kind = type(made)
    fields = dict(made)

    def rebuild() -> Any:
        if how == "construct":
            return kind.model_construct(**fields)
        if how == "validate":
            return kind.model_validate(fields)
        if how == "dump":
            return kind(**made.model_dump())
        return kind(**fields)

    shop = Shop()
    fields["func"] = shop.pay().func  # type: ignore[attr-defined]
    fields["coroutine"] = None
    attempt(lambda: rebuild().invoke({"amount": 5}))
    attempt(lambda: asyncio.run(rebuild().ainvoke({"amount": 5})))
    assert shop.ran == []
