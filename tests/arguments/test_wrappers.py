"""What is judged is what the body receives: wrappers are followed when their code is known, and refused otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import threading
import time
import types
import unittest.mock
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pydantic
import pytest
import tenacity
import wrapt
from call_strategies import fitting, flattened
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import every_action

import ascend_guard
from ascend_guard import (
    AuthorizationDeniedError,
    ConfigurationError,
    EmbeddedControlPlane,
    Redact,
    governed,
)
from ascend_guard.callables.binding import compile_binder
from ascend_guard.callables.wrappers import KNOWN
from ascend_guard.engine.approve import submitted
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store.sqlite.store import SQLiteStore

Tool = Callable[..., Any]


class Around(contextlib.ContextDecorator):
    """A decorator that is known to pass its arguments on unchanged."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


class AsyncAround(contextlib.AsyncContextDecorator):
    """The same for coroutines."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: object) -> None: ...


def recorded(plane: EmbeddedControlPlane) -> list[dict[str, Any]]:
    """The arguments of every action, as they were judged."""
    return plane.read(
        lambda reader: [submitted(reader, row).action.action_details for row in every_action(reader)]
    )


# --- any callable ----------------------------------------------------------------------------------------------------


def _kinds_of(tool: types.FunctionType) -> dict[str, Callable[[], Tool]]:
    """The same body reached in other ways. A first parameter is added where an instance goes."""
    names = inspect.signature(tool).parameters
    if "this" in names:
        return {}

    space: dict[str, Any] = {"inner": tool}
    kinds = [each.kind for each in names.values()]
    only = inspect.Parameter.POSITIONAL_ONLY
    this = inspect.Parameter("this", only if only in kinds else inspect.Parameter.POSITIONAL_OR_KEYWORD)
    head = inspect.Signature([this, *names.values()])
    exec(f"def method{head}:\n found = locals(); found.pop('this', None); return found", space)
    method = space["method"]
    return {
        "function": lambda: tool,
        "method": lambda: type("Desk", (), {"tool": method})().tool,
        "class method": lambda: type("Desk", (), {"tool": classmethod(method)}).tool,  # type: ignore[attr-defined]
        "static method": lambda: type("Desk", (), {"tool": staticmethod(tool)})().tool,
        "callable": lambda: type("Desk", (), {"__call__": method})(),
        "callable with a static method": lambda: type("Desk", (), {"__call__": staticmethod(tool)})(),
        "callable with a class method": lambda: type("Desk", (), {"__call__": classmethod(method)})(),
        "callable through a wrapper": lambda: type("Desk", (), {"__call__": Around()(method)})(),
    }


REACHED: Counter[str] = Counter()


@settings(max_examples=3 * settings().max_examples)
@given(fitting(), st.data())
def _judged_is_received(call: tuple[Any, Any, Any], data: st.DataObject) -> None:
    tool, args, kwargs = call
    kinds = _kinds_of(tool)
    # tenacity itself calls with keywords, and has a parameter of this name.
    if not kinds or "this" in kwargs or "self" in {*kwargs, *inspect.signature(tool).parameters}:
        return
    kind = data.draw(st.sampled_from(sorted(kinds)))
    target = kinds[kind]()
    layers = data.draw(
        st.lists(st.sampled_from(["around", "partial", "retry", "other keywords"]), max_size=3)
    )
    partial = False
    for layer in layers:
        if layer in ("around", "retry"):
            if partial:  # refused; see below
                continue
            target = Around()(target) if layer == "around" else tenacity.retry(target)
        elif layer == "partial":
            count = data.draw(st.integers(0, len(args)))
            given_ = {
                name: kwargs.pop(name)
                for name in data.draw(st.sets(st.sampled_from(sorted(kwargs) or [""])))
                if name in kwargs
            }
            target, args = functools.partial(target, *args[:count], **given_), args[count:]
            partial = True
        elif kwargs:
            # Given by the partial and again by the call: the call's goes before.
            target = functools.partial(target, **dict.fromkeys(kwargs, "the partial's"))
            partial = True
        REACHED[layer] += 1
    REACHED[kind] += 1
    try:
        received = target(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            compile_binder(target).call(args, kwargs)
        return
    binder = compile_binder(target).chosen(args, kwargs)
    named, passed, by_name = binder.call(args, kwargs)
    assert named == flattened(received)
    assert binder.target is not None
    assert binder.target(*passed, **by_name) == received
    again = binder.unbind(named)
    assert binder.target(*again[0], **again[1]) == received
    assert binder.intact()


def test_what_is_judged_is_what_the_body_receives() -> None:
    """For random signatures, calls, ways to reach a function, partials of partials and wrappers that are followed."""
    REACHED.clear()
    _judged_is_received()
    wanted = {"function", "method", "class method", "static method", "callable"}
    wanted |= {
        f"callable {how}" for how in ("through a wrapper", "with a static method", "with a class method")
    }
    assert REACHED.keys() >= wanted | {"around", "partial", "retry", "other keywords"}


def test_a_calls_keyword_goes_before_a_partials() -> None:
    """As Python does it; in partials of partials too."""

    def refund(order: str, amount: int = 1) -> tuple[str, int]:
        return order, amount

    once = functools.partial(refund, amount=40)
    twice = functools.partial(once, amount=50)
    for partial, default in ((once, 40), (twice, 50)):
        binder = compile_binder(partial)
        assert binder.bind(("o",), {}) == {"order": "o", "amount": default}
        assert binder.bind(("o",), {"amount": 900}) == {"order": "o", "amount": 900}
        assert partial("o", amount=900) == ("o", 900)


# --- decorators that may change a call -------------------------------------------------------------------------------


def injecting(function: Tool) -> Tool:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("SESSION", *args, **kwargs)

    return wrapper


def dropping(function: Tool) -> Tool:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args[1:], **kwargs)

    return wrapper


def changing(function: Tool) -> Tool:
    @functools.wraps(function)
    def wrapper(order: Any, amount: Any = 10) -> Any:
        return function(order, amount * 100)

    return wrapper


def leading(function: Tool) -> Tool:
    @functools.wraps(function)
    def wrapper(context: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def claiming(function: Tool) -> Tool:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*reversed(args), **kwargs)

    wrapper.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return wrapper


def configured(times: int) -> Callable[[Tool], Tool]:
    def decorate(function: Tool) -> Tool:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return [function(*args, **kwargs) for _ in range(times)][-1]

        return wrapper

    return decorate


class Retry:
    """A decorator with the usual class."""

    def __init__(self, function: Tool) -> None:
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, holder: Any, owner: Any = None) -> Any:
        return self if holder is None else types.MethodType(self, holder)


class Changing(Retry):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function("SESSION", *args, **kwargs)


class Proxy(wrapt.ObjectProxy[Any]):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__("SESSION", *args, **kwargs)


@wrapt.decorator
def wrapped_by_wrapt(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped("SESSION", *args, **kwargs)


@wrapt.decorator(adapter=inspect.FullArgSpec(["order"], None, None, None, [], None, {}))
def adapted(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped("SESSION", *args, **kwargs)


def through_mock(function: Tool) -> Tool:
    return unittest.mock.patch("os.getcwd")(function)


class Tenacious(tenacity.Retrying):
    """A subclass of a class that is known is not known."""

    def __call__(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        return fn("SESSION", *args, **kwargs)


REFUSED: dict[str, Callable[[Tool], Tool]] = {
    "injecting": injecting,
    "dropping": dropping,
    "changing, with parameters of its own": changing,
    "leading parameter": leading,
    "claimed signature": claiming,
    "with arguments": configured(2),
    "class": Retry,
    "subclass": Changing,
    "object proxy": Proxy,
    "wrapt": wrapped_by_wrapt,
    "wrapt with an adapter": adapted,
    "pydantic": pydantic.validate_call,
    "mock": through_mock,
    "a known one with another class": lambda function: Tenacious().wraps(function),
    "two": lambda function: injecting(changing(function)),
    "under one that is known": lambda function: Around()(injecting(function)),
    "under a cache": lambda function: functools.lru_cache(injecting(function)),
    "under a partial": lambda function: functools.partial(injecting(function), amount=1),
    "method of an object": lambda function: Retry(function).__call__,
    "partial under a wrapper": lambda function: Around()(functools.partial(function, amount=1)),
    "dispatcher under a wrapper": lambda function: Around()(functools.singledispatch(function)),
    "cache that says it wraps another": lambda function: _lying_cache(function),
}


def _lying_cache(function: Tool) -> Tool:
    cached = functools.lru_cache(lambda *args, **kwargs: function("SESSION", *args, **kwargs))
    cached.__wrapped__ = function  # type: ignore[misc]
    return cached


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("shape", ["function", "method"])
def test_a_decorator_that_may_change_a_call_is_refused(name: str, shape: str) -> None:
    """When decorating; the message shows the order that works."""

    def refund(order: str, amount: int = 10) -> None: ...

    tool = REFUSED[name](refund)
    if shape == "method":
        tool = types.MethodType(tool, "desk")
    with pytest.raises(
        ConfigurationError, match=r"(?s)    @\w+\n    @governed\(\.\.\.\)\n    def .+\(\.\.\.\): \.\.\."
    ):
        governed("order_read")(tool)


def test_a_decorator_that_converts_is_named_as_people_know_it() -> None:
    """pydantic's wrapper lies in a helper; vouching for it is not offered, because it changes arguments."""
    with pytest.raises(ConfigurationError, match="@validate_call\n    @governed") as caught:
        governed("order_read")(pydantic.validate_call(lambda order: order))
    assert "vouch_for" not in str(caught.value)


def test_the_order_that_works(plane: EmbeddedControlPlane) -> None:
    """With the gate on the function itself, what decorators above it put in is judged, under the right name."""
    ran = []

    @injecting
    @governed("order_read", redact=("password",))
    def login(session: str, password: Annotated[str, Redact], amount: int = 10) -> None:
        ran.append((session, password, amount))

    login("hunter2-secret", amount=900)
    assert ran == [("SESSION", "hunter2-secret", 900)]
    assert recorded(plane) == [{"session": "SESSION", "password": "[REDACTED]", "amount": 900}]


@pytest.mark.parametrize("name", ["*args, **kwargs", "mock", "callable"])
def test_open_callables_are_judged_by_what_they_get(plane: EmbeddedControlPlane, name: str) -> None:
    """What claims nothing has the names it has."""

    class Any_:
        def __call__(self, *args: Any, **kwargs: Any) -> None: ...

    tools: dict[str, Tool] = {
        "*args, **kwargs": lambda *args, **kwargs: None,
        "mock": unittest.mock.Mock(__name__="mock"),
        "callable": Any_(),
    }
    governed("order_read")(tools[name])(1, 2, x=3)
    assert recorded(plane) == [{"args": [1, 2], "x": 3}]


# --- wrappers that are followed --------------------------------------------------------------------------------------


@contextlib.contextmanager
def managed() -> Iterator[None]:
    yield


def passed_through() -> dict[str, Callable[[Tool], Tool]]:
    """A wrapper of each kind that is followed."""
    warning: Any = importlib.import_module("typing_extensions").deprecated("old")
    return {
        "cache": functools.lru_cache,
        "context decorator": Around(),
        "generated context manager": managed(),
        "retry": tenacity.retry(stop=tenacity.stop_after_attempt(2)),
        "deprecated": warning,
        "governed": governed("order_read"),
        "several": lambda function: tenacity.retry(Around()(functools.lru_cache(function))),
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", sorted(passed_through()))
@pytest.mark.parametrize("shape", ["function", "method"])
def test_wrappers_that_pass_on_are_followed(plane: EmbeddedControlPlane, name: str, shape: str) -> None:
    """Named, run and redacted as without them; as methods too."""
    ran = []

    def refund(order: str, amount: Annotated[int, Redact] = 10) -> str:
        ran.append((order, amount))
        return order

    class Desk:
        def refund(self, order: str, amount: Annotated[int, Redact] = 10) -> str:
            return refund(order, amount)

        refund_ = governed("order_read")(passed_through()[name](refund))

    tool = governed("order_read")(passed_through()[name](refund)) if shape == "function" else Desk().refund_
    assert tool("o-1") == "o-1"
    assert ran == [("o-1", 10)]
    assert recorded(plane)[0] == {"order": "o-1", "amount": "[REDACTED]"}


def test_coroutines_under_wrappers_are_followed(plane: EmbeddedControlPlane) -> None:
    """Retried and in an async context, what runs is what was judged, each time."""
    ran = []

    @governed("order_read")
    @tenacity.retry(stop=tenacity.stop_after_attempt(2))
    @AsyncAround()
    async def refund(order: str, amount: int = 10) -> None:
        ran.append((order, amount))
        if len(ran) == 1:
            inner.__defaults__ = (900,)
            raise KeyError(order)

    inner = inspect.unwrap(refund)
    asyncio.run(refund("o-1"))
    assert ran == [("o-1", 10)] * 2
    assert recorded(plane) == [{"order": "o-1", "amount": 10}]


def test_a_cache_keeps_its_keys_and_its_defaults(plane: EmbeddedControlPlane) -> None:
    """It is called as the caller wrote: a default need not be hashable, and a hit stays one."""

    @functools.lru_cache
    def total(order: str, parts: Any = []) -> int:  # noqa: B006 - what it is about
        return len(parts)

    tool: Any = governed("order_read")(total)
    assert (tool("o"), tool("o"), total("o")) == (0, 0, 0)
    assert total.cache_info().hits == 2
    assert recorded(plane) == [{"order": "o", "parts": []}] * 2


@pytest.mark.parametrize("known", [each for each in KNOWN if not each.place.startswith("stamina")])
def test_every_known_wrapper_is_there(known: Any) -> None:
    """A wrapper in the table exists in the versions that are installed, with the variable that it calls."""
    from ascend_guard.callables.vouching import codes_inside

    module, _, qualname = known.place.partition(":")
    outer, *inner = qualname.split(".<locals>.")
    found: Any = importlib.import_module(module)
    if module == "warnings" and not hasattr(found, "deprecated"):  # from Python 3.13 on
        return
    for part in outer.split("."):
        found = inspect.getattr_static(found, part)
    codes = [found.__code__]
    for name in inner:
        codes = [each for code in codes for each in codes_inside(code) if each.co_name == name]
    assert codes
    assert all(known.cell in code.co_freevars for code in codes)


# --- vouching --------------------------------------------------------------------------------------------------------


def log_calls(function: Tool) -> Tool:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@wrapt.decorator
def log_by_wrapt(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


VOUCHED: dict[str, tuple[Callable[[Tool], Tool], tuple[Any, ...]]] = {
    "function": (log_calls, (log_calls,)),
    "with arguments": (configured(1), (configured,)),
    "class": (Retry, (Retry,)),
    "wrapt": (log_by_wrapt, (log_by_wrapt,)),
    "two": (lambda function: log_calls(Retry(function)), (log_calls, Retry)),
    "over one that is known": (lambda function: log_calls(Around()(function)), (log_calls,)),
}


@pytest.mark.parametrize("name", VOUCHED)
@pytest.mark.parametrize("shape", ["function", "method"])
def test_a_user_can_vouch_for_a_decorator(plane: EmbeddedControlPlane, name: str, shape: str) -> None:
    """Then it is followed, as a method too, and that is recorded with each action."""
    decorator, entries = VOUCHED[name]
    gate = governed("order_read", vouch_for=entries)

    def refund(order: str, amount: Annotated[int, Redact] = 10) -> str:
        return order

    class Desk:
        refund = gate(decorator(lambda self, order, amount=10: order))

    tool = gate(decorator(refund)) if shape == "function" else Desk().refund
    assert tool("o-1") == "o-1"
    action = plane.read(lambda reader: [submitted(reader, row).action for row in every_action(reader)])[0]
    assert action.action_details["order"] == "o-1"
    assert "self" not in action.action_details
    assert action.vouched_decorators == tuple(f"{each.__module__}.{each.__qualname__}" for each in entries)


@pytest.mark.parametrize(
    ("tool", "entries", "match"),
    [
        (injecting(lambda order: None), (log_calls,), "vouch_for names .*log_calls, but it made no wrapper"),
        (lambda order: None, (log_calls,), r"it made no wrapper .* found: none"),
        (Changing(lambda order: None), (Retry,), "is between"),
        (log_calls(injecting(lambda order: None)), (log_calls,), "is between"),
        (lambda order: None, log_calls, r"write vouch_for=\(log_calls,\)"),
        (lambda order: None, ("log_calls",), "a tuple of decorators"),
        (lambda order: None, 5, "a tuple of decorators"),
    ],
)
def test_to_vouch_wrongly_is_refused(tool: Tool, entries: Any, match: str) -> None:
    """For a decorator that is not there, for a subclass that does something else, for one of two."""
    with pytest.raises(
        ConfigurationError, match=f"(?s){match}|is between" if "no wrapper" in match else match
    ):
        governed("order_read", vouch_for=entries)(tool)


def test_a_method_of_an_object_that_is_vouched_for(plane: EmbeddedControlPlane) -> None:
    """``obj.__call__`` is ``obj``."""
    tool = governed("order_read", vouch_for=(Retry,))(Retry(lambda order, amount=10: order).__call__)
    assert [tool("o-1"), tool("o-2")] == ["o-1", "o-2"]
    assert recorded(plane) == [{"order": "o-1", "amount": 10}, {"order": "o-2", "amount": 10}]


def test_a_wrapper_that_skips_one_is_not_followed_past_it() -> None:
    """What it says it wraps must be what it calls: its ``__wrapped__`` was copied from the wrapper below it."""

    def copying(function: Tool) -> Tool:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        wrapper.__dict__.update(function.__dict__)
        return wrapper

    with pytest.raises(ConfigurationError, match="it is unknown what"):
        governed("order_read", vouch_for=(copying,))(copying(injecting(lambda order: None)))


# --- changes between the decision and the body -----------------------------------------------------------------------


class Overloads:
    @functools.singledispatchmethod
    def tool(self, order: Any, amount: int = 40) -> int:
        return amount

    @tool.register
    def _(self, order: str, amount: int = 41) -> int:
        return amount


def _changes() -> dict[str, tuple[Tool, Callable[[], object]]]:
    """A tool whose default is 40 or 41, and what changes it to 900."""

    def positional(order: str, amount: int = 40) -> int:
        return amount

    def keyword(order: str, *, amount: int = 40) -> int:
        return amount

    def code(order: str, amount: int = 40) -> int:
        return amount

    def other(order: str, amount: int = 40) -> int:
        return 900

    partial = functools.partial(lambda order, amount: amount, amount=40)
    restored: Any = functools.partial(lambda order, amount: amount, amount=40)

    @functools.singledispatch
    def dispatched(order: Any, amount: int = 40) -> int:
        return amount

    @dispatched.register
    def text(order: str, amount: int = 41) -> int:
        return amount

    @functools.singledispatch
    def registered(order: Any, amount: int = 40) -> int:
        return amount

    class Desk:
        def __call__(self, order: str, amount: int = 40) -> int:
            return amount

        def method(self, order: str, amount: int = 40) -> int:
            return amount

    class Other:
        def __call__(self, order: str, amount: int = 900) -> int:
            return amount

    exchanged, replaced, desk = Desk(), Desk(), Desk()
    mutable: list[int] = [40]

    def container(order: str, amount: list[int] = mutable) -> int:
        return amount[0]

    around: Any = Around()(positional)
    cell = around.__closure__[around.__code__.co_freevars.index("func")]
    overloads = Overloads()
    stated = log_signature(positional)
    return {
        "__defaults__": (positional, lambda: setattr(positional, "__defaults__", (900,))),
        "__kwdefaults__": (keyword, lambda: keyword.__kwdefaults__.update(amount=900)),  # type: ignore[union-attr]
        "__kwdefaults__ exchanged": (keyword, lambda: setattr(keyword, "__kwdefaults__", {"amount": 900})),
        "__code__": (code, lambda: setattr(code, "__code__", other.__code__)),
        "partial.keywords": (partial, lambda: partial.keywords.update(amount=900)),
        "partial.__setstate__": (
            restored,
            lambda: restored.__setstate__((lambda order: 900, (), {}, {})),
        ),
        "default of an overload": (dispatched, lambda: setattr(text, "__defaults__", (900,))),
        "new overload": (registered, lambda: registered.register(str, lambda order, amount=900: amount)),
        "default of a method's overload": (
            overloads.tool,
            lambda: setattr(_overload(), "__defaults__", (900,)),
        ),
        "__call__": (replaced, lambda: setattr(Desk, "__call__", Other.__call__)),
        "__class__": (exchanged, lambda: setattr(exchanged, "__class__", Other)),
        "method of the class": (desk.method, lambda: setattr(Desk, "method", Other.__call__)),
        "content of a default": (container, lambda: mutable.__setitem__(0, 900)),
        "closure of a wrapper": (around, lambda: setattr(cell, "cell_contents", other)),
        "__signature__": (stated, lambda: setattr(stated, "__signature__", inspect.signature(other))),
    }


def log_signature(function: Any) -> Any:
    """A function that states another default than it has."""

    def tool(order: str, amount: int = 40) -> int:
        return amount

    tool.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("order", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    )
    return tool


def _overload() -> Any:
    return Overloads.__dict__["tool"].dispatcher.dispatch(str)


@pytest.fixture
def _overload_restored() -> Iterator[None]:
    yield
    _overload().__defaults__ = (41,)


CHANGES = sorted(_changes())


ASKING = """
version: 1
rules:
  - {name: ask, actions: [ask], effect: require_approval, timeout: 30m, reason: A person decides.}
"""


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[EmbeddedControlPlane]:
    """A control plane that asks a person about every call."""
    store = SQLiteStore(tmp_path / "asking.db", durability="process")
    plane = EmbeddedControlPlane(store, parse_policy(ASKING), agent_id="billing")
    ascend_guard.configure(control_plane=plane)
    yield plane
    plane.close()


def decided_meanwhile(
    plane: EmbeddedControlPlane, call: Callable[[], Any], change: Callable[[], object]
) -> Any:
    """What a call gives, or its denial: while it waits, the change happens, and then it is approved."""
    met: list[BaseException] = []

    def decide() -> None:
        try:
            while not (waiting := plane.pending()):
                time.sleep(0.002)
            change()
            plane.approve(str(waiting[0].id), approver="ann")
        except BaseException as error:
            met.append(error)
            raise

    thread = threading.Thread(target=decide)
    thread.start()
    try:
        return call()
    except AuthorizationDeniedError as error:
        return error
    finally:
        thread.join(30)
        assert not met


@pytest.mark.usefixtures("_overload_restored")
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_while_a_person_decides(asking: EmbeddedControlPlane, name: str) -> None:
    """The judged value runs, or the call is blocked."""
    tool, change = _changes()[name]
    waiting = governed("ask")(tool)
    result = decided_meanwhile(asking, lambda: waiting("o-1"), change)
    (judged,) = recorded(asking)
    assert isinstance(result, AuthorizationDeniedError) or judged.get("amount") in (result, [result])


@pytest.mark.usefixtures("_overload_restored")
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_between_two_calls(plane: EmbeddedControlPlane, name: str) -> None:
    """The next call is judged by what it will do: what is recorded is what ran."""
    tool, change = _changes()[name]
    gate: Any = governed("order_read")(tool)
    results = [gate("o-1")]
    change()
    results.append(gate("o-1"))
    judged = [each.get("amount") for each in recorded(plane)]
    judged = [value[0] if isinstance(value, list) else value for value in judged]
    if name in (
        "__code__",
        "closure of a wrapper",
    ):  # the default is the same, and the new body does not look at it
        assert (judged, results) == ([40, 40], [40, 900])
    elif name == "partial.__setstate__":  # what it calls now takes no amount
        assert (judged, results) == ([40, None], [40, 900])
    else:
        assert judged == results


def test_a_function_that_becomes_another_kind(asking: EmbeddedControlPlane) -> None:
    """A coroutine function whose code becomes a plain function's does nothing before its last check."""
    ran = []

    async def tool(amount: float) -> None:
        ran.append("coroutine")

    def plain(amount: float) -> None:
        ran.append("plain")

    waiting = governed("ask")(tool)
    result = decided_meanwhile(
        asking, lambda: asyncio.run(waiting(900.0)), lambda: setattr(tool, "__code__", plain.__code__)
    )
    assert isinstance(result, AuthorizationDeniedError)
    assert ran == []
    (row,) = asking.read(lambda reader: every_action(reader))
    assert row.status == "denied"
