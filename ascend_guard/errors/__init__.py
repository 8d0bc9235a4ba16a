"""Every error ascend-guard raises, in one tree.

Each error is also a builtin exception, the one that Python code usually catches::

    AscendError
    ├── ConfigurationError(ValueError)          nothing, or something wrong, is configured
    │   └── PolicyError                         a policy file that does not load: file:line: what is wrong
    ├── ValidationError(ValueError)             this call cannot be judged
    ├── AuthenticationError(PermissionError)    the key is unknown, or lacks the permission
    ├── AuthorizationDeniedError(PermissionError)  a decision denied the call
    │   ├── KillSwitchError                     the kill switch is on, or its state cannot be known
    │   ├── AlreadyRanError                     this call has begun before, and runs at most once
    │   └── ActionPendingError                  not decided yet; the same call made later resumes it
    ├── TimeoutError(builtins.TimeoutError)     no decision in time
    ├── RateLimitError
    ├── NetworkError(ConnectionError)           the control plane could not be reached
    ├── NotFoundError(LookupError)
    ├── ConflictError                           it exists, or was decided, claimed or settled already
    └── ServerError                             the control plane failed
        └── StoreError(OSError)                 its database failed

An error raised before the tool's body began means that the body did not run.

A model may read error messages, so no message, argument, note or traceback of an error names a command that approves,
clears a denial or turns the kill switch off. What a developer or operator can do, commands included, is in ``remedy``.
Those texts are in ``remedies``, away from the lines that raise.
"""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable

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


class AscendError(Exception):
    """The base class of every ascend-guard error.

    Args:
        message: what was blocked or failed, why, and what to do next.
        action_id: the action's id, if there is an action.
        rule: the name of the policy rule that decided, if one did.
        reason: the reason alone, without advice.
        remedy: what a developer or operator can do, commands included. Never show it to a model.

    Attributes:
        half_way: the error left the body of a governed call, so that body had begun.
    """

    half_way: bool = False
    remedy: str | None = None

    def __init__(
        self,
        message: str,
        *,
        action_id: str | None = None,
        rule: str | None = None,
        reason: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.action_id = action_id
        self.rule = rule
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        # OSError and LookupError define their own reduce and str; this one keeps every field across processes.
        return (_restore, (type(self), dict(self.__dict__)))


def _restore(kind: type[AscendError], fields: dict[str, object]) -> AscendError:
    error = kind.__new__(kind)
    Exception.__init__(error, fields.get("message", ""))
    error.__dict__.update(fields)
    return error


class ConfigurationError(AscendError, ValueError):
    """Nothing is configured, or the configuration is wrong. The message says how to fix it."""


class PolicyError(ConfigurationError):
    """A policy file does not load. The message begins with ``file:line:``."""


class ValidationError(AscendError, ValueError):
    """This call cannot be judged: an argument is too large or too deep, or the nesting is out of range."""


class AuthenticationError(AscendError, PermissionError):
    """The key is unknown or expired, or lacks the permission."""


class AuthorizationDeniedError(AscendError, PermissionError):
    """A decision denied the call. The tool did not run."""


class KillSwitchError(AuthorizationDeniedError):
    """The kill switch is on, or its state is unknown. The tool did not run, or was stopped half way."""


class AlreadyRanError(AuthorizationDeniedError):
    """This call has begun before. It was not run again.

    Attributes:
        outcome: ``completed``, ``failed`` or ``unknown``; ``running`` when it has not ended.
    """

    outcome: str = "unknown"


class ActionPendingError(AuthorizationDeniedError):
    """The action is not decided yet. The same call, made again later, resumes the action.

    Attributes:
        repeatable: False when the same call cannot be recognised, because an argument is opaque.
    """

    repeatable: bool = True


class TimeoutError(AscendError, builtins.TimeoutError):
    """No decision was made in time, or the control plane did not answer in time. The tool did not run."""


class RateLimitError(AscendError):
    """Too many requests.

    Args:
        retry_after: seconds to wait, if the server said so.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NetworkError(AscendError, ConnectionError):
    """The control plane could not be reached. The tool did not run."""


class NotFoundError(AscendError, LookupError):
    """There is no such thing, or it belongs to another organization. ``code``: the API's code for what is missing, or
    None."""

    code: str | None = None


class ConflictError(AscendError):
    """The request does not fit what is there.

    The action was decided, claimed or settled already, or its permit belongs to another process or to other arguments. Or
    the name exists already, or the ``Idempotency-Key`` was used for another request.
    """


class ServerError(AscendError):
    """The control plane failed. The tool did not run."""


class StoreError(ServerError, OSError):
    """The control plane's database failed. The message says how to fix it."""


def refuse_unknown(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse unknown names: they are mistakes, and are never ignored.

    Args:
        what: what the names are, such as "option".

    Raises:
        ConfigurationError: a name is unknown; the message suggests the nearest one.
    """
    unknown = set(given) - set(known)
    if unknown:
        from difflib import get_close_matches  # needed for an error only

        name = min(unknown)
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f". There are {', '.join(known)}."
        raise ConfigurationError(f"There is no {what} {name!r}{hint}")
