"""Which parameters a callable has, and which of them are annotated secret.

Those of the callable that will really be called. Where that only passes its arguments on (``*args, **kwargs``
under ``functools.wraps``, a signature of its own making), the names come from what it says it wraps, as
``inspect.signature`` finds them.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from msgspec import Struct

from ascend_guard.redaction import annotations_of, is_redacted_hint

__all__ = ["POSITIONAL", "Declared", "declared_by_class", "declared_by_function", "declared_by_other"]

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Declared(Struct, frozen=True):
    """What a callable takes.

    Args:
        parameters: in the order of the signature, ``self`` included.
        redacted: names of those annotated ``Redact``.
        passes_on: they are what it says it wraps; it may take more, or put in some itself.
    """

    parameters: list[Parameter]
    redacted: frozenset[str]
    passes_on: bool


def declared_by_function(function: types.FunctionType, skip_first: bool) -> Declared | None:
    """What a Python function takes.

    Args:
        skip_first: the first parameter is ``self`` or ``cls``, whatever it is called.
    """
    return _declared(function, _real(function), _stated(function), skip_first)


def declared_by_class(kind: Any) -> tuple[Any, Declared | None]:
    """What a class's constructor takes, and the method that says so, when it is one written in Python."""
    if type(kind).__call__ is type.__call__:
        for name in ("__init__", "__new__"):
            maker = inspect.getattr_static(kind, name, None)
            maker = maker.__func__ if type(maker) is staticmethod else maker
            if type(maker) is not types.FunctionType:
                continue
            stated = _stated(maker)
            # pydantic's classes state what their __init__(self, **data) takes.
            own = inspect.getattr_static(kind, "__signature__", None) and _signature(kind)
            if own:
                stated = own.replace(parameters=[Parameter("self", POSITIONAL[0]), *own.parameters.values()])
            return maker, _declared(maker, _real(maker), stated, True)
    return kind, declared_by_other(kind)


def declared_by_other(function: Any) -> Declared | None:
    """What a builtin, a compiled function or any other callable takes, when it says so."""
    return _declared(function, None, _signature(function), False)


def _declared(
    function: Any, real: Signature | None, stated: Signature | None, skip_first: bool
) -> Declared | None:
    signature = real or stated
    if signature is None:
        return None
    passes_on = real is None and hasattr(function, "__wrapped__")
    parameters = list(signature.parameters.values())
    if real is not None and stated is not None:
        merged = _merged(parameters, list(stated.parameters.values()), skip_first)
        passes_on = merged is not None
        parameters = merged or parameters
    return Declared(parameters, _redacted(function, parameters), passes_on)


def _signature(function: Callable[..., Any]) -> Signature | None:
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            # Annotations are evaluated when read, and may name what is not there yet.
            return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _real(function: types.FunctionType) -> Signature | None:
    """What a function takes, whatever its ``__wrapped__`` and ``__signature__`` say."""
    bare = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    bare.__kwdefaults__ = function.__kwdefaults__
    return _signature(bare)


def _stated(function: types.FunctionType) -> Signature | None:
    return _signature(function) if function.__dict__.keys() & {"__wrapped__", "__signature__"} else None


def _merged(real: list[Parameter], stated: list[Parameter], skip_first: bool) -> list[Parameter] | None:
    """The stated parameters, and the keywords a wrapper takes for itself; None if it does not pass on."""
    if not {parameter.kind for parameter in real} & {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}:
        return None
    merged = list(stated)
    own = []
    for index, mine in enumerate(real):
        if mine.kind is Parameter.KEYWORD_ONLY:
            own.append(mine)
        elif mine.kind in POSITIONAL:
            theirs = merged[index] if index < len(merged) else None
            if theirs is None or theirs.kind not in POSITIONAL:
                return None
            if theirs.name != mine.name and not (skip_first and index == 0):
                return None
            merged[index] = theirs.replace(default=mine.default)
    if merged and merged[-1].kind is Parameter.VAR_KEYWORD:
        own.append(merged.pop())
    try:
        return list(Signature([*merged, *own]).parameters.values())
    except ValueError:  # one name twice, or a default before a parameter without
        return None


def _redacted(function: Any, parameters: list[Parameter]) -> frozenset[str]:
    hints = {parameter.name: parameter.annotation for parameter in parameters}
    found = set()
    for _ in range(100):  # a chain of wrappers may be a ring
        local: dict[str, Any] = {}
        if type(function) is types.FunctionType:
            hints |= annotations_of(function)
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                try:
                    local[name] = cell.cell_contents
                except ValueError:  # not there yet
                    continue
        scope = getattr(function, "__globals__", {})
        found |= {name for name, hint in hints.items() if is_redacted_hint(hint, scope, local)}
        function = getattr(function, "__wrapped__", None)
        if function is None:
            break
        hints = {}
    return frozenset(found - {"return"})
