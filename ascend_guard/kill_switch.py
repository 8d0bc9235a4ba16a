"""The fail-closed rule of the kill switch, for governed calls and for the documented client (promise 4).

1. A call continues only when the state says that ``blocked`` is False. Every other value stops it.
2. A state that cannot be known counts as on (REST API document, "Fail-closed requirement"): the call ends with a
   ``KillSwitchError`` whose reason is ``UNKNOWN``.
3. An error that already says what to repair keeps its type; it stops the call as well.
4. A server has ``ANSWER_SECONDS`` to answer with the state.

``tests/promises`` and ``tests/client_api/test_operations.py`` check these rules.
"""

from __future__ import annotations

from typing import NoReturn

from .errors import (
    AscendError,
    AuthenticationError,
    AuthorizationDeniedError,
    ConfigurationError,
    KillSwitchError,
    StoreError,
)
from .model import KillSwitchState

ANSWER_SECONDS = 5.0
"""Seconds the kill switch may take to answer (REST API document, "Fail-Closed Reference Implementations")."""

UNKNOWN = "kill switch state unknown"
"""The reason of a call that is blocked because the state of the switch is unknown."""

COUNTS_AS_ON = "the state of the kill switch cannot be known, which counts as on"

EXPLAINED = (AuthorizationDeniedError, AuthenticationError, ConfigurationError, StoreError)
"""Errors that say what to repair; ``KillSwitchError`` is one of the first."""


def is_off(state: KillSwitchState) -> bool:
    """Return whether a call may continue."""
    return state.blocked is False


def block_unknown(
    error: Exception,
    *,
    before: str = "",
    action_id: str | None = None,
    explained: tuple[type[AscendError], ...] = (),
) -> NoReturn:
    """Stop a call because asking for the state failed.

    Args:
        error: the failure.
        before: the beginning of the message, before the reason.
        action_id: the action's id, if there is an action.
        explained: further error types that keep their type, besides ``EXPLAINED``.

    Raises:
        KillSwitchError: or ``error`` itself, if it already says what to repair.
    """
    if isinstance(error, (*EXPLAINED, *explained)):
        raise error
    raise KillSwitchError(
        f"Blocked: {before}{COUNTS_AS_ON} ({type(error).__name__}: {error}).",
        action_id=action_id,
        reason=UNKNOWN,
    ) from error
