"""Arguments that are passed to a tool without being judged: excluded parameters, and framework context objects.

Rules (promises 2 and 8):

1. A parameter is excluded because its developer declared it (``exclude=``, ``Annotated[T, Exclude]``, or an annotation
   with which LangGraph provides the value), or because its value is an instance of a type in ``CONTEXTS``. No text, number,
   list or other plain value that a model can write is ever excluded because of its content.
2. A type is compared by its exact module and qualified name, also those of its base classes. Nothing is imported for that.
3. Excluded values are passed on unchanged. They are not judged, digested, stored or shown, and an approver cannot edit
   them. The record lists their names, and policies can read the list.
"""

from __future__ import annotations

import builtins
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union

from msgspec import Struct

__all__ = ["CONTEXTS", "Exclude", "Excluded", "is_context", "is_excluded_hint", "separate"]


class Exclude:
    """Marks a parameter that is passed to the tool, but excluded from the decision and from every record:
    ``Annotated[Session, Exclude]`` or ``Annotated[Session, Exclude()]``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Exclude()"


CONTEXTS = frozenset(
    (
        # openai-agents
        "agents.run_context.RunContextWrapper",
        "agents.tool_context.ToolContext",
        # pydantic-ai; the second in versions before 0.1
        "pydantic_ai._run_context.RunContext",
        "pydantic_ai.tools.RunContext",
        # google-adk
        "google.adk.agents.readonly_context.ReadonlyContext",
        "google.adk.agents.context.Context",
        "google.adk.agents.callback_context.CallbackContext",
        "google.adk.agents.invocation_context.InvocationContext",
        "google.adk.tools.tool_context.ToolContext",
        # llama-index; the last in versions that had workflows in the core
        "workflows.context.context.Context",
        "workflows.context.internal_context.InternalContext",
        "workflows.context.external_context.ExternalContext",
        "llama_index.core.workflow.context.Context",
        # agent-framework
        "agent_framework._middleware.AgentContext",
        "agent_framework._middleware.FunctionInvocationContext",
        "agent_framework._workflows._functional.RunContext",
        "agent_framework._workflows._workflow_context.WorkflowContext",
        # strands, which also passes the agent itself
        "strands.types.tools.ToolContext",
        "strands.agent.agent.Agent",
        # langchain and langgraph
        "langchain_core.callbacks.base.BaseCallbackManager",
        "langchain_core.callbacks.manager.BaseRunManager",
        "langgraph.prebuilt.tool_node.ToolRuntime",
        "langgraph.runtime.Runtime",
        "langgraph.store.base.BaseStore",
        # MCP servers
        "mcp.server.mcpserver.context.Context",
        "mcp.server.fastmcp.server.Context",
        "fastmcp.server.context.Context",
    )
)
"""The context types of agent frameworks, one a line: ``module.qualname`` as defined by the framework."""

_PROVIDED = frozenset(
    (
        "langchain_core.tools.base.InjectedToolCallId",
        "langgraph.prebuilt.tool_node.InjectedState",
        "langgraph.prebuilt.tool_node.InjectedStore",
    )
)
"""Annotations of parameters whose values LangGraph provides, whatever the model wrote. A plain ``InjectedToolArg`` is not
one of them: the caller provides its value, and the caller may be a model."""

_CONFIG_KEYS = frozenset(
    (
        "tags",
        "metadata",
        "callbacks",
        "run_name",
        "max_concurrency",
        "recursion_limit",
        "configurable",
        "run_id",
    )
)
_MANAGER = frozenset(("langchain_core.callbacks.base.BaseCallbackManager",))
_PLAIN = frozenset((str, int, float, bool, type(None), list, bytes))

_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_module: Callable[[type], object] = type.__dict__["__module__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__

_known: dict[int, tuple[weakref.ref[type], bool]] = {}


def is_context(kind: type) -> bool:
    """Return whether instances of this class are a framework's context. The names are read from the class's storage,
    once."""
    known = _known.get(id(kind))
    if known is None or known[0]() is not kind:
        address = id(kind)
        known = (weakref.ref(kind, lambda _: _known.pop(address, None)), _is_one_of(kind, CONTEXTS))
        _known[address] = known
    return known[1]


def _is_one_of(kind: type, names: frozenset[str]) -> bool:
    return any(f"{_module(base)}.{_qualname(base)}" in names for base in _mro(kind))


def _is_config(value: dict[object, object]) -> bool:
    """Return whether it is a LangChain run configuration: a dict with a callback manager, which only LangChain adds."""
    manager = value.get("callbacks")
    return (
        type(manager) not in _PLAIN
        and _is_one_of(type(manager), _MANAGER)
        and all(type(key) is str and key in _CONFIG_KEYS for key in value)
    )


class Excluded(Struct, frozen=True):
    """The excluded part of one call's arguments.

    Args:
        names: as recorded: ``ctx``, or ``args[0]`` for one of ``*args``.
        whole: excluded arguments by name.
        order: the names of all arguments, in the order of the call.
        inside: excluded items of ``*args`` by index, of a collected ``**kwargs`` by key; by the name of the parameter.
    """

    names: tuple[str, ...]
    whole: dict[str, Any]
    inside: dict[str, dict[Any, Any]]
    order: tuple[str, ...] = ()

    def restore(self, judged: dict[str, object]) -> dict[str, object]:
        """Return named arguments with the excluded ones added again."""
        named = {**judged, **self.whole}
        for name, items in self.inside.items():
            rest = named.get(name)
            if isinstance(rest, dict):
                named[name] = {**rest, **items}
                continue
            filled = list(rest or ())
            for index, value in sorted(items.items()):
                filled.insert(index, value)
            named[name] = tuple(filled)
        # A tool sees the order of its ``**kwargs``.
        return {name: named[name] for name in (*self.order, *named) if name in named}


def separate(
    named: dict[str, Any], names: frozenset[str], collected: tuple[str, ...] = ()
) -> tuple[dict[str, Any], Excluded | None]:
    """Return the arguments to judge, and the excluded ones; None when there are none.

    Args:
        named: argument values by name.
        names: parameters that are excluded by name.
        collected: parameters that collect others: ``*args``, or a ``**kwargs`` that is kept together.
    """
    if names and not names.isdisjoint(named):
        return _separated(named, names, collected)
    for name, value in named.items():
        kind = type(value)
        if kind in _PLAIN:
            continue
        if (_is_config(value) if kind is dict else is_context(kind)) or (name in collected and value):
            return _separated(named, names, collected)
    return named, None


def _separated(
    named: dict[str, Any], names: frozenset[str], collected: tuple[str, ...]
) -> tuple[dict[str, Any], Excluded | None]:
    judged: dict[str, Any] = {}
    found: list[str] = []
    whole: dict[str, Any] = {}
    inside: dict[str, dict[Any, Any]] = {}
    for name, value in named.items():
        if name in names or _is_context_value(value):
            found.append(name)
            whole[name] = value
            continue
        if name in collected and type(value) in (tuple, dict):
            pairs = value.items() if type(value) is dict else enumerate(value)
            items = {key: item for key, item in pairs if _is_context_value(item)}
            if items:
                inside[name] = items
                found += (f"{name}[{key}]" if type(key) is int else f"{name}.{key}" for key in items)
                if type(value) is dict:
                    value = {key: item for key, item in value.items() if key not in items}
                else:
                    value = tuple(item for index, item in enumerate(value) if index not in items)
        judged[name] = value
    return (judged, Excluded(tuple(found), whole, inside, tuple(named))) if found else (named, None)


def _is_context_value(value: Any) -> bool:
    kind = type(value)
    return kind not in _PLAIN and (_is_config(value) if kind is dict else is_context(kind))


# --- annotations -------------------------------------------------------------------------------------------------------


def is_excluded_hint(hint: object, names: Mapping[str, object], local: Mapping[str, object]) -> bool:
    """Return whether a parameter's annotation excludes it: a mark on the parameter itself, not inside its type.

    Args:
        hint: an annotation, evaluated or still text. Names that do not exist at run time, because they are
            imported for type checkers only, do not matter; text that cannot be evaluated excludes nothing.
        names: the globals in which text is evaluated.
        local: names that come before those globals, such as a closure's.
    """
    pending, looked = [hint], 0
    while pending and looked < 100:
        looked += 1
        hint = pending.pop()
        text = hint if isinstance(hint, str) else getattr(hint, "__forward_arg__", None)
        if isinstance(text, str):
            try:
                # The developer's own annotation, evaluated as by typing.get_type_hints.
                hint = eval(text, {}, _Names(names, local))  # noqa: S307
            except Exception:  # noqa: S112  # an annotation may contain anything
                continue
            if isinstance(hint, str):
                continue
        marks = getattr(hint, "__metadata__", ())
        if isinstance(marks, tuple) and marks:
            if any(map(_excludes, marks)):
                return True
            pending.append(getattr(hint, "__origin__", None))
        pending.extend(_parts(hint))
    return False


def _excludes(mark: object) -> bool:
    kind = mark if isinstance(mark, type) else type(mark)
    return kind is Exclude or _is_one_of(kind, _PROVIDED)


def _parts(hint: Any) -> Iterator[Any]:
    """Yield the annotations that an alias or a union stands for."""
    origin = getattr(hint, "__origin__", None)
    if type(hint) is types.UnionType or origin is Union:
        yield from hint.__args__
    elif type(hint).__name__ == "TypeAliasType":
        try:
            yield hint.__value__
        except Exception:  # evaluated when it is read; an unreadable annotation excludes nothing
            return


class _Names(dict[str, Any]):
    """The names that an annotation may use; a missing one is an unknown type."""

    def __init__(self, names: Mapping[str, object], local: Mapping[str, object]) -> None:
        super().__init__()
        self._all = (local, names, vars(builtins))

    def __missing__(self, name: str) -> object:
        for space in self._all:
            if name in space:
                return space[name]
        return _Unknown


class _UnknownKind(type):
    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unknown

    def __getitem__(cls, item: object) -> object:
        return _Unknown


class _Unknown(metaclass=_UnknownKind):
    """Stands for a type that does not exist at run time."""
