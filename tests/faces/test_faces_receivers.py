"""Whether a first argument is what a method is called on is decided by how the class binds it, not by any name."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import asked, rows

from ascend_guard import EmbeddedControlPlane, governed

gate = governed("order_read")
NAMES = ["self", "cls", "this", "order"]


def judged(plane: EmbeddedControlPlane) -> dict[str, Any]:
    """The arguments of the last action."""
    return asked(plane, rows(plane)[-1].id).action_details


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def tool(first: str) -> Any:
    """A function whose first parameter has this name, as written in the body of a class."""
    space: dict[str, Any] = {}
    exec(f"def tool({first}, amount=1): return {first}", space)
    space["tool"].__qualname__ = "Desk.tool"
    return space["tool"]


WAYS: dict[str, tuple[Callable[[Any], Any], Callable[[type, Any], Any], bool]] = {
    # how the class holds it, how it is called with a first argument, and whether that is an argument
    "method": (gate, lambda desk, first: desk().tool(2), False),
    "method, through the class": (gate, lambda desk, first: desk.tool(desk(), 2), False),
    "method under a decorator": (lambda f: logged(gate(f)), lambda desk, first: desk().tool(2), False),
    "method under two": (lambda f: logged(logged(gate(f))), lambda desk, first: desk().tool(2), False),
    "method under a cache": (
        lambda f: functools.lru_cache(gate(f)),
        lambda desk, first: desk().tool(2),
        False,
    ),
    "class method": (lambda f: classmethod(gate(f)), lambda desk, first: desk.tool(2), False),
    "class method below": (lambda f: gate(classmethod(f)), lambda desk, first: desk.tool(2), False),
    "class method under a decorator": (
        lambda f: classmethod(logged(gate(f))),
        lambda desk, first: desk().tool(2),
        False,
    ),
    "property": (lambda f: property(gate(f)), lambda desk, first: desk().tool, False),
    "static method": (lambda f: staticmethod(gate(f)), lambda desk, first: desk.tool(first, 2), True),
    "static method below": (lambda f: gate(staticmethod(f)), lambda desk, first: desk().tool(first, 2), True),
    "static method under a decorator": (
        lambda f: staticmethod(logged(gate(f))),
        lambda desk, first: desk().tool(first, 2),
        True,
    ),
    "function": (lambda f: staticmethod(gate(f)), lambda desk, first: desk.__dict__["tool"](first, 2), True),
}


@pytest.mark.parametrize("way", WAYS)
@given(name=st.sampled_from(NAMES), first=st.text("abc", max_size=3) | st.integers(0, 9))
def test_what_is_bound_is_no_argument(plane: EmbeddedControlPlane, way: str, name: str, first: Any) -> None:
    """A first parameter of any name is judged where it is an argument, and left out where the class binds it."""
    hold, call, is_argument = WAYS[way]
    desk: Any = type("Desk", (), {"tool": hold(tool(name))})
    result = call(desk, first)
    if is_argument:
        assert result == first
        assert judged(plane) == {name: first, "amount": 2}
    else:
        assert result is desk or type(result) is desk
        assert judged(plane) == {"amount": 1 if way == "property" else 2}


def test_an_instance_that_is_an_argument_is_one(plane: EmbeddedControlPlane) -> None:
    """A static method that gets an object of its own class, and one that holds the tool both ways."""

    @gate
    def link(self: Any, amount: int) -> None: ...

    class Node:
        static = staticmethod(link)

    Node.static(Node(), 1)
    assert judged(plane).keys() == {"self", "amount"}
    Node.method = link  # type: ignore[attr-defined]
    Node.static(Node(), 1)
    assert judged(plane).keys() == {"self", "amount"}
    Node().method(1)  # type: ignore[attr-defined]
    assert judged(plane) == {"amount": 1}


def test_a_class_that_uses_a_tool_is_not_what_it_is_called_on(plane: EmbeddedControlPlane) -> None:
    """A method that calls a governed function with its own object passes that as an argument."""

    @gate
    def cancel(order: Any, reason: str) -> None: ...

    class Order:
        def end(self) -> None:
            cancel(self, "late")

        registered = functools.partial(cancel)

    Order().end()
    assert judged(plane).keys() == {"order", "reason"}
    Order.registered(Order(), "late")
    assert judged(plane).keys() == {"order", "reason"}


def test_a_class_that_changes(plane: EmbeddedControlPlane) -> None:
    """What was a method and is a static method now gets arguments."""
    inner = gate(tool("self"))

    class Desk:
        tool = logged(inner)

    Desk().tool(2)  # type: ignore[call-arg, arg-type]
    assert judged(plane) == {"amount": 2}
    Desk.tool = staticmethod(logged(inner))  # type: ignore[assignment]
    Desk().tool(Desk(), 2)  # type: ignore[call-arg]
    assert judged(plane).keys() == {"self", "amount"}


def test_the_receiver_by_keyword(plane: EmbeddedControlPlane) -> None:
    """Passed by its name it is the same call."""

    class Desk:
        tool = gate(tool("self"))

    Desk.tool(self=Desk(), amount=2)
    assert judged(plane) == {"amount": 2}


def test_bound_by_hand(plane: EmbeddedControlPlane) -> None:
    """A method that was made of another class's object is called on it; a plain call is not."""
    raw = tool("self")
    gate(types.MethodType(raw, "anything"))(2)
    assert judged(plane) == {"amount": 2}
    gate(raw)("anything", 2)
    assert judged(plane) == {"self": "anything", "amount": 2}


def test_no_argument_is_asked_what_it_is(plane: EmbeddedControlPlane) -> None:
    """A first argument that lies about its class, or fails when asked, is an argument like any other."""
    looks: list[str] = []

    class Lazy:
        def __getattribute__(self, name: str) -> Any:
            looks.append(name)
            if name == "__class__":
                return type
            raise RuntimeError(name)

    @gate
    def tool(order: Any, amount: int) -> int:
        return amount

    assert tool(Lazy(), 3) == 3
    assert looks == []
    assert judged(plane)["amount"] == 3
