"""Excluded parameters and framework contexts reach the tool and nothing else; the record names them."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import CallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolArg, InjectedToolCallId
from langgraph.prebuilt import InjectedState
from recorded import every_action

from ascend_guard import (
    ConfigurationError,
    EmbeddedControlPlane,
    Exclude,
    Redact,
    ValidationError,
    governed,
    guard,
)
from ascend_guard.callables.exclusion import CONTEXTS, is_context, separate
from ascend_guard.engine.approve import submitted
from ascend_guard.model import AgentAction

if TYPE_CHECKING:
    from nowhere import Session

Alias = Annotated[Any, Exclude]


def last(plane: EmbeddedControlPlane) -> AgentAction:
    """The action that was submitted last."""
    return plane.read(lambda reader: [submitted(reader, row).action for row in every_action(reader)])[-1]


def context_type(place: str) -> type:
    """A class with the module and name of a framework's."""
    module, _, name = place.rpartition(".")
    return type(name, (), {"__module__": module, "__qualname__": name})


class Cyclic:
    """Refers to itself and changes all the time, as contexts do."""

    def __init__(self) -> None:
        self.back = self
        self.messages: list[str] = []


# --- by name and by annotation ----------------------------------------------------------------------------------------


def _by_option(ctx: Any, order: str) -> Any:
    return ctx


def _by_mark(ctx: Annotated[Any, Exclude], order: str) -> Any:
    return ctx


def _by_instance(ctx: Annotated[Any, Exclude()], order: str) -> Any:
    return ctx


def _by_unknown_type(ctx: Annotated[Session, Exclude], order: str) -> Any:
    return ctx


def _by_alias(ctx: Alias, order: str) -> Any:
    return ctx


def _by_union(ctx: Annotated[Any, Exclude] | None, order: str) -> Any:
    return ctx


def _by_optional(ctx: Optional[Annotated[int, Exclude]], order: str) -> Any:  # noqa: UP045 - the old form counts too
    return ctx


def _by_framework(ctx: Annotated[str, InjectedToolCallId], order: str) -> Any:
    return ctx


def _by_state(ctx: Annotated[dict[str, Any], InjectedState("messages")], order: str) -> Any:
    return ctx


MARKED = [
    *(_by_mark, _by_instance, _by_unknown_type, _by_alias),
    *(_by_union, _by_optional, _by_framework, _by_state),
]


@pytest.mark.parametrize("tool", [_by_option, *MARKED])
def test_an_excluded_parameter_is_passed_and_not_judged(plane: EmbeddedControlPlane, tool: Any) -> None:
    """Whatever it holds; positional, by keyword, and in a method."""
    declared: Any = {"exclude": ("ctx",)} if tool is _by_option else {}
    gate: Any = governed("order_read", **declared)(tool)
    context = Cyclic()
    for call in (lambda: gate(context, "o-1"), lambda: gate(order="o-1", ctx=context)):
        assert call() is context
        action = last(plane)
        assert (action.action_details, action.excluded) == ({"order": "o-1"}, ("ctx",))


def _inside_a_container(ctx: list[Annotated[Any, Exclude]], order: str) -> Any: ...


def _by_injected_argument(ctx: Annotated[Any, InjectedToolArg], order: str) -> Any: ...


def _as_any(ctx: Any, order: str) -> Any: ...


def _as_a_string_constant(ctx: Annotated[Any, "Exclude"], order: str) -> Any: ...


def _as_config(ctx: RunnableConfig, order: str) -> Any: ...


@pytest.mark.parametrize(
    "tool", [_inside_a_container, _by_injected_argument, _as_any, _as_a_string_constant, _as_config]
)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["callbacks", "tags", "ctx", "configurable"]), inner, max_size=3
            )
        ),
    )
)
def test_no_value_a_model_can_write_is_excluded(plane: EmbeddedControlPlane, tool: Any, value: Any) -> None:
    """What it contains and what a parameter is called do not matter; only its developer's mark does."""
    governed("order_read")(tool)(value, "o-1")
    action = last(plane)
    assert action.excluded == ()
    assert action.action_details["ctx"] == value


# --- contexts of frameworks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", sorted(CONTEXTS))
def test_contexts_are_recognised_by_their_qualified_name(plane: EmbeddedControlPlane, place: str) -> None:
    """An instance of the class or of a subclass; not of a class that is only called so."""
    kind = context_type(place)
    name = place.rpartition(".")[2]
    derived = type("Mine", (kind,), {"__module__": "shop"})
    same_name = type(name, (), {"__module__": "shop"})
    same_package = type(name, (), {"__module__": place.partition(".")[0]})
    nested = type(name, (), {"__module__": place.rpartition(".")[0], "__qualname__": f"Outer.{name}"})

    class Pretending:
        @property
        def __class__(self) -> Any:
            return kind

    @governed("order_read")
    def tool(ctx: Any, order: str) -> None: ...

    for instance, expected in (
        (kind(), True),
        (derived(), True),
        (same_name(), False),
        (same_package(), False),
        (nested(), False),
        (Pretending(), False),
        (kind, False),
    ):
        tool(instance, "o-1")
        action = last(plane)
        assert (action.excluded == ("ctx",)) is expected
        assert ("ctx" in action.action_details) is not expected
        assert action.action_details["order"] == "o-1"


def test_contexts_that_are_installed_are_those_in_the_table() -> None:
    """The names are those of the installed versions of LangChain, LangGraph, MCP and fastmcp."""
    import fastmcp
    from langgraph.prebuilt.tool_node import ToolRuntime
    from langgraph.runtime import Runtime
    from langgraph.store.memory import InMemoryStore
    from mcp.server.mcpserver import Context

    for kind in (fastmcp.Context, ToolRuntime, Runtime, InMemoryStore, Context, CallbackManager):
        assert is_context(kind), kind


def test_the_configuration_that_langchain_passes(plane: EmbeddedControlPlane) -> None:
    """A dict with a callback manager and only LangChain's keys; with anything else in it, it is judged."""

    @governed("order_read")
    def tool(order: str, config: Any = None) -> None: ...

    manager = CallbackManager([])
    tool("o-1", {"callbacks": manager, "tags": ["a"], "configurable": {"thread_id": "t"}})
    assert (last(plane).action_details, last(plane).excluded) == ({"order": "o-1"}, ("config",))
    tool("o-1", {"callbacks": manager, "amount": 900})
    assert last(plane).excluded == ()
    assert last(plane).action_details["config"]["amount"] == 900


@given(
    before=st.lists(st.integers(-9, 9), max_size=3),
    after=st.lists(st.integers(-9, 9), max_size=3),
    extra=st.dictionaries(st.sampled_from(["x", "y"]), st.integers(-9, 9)),
)
def test_contexts_among_collected_arguments(
    plane: EmbeddedControlPlane, before: list[int], after: list[int], extra: dict[str, int]
) -> None:
    """In ``*args`` and ``**kwargs`` they are left out one by one, and the tool gets all in their places."""
    context = context_type("agents.tool_context.ToolContext")()
    received: list[Any] = []

    @governed("order_read")
    def tool(*args: Any, **kwargs: Any) -> None:
        received.append((args, kwargs))

    tool(*before, context, *after, ctx=context, **extra)
    assert received == [((*before, context, *after), {"ctx": context, **extra})]
    action = last(plane)
    assert action.action_details == {"args": [*before, *after], **extra}
    assert set(action.excluded) == {f"args[{len(before)}]", "ctx"}


@given(
    st.lists(st.booleans(), max_size=5),
    st.dictionaries(st.sampled_from("abc"), st.booleans()),
    st.lists(st.integers(), max_size=6),
)
def test_what_is_left_out_is_put_back(items: list[bool], keys: dict[str, bool], edited: list[int]) -> None:
    """Around edited values too: each context has the position it had, as far as there is one."""
    context = context_type("agents.tool_context.ToolContext")()
    named = {
        "args": tuple(context if each else 1 for each in items),
        "kwargs": {key: context if each else 1 for key, each in keys.items()},
        "order": "o-1",
    }
    judged, excluded = separate(named, frozenset(), ("args", "kwargs"))
    assert context not in judged["args"]
    assert context not in judged["kwargs"].values()
    if excluded is None:
        assert judged == named
        return
    assert excluded.restore(judged) == named
    again = excluded.restore({**judged, "args": edited})
    assert [each for each in again["args"] if each is not context] == edited
    assert sum(each is context for each in again["args"]) == sum(items)


# --- the rest of the call ----------------------------------------------------------------------------------------------


def _approved(plane: EmbeddedControlPlane, edits: dict[str, Any] | None = None) -> None:
    (row,) = plane.pending()
    plane.approve(str(row.id), approver="ann", **({} if edits is None else {"arguments": edits}))


def test_a_context_that_changes_while_a_person_decides(plane: EmbeddedControlPlane) -> None:
    """It is no argument: the call resumes and runs. An edit reaches the arguments, and the context stays."""
    from ascend_guard import ActionPendingError

    ran = []

    @governed("refund", on_pending="raise", exclude=("ctx",))
    def refund(ctx: Any, amount: float) -> None:
        ran.append((ctx, amount))

    context = Cyclic()
    with pytest.raises(ActionPendingError) as caught:
        refund(context, 900.0)
    assert caught.value.repeatable
    _approved(plane, {"amount": 600.0})
    context.messages.append("more")
    refund(context, 900.0)
    assert ran == [(context, 600.0)]


def test_an_edit_cannot_touch_what_is_excluded(plane: EmbeddedControlPlane) -> None:
    """It is refused where it is approved, with the reason."""
    from ascend_guard import ActionPendingError

    @governed("refund", on_pending="raise", exclude=("ctx",))
    def refund(ctx: Any, amount: float) -> None: ...

    with pytest.raises(ActionPendingError):
        refund("context", 900.0)
    with pytest.raises(ValidationError, match="'ctx' of action 1 is excluded from the decision"):
        _approved(plane, {"ctx": "mine"})


def test_streams_and_coroutines(plane: EmbeddedControlPlane) -> None:
    """Excluded parameters reach every kind of tool."""
    context = Cyclic()
    gate = governed("order_read", exclude=("ctx",))

    @gate
    async def coroutine(ctx: Any, order: str) -> Any:
        return ctx

    @gate
    def stream(ctx: Any, order: str) -> Any:
        yield ctx

    class Desk:
        @gate
        def method(self, ctx: Any, order: str) -> Any:
            return ctx

    assert asyncio.run(coroutine(context, "o-1")) is context
    assert list(stream(context, "o-1")) == [context]
    assert Desk().method(context, order="o-1") is context


def test_a_guard_excludes(plane: EmbeddedControlPlane) -> None:
    """The block gets all its parameters; the decision is made without the excluded one."""
    context = Cyclic()
    with guard("order_read", parameters={"order": "o-1", "ctx": context}, exclude=("ctx",)) as permit:
        assert permit.parameters == {"order": "o-1", "ctx": context}
    assert (last(plane).action_details, last(plane).excluded) == ({"order": "o-1"}, ("ctx",))


def test_a_resource_is_described_by_what_is_judged(plane: EmbeddedControlPlane) -> None:
    """A template cannot use what is excluded; a callable does not get it; a context in its place blocks the call."""
    for declared, tool in (
        ({"exclude": ("ctx",)}, _by_option),
        ({}, _by_mark),
    ):
        with pytest.raises(ConfigurationError, match=r"\{ctx\}, which is excluded"):
            governed("order_read", resource="{ctx}", **declared)(tool)  # type: ignore[arg-type]
    seen: list[Any] = []

    def describe(args: dict[str, Any]) -> str:
        seen.append(sorted(args))
        return "r"

    governed("order_read", resource=describe, exclude=("ctx",))(_by_option)(1, "o-1")
    assert seen == [["order"]]
    context = context_type("agents.tool_context.ToolContext")()
    with pytest.raises(ValidationError, match="its template uses 'ctx'"):
        governed("order_read", resource="{ctx}")(_by_option)(context, "o-1")


def test_policies_see_what_is_excluded(tmp_path: Any) -> None:
    """A rule can deny calls from which something was left out, and calls under a decorator that is vouched for."""
    from ascend_guard import AuthorizationDeniedError, configure
    from ascend_guard.engine.policy import parse_policy
    from ascend_guard.store.sqlite.store import SQLiteStore

    policy = """
version: 1
rules:
  - {name: none-hidden, actions: [pay], when: '"amount" in action.excluded', effect: deny, reason: Show the amount.}
  - {name: none-vouched, actions: [pay], when: size(action.vouched_decorators) > 0, effect: deny, reason: Unknown.}
  - {name: pay, actions: [pay], effect: allow}
"""
    plane = EmbeddedControlPlane(SQLiteStore(tmp_path / "a.db", durability="process"), parse_policy(policy))
    configure(control_plane=plane)

    def pay(ctx: Any, amount: int) -> str:
        return "paid"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: function(*args, **kwargs)

    assert governed("pay", exclude=("ctx",))(pay)(1, 2) == "paid"
    with pytest.raises(AuthorizationDeniedError, match="Show the amount"):
        governed("pay", exclude=("amount",))(pay)(1, 2)
    with pytest.raises(AuthorizationDeniedError, match="Unknown"):
        governed("pay", vouch_for=(decorate,))(decorate(pay))(1, 2)
    plane.close()


def test_nothing_is_imported_to_recognise_a_context() -> None:
    """The table is of names."""
    before = set(sys.modules)
    assert not is_context(types.SimpleNamespace)
    assert set(sys.modules) == before


def test_exclusion_goes_before_redaction(plane: EmbeddedControlPlane) -> None:
    """A parameter with both marks is not there to be redacted."""

    @governed("order_read")
    def tool(key: Annotated[str, Redact, Exclude], order: str) -> str:
        return key

    assert tool("secret", "o-1") == "secret"
    assert (last(plane).action_details, last(plane).excluded) == ({"order": "o-1"}, ("key",))


def test_it_is_sent_over_http_and_read_there() -> None:
    """What the client says it left out, and for what its developer vouches, is part of the action on our server."""
    import msgspec

    from ascend_guard.api.actions import SubmitBody
    from ascend_guard.client.guard.wire_format import Features, submission
    from ascend_guard.flow import Submit
    from ascend_guard.server.handlers.incoming import asked
    from ascend_guard.server.handling import Caller

    action = AgentAction(
        *("billing", "billing", "refund", "refund", "refund"),
        action_details={"amount": 1},
        excluded=("ctx", "args[0]"),
        vouched_decorators=("shop.log_calls",),
    )
    for claims in (True, False):
        sent = submission(
            Submit(action, "0" * 64, detached=False, repeatable=True), Features(claims), "a" * 32
        )
        body = msgspec.convert(msgspec.json.decode(msgspec.json.encode(sent)), SubmitBody)
        read, _ = asked(body, Caller("local", "key:1"), b"key")
        assert (read.excluded, read.vouched_decorators) == (action.excluded, action.vouched_decorators)
