"""functools, and registries keyed by function: what held the raw function does not stand in for the governed one."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from framework_tools import (
    ALLOWED,
    ANSWER,
    CALL,
    DENIED,
    assert_ran,
    assert_refused,
    decided,
    each_shape,
    make,
)

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, governed


async def finished(result: Any) -> Any:
    """The result, awaited when there is something to await."""
    return await result if inspect.isawaitable(result) else result


@pytest.mark.parametrize(
    "cache", [functools.cache, functools.lru_cache(maxsize=10), functools.lru_cache(typed=True)]
)
@each_shape
async def test_a_cached_registration_of_the_raw_one_is_not_found(
    plane: EmbeddedControlPlane, shape: str, cache: Callable[..., Any]
) -> None:
    """A registry that is an ``lru_cache`` over functions makes a new entry for the governed one."""
    pair = make(shape, DENIED)

    @cache
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **given: function(**given)

    register(pair.raw)
    register(pair.raw)
    tool = register(pair.governed)
    assert register(pair.governed) is tool
    with pytest.raises(AuthorizationDeniedError):
        await finished(tool(**CALL))
    assert_refused(plane, pair)


@each_shape
async def test_dictionaries_and_sets_tell_them_apart(plane: EmbeddedControlPlane, shape: str) -> None:
    """Registered by function in a dictionary, a list or a set, in either order, each is found as itself."""
    pair = make(shape, DENIED)
    for first, second in ((pair.raw, pair.governed), (pair.governed, pair.raw)):
        registry = {first: "first"}
        registry.setdefault(second, "second")
        assert (registry[first], registry[second]) == ("first", "second")
        assert len({first, second}) == 2
        assert [first, second].index(second) == 1
    (found,) = {pair.raw, pair.governed} - {pair.raw}
    with pytest.raises(AuthorizationDeniedError):
        await finished(found(**CALL))
    assert_refused(plane, pair)


def test_weak_registries_tell_them_apart(plane: EmbeddedControlPlane) -> None:
    """A ``WeakKeyDictionary`` and a ``WeakSet`` keep the governed function as one of its own."""
    pair = make("function", DENIED)
    names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary({pair.raw: "raw"})
    assert pair.governed not in names
    names[pair.governed] = "governed"
    assert sorted(names.values()) == ["governed", "raw"]
    assert pair.governed not in weakref.WeakSet([pair.raw])


@pytest.mark.parametrize("shape", ["function", "string annotations", "method", "bound method"])
def test_lru_cache_over_a_denied_tool(plane: EmbeddedControlPlane, shape: str) -> None:
    """A denial is not cached: every call asks again, and the results cached for the raw function are not used."""
    pair = make(shape, DENIED)
    raw, tool = functools.lru_cache(pair.raw), functools.lru_cache(pair.governed)
    raw("o-1", 25.5, ("a", "b"))
    pair.ran.clear()
    for _ in range(2):
        with pytest.raises(AuthorizationDeniedError):
            tool("o-1", 25.5, ("a", "b"))
    assert_refused(plane, pair, 2)


@pytest.mark.parametrize("shape", ["function", "string annotations", "method", "bound method"])
def test_lru_cache_over_an_allowed_tool(plane: EmbeddedControlPlane, shape: str) -> None:
    """A call answered from the cache does nothing, so it asks nothing."""
    pair = make(shape, ALLOWED)
    tool = functools.lru_cache(pair.governed)
    assert tool("o-1", 25.5, ("a", "b")) == tool("o-1", 25.5, ("a", "b")) == ANSWER
    assert tool.cache_info().hits == 1
    assert tool.__name__ == pair.raw.__name__
    assert inspect.signature(tool) == inspect.signature(pair.raw)
    assert_ran(plane, pair)


def test_a_cached_function_can_be_governed(plane: EmbeddedControlPlane) -> None:
    """With the gate outside, every call asks, whether or not the cache has the answer."""
    pair = make("function", ALLOWED)
    cached = functools.lru_cache(pair.raw)
    denied, allowed = governed(DENIED, "orders")(cached), governed(ALLOWED, "orders")(cached)
    for _ in range(2):
        assert allowed("o-1", 25.5, ("a", "b")) == ANSWER
    assert pair.ran == ["o-1"]
    with pytest.raises(AuthorizationDeniedError):
        denied("o-1", 25.5, ("a", "b"))
    assert [kind for kind, _, _ in decided(plane)] == [ALLOWED, ALLOWED, DENIED]
    assert {tuple(seen or ()) for _, seen, _ in decided(plane)} == {("order_id", "amount", "tags", "note")}


@each_shape
async def test_wraps_around_a_governed_tool(plane: EmbeddedControlPlane, shape: str) -> None:
    """Decorators that use ``functools.wraps`` look like the raw function and stay behind the gate."""
    pair = make(shape, DENIED)

    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    raw, tool = traced(pair.raw), traced(pair.governed)
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(tool, attribute) == getattr(raw, attribute)
    assert inspect.signature(tool) == inspect.signature(raw)
    assert tool.__wrapped__ is pair.governed  # type: ignore[attr-defined]
    with pytest.raises(AuthorizationDeniedError):
        await finished(tool(**CALL))
    with pytest.raises(AuthorizationDeniedError):
        await finished(functools.partial(pair.governed, "o-1")(amount=25.5, tags=["a", "b"]))
    assert_refused(plane, pair, 2)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_singledispatch_over_governed_functions(
    plane: EmbeddedControlPlane, asynchronous: bool
) -> None:
    """The default and every registered implementation stay governed, after the raw ones were registered."""
    ran: list[Any] = []

    def drop(order: object) -> str:
        ran.append(order)
        return "object"

    def drop_number(order: int) -> str:
        ran.append(order)
        return "int"

    async def adrop(order: object) -> str:
        ran.append(order)
        return "object"

    async def adrop_number(order: int) -> str:
        ran.append(order)
        return "int"

    raw: Any = adrop if asynchronous else drop
    raw_number: Any = adrop_number if asynchronous else drop_number
    functools.singledispatch(raw).register(int, raw_number)

    denied, allowed = governed(DENIED, "orders"), governed(ALLOWED, "orders")
    tool = functools.singledispatch(denied(raw))
    tool.register(raw_number)
    assert await finished(tool(1)) == "int", "the raw one was registered for int"
    tool.register(denied(raw_number))
    ran.clear()
    for order in ("o-1", 1, True):
        with pytest.raises(AuthorizationDeniedError):
            await finished(tool(order))
    assert ran == []
    tool.register(int, allowed(raw_number))
    assert await finished(tool(1)) == "int"
    assert ran == [1]
    assert [kind for kind, _, _ in decided(plane)] == [DENIED] * 3 + [ALLOWED]
    assert (tool.__name__, inspect.signature(tool)) == (raw.__name__, inspect.signature(raw))


def test_a_dispatching_function_can_be_governed(plane: EmbeddedControlPlane) -> None:
    """With the gate outside, all implementations are behind it, also those registered through it later."""
    ran: list[Any] = []

    @functools.singledispatch
    def drop(order: object) -> None:
        ran.append(order)

    tool: Any = governed(DENIED, "orders")(drop)

    @tool.register
    def _(order: int) -> None:
        ran.append(order)

    for order in ("o-1", 1):
        with pytest.raises(AuthorizationDeniedError):
            tool(order)
    assert ran == []
    assert [seen for _, seen, _ in decided(plane)] == [{"order": "o-1"}, {"order": 1}]


def test_singledispatchmethod(plane: EmbeddedControlPlane) -> None:
    """Governed implementations of a dispatching method are asked about without ``self``."""
    ran: list[Any] = []

    class Desk:
        @functools.singledispatchmethod
        @governed(DENIED, "orders")
        def drop(self, order: object) -> None:
            ran.append(order)

        @drop.register
        @governed(ALLOWED, "orders")
        def _(self, order: int) -> str:
            ran.append(order)
            return "int"

    with pytest.raises(AuthorizationDeniedError):
        Desk().drop("o-1")
    assert ran == []
    assert Desk().drop(1) == "int"
    assert ran == [1]
    assert [seen for _, seen, _ in decided(plane)] == [{"order": "o-1"}, {"order": 1}]


def test_partialmethod_and_cached_property(plane: EmbeddedControlPlane) -> None:
    """The descriptors of functools call the governed function, and the denied ones do not run."""
    ran: list[str] = []

    class Desk:
        @governed(DENIED, "orders")
        def drop(self, order_id: str, amount: float = 1.0) -> None:
            ran.append(order_id)

        drop_first = functools.partialmethod(drop, "o-1")

        @functools.cached_property
        @governed(ALLOWED, "orders")
        def size(self) -> int:
            ran.append("size")
            return 3

    desk = Desk()
    with pytest.raises(AuthorizationDeniedError):
        desk.drop_first(amount=2.0)
    assert ran == []
    assert (desk.size, desk.size) == (3, 3)
    assert ran == ["size"]
    assert [seen for _, seen, _ in decided(plane)] == [{"order_id": "o-1", "amount": 2.0}, {}]
