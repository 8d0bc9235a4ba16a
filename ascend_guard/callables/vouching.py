"""The decorators for which a user vouches, and the errors for wrappers that may change a call.

To vouch is to declare that a decorator passes its arguments on unchanged. Nothing can verify that, so it is recorded
with each action. It counts only for wrappers that the named decorator made: their code is inside the decorator's code,
or they are instances of the named class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any

import wrapt

from ascend_guard.errors import ConfigurationError

__all__ = ["Vouching", "call_of", "codes_inside", "refused", "require_met", "unseen", "vouchers"]

_LOCALS = ".<locals>."
_INNER = (
    "decorate",
    "decorator",
    "deco",
    "inner",
    "outer",
    "wrap",
    "wrapper",
    "retry_decorator",
    "real_decorator",
)
"""Usual names of the function inside a decorator with arguments; for messages only."""

_CONVERTING = {"pydantic._internal._validate_call": "validate_call"}
"""Modules whose wrappers convert arguments, and the decorator's public name; for messages only."""


class Vouching:
    """The decorators for which the user vouches, and which of them were found.

    Args:
        entries: functions and classes.
    """

    def __init__(self, entries: Sequence[object] = ()) -> None:
        self.entries = tuple(entries)
        self._codes = [tuple(_codes_of(entry)) for entry in self.entries]
        self.used: set[int] = set()

    def of_code(self, code: CodeType) -> str | None:
        """Return the name of the decorator whose code is this, or contains this."""
        for index, codes in enumerate(self._codes):
            if any(code is each for each in codes):
                self.used.add(index)
                return name_of(self.entries[index])
        return None

    def of_class(self, kind: type) -> str | None:
        """Return the name of the class that is this one, or from which it inherits ``__call__``."""
        for index, entry in enumerate(self.entries):
            if isinstance(entry, type) and entry in kind.__mro__ and call_of(kind) is call_of(entry):
                self.used.add(index)
                return name_of(entry)
        return None


def nearest_maker(entry: Any, target: Any) -> str:
    """Return which decorator may be meant instead of a missing one, as the rest of a sentence."""
    from difflib import get_close_matches  # needed for an error only

    makers: list[str] = []
    while getattr(target, "__wrapped__", None) is not None and len(makers) < 100:  # a chain may be circular
        makers.append(_short(_maker(target)))
        target = target.__wrapped__
    near = get_close_matches(_short(name_of(entry)), makers, 1)
    if near:
        return f"; did you mean {near[0]}?"
    return f". Decorators found: {', '.join(makers) or 'none'}."


def name_of(decorator: object) -> str:
    """Return a decorator as ``module.qualname``."""
    return f"{getattr(decorator, '__module__', '?')}.{getattr(decorator, '__qualname__', type(decorator).__name__)}"


def call_of(kind: type) -> object:
    """Return the ``__call__`` that Python finds first on the class of a called instance."""
    for base in kind.__mro__:
        if "__call__" in base.__dict__:
            return base.__dict__["__call__"]
    return None


def refused(target: object) -> ConfigurationError:
    """Return the error for a wrapper that may change the call."""
    name = getattr(target, "__name__", None) or type(target).__name__
    what = maker = _maker(target)
    converting = None
    if type(target) is FunctionType:
        converting = _CONVERTING.get(target.__globals__.get("__name__", ""))
        maker = converting or maker
        code = target.__code__
        what = f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"
    return ConfigurationError(
        f"governed cannot decide calls of {name}: {what} is between @governed and the function, and may pass on other "
        f"arguments than those that were decided. Put @governed directly on the function, and the other decorator above "
        f"it:\n    @{_short(maker)}\n    @governed(...)\n    def {name}(...): ...\n"
        + (
            "It converts arguments, so the decision must be about what it passes on."
            if converting
            else f"If you know that it passes its arguments on unchanged, "
            f"declare it: @governed(..., vouch_for=({_short(maker)},))."
        )
    )


def _maker(target: Any) -> str:
    """Return the decorator that made a wrapper, as far as the wrapper's code shows it."""
    if type(target) is FunctionType:
        # A decorator defined in a function's body: the last name before the wrapper's own.
        names = target.__code__.co_qualname.split(_LOCALS)
        outer = names[:-1] or names
        return outer[-2] if len(outer) > 1 and outer[-1].strip("_") in _INNER else outer[-1]
    kind = type(target)
    if kind is functools._lru_cache_wrapper:
        return "functools.lru_cache"
    if issubclass(kind, wrapt.FunctionWrapper | wrapt.BoundFunctionWrapper):
        return name_of(target._self_wrapper)
    return f"{kind.__module__}.{kind.__qualname__}"


def _short(maker: str) -> str:
    return maker.rpartition(".")[2]


def unseen(target: object, vouched: str) -> ConfigurationError:
    return ConfigurationError(
        f"vouch_for names {vouched}, but it is unknown what {getattr(target, '__name__', type(target).__name__)} calls: "
        f"neither its closure nor its attributes contain exactly one function. Put @governed directly on the function, and "
        f"@{_short(vouched)} above it."
    )


def codes_inside(code: CodeType) -> Iterator[CodeType]:
    return (each for each in code.co_consts if isinstance(each, CodeType))


def _codes_of(decorator: Any) -> Iterator[CodeType]:
    """Yield the code of a decorator, and of all functions defined inside it."""
    while type(decorator) is not FunctionType:
        if type(decorator) is functools.partial:
            decorator = decorator.func
        elif type(decorator) is MethodType:
            decorator = decorator.__func__
        elif issubclass(type(decorator), wrapt.FunctionWrapper):
            decorator = decorator.__wrapped__
        else:
            break
    functions = [decorator]
    if isinstance(decorator, type):
        functions = [getattr(each, "__func__", each) for each in vars(decorator).values()]
    pending = [each.__code__ for each in functions if type(each) is FunctionType]
    while pending:
        code = pending.pop()
        yield code
        pending += codes_inside(code)


def vouchers(given: object) -> tuple[Callable[..., object], ...]:
    """Return the checked value of ``vouch_for``.

    Raises:
        ConfigurationError: it is not a tuple of decorators.
    """
    if callable(given):
        raise ConfigurationError(
            f"vouch_for must be a tuple of decorators: write vouch_for=({getattr(given, '__name__', 'decorator')},)."
        )
    if not isinstance(given, Collection) or isinstance(given, str) or not all(map(callable, given)):
        raise ConfigurationError(
            f"vouch_for must be a tuple of decorators (functions or classes), such as (log_calls,), not {given!r}."
        )
    return tuple(given)


def require_met(vouching: Vouching, tool: object, name: str) -> None:
    """Require that every decorator in ``vouch_for`` was found: a missing one is a mistake, and another may be meant.

    Args:
        vouching: after the tool's wrappers were read.
        tool: the decorated object.
        name: the tool's name, for people.

    Raises:
        ConfigurationError: one was not found.
    """
    for index, entry in enumerate(vouching.entries):
        if index not in vouching.used:
            raise ConfigurationError(
                f"vouch_for names {name_of(entry)}, but it made no wrapper between @governed and {name}"
                f"{nearest_maker(entry, tool)} Name a decorator that is there, or remove vouch_for."
            )
