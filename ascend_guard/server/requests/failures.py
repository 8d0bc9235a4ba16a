"""Errors as HTTP: one status and one code each, in the documented body ``{detail, error_code, status_code}``."""

from __future__ import annotations

from typing import Any

from ascend_guard.errors import (
    AscendError,
    AuthenticationError,
    AuthorizationDeniedError,
    ConflictError,
    KillSwitchError,
    NotFoundError,
    RateLimitError,
    StoreError,
    TimeoutError,
    ValidationError,
)

_KINDS: tuple[tuple[type[AscendError], int, str], ...] = (
    (AuthenticationError, 401, "INVALID_API_KEY"),
    (
        KillSwitchError,
        402,
        "KILL_SWITCH_ACTIVE",
    ),  # REST API document, "HTTP 402 treated as kill-switch active"
    (AuthorizationDeniedError, 403, "FORBIDDEN"),
    (NotFoundError, 404, "NOT_FOUND"),
    (ConflictError, 409, "CONFLICT"),
    (ValidationError, 422, "VALIDATION_ERROR"),
    (RateLimitError, 429, "RATE_LIMIT_EXCEEDED"),
    (TimeoutError, 503, "TIMEOUT"),
)
"""More specific classes first."""


class RequestRefused(AscendError):
    """A refusal with its own status, code and possibly body.

    Args:
        message: what was refused, and how to fix it.
        status: HTTP status.
        code: ``error_code``.
        detail: the body's ``detail``; by default the message.
    """

    def __init__(self, message: str, *, status: int, code: str, detail: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail


def classified(error: AscendError) -> tuple[int, str, Any]:
    """Return (status, error code, detail) of an error."""
    if isinstance(error, StoreError):  # the database's location and message are only logged
        return (
            503,
            "STORE_UNAVAILABLE",
            "The database is unavailable, so nothing is decided. Try again shortly.",
        )
    detail = getattr(error, "detail", None)
    if isinstance(error, RequestRefused):
        return error.status, error.code, error.message if detail is None else detail
    if isinstance(error, AuthorizationDeniedError) and error.rule is not None:
        return 403, "POLICY_VIOLATION", error.message if detail is None else detail
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            return status, getattr(error, "code", None) or code, error.message if detail is None else detail
    return (
        500,
        "SERVER_ERROR",
        "The control plane failed, so nothing was decided. The server's log has the details.",
    )
