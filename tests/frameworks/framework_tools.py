"""One tool in many shapes, raw and governed, and what the control plane wrote down about it.

Without ``from __future__ import annotations``: whether annotations are strings is one of the differences between shapes.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import Field
from recorded import every_action, trail_of

from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.engine.approve import submitted

DENIED, ALLOWED = "order_delete", "order_read"
CALL: dict[str, Any] = {"order_id": "o-1", "amount": 25.5, "tags": ["a", "b"]}
"""What the tools are called with; ``note`` keeps its default."""
ANSWER = "o-1 25.5 a,b None"
SEEN: dict[str, Any] = {**CALL, "note": None}
"""What the decision must have been made on."""

Note = Annotated[str | None, Field(description="Why it is done.")]


@dataclass
class Pair:
    """A raw tool, the same tool governed, and every run of the body they share."""

    raw: Callable[..., Any]
    governed: Callable[..., Any]
    ran: list[str] = field(default_factory=list)

    @property
    def is_async(self) -> bool:
        """Whether a call gives a coroutine."""
        return inspect.iscoroutinefunction(self.raw)


Gate = Callable[[Any], Any]


def _function(gate: Gate) -> Pair:
    ran: list[str] = []

    def change_order(
        order_id: str,
        amount: Annotated[float, Field(description="How much.", ge=0)],
        tags: list[str],
        note: Note = None,
    ) -> str:
        """Change an order.

        Args:
            order_id: which order.
            amount: how much.
            tags: its marks.
            note: why it is done.
        """
        ran.append(order_id)
        return f"{order_id} {amount} {','.join(tags)} {note}"

    return Pair(change_order, gate(change_order), ran)


def _coroutine(gate: Gate) -> Pair:
    ran: list[str] = []

    async def change_order(
        order_id: str,
        amount: Annotated[float, Field(description="How much.", ge=0)],
        tags: list[str],
        note: Note = None,
    ) -> str:
        """Change an order.

        Args:
            order_id: which order.
            amount: how much.
            tags: its marks.
            note: why it is done.
        """
        ran.append(order_id)
        return f"{order_id} {amount} {','.join(tags)} {note}"

    return Pair(change_order, gate(change_order), ran)


RAN: list[str] = []
"""The runs of the tools that must not have a closure: frameworks that copy code take other paths with those."""


def _strings(gate: Gate) -> Pair:
    def change_order(
        order_id: "str",
        amount: "Annotated[float, Field(description='How much.', ge=0)]",
        tags: "list[str]",
        note: "Note" = None,
    ) -> "str":
        """Change an order.

        Args:
            order_id: which order.
            amount: how much.
            tags: its marks.
            note: why it is done.
        """
        RAN.append(order_id)
        return f"{order_id} {amount} {','.join(tags)} {note}"

    return Pair(change_order, gate(change_order), RAN)


def _coroutine_strings(gate: Gate) -> Pair:
    async def change_order(
        order_id: "str",
        amount: "Annotated[float, Field(description='How much.', ge=0)]",
        tags: "list[str]",
        note: "Note" = None,
    ) -> "str":
        """Change an order.

        Args:
            order_id: which order.
            amount: how much.
            tags: its marks.
            note: why it is done.
        """
        RAN.append(order_id)
        return f"{order_id} {amount} {','.join(tags)} {note}"

    return Pair(change_order, gate(change_order), RAN)


def _described(gate: Gate) -> Pair:
    def change_order(
        order_id: Annotated[str, "Which order."],
        amount: Annotated[float, "How much."],
        tags: list[str],
        note: Note = None,
    ) -> str:
        """Change an order."""
        RAN.append(order_id)
        return f"{order_id} {amount} {','.join(tags)} {note}"

    return Pair(change_order, gate(change_order), RAN)


class _Desk:
    """Holds the methods; its runs are those of its class."""

    async def achange_order(
        self, order_id: str, amount: Annotated[float, Field(ge=0)], tags: list[str], note: Note = None
    ) -> str:
        """Change an order."""
        RAN.append(order_id)
        return f"{order_id} {amount} {','.join(tags)} {note}"

    def change_order(
        self, order_id: str, amount: Annotated[float, Field(ge=0)], tags: list[str], note: Note = None
    ) -> str:
        """Change an order."""
        RAN.append(order_id)
        return f"{order_id} {amount} {','.join(tags)} {note}"

    # pydantic does not find this module's names in a method's string annotations, raw or governed: builtins only.
    def changed_order(
        self, order_id: "str", amount: "float", tags: "list[str]", note: "str | None" = None
    ) -> "str":
        """Change an order."""
        RAN.append(order_id)
        return f"{order_id} {amount} {','.join(tags)} {note}"


def _method(gate: Gate, name: str = "change_order") -> Pair:
    desk = type("Desk", (_Desk,), {name: gate(getattr(_Desk, name))})()
    return Pair(getattr(super(type(desk), desk), name), getattr(desk, name), RAN)


def _coroutine_method(gate: Gate) -> Pair:
    return _method(gate, "achange_order")


def _method_strings(gate: Gate) -> Pair:
    return _method(gate, "changed_order")


def _bound(gate: Gate) -> Pair:
    raw = _Desk().change_order
    return Pair(raw, gate(raw), RAN)


SHAPES: dict[str, Callable[[Gate], Pair]] = {
    "function": _function,
    "coroutine": _coroutine,
    "string annotations": _strings,
    "coroutine, string annotations": _coroutine_strings,
    "described": _described,
    "method": _method,
    "method, string annotations": _method_strings,
    "coroutine method": _coroutine_method,
    "bound method": _bound,
}

each_shape = pytest.mark.parametrize("shape", SHAPES)


def make(shape: str, action: str) -> Pair:
    """The tool of this shape; ``action`` says what the policy thinks of the governed one."""
    RAN.clear()
    return SHAPES[shape](governed(action, "orders"))


def decided(plane: EmbeddedControlPlane) -> list[tuple[str, dict[str, Any] | None, list[str]]]:
    """Every action so far: its type, the arguments it was decided on, and its story."""
    return plane.read(
        lambda reader: [
            (
                row.action_type,
                submitted(reader, row).action.action_details,
                [event.event for event in trail_of(reader, row.id)],
            )
            for row in every_action(reader)
        ]
    )


def assert_refused(plane: EmbeddedControlPlane, pair: Pair, times: int = 1) -> None:
    """So many calls were asked about and denied, and the body never ran."""
    assert pair.ran == []
    actions = decided(plane)
    assert [(kind, seen) for kind, seen, _ in actions] == [(DENIED, SEEN)] * times
    for _, _, events in actions:
        assert "completed" not in events


def assert_ran(plane: EmbeddedControlPlane, pair: Pair, times: int = 1) -> None:
    """So many calls were asked about and allowed; each ran once and is written down as completed."""
    assert pair.ran == ["o-1"] * times
    actions = decided(plane)
    assert [(kind, seen) for kind, seen, _ in actions] == [(ALLOWED, SEEN)] * times
    for _, _, events in actions:
        assert events.count("completed") == 1
