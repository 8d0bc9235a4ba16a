"""Return the declared type of each parameter of a tool. Used only when an approver edited an argument."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

__all__ = ["JSON", "UNDECLARED", "Hint", "declared_types", "hints_of", "json_value", "undeclared"]

Hint = Callable[[str], Any]
"""The type of a parameter, by the parameter's name."""


class _Mark:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


UNDECLARED = _Mark("UNDECLARED")
"""No declared type: the type of the caller's own value decides."""

JSON = _Mark("JSON")
"""The same for values from JSON, which has one kind of number."""


def undeclared(name: str) -> object:
    """For parameters without any declared type."""
    return UNDECLARED


def json_value(name: str) -> object:
    """For arguments that all came as JSON."""
    return JSON


def hints_of(tool: object) -> Hint:
    """Return the declared types of a callable's parameters; they are read at the first use.

    An annotation that cannot be resolved counts as not declared.
    """
    known: list[dict[str, object]] = []

    def hint(name: str) -> Any:
        if not known:
            known.append(_read(tool))
        declared = known[0]
        return declared.get(name, declared.get("**", UNDECLARED))

    return hint


def _read(tool: object) -> dict[str, object]:
    function = _function(tool)
    try:
        parameters = inspect.signature(typing.cast(Callable[..., Any], function)).parameters.values()
    except Exception:  # a signature can run any code
        return {}
    hints = declared_types(function)
    read: dict[str, object] = {}
    for parameter in parameters:
        declared = hints.get(parameter.name, UNDECLARED)
        if parameter.kind is parameter.VAR_POSITIONAL:
            read[parameter.name] = (
                typing.cast(Any, tuple)[declared, ...] if declared is not UNDECLARED else UNDECLARED
            )
        elif parameter.kind is parameter.VAR_KEYWORD:
            if typing.get_origin(declared) is typing.Unpack:
                read |= declared_types(typing.get_args(declared)[0])
            else:
                read["**"] = declared
        else:
            read[parameter.name] = declared
    return read


def declared_types(owner: object) -> dict[str, object]:
    """Return the resolved annotations of a function or a class. If one cannot be resolved, such as a name that is
    imported for type checkers only, only that one is left out."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except Exception:  # annotations can run any code
        found: dict[str, object] = {}
    for part in reversed(owner.__mro__) if isinstance(owner, type) else (owner,):
        if isinstance(part, type):
            scope, local = vars(sys.modules.get(part.__module__, types)), dict(vars(part))
        else:
            scope, local = getattr(part, "__globals__", {}), _closure(part)
        for name, hint in _annotations(part).items():
            alone = types.SimpleNamespace(__annotations__={name: hint})
            try:
                found |= typing.get_type_hints(alone, scope, local, include_extras=True)
            except Exception:  # as above
                found.pop(name, None)
    return found


def _annotations(owner: Any) -> dict[str, object]:
    try:
        return inspect.get_annotations(owner)
    except Exception:  # as above
        return {}


def _closure(function: Any) -> dict[str, object]:
    try:
        return dict(inspect.getclosurevars(function).nonlocals)
    except TypeError:
        return {}


def _function(tool: Any) -> Any:
    while True:
        if isinstance(tool, functools.partial):
            tool = tool.func
        elif isinstance(tool, staticmethod | classmethod | types.MethodType):
            tool = tool.__func__
        elif isinstance(tool, type):
            return typing.cast(Any, tool).__init__
        elif inspect.isroutine(tool) or hasattr(tool, "__code__"):
            return inspect.unwrap(tool)
        else:
            return getattr(type(tool), "__call__", tool)  # noqa: B004 - the class's function, not whether it is callable
