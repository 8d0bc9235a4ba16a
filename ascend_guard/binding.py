"""A call and its named arguments, back and forth; compiled once per function.

However a call is written (positional, keyword, default, through a method or a partial), its named arguments
are the same, and no value that reaches the function is missing from them.
"""

from __future__ import annotations

import functools
import inspect
import keyword
import types
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any, cast

from ascend_guard.errors import ValidationError
from ascend_guard.signatures import (
    POSITIONAL,
    Declared,
    declared_by_class,
    declared_by_function,
    declared_by_other,
)

__all__ = ["Binder", "compile_binder"]

_Call = tuple[tuple[Any, ...], dict[str, Any]]

_POSITIONAL_ONLY = Parameter.POSITIONAL_ONLY
_POSITIONAL_OR_KEYWORD = Parameter.POSITIONAL_OR_KEYWORD
_KEYWORD_ONLY = Parameter.KEYWORD_ONLY
_VAR_POSITIONAL = Parameter.VAR_POSITIONAL
_VAR_KEYWORD = Parameter.VAR_KEYWORD
_PLACEHOLDER = getattr(functools, "Placeholder", object())  # Python 3.14: a gap in a partial
_ABSENT = object()


class Binder:
    """Turns the calls of one callable into named arguments, and named arguments into a call.

    Attributes:
        redacted: parameters annotated ``Annotated[T, Redact]``.
    """

    __slots__ = ("redacted",)

    def __init__(self, redacted: frozenset[str]) -> None:
        self.redacted = redacted

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Argument values by parameter name, in the order of the signature, with defaults.

        ``*args`` is one tuple under its own name; ``**kwargs`` are named like parameters, unless annotated
        ``Redact``: then they are one dict under its own name. A callable without a signature has ``args`` and
        ``kwargs``.

        Raises:
            TypeError: the call does not fit; for a Python function in the words Python has for it.
            ValidationError: a keyword is not text, or has the name of another parameter.
        """
        raise NotImplementedError

    def unbind(self, named: dict[str, Any]) -> _Call:
        """A call of the same callable with these named arguments, such as an approver edited.

        Raises:
            ValidationError: they cannot be passed: unknown, missing, or fixed by a partial.
        """
        return self._call(named, frozenset())

    def _call(self, named: dict[str, Any], keywords: frozenset[str]) -> _Call:
        """``unbind`` with the names that must be passed by keyword."""
        raise NotImplementedError


def compile_binder(function: Callable[..., Any], *, bound: bool = False) -> Binder:
    """Make the binder of a callable: a function, a method, a partial, a class, an object with ``__call__``.

    Args:
        function: what will be called. Its defaults are read now.
        bound: it is the plain function of a method; its first parameter (``self``, ``cls``) is left out, and
            is not among the arguments either.

    Raises:
        TypeError: it cannot be called.
    """
    target = cast(Any, function)
    kind: Any = type(function)
    if kind is staticmethod:
        return compile_binder(target.__func__)
    if not callable(function):
        raise TypeError(f"{kind.__qualname__!r} object is not callable")
    if kind is types.FunctionType:
        return _compiled(target, declared_by_function(target, bound), bound)
    if bound:
        return _compiled(target, declared_by_other(target), bound)
    if kind is types.MethodType:
        return compile_binder(target.__func__, bound=True)
    if issubclass(kind, functools.partial) and kind.__call__ is functools.partial.__call__:
        return _Partial(compile_binder(target.func), target.args, target.keywords)
    if issubclass(kind, type):
        maker, declared = declared_by_class(target)
        return _compiled(maker, declared, maker is not target)
    call = inspect.getattr_static(kind, "__call__", None)
    if type(call) is types.FunctionType:
        return compile_binder(call, bound=True)
    return _compiled(target, declared_by_other(target), False)


def _compiled(function: Any, declared: Declared | None, skip_first: bool) -> Binder:
    # Some builtins have positional-only parameters with names no Python function could have.
    if declared is None or any(keyword.iskeyword(parameter.name) for parameter in declared.parameters):
        return _Open()
    return _Compiled(
        declared, skip_first, str(getattr(function, "__qualname__", type(function).__qualname__))
    )


class _Compiled(Binder):
    """A generated function with the callable's own parameters, which returns them by name."""

    __slots__ = ("_first", "_flat", "_parameters", "_passes_on", "_read")

    def __init__(self, declared: Declared, skip_first: bool, name: str) -> None:
        super().__init__(declared.redacted)
        parameters = declared.parameters
        first, last = (parameters[0], parameters[-1]) if parameters else (None, None)
        skipped = first if skip_first and first and first.kind in POSITIONAL else None
        self._parameters = [parameter for parameter in parameters if parameter is not skipped]
        self._first = () if skipped is None else (None,)
        self._passes_on = declared.passes_on
        # Kept together when redacted: its keys are not known yet, so they could not be listed as secret.
        flat = last and last.kind is _VAR_KEYWORD and last.name not in declared.redacted
        self._flat = last.name if last and flat else None
        self._read = _generate(parameters, skipped, self._flat, name)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        for name in kwargs:
            if type(name) is not str:
                _check_names(kwargs)
        try:
            return self._read(*self._first, *args, **kwargs)
        except TypeError:
            if not self._passes_on:
                raise
        return self._approximate(args, kwargs)

    def _approximate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Describe a call a wrapper accepts, but not what it wraps: it puts in or takes out arguments."""
        names = {
            each.name for each in self._parameters if each.kind in (_POSITIONAL_OR_KEYWORD, _KEYWORD_ONLY)
        }
        known = {name: value for name, value in kwargs.items() if name in names}
        other = {name: value for name, value in kwargs.items() if name not in names}
        try:
            bound = Signature(self._parameters).bind_partial(*args, **known)
        except TypeError:
            return _merge({"args": args}, kwargs)
        bound.apply_defaults()
        return _merge({name: value for name, value in bound.arguments.items() if name != self._flat}, other)

    def _call(self, named: dict[str, Any], keywords: frozenset[str]) -> _Call:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        rest = dict(named)
        positional = True
        for parameter in self._parameters:
            name, kind = parameter.name, parameter.kind
            if name == self._flat:
                continue
            value = rest.pop(name, _ABSENT)
            if kind is _VAR_POSITIONAL:
                items = _checked(name, value, (tuple, list), "*")
                if items and not positional:
                    raise ValidationError(f"*{name} cannot be passed, because a parameter before it is not")
                args.extend(items)
            elif kind is _VAR_KEYWORD:
                kwargs.update(_checked(name, value, (dict,), "**"))
            elif value is _ABSENT:
                if parameter.default is Parameter.empty and not self._passes_on:
                    raise ValidationError(f"The argument {name!r} is missing")
                positional &= kind is _KEYWORD_ONLY
            elif kind is _KEYWORD_ONLY:
                kwargs[name] = value
            elif positional and name not in keywords:
                args.append(value)
            elif kind is _POSITIONAL_ONLY:
                raise ValidationError(f"The argument {name!r} cannot be passed, because one before it is not")
            else:
                positional = False
                kwargs[name] = value
        if self._passes_on and not args and type(rest.get("args")) in (tuple, list):
            args = [*rest.pop("args")]
        if rest and self._flat is None and not self._passes_on:
            raise ValidationError(f"There is no parameter {min(map(str, rest))!r}")
        return tuple(args), _check_names(kwargs | rest)


def _generate(
    parameters: list[Parameter], skipped: Parameter | None, flat: str | None, name: str
) -> Callable[..., dict[str, Any]]:
    """Compile the function. Defaults are passed by reference: their ``repr`` may say anything."""
    merge = "_merge"
    while any(parameter.name == merge for parameter in parameters):
        merge += "_"
    scope: dict[str, Any] = {merge: _merge}
    head: list[str] = []
    for index, parameter in enumerate(parameters):
        before = parameters[index - 1].kind if index else None
        if before is _POSITIONAL_ONLY and parameter.kind is not _POSITIONAL_ONLY:
            head.append("/")
        if parameter.kind is _KEYWORD_ONLY and before not in (_KEYWORD_ONLY, _VAR_POSITIONAL):
            head.append("*")
        text = parameter.name
        if parameter.kind in (_VAR_POSITIONAL, _VAR_KEYWORD):
            text = f"*{text}" if parameter.kind is _VAR_POSITIONAL else f"**{text}"
        if parameter.default is not Parameter.empty:
            scope[f"_{index}"] = parameter.default
            text += f"=_{index}"
        head.append(text)
    if parameters and parameters[-1].kind is _POSITIONAL_ONLY:
        head.append("/")
    shown = [each.name for each in parameters if each is not skipped and each.name != flat]
    body = "{" + ", ".join(f"{each!r}: {each}" for each in shown) + "}"
    if flat is not None:
        body = f"{merge}({body}, {flat}) if {flat} else {body}"
    # Nothing but identifiers of an existing signature goes into the text.
    exec(f"def bind({', '.join(head)}): return {body}", scope)  # noqa: S102
    function: types.FunctionType = scope["bind"]
    function.__name__ = function.__qualname__ = name
    return function


class _Partial(Binder):
    """A ``functools.partial``: the parameters of what it calls, some of them given."""

    __slots__ = ("_args", "_base", "_gaps", "_keywords")

    def __init__(self, base: Binder, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        super().__init__(base.redacted)
        self._base = base
        self._args = args
        self._keywords = dict(keywords)
        self._gaps = sum(value is _PLACEHOLDER for value in args)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = self._args
        if self._gaps:
            if len(args) < self._gaps:
                raise TypeError(
                    "missing positional arguments in 'partial' call; "
                    f"expected at least {self._gaps}, got {len(args)}"
                )
            filling = iter(args)
            given = tuple(next(filling) if value is _PLACEHOLDER else value for value in given)
            args = tuple(filling)
        return self._base.bind(given + args, {**self._keywords, **kwargs})

    def _call(self, named: dict[str, Any], keywords: frozenset[str]) -> _Call:
        args, kwargs = self._base._call(named, keywords | self._keywords.keys())
        filled = []
        for index, fixed in enumerate(self._args):
            value = args[index] if index < len(args) else _ABSENT
            if fixed is _PLACEHOLDER and value is not _ABSENT:
                filled.append(value)
            elif value is not fixed and not (
                type(value) is type(fixed) and type(value) in (str, int, bool) and value == fixed
            ):
                raise ValidationError(
                    f"Argument {index + 1} was given to functools.partial by position, which fixes it; "
                    "give it to the partial by keyword to let it be changed"
                )
        return (*filled, *args[len(self._args) :]), kwargs


class _Open(Binder):
    """A callable that does not say what it takes, as some builtins."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(frozenset())

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"args": args, "kwargs": _check_names(dict(kwargs))}

    def _call(self, named: dict[str, Any], keywords: frozenset[str]) -> _Call:
        if named.keys() - {"args", "kwargs"}:
            raise ValidationError(
                "This callable has no signature: its arguments are a list args, a dict kwargs"
            )
        args = _checked("args", named.get("args", _ABSENT), (tuple, list), "*")
        return tuple(args), _check_names(
            dict(_checked("kwargs", named.get("kwargs", _ABSENT), (dict,), "**"))
        )


def _merge(named: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for name in more:
        if name in named:
            raise ValidationError(
                f"The keyword argument {name!r} has the name of a parameter it is not passed to, so a policy "
                "could not tell the two apart; pass it under another name"
            )
    named.update(more)
    return named


def _checked(name: str, value: Any, kinds: tuple[type, ...], stars: str) -> Any:
    if value is _ABSENT:
        return ()
    if type(value) not in kinds:
        raise ValidationError(
            f"The argument {name!r} stands for {stars}{name}: give it a {kinds[-1].__name__}"
        )
    return value


def _check_names(kwargs: dict[str, Any]) -> dict[str, Any]:
    if any(type(name) is not str for name in kwargs):
        raise ValidationError("The name of a keyword argument is not text; name it with a str")
    return kwargs
