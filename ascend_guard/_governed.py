"""``@governed``: a tool that does nothing until a decision allows it."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, Unpack, cast

import wrapt

from ._kinds import path_of, unwrap
from ._stand_in import stand_in
from .binding import Binder, compile_binder
from .calls import BoundCall, Declaration, Options, options
from .config import default_control_plane
from .errors import ConfigurationError
from .execution import Execution
from .hints import hints_of

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def governed(
    action_type: str, tool_name: str | None = None, **declared: Unpack[Declaration]
) -> Callable[[F], F]:
    """Let a tool run only after a decision allows the call.

    Works on functions, coroutine functions, generators and async generators (decided at the first ``next``, stopped
    between chunks by the kill switch), methods, class and static methods, callables and partials::

        @governed("refund", resource="orders/{order_id}", on_pending="wait", timeout=600)
        def refund(order_id: str, amount: float) -> str: ...

    Args:
        action_type: action category, such as ``refund`` or ``database_write``.
        tool_name: the tool or service used; the function's name when left out.
        **declared: see ``Declaration``.

    Raises:
        ConfigurationError: the declaration is wrong, or the thing decorated cannot be governed.
    """
    if callable(action_type):
        raise ConfigurationError(
            "governed needs an action type: write @governed('refund'), with the brackets."
        )

    def decorate(tool: F) -> F:
        _require_governable(tool)
        name = tool_name or _name(tool)
        return cast(F, Governed(tool, options(action_type, name, declared, parameters=_parameters(tool))))

    return decorate


class BoundGoverned(wrapt.BoundFunctionWrapper[Any, Any]):
    """A governed method of one object. Equal to the same method of the same object, never to the raw one."""

    @property
    def __func__(self) -> Any:
        function = cast(
            Any, self.__wrapped__
        ).__func__  # AttributeError for what is no method, as without the gate
        if isinstance(self._self_parent.__wrapped__, FunctionType):
            return self._self_parent
        return stand_in(function, self, skip_first=True)

    @property
    def __code__(self) -> Any:
        return _stand_in_of(self).__code__

    @property
    def __closure__(self) -> Any:
        return _stand_in_of(self).__closure__

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is BoundGoverned
            and self._self_parent is other._self_parent
            and self._self_instance is other._self_instance
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((id(self._self_parent), id(self._self_instance)))

    def __copy__(self) -> BoundGoverned:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        instance = self._self_instance
        if instance is None or isinstance(instance, type):
            return self
        copied = copy.deepcopy(instance, memo)
        return self._self_parent.__get__(copied, type(copied))

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._self_instance is None:
            return self.__wrapped__.__qualname__
        return getattr, (self._self_instance, self.__wrapped__.__name__)

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        return self.__reduce__()


class Governed(wrapt.FunctionWrapper[Any, Any]):
    """A governed tool. It looks like the tool it wraps, but is equal only to itself: a registry that cached the raw
    function must not find it under the wrapper's key."""

    __bound_function_wrapper__ = BoundGoverned

    def __init__(self, tool: Callable[..., Any], declared: Options) -> None:
        gate = _Gate(tool, declared)
        super().__init__(tool, gate)
        self._self_gate = gate
        self._self_stand_in: FunctionType | None = None

    @property
    def __func__(self) -> Any:
        wrapped: Any = self.__wrapped__
        function = wrapped.__func__  # AttributeError for what is no method, as without the gate
        return stand_in(function, self, skip_first=True) if inspect.ismethod(wrapped) else function

    @property
    def __code__(self) -> Any:
        return _stand_in_of(self).__code__

    @property
    def __closure__(self) -> Any:
        return _stand_in_of(self).__closure__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __copy__(self) -> Governed:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Governed:
        return self

    def __reduce__(self) -> str | tuple[Any, ...]:
        # By name, as functions are pickled: the other process finds its own governed one there, or nothing.
        return self.__wrapped__.__qualname__

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        return self.__reduce__()


def _stand_in_of(tool: Any) -> FunctionType:
    """The function whose code and closure a governed tool shows instead of the raw ones."""
    if inspect.ismethod(tool):
        function = tool.__func__
        return function if type(function) is FunctionType else _stand_in_of(function)
    raw = _raw_function(tool)
    if type(tool) is not Governed:
        return stand_in(raw, tool)
    if tool._self_stand_in is None:
        tool._self_stand_in = stand_in(raw, tool)
    return tool._self_stand_in


def _raw_function(tool: Any) -> FunctionType:
    tool.__wrapped__.__code__  # noqa: B018 - AttributeError for what has none, as without the gate
    while type(tool) is not FunctionType:
        tool = tool.__wrapped__
    return tool


class _Gate:
    """The wrapt wrapper function of one tool: binds a call and sends it down the right path."""

    def __init__(self, tool: Callable[..., Any], declared: Options) -> None:
        self._tool = tool
        self._options = declared
        self._binder: Binder | None = None
        self._bound_binder: Binder | None = None
        self._path = path_of(tool)
        self._first = _instance_parameter(tool)
        self._hint = hints_of(tool)

    def __call__(
        self, wrapped: Callable[..., Any], instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if instance is None and self._first is not None:
            # Reached through the class, or through a classmethod put on top: the first argument is no argument.
            if args:
                instance, args = args[0], args[1:]
                wrapped = functools.partial(wrapped, instance)
            elif self._first in kwargs:
                kwargs = dict(kwargs)
                instance = kwargs.pop(self._first)
                wrapped = functools.partial(wrapped, instance)
        return self._path(wrapped, self._prepare, instance, args, kwargs)

    def _prepare(
        self, wrapped: Callable[..., Any], instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Execution:
        binder = self._binder_for(instance)
        plane = self._options.control_plane or default_control_plane()
        named = binder.bind(args, kwargs)
        return Execution(BoundCall(self._options, plane, named, binder, args, kwargs, self._hint), plane)

    def _binder_for(self, instance: object) -> Binder:
        tool = self._tool
        if instance is not None and isinstance(tool, FunctionType | classmethod):
            if self._bound_binder is None:
                self._bound_binder = compile_binder(_plain(tool), bound=True)
            return self._bound_binder
        if self._binder is None:
            self._binder = compile_binder(_plain(tool))
        return self._binder


def _instance_parameter(tool: Any) -> str | None:
    """The name of the ``self`` or ``cls`` of a function that was written in a class. Elsewhere these are names like any."""
    if not inspect.isfunction(tool) or tool.__code__.co_varnames[:1] not in (("self",), ("cls",)):
        return None
    owner = tool.__qualname__.rpartition(".")[0]
    return tool.__code__.co_varnames[0] if owner and not owner.endswith("<locals>") else None


def _plain(tool: Any) -> Callable[..., Any]:
    return cast(Callable[..., Any], tool.__func__ if isinstance(tool, staticmethod | classmethod) else tool)


def _require_governable(tool: Any) -> None:
    if isinstance(tool, type):
        raise ConfigurationError(
            f"governed cannot wrap the class {tool.__name__}: its subclasses would go round the gate. "
            f"Put @governed on the methods that act."
        )
    if isinstance(tool, property):
        raise ConfigurationError(
            "governed cannot wrap a property: put @governed under @property, on the function."
        )
    if not callable(tool) and not isinstance(tool, classmethod | staticmethod):
        raise ConfigurationError(f"governed wraps something callable, not {type(tool).__name__}.")


def _name(tool: Any) -> str:
    function = unwrap(tool)
    name = getattr(function, "__name__", None)
    return type(tool).__name__ if name in (None, "__call__") else str(name)


def _parameters(tool: Any) -> frozenset[str] | None:
    try:
        parameters = inspect.signature(_plain(unwrap(tool))).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters) - {"self", "cls"}
