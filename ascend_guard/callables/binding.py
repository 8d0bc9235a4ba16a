"""Convert a call to its named arguments and back; compiled once per callable.

Rules (promises 2 and 7):

1. However a call is written (positional, keyword, default, through a method or a partial), its named arguments are the
   same, and they include every value that reaches the function.
2. The names are those of the code that will run, never claimed ones; wrappers are followed as ``wrappers`` allows.
3. The judged values are passed: the call is made with the named values, including defaults, and goes to the function
   itself, past partials and dispatchers. So a later change of a default, a partial's keywords or a registered overload
   has no effect.
4. The source of a binder (code, defaults, attributes on the way) is compared again before each call (``intact``), and
   at the last check. A change between two calls gives a new decision; a change during a call blocks it.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, cast

from ascend_guard.errors import ValidationError

from .binders import Binder, BuiltinBinder, Call, FunctionBinder, OpenBinder
from .signatures import parameters_of_builtin
from .vouching import Vouching, call_of, refused
from .wrappers import Step, dispatcher_of, step_of

__all__ = ["Binder", "compile_binder", "takes_instance"]

_PLACEHOLDER = getattr(functools, "Placeholder", object())  # Python 3.14: a gap in a partial
_BUILTIN = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)
# Binds to an object as ``types.MethodType`` does. A method of a bound method and its own object would be unwrapped.
_BOUND_LIKE_FUNCTIONS = (types.FunctionType, functools._lru_cache_wrapper)
# Read from where a partial stores them: a subclass may have its own attributes with these names.
_func, _args, _keywords = (functools.partial.__dict__[name].__get__ for name in ("func", "args", "keywords"))


def compile_binder(
    function: Callable[..., Any], *, bound: bool = False, vouching: Vouching | None = None
) -> Binder:
    """Return the binder of a callable: a function, a method, a partial, a class, an object with ``__call__``.

    Args:
        function: what will be called.
        bound: it is the function of a method; its first parameter (``self``, ``cls``) is left out, and is not among the
            arguments.
        vouching: the decorators for which a user vouches.

    Raises:
        TypeError: it cannot be called.
        ConfigurationError: it is a wrapper that may change the call.
    """
    vouching = vouching or Vouching()
    target: Any = function
    kind: Any = type(target)
    if kind is staticmethod:
        return compile_binder(target.__func__, vouching=vouching)
    if not callable(target):
        raise TypeError(f"{kind.__qualname__!r} object is not callable")
    if bound and not takes_instance(target, vouching):
        raise refused(target)
    if kind is types.MethodType:
        return _method(target, vouching)
    if issubclass(kind, functools.partial) and kind.__call__ is functools.partial.__call__:
        return _Partial(target, compile_binder(_func(target), vouching=vouching))
    if dispatcher_of(target) is not None:
        return _Dispatch(target, vouching)
    if issubclass(kind, type) and kind.__call__ is type.__call__:
        return _class(target, vouching)
    step = None if kind in _BUILTIN else step_of(target, vouching)
    if step is not None:
        return _followed(target, step, bound, vouching)
    if kind is types.FunctionType:
        return FunctionBinder(target, None if bound else target, skip_first=bound)
    if kind in _BUILTIN or kind.__name__ == "cython_function_or_method":
        parameters = parameters_of_builtin(target)
        return OpenBinder(target) if parameters is None else BuiltinBinder(target, parameters)
    return _object(target, vouching)


def takes_instance(function: object, vouching: Vouching) -> bool:
    """Return whether a method made from this has its instance as a first parameter that is no argument."""
    if type(function) is types.FunctionType and dispatcher_of(function) is not None:
        return False
    if isinstance(function, functools.partial | type) or type(function) in _BUILTIN:
        return False
    step = step_of(function, vouching)
    return type(function) is types.FunctionType if step is None else takes_instance(step.inner, vouching)


def _method(target: Any, vouching: Vouching) -> Binder:
    function: Any = target.__func__
    holder: Any = target.__self__
    if function is call_of(type(holder)):
        return compile_binder(holder, vouching=vouching)  # obj.__call__ is obj
    if not takes_instance(function, vouching):
        return compile_binder(functools.partial(function, holder), vouching=vouching)
    binder = compile_binder(function, bound=True, vouching=vouching)
    binder.target = target
    return binder


def _followed(target: Any, step: Step, bound: bool, vouching: Vouching) -> Binder:
    inner = compile_binder(step.inner, bound=bound, vouching=vouching)
    if isinstance(inner, _Partial | _Dispatch):
        # The function receives something else than the wrapper, so it could not be passed explicitly.
        raise refused(target)
    return _Through(None if bound else target, step, inner)


def _class(kind: Any, vouching: Vouching) -> Binder:
    """Bind a class by the parameters of its constructor, if that is written in Python."""
    makers = {}
    for name in ("__init__", "__new__"):
        maker = inspect.getattr_static(kind, name, None)
        maker = maker.__func__ if type(maker) is staticmethod else maker
        if type(maker) is types.FunctionType:
            makers[name] = maker
    if not makers:
        parameters = parameters_of_builtin(kind)
        return OpenBinder(kind) if parameters is None else BuiltinBinder(kind, parameters)
    name, maker = next(iter(makers.items()))
    if step_of(maker, vouching) is not None:
        raise refused(maker)

    def intact() -> bool:
        found = inspect.getattr_static(kind, name, None)
        return (found.__func__ if type(found) is staticmethod else found) is maker

    # With both, each receives the call as written, and one may refuse an argument for which the other has a default.
    return FunctionBinder(maker, kind, skip_first=True, found=intact, explicit=len(makers) == 1)


def _object(target: Any, vouching: Vouching) -> Binder:
    kind = type(target)
    call = call_of(kind)

    def intact() -> bool:
        return type(target) is kind and call_of(kind) is call

    if type(call) is types.FunctionType and step_of(call, vouching) is None:
        if _open_ended(call) and "__signature__" in getattr(target, "__dict__", ()):
            raise refused(target)
        return FunctionBinder(call, types.MethodType(call, target), skip_first=True, found=intact)
    if type(call) in _BOUND_LIKE_FUNCTIONS and takes_instance(call, vouching):
        function = cast("Callable[..., Any]", call)  # isinstance would use its __class__
        return _Through(
            types.MethodType(function, target),
            Step(call, intact),
            compile_binder(function, bound=True, vouching=vouching),
        )
    get = getattr(type(call), "__get__", None)
    if call is None or get is None or type(call) is types.WrapperDescriptorType:
        return OpenBinder(target)
    return _followed(target, Step(get(call, target, kind), intact), False, vouching)


def _open_ended(function: types.FunctionType) -> bool:
    return bool(function.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS))


class _Delegating(Binder):
    """A binder with the parameters of another binder."""

    __slots__ = ("_base", "collected", "excluded", "hint", "names", "redacted", "vouched")

    def __init__(self, target: Callable[..., Any] | None, base: Binder) -> None:
        self.target = target
        self._base = base
        self.redacted, self.excluded, self.collected = base.redacted, base.excluded, base.collected
        self.names, self.vouched, self.hint = base.names, base.vouched, base.hint

    def unbind(self, named: dict[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
        return self._base.unbind(named)


class _Partial(_Delegating):
    """Binds calls of a ``functools.partial``: the parameters of its function, some of them given. That function is
    called."""

    __slots__ = ("_called", "_partial")

    def __init__(self, partial: Any, base: Binder) -> None:
        super().__init__(base.target, base)
        self._partial, self._called = partial, _func(partial)

    def chosen(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Binder:
        base = self._base.chosen(*self._together(args, kwargs))
        return self if base is self._base else _Partial(self._partial, base)

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
        return self._base.call(*self._together(args, kwargs))

    def intact(self) -> bool:
        return _func(self._partial) is self._called and self._base.intact()

    def _together(
        self, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the call's arguments after the partial's; a keyword of the call replaces one of the partial."""
        given = _args(self._partial)
        gaps = sum(value is _PLACEHOLDER for value in given)
        if gaps:
            if len(args) < gaps:
                raise TypeError(
                    "missing positional arguments in 'partial' call; "
                    f"expected at least {gaps}, got {len(args)}"
                )
            filling = iter(args)
            given = tuple(next(filling) if value is _PLACEHOLDER else value for value in given)
            args = tuple(filling)
        return given + args, {**_keywords(self._partial), **kwargs}


class _Through(_Delegating):
    """A wrapper that passes its arguments through: it has the parameters of its function, and the wrapper is called."""

    __slots__ = ("_step",)

    def __init__(self, target: Callable[..., Any] | None, step: Step, inner: Binder) -> None:
        super().__init__(target, inner)
        self._step = step
        if step.vouched is not None:
            self.vouched = (step.vouched, *inner.vouched)

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
        call = self._base.call(args, kwargs)
        return call if self._step.explicit else (call[0], args, kwargs)

    def intact(self) -> bool:
        return self._step.intact() and self._base.intact()


class _Dispatch(_Delegating):
    """Binds calls of a ``functools.singledispatch`` function: each ends in the overload registered for its first
    argument."""

    __slots__ = ("_binders", "_choose", "_vouching")

    def __init__(self, dispatcher: Any, vouching: Vouching) -> None:
        choose = dispatcher_of(dispatcher)
        assert choose is not None
        self._choose, self._vouching = choose, vouching
        self._binders: dict[int, tuple[Any, Binder]] = {}
        super().__init__(dispatcher, compile_binder(choose((object(),)), vouching=vouching))

    def chosen(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Binder:
        if not args:
            name = getattr(self.target, "__name__", "singledispatch function")
            raise TypeError(f"{name} requires at least 1 positional argument")
        overload = self._choose(args)
        known = self._binders.get(id(overload))
        if known is None or known[0] is not overload or not known[1].intact():
            binder = compile_binder(overload, vouching=self._vouching)
            known = (overload, _Overload(binder, self._choose, overload))
            if type(overload) is types.FunctionType:  # a bound one is new for each call
                self._binders[id(overload)] = known
        return known[1].chosen(args, kwargs)

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
        raise TypeError("the overload of a call is chosen first")


class _Overload(_Delegating):
    """Binds one overload. A call that is repeated with other values must still end in the same overload."""

    __slots__ = ("_choose", "_overload")

    def __init__(self, base: Binder, choose: Callable[[tuple[object, ...]], Any], overload: Any) -> None:
        super().__init__(base.target, base)
        self._choose, self._overload = choose, overload

    def chosen(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Binder:
        base = self._base.chosen(args, kwargs)
        return self if base is self._base else _Overload(base, self._choose, self._overload)

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
        return self._base.call(args, kwargs)

    def unbind(self, named: dict[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
        args, kwargs = self._base.unbind(named)
        if not args or self._choose(args) != self._overload:
            raise ValidationError(
                "Blocked: with the approver's values the call ends in another overload than the one that was decided. "
                "The tool did not run. Make the call again; it needs a new decision.",
                reason="the edited call ends in another overload",
            )
        return args, kwargs

    def intact(self) -> bool:
        return self._base.intact()
