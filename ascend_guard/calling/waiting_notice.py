"""The notice that a call waits for a person: one line, in the log and on the terminal.

1. A call that waits is never silent: a WARNING of the logger ``ascend_guard`` says what waits, its id, and where to decide.
   Where no logging is configured, Python prints it on standard error.
2. If logging does not show it on a terminal, because it goes to a file or is off, and standard error is a terminal, the
   line is written there. It is never written twice.
3. The line contains no arguments (promise 8), and no command that approves (promise 6): a model may read it.
4. Names may come from an attacker: they are cut, and printed as ``printable`` does.
5. There is one notice for each action: a call that is repeated, or resumed, writes no second one. A failure to write it
   never fails the call.

``ASCEND_WAITING``, or ``configure(waiting=...)``, is ``terminal`` (all of this), ``log`` (without 2) or ``off``.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from datetime import datetime
from functools import lru_cache

from ascend_guard.errors import ConfigurationError, remedies
from ascend_guard.model import ActionResult, AgentAction
from ascend_guard.printable import safe

__all__ = ["MODES", "set_mode", "waits"]

MODES = ("terminal", "log", "off")

_log = logging.getLogger("ascend_guard")
_MOST_TOLD = 1024
_LONGEST_NAME = 100
_LONGEST_PLACE = 400

_mode: str | None = None


def set_mode(mode: str | None) -> None:
    """Set how waiting calls are reported in this process; None leaves it to ``ASCEND_WAITING``.

    Raises:
        ConfigurationError: the mode is unknown.
    """
    global _mode
    given, name = (os.environ.get("ASCEND_WAITING"), "ASCEND_WAITING") if mode is None else (mode, "waiting")
    if given and given not in MODES:
        raise ConfigurationError(f"{name} is {', '.join(MODES[:-1])} or {MODES[-1]}, not {given!r}.")
    _mode = mode


def waits(plane: bytes, place: str | None, action: AgentAction, result: ActionResult) -> None:
    """Report that an action waits.

    Args:
        plane: identifies the control plane.
        place: where to decide: ``database /path`` or ``server https://...``; None when unknown.
        action: the waiting action.
        result: the control plane's answer to it.
    """
    mode = _mode or os.environ.get("ASCEND_WAITING") or MODES[0]
    if mode == "off":
        return
    what = f"{_name(action.action_type)} by {_name(action.tool_name)} for agent '{_name(action.agent_id)}'"
    until = _until(result.metadata.get("expires_at"))
    number = _name(result.action_id)
    if place is not None and place.startswith("server "):
        where = f"Decide it on the {safe(place[:_LONGEST_PLACE])}."
    else:
        of = "" if place is None else f" ({safe(place[:_LONGEST_PLACE])})"
        where = remedies.show(number) + of
    _tell(plane, result.action_id, f"Waiting for a person: {what} (action {number}{until}). {where}", mode)


@lru_cache(_MOST_TOLD)
def _told(plane: bytes, action_id: str) -> list[bool]:
    return []


def _tell(plane: bytes, action_id: str, line: str, mode: str) -> None:
    told = _told(plane, action_id)
    if told:
        return
    told.append(True)
    _log.warning("%s", line)
    if mode == MODES[0] and not _on_terminal():
        with suppress(OSError, ValueError):  # the stream is closed, or cannot be written
            if sys.stderr is not None and sys.stderr.isatty():
                sys.stderr.write(line + "\n")
                sys.stderr.flush()


def _on_terminal() -> bool:
    """Return whether the log record has reached a terminal."""
    if not _log.isEnabledFor(logging.WARNING):
        return False
    logger: logging.Logger | None = _log
    handled = False
    while logger is not None:
        for handler in logger.handlers:
            handled = True
            if handler.level <= logging.WARNING and _is_terminal(handler):
                return True
        logger = logger.parent if logger.propagate else None
    last = logging.lastResort
    return not handled and last is not None and last.level <= logging.WARNING and _is_terminal(last)


def _is_terminal(handler: logging.Handler) -> bool:
    # rich's handler has a console; all other handlers that print have a stream.
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    try:
        return stream is not None and bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


def _name(text: str) -> str:
    return safe(text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…")


def _until(expires_at: object) -> str:
    """When the action is denied automatically, in local time; empty when a server sends something else."""
    try:
        at = datetime.fromisoformat(expires_at).astimezone() if isinstance(expires_at, str) else None
    except (ValueError, OverflowError, OSError):
        return ""
    return "" if at is None else f", until {at:%Y-%m-%d %H:%M}"
