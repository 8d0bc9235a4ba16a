"""The decorators a user vouches for, and what is said about wrappers that may change a call.

To vouch is to say that a decorator passes its arguments on unchanged. Nothing can verify that, so it is recorded with each
action. It counts only for wrappers that the named decorator made: their code lies inside its own, or they are instances of
the named class.
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
"""What the function inside a decorator with arguments is often called; for messages only."""

_CONVERTING = {"pydantic._internal._validate_call": "validate_call"}
"""Modules whose wrappers convert arguments, and the decorator that people know them by; for messages only."""


class Vouching:
    """The decorators a user vouches for, and which of them were met.

    Args:
        entries: functions and classes.
    """

    def __init__(self, entries: Sequence[object] = ()) -> None:
        self.entries = tuple(entries)
        self._codes = [tuple(_codes_of(entry)) for entry in self.entries]
        self.used: set[int] = set()

    def of_code(self, code: CodeType) -> str | None:
        """The name of the decorator whose code this is, or holds this."""
        for index, codes in enumerate(self._codes):
            if any(code is each for each in codes):
                self.used.add(index)
                return name_of(self.entries[index])
        return None

    def of_class(self, kind: type) -> str | None:
        """The name of the class that is this one, or whose ``__call__`` it inherits."""
        for index, entry in enumerate(self.entries):
            if isinstance(entry, type) and entry in kind.__mro__ and call_of(kind) is call_of(entry):
                self.used.add(index)
                return name_of(entry)
        return None


def nearest_maker(entry: Any, target: Any) -> str:
    """Which decorator may be meant instead of one that is not there; the rest of a sentence."""
    from difflib import get_close_matches  # needed on the way to an error only

    makers: list[str] = []
    while getattr(target, "__wrapped__", None) is not None and len(makers) < 100:  # a chain may be a ring
        makers.append(_short(_maker(target)))
        target = target.__wrapped__
    near = get_close_matches(_short(name_of(entry)), makers, 1)
    if near:
        return f"; did you mean {near[0]}?"
    return f". There {'is' if len(makers) == 1 else 'are'} {', '.join(makers) or 'none'}."


def name_of(decorator: object) -> str:
    """A decorator as ``module.qualname``."""
    return f"{getattr(decorator, '__module__', '?')}.{getattr(decorator, '__qualname__', type(decorator).__name__)}"


def call_of(kind: type) -> object:
    """What Python finds first on a class when one of its instances is called."""
    for base in kind.__mro__:
        if "__call__" in base.__dict__:
            return base.__dict__["__call__"]
    return None


def refused(target: object) -> ConfigurationError:
    """The error for a wrapper that may change the call."""
    name = getattr(target, "__name__", None) or type(target).__name__
    what = maker = _maker(target)
    converting = None
    if type(target) is FunctionType:
        converting = _CONVERTING.get(target.__globals__.get("__name__", ""))
        maker = converting or maker
        code = target.__code__
        what = f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"
    return ConfigurationError(
        f"governed cannot decide calls of {name}: {what} stands between @governed and the function, and may pass on other "
        f"arguments than those that were decided. Put @governed directly on the function, and the other decorator above "
        f"it:\n    @{_short(maker)}\n    @governed(...)\n    def {name}(...): ...\n"
        + (
            "It converts arguments; so what it passes on is decided."
            if converting
            else f"If you know that it passes its arguments unchanged, say so: @governed(..., vouch_for=({_short(maker)},))."
        )
    )


def _maker(target: Any) -> str:
    """The decorator that made a wrapper, as far as the wrapper's code tells."""
    if type(target) is FunctionType:
        # A decorator in a function's body is found in that body: the last name before the wrapper's own.
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
        f"vouch_for names {vouched}, but it cannot be seen what {getattr(target, '__name__', type(target).__name__)} calls: "
        f"neither its closure nor its attributes hold just one function. Put @governed directly on the function, and "
        f"@{_short(vouched)} above it."
    )


def codes_inside(code: CodeType) -> Iterator[CodeType]:
    return (each for each in code.co_consts if isinstance(each, CodeType))


def _codes_of(decorator: Any) -> Iterator[CodeType]:
    """The code of a decorator, and of all functions defined inside it."""
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
    """What ``vouch_for`` was given, checked.

    Raises:
        ConfigurationError: it is no tuple of decorators.
    """
    if callable(given):
        raise ConfigurationError(
            f"vouch_for is a tuple of decorators: write vouch_for=({getattr(given, '__name__', 'decorator')},)."
        )
    if not isinstance(given, Collection) or isinstance(given, str) or not all(map(callable, given)):
        raise ConfigurationError(
            f"vouch_for is a tuple of decorators (functions or classes), such as (log_calls,), not {given!r}."
        )
    return tuple(given)


def require_met(vouching: Vouching, tool: object, name: str) -> None:
    """A decorator that is vouched for and is not there is a mistake: another one may be meant.

    Args:
        vouching: after the tool's wrappers were read.
        tool: what is decorated.
        name: of the tool, for people.

    Raises:
        ConfigurationError: one was not there.
    """
    for index, entry in enumerate(vouching.entries):
        if index not in vouching.used:
            raise ConfigurationError(
                f"vouch_for names {name_of(entry)}, but no wrapper between @governed and {name} is made by it"
                f"{nearest_maker(entry, tool)} Name the one that is there, or leave vouch_for out."
            )
