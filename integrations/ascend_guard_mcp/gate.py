"""An MCP server's tool calls as governed actions. Every entry point of this package uses this gate.

The rules:

1. Each ``tools/call`` gets one admission before the server's tool runs, and runs with the admission's arguments
   (promises 1 and 2).
2. A call is settled once: completed, failed, or ``unknown`` when its answer never arrived (promises 3 and 5).
3. Texts for the client name no command that approves (promise 6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypedDict, Unpack, cast

from ascend_guard import scope
from ascend_guard.callables.type_hints import json_value
from ascend_guard.calling.bound_call import BoundCall
from ascend_guard.calling.declarations import Declaration, Options, options
from ascend_guard.calling.execution import Execution, Unfinished
from ascend_guard.calling.refusals import changed, refusal
from ascend_guard.calling.scope import require_text, scoped
from ascend_guard.config import default_control_plane
from ascend_guard.errors import AscendError, ConfigurationError, ValidationError, refuse_unknown
from ascend_guard.flow import ControlPlane

__all__ = ["Admission", "GateOptions", "ToolFailed", "ToolGate", "Unfinished", "refusal"]

WAIT = 45.0
"""Default seconds that a call waits for a person: many clients give up after sixty, even with progress messages."""

_LONGEST_NAME = 255
_NONE: Mapping[str, str] = MappingProxyType({})


class ToolFailed(Exception):
    """The tool itself reported that it failed; recorded as the outcome."""


class GateOptions(TypedDict, total=False):
    """How a server's tools are governed.

    ``namespace``: the first part of an action type; by default the server's name. ``action_types``: by tool, for those
    that are not called ``<namespace>.<tool>`` (SDK document, "MCP governance"). ``wait``: seconds that a call waits for a
    person before it answers that it is pending, by default 45; the same call, made again, resumes the action. ``redact``:
    names of arguments whose values are redacted. ``context``, ``risk_level`` and ``model_id`` as in
    ``governed``. ``control_plane`` decides instead of the configured default.
    """

    namespace: str | None
    action_types: Mapping[str, str]
    wait: float
    redact: tuple[str, ...]
    context: Mapping[str, Any] | None
    risk_level: str | None
    model_id: str | None
    control_plane: ControlPlane | None


class ToolGate:
    """Decides on one server's tool calls.

    Args:
        name: the server's registered name.
        **declared: see ``GateOptions``.

    Raises:
        ConfigurationError: a value is of the wrong type; the message says what to write instead.
    """

    def __init__(self, name: str, **declared: Unpack[GateOptions]) -> None:
        refuse_unknown("option", declared, GateOptions.__annotations__)
        given: dict[str, Any] = dict(declared)
        wait = given.pop("wait", WAIT)
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < 1e9:
            raise ConfigurationError(f"wait must be a number of seconds, at least 0, not {wait!r}.")
        self.name = name
        self.namespace: str = given.pop("namespace", None) or name
        action_types = given.pop("action_types", None) or _NONE
        if not isinstance(action_types, Mapping):
            raise ConfigurationError("action_types must be a dictionary from tool names to action types.")
        try:
            for what, text in (("name", name), ("namespace", self.namespace)):
                require_text(what, text)
            for tool, action_type in action_types.items():
                require_text("the name of a tool", tool)
                require_text(f"the action type of {tool!r}", action_type, optional=True)
        except ValidationError as error:
            raise ConfigurationError(f"This server cannot be governed: {error}") from None
        self._action_types = dict(action_types)
        self._declared = cast(Declaration, {**given, "mcp_server_name": name, "timeout": wait})
        options("x", "x", self._declared)  # reports a mistake now, not at the first call
        self._options: dict[str, Options] = {}

    def action_type(self, tool: str) -> str:
        """Return the action type of this tool's calls."""
        return self._action_types.get(tool) or f"{self.namespace}.{tool}"

    async def admit(
        self,
        tool: str,
        arguments: Mapping[str, object] | None,
        *,
        session_id: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> Admission:
        """Get the permit for one call; wait for a person if the policy requires one.

        Args:
            tool: the tool's name, as the client wrote it.
            arguments: as the client wrote them.
            session_id: the client's conversation; a surrounding scope's session wins.
            context: further data about the caller; plain data.

        Raises:
            AscendError: the tool must not run. ``refusal`` converts it to text for the client's model.
        """
        plane, declared = self._plane(), self._of(tool)
        # A tool's arguments are identified by name alone: another order in the client's message is the same call.
        named = dict(sorted((arguments or {}).items()))
        said = {"namespace": self.namespace, "verb": tool, **(context or {})}
        with scope(session_id=scoped().session_id or session_id, context=said):
            call = BoundCall(declared, plane, named, hint=json_value)
        execution = Execution(call, plane)
        await execution.aauthorize()
        return Admission(execution, arguments or {})

    async def always_denied(self, tools: Iterable[str]) -> set[str]:
        """Return which of these tools the policy denies for all arguments; none if that is unknown."""
        asks = getattr(self._plane(), "always_denies", None)
        if asks is None:
            return set()

        def look() -> set[str]:
            try:
                return {tool for tool in tools if asks(self.action_type(tool), tool)}
            except AscendError:
                return set()  # the list is only a convenience; calls are decided

        return await asyncio.to_thread(look)

    def _plane(self) -> ControlPlane:
        return self._declared.get("control_plane") or default_control_plane()

    def _of(self, tool: str) -> Options:
        known = self._options.get(tool)
        if known is None:
            if not 0 < len(tool) <= _LONGEST_NAME or not tool.isprintable():
                raise ValidationError(
                    f"The name of a tool has 1 to {_LONGEST_NAME} printable characters.",
                    reason="no such tool",
                )
            known = options(self.action_type(tool), tool, self._declared)
            if len(self._options) < 10_000:  # clients choose the names
                self._options[tool] = known
        return known


class Admission:
    """The permit for one call. Settle it once, however the call ended.

    Attributes:
        arguments: the arguments to run with; an approver may have edited them.
        note: text for the client's model when an approver changed arguments; None when the call is unchanged.
    """

    def __init__(self, execution: Execution, written: Mapping[str, Any]) -> None:
        self._execution = execution
        parameters = execution.permit.parameters
        # In the client's order.
        self.arguments: dict[str, Any] = {
            name: parameters[name] for name in written if name in parameters
        } | parameters
        self.note = changed(execution.permit.edits)

    @property
    def begun(self) -> bool:
        """Return whether the last check was passed, so that the tool may have acted."""
        return self._execution.acted

    def __enter__(self) -> Admission:
        """Make the last check, the first time. Governed calls inside this block link to this one.

        Raises:
            AscendError: the tool must not run. Settle with this error: the call is recorded as not started.
        """
        self._execution.__enter__()
        return self

    def __exit__(self, *left: object) -> None:
        self._execution.__exit__(None, None, None)

    async def settle(self, failure: str | BaseException | None = None, detail: str | None = None) -> None:
        """Record the outcome.

        Args:
            failure: the failure, as the tool or its runner reports it; None when it completed; ``Unfinished`` when it is
                unknown.
            detail: a note on how it ended, or None.
        """
        await self._execution.asettle(ToolFailed(failure) if isinstance(failure, str) else failure, detail)
