"""Every error ascend-guard raises, in one tree.

Each is also the builtin that Python people would catch::

    AscendError
    ├── ConfigurationError(ValueError)          nothing, or something wrong, is configured
    │   └── PolicyError                         a policy file that does not load: file:line: what is wrong
    ├── ValidationError(ValueError)             this call cannot be judged
    ├── AuthenticationError(PermissionError)    no such key, or not allowed to ask
    ├── AuthorizationDeniedError(PermissionError)  a decision said no
    │   ├── KillSwitchError                     the kill switch is on, or its state cannot be known
    │   ├── AlreadyRanError                     this very call has begun before, and runs at most once
    │   └── ActionPendingError                  nobody has decided yet; the same call later re-attaches
    ├── TimeoutError(builtins.TimeoutError)     no decision in time
    ├── RateLimitError
    ├── NetworkError(ConnectionError)           the control plane could not be reached
    ├── NotFoundError(LookupError)
    ├── ConflictError                           it exists, or was decided, claimed or settled already
    └── ServerError                             the control plane failed
        └── StoreError(OSError)                 its database failed

Whatever is raised before the tool's body ran means that the body did not run.

A message may reach a model, so no message, argument, note or traceback of an error names a command that approves, clears a
denial or turns the kill switch off. What a developer or operator can do, commands included, is in ``remedy``; those texts
are in ``remedies``, away from the lines that raise.
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
    """The root: catch it to catch everything ascend-guard raises.

    Args:
        message: what was blocked or went wrong, why, and what to do next.
        action_id: the action it is about, when there is one.
        rule: the name of the policy rule that decided, when one did.
        reason: the bare reason, without the advice around it.
        remedy: what a developer or operator can do, commands included. Never show it to a model.

    Attributes:
        half_way: it left the body of a governed call, which had begun by then.
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
        # OSError and LookupError bring their own reduce and str; this one keeps every field across processes.
        return (_restore, (type(self), dict(self.__dict__)))


def _restore(kind: type[AscendError], fields: dict[str, object]) -> AscendError:
    error = kind.__new__(kind)
    Exception.__init__(error, fields.get("message", ""))
    error.__dict__.update(fields)
    return error


class ConfigurationError(AscendError, ValueError):
    """Nothing, or something wrong, is configured. The message names the remedy."""


class PolicyError(ConfigurationError):
    """A policy file does not load. The message begins with ``file:line:``."""


class ValidationError(AscendError, ValueError):
    """This call cannot be judged: an argument too large or too deep, a depth out of range."""


class AuthenticationError(AscendError, PermissionError):
    """No such key, an expired one, or one that may not ask this."""


class AuthorizationDeniedError(AscendError, PermissionError):
    """A decision said no. The tool did not run."""


class KillSwitchError(AuthorizationDeniedError):
    """The kill switch is on, or its state cannot be known. The tool did not run, or was stopped half way."""


class AlreadyRanError(AuthorizationDeniedError):
    """This very call has begun before. It was not run again.

    Attributes:
        outcome: how it ended: ``completed``, ``failed``, ``unknown``, or ``running`` when it has not ended.
    """

    outcome: str = "unknown"


class ActionPendingError(AuthorizationDeniedError):
    """Nobody has decided yet. The same call, made again later, re-attaches to the same action.

    Attributes:
        repeatable: False when the same call could not be recognised, for an argument's content cannot be seen.
    """

    repeatable: bool = True


class TimeoutError(AscendError, builtins.TimeoutError):
    """Nobody decided in time, or the control plane did not answer in time. The tool did not run."""


class RateLimitError(AscendError):
    """Too many requests.

    Args:
        retry_after: seconds to wait, as the server said, when it said.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NetworkError(AscendError, ConnectionError):
    """The control plane could not be reached. The tool did not run."""


class NotFoundError(AscendError, LookupError):
    """There is no such thing, or it belongs to someone else. ``code``: the API's word for what is missing, if it has one."""

    code: str | None = None


class ConflictError(AscendError):
    """The request does not fit what is there.

    The action was decided, claimed or settled already, or its permit belongs to another process or to other arguments. Or
    the name exists already, or the ``Idempotency-Key`` was used for another request.
    """


class ServerError(AscendError):
    """The control plane failed. The tool did not run."""


class StoreError(ServerError, OSError):
    """The control plane's database failed. The message names the remedy."""


def refuse_unknown(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Names that are not known are mistakes, never ignored.

    Args:
        what: what they are names of, as in "option".

    Raises:
        ConfigurationError: one is not known; the message says which one may be meant.
    """
    unknown = set(given) - set(known)
    if unknown:
        from difflib import get_close_matches  # needed on the way to an error only

        name = min(unknown)
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f". There are {', '.join(known)}."
        raise ConfigurationError(f"There is no {what} {name!r}{hint}")
