"""The interface of binders, and the binders of one signature: from a call to its named arguments, and back.

The functions that read calls are generated with the callable's own parameters. So Python itself matches arguments to names,
and reports an invalid call in its usual words.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from ascend_guard.errors import ValidationError

from .signatures import POSITIONAL, Marks, marks_of, parameters_of_function
from .type_hints import Hint, hints_of, undeclared

__all__ = ["Binder", "BuiltinBinder", "Call", "FunctionBinder", "OpenBinder"]

Call = tuple[dict[str, object], tuple[object, ...], dict[str, object]]
"""Named arguments, and the positional and keyword arguments of the call with these values."""

_POSITIONAL_ONLY = Parameter.POSITIONAL_ONLY
_KEYWORD_ONLY = Parameter.KEYWORD_ONLY
_VAR_POSITIONAL = Parameter.VAR_POSITIONAL
_VAR_KEYWORD = Parameter.VAR_KEYWORD
_ABSENT = object()
_NONE: frozenset[str] = frozenset()


class Binder:
    """Converts the calls of one callable to named arguments, and named arguments to a call.

    Attributes:
        target: what to call; None for a method's function, which is called bound to its instance.
        vouched: the decorators on the way for which the user vouches.
        redacted: parameters annotated ``Annotated[T, Redact]``.
        excluded: parameters annotated ``Annotated[T, Exclude]``, or provided by a framework.
        collected: parameters that collect others, such as ``*args``.
        names: all names that a call can have; None when any keyword is possible.
        hint: the declared types of the parameters of what runs.
    """

    __slots__ = ("target",)

    vouched: tuple[str, ...] = ()
    redacted: frozenset[str] = _NONE
    excluded: frozenset[str] = _NONE
    collected: tuple[str, ...] = ()
    names: frozenset[str] | None = None
    hint: Hint = staticmethod(undeclared)

    target: Callable[..., Any] | None

    def bind(self, args: tuple[object, ...], kwargs: dict[str, object]) -> dict[str, object]:
        """Return the named arguments of a call; see ``call``."""
        return self.chosen(args, kwargs).call(args, kwargs)[0]

    def chosen(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Binder:
        """Return the binder of the function that this call ends in; it differs from ``self`` for a dispatcher."""
        return self

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
        """Return argument values by parameter name, in the order of the signature, with defaults; and the call of
        ``target`` that passes exactly these values.

        ``*args`` is one tuple under its own name; ``**kwargs`` are named like parameters, unless annotated
        ``Redact``: then they are one dict under its own name. A callable without a signature has ``args`` and
        ``kwargs``.

        Raises:
            TypeError: the call does not match the signature; for a Python function with Python's own message.
            ValidationError: a keyword is not text, or has the name of another parameter.
        """
        raise NotImplementedError

    def unbind(self, named: dict[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return a call of ``target`` with these named arguments, which an approver may have edited.

        Raises:
            ValidationError: they cannot be passed: unknown, or missing.
        """
        raise NotImplementedError

    def intact(self) -> bool:
        """Return whether everything from which this was compiled is unchanged."""
        return True


class _Named(Binder):
    """A generated function with the callable's own parameters, which returns them by name and as a call."""

    __slots__ = (
        "_explicit",
        "_first",
        "_flat",
        "_parameters",
        "_read",
        "collected",
        "excluded",
        "names",
        "redacted",
    )

    def _compile(
        self, parameters: list[Parameter], marks: Marks, skip_first: bool, explicit: bool, name: str
    ) -> None:
        first, last = (parameters[0], parameters[-1]) if parameters else (None, None)
        skipped = first if skip_first and first and first.kind in POSITIONAL else None
        self.redacted, self.excluded = marks.redacted, marks.excluded
        self._explicit = explicit
        self._parameters = [parameter for parameter in parameters if parameter is not skipped]
        self._first = () if skipped is None else (None,)
        # Kept together when redacted: its keys are not known yet, so they cannot be listed as secret.
        flat = last and last.kind is _VAR_KEYWORD and last.name not in marks.redacted
        self._flat = last.name if last and flat else None
        self.collected = tuple(
            each.name for each in self._parameters if each.kind in (_VAR_POSITIONAL, _VAR_KEYWORD)
        )
        names = frozenset(each.name for each in self._parameters)
        self.names = None if last is not None and last.kind is _VAR_KEYWORD else names
        self._read = _generate(parameters, skipped, self._flat, name)

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
        for name in kwargs:
            if type(name) is not str:
                _check_names(kwargs)
        call = self._read(*self._first, *args, **kwargs)
        return call if self._explicit else (call[0], args, kwargs)

    def unbind(self, named: dict[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
        args: list[object] = []
        kwargs: dict[str, object] = {}
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
                if parameter.default is Parameter.empty:
                    raise ValidationError(f"The argument {name!r} is missing")
                positional &= kind is _KEYWORD_ONLY
            elif kind is _KEYWORD_ONLY:
                kwargs[name] = value
            elif positional:
                args.append(value)
            elif kind is _POSITIONAL_ONLY:
                raise ValidationError(f"The argument {name!r} cannot be passed, because one before it is not")
            else:
                kwargs[name] = value
        if rest and self._flat is None:
            raise ValidationError(f"There is no parameter {min(map(str, rest))!r}")
        return tuple(args), _check_names(kwargs | rest)


class FunctionBinder(_Named):
    """Binds calls of Python code: a function, a method, a class's constructor, an object's ``__call__``.

    Args:
        function: the code that receives the arguments.
        target: what to call.
        skip_first: its first parameter receives the instance.
        found: returns whether a call of the target still ends in the function.
        explicit: pass defaults as arguments.
    """

    __slots__ = ("_code", "_defaults", "_found", "_function", "_kwdefaults", "_kwvalues", "hint")

    def __init__(
        self,
        function: types.FunctionType,
        target: Callable[..., object] | None,
        *,
        skip_first: bool,
        found: Callable[[], bool] | None = None,
        explicit: bool = True,
    ) -> None:
        self.target = target
        self._function, self._found = function, found
        self.hint = hints_of(function)
        self._code, self._defaults = function.__code__, function.__defaults__
        self._kwdefaults = function.__kwdefaults__
        self._kwvalues = tuple((self._kwdefaults or {}).items())
        parameters = parameters_of_function(function)
        self._compile(parameters, marks_of(function), skip_first, explicit, function.__qualname__)

    def intact(self) -> bool:
        function, keywords = self._function, self._kwdefaults
        if (
            function.__code__ is not self._code
            or function.__defaults__ is not self._defaults
            or function.__kwdefaults__ is not keywords
        ):
            return False
        if keywords is not None:
            if len(keywords) != len(self._kwvalues):
                return False
            for name, value in self._kwvalues:
                if keywords.get(name, _ABSENT) is not value:
                    return False
        return self._found is None or self._found()


class BuiltinBinder(_Named):
    """Binds calls of a compiled callable with a signature. It is called as the caller wrote, since it may refuse its
    defaults."""

    __slots__ = ()

    def __init__(self, target: Callable[..., object], parameters: list[Parameter]) -> None:
        self.target = target
        name = str(getattr(target, "__qualname__", type(target).__qualname__))
        self._compile(parameters, Marks(), False, False, name)


def _generate(
    parameters: list[Parameter], skipped: Parameter | None, flat: str | None, name: str
) -> Callable[..., Call]:
    """Compile the function. Defaults are passed by reference, because their ``repr`` may be anything."""
    merge = "_merge"
    while any(parameter.name == merge for parameter in parameters):
        merge += "_"
    scope: dict[str, Any] = {merge: _merge}
    head: list[str] = []
    args: list[str] = []
    kwargs: list[str] = []
    for index, parameter in enumerate(parameters):
        before = parameters[index - 1].kind if index else None
        if before is _POSITIONAL_ONLY and parameter.kind is not _POSITIONAL_ONLY:
            head.append("/")
        if parameter.kind is _KEYWORD_ONLY and before not in (_KEYWORD_ONLY, _VAR_POSITIONAL):
            head.append("*")
        text = parameter.name
        if parameter.kind in (_VAR_POSITIONAL, _VAR_KEYWORD):
            text = f"*{text}" if parameter.kind is _VAR_POSITIONAL else f"**{text}"
        if parameter is not skipped:
            if parameter.kind in (_KEYWORD_ONLY, _VAR_KEYWORD):
                kwargs.append(text if text[0] == "*" else f"{text!r}: {text}")
            else:
                args.append(text)
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
    call = f"({''.join(f'{each}, ' for each in args)}), {{{', '.join(kwargs)}}}"
    # Only identifiers of an existing signature are put into the text.
    exec(f"def bind({', '.join(head)}): return ({body}), {call}", scope)  # noqa: S102
    function: types.FunctionType = scope["bind"]
    function.__name__ = function.__qualname__ = name
    return function


class OpenBinder(Binder):
    """Binds calls of a callable without a signature, such as some builtins."""

    __slots__ = ()

    collected = ("args", "kwargs")

    def __init__(self, target: Callable[..., object]) -> None:
        self.target = target

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
        return {"args": args, "kwargs": _check_names(dict(kwargs))}, args, kwargs

    def unbind(self, named: dict[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
        if named.keys() - {"args", "kwargs"}:
            raise ValidationError(
                "This callable has no signature: its arguments are a list args, a dict kwargs"
            )
        args = _checked("args", named.get("args", _ABSENT), (tuple, list), "*")
        return tuple(args), _check_names(
            dict(_checked("kwargs", named.get("kwargs", _ABSENT), (dict,), "**"))
        )


def _merge(named: dict[str, object], more: Mapping[str, object]) -> dict[str, object]:
    for name in more:
        if name in named:
            raise ValidationError(
                f"The keyword argument {name!r} has the name of a parameter, but is not passed to it, so a policy "
                "could not distinguish the two; pass it under another name"
            )
    named.update(more)
    return named


def _checked(name: str, value: object, kinds: tuple[type, ...], stars: str) -> Any:
    if value is _ABSENT:
        return ()
    if type(value) not in kinds:
        raise ValidationError(
            f"The argument {name!r} stands for {stars}{name}: give it a {kinds[-1].__name__}"
        )
    return value


def _check_names(kwargs: dict[str, object]) -> dict[str, object]:
    if any(type(name) is not str for name in kwargs):
        raise ValidationError("The name of a keyword argument is not text; name it with a str")
    return kwargs
