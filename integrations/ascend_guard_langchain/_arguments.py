"""What a call of a LangChain tool is judged on: its validated arguments, without what the framework itself puts in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

from langchain_core.tools import BaseTool, InjectedToolArg
from langchain_core.tools import base as langchain_base
from pydantic import BaseModel

from ascend_guard.arguments import normalise
from ascend_guard.binding import Binder, compile_binder
from ascend_guard.errors import ValidationError

_FRAMEWORKS = ("langchain", "langchain_core", "langgraph")
_BY_FRAMEWORK = frozenset({"run_manager", "callbacks"})
_DIRECT = getattr(langchain_base, "_DirectlyInjectedToolArg", ())  # ToolRuntime's base, where there is one


class ToolArguments:
    """What is known of one tool's arguments once for all its calls.

    Args:
        tool: the tool.
        run: its class's own ``_run`` or ``_arun``.
    """

    def __init__(self, tool: BaseTool, run: Callable[..., Any]) -> None:
        self.tool = tool
        function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
        target = function if callable(function) else run
        self._binder = compile_binder(target, bound=target is run)
        self._first = next(iter(_parameters(target, bound=target is run)), "tool_input")
        self.redacted = self._binder.redacted
        self.injected = _BY_FRAMEWORK | _injected(tool, target)
        # What LangChain gives its own _run, which hands on to the function only what that one wants.
        self._outer = frozenset() if target is run else _BY_FRAMEWORK | _given(run)

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by name, with the function's defaults where they can be told."""
        kwargs = {name: value for name, value in kwargs.items() if name not in self._outer}
        try:
            named = self._binder.bind(args, kwargs)
        except TypeError:  # what LangChain adds on the way, such as the configuration, is not there yet
            named = dict(kwargs)
            if args:
                named[self._first] = args[0] if len(args) == 1 else list(args)
        return {name: value for name, value in named.items() if name not in self.injected}

    def first(self) -> str:
        """The name of the only argument of a tool that takes one."""
        return self._first


class OneCall(Binder):
    """One call's arguments, there and, with an approver's values in them, back."""

    __slots__ = ("_args", "_arguments", "_kwargs", "_named")

    def __init__(self, arguments: ToolArguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(arguments.redacted)
        self._arguments = arguments
        self._args = args
        self._kwargs = kwargs
        self._named = arguments.named(args, kwargs)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return self._named

    def unbind(self, named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call with edited values, as the tool's own schema reads them.

        Raises:
            ValidationError: the schema refuses them, or reads them as something else than was approved.
        """
        edited = {name: value for name, value in named.items() if value is not self._named.get(name, self)}
        read = _read(self._arguments.tool, {**self._kwargs, **edited}, edited)
        for name, value in edited.items():
            if normalise({name: read[name]}, key=b"").plain != {name: value}:
                raise ValidationError(
                    f"The edited {name!r} is something else to the tool than what was approved. Approve it again with "
                    "the value in the form the tool takes.",
                    reason="edited arguments do not fit the tool",
                )
        args = self._args
        if args and self._arguments.first() in read:
            args = (read.pop(self._arguments.first()), *args[1:])
        return args, {**self._kwargs, **read}

    def _call(
        self, named: dict[str, Any], keywords: frozenset[str]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self.unbind(named)


def _read(tool: BaseTool, values: dict[str, Any], edited: dict[str, Any]) -> dict[str, Any]:
    schema = tool.args_schema
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return dict(edited)  # LangChain does not validate against a JSON schema either
    try:
        model = schema.model_validate(values)
    except Exception as error:  # validators are the tool's own code
        raise ValidationError(
            f"The approver's arguments do not fit the tool {tool.name!r} ({type(error).__name__}). Approve it again with "
            "arguments that do.",
            reason="edited arguments do not fit the tool",
        ) from None
    return {name: getattr(model, name, value) for name, value in edited.items()}


def _parameters(function: Callable[..., Any], *, bound: bool) -> list[str]:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []
    return names[1:] if bound else names


def _injected(tool: BaseTool, target: Callable[..., Any]) -> frozenset[str]:
    """Names of arguments whose values come from the framework: state, store, runtime, configuration, the call's id.

    A plain ``InjectedToolArg`` is not among them: whoever calls the tool gives it a value, and that may be a model.
    """
    found = _given(target)
    coroutine, schema = getattr(tool, "coroutine", None), tool.args_schema
    if callable(coroutine):
        found |= _given(coroutine)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        found |= _given(schema)
    return found


def _given(thing: Any) -> frozenset[str]:
    return frozenset(name for name, hint in _hints(thing).items() if _by_framework(hint))


def _hints(thing: Any) -> dict[str, Any]:
    try:
        return get_type_hints(
            inspect.unwrap(thing) if not isinstance(thing, type) else thing, include_extras=True
        )
    except Exception:  # annotations are anybody's code; without them everything is judged
        return dict(getattr(thing, "__annotations__", {}))


def _by_framework(hint: Any) -> bool:
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


def _is_config(hint: Any) -> bool:
    from langchain_core.runnables import RunnableConfig

    return hint is RunnableConfig or RunnableConfig in get_args(hint)
