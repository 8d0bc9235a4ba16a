"""The gate itself, without a server: what is declared, what is asked, what runs, and what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from ascend_guard_mcp.gate import ToolGate, Unfinished
from mcp_world import World

import ascend_guard
from ascend_guard import scope
from ascend_guard.errors import (
    AuthorizationDeniedError,
    ConfigurationError,
    ConflictError,
    StoreError,
    ValidationError,
)
from ascend_guard.errors import TimeoutError as NobodyDecided


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A control plane on a folder of its own, which nothing is configured with."""
    made = World(tmp_path)
    yield made
    made.close()


def gate(world: World, **declared: Any) -> ToolGate:
    """The gate of the server ``shop``, decided by this world."""
    return ToolGate("shop", **{"control_plane": world.plane, **declared})


@pytest.mark.parametrize(
    "declared",
    [
        {"waits": 1},
        {"timeout": 1.0},
        {"on_pending": "wait"},
        {"action_types": [("look", "x")]},
        {"action_types": "look"},
        {"action_types": {"look": ""}},
        {"action_types": {"": "look"}},
        {"action_types": {"look": 5}},
        {"action_types": {5: "look"}},
        {"namespace": 5},
        {"risk_level": "extreme"},
        {"control_plane": "here"},
        {"context": "x"},
    ],
    ids=repr,
)
def test_what_is_declared_wrongly_is_said_at_once(declared: dict[str, Any]) -> None:
    """Where the gate is made, and not at the first call."""
    with pytest.raises(ConfigurationError):
        ToolGate("shop", **declared)


@pytest.mark.parametrize("wait", [True, False, "1", None, -1, -0.5, 1e9, float("inf"), float("nan")])
def test_a_wait_is_a_number_of_seconds(wait: Any) -> None:
    """Not below zero, and below a billion."""
    with pytest.raises(ConfigurationError, match="wait must be a number of seconds"):
        ToolGate("shop", wait=wait)


@pytest.mark.parametrize("name", ["", 5])
def test_a_server_has_a_name(name: Any) -> None:
    """It is what policies and the registry know it by."""
    with pytest.raises(ConfigurationError):
        ToolGate(name, namespace="shop")


class _Broken(Mapping[str, str]):
    """A mapping that fails."""

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        raise LookupError("broken")

    def __len__(self) -> int:
        return 1


def test_a_failure_that_is_no_mistake_is_not_called_one() -> None:
    """What a mapping of the caller's raises comes through as it is."""
    with pytest.raises(LookupError, match="broken"):
        ToolGate("shop", action_types=_Broken())


@pytest.mark.parametrize("wait", [0, 0.5, 999_999_999])
async def test_a_call_waits_as_long_as_is_declared(world: World, wait: float) -> None:
    """Up to a billion seconds, in whole ones or parts."""
    made = gate(world, wait=wait)
    if wait < 1:
        with pytest.raises(NobodyDecided):
            await made.admit("pay", {"order": "o"})
    assert gate(world).action_type("pay") == made.action_type("pay") == "shop.pay"


@pytest.mark.parametrize(
    ("declared", "pay", "look"),
    [
        ({}, "shop.pay", "shop.look"),
        ({"namespace": None, "action_types": None}, "shop.pay", "shop.look"),
        ({"namespace": "store"}, "store.pay", "store.look"),
        ({"action_types": {"look": None}}, "shop.pay", "shop.look"),
        ({"action_types": {"pay": "payment"}}, "payment", "shop.look"),
        ({"action_types": MappingProxyType({"pay": "payment"}), "namespace": "n"}, "payment", "n.look"),
    ],
)
def test_what_a_tool_is_called_in_policies(declared: dict[str, Any], pay: str, look: str) -> None:
    """The server's name and its own, unless something else is declared; what is declared is copied."""
    made = ToolGate("shop", **declared)
    assert (made.action_type("pay"), made.action_type("look")) == (pay, look)
    assert made.name == "shop"
    assert made.namespace == (declared.get("namespace") or "shop")
    mine = {"pay": "payment"}
    made = ToolGate("shop", action_types=mine)
    mine["pay"] = "free"
    assert made.action_type("pay") == "payment"


async def test_a_call_says_who_asks_and_what(world: World) -> None:
    """Server, tool, conversation, and what else is known of the caller."""
    made = gate(world, namespace="n", action_types={"peek": "n.look"}, model_id="m", context={"a": 1, "b": 1})
    more = {"b": 2, "verb": "mine"}
    admission = await made.admit("peek", {"order": "o", "amount": 5}, session_id="client", context=more)
    with admission:
        pass
    await admission.settle()
    (row,) = world.rows()
    asked = world.asked(row)
    assert (asked.action_type, asked.tool_name, asked.mcp_server_name) == ("n.look", "peek", "shop")
    assert (asked.session_id, asked.model_id) == ("client", "m")
    assert {name: asked.context[name] for name in ("a", "b", "namespace", "verb")} == {
        "a": 1,
        "b": 2,
        "namespace": "n",
        "verb": "mine",
    }
    assert asked.action_details == {"order": "o", "amount": 5}


async def test_a_call_without_arguments_and_context_is_one_as_well(world: World) -> None:
    """Clients may leave both out; and the session of a scope around it wins."""
    made = gate(world)
    with scope(session_id="around"):
        admission = await made.admit("look", None, session_id="client")
    assert admission.arguments == {}
    assert admission.note is None
    with admission:
        pass
    await admission.settle()
    asked = world.asked(world.rows()[0])
    assert asked.session_id == "around"
    assert asked.context["verb"] == "look"
    assert asked.context["namespace"] == "shop"


async def test_the_order_of_arguments_makes_no_other_call(world: World) -> None:
    """The same request is resumed; and the tool gets them in the order in which they were written."""
    made = gate(world, wait=0)
    for arguments in ({"order": "o", "amount": 500}, {"amount": 500, "order": "o"}):
        with pytest.raises(NobodyDecided):
            await made.admit("spend", arguments)
    (row,) = world.rows()
    world.approve(row)
    admission = await made.admit("spend", {"order": "o", "amount": 500})
    assert list(admission.arguments.items()) == [("order", "o"), ("amount", 500)]
    assert admission.note is None
    assert not admission.begun
    with admission as entered:
        assert entered is admission
        assert admission.begun
    await admission.settle()
    assert world.events_of(row)[-2:] == ["started", "completed"]


@pytest.mark.parametrize("amount", [250, 250.5])
async def test_an_edited_call_runs_with_the_edits_and_says_so(world: World, amount: float) -> None:
    """Values are JSON's, which has one kind of number: an approver may write a fraction where the client did not."""
    made = gate(world, wait=0)
    with pytest.raises(NobodyDecided):
        await made.admit("spend", {"order": "o", "amount": 500})
    world.approve(world.rows()[0], amount=amount)
    admission = await made.admit("spend", {"order": "o", "amount": 500})
    assert list(admission.arguments.items()) == [("order", "o"), ("amount", amount)]
    assert admission.note is not None
    assert "250" in admission.note
    with admission:
        pass
    await admission.settle()


async def test_a_denied_call_gets_no_permit(world: World) -> None:
    """And is recorded as denied."""
    with pytest.raises(AuthorizationDeniedError, match="Nothing is wiped"):
        await gate(world).admit("wipe", {"order": "o"})
    assert [row.status for row in world.rows()] == ["denied"]


@pytest.mark.parametrize(
    ("failure", "outcome", "error"),
    [
        (None, "completed", None),
        ("it broke", "failed", "ToolFailed: it broke"),
        (ValueError("x"), "failed", "ValueError: x"),
        (Unfinished(), "unknown", None),
    ],
)
async def test_an_outcome_is_what_was_said_of_it(
    world: World, failure: Any, outcome: str, error: str | None
) -> None:
    """By the tool, or by whoever runs it; the detail is kept."""
    admission = await gate(world).admit("look", {"order": "o"})
    with admission:
        pass
    await admission.settle(failure, "how it ended")
    (row,) = world.rows()
    assert row.outcome == outcome
    if error is not None:
        assert row.error == error
    with pytest.raises(ConflictError), admission:
        pass


async def test_a_kill_switch_stops_a_call_at_its_last_check(world: World) -> None:
    """Entering the block is that check."""
    admission = await gate(world).admit("look", {"order": "o"})
    world.plane.kill(reason="an exercise", by="ann")
    with pytest.raises(ascend_guard.KillSwitchError) as caught, admission:
        pytest.fail("it ran")
    assert not admission.begun
    await admission.settle(caught.value)
    assert str(world.rows()[0].error).startswith("not started: ")


async def test_calls_in_the_block_link_to_this_one(world: World) -> None:
    """And those after it do not."""
    made = gate(world)
    outer = await made.admit("look", {"order": "o"})
    with outer:
        inner = await made.admit("look", {"order": "i"})
        with inner:
            pass
        await inner.settle()
    after = await made.admit("look", {"order": "a"})
    await outer.settle()
    await after.settle(Unfinished())
    first, second, third = world.rows()
    assert (second.parent_action_id, third.parent_action_id) == (first.id, None)


@pytest.mark.parametrize(
    ("tool", "fits"),
    [("", False), ("x", True), ("x" * 255, True), ("x" * 256, False), ("a\nb", False), ("\u200b", False)],
)
async def test_the_name_of_a_tool_is_short_and_printable(world: World, tool: str, fits: bool) -> None:
    """A client writes it, and it is recorded and shown."""
    made = gate(world, namespace="n", action_types=None)
    with pytest.raises(AuthorizationDeniedError if fits else ValidationError) as caught:
        await made.admit(tool, {})
    assert (caught.value.reason == "no such tool") is not fits


async def test_a_client_that_invents_names_fills_no_memory(world: World) -> None:
    """Ten thousand names are kept, and further ones are decided all the same."""
    made = gate(world)
    for number in range(10_000):
        made._of(f"tool {number}")
    known = made._of("tool 9999")
    assert made._of("tool 9999") is known
    assert made._of("one more") is not made._of("one more")
    with pytest.raises(AuthorizationDeniedError):
        await made.admit("one more", {})


async def test_the_configured_default_decides_where_nothing_else_does(world: World) -> None:
    """And what is declared goes before it."""
    made = ToolGate("shop")
    ascend_guard.configure(control_plane=world.plane)
    admission = await made.admit("look", {})
    await admission.settle(Unfinished())
    assert len(world.rows()) == 1


async def test_tools_that_are_always_denied_are_listed(world: World) -> None:
    """Those that policy denies whatever the arguments."""
    assert await gate(world).always_denied(["wipe", "look", "pay"]) == {"wipe"}
    assert await gate(world, action_types={"look": "shop.wipe"}).always_denied(["look"]) == {"look"}


class _Knows:
    """A control plane that answers this question, or fails to."""

    digest_key, agent_id, agent_name = b"", "a", "a"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def always_denies(self, action_type: str, tool_name: str) -> bool:
        raise self.error

    def perform(self, effect: Any) -> Any: ...

    async def aperform(self, effect: Any) -> Any: ...


class _KnowsNot:
    """A control plane that is not asked this."""

    digest_key, agent_id, agent_name = b"", "a", "a"

    def perform(self, effect: Any) -> Any: ...

    async def aperform(self, effect: Any) -> Any: ...


async def test_what_cannot_be_known_is_not_listed(world: World) -> None:
    """A list is a convenience, and a fault of ours in making it is no answer."""
    assert await gate(world, control_plane=_KnowsNot()).always_denied(["wipe"]) == set()
    assert await gate(world, control_plane=_Knows(StoreError("busy"))).always_denied(["wipe"]) == set()
    with pytest.raises(LookupError):
        await gate(world, control_plane=_Knows(LookupError("a fault"))).always_denied(["wipe"])
