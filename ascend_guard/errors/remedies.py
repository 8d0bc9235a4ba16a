"""What a developer or operator can do about an error, commands included: the texts of ``error.remedy``.

1. A model that reads how to approve may approve itself (promise 6). So these texts are in no message, and in no line that
   raises: Python shows the source of such lines in tracebacks, and the lines around them are shown by others.
2. Nothing here raises, so no frame of this module is on a traceback, with or without its local variables.
"""

from __future__ import annotations

from ascend_guard.model import KillSwitchState

__all__ = [
    "blocked",
    "decide",
    "decided",
    "forget",
    "inspect",
    "listed",
    "release",
    "repeat",
    "show",
    "start",
    "verify",
]


def decide(action_id: str) -> str:
    """How a person decides a pending action."""
    return (
        f"Look at it and decide: `ascend-guard approvals approve {action_id}`, or "
        f"`ascend-guard approvals deny {action_id}`."
    )


def show(action_id: str) -> str:
    """Where a person looks at a pending action before deciding."""
    return f"Look and decide: ascend-guard approvals show {action_id}"


def repeat(action_id: str, repeatable: bool) -> str:
    """How a person decides, for a call that does not wait for the decision."""
    if repeatable:
        return f"{decide(action_id)} Then make the same call again: it resumes this action."
    return (
        f"{decide(action_id)} The same call cannot be recognised later, because it has an argument whose content cannot be "
        'read: pass plain data, or use on_pending="wait".'
    )


def release(state: KillSwitchState) -> str:
    """How the kill switch is turned off."""
    agent = f" --agent {state.agent_id}" if state.agent_id else ""
    return f"When it is safe: `ascend-guard kill-switch off{agent}`."


def inspect(action_id: str) -> str:
    """How to show everything about an action."""
    return f"See `ascend-guard actions show {action_id}`."


def listed() -> str:
    """How to list actions."""
    return "See `ascend-guard actions list`."


def forget(action_id: str) -> str:
    """How a person clears a denial that still answers the same call."""
    return (
        f"{inspect(action_id)} To have the same call decided again before the denial ends: "
        f"`ascend-guard approvals clear-denial {action_id}`."
    )


def decided() -> str:
    """Where people decide: outside governed calls."""
    return "Decide outside the agent's calls: `ascend-guard approvals`."


def blocked() -> str:
    """How to show the state of the kill switch."""
    return "See `ascend-guard kill-switch status`."


def verify() -> str:
    """How to check the audit trail."""
    return "See `ascend-guard audit verify`."


def start() -> str:
    """How to create a policy file."""
    return "`ascend-guard init` writes a first one."
