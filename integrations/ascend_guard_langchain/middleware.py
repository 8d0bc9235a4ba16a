"""Governance for agents from ``create_agent``: one middleware, which decides on every tool of the agent."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Literal, Unpack, cast

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command, interrupt

from ascend_guard import scope
from ascend_guard.calling.declarations import Declaration, Details, options
from ascend_guard.calling.scope import in_manner, scoped
from ascend_guard.drivers import adrive, drive
from ascend_guard.errors import ActionPendingError, AlreadyRanError, AscendError, ConfigurationError
from ascend_guard.flow import OnPending
from ascend_guard.model import Permit

from .call_names import name_in_thread, request_in_thread
from .gate import OnDenied, calling, gate_of, require_paths
from .governed_tools import govern_tool, is_governed
from .model_answers import Changes, message

Answer = ToolMessage | Command[Any]
Handler = Callable[[ToolCallRequest], Answer]
AsyncHandler = Callable[[ToolCallRequest], Awaitable[Answer]]
WhenPending = Literal["wait", "return", "interrupt"]

_KEPT = 256
_LONGEST_ID = 255


class GovernanceMiddleware(AgentMiddleware[Any, Any]):
    """Every tool call of an agent becomes an action, and the tool runs only after a decision allows it::

        agent = create_agent(model, tools, middleware=[..., GovernanceMiddleware(action_types={"refund": "refund"})])

    Put it last: later middleware could replace the tool that runs. A tool that ``govern_tool`` or ``@governed`` already
    governs is decided there, once. Calls carry the thread of the graph as their session, unless a scope around the agent
    names one.

    Args:
        action_types: action categories by the tools' names; ``langchain.<name>`` for names that are not in the table.
        on_pending: what happens while a person decides. ``wait``: the call waits. ``return``: the model is told to call
            again with the same arguments, and that call gets the decision. ``interrupt``: the graph is interrupted
            (``langgraph.types.interrupt``; it needs a checkpointer), and when it is resumed, the decision is read from
            the control plane. The value with which it is resumed decides nothing.
        on_denied: a ``message`` for the model (an error ``ToolMessage``), or ``raise``.
        **declared: the declaration for all tools; see ``ascend_guard.calling.declarations.Details``.

    Raises:
        ConfigurationError: a value is of the wrong type or shape.
    """

    def __init__(
        self,
        action_types: Mapping[str, str] | None = None,
        *,
        on_pending: WhenPending = "wait",
        on_denied: OnDenied = "message",
        **declared: Unpack[Details],
    ) -> None:
        super().__init__()
        if on_pending not in ("wait", "return", "interrupt"):
            raise ConfigurationError(
                f"on_pending must be 'wait', 'return' or 'interrupt', not {on_pending!r}."
            )
        if on_denied not in ("message", "raise"):
            raise ConfigurationError(f"on_denied must be 'message' or 'raise', not {on_denied!r}.")
        if action_types is not None and not isinstance(action_types, Mapping):
            raise ConfigurationError("action_types must be a dictionary from tool names to action types.")
        for tool, action_type in (action_types or {}).items():
            options(action_type, tool, _declaration(declared))  # reports a mistake now, not at the first call
        options("x", "x", _declaration(declared))
        self.action_types = dict(action_types or {})
        self.on_pending: WhenPending = on_pending
        self.on_denied: OnDenied = on_denied
        self._declared = declared
        self._governed: dict[tuple[int, str], tuple[BaseTool, BaseTool]] = {}

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Answer:
        """Decide one call, then run it."""
        turn = _Turn(self.on_pending)

        def perform(asked: ToolCallRequest) -> Answer:
            with self._around(asked, turn):
                return handler(asked)

        return drive(self._call(request, turn), perform)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncHandler) -> Answer:
        """The same, on the event loop."""
        turn = _Turn(self.on_pending)

        async def perform(asked: ToolCallRequest) -> Answer:
            with self._around(asked, turn):
                return await handler(asked)

        return await adrive(self._call(request, turn), perform)

    def _call(self, request: ToolCallRequest, turn: _Turn) -> Generator[ToolCallRequest, Answer, Answer]:
        if request.tool is None:
            return _unknown(request)
        if self.on_pending == "interrupt":
            _require_checkpointer()
        asked = request.override(tool=self.governed(request.tool))
        while True:
            try:
                return turn.told((yield asked), request)
            except (AscendError, _Carried) as raised:
                error = raised.error if isinstance(raised, _Carried) else raised
                if (
                    self.on_pending != "interrupt"
                    or not isinstance(error, ActionPendingError)
                    or not error.repeatable
                ):
                    return self._refused(error, request)
                # The value comes from the caller that resumed the graph, which may be anyone: read the decision from
                # the control plane.
                interrupt(_waiting(error, request))
            except GraphInterrupt as asks:
                turn.require_not_its_own(asks, request)
                raise

    def governed(self, tool: BaseTool) -> BaseTool:
        """Return the tool that runs for this agent's calls of ``tool``: a governed copy, or itself if it is governed.

        Raises:
            ConfigurationError: it cannot be governed, or no longer.
        """
        require_paths(tool)
        if gate_of(tool) is not None:
            return tool
        key = (id(tool), tool.name)
        known = self._governed.get(key)
        if known is None or known[0] is not tool:
            if len(self._governed) >= _KEPT:
                self._governed.clear()
            if is_governed(tool):  # its function decides; the copy passes its errors through the node
                made = govern_tool(tool, on_denied="raise")
            else:
                made = govern_tool(
                    tool, self.action_types.get(tool.name), on_denied="raise", **self._declared
                )
            # The same tool except for its class: changes and counters of one are those of the other.
            object.__setattr__(made, "__dict__", tool.__dict__)
            known = self._governed[key] = (tool, made)
        return known[1]

    @contextmanager
    def _around(self, request: ToolCallRequest, turn: _Turn) -> Iterator[None]:
        assert request.tool is not None
        configurable = _configurable()
        thread = configurable.get("thread_id")
        once = name_in_thread(configurable, request.state, request.tool_call["id"])
        with contextlib.ExitStack() as stack:
            if scoped().session_id is None and thread:
                stack.enter_context(scope(session_id=_short(str(thread))))
            on_pending: OnPending | None = None if self.on_pending == "wait" else "raise"
            call_id = None
            if self.on_pending == "interrupt":
                call_id = request_in_thread(configurable, request.tool_call["id"])
            stack.enter_context(in_manner(on_pending, call_id, turn.approved, once))
            stack.enter_context(calling(request.tool, _Carried))
            yield

    def _refused(self, error: AscendError, request: ToolCallRequest) -> ToolMessage:
        if self.on_denied == "raise" and not isinstance(error, AlreadyRanError):
            raise error
        call = request.tool_call
        return message(error, cast(str, call["id"]), call["name"])


class _Carried(GraphBubbleUp):
    """Passes an error of the gate to the middleware: LangGraph's nodes can convert all other errors to texts."""

    def __init__(self, error: AscendError) -> None:
        super().__init__(str(error))
        self.error = error


class _Turn:
    """One tool call in one execution of the graph's task."""

    def __init__(self, on_pending: WhenPending) -> None:
        self._interrupts = on_pending == "interrupt"
        self._own: str | None = None
        self._changes = Changes()

    def approved(self, permit: Permit) -> None:
        """Note a person's approval, before the body runs."""
        self._changes.take(permit)
        if self._interrupts:
            self._take_answers()

    def told(self, answer: Answer, request: ToolCallRequest) -> Answer:
        """Return the tool's answer, with a note on what the approver changed."""
        return cast(Answer, self._changes.told(answer, request.tool_call["id"]))

    def _take_answers(self) -> None:
        """The graph was resumed for our interrupts: discard those answers, so that a tool which interrupts as well does
        not take them for answers to its own questions."""
        try:
            while True:
                interrupt(None)
        except GraphInterrupt as asks:
            self._own = next((each.id for each in asks.args[0]), None)

    def require_not_its_own(self, asks: GraphInterrupt, request: ToolCallRequest) -> None:
        """Refuse an approved body that interrupts the graph itself: each answer would need another approval."""
        if self._own is not None and any(each.id == self._own for each in asks.args[0]):
            raise ConfigurationError(
                f"The tool {request.tool_call['name']!r} needs approval and interrupts the graph itself; with "
                "on_pending='interrupt' it would be unknown which of the two a resumed graph answers. Use 'wait' or "
                "'return' for an agent with this tool."
            ) from None


def _declaration(details: Details) -> Declaration:
    return cast(Declaration, details)


def _unknown(request: ToolCallRequest) -> ToolMessage:
    """The answer when no tool of the agent has this name. A tool that other middleware would add now cannot be governed."""
    name = str(request.tool_call["name"])[:100]
    return _message(f"There is no tool {name!a}. Use one of the tools that you were given.", request)


def _message(text: str, request: ToolCallRequest) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(text, tool_call_id=cast(str, call["id"]), name=call["name"], status="error")


def _waiting(error: ActionPendingError, request: ToolCallRequest) -> dict[str, object]:
    """The value of the interrupt for the application that runs the graph; plain data, because the checkpoint stores it."""
    return {
        "type": "ascend_guard.approval",
        "action_id": error.action_id,
        "tool": request.tool_call["name"],
        "tool_call_id": request.tool_call["id"],
        "reason": error.reason,
        "rule": error.rule,
        "message": f"A person must decide on action {error.action_id}; then resume the graph, with any value.",
    }


def _require_checkpointer() -> None:
    if _configurable().get("__pregel_checkpointer") is None:
        raise ConfigurationError(
            "on_pending='interrupt' needs a graph with a checkpointer, because it must be resumed later: "
            "create_agent(..., checkpointer=...). Without one use on_pending='wait' or 'return'."
        )


def _configurable() -> dict[str, object]:
    try:
        return get_config().get("configurable") or {}
    except RuntimeError:  # called directly, outside of any graph
        return {}


def _short(text: str) -> str:
    plain = text.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= _LONGEST_ID else "sha256:" + sha256(plain.encode()).hexdigest()
