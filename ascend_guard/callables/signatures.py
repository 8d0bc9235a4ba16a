"""Read the parameters of a callable, and the marks in their annotations.

Only the parameters of the callable that is really called are used, read from its code. Its claims (``__wrapped__``,
``__signature__``) are no evidence; see ``wrappers``.
"""

from __future__ import annotations

import inspect
import keyword
import sys
import types
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from msgspec import Struct

from ascend_guard.errors import ConfigurationError
from ascend_guard.redaction import annotations_of, is_redacted_hint

from .exclusion import is_excluded_hint

__all__ = ["POSITIONAL", "Marks", "marks_of", "parameters_of_builtin", "parameters_of_function"]

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Marks(Struct, frozen=True):
    """The marks in annotations.

    Args:
        redacted: names of parameters annotated ``Redact``.
        excluded: names of parameters annotated ``Exclude``, or provided by a framework.
    """

    redacted: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()


def parameters_of_function(function: types.FunctionType) -> list[Parameter]:
    """Return the parameters of a Python function, including ``self``, with its present defaults.

    Raises:
        ConfigurationError: its defaults do not match its parameters.
    """
    bare = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    bare.__kwdefaults__ = function.__kwdefaults__
    signature = _signature(bare)
    if signature is None:
        raise ConfigurationError(
            f"The parameters of {function.__qualname__} cannot be read: its __defaults__ do not match them."
        )
    return list(signature.parameters.values())


def parameters_of_builtin(function: Callable[..., object]) -> list[Parameter] | None:
    """Return the parameters of a builtin, if it declares them and all names are possible for a Python function."""
    signature = _signature(function)
    if signature is None or any(keyword.iskeyword(name) for name in signature.parameters):
        return None
    return list(signature.parameters.values())


def _signature(function: Callable[..., object]) -> Signature | None:
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            # Annotations are evaluated when they are read, and may use names that do not exist yet.
            return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def marks_of(function: types.FunctionType) -> Marks:
    """Return the marks in a function's annotations.

    ``Redact`` also counts where a function claims to wrap another one whose parameter of that name has it: redacting too
    much is safe. ``Exclude`` counts only on the function itself.
    """
    hints = annotations_of(function)
    hints.pop("return", None)
    scope, local = function.__globals__, _closure(function)
    excluded = {name for name, hint in hints.items() if is_excluded_hint(hint, scope, local)}
    redacted: set[str] = set()
    wrapped: Any = function
    for _ in range(100):  # a chain of wrappers may be circular
        redacted |= {name for name, hint in hints.items() if is_redacted_hint(hint, scope, local)}
        wrapped = getattr(wrapped, "__wrapped__", None)
        if wrapped is None:
            break
        is_function = type(wrapped) is types.FunctionType
        hints = annotations_of(wrapped) if is_function else {}
        scope, local = getattr(wrapped, "__globals__", {}), _closure(wrapped) if is_function else {}
    return Marks(frozenset(redacted - {"return"}), frozenset(excluded))


def _closure(function: types.FunctionType) -> dict[str, object]:
    local: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            local[name] = cell.cell_contents
        except ValueError:  # not set yet
            continue
    return local
