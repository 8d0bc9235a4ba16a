"""``@governed``: a tool that does nothing until a decision allows it."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from types import FunctionType, MethodType
from typing import Any, NoReturn, TypeVar, Unpack, cast

import wrapt
from msgspec import Struct

from ascend_guard.callables.binding import Binder, compile_binder, takes_instance
from ascend_guard.callables.receivers import Receivers
from ascend_guard.callables.vouching import Vouching, call_of, require_met, vouchers
from ascend_guard.callables.wrappers import OWN
from ascend_guard.config import default_control_plane
from ascend_guard.errors import AuthorizationDeniedError, ConfigurationError, ValidationError

from .bound_call import BoundCall
from .declarations import Options, ToolDeclaration, options
from .discarded_results import is_thrown_away
from .execution import Execution
from .governable import require_governable
from .stand_in import ANNOTATIONS, stand_in
from .tool_kinds import Args, Kwargs, call_through, call_through_async, path_of, told, unwrap

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Path = Callable[..., Any]


class FunctionDeclaration(ToolDeclaration, total=False):
    """The options of ``governed``: ``ToolDeclaration``, and ``vouch_for``, which names the decorators (functions or
    classes) under ``@governed`` that pass their arguments on unchanged. Only a person who reads their code can know
    this. It is recorded with each action."""

    vouch_for: Collection[Callable[..., Any]]


def governed(
    action_type: str, tool_name: str | None = None, **declared: Unpack[FunctionDeclaration]
) -> Callable[[F], F]:
    """Let a tool run only after a decision allows the call.

    Works on functions, coroutine functions, generators and async generators (decided at the first ``next``, stopped
    between chunks by the kill switch), methods, class and static methods, callables and partials::

        @governed("refund", resource="orders/{order_id}", on_pending="wait", timeout=600)
        def refund(order_id: str, amount: float) -> str: ...

    Args:
        action_type: action category, such as ``refund`` or ``database_write``.
        tool_name: the tool or service; by default the function's name.
        **declared: see ``Declaration``, ``ToolDeclaration`` and ``FunctionDeclaration``.

    Raises:
        ConfigurationError: the declaration is wrong, or the decorated object cannot be governed: a class, or a function
            under a decorator that may change its arguments.
    """
    if callable(action_type):
        raise ConfigurationError(
            "governed needs an action type: write @governed('refund'), with the action type in parentheses."
        )
    if is_thrown_away(sys._getframe(1)):
        raise ConfigurationError(
            f"governed({action_type!r}) governs nothing on a line of its own: write @governed({action_type!r}) above the "
            f"function, with the @; for a block: with guard({action_type!r}) as permit:"
        )

    said: dict[str, object] = dict(declared)
    vouched = vouchers(said.pop("vouch_for", ()))

    def decorate(tool: F) -> F:
        require_governable(tool)
        vouching = Vouching(vouched)
        binder = _binder(tool, vouching)
        require_met(vouching, tool, _name(tool))
        name = tool_name or _name(tool)
        checked = options(
            action_type,
            name,
            cast(ToolDeclaration, said),
            parameters=binder.names,
            excluded=binder.excluded,
            tool=True,
        )
        return cast(F, Governed(tool, checked, vouching))

    return _Decorator(decorate)


class _Decorator:
    """The decorator that ``governed(...)`` returns. Using it as a block raises an error that explains how."""

    __slots__ = ("_decorate",)

    def __init__(self, decorate: Callable[[Any], Any]) -> None:
        self._decorate = decorate

    def __call__(self, tool: F) -> F:
        return cast(F, self._decorate(tool))

    def __enter__(self) -> NoReturn:
        raise ConfigurationError(
            "governed decorates a function. For a block write: with guard(...) as permit:"
        )

    def __exit__(self, *raised: object) -> None: ...

    async def __aenter__(self) -> NoReturn:
        self.__enter__()

    async def __aexit__(self, *raised: object) -> None: ...


class BoundGoverned(wrapt.BoundFunctionWrapper[Any, Any]):
    """A governed method of one object. It equals the same method of the same object, never the raw method."""

    __annotations__ = ANNOTATIONS

    @property
    def __func__(self) -> Any:
        function = cast(
            Any, self.__wrapped__
        ).__func__  # AttributeError for what is not a method, as without ``governed``
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

    def __deepcopy__(self, memo: dict[int, object]) -> object:
        instance = self._self_instance
        if instance is None or isinstance(instance, type):
            return self
        copied = copy.deepcopy(instance, memo)
        return self._self_parent.__get__(copied, type(copied))

    def __reduce__(self) -> str | Args:
        if self._self_instance is None:
            return self.__wrapped__.__qualname__
        return getattr, (self._self_instance, self.__wrapped__.__name__)

    def __reduce_ex__(self, protocol: object) -> str | Args:
        return self.__reduce__()


class Governed(wrapt.FunctionWrapper[Any, Any]):
    """A governed tool. It looks like the tool that it wraps, but equals only itself: a registry that cached the raw
    function must not find the raw function under the wrapper's key."""

    __bound_function_wrapper__ = BoundGoverned
    __annotations__ = ANNOTATIONS

    def __init__(self, tool: Callable[..., Any], declared: Options, vouching: Vouching) -> None:
        gate = _Gate(tool, declared, vouching)
        super().__init__(tool, gate)
        gate.receivers = Receivers(self)
        self._self_gate = gate
        self._self_stand_in: FunctionType | None = None

    @property
    def __func__(self) -> Any:
        wrapped: Any = self.__wrapped__
        function = wrapped.__func__  # AttributeError for what is not a method, as without ``governed``
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

    def __deepcopy__(self, memo: dict[int, object]) -> Governed:
        return self

    def __reduce__(self) -> str | Args:
        # By name, as functions are pickled: the other process must import its own governed tool.
        return self.__wrapped__.__qualname__

    def __reduce_ex__(self, protocol: object) -> str | Args:
        return self.__reduce__()


def _stand_in_of(tool: Any) -> FunctionType:
    """Return the function whose code and closure a governed tool shows instead of the raw ones."""
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


class _Known(Struct, frozen=True):
    """What is known about one callable: how its calls are bound, and how it runs."""

    called: Any
    binder: Binder
    path: Path
    names: tuple[str, str] | None = None
    """The coroutine function's code flags, for coroutines of its calls: Python uses them to warn of a forgotten
    ``await``."""


class _Gate:
    """The wrapt wrapper function of one tool: binds a call and selects the path that runs it.

    A call is bound by the signature of what will be called: ``wrapped``, as wrapt found it, which may be a bound method.
    """

    def __init__(self, tool: Callable[..., Any], declared: Options, vouching: Vouching) -> None:
        self.tool = tool
        self._options = declared
        self._vouching = vouching
        self._tells = declared.on_denied == "return"
        if self._tells:
            told(path_of(tool))
        self._function: _Known | None = None
        self._method: _Known | None = None
        self._first = _first_parameter(tool)
        self._names = _name(tool), str(getattr(unwrap(tool), "__qualname__", _name(tool)))
        self.receivers: Receivers | None = None

    def __call__(self, wrapped: Any, instance: object, args: Args, kwargs: Kwargs) -> Any:
        if type(wrapped) is wrapt.PartialCallableObjectProxy:
            # Called through the class, with the instance as the first argument.
            wrapped = MethodType(wrapped.__wrapped__, instance)
        elif self._first is not None and type(wrapped) is FunctionType and self.receivers is not None:
            if args:
                if self.receivers.include(args[0]):
                    wrapped, args = MethodType(wrapped, args[0]), args[1:]
            elif self._first in kwargs and self.receivers.include(kwargs[self._first]):
                kwargs = dict(kwargs)
                wrapped = MethodType(wrapped, kwargs.pop(self._first))
        known = self.known(wrapped)
        path = told(known.path) if self._tells else known.path
        made = path(_Run(known, wrapped), self._prepare, instance, args, kwargs)
        if known.names is not None:
            made.__name__, made.__qualname__ = known.names
        return made

    def _prepare(self, run: Callable[..., object], instance: object, args: Args, kwargs: Kwargs) -> Execution:
        assert isinstance(run, _Run)
        if run.path is not call_through:  # prepared later: a stream is prepared at its first chunk
            known = self.known(run.wrapped)
            if known.path is not run.path:
                raise ValidationError(
                    f"Blocked: {self._options.tool_name} was replaced by a function of another kind after it was called. "
                    "Call it again."
                )
            run.binder = known.binder
        binder = run.binder.chosen(args, kwargs)
        plane = self._options.control_plane or default_control_plane()
        named, args, kwargs = binder.call(args, kwargs)
        run.binder, run.target = binder, binder.target or run.wrapped
        return Execution(BoundCall(self._options, plane, named, binder, args, kwargs, binder.hint), plane)

    def known(self, wrapped: Any) -> _Known:
        """Return what is known about ``wrapped``, compiled again when it changed."""
        if type(wrapped) is MethodType:
            known, called = self._method, wrapped.__func__
            if known is not None and known.called is called and known.binder.intact():
                return known
            if called is not call_of(type(wrapped.__self__)) and takes_instance(called, self._vouching):
                known = self._method = self._compiled(called, called, True)
                return known
        known = self._function
        if known is None or known.called is not wrapped or not known.binder.intact():
            known = self._function = self._compiled(wrapped, wrapped, False)
        return known

    def _compiled(self, called: object, function: Callable[..., object], bound: bool) -> _Known:
        binder = compile_binder(function, bound=bound, vouching=self._vouching)
        path = path_of(function)
        return _Known(called, binder, path, self._names if path is call_through_async else None)


class _Run:
    """Runs the body of one call: exactly the callable that the call was bound to, and only while it is unchanged.

    The path calls it between permit and outcome.
    """

    __slots__ = ("binder", "path", "target", "wrapped")

    target: Callable[..., Any]

    def __init__(self, known: _Known, wrapped: Callable[..., Any]) -> None:
        self.binder = known.binder
        self.path = known.path
        self.wrapped = wrapped

    def __call__(self, *args: object, **kwargs: object) -> Any:
        # A plain function is called right after the last check, which compared the binder. For the other kinds this
        # call only creates the object, before the last check, so it must not run anything.
        if self.path is call_through or self.binder.intact():
            return self.target(*args, **kwargs)
        # The last check also finds this change, before the first step of the object that is returned here.
        return _NOTHING[self.path]()


def _nothing() -> object:
    raise AuthorizationDeniedError(
        "Blocked: the tool's code or defaults changed after the call was submitted. Call it again.",
        reason="tool changed after the action was submitted",
    )


async def _no_coroutine() -> Any:
    _nothing()


def _no_stream() -> Iterator[object]:
    yield _nothing()


async def _no_astream() -> AsyncIterator[object]:
    yield _nothing()


_NOTHING: dict[Path, Callable[[], Any]] = {
    path_of(nothing): nothing for nothing in (_no_coroutine, _no_stream, _no_astream)
}
"""What replaces a body that must not run, for each path."""


def _first_parameter(tool: object) -> str | None:
    """The first positional parameter of a plain function. It receives the instance where the function is a method."""
    if not isinstance(tool, FunctionType) or not tool.__code__.co_argcount:
        return None
    return tool.__code__.co_varnames[0]


OWN[Governed] = lambda tool: tool.__wrapped__
OWN[BoundGoverned] = lambda tool: tool.__wrapped__


def _binder(tool: Any, vouching: Vouching) -> Binder:
    """Return the binder for calls of this tool. A function in a class's body is bound as a method."""
    function = tool.__func__ if isinstance(tool, staticmethod | classmethod) else tool
    bound = isinstance(tool, classmethod) and takes_instance(function, vouching)
    return compile_binder(function, bound=bound, vouching=vouching)


def _name(tool: object) -> str:
    function = unwrap(tool)
    name = getattr(function, "__name__", None)
    return type(tool).__name__ if name in (None, "__call__") else str(name)
