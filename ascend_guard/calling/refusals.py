"""The texts for the model behind an agent: a tool call did not run, or ran with changed arguments.

Rules:
1. No text names a command that decides, or that releases the kill switch: an agent could run it (promise 6).
2. Text from agents and people is quoted as JSON, on one line, and cut, so that it cannot be read as our text.
3. Values appear redacted (promise 8).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ascend_guard.errors import (
    ActionPendingError,
    AlreadyRanError,
    AscendError,
    AuthorizationDeniedError,
    KillSwitchError,
    TimeoutError,
    ValidationError,
)
from ascend_guard.model import Edit
from ascend_guard.redaction import REDACTED

_MOST_EDITS = 8
_LONGEST_NAME = 60
_LONGEST_VALUE = 120


def refusal(error: AscendError) -> str:
    """Return the text for the model behind an agent. It names no servers and no files, because a model repeats what it
    reads.

    Args:
        error: the error of the governed call.
    """
    about = _about(error)
    if error.half_way:
        return (
            f"Failed: this tool ran, but a call inside it was blocked{_because(error)}.{about} What it did before that "
            "is done. Do not simply call it again: tell the user."
        )
    if isinstance(error, AlreadyRanError):
        return (
            f"Already ran, action {error.action_id}: this tool call was not run again. {error.reason or ''} Do not repeat "
            "it to get its result: look up what it did, or tell the user."
        )
    if isinstance(error, KillSwitchError):
        return (
            f"Stopped: the kill switch is on, so this tool did not run{_because(error)}.{about} "
            "No tool runs until a person turns it off: stop, and tell the user."
        )
    if isinstance(error, ActionPendingError) and not error.repeatable:
        return (
            f"Pending: a person must approve this call; it has not run.{about} Its arguments cannot be recognised when "
            "they are sent again: tell the user, and continue without it."
        )
    if is_pending(error):
        asked = _because(error) if isinstance(error, ActionPendingError) else ""
        return (
            f"Pending: a person must approve this call; it has not run{asked}.{about} Call this tool again "
            "with the same arguments to learn what was decided; other arguments would be another request."
        )
    if isinstance(error, AuthorizationDeniedError):
        return (
            f"Denied: this tool did not run{_because(error)}.{about} Do not make the same call again, because "
            "the answer would be the same: find another way, or tell the user."
        )
    if isinstance(error, ValidationError):
        why = error.message.removeprefix("Blocked: ")
        return f"Blocked: this call cannot be judged, so the tool did not run. {why[:1].upper()}{why[1:]}"
    return (
        f"Blocked: this tool did not run, because the control plane did not decide ({type(error).__name__}).{about} "
        "This is not a decision about the call. Tell the user; it may work later."
    )


def changed(edits: Mapping[str, Edit]) -> str | None:
    """Return the text for the model behind an agent whose call ran with edited arguments; None when none differ.

    Args:
        edits: the arguments that an approver changed (``Permit.edits``).
    """
    said = []
    for name, edit in edits.items():
        before, after = _json(edit.before), _json(edit.after)
        named = _quoted(name, _LONGEST_NAME)
        if before != after:
            said.append(f"{named} from {_quoted(edit.before)} to {_quoted(edit.after)}")
        elif REDACTED in before:
            said.append(f"{named}, whose value is secret")
    if not said:
        return None
    more = f", and {len(said) - _MOST_EDITS} more" if len(said) > _MOST_EDITS else ""
    return (
        f"A person changed this call before it ran: {', '.join(said[:_MOST_EDITS])}{more}. The result is that of the "
        "changed call."
    )


def _quoted(value: object, longest: int = _LONGEST_VALUE) -> str:
    """Return the value as JSON on one line, without invisible characters, and never cut inside quotes."""
    text = _json(value)
    if len(text) <= longest:
        return text
    return _json((value if isinstance(value, str) else text)[:longest]) + " (cut)"


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def is_pending(error: BaseException) -> bool:
    """Return whether the same call, made again, gets the decision made meanwhile."""
    if isinstance(error, ActionPendingError):
        return error.repeatable
    return isinstance(error, TimeoutError) and error.action_id is not None


def _because(error: AscendError) -> str:
    reason = (error.reason or "").strip().rstrip(".")
    return f": {reason}" if reason else ""


def _about(error: AscendError) -> str:
    parts = []
    if error.rule:
        parts.append(f"rule {error.rule}")
    if error.action_id:
        parts.append(f"action {error.action_id}")
    return f" ({', '.join(parts)})" if parts else ""
