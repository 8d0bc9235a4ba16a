"""A callable that describes the resource may fill a cache of an argument; a value it changes is judged as it then is."""

from __future__ import annotations

import asyncio
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, ValidationError, governed, guard
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore

RULES = """version: 1
default: deny
rules:
  - {name: never, resources: ["orders/VIP*"], effect: deny}
  - {name: free, actions: [free], effect: allow}
  - {name: ask, actions: [ask], effect: require_approval, timeout: 30m}
"""


class Order:
    def __init__(self, number: str) -> None:
        self.number = number

    @cached_property
    def path(self) -> str:
        return f"orders/{self.number}"


@pytest.fixture
def plane(tmp_path: Path) -> Any:
    plane = EmbeddedControlPlane(
        SQLiteStore(tmp_path / "a.db", durability="process"), parse_policy(RULES), agent_id="a"
    )
    yield plane
    plane.close()


def _path(args: dict[str, Any]) -> str:
    return str(args["order"].path)


def test_the_callable_may_fill_a_cache(plane: EmbeddedControlPlane) -> None:
    """By every face: the tool runs, and the cache it fills is no change of the arguments."""
    ran: list[str] = []

    @governed("free", resource=_path, resource_id=_path, control_plane=plane)
    def plain(order: Order) -> None:
        ran.append(order.path)

    @governed("free", resource=_path, control_plane=plane)
    async def later(order: Order) -> None:
        ran.append(order.path)

    plain(Order("1"))
    asyncio.run(later(Order("2")))
    order = Order("3")
    with guard("free", resource=_path, parameters={"order": order}, control_plane=plane) as permit:
        ran.append(permit.parameters["order"].path)
    assert ran == ["orders/1", "orders/2", "orders/3"]
    with pytest.raises(AuthorizationDeniedError, match="did not run"):
        plain(Order("VIP-1"))
    assert len(ran) == 3


def test_what_the_callable_changed_is_judged_as_it_is(plane: EmbeddedControlPlane) -> None:
    """A callable that writes to an argument: the body gets the value that was recorded, described as it is."""
    ran: list[str] = []

    def rename(args: dict[str, Any]) -> str:
        args["order"]["number"] = args["order"]["number"].replace("1", "VIP")
        return f"orders/{args['order']['number']}"

    @governed("free", resource=rename, control_plane=plane)
    def tool(order: dict[str, str]) -> None:
        ran.append(order["number"])

    tool({"number": "2"})
    with pytest.raises(AuthorizationDeniedError):
        tool({"number": "1"})
    assert ran == ["2"]


def test_a_callable_that_never_leaves_the_arguments_alone(plane: EmbeddedControlPlane) -> None:
    """What changes with every look is blocked as changed, and never run."""
    looks: list[int] = []
    ran: list[int] = []

    def count(args: dict[str, Any]) -> str:
        looks.append(1)
        args["items"].append(len(looks))
        return "orders/1"

    @governed("free", resource=count, control_plane=plane)
    def tool(items: list[int]) -> None:
        ran.append(1)

    with pytest.raises(AuthorizationDeniedError, match="arguments changed"):
        tool([])
    assert not ran
    assert 1 < len(looks) < 10


def test_the_callable_gets_a_copy_of_the_named_arguments(plane: EmbeddedControlPlane) -> None:
    """Setting or removing a name in it reaches neither a block's parameters nor the record."""

    def meddle(args: dict[str, Any]) -> str:
        args["amount"] = 999
        args.pop("order")
        return "orders/1"

    with guard("free", resource=meddle, parameters={"order": 1, "amount": 5}, control_plane=plane) as permit:
        assert permit.parameters == {"order": 1, "amount": 5}


def test_a_callable_that_asks_for_an_excluded_argument(plane: EmbeddedControlPlane) -> None:
    """The error says that it is not there."""

    @governed("free", resource=lambda args: args["ctx"], exclude=("ctx",), control_plane=plane)
    def tool(ctx: str, n: int) -> None: ...

    with pytest.raises(ValidationError, match="without excluded ones"):
        tool("C", 1)
