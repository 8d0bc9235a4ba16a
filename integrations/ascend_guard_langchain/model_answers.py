"""The answer to a tool call as the model reads it: why it did not run, or that a person changed its arguments.

The tool's own content stays first; structured parts (artifacts, other updates of a ``Command``) stay unchanged.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from langchain_core.messages import ToolMessage

from ascend_guard.calling.refusals import changed, refusal
from ascend_guard.errors import AlreadyRanError, AscendError
from ascend_guard.model import Permit


class Changes:
    """The changes that an approver made to one tool call's arguments."""

    def __init__(self) -> None:
        self._note: str | None = None

    def take(self, permit: Permit) -> None:
        """Note the edits of a permit, before the call runs under a person's approval."""
        self._note = changed(permit.edits)

    def told(self, answer: object, tool_call_id: object) -> object:
        """Return the same answer, with a note on what was changed, if anything was.

        Args:
            answer: a ``ToolMessage``, a ``Command``, or a list of them.
            tool_call_id: the id of the answered call.
        """
        return answer if self._note is None else _told(answer, tool_call_id, self._note)[0]


def message(error: AscendError, tool_call_id: str, tool: str) -> ToolMessage:
    """Return the answer to a tool call that did not run, for the model."""
    done = isinstance(error, AlreadyRanError) and error.outcome == "completed"
    return ToolMessage(
        refusal(error), tool_call_id=tool_call_id, name=tool, status="success" if done else "error"
    )


def _told(answer: Any, tool_call_id: object, note: str) -> tuple[Any, bool]:
    """Return the answer with the note in the first message for this call, and whether there was one."""
    if isinstance(answer, ToolMessage):
        if answer.tool_call_id != tool_call_id:
            return answer, False
        return answer.model_copy(update={"content": _with_note(answer.content, note)}), True
    if isinstance(answer, dict):
        if answer.get("tool_call_id") == tool_call_id and "content" in answer:  # a message as plain data
            return {**answer, "content": _with_note(answer["content"], note)}, True
        return _in_items(answer, tool_call_id, note)
    if isinstance(answer, list | tuple):
        items, found = list(answer), False
        for index, item in enumerate(items):
            items[index], found = _told(item, tool_call_id, note)
            if found:
                break
        return (type(answer)(items) if type(answer) in (list, tuple) else items) if found else answer, found
    graph: Any = sys.modules.get("langgraph.types")  # no command without it
    if graph is not None and isinstance(answer, graph.Command):
        update, found = _told(answer.update, tool_call_id, note)
        return (replace(answer, update=update) if found else answer), found
    return answer, False


def _in_items(
    update: dict[object, object], tool_call_id: object, note: str
) -> tuple[dict[object, object], bool]:
    for key, value in update.items():
        if isinstance(value, ToolMessage | list | tuple):
            told, found = _told(value, tool_call_id, note)
            if found:
                return {**update, key: told}, True
    return update, False


def _with_note(content: object, note: str) -> object:
    if isinstance(content, list):
        return [*content, {"type": "text", "text": note}]
    return f"{content}\n\n{note}" if content else note
