"""Tools that do nothing until a decision allows the call, whichever way they are called."""

from __future__ import annotations

import copyreg
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, Unpack, cast

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from ascend_guard._governed import BoundGoverned, Governed
from ascend_guard._kinds import call_through, call_through_async
from ascend_guard.arguments import digest_of
from ascend_guard.calls import BoundCall, Declaration, Options, options
from ascend_guard.config import default_control_plane
from ascend_guard.errors import AscendError, ConfigurationError
from ascend_guard.execution import Execution
from ascend_guard.refusals import refusal

from ._arguments import OneCall, ToolArguments

T = TypeVar("T", bound=BaseTool)
OnDenied = Literal["message", "raise"]

_LANGCHAIN = "langchain."
_GATE = "_ascend_gate"


def govern_tool(
    tool: T,
    action_type: str | None = None,
    *,
    tool_name: str | None = None,
    on_denied: OnDenied = "message",
    **declared: Unpack[Declaration],
) -> T:
    """A copy of a tool whose calls are decided before they run, on every path: ``invoke``, ``batch``, ``stream``, ``run``,
    their async forms, pipes, and the tool nodes of agents.

    It keeps the tool's class, name, schema and behaviour. What is judged are the validated arguments, defaults included,
    without what LangGraph injects (state, store, runtime, the call's id).

    Args:
        tool: any LangChain tool. One whose function is ``@governed`` already is decided there, and only there.
        action_type: action category; ``langchain.<name>`` when left out.
        tool_name: the tool or service used; the tool's name when left out.
        on_denied: what becomes of a call that must not run: a ``message`` a model can act on (an error ``ToolMessage``;
            where the caller gave no tool call to answer, the error is raised), or ``raise`` always.
        **declared: see ``ascend_guard.calls.Declaration``.

    Raises:
        ConfigurationError: this is no tool, or it cannot be governed so.
    """
    if not isinstance(tool, BaseTool):
        raise ConfigurationError(
            f"govern_tool takes a LangChain tool, not {type(tool).__name__}: put @tool over the function first, or "
            "govern the function with ascend_guard.governed."
        )
    if isinstance(gate_of(tool), ToolGate):
        raise ConfigurationError(f"The tool {tool.name!r} is governed already; govern it once.")
    if on_denied not in ("message", "raise"):
        raise ConfigurationError(f"on_denied is 'message' or 'raise', not {on_denied!r}.")
    kind = type(tool)
    if decided_inside(tool):
        if action_type is not None or declared:
            raise ConfigurationError(
                f"The function of the tool {tool.name!r} is @governed, which decides its calls: say there what is to be "
                "said about them."
            )
        chosen = None
    else:
        chosen = options(action_type or _LANGCHAIN + tool.name, tool_name or tool.name, declared)
    copied = tool.model_copy()
    object.__setattr__(copied, "__class__", _governed_class(kind))
    private = {**(copied.__pydantic_private__ or {}), _GATE: ToolGate(kind, chosen, on_denied)}
    object.__setattr__(copied, "__pydantic_private__", private)
    return copied


def govern_tools(
    tools: Iterable[BaseTool],
    action_types: Mapping[str, str] | None = None,
    *,
    on_denied: OnDenied = "message",
    **declared: Unpack[Declaration],
) -> list[BaseTool]:
    """Govern several tools; those that are governed already are left as they are.

    Args:
        tools: any LangChain tools.
        action_types: action categories by the tools' names; ``langchain.<name>`` for a tool that is not among them.
        on_denied: as in ``govern_tool``.
        **declared: what holds for all of them; see ``ascend_guard.calls.Declaration``.

    Raises:
        ConfigurationError: one cannot be governed, or a name in the table is no tool's.
    """
    given = list(tools)
    table = dict(action_types or {})
    unknown = sorted(set(table) - {tool.name for tool in given if isinstance(tool, BaseTool)})
    if unknown:
        raise ConfigurationError(
            f"There is no tool {unknown[0]!r} among {', '.join(tool.name for tool in given) or 'none'}: an action type "
            "for it would govern nothing."
        )
    governed = []
    for tool in given:
        if isinstance(tool, BaseTool) and is_governed(tool):
            governed.append(tool)
        else:
            governed.append(
                govern_tool(tool, table.get(getattr(tool, "name", "")), on_denied=on_denied, **declared)
            )
    return governed


def is_governed(tool: BaseTool) -> bool:
    """Whether nothing this tool does happens before a decision: it is a copy ``govern_tool`` made, or its functions are
    ``@governed``."""
    return isinstance(gate_of(tool), ToolGate) or decided_inside(tool)


def gate_of(tool: BaseTool) -> ToolGate | None:
    """The gate of a copy that ``govern_tool`` made."""
    return (tool.__pydantic_private__ or {}).get(_GATE) if isinstance(tool, BaseTool) else None


def decided_inside(tool: BaseTool) -> bool:
    """Whether every function a call of this tool could end in is ``@governed``."""
    functions = [
        function
        for function in (getattr(tool, "func", None), getattr(tool, "coroutine", None))
        if callable(function)
    ]
    if not functions:
        kind = type(tool)
        functions = [
            inspect.getattr_static(kind, name)
            for name in ("_run", "_arun")
            if inspect.getattr_static(kind, name) is not inspect.getattr_static(BaseTool, name)
        ]
    return all(isinstance(function, Governed | BoundGoverned) for function in functions)


# --- the gate -------------------------------------------------------------------------------------------------------


class ToolGate:
    """The gate of one governed copy.

    Args:
        kind: the tool's own class.
        declared: what was said about its calls; None when its function decides them.
        on_denied: as in ``govern_tool``.
    """

    def __init__(self, kind: type[BaseTool], declared: Options | None, on_denied: OnDenied) -> None:
        self.kind = kind
        self.declared = declared
        self.on_denied = on_denied
        self._arguments: dict[str, ToolArguments] = {}

    def prepare(
        self, method: str, tool: BaseTool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Execution:
        """Bind one call."""
        assert self.declared is not None
        plane = self.declared.control_plane or default_control_plane()
        binder = OneCall(self._known(method, tool), args, kwargs)
        return Execution(
            BoundCall(self.declared, plane, binder.bind(args, kwargs), binder, args, kwargs), plane
        )

    def admitted(self, method: str, tool: BaseTool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this is the one step from a permitted ``_arun`` on to ``_run``, with the same arguments."""
        ticket = _ticket.get()
        if ticket is None or ticket.tool is not tool or ticket.used:
            return False
        if ticket.digest != self.digest(method, tool, args, kwargs):
            return False
        ticket.used = True
        return True

    def digest(self, method: str, tool: BaseTool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        return digest_of(self._known(method, tool).named(args, kwargs), key=b"", redact=frozenset())

    def _known(self, method: str, tool: BaseTool) -> ToolArguments:
        known = self._arguments.get(method)
        if known is None or known.tool is not tool:
            known = self._arguments[method] = ToolArguments(tool, getattr(self.kind, method))
        return known

    def answer(self, error: AscendError, tool: BaseTool, tool_call_id: str | None) -> ToolMessage:
        """What the model is told; raises the error where it is to be raised."""
        if tool_call_id is None or self.on_denied == "raise" or _raising.get() is tool:
            raise error
        return ToolMessage(refusal(error), tool_call_id=tool_call_id, name=tool.name, status="error")

    def __deepcopy__(self, memo: dict[int, Any]) -> ToolGate:
        return ToolGate(self.kind, self.declared, self.on_denied)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arguments": {}}


class Suspended(Exception):
    """What is recorded of a tool inside of which the graph was interrupted."""


@contextmanager
def _suspended() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        graph: Any = sys.modules.get("langgraph.errors")
        if graph is None or not isinstance(error, graph.GraphBubbleUp):
            raise
        raise Suspended("something inside it waits; the graph runs it again when it is resumed") from error


@contextmanager
def _resumed() -> Iterator[None]:
    try:
        yield
    except Suspended as suspended:
        raise (suspended.__cause__ or suspended) from None


class _Ticket:
    """From a permitted ``_arun`` to the ``_run`` it hands its work to."""

    def __init__(self, tool: BaseTool, digest: str) -> None:
        self.tool = tool
        self.digest = digest
        self.used = False


_ticket: ContextVar[_Ticket | None] = ContextVar("ascend_guard_langchain_ticket", default=None)
_raising: ContextVar[BaseTool | None] = ContextVar("ascend_guard_langchain_raising", default=None)


@contextmanager
def raising(tool: BaseTool) -> Iterator[None]:
    """In this block a call of this tool that must not run raises, whatever was declared."""
    token = _raising.set(tool)
    try:
        yield
    finally:
        _raising.reset(token)


@functools.lru_cache(maxsize=1024)
def _governed_class(kind: type[BaseTool]) -> type[BaseTool]:
    """A subclass of a tool's own class that looks like it, with the gate where every call comes by."""
    methods = {
        "_run": _gated(kind),
        "_arun": _agated(kind),
        "run": _answered(kind),
        "arun": _aanswered(kind),
        "__reduce_ex__": _reduced,
    }
    if hasattr(kind, "coroutine") or "coroutine" in kind.model_fields:
        methods["ainvoke"] = _awaited(kind)
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    metaclass: Any = type(kind)
    return cast(type[BaseTool], metaclass(kind.__name__, (kind,), {**named, **methods}))


def _gated(kind: type[BaseTool]) -> Callable[..., Any]:
    inner = kind._run

    @functools.wraps(inner)
    def _run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        gate = _required(self)
        if gate.declared is None or gate.admitted("_run", self, args, kwargs):
            return inner(self, *args, **kwargs)

        def body(*args: Any, **kwargs: Any) -> Any:
            with _suspended():
                return inner(self, *args, **kwargs)

        with _resumed():
            return call_through(body, functools.partial(_prepared, "_run", self), None, args, kwargs)

    return _run


def _agated(kind: type[BaseTool]) -> Callable[..., Any]:
    inner = kind._arun
    # Where the class has none of its own, BaseTool's hands the call to a thread; a person is waited for before that. Then
    # arun() finds here what it would have looked for in _run.
    method = "_run" if inner is BaseTool._arun else "_arun"

    @functools.wraps(getattr(kind, method))
    async def _arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        gate = _required(self)
        if gate.declared is None:
            return await inner(self, *args, **kwargs)

        async def body(*args: Any, **kwargs: Any) -> Any:
            token = _ticket.set(_Ticket(self, gate.digest("_run", self, args, kwargs)))
            try:
                with _suspended():
                    return await inner(self, *args, **kwargs)
            finally:
                _ticket.reset(token)

        with _resumed():
            return await call_through_async(
                body, functools.partial(_prepared, method, self), None, args, kwargs
            )

    return _arun


def _answered(kind: type[BaseTool]) -> Callable[..., Any]:
    @functools.wraps(kind.run)
    def run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        try:
            return kind.run(self, *args, **kwargs)
        except AscendError as error:
            return _required(self).answer(error, self, kwargs.get("tool_call_id"))

    return run


def _aanswered(kind: type[BaseTool]) -> Callable[..., Any]:
    @functools.wraps(kind.arun)
    async def arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        try:
            return await kind.arun(self, *args, **kwargs)
        except AscendError as error:
            return _required(self).answer(error, self, kwargs.get("tool_call_id"))

    return arun


def _awaited(kind: type[BaseTool]) -> Callable[..., Any]:
    @functools.wraps(kind.ainvoke)
    async def ainvoke(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        # Without a coroutine, LangChain hands all of invoke() to a thread, which would then wait for a person.
        waits = getattr(self, "coroutine", None) is None and _required(self).declared is not None
        return await (BaseTool if waits else kind).ainvoke(self, *args, **kwargs)

    return ainvoke


def _prepared(
    method: str,
    tool: BaseTool,
    wrapped: Callable[..., Any],
    instance: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Execution:
    return _required(tool).prepare(method, tool, args, kwargs)


def _required(tool: BaseTool) -> ToolGate:
    gate = gate_of(tool)
    if gate is None:
        raise ConfigurationError(
            f"The tool {tool.name!r} has lost its gate, so it does not run. Govern it again with govern_tool."
        )
    return gate


def _reduced(self: BaseTool, protocol: Any) -> tuple[Any, ...]:
    gate = _required(self)
    return _restored, (gate.kind, self.__getstate__())


def _restored(kind: type[BaseTool], state: dict[Any, Any]) -> BaseTool:
    made = copyreg.__newobj__(_governed_class(kind))  # type: ignore[attr-defined]
    made.__setstate__(state)
    return cast(BaseTool, made)
