"""The error tree under the name that the SDK document imports it by ("Exception Types"); see ``errors``."""

from __future__ import annotations

from .errors import (
    ActionPendingError,
    AlreadyRanError,
    AscendError,
    AuthenticationError,
    AuthorizationDeniedError,
    ConfigurationError,
    ConflictError,
    KillSwitchError,
    NetworkError,
    NotFoundError,
    PolicyError,
    RateLimitError,
    ServerError,
    StoreError,
    TimeoutError,
    ValidationError,
)

__all__ = [
    "ActionPendingError",
    "AlreadyRanError",
    "AscendError",
    "AuthenticationError",
    "AuthorizationDeniedError",
    "ConfigurationError",
    "ConflictError",
    "KillSwitchError",
    "NetworkError",
    "NotFoundError",
    "PolicyError",
    "RateLimitError",
    "ServerError",
    "StoreError",
    "TimeoutError",
    "ValidationError",
]
