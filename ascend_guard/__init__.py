"""ascend-guard: nothing an AI agent does takes effect before a decision allows it.

The public names are resolved when they are first used, so ``import ascend_guard`` is cheap.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ._version import __version__ as __version__

# Type checkers cannot read the table below. ``X as X`` makes X public for them, and isort would split each onto a line.
# isort: off
if TYPE_CHECKING:
    from .callables.exclusion import Exclude as Exclude
    from .calling.governed import governed as governed
    from .calling.guard import guard as guard
    from .calling.scope import scope as scope
    from .client.api.clients import AscendClient as AscendClient, AsyncAscendClient as AsyncAscendClient
    from .client.guard.control_plane import RemoteControlPlane as RemoteControlPlane
    from .config import configure as configure
    from .engine.control_plane import EmbeddedControlPlane as EmbeddedControlPlane
    from .errors import (
        ActionPendingError as ActionPendingError,
        AlreadyRanError as AlreadyRanError,
        AscendError as AscendError,
        AuthenticationError as AuthenticationError,
        AuthorizationDeniedError as AuthorizationDeniedError,
        ConfigurationError as ConfigurationError,
        ConflictError as ConflictError,
        KillSwitchError as KillSwitchError,
        NetworkError as NetworkError,
        NotFoundError as NotFoundError,
        PolicyError as PolicyError,
        RateLimitError as RateLimitError,
        ServerError as ServerError,
        StoreError as StoreError,
        TimeoutError as TimeoutError,
        ValidationError as ValidationError,
    )
    from .flow import ControlPlane as ControlPlane
    from .model import (
        ActionResult as ActionResult,
        ActionType as ActionType,
        AgentAction as AgentAction,
        Decision as Decision,
        Edit as Edit,
        KillSwitchState as KillSwitchState,
        Outcome as Outcome,
        OutcomeStatus as OutcomeStatus,
        Permit as Permit,
        RiskLevel as RiskLevel,
    )
    from .redaction import Redact as Redact

# isort: on
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

if not TYPE_CHECKING:  # type checkers read the imports above, and understand only a list that is written out
    __all__ = sorted([*_HOME, "__version__"])  # noqa: PLE0605 - the names are in one table


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'ascend_guard' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
