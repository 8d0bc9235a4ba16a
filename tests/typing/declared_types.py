"""What type checkers must say of the public interface. Never run: they read it, and ``test_type_checkers`` reads them.

Every line ending in ``# wrong`` must be an error for both of them, and no other line may be one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, assert_type

import ascend_guard
from ascend_guard import (
    ActionPendingError,
    ControlPlane,
    EmbeddedControlPlane,
    Permit,
    RemoteControlPlane,
    configure,
    governed,
    guard,
    scope,
)
from ascend_guard.testing import ScriptedControlPlane

# --- functions ---------------------------------------------------------------------------------------------------------


@governed("refund")
def refund(order_id: str, amount: float = 1.0, *notes: str, urgent: bool = False) -> list[str]:
    return [order_id, str(amount), *notes, str(urgent)]


@governed("refund", "payments", resource="orders/{order_id}", on_pending="raise", timeout=60)
async def arefund(order_id: str, /, amount: float) -> int:
    return len(order_id) + int(amount)


@governed("order_read")
def chunks(order_id: str) -> Iterator[str]:
    yield order_id


@governed("order_read")
def dialogue(order_id: str) -> Generator[str, int, bool]:
    answer = yield order_id
    return answer > 0


@governed("order_read")
async def achunks(order_id: str) -> AsyncIterator[str]:
    yield order_id


@governed("order_read")
async def adialogue(order_id: str) -> AsyncGenerator[str, int]:
    yield order_id


def functions() -> None:
    assert_type(refund("o-1"), list[str])
    assert_type(refund("o-1", 2.0, "a", "b", urgent=True), list[str])
    coroutine: Coroutine[Any, Any, int] = arefund("o-1", 2.0)
    wrong_coroutine: Coroutine[Any, Any, str] = arefund("o-1", 2.0)  # wrong: of a number
    print(coroutine, wrong_coroutine)
    assert_type(chunks("o-1"), Iterator[str])
    assert_type(dialogue("o-1"), Generator[str, int, bool])
    assert_type(achunks("o-1"), AsyncIterator[str])
    assert_type(adialogue("o-1"), AsyncGenerator[str, int])
    exact: Callable[[str, float], list[str]] = refund
    exact("o-1", 2.0)

    refund()  # wrong: an argument is missing
    refund(1)  # wrong: not a string
    refund("o-1", "2.0")  # wrong: not a number
    refund("o-1", 2.0, 3)  # wrong: notes are strings
    refund("o-1", urgent="yes")  # wrong: not a bool
    refund("o-1", nothing=1)  # wrong: no such parameter
    print(arefund(order_id="o-1", amount=2.0))  # wrong: positional only
    print(arefund("o-1"))  # wrong: an argument is missing
    chunks(1)  # wrong: not a string
    achunks()  # wrong: an argument is missing
    wrong_result: int = refund("o-1")  # wrong: a list of strings
    wrong_shape: Callable[[int], list[str]] = refund  # wrong: takes a string
    print(wrong_result, wrong_shape)


async def coroutines() -> None:
    assert_type(await arefund("o-1", 2.0), int)
    assert_type(await arefund("o-1", amount=2.0), int)
    async for chunk in achunks("o-1"):
        assert_type(chunk, str)
    async for chunk in adialogue("o-1"):
        assert_type(chunk, str)
    for chunk in chunks("o-1"):
        assert_type(chunk, str)
    await refund("o-1")  # wrong: not a coroutine
    async for _ in chunks("o-1"):  # wrong: not an async iterator
        pass


# --- methods -----------------------------------------------------------------------------------------------------------


class Desk:
    @governed("refund")
    def method(self, order_id: str, amount: float = 1.0) -> list[str]:
        return [order_id, str(amount)]

    @governed("refund")
    async def amethod(self, order_id: str) -> int:
        return len(order_id)

    @governed("order_read")
    def chunks(self, order_id: str) -> Iterator[str]:
        yield order_id

    @classmethod
    @governed("refund")
    def above(cls, order_id: str) -> Desk:
        return cls()

    @governed("refund")
    @classmethod
    def below(cls, order_id: str) -> Desk:
        return cls()

    @staticmethod
    @governed("refund")
    def outer_static(order_id: str) -> int:
        return len(order_id)

    @governed("refund")
    @staticmethod
    def inner_static(order_id: str) -> int:
        return len(order_id)

    @property
    @governed("order_read")
    def size(self) -> int:
        return 3


async def methods(desk: Desk) -> None:
    assert_type(desk.method("o-1", 2.0), list[str])
    assert_type(Desk.method(desk, "o-1"), list[str])
    assert_type(await desk.amethod("o-1"), int)
    assert_type(desk.chunks("o-1"), Iterator[str])
    assert_type(Desk.above("o-1"), Desk)
    assert_type(desk.above("o-1"), Desk)
    assert_type(Desk.below("o-1"), Desk)
    assert_type(desk.below("o-1"), Desk)
    assert_type(Desk.outer_static("o-1"), int)
    assert_type(desk.outer_static("o-1"), int)
    assert_type(Desk.inner_static("o-1"), int)
    assert_type(desk.inner_static("o-1"), int)
    assert_type(desk.size, int)

    desk.method()  # wrong: an argument is missing
    desk.method("o-1", "2.0")  # wrong: not a number
    desk.method("o-1", 2.0, 3)  # wrong: one too many
    Desk.method("o-1")  # wrong: no object
    print(desk.amethod(1))  # wrong: not a string
    Desk.above(1)  # wrong: not a string
    Desk.below(1)  # wrong: not a string
    Desk.outer_static(1)  # wrong: not a string
    Desk.inner_static("o-1", 2)  # wrong: one too many


# --- what is declared --------------------------------------------------------------------------------------------------


@governed(
    "refund",
    "payments",
    resource=lambda given: f"orders/{given['order_id']}",
    resource_id="{order_id}",
    risk_level="high",
    risk_indicators={"amount": 5},
    context={"team": "billing"},
    redact=("card",),
    on_pending="wait",
    timeout=None,
    model_id="m",
    mcp_server_name="s",
    orchestration_session_id="o",
    parent_action_id=None,
    control_plane=None,
)
def everything(order_id: str, card: str) -> None:
    print(order_id, card)


def declarations(plane: EmbeddedControlPlane, scripted: ScriptedControlPlane) -> None:
    governed("refund", control_plane=plane)
    governed("refund", control_plane=scripted)
    guard("refund", parameters={"amount": 1}, resource="orders/o-1", control_plane=scripted)
    assert_type(everything("o-1", "4111"), None)

    governed()  # wrong: no action type
    governed(1)  # wrong: not a string
    governed("refund", resourse="x")  # wrong: no such option
    governed("refund", timeout="soon")  # wrong: not a number
    governed("refund", on_pending="hope")  # wrong: no such choice
    governed("refund", redact=5)  # wrong: not a collection
    governed("refund", resource=lambda: "x")  # wrong: takes no arguments
    governed("refund", control_plane="local")  # wrong: not a control plane
    governed("refund", parameters={"a": 1})  # wrong: an option of guard
    governed("refund")(5)  # wrong: not callable
    guard()  # wrong: no action type
    guard("refund", parameter={"a": 1})  # wrong: no such option
    guard("refund", "payments", {"a": 1})  # wrong: by keyword only
    guard("refund", parameters=["a"])  # wrong: not a mapping
    guard("refund", on_pending="hope")  # wrong: no such choice


@governed  # wrong: without brackets
def without_brackets(order_id: str) -> str:
    return order_id


# --- guard -------------------------------------------------------------------------------------------------------------


def blocks() -> str:
    with guard("refund", "payments", parameters={"amount": 1}) as permit:
        assert_type(permit, Permit)
        assert_type(permit.action_id, str)
        assert_type(permit.parameters, dict[str, Any])
        print(permit.nothing)  # wrong: no such attribute
        return permit.action_id
    # Reached: checkers must not think that guard swallows exceptions, nor that this is missing a return.


async def ablocks() -> str:
    async with guard("refund") as permit:
        assert_type(permit, Permit)
        return permit.action_id


def stacked() -> None:
    with contextlib.ExitStack() as stack:
        assert_type(stack.enter_context(guard("refund")), Permit)
    with scope(agent_id="billing"):
        pass
    with scope(agent="billing"):  # wrong: no such option
        pass


# --- configure ---------------------------------------------------------------------------------------------------------


class Custom(ScriptedControlPlane):
    """A control plane of somebody's own."""


def configuring(custom: Custom, any_plane: ControlPlane) -> None:
    assert_type(configure(policy="ascend-policy.yaml"), EmbeddedControlPlane)
    assert_type(configure(policy=Path("ascend-policy.yaml"), agent_id="a"), EmbeddedControlPlane)
    assert_type(configure(), EmbeddedControlPlane | RemoteControlPlane)
    assert_type(configure(api_key="owkai_...", api_url="https://x"), RemoteControlPlane)
    assert_type(ascend_guard.configure(control_plane=custom), Custom)
    assert_type(configure(control_plane=ScriptedControlPlane()), ScriptedControlPlane)
    assert_type(configure(control_plane=any_plane), ControlPlane)

    configure("ascend-policy.yaml")  # wrong: by keyword only
    configure(policy=5)  # wrong: not a path
    configure(policies="x")  # wrong: no such option
    configure(control_plane="local")  # wrong: not a control plane
    configure(policy="x", control_plane=custom)  # wrong: one or the other


def errors(error: ActionPendingError) -> None:
    assert_type(error.action_id, str | None)
    assert_type(error.reason, str | None)
    handled: PermissionError = error
    wrong: ValueError = error  # wrong: a denial is none
    print(handled, wrong)
