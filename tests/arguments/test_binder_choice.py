"""Which binder a callable gets, and what each binder does with one call: every way with what would tell it from the next."""

from __future__ import annotations

import functools
import types
from typing import Annotated, Any

import pytest

import ascend_guard.callables.binding
from ascend_guard.callables.binders import Binder, BuiltinBinder, FunctionBinder, OpenBinder
from ascend_guard.callables.binding import compile_binder, takes_instance
from ascend_guard.callables.vouching import Vouching
from ascend_guard.errors import ConfigurationError, ValidationError
from ascend_guard.redaction import Redact


def pay(amount: int, note: str = "n", *rest: int, fee: int = 0) -> tuple[Any, ...]:
    return amount, note, rest, fee


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


VOUCHED = Vouching([logged])
logged_pay = logged(pay)


class Shop:
    def __init__(self, name: str = "shop") -> None:
        self.name = name

    def pay(self, amount: int, note: str = "n") -> tuple[Any, ...]:
        return self.name, amount, note

    logged = logged(pay)
    part = functools.partial(pay, 1)

    @staticmethod
    def free(amount: int = 3) -> int:
        return amount

    @classmethod
    def made(cls, amount: int = 4) -> int:
        return amount


def runs(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], vouching: Any = None) -> Any:
    """What the function returns for a call as the binder passes it."""
    binder = compile_binder(function, vouching=vouching)
    chosen = binder.chosen(args, kwargs)
    _, passed, by_name = chosen.call(args, kwargs)
    assert chosen.target is not None
    return chosen.target(*passed, **by_name)


# --- which binder --------------------------------------------------------------------------------------------------------


def test_a_static_method_is_its_function() -> None:
    """As a class's dictionary has it, wrapped in what is vouched for or not."""
    plain = compile_binder(staticmethod(pay))
    assert plain.target is pay
    assert plain.bind((5,), {}) == {"amount": 5, "note": "n", "rest": (), "fee": 0}
    vouched = compile_binder(staticmethod(logged_pay), vouching=VOUCHED)
    assert vouched.target is logged_pay
    assert len(vouched.vouched) == 1


@pytest.mark.parametrize("target", [5, None, "pay", object()])
def test_what_cannot_be_called_is_said_to_be_so(target: Any) -> None:
    """In the words that Python has for it."""
    with pytest.raises(TypeError, match="object is not callable"):
        compile_binder(target)


@pytest.mark.parametrize("target", [functools.partial(pay, 1), Shop, len, functools.singledispatch(pay)])
def test_what_takes_no_instance_is_no_methods_function(target: Any) -> None:
    """Its first parameter would be left out of the arguments."""
    with pytest.raises(ConfigurationError):
        compile_binder(target, bound=True)


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (pay, True),
        (functools.lru_cache(pay), True),
        (logged_pay, True),
        (logged(logged_pay), True),
        (functools.partial(pay), False),
        (functools.lru_cache(functools.partial(pay)), False),
        (functools.singledispatch(pay), False),
        (Shop, False),
        (len, False),
        (str.upper, False),
        (Shop(), False),
        (Shop().pay, False),
    ],
)
def test_what_takes_an_instance(function: Any, takes: bool) -> None:
    """A function written in Python, through wrappers that are followed; nothing else."""
    assert takes_instance(function, VOUCHED) is takes


class Half(functools.partial):  # type: ignore[type-arg]  # of anything
    """A partial with a call of its own."""

    def __call__(self, /, share: int) -> Any:
        return super().__call__(share // 2)


class Borrowed:
    """No partial and no class, with what calls them."""

    def __init__(self, name: str = "borrowed") -> None: ...


def test_only_a_partial_is_looked_into() -> None:
    """One whose class calls it in its own way is an object with that ``__call__``."""
    assert compile_binder(Half(pay)).bind((10,), {}) == {"share": 10}
    assert runs(Half(pay), (10,), {}) == (5, "n", (), 0)
    for call in (functools.partial.__call__, type.__call__):
        kind = type("Borrowed", (Borrowed,), {"__call__": call})
        binder = compile_binder(kind())
        assert isinstance(binder, OpenBinder)
        assert binder.bind((1,), {"a": 2}) == {"args": (1,), "kwargs": {"a": 2}}


class Factory(type):
    """A metaclass whose classes are called in another way."""

    def __call__(cls, amount: int) -> Any:
        return amount


class Made(metaclass=Factory):
    def __init__(self, name: str) -> None: ...


def test_a_class_whose_metaclass_calls_it() -> None:
    """Its constructor says nothing of what it takes."""
    assert compile_binder(Made).bind((5,), {}) == {"amount": 5}
    assert compile_binder(Shop).bind(("a",), {}) == {"name": "a"}
    assert type(runs(Shop, ("a",), {})) is Shop


def test_a_compiled_function_says_what_it_takes() -> None:
    """Cython's have a class of their own; it is called as the caller wrote."""
    kind = type("cython_function_or_method", (), {"__call__": lambda self, a, b=2: (a, b)})
    binder = compile_binder(kind())
    assert type(binder) is BuiltinBinder
    assert binder.call((1,), {}) == ({"a": 1, "b": 2}, (1,), {})


def test_vouching_reaches_through_partials_and_methods() -> None:
    """What is vouched for inside of them is followed; what is not is refused."""
    shop = Shop()
    for target in (
        functools.partial(logged_pay, 1),
        functools.partial(functools.partial(logged_pay), 1),
        types.MethodType(logged_pay, 1),
        types.MethodType(functools.partial(logged_pay), 1),
        shop.logged,
    ):
        assert len(compile_binder(target, vouching=VOUCHED).vouched) == 1
        with pytest.raises(ConfigurationError):
            compile_binder(target)
    both = compile_binder(logged(logged(pay)), vouching=VOUCHED)
    assert len(both.vouched) == 2


# --- methods -------------------------------------------------------------------------------------------------------------


def test_a_method_has_its_instance_and_no_argument_for_it() -> None:
    """Whatever makes it one."""
    shop = Shop("corner")
    assert runs(shop.pay, (5,), {"note": "x"}) == ("corner", 5, "x")
    assert compile_binder(shop.pay).bind((5,), {}) == {"amount": 5, "note": "n"}
    assert compile_binder(shop.pay).target == shop.pay
    assert compile_binder(Shop.pay, bound=True).target is None
    assert runs(Shop.made, (), {}) == 4
    assert runs(shop.free, (), {}) == 3


def test_a_method_of_what_takes_no_instance_has_it_as_an_argument() -> None:
    """A partial, a class or a builtin gets the instance like any first argument, so it is one."""
    method = types.MethodType(functools.partial(pay), 7)
    assert compile_binder(method).bind((), {}) == {"amount": 7, "note": "n", "rest": (), "fee": 0}
    assert runs(method, ("m",), {}) == (7, "m", (), 0)
    assert compile_binder(types.MethodType(Shop, "x")).bind((), {}) == {"name": "x"}


class Caller:
    """An object that is called."""

    def __call__(self, amount: int = 6) -> int:
        return amount

    def other(self, amount: int) -> int:
        return amount


def test_an_objects_call_is_the_object() -> None:
    """Called by name or not; and another method of it is not."""
    caller = Caller()
    assert compile_binder(caller.__call__).bind((), {}) == {"amount": 6}
    assert compile_binder(caller).bind((), {}) == {"amount": 6}
    assert runs(caller, (8,), {}) == 8
    assert compile_binder(caller.other).bind((1,), {}) == {"amount": 1}


class Loose:
    """An object whose call takes anything."""

    def __call__(self, *args: int, **kwargs: int) -> Any:
        return args, kwargs


class Wrapped:
    """An object whose call is wrapped."""

    __call__ = logged(lambda self, amount=6: amount)


class Attribute:
    """An object whose call is an object with a call of its own, which is no descriptor."""

    __call__ = Caller()


class Static:
    """An object whose call gets no instance."""

    __call__ = staticmethod(lambda amount=6, note="n": (amount, note))


class Cached:
    """An object whose call is bound by what caches it."""

    __call__ = functools.lru_cache(lambda self, amount=6: amount)


class OnlyPositional:
    """An object whose call takes any number of values."""

    def __call__(self, *args: int) -> Any:
        return args


class OnlyNamed:
    """An object whose call takes any names."""

    def __call__(self, **kwargs: int) -> Any:
        return kwargs


def test_what_an_object_calls_is_followed() -> None:
    """A function, a wrapped one, a descriptor; a claimed signature is refused where the code says nothing."""
    assert compile_binder(Loose()).bind((1,), {"a": 2}) == {"args": (1,), "a": 2}
    for kind in (Loose, OnlyPositional, OnlyNamed):
        claiming = kind()
        claiming.__signature__ = None
        with pytest.raises(ConfigurationError):
            compile_binder(claiming)
        with pytest.raises(ConfigurationError):
            compile_binder(claiming.__call__)
    caller = Caller()
    caller.__signature__ = None  # type: ignore[attr-defined]  # as libraries set it
    assert compile_binder(caller).bind((1,), {}) == {"amount": 1}
    wrapped = compile_binder(Wrapped(), vouching=VOUCHED)
    assert wrapped.bind((), {}) == {"amount": 6}
    assert len(wrapped.vouched) == 1
    assert len(compile_binder(Wrapped().__call__, vouching=VOUCHED).vouched) == 1
    assert runs(Wrapped(), (9,), {}, VOUCHED) == 9


def test_an_object_whose_call_is_no_function() -> None:
    """Bound as Python binds it, or open where nothing says what it takes; and intact while it is the same."""
    assert isinstance(compile_binder(Attribute()), OpenBinder)
    static = Static()
    binder = compile_binder(static)
    assert binder.bind((1,), {}) == {"amount": 1, "note": "n"}
    assert runs(static, (1,), {"note": "x"}) == (1, "x")
    cached = Cached()
    assert compile_binder(cached).bind((), {}) == {"amount": 6}
    assert runs(cached, (8,), {}) == 8
    assert Cached.__call__.cache_info().currsize == 1
    assert binder.intact()
    Static.__call__, kept = staticmethod(lambda amount=7, note="n": amount), Static.__dict__["__call__"]  # type: ignore[method-assign, assignment]  # what is tested
    try:
        assert not binder.intact()
    finally:
        Static.__call__ = kept  # type: ignore[method-assign]  # as it was


def test_what_only_says_that_it_wraps_takes_no_instance() -> None:
    """A partial and a class get none, whatever their attributes say."""
    claiming = functools.update_wrapper(functools.partial(pay), pay)
    assert takes_instance(claiming, VOUCHED) is False
    kind = type("Claiming", (), {"__wrapped__": pay})
    assert takes_instance(kind, VOUCHED) is False


# --- partials ------------------------------------------------------------------------------------------------------------


def test_a_keyword_of_the_call_goes_before_one_of_the_partial() -> None:
    """As Python has it; positional arguments come after the partial's."""
    partial = functools.partial(pay, 1, fee=2)
    assert compile_binder(partial).bind(("x",), {"fee": 9}) == {
        "amount": 1,
        "note": "x",
        "rest": (),
        "fee": 9,
    }
    assert runs(partial, ("x", 4, 5), {"fee": 9}) == partial("x", 4, 5, fee=9) == (1, "x", (4, 5), 9)
    assert runs(partial, (), {}) == partial() == (1, "n", (), 2)


def test_a_partial_of_an_overloaded_function_ends_in_the_overload() -> None:
    """Chosen by its own first argument, which comes before the call's."""
    show = functools.singledispatch(lambda value: ("any", value))
    show.register(int)(lambda value, base=10: ("int", value, base))
    assert compile_binder(functools.partial(show, 5)).chosen((), {}).bind((), {}) == {"value": 5, "base": 10}
    assert runs(functools.partial(show, 5), (), {"base": 2}) == ("int", 5, 2)
    assert runs(functools.partial(show), ("x",), {}) == ("any", "x")
    plain = compile_binder(functools.partial(pay, 1))
    assert plain.chosen((), {}) is plain


def test_a_partial_that_was_exchanged_is_not_intact() -> None:
    """Its function, or what that was made of."""

    def mine(a: int = 1) -> int:
        return a

    partial = functools.partial(mine)
    binder = compile_binder(partial)
    assert binder.intact()
    partial.__setstate__((pay, (), {}, {}))
    assert not binder.intact()
    partial.__setstate__((mine, (), {}, {}))
    assert binder.intact()
    mine.__defaults__ = (2,)
    assert not binder.intact()


# --- what changed since ----------------------------------------------------------------------------------------------------


def test_a_function_that_changed_is_not_intact() -> None:
    """Its code, its defaults, or a default of a keyword in place."""

    def make() -> Any:
        def mine(a: int = 1, *, b: int = 2, c: int = 3) -> Any:
            return a, b, c

        return mine

    def exchange_code(function: Any) -> None:
        function.__code__ = (lambda a=1, *, b=2, c=3: None).__code__

    def exchange_defaults(function: Any) -> None:
        function.__defaults__ = (5,)

    def exchange_keywords(function: Any) -> None:
        function.__kwdefaults__ = dict(function.__kwdefaults__)

    changes: list[Any] = [
        exchange_code,
        exchange_defaults,
        exchange_keywords,
        lambda function: function.__kwdefaults__.update(b=9),
        lambda function: function.__kwdefaults__.update(c=9),
        lambda function: function.__kwdefaults__.update(d=9),
        lambda function: function.__kwdefaults__.pop("b"),
    ]
    for change in changes:
        function = make()
        binder = compile_binder(function)
        assert binder.intact()
        change(function)
        assert not binder.intact()
    assert compile_binder(lambda a: a).intact()


def test_a_class_that_got_another_constructor_is_not_intact() -> None:
    """By the maker that was read, be it a static one."""

    class Kind:
        def __init__(self, a: int) -> None: ...

    class Static:
        @staticmethod
        def __new__(cls: Any, a: int) -> Any:
            return object.__new__(cls)

    for kind, name in ((Kind, "__init__"), (Static, "__new__")):
        binder = compile_binder(kind)
        assert binder.bind((1,), {}) == {"a": 1}
        assert binder.intact()
        setattr(kind, name, lambda self, a, b=2: None)
        assert not binder.intact()


class Both:
    """A class with both makers, of which one takes less."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = object.__new__(cls)
        made.seen = (args, kwargs)
        return made

    def __init__(self, a: int, b: int = 2) -> None:
        self.got = (a, b)


def test_a_class_with_two_makers_gets_the_call_as_it_is_written() -> None:
    """One may not take what the other has defaults for; with one, the defaults that were judged are passed."""
    made = runs(Both, (1,), {})
    assert (made.seen, made.got) == (((1,), {}), (1, 2))
    assert compile_binder(Both).bind((1,), {}) == {"a": 1, "b": 2}
    assert compile_binder(Shop).call((), {}) == ({"name": "shop"}, ("shop",), {})

    class Wrapping:
        __init__ = logged(lambda self, a: None)

    with pytest.raises(ConfigurationError):
        compile_binder(Wrapping)
    with pytest.raises(ConfigurationError):
        compile_binder(Wrapping, vouching=VOUCHED)


def test_an_object_that_got_another_call_is_not_intact() -> None:
    """Or another class."""

    class First:
        def __call__(self, a: int) -> None: ...

    class Second:
        def __call__(self, a: int) -> None: ...

    target = First()
    binder = compile_binder(target)
    assert binder.intact()
    target.__class__ = Second  # type: ignore[assignment]  # what is tested
    assert not binder.intact()
    target.__class__ = First
    assert binder.intact()
    First.__call__ = lambda self, a: None  # type: ignore[method-assign]  # what is tested
    assert not binder.intact()


def test_what_is_behind_a_wrapper_is_intact_with_it() -> None:
    """The wrapper and what it wraps are both looked at."""

    def mine(a: int = 1) -> int:
        return a

    binder = compile_binder(logged(mine), vouching=VOUCHED)
    assert binder.intact()
    mine.__defaults__ = (2,)
    assert not binder.intact()


# --- overloads -----------------------------------------------------------------------------------------------------------


def overloaded() -> Any:
    """A function with an overload for int, and one for text."""

    @functools.singledispatch
    def show(value: Any, base: int = 1) -> Any:
        return "any", value, base

    @show.register
    def _(value: int, base: int = 10) -> Any:
        return "int", value, base

    return show


def test_a_call_ends_in_its_overload() -> None:
    """Which is compiled once, and anew when it is another or has changed."""
    show = overloaded()
    binder = compile_binder(show)
    assert binder.names == frozenset(("value", "base"))
    first = binder.chosen((5,), {})
    assert first.call((5,), {}) == ({"value": 5, "base": 10}, (5, 10), {})
    assert first.target is show.registry[int]
    assert binder.chosen((6,), {}) is first
    assert binder.chosen(("x",), {}) is not first
    show.registry[int].__defaults__ = (16,)
    again = binder.chosen((6,), {})
    assert again is not first
    assert again.bind((6,), {}) == {"value": 6, "base": 16}
    show.register(int)(lambda value: None)
    assert binder.chosen((6,), {}).bind((6,), {}) == {"value": 6}


def test_a_call_of_an_overloaded_function_needs_its_first_argument() -> None:
    """In Python's words; and the overload of a call must be chosen before the call is made."""
    show = overloaded()
    with pytest.raises(TypeError, match="show requires at least 1 positional argument"):
        compile_binder(show).chosen((), {})
    with pytest.raises(TypeError, match="chosen first"):
        compile_binder(show).call((5,), {})


def test_an_edited_call_stays_in_its_overload() -> None:
    """One that would end in another needs a new decision."""
    show = overloaded()
    chosen = compile_binder(show).chosen((5,), {})
    assert chosen.unbind({"value": 7, "base": 3}) == ((7, 3), {})
    with pytest.raises(ValidationError, match="another overload") as caught:
        chosen.unbind({"value": "seven", "base": 3})
    assert caught.value.reason == "the edited call ends in another overload"
    assert chosen.intact()
    show.registry[int].__defaults__ = (16,)
    assert not chosen.intact()


def test_an_overload_that_is_overloaded_is_chosen_through() -> None:
    """The innermost one is bound, and edits must stay in all of them."""
    inner = overloaded()

    @functools.singledispatch
    def outer(value: Any) -> Any:
        return value

    outer.register(object, inner)
    outer.register(str, lambda value, text="t": (value, text))
    chosen = compile_binder(outer).chosen((5,), {})
    assert chosen.bind((5,), {}) == {"value": 5, "base": 10}
    assert chosen.chosen((5,), {}) is not None
    with pytest.raises(ValidationError, match="another overload"):
        chosen.unbind({"value": "x", "base": 10})


def test_a_wrapper_around_what_changes_its_call_is_refused() -> None:
    """What reaches the function is not what the wrapper is called with."""
    for inner in (functools.partial(pay, 1), overloaded()):
        with pytest.raises(ConfigurationError):
            compile_binder(functools.lru_cache(inner))


# --- binders -------------------------------------------------------------------------------------------------------------


def test_a_builtin_gets_the_call_as_it_is_written() -> None:
    """It need not accept its own defaults."""
    binder = compile_binder(sorted)
    named, args, kwargs = binder.call(([2, 1],), {})
    assert (args, kwargs) == (([2, 1],), {})
    assert named["iterable"] == [2, 1]
    assert binder.target is sorted
    assert compile_binder(min).target is min
    assert isinstance(compile_binder(pay), FunctionBinder)
    assert isinstance(compile_binder(min), OpenBinder)


def test_what_every_binder_can_do() -> None:
    """The common class binds nothing by itself, and nothing it was made of can change."""
    with pytest.raises(NotImplementedError):
        Binder().call((), {})
    with pytest.raises(NotImplementedError):
        Binder().unbind({})
    assert Binder().intact() is True
    assert compile_binder(min).intact() is True


def test_a_method_that_takes_nothing_has_no_names() -> None:
    """Not even its instance; Python says so when it is called."""

    class Wrong:
        def nothing() -> None: ...  # type: ignore[misc]  # as people write it by mistake

    binder = compile_binder(Wrong().nothing)
    assert binder.names == frozenset()
    assert binder.bind((), {}) == {}
    with pytest.raises(TypeError, match="takes 0 positional arguments but 1 was given"):
        runs(Wrong().nothing, (), {})


def test_positional_parameters_are_not_passed_by_name() -> None:
    """Also where a function has no others: Python would refuse the call, so no decision is asked for."""

    def only(amount: int, /) -> int:
        return amount

    assert runs(only, (5,), {}) == 5
    with pytest.raises(TypeError, match="positional-only arguments passed as keyword arguments: 'amount'"):
        compile_binder(only).bind((), {"amount": 5})


def test_a_wrapper_gets_the_defaults_that_were_judged_unless_it_is_a_cache() -> None:
    """The key of a cache is the call as it is written, and a default need not be hashable."""
    vouched = compile_binder(logged_pay, vouching=VOUCHED).call((5,), {})
    assert vouched[1:] == ((5, "n"), {"fee": 0})
    assert compile_binder(functools.lru_cache(pay)).call((5,), {})[1:] == ((5,), {})


def test_a_wrapped_call_that_was_exchanged_is_not_intact() -> None:
    """Although what it wrapped is still the same."""

    class Exchanged:
        __call__ = logged(lambda self, amount=6: amount)

    binder = compile_binder(Exchanged(), vouching=VOUCHED)
    assert binder.intact()
    Exchanged.__call__ = logged(lambda self, amount=6: amount)
    assert not binder.intact()


def test_overloads_may_be_wrapped_in_what_is_vouched_for() -> None:
    """The general one, and each other one."""
    show = functools.singledispatch(logged(lambda value: ("any", value)))
    show.register(int, logged(lambda value, base=10: ("int", value, base)))
    assert runs(show, ("x",), {}, VOUCHED) == ("any", "x")
    assert runs(show, (5,), {}, VOUCHED) == ("int", 5, 10)
    with pytest.raises(ConfigurationError):
        compile_binder(show)


def test_an_edit_that_leaves_no_first_argument_ends_in_no_overload() -> None:
    """The one that was decided on was chosen by it."""
    show = functools.singledispatch(lambda value=None: value)
    with pytest.raises(ValidationError, match="another overload"):
        compile_binder(show).chosen((None,), {}).unbind({})


def test_as_many_values_as_a_partial_has_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill them, and none is left."""
    gap = getattr(functools, "Placeholder", None)
    if gap is None:
        gap = object()
        monkeypatch.setattr(ascend_guard.callables.binding, "_PLACEHOLDER", gap)
    binder = compile_binder(functools.partial(pay, gap, "x", gap, 4))
    assert binder.bind((1, 3), {}) == {"amount": 1, "note": "x", "rest": (3, 4), "fee": 0}


EDITS: list[tuple[Any, dict[str, Any], Any]] = [
    (lambda a, b=2: None, {"a": 1}, ((1,), {})),
    (lambda a, b=2: None, {"a": 1, "b": 3}, ((1, 3), {})),
    (lambda a=1, b=2: None, {"b": 3}, ((), {"b": 3})),
    (lambda a=1, b=2, c=3: None, {"b": 3, "c": 4}, ((), {"b": 3, "c": 4})),
    (lambda a=1, /, b=2: None, {"b": 3}, ((), {"b": 3})),
    (lambda a, *rest: None, {"a": 1, "rest": [2, 3]}, ((1, 2, 3), {})),
    (lambda a=1, *rest: None, {}, ((), {})),
    (lambda a=1, *rest: None, {"rest": ()}, ((), {})),
    (lambda *, a, b=2: None, {"a": 1}, ((), {"a": 1})),
    (lambda *, b=2, **more: None, {"x": 1}, ((), {"x": 1})),
    (lambda a, **more: None, {"a": 1, "x": 5}, ((1,), {"x": 5})),
    (lambda *rest, a=1: None, {"rest": (5,)}, ((5,), {})),
    (min, {}, ((), {})),
    (min, {"args": (1, 2), "kwargs": {"key": len}}, ((1, 2), {"key": len})),
]


@pytest.mark.parametrize(("function", "named", "call"), EDITS)
def test_a_call_is_made_of_its_names(function: Any, named: dict[str, Any], call: Any) -> None:
    """By position while everything before is there, and by name after that."""
    assert compile_binder(function).unbind(named) == call


def keeps(amount: int, **more: Annotated[int, Redact]) -> None: ...


def test_redacted_keywords_are_one_argument() -> None:
    """Its keys are not known, so they cannot be listed as secret."""
    binder = compile_binder(keeps)
    assert binder.bind((1,), {"a": 2}) == {"amount": 1, "more": {"a": 2}}
    assert binder.unbind({"amount": 1, "more": {"a": 3}}) == ((1,), {"a": 3})
    assert binder.unbind({"amount": 1}) == ((1,), {})
    with pytest.raises(ValidationError, match="no parameter 'x'"):
        binder.unbind({"amount": 1, "x": 2})


@pytest.mark.parametrize(
    ("function", "names", "collected"),
    [
        (lambda: None, frozenset(), ()),
        (lambda a, /, b, *c, d: None, frozenset("abcd"), ("c",)),
        (lambda a, **more: None, None, ("more",)),
        (lambda *a, **b: None, None, ("a", "b")),
        (min, None, ("args", "kwargs")),
        (Shop, frozenset(("name",)), ()),
    ],
)
def test_which_names_a_call_can_have(function: Any, names: Any, collected: Any) -> None:
    """None where any keyword can be one."""
    binder = compile_binder(function)
    assert (binder.names, binder.collected) == (names, collected)


def test_a_parameter_may_have_any_name() -> None:
    """Also those that the generated function uses, and every kind keeps its place."""

    def odd(_merge: int, __merge: int = 2, /, _0: int = 3, *, _merge_: int = 4, **more: int) -> Any:
        return _merge, __merge, _0, _merge_, more

    assert runs(odd, (1,), {"x": 5}) == odd(1, x=5)
    assert compile_binder(odd).bind((1,), {"x": 5})["x"] == 5
    for collision in ("_merge", "_0"):
        if collision == "_merge":
            with pytest.raises(ValidationError, match="has the name of a parameter"):
                compile_binder(odd).bind((1,), {collision: 5})
        else:
            assert compile_binder(odd).bind((1,), {collision: 5})["_0"] == 5
    with pytest.raises(TypeError, match=r"^test_.*odd\(\) missing 1 required positional argument"):
        compile_binder(odd).bind((), {})
