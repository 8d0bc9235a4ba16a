"""The gate of a governed tool: a subclass of the tool's own class, which decides on every path to the tool.

The rules:

1. Every way to call a tool (``invoke``, ``run``, ``batch``, a graph's tool node, an agent) ends in ``_run`` or ``_arun``,
   after validation. The gate is there and nowhere else (promises 1 and 7; tests/langchain/test_lc_gate.py).
2. A tool with an attribute of its own in the place of such a method does not run: LangChain would call the attribute
   (promise 1; tests/langchain/test_lc_bypasses.py).
3. The judged values are the validated values that the tool receives (promise 2; tests/langchain/test_lc_arguments.py).
4. Texts for the model name no command that approves (promise 6; tests/langchain/test_lc_matrix.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, cast

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from ascend_guard.arguments import digest_of
from ascend_guard.calling.bound_call import BoundCall
from ascend_guard.calling.declarations import Options
from ascend_guard.calling.execution import Execution
from ascend_guard.calling.scope import current, in_manner, manner
from ascend_guard.calling.tool_kinds import Args, Kwargs, call_through, call_through_async
from ascend_guard.config import default_control_plane
from ascend_guard.errors import AlreadyRanError, AscendError, ConfigurationError

from .call_names import name_in_task
from .model_answers import Changes, message
from .tool_arguments import HANDS_ON, OneCall, ToolArguments, target_of

OnDenied = Literal["message", "raise"]

_GATE = "_ascend_gate"


PATHS = (
    *("_run", "_arun", "run", "arun", "invoke", "ainvoke", "batch", "abatch", "stream", "astream"),
    *("transform", "atransform", "batch_as_completed", "abatch_as_completed"),
)
"""Every method that calls a tool. In LangChain's own version all of them end in ``_run`` or ``_arun``."""


def with_gate(tool: BaseTool, gate: LangChainGate) -> BaseTool:
    """Return a copy of a tool that has this gate.

    Raises:
        ConfigurationError: a method could call the tool without the gate.
    """
    require_paths(tool)
    for name in PATHS[2:]:
        written = getattr(getattr(gate.kind, name, None), "__module__", None) or ""
        if written.partition(".")[0] != "langchain_core":
            raise ConfigurationError(
                f"The class {gate.kind.__name__} of the tool {tool.name!r} has its own {name}(), which may do its work "
                "without _run, where calls are decided. Do the work in _run, or put @governed on the function that does."
            )
    copied = tool.model_copy()
    object.__setattr__(copied, "__class__", _governed_class(gate.kind))
    private = {**(copied.__pydantic_private__ or {}), _GATE: gate}
    object.__setattr__(copied, "__pydantic_private__", private)
    return copied


def gate_of(tool: BaseTool) -> LangChainGate | None:
    """Return the gate of a copy from ``with_gate``."""
    return (tool.__pydantic_private__ or {}).get(_GATE) if isinstance(tool, BaseTool) else None


class LangChainGate:
    """The gate of one governed copy.

    Args:
        kind: the tool's own class.
        declared: the declaration for its calls; None when its function decides them.
        on_denied: as in ``govern_tool``.
    """

    def __init__(self, kind: type[BaseTool], declared: Options | None, on_denied: OnDenied) -> None:
        self.kind = kind
        self.declared = declared
        self.on_denied: OnDenied = on_denied
        self._arguments: dict[str, ToolArguments] = {}

    def prepare(self, method: str, tool: BaseTool, args: Args, kwargs: Kwargs) -> Execution:
        """Bind one call."""
        assert self.declared is not None
        plane = self.declared.control_plane or default_control_plane()
        binder = OneCall(self._known(method, tool), args, kwargs)
        return Execution(
            BoundCall(self.declared, plane, binder.bind(args, kwargs), binder, args, kwargs, binder.hint),
            plane,
        )

    def decides(self, method: str, tool: BaseTool) -> bool:
        """Return whether calls are decided here, and not by the tool's own function.

        Raises:
            ConfigurationError: neither, because the governed function was replaced.
        """
        inside = self._known(method, tool).inside
        if self.declared is None and not inside:
            raise _lost(tool)
        return not inside

    def admitted(self, method: str, tool: BaseTool, args: Args, kwargs: Kwargs) -> bool:
        """Return whether this is the only step from a permitted ``_arun`` to ``_run``, with the same arguments."""
        ticket = _ticket.get()
        if ticket is None or ticket.tool is not tool or ticket.used:
            return False
        if ticket.digest != self.digest(method, tool, args, kwargs):
            return False
        ticket.used = True
        return True

    def digest(self, method: str, tool: BaseTool, args: Args, kwargs: Kwargs) -> str:
        return digest_of(self._known(method, tool).named(args, kwargs), key=b"")

    def _known(self, method: str, tool: BaseTool) -> ToolArguments:
        run = getattr(self.kind, method)
        target = target_of(tool, run, awaited=method == "_arun")
        known = self._arguments.get(method)
        if known is None or known.tool is not tool or known.target is not target:
            known = self._arguments[method] = ToolArguments(tool, run, target, self.kind._run)
        return known

    def answer(self, error: AscendError, tool: BaseTool, tool_call_id: str | None) -> ToolMessage:
        """Return the text for the model; raise the error if it must be raised."""
        agent = _called_by(tool)
        if agent is not None:
            raise agent.carried(error)
        if tool_call_id is None or (self.on_denied == "raise" and not isinstance(error, AlreadyRanError)):
            raise error
        return message(error, tool_call_id, tool.name)

    def __deepcopy__(self, memo: dict[int, object]) -> LangChainGate:
        return LangChainGate(self.kind, self.declared, self.on_denied)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_arguments": {}}


class _Ticket:
    """Connects a permitted ``_arun`` with the ``_run`` that it calls."""

    def __init__(self, tool: BaseTool, digest: str) -> None:
        self.tool = tool
        self.digest = digest
        self.used = False


_ticket: ContextVar[_Ticket | None] = ContextVar("ascend_guard_langchain_ticket", default=None)


class _Agent(NamedTuple):
    """The middleware of an agent that calls a tool."""

    tool: BaseTool
    carried: Callable[[AscendError], Exception]
    inside: object


_calling: ContextVar[_Agent | None] = ContextVar("ascend_guard_langchain_calling", default=None)


@contextmanager
def calling(tool: BaseTool, carried: Callable[[AscendError], Exception]) -> Iterator[None]:
    """In this block an agent's middleware calls this tool: the middleware handles errors, and edits of the arguments.

    Args:
        tool: the tool that it calls.
        carried: returns an exception that passes an error through the node, which may convert other errors to texts.
    """
    token = _calling.set(_Agent(tool, carried, current()))
    try:
        yield
    finally:
        _calling.reset(token)


def _called_by(tool: BaseTool) -> _Agent | None:
    """Return the agent of this call; calls inside the tool's own body have none."""
    agent = _calling.get()
    return agent if agent is not None and agent.tool is tool and agent.inside is current() else None


@contextmanager
def _asked(tool: BaseTool, kwargs: dict[str, Any]) -> Iterator[Changes]:
    """Wrap one call of a governed tool without an agent's middleware."""
    changes, tool_call_id = Changes(), kwargs.get("tool_call_id")
    if tool_call_id is None or _called_by(tool) is not None:
        yield changes
        return
    wanted = manner()
    once = name_in_task((kwargs.get("config") or {}).get("configurable") or {}, tool_call_id)
    if wanted is None:
        around = in_manner(None, None, changes.take, once)
    else:
        around = in_manner(wanted.on_pending, wanted.call_id, changes.take, wanted.once or once)
    with around:
        yield changes


@functools.lru_cache(maxsize=1024)
def _governed_class(kind: type[BaseTool]) -> type[BaseTool]:
    """Return a subclass of a tool's own class that looks like it, with the gate in every call."""
    methods = {
        "_run": _gated(kind),
        "_arun": _agated(kind),
        "run": _answered(kind),
        "arun": _aanswered(kind),
        # LangChain hands all of invoke() to a thread where there is no coroutine; a person is waited for before that.
        "ainvoke": BaseTool.ainvoke,
        "__reduce_ex__": _reduced,
        "__setattr__": _guarded(kind),
        "model_copy": _copied(kind),
    }
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    metaclass: Any = type(kind)
    try:
        return cast(type[BaseTool], metaclass(kind.__name__, (kind,), {**named, **methods}))
    except TypeError as error:
        raise ConfigurationError(
            f"The class {kind.__name__} cannot be subclassed ({error}), so its tools cannot be governed "
            "here. Put @governed on the function that does the work."
        ) from None


def _gated(kind: type[BaseTool]) -> Callable[..., object]:
    inner = kind._run

    @functools.wraps(inner)
    def _run(self: BaseTool, *args: object, **kwargs: object) -> object:
        gate = _required(self)
        if not gate.decides("_run", self) or gate.admitted("_run", self, args, kwargs):
            return inner(self, *args, **kwargs)
        call = _Call(gate, "_run", self, hands_on=False)

        def body(*args: object, **kwargs: object) -> Any:
            with call.running(args, kwargs):
                return inner(self, *args, **kwargs)

        return call_through(body, call.prepare, None, args, kwargs)

    return _run


def _agated(kind: type[BaseTool]) -> Callable[..., object]:
    inner = kind._arun
    # If the class has none, BaseTool's method runs the call in a thread; the wait for a person comes before that. Then
    # arun() finds here what it would have found in _run.
    method = "_run" if inner is BaseTool._arun else "_arun"

    @functools.wraps(getattr(kind, method))
    async def _arun(self: BaseTool, *args: object, **kwargs: object) -> object:
        gate = _required(self)
        if not gate.decides(method, self):
            return await inner(self, *args, **kwargs)
        hands_on = inner not in HANDS_ON or getattr(self, "coroutine", None) is None
        call = _Call(gate, method, self, hands_on=hands_on)

        async def body(*args: object, **kwargs: object) -> Any:
            with call.running(args, kwargs):
                return await inner(self, *args, **kwargs)

        return await call_through_async(body, call.prepare, None, args, kwargs)

    return _arun


class _Call:
    """One call of a governed tool, from its arguments to its body.

    Args:
        gate: the tool's gate.
        method: the method whose arguments are judged.
        tool: the tool.
        hands_on: the body may pass this same call on to ``_run``, once.
    """

    def __init__(self, gate: LangChainGate, method: str, tool: BaseTool, *, hands_on: bool) -> None:
        self._hands_on = hands_on
        self._gate = gate
        self._method = method
        self._tool = tool

    def prepare(
        self, wrapped: Callable[..., object], instance: object, args: Args, kwargs: Kwargs
    ) -> Execution:
        return self._gate.prepare(self._method, self._tool, args, kwargs)

    @contextmanager
    def running(self, args: Args, kwargs: Kwargs) -> Iterator[None]:
        """Wrap the body."""
        ticket = None
        if self._hands_on:
            ticket = _Ticket(self._tool, self._gate.digest("_run", self._tool, args, kwargs))
        token = _ticket.set(ticket)
        try:
            yield
        finally:
            _ticket.reset(token)


def _answered(kind: type[BaseTool]) -> Callable[..., Any]:
    @functools.wraps(kind.run)
    def run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        gate = _required(self)  # before LangChain calls what may stand in the place of _run
        with _asked(self, kwargs) as changes:
            try:
                answer = kind.run(self, *args, **kwargs)
            except AscendError as error:
                return gate.answer(error, self, kwargs.get("tool_call_id"))
        return changes.told(answer, kwargs.get("tool_call_id"))

    return run


def _aanswered(kind: type[BaseTool]) -> Callable[..., Any]:
    @functools.wraps(kind.arun)
    async def arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        gate = _required(self)
        with _asked(self, kwargs) as changes:
            try:
                answer = await kind.arun(self, *args, **kwargs)
            except AscendError as error:
                return gate.answer(error, self, kwargs.get("tool_call_id"))
        return changes.told(answer, kwargs.get("tool_call_id"))

    return arun


def _guarded(kind: type[BaseTool]) -> Callable[..., None]:
    @functools.wraps(kind.__setattr__)
    def __setattr__(self: BaseTool, name: str, value: object) -> None:
        kind.__setattr__(self, name, value)
        if name in PATHS:
            object.__delattr__(self, name)
            raise _lost(self)

    return __setattr__


def _copied(kind: type[BaseTool]) -> Callable[..., BaseTool]:
    @functools.wraps(kind.model_copy)
    def model_copy(self: BaseTool, **how: Any) -> BaseTool:
        copied = kind.model_copy(self, **how)
        require_paths(copied)
        return copied

    return model_copy


def require_paths(tool: BaseTool) -> None:
    """Refuse a tool with an attribute of its own that would be called instead of its class's method.

    Raises:
        ConfigurationError: it has such an attribute.
    """
    own = sorted(vars(tool).keys() & PATHS)
    if own:
        raise ConfigurationError(
            f"{own[0]} of the tool {tool.name!r} was replaced on the tool object, so its calls would not be decided. Do "
            "this in a subclass, and govern a tool of that class."
        )


def _required(tool: BaseTool) -> LangChainGate:
    gate = gate_of(tool)
    if gate is None:
        raise _lost(tool)
    require_paths(tool)
    return gate


def _lost(tool: BaseTool) -> ConfigurationError:
    return ConfigurationError(
        f"The tool {tool.name!r} has lost its gate, so it does not run. Govern it again with govern_tool."
    )


def _reduced(self: BaseTool, protocol: object) -> Args:
    gate = _required(self)
    return _restored, (gate.kind, self.__getstate__())


def _restored(kind: type[BaseTool], state: dict[object, object]) -> BaseTool:
    governed = _governed_class(kind)
    made = governed.__new__(governed)
    made.__setstate__(state)
    return made
