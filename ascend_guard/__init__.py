"""ascend-guard: nothing an AI agent does takes effect before a decision allows it.

The public names are resolved when first used, so ``import ascend_guard`` costs next to nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .callables.exclusion import Exclude
    from .calling.governed import governed
    from .calling.guard import guard
    from .calling.scope import scope
    from .client.api.clients import AscendClient, AsyncAscendClient
    from .client.guard.control_plane import RemoteControlPlane
    from .config import configure
    from .engine.control_plane import EmbeddedControlPlane
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
    from .flow import ControlPlane
    from .model import (
        ActionResult,
        ActionType,
        AgentAction,
        Decision,
        Edit,
        KillSwitchState,
        Outcome,
        OutcomeStatus,
        Permit,
        RiskLevel,
    )
    from .redaction import Redact

if sys.version_info < (3, 11):  # noqa: UP036 - pip refuses it, but a copied folder or PYTHONPATH does not
    raise ImportError(
        f"ascend-guard needs Python 3.11 or later, and this is {sys.version_info[0]}.{sys.version_info[1]}."
    )

_HOMES = {
    "client.api.clients": ("AscendClient", "AsyncAscendClient"),
    "client.guard.control_plane": ("RemoteControlPlane",),
    "config": ("configure",),
    "engine.control_plane": ("EmbeddedControlPlane",),
    "flow": ("ControlPlane",),
    "errors": (
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
    ),
    "callables.exclusion": ("Exclude",),
    "calling.governed": ("governed",),
    "calling.guard": ("guard",),
    "model": (
        "ActionResult",
        "ActionType",
        "AgentAction",
        "Decision",
        "Edit",
        "KillSwitchState",
        "Outcome",
        "OutcomeStatus",
        "Permit",
        "RiskLevel",
    ),
    "redaction": ("Redact",),
    "calling.scope": ("scope",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ActionPendingError",
    "ActionResult",
    "ActionType",
    "AgentAction",
    "AlreadyRanError",
    "AscendClient",
    "AscendError",
    "AsyncAscendClient",
    "AuthenticationError",
    "AuthorizationDeniedError",
    "ConfigurationError",
    "ConflictError",
    "ControlPlane",
    "Decision",
    "Edit",
    "EmbeddedControlPlane",
    "Exclude",
    "KillSwitchError",
    "KillSwitchState",
    "NetworkError",
    "NotFoundError",
    "Outcome",
    "OutcomeStatus",
    "Permit",
    "PolicyError",
    "RateLimitError",
    "Redact",
    "RemoteControlPlane",
    "RiskLevel",
    "ServerError",
    "StoreError",
    "TimeoutError",
    "ValidationError",
    "__version__",
    "configure",
    "governed",
    "guard",
    "scope",
]


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'ascend_guard' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
