"""A governed tool looks like the tool it wraps, is equal only to itself, and no copy of it is the raw one."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import pickle
import types
import typing
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from face_kinds import KINDS, Body, Kind
from hypothesis import given
from hypothesis import strategies as st
from world import asked, events, rows

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, governed

gate = governed("order_delete", "orders")
RAN: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    RAN.clear()
    yield


def plain(order: str, amount: float = 10.0, *, note: str | None = None) -> list[str]:
    """Do something to an order."""
    RAN.append(order)
    return [order]


async def coroutine(order: str) -> list[str]:
    """Do something to an order, slowly."""
    RAN.append(order)
    return [order]


def generator(order: str) -> Iterator[str]:
    """Do something to an order, bit by bit."""
    RAN.append(order)
    yield order


async def agenerator(order: str) -> AsyncIterator[str]:
    """Do something to an order, slowly and bit by bit."""
    RAN.append(order)
    yield order


RAW = (plain, coroutine, generator, agenerator)


@gate
def by_name(order: str) -> list[str]:
    """A tool that can be found by its name."""
    RAN.append(order)
    return [order]


class Shop:
    """A class with governed methods of every sort."""

    @gate
    def method(self, order: str) -> list[str]:
        """A method."""
        RAN.append(order)
        return [order]

    @gate
    @classmethod
    def below(cls, order: str) -> list[str]:
        """A class method, governed on the outside."""
        RAN.append(order)
        return [order]

    @classmethod
    @gate
    def above(cls, order: str) -> list[str]:
        """A class method, governed on the inside."""
        RAN.append(order)
        return [order]

    @gate
    @staticmethod
    def static(order: str) -> list[str]:
        """A static method."""
        RAN.append(order)
        return [order]


METHODS = ("method", "below", "above", "static")


def begin(tool: Callable[..., Any]) -> None:
    """Call a tool and take the first step of whatever it gives back."""
    result = tool("o-1")
    if inspect.iscoroutine(result):
        result.send(None)
    elif inspect.isgenerator(result):
        next(result)


def refused(plane: EmbeddedControlPlane, tool: Callable[..., Any]) -> None:
    """Calling this asks, is denied, and runs nothing."""
    before = len(rows(plane))
    with pytest.raises(AuthorizationDeniedError):
        begin(tool)
    assert RAN == []
    assert len(rows(plane)) == before + 1


# --- equality ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: raw.__name__)
def test_it_is_equal_only_to_itself(raw: Callable[..., Any]) -> None:
    """A registry that cached the raw function does not find it under the governed one, nor the other way round."""
    tool, other = gate(raw), gate(raw)
    assert tool == tool
    assert not tool != tool  # noqa: SIM202
    for different in (raw, other, None, "tool"):
        assert tool != different
        assert different != tool
        assert not tool == different  # noqa: SIM201
    assert {raw: "raw"}.get(tool) is None
    assert {tool: "governed"}.get(raw) is None
    assert {raw: 1, tool: 2, other: 3} == {tool: 2, other: 3, raw: 1}
    assert len({raw, tool, other}) == 3
    assert [raw, tool].index(tool) == 1
    assert [tool, raw].index(raw) == 1
    assert weakref.ref(tool)() is tool


def test_bound_methods_are_equal_as_methods_are() -> None:
    """The same method of the same object is equal to itself; of another object, or the raw one, it is not."""
    one, two = Shop(), Shop()
    assert one.method == one.method
    assert hash(one.method) == hash(one.method)
    assert one.method != two.method
    assert one.method != Shop.method
    raw = Shop.__dict__["method"].__wrapped__
    assert one.method != raw.__get__(one)
    assert raw.__get__(one) != one.method
    assert {raw.__get__(one): "raw"}.get(one.method) is None
    assert {one.method: "governed"}.get(raw.__get__(one)) is None
    assert Shop.static == Shop.static
    assert Shop.below == Shop.below
    assert len({one.method, one.method, two.method}) == 2


@given(kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=2))
def test_no_two_tools_are_equal(kinds: list[Kind]) -> None:
    """Tools made separately are different keys, whatever their kind."""
    body = Body()
    left, right = (kind.make(gate, body) for kind in kinds)
    assert left != right
    assert len({left, right}) == 2
    assert left == left


# --- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: raw.__name__)
def test_copies_are_itself(raw: Callable[..., Any]) -> None:
    """As with functions: ``copy`` and ``deepcopy`` give the same object, also inside something else."""
    tool = gate(raw)
    assert copy.copy(tool) is tool
    assert copy.deepcopy(tool) is tool
    assert copy.deepcopy({"tools": [tool, tool]}) == {"tools": [tool, tool]}


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
@pytest.mark.parametrize("name", METHODS)
def test_copies_of_bound_methods_are_governed(
    plane: EmbeddedControlPlane, name: str, how: Callable[[Any], Any]
) -> None:
    """An agent that holds methods as tools can be copied, as it could with ordinary methods; the copies are governed."""
    refused(plane, how(getattr(Shop(), name)))
    refused(plane, copy.deepcopy({"tools": [getattr(Shop(), name)]})["tools"][0])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_pickled_by_name(plane: EmbeddedControlPlane, protocol: int) -> None:
    """The other process finds its own governed tool under the name; here that is the very same."""
    assert pickle.loads(pickle.dumps(by_name, protocol)) is by_name
    refused(plane, pickle.loads(pickle.dumps([by_name], protocol))[0])


def _local() -> Any:
    @gate
    def by_name(order: str) -> None:
        RAN.append(order)

    return by_name


NAMELESS: dict[str, Callable[[], Any]] = {
    "local": _local,
    "lambda": lambda: gate(lambda order: RAN.append(order)),
    "another name": lambda: gate(plain),
    "builtin": lambda: gate(RAN.append),
    "partial": lambda: gate(functools.partial(plain, note="n")),
    "callable": lambda: gate(type("Tool", (), {"__call__": lambda self, order: RAN.append(order)})()),
    "bound method": lambda: gate(Shop().static.__wrapped__),
    "method": lambda: Shop().method,
    "method through the class": lambda: Shop.method,
    "class method below": lambda: Shop.below,
    "class method above": lambda: Shop.above,
    "static method": lambda: Shop.static,
}


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("name", sorted(NAMELESS))
def test_a_pickle_is_never_the_raw_one(plane: EmbeddedControlPlane, name: str, protocol: int) -> None:
    """What cannot be found by name cannot be pickled, or what comes back is governed: never the function inside."""
    try:
        tool = pickle.loads(pickle.dumps(NAMELESS[name](), protocol))
    except Exception:
        return
    refused(plane, tool)


def rebuilt(tool: Any) -> Any:
    """A function made from another one's parts, as cloudpickle and fastmcp's type adapters make them."""
    function = getattr(tool, "__func__", tool)
    made = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__dict__.update(function.__dict__)
    return made if function is tool else types.MethodType(made, tool.__self__)


@pytest.mark.parametrize("name", ["plain", "coroutine", "generator", *METHODS])
def test_a_function_made_of_its_parts_is_governed_or_cannot_be_made(
    plane: EmbeddedControlPlane, name: str
) -> None:
    """Frameworks that copy ``__code__`` into a function of their own must not get an ungoverned tool out of it."""
    tool = getattr(Shop(), name) if name in METHODS else gate(globals()[name])
    with contextlib.suppress(Exception):
        begin(rebuilt(tool))
    assert RAN == [], "the raw body ran"


# --- looks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: raw.__name__)
def test_it_looks_like_the_tool(raw: Callable[..., Any]) -> None:
    """Name, documentation, module, signature, annotations, hints and source are the tool's."""
    tool = gate(raw)
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "__defaults__"):
        assert getattr(tool, name) == getattr(raw, name)
    assert tool.__kwdefaults__ == raw.__kwdefaults__
    assert inspect.signature(tool) == inspect.signature(raw)
    assert inspect.signature(tool, eval_str=True) == inspect.signature(raw, eval_str=True)
    assert typing.get_type_hints(tool) == typing.get_type_hints(raw)
    assert inspect.getdoc(tool) == inspect.getdoc(raw)
    assert inspect.getsource(tool) == inspect.getsource(raw)
    assert callable(tool)
    assert tool.__wrapped__ is raw
    for check in (
        inspect.isfunction,
        inspect.isroutine,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert check(tool) == check(raw), check.__name__


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_keeps_its_nature(kind: Kind) -> None:
    """What ``inspect`` says of each kind, bound or not, is the same with and without the gate."""
    body = Body()
    tool, raw = kind.make(gate, body), kind.make(lambda tool: tool, body)
    assert inspect.signature(tool) == inspect.signature(raw)
    for check in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        callable,
    ):
        assert check(tool) == check(raw), check.__name__
    assert getattr(tool, "__name__", None) == getattr(raw, "__name__", None)
    assert getattr(tool, "__doc__", None) == getattr(raw, "__doc__", None)


def test_methods_look_like_methods() -> None:
    """Bound, they have lost ``self`` and know their object; on the class they have not."""
    shop = Shop()
    assert str(inspect.signature(shop.method)) == "(order: 'str') -> 'list[str]'"
    assert str(inspect.signature(Shop.method)) == "(self, order: 'str') -> 'list[str]'"
    assert str(inspect.signature(Shop.below)) == "(order: 'str') -> 'list[str]'"
    assert str(inspect.signature(Shop.above)) == "(order: 'str') -> 'list[str]'"
    assert str(inspect.signature(Shop.static)) == "(order: 'str') -> 'list[str]'"
    assert shop.method.__self__ is shop
    assert inspect.ismethod(shop.method)
    assert shop.method.__doc__ == "A method."
    assert Shop.below.__self__ is Shop


def test_wraps_works_in_both_directions(plane: EmbeddedControlPlane) -> None:
    """``functools.wraps`` copies from it, and a wrapper made so around it is still governed."""
    tool = gate(plain)

    @functools.wraps(tool)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return tool(*args, **kwargs)

    assert wrapper.__name__ == "plain"
    assert inspect.signature(wrapper) == inspect.signature(plain)
    assert wrapper.__wrapped__ is tool  # type: ignore[attr-defined]
    refused(plane, wrapper)


def test_its_attributes_can_be_set(plane: EmbeddedControlPlane) -> None:
    """Frameworks mark functions with attributes; that works, and changes nothing else."""

    def fresh(order: str) -> None:
        RAN.append(order)

    tool = gate(fresh)
    tool.__framework__ = {"name": "x"}
    assert tool.__framework__ == {"name": "x"}
    tool.__name__ = "renamed"
    tool.__signature__ = inspect.signature(plain)
    refused(plane, tool)


def test_a_tool_may_be_governed_twice(plane: EmbeddedControlPlane) -> None:
    """Two gates, one inside the other: both are asked, and the inner one links to the outer."""
    tool = governed("outer_read")(governed("inner_delete")(plain))
    with pytest.raises(AuthorizationDeniedError, match="inner_delete"):
        tool("o-1")
    assert RAN == []
    assert [row.action_type for row in rows(plane)] == ["outer_read", "inner_delete"]


# --- builtins ----------------------------------------------------------------------------------------------------------


def test_builtins_can_be_governed(plane: EmbeddedControlPlane) -> None:
    """Functions and methods written in C are tools like others: denied, they do nothing."""
    items: list[int] = []
    refused_append = gate(items.append)
    with pytest.raises(AuthorizationDeniedError):
        refused_append(1)
    assert items == []
    allowed = governed("order_read")
    allowed(items.append)(1)
    assert items == [1]
    assert allowed(len)([1, 2]) == 2
    assert allowed(sorted)([2, 1], reverse=True) == [2, 1]
    assert allowed({"a": 1}.get)("a") == 1
    assert allowed(str.upper)("a") == "A"
    assert allowed(max)(1, 2) == 2
    assert allowed(functools.partial(int, base=2))("11") == 3
    assert type("Tools", (), {"size": allowed(len)})().size([1]) == 1
    assert events(plane).count("completed") == 8


@pytest.mark.parametrize("name", ["self", "cls"])
def test_an_argument_called_self_is_one(plane: EmbeddedControlPlane, name: str) -> None:
    """In a plain function ``self`` or ``cls`` is an ordinary parameter: what was approved for one is not for another."""

    def takes_self(self: Any, order: str, amount: float = 900.0) -> None:
        RAN.append(self)

    def takes_cls(cls: Any, order: str, amount: float = 900.0) -> None:
        RAN.append(cls)

    tool = governed("refund", on_pending="raise")(takes_self if name == "self" else takes_cls)
    with pytest.raises(AuthorizationDeniedError):
        tool("first", "o-1")
    plane.approve("1", approver="ann")
    with contextlib.suppress(AuthorizationDeniedError):
        tool("second", "o-1")
    assert RAN == []
    tool(**{name: "first", "order": "o-1"})
    assert RAN == ["first"]
    assert asked(plane, 1).action_details == {name: "first", "order": "o-1", "amount": 900.0}


def test_a_class_may_be_a_mere_namespace(plane: EmbeddedControlPlane) -> None:
    """Functions without ``self``, called through their class: the first argument is one, and is approved for."""

    class Tools:
        @governed("refund", on_pending="raise")
        def refund(order: str, amount: float = 900.0) -> None:
            RAN.append(order)

    with pytest.raises(AuthorizationDeniedError):
        Tools.refund("first")
    plane.approve("1", approver="ann")
    with pytest.raises(AuthorizationDeniedError):
        Tools.refund("second")
    Tools.refund(order="first")
    assert RAN == ["first"]
    assert asked(plane, 1).action_details == {"order": "first", "amount": 900.0}


def test_a_method_may_be_called_by_keyword_alone(plane: EmbeddedControlPlane) -> None:
    """Through the class, with ``self`` by name: unusual, and still the same call."""

    class Desk:
        @governed("order_read")
        def look(self, order: str) -> None:
            RAN.append(order)

        @property
        @governed("order_read")
        def peek(self) -> str:
            RAN.append("peek")
            return "peeked"

    desk = Desk()
    desk.look("o-1")
    Desk.look(desk, "o-1")
    Desk.look(desk, order="o-1")
    Desk.look(self=desk, order="o-1")
    assert desk.peek == "peeked"
    assert RAN == ["o-1"] * 4 + ["peek"]
    assert [asked(plane, row.id).action_details for row in rows(plane)] == [{"order": "o-1"}] * 4 + [{}]
    assert len({row.digest for row in rows(plane)[:4]}) == 1
