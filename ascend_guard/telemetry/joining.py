"""The first attributes of a call's span, and the spans of frameworks that it may join."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from ascend_guard.model import AgentAction

from . import attribute_names

# Reentrant: a generator that is collected while it is held may settle a governed call.
_lock = threading.RLock()


def describe(action: AgentAction) -> dict[str, AttributeValue]:
    """Return what is known before the decision; samplers see it."""
    attributes: dict[str, AttributeValue] = {
        attribute_names.OPERATION_NAME: attribute_names.EXECUTE_TOOL,
        attribute_names.TOOL_NAME: action.tool_name,
        attribute_names.AGENT_ID: action.agent_id,
        attribute_names.AGENT_NAME: action.agent_name,
        attribute_names.ACTION_TYPE: action.action_type,
        attribute_names.ORCHESTRATION_DEPTH: action.orchestration_depth,
    }
    if action.session_id is not None:
        attributes[attribute_names.CONVERSATION_ID] = action.session_id
    if action.orchestration_session_id is not None:
        attributes[attribute_names.ORCHESTRATION_SESSION] = action.orchestration_session_id
    return attributes


def join(span: Span, attributes: Mapping[str, AttributeValue]) -> bool:
    """Return whether a framework opened this span for this same tool call; if so, add the attributes that it lacks.

    The action type marks the span as used: another governed call under it, or inside ours, opens its own span.
    """
    if _untaken(span) is None:
        return False
    with _lock:
        known = _untaken(span)
        if known is None:
            return False
        span.set_attributes({name: value for name, value in attributes.items() if name not in known})
        return True


def _untaken(span: Span) -> Mapping[str, object] | None:
    """Return the attributes of a tool call's span that no governed call uses; the API itself cannot read them."""
    known = getattr(span, "attributes", None)
    if not isinstance(known, Mapping) or attribute_names.ACTION_TYPE in known or not span.is_recording():
        return None
    is_tool_call = (
        known.get(attribute_names.OPERATION_NAME) == attribute_names.EXECUTE_TOOL
        or known.get(attribute_names.MCP_METHOD)
        == "tools/call"  # MCP conventions: compatible with execute_tool spans
        or str(getattr(span, "name", "")).startswith(f"{attribute_names.EXECUTE_TOOL} ")
    )
    return known if is_tool_call else None
