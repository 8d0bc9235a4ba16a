"""What a developer declares about a tool's calls. It is checked once, at the declaration."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypedDict, cast

from msgspec import Struct

from ascend_guard.errors import ConfigurationError, ValidationError, refuse_unknown
from ascend_guard.flow import ControlPlane, OnPending
from ascend_guard.model import RiskLevel

from .descriptions import Describe, checked_names, describe
from .descriptions import literal as literally
from .scope import plain_context, require_text

OnDenied = Literal["raise", "return"]


class Options(Struct, frozen=True):
    """The checked declaration of an entry point; see ``governed``.

    ``fixed`` names what was declared as plain text for one call. It cannot be described again when the arguments are
    edited.
    """

    action_type: str
    tool_name: str
    resource: Describe | None = None
    resource_id: Describe | None = None
    risk_indicators: dict[str, Any] = {}
    context: dict[str, Any] = {}
    redact: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    on_pending: OnPending = "wait"
    on_denied: OnDenied = "raise"
    timeout: float | None = None
    model_id: str | None = None
    mcp_server_name: str | None = None
    orchestration_session_id: str | None = None
    parent_action_id: int | None = None
    control_plane: ControlPlane | None = None
    fixed: tuple[str, ...] = ()


class Details(TypedDict, total=False):
    """What can be declared about a call besides its action type and tool name.

    ``resource`` and ``resource_id`` are strings, templates such as ``"customers/{customer_id}"``, or callables on the
    named arguments. ``risk_level`` is low, medium, high or critical, as policies see it in
    ``risk.indicators.risk_level``. ``redact`` names the values to redact: ``"note"`` is a parameter (and any key of
    that name inside the arguments), ``"card.number"`` is a key inside one parameter, ``"*.number"`` is that key anywhere.
    Names that look secret are always redacted. ``exclude`` names parameters that are passed to the tool, but left out
    of the decision and of every record; only their names are recorded. ``timeout`` is how many seconds to wait for a
    person (None: as long as the approval is open). ``orchestration_session_id`` and ``parent_action_id`` link a root
    call; nested calls link to their parent automatically. ``control_plane`` decides instead of the configured default.
    """

    resource: str | Describe | None
    resource_id: str | Describe | None
    risk_level: str | None
    risk_indicators: Mapping[str, Any] | None
    context: Mapping[str, Any] | None
    redact: Collection[str]
    exclude: Collection[str]
    timeout: float | None
    model_id: str | None
    mcp_server_name: str | None
    orchestration_session_id: str | None
    parent_action_id: int | str | None
    control_plane: ControlPlane | None


class Declaration(Details, total=False):
    """The options of ``governed`` and ``guard``: ``Details``, and ``on_pending``, which says whether to ``wait`` for a
    person, or to ``raise`` ``ActionPendingError``; the same call made later then resumes the action."""

    on_pending: OnPending


class ToolDeclaration(Declaration, total=False):
    """The options of ``governed``: ``Declaration``, and ``on_denied``, which says whether a call that is blocked before the
    tool's body began will ``raise`` its ``AscendError``, or ``return`` text for the model as the result of the call. A type
    checker still sees the tool's own return type. With ``return``, a ``ConfigurationError`` and every exception from the
    body are still raised, and tools that stream are refused."""

    on_denied: OnDenied


_DESCRIBED = ("resource", "resource_id", "risk_indicators")
"""Declared values that can depend on the arguments, and that policies judge."""

_OPTIONS = (*Details.__annotations__, "on_pending")
_TOOL_OPTIONS = (*_OPTIONS, "on_denied")


def options(
    action_type: str,
    tool_name: str,
    declared: Declaration | ToolDeclaration,
    *,
    parameters: Collection[str] | None = None,
    excluded: Collection[str] = (),
    literal: bool = False,
    tool: bool = False,
) -> Options:
    """Check a declaration once, where it is written, and return it.

    Args:
        parameters: names of the call's arguments; None when they are not known yet.
        excluded: the parameters that are excluded by their annotation.
        literal: strings are taken literally, not as templates.
        tool: ``on_denied`` is allowed.

    Raises:
        ConfigurationError: something is of the wrong type or shape; the message says what to write instead.
    """
    refuse_unknown("option", declared, _TOOL_OPTIONS if tool else _OPTIONS)
    on_denied = cast(ToolDeclaration, declared).get("on_denied", "raise")
    if on_denied not in ("raise", "return"):
        raise ConfigurationError(f"on_denied is 'raise' or 'return', not {on_denied!r}.")
    on_pending = declared.get("on_pending", "wait")
    timeout = declared.get("timeout")
    redact = checked_names("redact", declared.get("redact"), parameters)
    exclude = checked_names("exclude", declared.get("exclude"), parameters)
    risk_level = declared.get("risk_level")
    control_plane = declared.get("control_plane")
    if action_type is None or tool_name is None:
        raise ConfigurationError("action_type and tool_name are needed: write governed('refund', 'billing').")
    for name, mapping in (
        ("context", declared.get("context")),
        ("risk_indicators", declared.get("risk_indicators")),
    ):
        if mapping is not None and not isinstance(mapping, Mapping):
            raise ConfigurationError(f"{name} is a dictionary of named values, not {type(mapping).__name__}.")
    if control_plane is not None and not hasattr(control_plane, "aperform"):
        raise ConfigurationError(
            f"control_plane is an object that decides, such as EmbeddedControlPlane, not {type(control_plane).__name__}."
        )
    try:
        for name, value in (
            ("action_type", action_type),
            ("tool_name", tool_name),
            ("model_id", declared.get("model_id")),
            ("mcp_server_name", declared.get("mcp_server_name")),
            ("orchestration_session_id", declared.get("orchestration_session_id")),
        ):
            require_text(name, value, optional=True)
        indicators = plain_context(declared.get("risk_indicators"))
        plain = plain_context(declared.get("context"))
    except (ValidationError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"{action_type!r} cannot be governed: {error}") from error
    if on_pending not in ("wait", "raise"):
        raise ConfigurationError(f"on_pending is 'wait' or 'raise', not {on_pending!r}.")
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0
    ):
        raise ConfigurationError(
            f"timeout is a number of seconds, at least 0, or None to wait; not {timeout!r}."
        )
    if timeout is not None and timeout > threading.TIMEOUT_MAX:
        timeout = None
    if risk_level is not None:
        if risk_level not in list(RiskLevel):
            raise ConfigurationError(f"risk_level is one of {', '.join(RiskLevel)}, not {risk_level!r}.")
        indicators["risk_level"] = str(risk_level)
    parent = _parent(declared.get("parent_action_id"))
    description = literally if literal else describe
    hidden = exclude.union(excluded)
    return Options(
        action_type,
        tool_name,
        description("resource", declared.get("resource"), parameters, hidden),
        description("resource_id", declared.get("resource_id"), parameters, hidden),
        indicators,
        plain,
        redact,
        exclude,
        on_pending,
        on_denied,
        timeout,
        declared.get("model_id"),
        declared.get("mcp_server_name"),
        declared.get("orchestration_session_id"),
        parent,
        control_plane,
        tuple(name for name in _DESCRIBED if _is_fixed(declared.get(name))) if literal else (),
    )


def _is_fixed(given: object) -> bool:
    return isinstance(given, str) or (isinstance(given, Mapping) and bool(given))


def _parent(given: int | str | None) -> int | None:
    text = str(given)
    if given is None:
        return None
    if isinstance(given, bool | float) or not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise ConfigurationError(f"parent_action_id is an action's id, not {given!r}.")
    return int(text)
