"""What a model is told of a tool call that did not run: what happened, and what it can do about it."""

from __future__ import annotations

from .errors import (
    ActionPendingError,
    AscendError,
    AuthorizationDeniedError,
    KillSwitchError,
    TimeoutError,
    ValidationError,
)


def refusal(error: AscendError) -> str:
    """Text for the model behind an agent. It names neither servers nor files: a model repeats what it is told.

    Args:
        error: what the governed call raised.
    """
    about = _about(error)
    if error.half_way:
        return (
            f"Failed: this tool ran, but something it does was held back{_because(error)}.{about} What it did before that "
            "is done. Do not simply call it again: tell the user."
        )
    if isinstance(error, KillSwitchError):
        return (
            f"Stopped: the kill switch is on, so this tool did not run{_because(error)}.{about} "
            "No tool runs until a person turns it off: stop, and say so."
        )
    if isinstance(error, ActionPendingError) and not error.repeatable:
        return (
            f"Pending: a person must approve this call; it has not run.{about} Its arguments cannot be recognised when "
            "they are sent again: tell the user, and go on without it."
        )
    if is_pending(error):
        asked = _because(error) if isinstance(error, ActionPendingError) else ""
        return (
            f"Pending: a person must approve this call; it has not run{asked}.{about} Call this tool again "
            "with the same arguments to learn what was decided; other arguments would be another request."
        )
    if isinstance(error, AuthorizationDeniedError):
        return (
            f"Denied: this tool did not run{_because(error)}.{about} Do not make the same call again: do it another "
            "way, or tell the user."
        )
    if isinstance(error, ValidationError):
        return f"Blocked: this call cannot be judged as it stands, so the tool did not run. {error.message}"
    return (
        f"Blocked: this tool did not run, because nobody could be asked ({type(error).__name__}).{about} "
        "This is no decision about the call. Tell the user; it may work later."
    )


def is_pending(error: BaseException) -> bool:
    """Whether the same call, made again, learns what was decided meanwhile."""
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
