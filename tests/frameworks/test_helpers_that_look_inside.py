"""Helpers that take functions apart, bind them, replace them or make context managers of them: the gate stays."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import types
import typing
import unittest.mock
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import fastmcp
import pytest
from langchain_core.tools import tool
from recorded import every_action

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, Redact, governed
from ascend_guard.engine.approve import submitted

RAN: list[Any] = []
allow = governed("refund_read", "refunds")
deny = governed("refund_delete", "refunds")


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


def refund(order_id: str, amount: Annotated[float, "in euros"] = 5.0) -> str:
    """Refund an order."""
    RAN.append((order_id, amount))
    return f"refunded {order_id}"


def denied(call: Callable[[], Any]) -> None:
    """Making this call is refused, and runs nothing."""
    with pytest.raises(AuthorizationDeniedError):
        call()
    assert RAN == []


def recorded(plane: EmbeddedControlPlane) -> list[dict[str, Any]]:
    """The arguments of every action."""
    return plane.read(
        lambda reader: [submitted(reader, row).action.action_details for row in every_action(reader)]
    )


# --- context managers --------------------------------------------------------------------------------------------------


def test_contextmanagers_made_of_governed_generators(plane: EmbeddedControlPlane) -> None:
    """Decided on entering; settled on leaving; an error inside goes through the tool."""

    @contextlib.contextmanager
    @allow
    def opened(order_id: str) -> Iterator[str]:
        RAN.append("open")
        try:
            yield order_id
        finally:
            RAN.append("close")

    @contextlib.asynccontextmanager
    @deny
    async def aopened(order_id: str) -> AsyncIterator[str]:
        RAN.append("open")
        yield order_id

    async def enter() -> None:
        async with aopened("o-1"):
            pytest.fail("entered")  # pragma: no cover

    denied(lambda: asyncio.run(enter()))

    def fail() -> None:
        with opened("o-1") as order:
            raise KeyError(order)

    with pytest.raises(KeyError):
        fail()
    assert RAN == ["open", "close"]
    row = plane.read(lambda reader: reader.actions("local"))[0]
    assert (row.outcome, row.error) == ("failed", "KeyError: 'o-1'")


def test_a_governed_contextmanager_is_settled_when_it_is_left(plane: EmbeddedControlPlane) -> None:
    """A function that returns a context manager has done nothing yet: its outcome is that of the block."""

    @allow
    @contextlib.contextmanager
    def opened(order_id: str) -> Iterator[str]:
        RAN.append("open")
        yield order_id

    def outcome() -> str | None:
        (row,) = plane.read(lambda reader: reader.actions("local"))
        return row.outcome

    def fail() -> None:
        with opened("o-1") as order:
            assert outcome() is None
            raise KeyError(order)

    with pytest.raises(KeyError):
        fail()
    assert outcome() == "failed"


# --- looking inside ----------------------------------------------------------------------------------------------------


def test_unwrapping_is_for_looking(plane: EmbeddedControlPlane) -> None:
    """Signatures and hints are found by following ``__wrapped__``; calls go through the gate."""
    governed_refund = deny(refund)
    assert inspect.unwrap(governed_refund) is refund
    assert inspect.signature(governed_refund) == inspect.signature(refund)
    assert typing.get_type_hints(governed_refund) == typing.get_type_hints(refund)
    assert inspect.getfullargspec(governed_refund) == inspect.getfullargspec(refund)
    assert inspect.getcallargs(governed_refund, "o-1") == {"order_id": "o-1", "amount": 5.0}
    denied(lambda: governed_refund("o-1"))


def test_looking_at_the_class_hides_nothing(plane: EmbeddedControlPlane) -> None:
    """Python stores an empty dict in a class whose annotations are read; the tool's annotations stay visible."""

    class Shop:
        @deny
        def method(self, order_id: int) -> str:
            return str(order_id)

    raw = dict(refund.__annotations__)
    for looked_at in (deny(refund), Shop().method):
        for owner in type(looked_at).__mro__:
            getattr(owner, "__annotations__", None)
            assert typing.get_type_hints(owner) == inspect.get_annotations(owner) == {}
    assert deny(refund).__annotations__ == raw
    assert inspect.get_annotations(deny(refund)) == raw
    assert (
        Shop().method.__annotations__ == Shop.method.__annotations__ == {"order_id": "int", "return": "str"}
    )
    assert tool(deny(refund)).args["order_id"]["type"] == "string"


def test_a_spec_made_from_it(plane: EmbeddedControlPlane) -> None:
    """``create_autospec`` checks calls by its signature."""
    spec = unittest.mock.create_autospec(deny(refund))
    spec("o-1", amount=1.0)
    with pytest.raises(TypeError):
        spec("o-1", price=1.0)


# --- replacing and binding ---------------------------------------------------------------------------------------------


def test_replacing_and_restoring_it(plane: EmbeddedControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A governed attribute that was patched for a while is governed again afterwards."""

    class Shop:
        @deny
        def method(self, order_id: str) -> None:
            RAN.append(order_id)

        below = deny(classmethod(lambda cls, order_id: RAN.append(order_id)))
        static = deny(staticmethod(lambda order_id: RAN.append(order_id)))

    names = ("method", "below", "static")
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(Shop, name, lambda *_: "patched")
    for name in names:
        with unittest.mock.patch.object(Shop, name, return_value="patched"):
            pass
        denied(lambda name=name: getattr(Shop(), name)("o-1"))
    assert recorded(plane) == [{"order_id": "o-1"}] * 3


def test_binding_by_hand(plane: EmbeddedControlPlane) -> None:
    """``types.MethodType``, ``__get__`` and assigning to a class bind it like any function; ``self`` is left out."""

    class Shop:
        pass

    @deny
    def method(self: Any, order_id: str) -> None:
        RAN.append(order_id)

    shop = Shop()
    denied(lambda: method.__get__(shop, Shop)("o-1"))
    Shop.method = method  # type: ignore[attr-defined]
    denied(lambda: shop.method("o-1"))  # type: ignore[attr-defined]
    denied(lambda: Shop.method(shop, "o-1"))  # type: ignore[attr-defined]
    assert recorded(plane) == [{"order_id": "o-1"}] * 3
    denied(lambda: types.MethodType(method, shop)("o-1"))


# --- through frameworks ------------------------------------------------------------------------------------------------


def test_redaction_survives_a_framework(plane: EmbeddedControlPlane) -> None:
    """``Annotated[str, Redact]`` on a tool's parameter keeps its value out of the records, and out of no schema."""

    @tool
    @allow
    def sign_in(user: str, phrase: Annotated[str, Redact]) -> str:
        """Sign in."""
        return user

    assert sorted(sign_in.args) == ["phrase", "user"]
    sign_in.invoke({"user": "ann", "phrase": "correct horse"})
    assert recorded(plane) == [{"user": "ann", "phrase": "[REDACTED]"}]


def test_many_calls_of_a_client_at_once(plane: EmbeddedControlPlane) -> None:
    """Each has its own action, runs once, and all are well recorded."""

    @allow
    async def slow(order_id: str) -> str:
        await asyncio.sleep(0)
        RAN.append(order_id)
        return order_id

    server: fastmcp.FastMCP[Any] = fastmcp.FastMCP("shop")
    server.tool(slow)
    orders = [f"o-{number}" for number in range(20)]

    async def talk() -> None:
        async with fastmcp.Client(server) as client:
            await asyncio.gather(*(client.call_tool("slow", {"order_id": order}) for order in orders))

    asyncio.run(talk())
    assert sorted(RAN) == sorted(orders)
    assert sorted(details["order_id"] for details in recorded(plane)) == sorted(orders)
    assert plane.verify_audit().ok
