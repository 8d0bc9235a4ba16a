"""What the calls inside a block carry, and the governed call that surrounds them. Tasks and nested calls inherit both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ascend_guard.arguments import normalise
from ascend_guard.errors import ConfigurationError, ValidationError
from ascend_guard.flow import OnPending
from ascend_guard.model import Permit

from .discarded_results import is_thrown_away

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager  # so that type checkers accept it as a decorator, too


class Scope(Struct, frozen=True):
    """The agent and the conversation of a call."""

    agent_id: str | None = None
    agent_name: str | None = None
    session_id: str | None = None
    context: dict[str, Any] = {}


class Running(Struct, frozen=True):
    """The governed call whose body is running."""

    action_id: int
    orchestration_session_id: str
    depth: int


class Manner(Struct, frozen=True):
    """How the next governed call is made, as set by the framework around it."""

    on_pending: OnPending | None
    call_id: str | None
    once: str | None
    approved: Callable[[Permit], None] | None
    inside: Running | None


_NOBODY = Scope()
_scope: ContextVar[Scope] = ContextVar("ascend_guard_scope", default=_NOBODY)
_running: ContextVar[Running | None] = ContextVar("ascend_guard_running", default=None)
_manner: ContextVar[Manner | None] = ContextVar("ascend_guard_manner", default=None)

scoped = _scope.get
current = _running.get
restore = _running.set
"""Ends every entered context with one call of a C function: an interrupt comes before or after it, never between."""


def enter(running: Running) -> None:
    """Calls made from now on are made inside this one."""
    _running.set(running)


def leave(running: Running, outer: Running | None) -> None:
    """Restore the surrounding call. It may be called twice, so it can be repeated after an interrupt.

    In another context than the one that was entered, nothing changes; for example, when another task closes a generator.
    """
    if _running.get() is running:
        _running.set(outer)


@contextmanager
def in_manner(
    on_pending: OnPending | None,
    call_id: str | None,
    approved: Callable[[Permit], None] | None = None,
    once: str | None = None,
) -> Iterator[None]:
    """Governed calls inside the block use this ``on_pending``, whatever they declare. Calls that are nested inside those
    are not affected.

    Args:
        on_pending: as in ``Declaration``; None leaves each call as declared.
        call_id, once: as in ``Submit``.
        approved: called with the permit before the tool's body runs under a person's approval.
    """
    token = _manner.set(Manner(on_pending, call_id, once, approved, current()))
    try:
        yield
    finally:
        with suppress(ValueError):  # left in another context than the one that was entered
            _manner.reset(token)


def manner() -> Manner | None:
    """How a call made here is made; None when ``in_manner`` is not in use."""
    said = _manner.get()
    return said if said is not None and said.inside is current() else None


def scope(
    *,
    agent_id: str | None = None,
    agent_name: str | None = None,
    session_id: str | None = None,
    context: Mapping[str, object] | None = None,
) -> _GeneratorContextManager[None]:
    """Set what governed calls inside the block carry. Values that are left out come from the surrounding scope.

    Args:
        agent_id: the agent that calls.
        agent_name: its name for people; the id when only the id is given.
        session_id: the conversation.
        context: execution context, merged into the surrounding context; plain data.

    Raises:
        ConfigurationError: the result of ``scope(...)`` is not used, so later calls would carry another agent's name.
        ValidationError: on entering, a value is of the wrong type.
    """
    if is_thrown_away(sys._getframe(1)):
        raise ConfigurationError(
            "scope sets nothing on a line of its own: write `with scope(...):` and put the calls inside."
        )
    return _within(agent_id, agent_name, session_id, context)


@contextmanager
def _within(
    agent_id: str | None,
    agent_name: str | None,
    session_id: str | None,
    context: Mapping[str, object] | None,
) -> Iterator[None]:
    outer = _scope.get()
    for name, value in (("agent_id", agent_id), ("agent_name", agent_name), ("session_id", session_id)):
        require_text(name, value, optional=True)
    if agent_name is None:
        agent_name = outer.agent_name if agent_id is None else agent_id
    inner = Scope(
        agent_id or outer.agent_id,
        agent_name,
        session_id or outer.session_id,
        {**outer.context, **plain_context(context)} if context else outer.context,
    )
    token = _scope.set(inner)
    try:
        yield
    finally:
        with suppress(ValueError):  # left in another context than the one that was entered
            _scope.reset(token)


def plain_context(context: Mapping[str, object] | None) -> dict[str, object]:
    """Return the context as plain, redacted JSON data."""
    return normalise(context, key=b"").plain if context else {}


def require_text(name: str, value: object, *, optional: bool = False) -> None:
    """Check that an identifier is non-empty valid text.

    Args:
        name: for the message.
        value: the caller's value.
        optional: whether it may be None.

    Raises:
        ValidationError: the value is not such text.
    """
    if value is None and optional:
        return
    if not isinstance(value, str) or not value:
        what = "an empty string" if value == "" else type(value).__name__
        raise ValidationError(f"{name} must be a non-empty string, not {what}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError(f"{name} must be valid Unicode text; it contains a lone surrogate.") from None
