"""The shape of a call never changes its named arguments, and no argument goes unnamed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import re
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import pydantic
import pytest
from call_strategies import calls, fitting, flattened, functions
from hypothesis import given, settings
from hypothesis import strategies as st

import ascend_guard.callables.binding
from ascend_guard.callables.binding import compile_binder
from ascend_guard.errors import ConfigurationError, ValidationError
from ascend_guard.redaction import Redact

if TYPE_CHECKING:
    from nowhere import Elsewhere


@settings(max_examples=4 * settings().max_examples)
@given(fitting() | st.builds(lambda tool, call: (tool, *call), functions(), calls))
def test_named_arguments_are_what_the_function_sees(call: tuple[Any, Any, Any]) -> None:
    """For any signature and any call: the same names and values, the same TypeError, a refused collision."""
    tool, args, kwargs = call
    binder = compile_binder(tool)
    try:
        seen = tool(*args, **kwargs)
    except TypeError as error:
        with pytest.raises(TypeError, match=f"^{re.escape(str(error))}$"):
            binder.bind(args, kwargs)
        return
    if {name for name in seen if name != "kwargs"} & seen.get("kwargs", {}).keys():
        with pytest.raises(ValidationError, match="has the name of a parameter"):
            binder.bind(args, kwargs)
        return
    named = binder.bind(args, kwargs)
    assert named == flattened(seen)
    parameters = [name for name in inspect.signature(tool).parameters if name != "kwargs"]
    assert list(named)[: len(parameters)] == parameters
    again = binder.unbind(named)
    assert tool(*again[0], **again[1]) == seen
    assert binder.bind(*again) == named


@given(fitting(), st.data())
def test_partials_are_named_like_the_direct_call(call: tuple[Any, Any, Any], data: st.DataObject) -> None:
    """Split anywhere between a partial, a partial of it, and the call, the named arguments are the same."""
    tool, args, kwargs = call
    expected = compile_binder(tool).bind(args, kwargs)
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(args))] * 2)))
    where = {name: data.draw(st.integers(0, 2)) for name in kwargs}
    parts = [{name: kwargs[name] for name in kwargs if where[name] == index} for index in range(3)]
    inner = functools.partial(tool, *args[:first], **parts[0])
    inner.kept_apart = True  # a partial with attributes is not merged into the one around it
    outer = functools.partial(inner, *args[first:second], **parts[1])
    binder = compile_binder(outer)
    named, passed, by_name = binder.call(args[second:], parts[2])
    assert named == expected
    assert binder.target is tool
    assert tool(*passed, **by_name) == tool(*args, **kwargs)
    again = binder.unbind(named)
    assert tool(*again[0], **again[1]) == tool(*args, **kwargs)


class Tools:
    """Every kind of method."""

    def method(self, a: int, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> dict[str, Any]:
        return locals()

    @classmethod
    def of_class(cls, a: int, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> dict[str, Any]:
        return locals()

    @staticmethod
    def static(a: int, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> dict[str, Any]:
        return locals()

    def __call__(self, a: int, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> dict[str, Any]:
        return locals()

    def everything(*args: int, **kwargs: int) -> dict[str, Any]:
        return locals()


def plain(a: int, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> dict[str, Any]:
    return locals()


TOOLS = Tools()
SHAPES: list[tuple[Callable[..., Any], Any]] = [
    (plain, compile_binder(plain)),
    (TOOLS.method, compile_binder(TOOLS.method)),
    (TOOLS.method, compile_binder(Tools.method, bound=True)),
    (Tools.of_class, compile_binder(Tools.of_class)),
    (TOOLS.of_class, compile_binder(Tools.__dict__["of_class"].__func__, bound=True)),
    (TOOLS.static, compile_binder(TOOLS.static)),
    (Tools.static, compile_binder(Tools.__dict__["static"])),
    (TOOLS, compile_binder(TOOLS)),
    (functools.partial(TOOLS.method), compile_binder(functools.partial(TOOLS.method))),
    (functools.partial(Tools.method, TOOLS), compile_binder(functools.partial(TOOLS))),
    (types.MethodType(plain, 1), compile_binder(lambda b=2, *args, c=3, **kwargs: None)),
]


@given(calls)
def test_all_ways_to_reach_a_function_give_the_same_names(call: tuple[Any, Any]) -> None:
    """Functions, bound and unbound methods, class and static methods, callable objects, partials."""
    args, kwargs = call
    results = []
    for _, binder in SHAPES[:-1]:
        try:
            results.append(
                binder.bind(args, {name: value for name, value in kwargs.items() if name != "self"})
            )
        except TypeError as error:
            results.append(str(error).partition("()")[2].replace("from 2 to 3", "from 1 to 2"))
        except ValidationError as error:
            results.append(str(error))
    assert all(type(result) is type(results[0]) for result in results)
    if isinstance(results[0], dict):
        assert all(result == results[0] for result in results)


@pytest.mark.parametrize(("function", "binder"), SHAPES[:-2], ids=range(len(SHAPES) - 2))
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((), {"b": 1}), ((1,), {"a": 1}), ((1, 2), {"b": 1}), ((1,), {"self": 1}), ((1,), {"cls": 1})],
)
def test_type_errors_are_in_pythons_words(function: Any, binder: Any, args: Any, kwargs: Any) -> None:
    """The very message of the call itself, for every kind of callable."""
    outcome: list[str | None] = []
    for call in (lambda: function(*args, **kwargs), lambda: binder.bind(args, kwargs)):
        try:
            call()
            outcome.append(None)
        except TypeError as error:
            outcome.append(str(error))
    assert outcome[0] == outcome[1]


def test_a_method_without_a_named_self() -> None:
    """``def method(*args)`` has its instance among args, which the binder leaves out."""
    assert compile_binder(Tools.everything, bound=True).bind((1,), {"x": 2}) == {"args": (1,), "x": 2}
    assert compile_binder(TOOLS.everything).bind((1,), {}) == {"args": (1,)}


@dataclasses.dataclass
class Record:
    a: int
    b: int = 2


class Row(NamedTuple):
    a: int
    b: int = 2


class Model(pydantic.BaseModel):
    a: int
    b: int = 2


class Made:
    def __new__(cls, a: int, b: int = 2) -> Made:
        return super().__new__(cls)


class Started:
    def __init__(self, a: int, b: int = 2) -> None: ...


class Meta(type):
    def __call__(cls, a: int, b: int = 2) -> Any:
        return None


class Metaed(metaclass=Meta): ...


@pytest.mark.parametrize("kind", [Record, Row, Made, Started, Metaed])
def test_a_class_has_the_parameters_of_its_constructor(kind: Any) -> None:
    """Whichever way it makes its instances."""
    binder = compile_binder(kind)
    assert binder.bind((), {"a": 1}) == {"a": 1, "b": 2}
    args, kwargs = binder.unbind({"a": 1, "b": 3})
    assert binder.target is not None
    binder.target(*args, **kwargs)
    if kind in (Record, Made, Started):
        with pytest.raises(TypeError) as expected:
            kind()
        with pytest.raises(TypeError) as caught:
            binder.bind((), {})
        assert str(caught.value) == str(expected.value)


def test_a_model_has_the_keywords_it_is_given() -> None:
    """pydantic's ``__init__`` takes any; the signature that it states is a claim, and so are its defaults."""
    binder = compile_binder(Model)
    assert binder.bind((), {"a": 1}) == {"a": 1}
    assert binder.unbind({"a": 1, "b": 3}) == ((), {"a": 1, "b": 3})


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "named"),
    [
        (max, (1, 2), {"key": None}, {"args": (1, 2), "kwargs": {"key": None}}),
        (int, ("1",), {}, {"args": ("1",), "kwargs": {}}),
        ([].append, (1,), {}, {"object": 1}),
        (print, (1, 2), {"sep": ""}, {"args": (1, 2), "sep": "", "end": "\n", "file": None, "flush": False}),
        (str.upper, ("a",), {}, {"self": "a"}),
    ],
)
def test_builtins(function: Any, args: Any, kwargs: Any, named: Any) -> None:
    """By their signature where they have one, else as they are."""
    binder = compile_binder(function)
    assert binder.bind(args, kwargs) == named
    assert binder.unbind(named)[0][: len(args)] == args


def test_what_cannot_be_called_has_no_binder() -> None:
    """And says so in Python's words."""
    with pytest.raises(TypeError, match="'int' object is not callable"):
        compile_binder(5)  # type: ignore[arg-type]


def test_defaults_are_the_objects_themselves() -> None:
    """Not what their repr says. Once they are others, the binder says that it is out of date."""

    class Odd:
        def __repr__(self) -> str:
            return "1); raise SystemExit(1"

    odd = Odd()

    def tool(a: Any = odd, *, b: Any = odd) -> None: ...

    binder = compile_binder(tool)
    assert binder.intact()
    assert binder.call((), {}) == ({"a": odd, "b": odd}, (odd,), {"b": odd})
    tool.__defaults__ = (1,)
    assert not binder.intact()


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("name", [1, None, b"a", Text("a")])
@pytest.mark.parametrize("function", [plain, max, functools.partial(plain, 1)])
def test_names_that_are_not_text_are_refused(function: Any, name: Any) -> None:
    """Exactly text: a subclass could lie about equality."""
    with pytest.raises(ValidationError, match="not text"):
        compile_binder(function).bind((1,), {name: 1})


def _edits(function: Any, named: dict[str, Any]) -> Any:
    binder = compile_binder(function)
    args, kwargs = binder.unbind(named)
    assert binder.target is not None
    return flattened(binder.target(*args, **kwargs))


def test_edited_arguments_are_passed() -> None:
    """Whatever of them an approver changed."""
    named = {"a": 1, "b": 2, "args": (3, 4), "c": 5, "x": 6}
    for name, value in {"a": 9, "b": 9, "args": [9], "c": 9, "x": 9}.items():
        expected = {**named, name: tuple(value) if name == "args" else value}
        assert _edits(plain, {**named, name: value}) == expected


@pytest.mark.parametrize(
    ("function", "named", "match"),
    [
        (lambda a: None, {}, "'a' is missing"),
        (lambda a: None, {"a": 1, "b": 2}, "no parameter 'b'"),
        (lambda *args: None, {"args": "ab"}, "give it a list"),
        (lambda a=1, *args: None, {"args": [1]}, "cannot be passed"),
        (lambda a=1, b=2, /: None, {"b": 1}, "one before it is not"),
        (plain, {"a": 1, 5: 2}, "not text"),
        (max, {"args": 1}, "give it a list"),
        (max, {"args": [], "kwargs": []}, "give it a dict"),
        (max, {"a": 1}, "no signature"),
        (functools.partial(plain, 1), {"b": 2}, "missing"),
    ],
)
def test_edits_that_cannot_be_passed_are_refused(function: Any, named: dict[str, Any], match: str) -> None:
    """Instead of being dropped."""
    with pytest.raises(ValidationError, match=match):
        compile_binder(function).unbind(named)


def test_edits_of_a_partial() -> None:
    """Whatever it fixed can be changed: what is called is the function itself."""
    partial = functools.partial(plain, "one", c=2)
    named = compile_binder(partial).bind((5,), {})
    assert named == {"a": "one", "b": 5, "args": (), "c": 2}
    edited = {"a": "two", "b": 6, "args": (7,), "c": 8}
    assert _edits(partial, edited) == edited


def test_gaps_in_a_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14's ``functools.Placeholder``: filled by the call's first positional arguments."""
    gap = getattr(functools, "Placeholder", None)
    if gap is None:
        gap = object()
        monkeypatch.setattr(ascend_guard.callables.binding, "_PLACEHOLDER", gap)
    binder = compile_binder(functools.partial(plain, gap, 2, gap, 4))
    named = binder.bind((1, 3, 5), {})
    assert named == {"a": 1, "b": 2, "args": (3, 4, 5), "c": 3}
    assert binder.unbind(named) == ((1, 2, 3, 4, 5), {"c": 3})
    with pytest.raises(TypeError, match="expected at least 2, got 1"):
        binder.bind((1,), {})


class Around(contextlib.ContextDecorator):
    """A decorator that is known to pass its arguments on unchanged."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def test_a_wrapped_method_keeps_its_instance_out() -> None:
    """Through every wrapper that is followed."""

    class Desk:
        def refund(self, account: int, amount: int = 5) -> None: ...

        inside = Around()(refund)
        cached = functools.lru_cache(refund)

    desk = Desk()
    for method in (desk.refund, desk.inside, desk.cached):
        assert compile_binder(method).bind((1,), {}) == {"account": 1, "amount": 5}
    for function in (Desk.refund, Desk.inside, Desk.cached):
        binder = compile_binder(function, bound=True)
        assert binder.bind((), {"account": 1}) == {"account": 1, "amount": 5}
        assert binder.unbind({"account": 1, "amount": 6}) == ((1, 6), {})


def test_a_lying_signature_hides_nothing() -> None:
    """A ``__signature__`` that does not fit the function is not believed."""

    def tool(account: int, amount: int) -> None: ...

    tool.__signature__ = inspect.Signature([])  # type: ignore[attr-defined]
    assert compile_binder(tool).bind((1, 2), {}) == {"account": 1, "amount": 2}
    tool.__signature__ = "nonsense"  # type: ignore[attr-defined]
    assert compile_binder(tool).bind((1, 2), {}) == {"account": 1, "amount": 2}


def test_a_ring_of_wrappers_ends() -> None:
    """Somebody's ``__wrapped__`` may be the function itself."""

    def tool(a: int) -> None: ...

    tool.__wrapped__ = tool  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="is between @governed and the function"):
        compile_binder(tool)


Alias = Annotated[str, Redact]


def test_redacted_parameters_are_found() -> None:
    """Here every annotation is text, some of it about names that are not there."""

    def tool(
        a: Alias, b: Annotated[str, Redact] | None, c: Elsewhere, d: Annotated[Elsewhere, Redact], e: str
    ) -> None: ...

    local = Annotated[str, Redact()]

    def closure(a: local, b: str) -> Any:
        return local

    class Login:
        def __init__(self, a: Alias, b: str) -> None: ...

    assert compile_binder(tool).redacted == {"a", "b", "d"}
    assert compile_binder(Around()(tool)).redacted == {"a", "b", "d"}
    assert compile_binder(functools.partial(tool, 1)).redacted == {"a", "b", "d"}
    assert compile_binder(closure).redacted == {"a"}
    assert compile_binder(Login).redacted == {"a"}
    assert compile_binder(plain).redacted == frozenset()


def test_redacted_keywords_stay_together() -> None:
    """What their names will be is not known, so they are one secret."""

    def tool(a: int, **options: Annotated[str, Redact]) -> dict[str, Any]:
        return options

    binder = compile_binder(tool)
    named = binder.bind((1,), {"x": "y", "a b": "z"})
    assert named == {"a": 1, "options": {"x": "y", "a b": "z"}}
    assert binder.redacted == {"options"}
    assert binder.unbind(named) == ((1,), {"x": "y", "a b": "z"})
    assert binder.bind((1,), {"options": 2}) == {"a": 1, "options": {"options": 2}}
