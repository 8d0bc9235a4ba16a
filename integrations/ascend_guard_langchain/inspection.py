"""Find the tools of an agent, and those that would run without a decision."""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.store.base import BaseStore

from ascend_guard.calling.governed import BoundGoverned, Governed
from ascend_guard.errors import ConfigurationError

from .gate import gate_of
from .governed_tools import is_governed
from .middleware import GovernanceMiddleware

MOST = 100_000
"""The most objects that are inspected: an agent that refers to more refers to large data."""

_MIDDLEWARE = "GovernanceMiddleware"
_REMEDY = (
    "Put GovernanceMiddleware last in create_agent(middleware=[...]), or give the agent govern_tools(tools); sub-agents "
    "need it as well."
)
_PROVIDER = "runs at the model's provider, where it cannot be governed"
_FRAMEWORKS = frozenset({"langchain", "langchain_classic", "langchain_core", "langgraph", "langgraph_sdk"})
_LARGE = (
    "anthropic ascend_guard ascend_guard_langchain httpx langsmith mcp numpy openai opentelemetry pandas pydantic "
    "pydantic_core requests sqlalchemy urllib3 wrapt"
)
_CLOSED = frozenset({*sys.stdlib_module_names, *_LARGE.split()})
"""Packages whose objects contain no tools of an agent, but very many other objects."""

_LEAVES = (
    *(BaseCheckpointSaver, BaseLanguageModel, BaseMessage, BaseStore, GovernanceMiddleware),
    *(bool, bytes, float, int, str, types.CodeType, types.NoneType),
)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)
_OF_FUNCTIONS = (
    "function functionDeclarations function_declarations input_schema parameters properties toolSpec"
)
_SCHEMAS = frozenset(_OF_FUNCTIONS.split())
"""Keys of a dictionary that describes a function, in the providers' formats."""


class ToolState(NamedTuple):
    """One tool of an agent.

    Attributes:
        name: the name for the model.
        governed: whether it runs only after a decision.
        by: what governs it: ``govern_tool``, ``@governed`` or ``GovernanceMiddleware``.
        where: the path from the agent to it: names of nodes, tools and variables.
        note: further information, or None.
    """

    name: str
    governed: bool
    by: str | None
    where: str
    note: str | None = None


class Inspection(NamedTuple):
    """The result of inspecting an agent.

    Attributes:
        tools: all tools that were found.
        warnings: facts that weaken the governance of some tools; each one or two sentences.
        complete: False when the agent is too large to be inspected completely.
    """

    tools: list[ToolState]
    warnings: list[str]
    complete: bool


def tools_of(agent: object, name: str = "agent") -> Inspection:
    """Find an agent's tools: in the tool nodes of its graph and of all sub-graphs, in lists and sequences, and in the
    objects that its functions refer to (closures, module variables), so that agents inside tools are found.

    A tool of a ``ToolNode`` is judged as that node runs it, not as another function might. These cannot be found: agents
    that are created only during a call or run elsewhere, tools that middleware adds or runs itself, and functions that
    are not LangChain tools, except directly in a list.

    Args:
        agent: a graph of ``create_agent`` or of LangGraph, any ``Runnable``, a tool, or a list or dictionary of tools.
        name: the agent's name in ``where``.

    Raises:
        ConfigurationError: the object is neither an agent nor a tool.
    """
    search = _Search(agent, name)
    tools = search.result()
    empty = type(agent) in (*_SEQUENCES, dict) and not agent
    if not tools and not empty and not issubclass(type(agent), Runnable | StateGraph):
        raise ConfigurationError(
            f"{name} is of the type {type(agent).__name__}, and contains neither an agent nor a tool. Pass the graph "
            "that create_agent returns, or the list of tools."
        )
    return Inspection(tools, search.warnings, search.complete)


def require_governed(agent: object) -> None:
    """Refuse to start with an agent that has a tool which would run without a decision::

        agent = create_agent(model, tools, middleware=[GovernanceMiddleware()])
        require_governed(agent)

    Args:
        agent: a graph of ``create_agent`` or of LangGraph, any ``Runnable``, a tool, or a list or dictionary of tools.

    Raises:
        ConfigurationError: a tool is not governed (the message lists them), or this is not an agent.
    """
    found = tools_of(agent)
    if not found.complete:
        raise ConfigurationError(
            f"This agent refers to more than {MOST:,} objects, so it is unknown whether all of its tools are "
            "governed. Keep data out of the variables that its functions use."
        )
    loose = [tool for tool in found.tools if not tool.governed]
    if loose:
        listed = ", ".join(
            f"{tool.name!a} ({tool.where!a}{'; ' + tool.note if tool.note else ''})" for tool in loose
        )
        raise ConfigurationError(
            f"{len(loose)} of {len(found.tools)} tools would run without a decision: {listed}. {_REMEDY}"
        )


# --- how a tool node runs its tools ---------------------------------------------------------------------------------


def _chain(wrapper: object, ours: object) -> list[str] | None:
    """Return the wrappers between our middleware and the tool; None when ours is not among the wrappers."""
    layers = list(_layers(wrapper))
    last = max(
        (i for i, layer in enumerate(layers) if getattr(layer, "__func__", None) is ours), default=None
    )
    return None if last is None else [_named(layer) for layer in layers[last + 1 :]]


def _layers(wrapper: object) -> Iterator[object]:
    """Yield the wrappers that ``create_agent`` composed, outermost first. Wrappers composed in another way count as one
    layer: its behaviour is unknown, so a middleware inside it does not count."""
    while type(wrapper) is types.FunctionType:
        made_in = wrapper.__globals__.get("__name__")
        cells = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or (), strict=False))
        if made_in == "langchain.agents.factory" and set(cells) == {"inner", "outer"}:
            yield from _layers(cells["outer"].cell_contents)
            wrapper = cells["inner"].cell_contents
        elif made_in == "langsmith.run_helpers" and "__wrapped__" in vars(wrapper):
            wrapper = vars(wrapper)["__wrapped__"]
        else:
            break
    if wrapper is not None:
        yield wrapper


def _named(layer: object) -> str:
    owner = getattr(layer, "__self__", None)
    return (
        str(getattr(layer, "__qualname__", type(layer).__name__)) if owner is None else type(owner).__name__
    )


def _judge(node: ToolNode) -> tuple[str | None, str | None, list[str]]:
    """Return what governs the calls of a tool node, a note about it, and the names of other middleware between ours and the
    tool."""
    sync = both = _chain(getattr(node, "_wrap_tool_call", None), GovernanceMiddleware.wrap_tool_call)
    other = getattr(node, "_awrap_tool_call", None)
    if other is not None:  # without one, ToolNode uses the synchronous wrapper for both
        both = _chain(other, GovernanceMiddleware.awrap_tool_call)
    after = list(dict.fromkeys((sync or []) + (both or [])))
    if sync is None and both is None:
        return None, None, after
    if sync is None or both is None:
        does, not_ = ("ainvoke", "invoke") if sync is None else ("invoke", "ainvoke")
        return None, f"only calls of {does} are governed, those of {not_} are not", after
    for name in (name for name, own in vars(ToolNode).items() if type(own) is types.FunctionType):
        if name != "__init__" and getattr(type(node), name) is not getattr(ToolNode, name):
            return None, f"its ToolNode has its own {name}, which may bypass the middleware", after
    return _MIDDLEWARE, None, after


def _own(tool: BaseTool) -> str | None:
    """Return what governs a tool itself, independent of its caller."""
    if not is_governed(tool):
        return None
    gate = gate_of(tool)
    return "govern_tool" if gate is not None and gate.declared is not None else "@governed"


# --- finding them ---------------------------------------------------------------------------------------------------


class _Hop(NamedTuple):
    """An object to inspect: the path to it, its name there, and whether a function here is a tool: it is the inspected
    object itself, or is directly in the inspected list."""

    thing: Any
    path: tuple[str, ...]
    name: str = ""
    listed: bool = False


class _Search:
    """A breadth-first search over the objects that an agent refers to. It calls nothing and reads no attribute that would
    be computed."""

    def __init__(self, agent: object, name: str) -> None:
        self.warnings: list[str] = []
        self.complete = True
        self._found: list[ToolState] = []
        self._loose: list[tuple[object, ToolState]] = []
        self._in_nodes: set[int] = set()
        self._seen: dict[int, object] = {}  # keeps the objects alive, or an address could be reused
        self._root = agent
        self._waiting = deque([_Hop(agent, (name,), "tools", listed=True)])

    def result(self) -> list[ToolState]:
        while self._waiting:
            hop = self._waiting.popleft()
            if id(hop.thing) in self._seen:
                continue
            if len(self._seen) >= MOST:
                self.complete = False
                break
            self._seen[id(hop.thing)] = hop.thing
            further = self._look(hop)
            self._waiting.extend(hop for hop in further if not issubclass(type(hop.thing), _LEAVES))
        return self._found + [state for tool, state in self._loose if id(tool) not in self._in_nodes]

    def _look(self, hop: _Hop) -> Iterator[_Hop]:
        thing, path, _, listed = hop
        root = thing is self._root
        kind = type(thing)
        if issubclass(kind, ToolNode):
            yield from self._node(thing, path)
        elif issubclass(kind, BaseTool):
            if not _only_a_schema(thing):
                own = _own(thing)
                self._loose.append((thing, ToolState(thing.name, own is not None, own, _way(path))))
            yield from _attributes(thing, (*path, thing.name))
        elif issubclass(kind, Governed | BoundGoverned):
            if listed:
                self._loose.append((thing, ToolState(_function_name(thing), True, "@governed", _way(path))))
            yield _Hop(thing.__wrapped__, path)
        elif issubclass(kind, dict):
            for key, value in list(dict.items(thing)):
                yield _Hop(value, (*path, str(key)), str(key), root)
            yield from _attributes(thing, path)
        elif issubclass(kind, _SEQUENCES):
            yield from self._sequence(hop)
        elif kind in _FUNCTIONS:
            if listed:
                self._loose.append((thing, ToolState(_function_name(thing), False, None, _way(path))))
            yield from _function(thing, path)
        elif issubclass(kind, type):
            if _package(thing) not in _CLOSED | _FRAMEWORKS:
                yield from (
                    _Hop(value, path, name) for name, value in vars(thing).items() if name[:2] != "__"
                )
        elif issubclass(kind, staticmethod | classmethod | property):
            yield _Hop(thing.fget if issubclass(kind, property) else thing.__func__, path)
        else:
            yield from _attributes(thing, path)

    def _node(self, node: ToolNode, path: tuple[str, ...]) -> Iterator[_Hop]:
        by, note, after = _judge(node)
        for name, tool in node.tools_by_name.items():
            functions = (getattr(tool, "func", None), getattr(tool, "coroutine", None))
            self._in_nodes |= {id(part) for part in (tool, *functions) if part is not None}
            own = _own(tool)
            state = ToolState(name, bool(own or by), own or by, _way(path), None if own else note)
            self._found.append(state)
            yield _Hop(tool, path)
        if after:
            self.warnings.append(
                f"{' and '.join(after)} after {_MIDDLEWARE} in {_way(path)} may replace the tool that was decided. Put "
                f"{_MIDDLEWARE} last."
            )
        yield from _attributes(node, path)

    def _sequence(self, hop: _Hop) -> Iterator[_Hop]:
        items, path, root = list(hop.thing), hop.path, hop.thing is self._root
        # Only lists of tools may have such a dictionary; in other places it is data.
        if hop.name in ("tools", "default_tools") or any(issubclass(type(item), BaseTool) for item in items):
            for item in items:
                if type(item) is dict and id(item) not in self._seen and (name := _provided(item)):
                    self._seen[id(item)] = item
                    self._found.append(ToolState(name, False, None, _way(path), _PROVIDER))
        for number, item in enumerate(items):
            yield _Hop(item, (*path, f"[{number}]") if root else path, listed=root)
        yield from _attributes(hop.thing, path)


def _only_a_schema(tool: BaseTool) -> bool:
    """Return whether a tool has no function, such as one for a structured response: it can run nothing."""
    return type(tool) is StructuredTool and tool.func is None and tool.coroutine is None


def _provided(item: dict[object, object]) -> str | None:
    """Return the name of a tool that the model's provider runs; None for the schema of a function."""
    if not item or item.get("type") in ("function", "custom") or _SCHEMAS & set(item):
        return None
    if isinstance(item.get("type"), str):
        name = item.get("name")
        return name if isinstance(name, str) and name else str(item["type"])
    (key, value), *others = item.items()
    return str(key) if type(value) is dict and not others else None


def _function(thing: Any, path: tuple[str, ...]) -> Iterator[_Hop]:
    """Yield what a function can reach: its closure, its defaults, and the module variables that it uses."""
    if type(thing) is functools.partial:
        yield from (_Hop(part, path) for part in (thing.func, *thing.args, *thing.keywords.values()))
        return
    if type(thing) is types.MethodType:
        yield from (_Hop(part, path) for part in (thing.__self__, thing.__func__))
        return
    if type(thing) is types.BuiltinFunctionType:
        return
    ours = _package(thing) in _CLOSED | _FRAMEWORKS
    for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=False):
        with suppress(ValueError):  # the cell is still empty
            yield _Hop(cell.cell_contents, path if ours else (*path, name), name)
    yield from (_Hop(value, path) for value in thing.__defaults__ or ())
    yield from (_Hop(value, path) for value in (thing.__kwdefaults__ or {}).values())
    yield from (_Hop(value, path) for value in vars(thing).values())
    if ours:
        return
    names = _names(thing.__code__)
    for name in names:
        value = thing.__globals__.get(name)
        if type(value) is types.ModuleType:
            known = vars(value)
            yield from (_Hop(known[part], (*path, part), part) for part in names if part in known)
        else:
            yield _Hop(value, (*path, name), name)


def _names(code: types.CodeType) -> list[str]:
    names = dict.fromkeys(code.co_names)
    for inner in code.co_consts:
        if type(inner) is types.CodeType:
            names.update(dict.fromkeys(_names(inner)))
    return list(names)


def _attributes(thing: Any, path: tuple[str, ...]) -> Iterator[_Hop]:
    kind = type(thing)
    package = _package(kind)
    if package in _CLOSED or kind is types.ModuleType:
        return
    held: dict[Any, Any] = {}
    with suppress(AttributeError):
        held.update(object.__getattribute__(thing, "__dict__"))
    for base in kind.__mro__:
        for name, slot in vars(base).items():
            if type(slot) is types.MemberDescriptorType:
                with suppress(AttributeError):
                    held[name] = slot.__get__(thing)
    ours = package in _FRAMEWORKS or issubclass(kind, BaseTool)
    for name, value in held.items():
        yield _Hop(value, path if ours else (*path, str(name)), str(name))
    yield _Hop(kind, path)


def _package(thing: Any) -> str:
    """Return the package of a class or a function; a function keeps it, even if it was made to look like another."""
    function = type(thing) is types.FunctionType
    module = thing.__globals__.get("__name__") if function else getattr(thing, "__module__", None)
    return module.partition(".")[0] if isinstance(module, str) else ""


def _way(path: tuple[str, ...]) -> str:
    return " > ".join(path)


def _function_name(function: object) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)
