"""The name of one tool call, with which the control plane recognises it: in a thread each call runs at most once.

LangGraph repeats calls: all calls of a node in which one was interrupted or failed, a task whose process died, a thread
that is continued from an earlier checkpoint. A repeated call has the same name, and every new call has another. The name
consists of:

1. The thread, so that conversations never share a name.
2. The graph's place in the graphs around it, by the names of nodes: task ids and counters change when a call is repeated.
3. The id of the model's message, if the state has it: models reuse the ids of calls in later messages ("call_0").
4. The id of the tool call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from langchain_core.messages import AIMessage


def name_in_thread(configurable: Mapping[str, object], state: object, tool_call_id: object) -> str | None:
    """Return the name of a tool call if the state of its graph is known; None without a thread in which it could be
    repeated.

    Args:
        configurable: the graph's configuration.
        state: the state of the node that runs the call.
        tool_call_id: the model's id of the call.
    """
    thread = configurable.get("thread_id")
    if thread is None:
        return None
    return _name(thread, _nodes(configurable), _message_id(state, tool_call_id), tool_call_id)


def name_in_task(configurable: Mapping[str, object], tool_call_id: object) -> str | None:
    """Return the name of a tool call if only the task of the graph is known, which stays the same when it runs again; None
    outside of a task."""
    thread, task = configurable.get("thread_id"), configurable.get("checkpoint_ns")
    if thread is None or not task:
        return None
    return _name(thread, task, "task", tool_call_id)


def request_in_thread(configurable: Mapping[str, object], tool_call_id: object) -> str:
    """Return the name of a tool call's request to a person (``Submit.call_id``): its decision is valid in the thread, also
    when the model makes the call again under its id."""
    return _name(str(configurable.get("thread_id")), str(tool_call_id))


def _name(*parts: object) -> str:
    plain = json.dumps(parts, default=str)
    return "langgraph:" + sha256(plain.encode()).hexdigest()


def _nodes(configurable: Mapping[str, object]) -> list[str]:
    """Return the nodes of a task: ``outer:<task>|1|tools:<task>`` is ``["outer", "tools"]``."""
    parts = str(configurable.get("checkpoint_ns") or "").split("|")
    return [part.partition(":")[0] for part in parts if part and not part.isdigit()]


def _message_id(state: object, tool_call_id: object) -> str | None:
    for messages in _lists(state):
        for message in reversed(messages):
            if isinstance(message, AIMessage) and any(
                call.get("id") == tool_call_id for call in message.tool_calls
            ):
                return message.id
    return None


def _lists(state: object) -> Iterator[Sequence[object]]:
    """Yield the lists that may hold the messages: the state itself, its ``messages``, or another of its fields."""
    if isinstance(state, list):
        yield state
        return
    fields = state if isinstance(state, Mapping) else getattr(state, "__dict__", {})
    if isinstance(first := fields.get("messages"), list):
        yield first
    yield from (value for name, value in fields.items() if name != "messages" and isinstance(value, list))
