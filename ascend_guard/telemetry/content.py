"""Argument values on spans: only if the user opted in, and only in their redacted view."""

from __future__ import annotations

import os
from collections.abc import Collection
from itertools import islice
from typing import Any

import msgspec

from ascend_guard.model import AgentAction

CAPTURE_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The opt-in (GenAI conventions). ``EVENT_ONLY`` is no opt-in for spans: it is for log events."""

EDITED = "(edited by the approver)"

_ON = frozenset({"true", "1", "span_only", "span_and_event"})
_LONGEST = 16_000
_DEEPEST = 6


def captures_content() -> bool:
    """Return whether argument values may be put on spans; the environment is read on every call."""
    return os.environ.get(CAPTURE_CONTENT, "").strip().lower() in _ON


def arguments_of(action: AgentAction, edited: Collection[str]) -> str:
    """Return the redacted arguments as JSON of at most 16,000 characters; long or deep values are shortened.

    Args:
        edited: names of arguments that an approver changed; the new values are not redacted, so they are left out.
    """
    arguments = {**action.action_details, **dict.fromkeys(edited, EDITED)}
    for longest, most in ((500, 50), (50, 20)):
        text = msgspec.json.encode(_fold(arguments, _DEEPEST, longest, most)).decode()
        if len(text) <= _LONGEST:
            return text
    return msgspec.json.encode({"...": f"{len(arguments)} arguments, too large to show"}).decode()


def _fold(value: Any, depth: int, longest: int, most: int) -> Any:
    if isinstance(value, str):
        more = len(value) - longest
        return value if more <= 0 else f"{value[:longest]}... ({more} more characters)"
    if isinstance(value, dict):
        if depth == 0:
            return f"... ({len(value)} fields)"
        shown = islice(value.items(), most)
        folded = {
            _fold(name, 0, longest, most): _fold(item, depth - 1, longest, most) for name, item in shown
        }
        if len(value) > most:
            folded["..."] = f"{len(value) - most} more fields"
        return folded
    if isinstance(value, list):
        if depth == 0:
            return f"... ({len(value)} items)"
        items = [_fold(item, depth - 1, longest, most) for item in value[:most]]
        if len(value) > most:
            items.append(f"... ({len(value) - most} more items)")
        return items
    return value
