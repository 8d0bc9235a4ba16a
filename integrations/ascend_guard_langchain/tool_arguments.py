"""The arguments on which a call of a LangChain tool is judged: validated, without those that the framework injects."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, Tool
from langchain_core.tools import base as langchain_base
from pydantic import BaseModel

from ascend_guard.arguments import normalise
from ascend_guard.callables.binding import Binder, compile_binder
from ascend_guard.callables.type_hints import JSON, UNDECLARED, Hint, declared_types, hints_of
from ascend_guard.calling.governed import BoundGoverned, Governed
from ascend_guard.errors import ValidationError

_FRAMEWORKS = ("langchain", "langchain_core", "langgraph")
_DIRECT: Any = getattr(
    langchain_base, "_DirectlyInjectedToolArg", ()
)  # ToolRuntime's base, where there is one

HANDS_ON = (StructuredTool._run, StructuredTool._arun, Tool._run, Tool._arun)
"""The methods that call the tool's ``func`` or ``coroutine``."""


def target_of(tool: BaseTool, run: Callable[..., object], *, awaited: bool) -> Callable[..., object]:
    """Return what a call ends in: the tool's function, if the method is known to call it; else the method.

    Args:
        tool: the tool.
        run: its class's own ``_run`` or ``_arun``.
        awaited: whether it is ``_arun``.
    """
    if run not in HANDS_ON:  # a class with its own method may do anything
        return run
    function, coroutine = getattr(tool, "func", None), getattr(tool, "coroutine", None)
    chosen = (coroutine or function) if awaited else (function or coroutine)
    return chosen or run


class ToolArguments:
    """The properties of one tool's arguments, for all its calls of one kind.

    Args:
        tool: the tool.
        run: its class's own ``_run`` or ``_arun``.
        target: what that method calls.
        plain_run: its class's own ``_run``.

    Attributes:
        inside: the function that will be called is ``@governed``, and makes its own decision.
        redacted: parameters annotated ``Annotated[T, Redact]``.
        excluded: parameters annotated ``Annotated[T, Exclude]``.
        hint: returns the declared types of its parameters.
    """

    def __init__(
        self,
        tool: BaseTool,
        run: Callable[..., object],
        target: Callable[..., object],
        plain_run: Callable[..., object],
    ) -> None:
        self.tool = tool
        self.target = target
        self.inside = isinstance(target, Governed | BoundGoverned)
        own = target is run
        if own and takes_anything(run):  # it passes the call on to _run, whose defaults must be judged
            target = run = plain_run
        self._parameters = _parameters(target, bound=own)
        self._binder = compile_binder(target, bound=own)
        self.redacted, self.excluded = self._binder.redacted, self._binder.excluded
        self.hint = _declared(tool, target, self._parameters)
        # LangChain passes _run the arguments that it declares by these names, and _run passes the function those it
        # declares.
        given = {"run_manager"} & _parameters(run, bound=True).keys()
        if not own:
            given |= {"callbacks"} & self._parameters.keys()
        self._injected = _injected(tool, target) | given
        self._outer = frozenset() if own else _marked(run) | given

    def named(self, args: tuple[object, ...], kwargs: dict[str, object]) -> dict[str, object]:
        """Return arguments by name, with the function's defaults if they are known."""
        kwargs = {name: value for name, value in kwargs.items() if name not in self._outer}
        try:
            named = self._binder.bind(args, kwargs)
        except TypeError:  # arguments that LangChain adds later, such as the configuration, are missing here
            named = dict(kwargs)
            if args:
                named[self._first()] = args[0] if len(args) == 1 else list(args)
        return {
            name: value
            for name, value in named.items()
            if name not in self._injected and not (_DIRECT and isinstance(value, _DIRECT))
        }

    def positional(self, args: tuple[object, ...], read: dict[str, Any]) -> tuple[object, ...]:
        """Return positional arguments with edited values, which are removed from ``read``."""
        if not args or self._first() not in read:
            return args
        value = read.pop(self._first())
        if self._parameters.get(self._first()) is inspect.Parameter.VAR_POSITIONAL:
            return tuple(value)
        return (value, *args[1:])

    def _first(self) -> str:
        """The name of the only argument of a tool with one argument."""
        return next(iter(self._parameters), "tool_input")


class OneCall(Binder):
    """Converts one call's arguments, and an approver's values back to a call."""

    __slots__ = ("_args", "_arguments", "_kwargs", "_named", "excluded", "hint", "redacted")

    def __init__(self, arguments: ToolArguments, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self.redacted, self.excluded = arguments.redacted, arguments.excluded
        self._arguments = arguments
        self._args = args
        self._kwargs = kwargs
        self._named = arguments.named(args, kwargs)
        self.hint = arguments.hint

    def bind(self, args: tuple[object, ...], kwargs: dict[str, object]) -> dict[str, object]:
        return self._named

    def unbind(self, named: dict[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the call with edited values, as the tool's own schema reads them.

        Raises:
            ValidationError: the schema refuses them, or reads other values than were approved.
        """
        edited = {name: value for name, value in named.items() if value is not self._named.get(name, self)}
        read = _read(self._arguments.tool, self._kwargs, edited)
        for name, value in edited.items():
            if not _same(_plain(read[name]), _plain(value)):
                raise ValidationError(
                    f"The edited {name!r} is read by the tool as another value than the approved one. Approve it again with "
                    "the value in the form that the tool accepts.",
                    reason="edited arguments do not fit the tool",
                )
        args = self._arguments.positional(self._args, read)
        return args, {**self._kwargs, **read}


def _plain(value: object) -> object:
    return normalise({"value": value}, key=b"").plain["value"]


def takes_anything(run: Callable[..., object]) -> bool:
    """Return whether a method declares no specific parameters."""
    return set(_parameters(run, bound=True).values()) <= {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }


def _read(tool: BaseTool, kwargs: dict[str, object], edited: dict[str, object]) -> dict[str, object]:
    schema = tool.args_schema
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return dict(edited)  # LangChain does not validate against a JSON schema, either
    values = {name: value for name, value in {**kwargs, **edited}.items() if name in schema.model_fields}
    try:
        model = schema.model_validate(values, by_alias=True, by_name=True)
    except Exception as error:  # validators are the tool's own code
        raise ValidationError(
            f"The approver's arguments do not match the schema of the tool {tool.name!r} "
            f"({type(error).__name__}). Approve it again with "
            "arguments that match.",
            reason="edited arguments do not fit the tool",
        ) from None
    return {name: getattr(model, name, value) for name, value in edited.items()}


def _same(read: object, approved: object) -> bool:
    """Return whether plain data is equivalent: 450 and 450.0 are, True and 1 are not."""
    if isinstance(read, dict) and isinstance(approved, dict):
        return read.keys() == approved.keys() and all(_same(read[key], approved[key]) for key in read)
    if isinstance(read, list) and isinstance(approved, list):
        return len(read) == len(approved) and all(map(_same, read, approved))
    return isinstance(read, bool) == isinstance(approved, bool) and bool(read == approved)


def _parameters(function: Callable[..., object], *, bound: bool) -> dict[str, object]:
    try:
        kinds = [(each.name, each.kind) for each in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return {}
    return dict(kinds[1:] if bound else kinds)


def _declared(tool: BaseTool, target: Callable[..., object], parameters: dict[str, object]) -> Hint:
    """Return the declared types: the function's own; for arguments that it collects as keywords, with one common
    declaration, the schema's."""
    own, schema = hints_of(target), tool.args_schema
    is_model = isinstance(schema, type) and issubclass(schema, BaseModel)
    fields = declared_types(schema) if is_model else {}

    def hint(name: str) -> Any:
        if parameters.get(name, inspect.Parameter.VAR_KEYWORD) is not inspect.Parameter.VAR_KEYWORD:
            return own(name)
        return fields.get(name, UNDECLARED) if is_model else JSON

    return hint


def _injected(tool: BaseTool, target: Callable[..., Any]) -> frozenset[str]:
    """Return the names of arguments that the framework provides: state, store, runtime, configuration, the call's id.

    A plain ``InjectedToolArg`` is not one of them: the caller provides its value, and the caller may be a model.
    """
    found = _marked(target)
    coroutine, schema = getattr(tool, "coroutine", None), tool.args_schema
    if callable(coroutine):
        found |= _marked(coroutine)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        found |= _marked(schema)
    return found


def _marked(thing: object) -> frozenset[str]:
    return frozenset(name for name, hint in _hints(thing).items() if _by_framework(hint))


def _hints(thing: Any) -> dict[str, object]:
    try:
        return get_type_hints(
            inspect.unwrap(thing) if not isinstance(thing, type) else thing, include_extras=True
        )
    except Exception:  # annotations can run any code; without them everything is judged
        return dict(getattr(thing, "__annotations__", {}))


def _by_framework(hint: object) -> bool:
    if hint is None:
        return False
    kinds = [get_origin(hint) or hint]
    for part in get_args(hint):
        kinds.append(part if isinstance(part, type) else type(part))
        kinds.append(get_origin(part) or part)
    return any(isinstance(kind, type) and _is_framework_kind(kind) for kind in kinds) or _is_config(hint)


def _is_framework_kind(kind: type) -> bool:
    if _DIRECT and issubclass(kind, _DIRECT):
        return True
    if not issubclass(kind, InjectedToolArg) or kind is InjectedToolArg:
        return False
    markers = (
        base for base in kind.__mro__ if issubclass(base, InjectedToolArg) and base is not InjectedToolArg
    )
    return any(marker.__module__.partition(".")[0] in _FRAMEWORKS for marker in markers)


def _is_config(hint: object) -> bool:
    from langchain_core.runnables import RunnableConfig

    return hint is RunnableConfig or RunnableConfig in get_args(hint)
