"""Governance for agents made by ``create_agent``: one middleware, and every tool the agent has is decided on."""

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

from ._gate import OnDenied, calling, gate_of, require_paths
from ._names import name_in_thread, request_in_thread
from ._told import Changes, message
from ._tools import govern_tool, is_governed

Answer = ToolMessage | Command[Any]
Handler = Callable[[ToolCallRequest], Answer]
AsyncHandler = Callable[[ToolCallRequest], Awaitable[Answer]]
WhenPending = Literal["wait", "return", "interrupt"]

_KEPT = 256
_LONGEST_ID = 255


class GovernanceMiddleware(AgentMiddleware[Any, Any]):
    """Every tool call of an agent becomes an action, and the tool runs only after a decision allows it::

        agent = create_agent(model, tools, middleware=[..., GovernanceMiddleware(action_types={"refund": "refund"})])

    Put it last: middleware that comes after it may exchange the tool that runs. A tool that ``govern_tool`` or
    ``@governed`` governs already is decided there, once. Calls carry the thread of the graph as their session, unless a
    scope around the agent names one.

    Args:
        action_types: action categories by the tools' names; ``langchain.<name>`` for those not in the table.
        on_pending: what happens while a person decides. ``wait``: the call waits. ``return``: the model is told to call
            again with the same arguments, and that call learns the decision. ``interrupt``: the graph is interrupted
            (``langgraph.types.interrupt``; it needs a checkpointer), and when it is resumed the control plane is asked
            what was decided. What it is resumed with decides nothing.
        on_denied: a ``message`` the model can act on (an error ``ToolMessage``), or ``raise``.
        **declared: what holds for all tools; see ``ascend_guard.calling.bound_call.Details``.

    Raises:
        ConfigurationError: something is of the wrong type or shape.
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
            raise ConfigurationError(f"on_pending is 'wait', 'return' or 'interrupt', not {on_pending!r}.")
        if on_denied not in ("message", "raise"):
            raise ConfigurationError(f"on_denied is 'message' or 'raise', not {on_denied!r}.")
        if action_types is not None and not isinstance(action_types, Mapping):
            raise ConfigurationError("action_types is a dictionary of action types by the names of tools.")
        for tool, action_type in (action_types or {}).items():
            options(
                action_type, tool, _declaration(declared)
            )  # what is wrong is said now, not at the first call
        options("x", "x", _declaration(declared))
        self.action_types = dict(action_types or {})
        self.on_pending: WhenPending = on_pending
        self.on_denied: OnDenied = on_denied
        self._declared = declared
        self._governed: dict[tuple[int, str], tuple[BaseTool, BaseTool]] = {}

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Answer:
        """Decide one call, then let it run."""
        turn = _Turn(self.on_pending)

        def perform(asked: ToolCallRequest) -> Answer:
            with self._around(asked, turn):
                return handler(asked)

        return drive(self._call(request, turn), perform)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncHandler) -> Answer:
        """The same on the event loop."""
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
                # What comes back is whatever the graph was resumed with, by whoever: the control plane is asked again.
                interrupt(_waiting(error, request))
            except GraphInterrupt as asks:
                turn.require_not_its_own(asks, request)
                raise

    def governed(self, tool: BaseTool) -> BaseTool:
        """The tool this agent's calls of ``tool`` run: a governed copy, or itself where it is governed already.

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
            if is_governed(tool):  # its function decides; the copy brings what that raises past the node
                made = govern_tool(tool, on_denied="raise")
            else:
                made = govern_tool(
                    tool, self.action_types.get(tool.name), on_denied="raise", **self._declared
                )
            # The agent's tool in all but its class: what is changed on the one, or counted by the other, is the same.
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
    """Brings what the gate raised to the middleware: LangGraph's nodes can be told to make texts of all other errors."""

    def __init__(self, error: AscendError) -> None:
        super().__init__(str(error))
        self.error = error


class _Turn:
    """One tool call in one run of the graph's task."""

    def __init__(self, on_pending: WhenPending) -> None:
        self._interrupts = on_pending == "interrupt"
        self._own: str | None = None
        self._changes = Changes()

    def approved(self, permit: Permit) -> None:
        """Before the body runs under a person's approval."""
        self._changes.take(permit)
        if self._interrupts:
            self._take_answers()

    def told(self, answer: Answer, request: ToolCallRequest) -> Answer:
        """The tool's answer, which says what the approver changed."""
        return cast(Answer, self._changes.told(answer, request.tool_call["id"]))

    def _take_answers(self) -> None:
        """The graph was resumed for our interrupts, so a tool that interrupts as well must not take
        what was said then for answers to its own questions."""
        try:
            while True:
                interrupt(None)
        except GraphInterrupt as asks:
            self._own = next((each.id for each in asks.args[0]), None)

    def require_not_its_own(self, asks: GraphInterrupt, request: ToolCallRequest) -> None:
        """A body that was approved and asks a question of its own would need another approval for each answer."""
        if self._own is not None and any(each.id == self._own for each in asks.args[0]):
            raise ConfigurationError(
                f"The tool {request.tool_call['name']!r} needs approval and interrupts the graph itself; with "
                "on_pending='interrupt' nobody could tell which of the two a resumed graph was answered. Use 'wait' or "
                "'return' for the agent that has it."
            ) from None


def _declaration(details: Details) -> Declaration:
    return cast(Declaration, details)


def _unknown(request: ToolCallRequest) -> ToolMessage:
    """No tool of the agent has this name. One that other middleware would bring now could not be governed."""
    name = str(request.tool_call["name"])[:100]
    return _message(f"There is no tool {name!a}. Use one of those you were given.", request)


def _message(text: str, request: ToolCallRequest) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(text, tool_call_id=cast(str, call["id"]), name=call["name"], status="error")


def _waiting(error: ActionPendingError, request: ToolCallRequest) -> dict[str, object]:
    """What whoever runs the graph is shown; plain data, for it is stored with the checkpoint."""
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
            "on_pending='interrupt' needs a graph with a checkpointer, or it could not be resumed: "
            "create_agent(..., checkpointer=...). Without one use on_pending='wait' or 'return'."
        )


def _configurable() -> dict[str, object]:
    try:
        return get_config().get("configurable") or {}
    except RuntimeError:  # called by hand, outside of any graph
        return {}


def _short(text: str) -> str:
    plain = text.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= _LONGEST_ID else "sha256:" + sha256(plain.encode()).hexdigest()
