"""One governed call: what was declared about it, bound to the arguments it was made with."""

from __future__ import annotations

import json
import os
import string
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypedDict

from msgspec import Struct

from ._scope import Running, current, manner, plain_context, require_text, scoped
from .arguments import Arguments, digest_of, normalise
from .binding import Binder
from .drivers import ControlPlane
from .errors import ConfigurationError, ValidationError, refuse_unknown
from .flow import OnPending
from .model import MAX_ORCHESTRATION_DEPTH, AgentAction, Permit, RiskLevel
from .redaction import scrub

Describe = Callable[[dict[str, Any]], str]


class Options(Struct, frozen=True):
    """What a face declares once about all its calls; see ``governed``."""

    action_type: str
    tool_name: str
    resource: Describe | None = None
    resource_id: Describe | None = None
    risk_indicators: dict[str, Any] = {}
    context: dict[str, Any] = {}
    redact: frozenset[str] = frozenset()
    on_pending: OnPending = "wait"
    timeout: float | None = None
    model_id: str | None = None
    mcp_server_name: str | None = None
    orchestration_session_id: str | None = None
    parent_action_id: int | None = None
    control_plane: ControlPlane | None = None


class Details(TypedDict, total=False):
    """What can be said of a call besides its action type and tool name.

    ``resource`` and ``resource_id`` are strings, templates such as ``"customers/{customer_id}"``, or callables on the
    named arguments. ``risk_level`` is low, medium, high or critical, as policies see it in
    ``risk.indicators.risk_level``. ``redact`` names parameters whose values must not leave the call; secret-looking
    names are redacted anyway. ``timeout`` is how many seconds to wait for a person (None: as long as the approval is
    open). ``orchestration_session_id`` and ``parent_action_id`` link a root call; nested calls link to their parent by
    themselves. ``control_plane`` decides instead of the configured default.
    """

    resource: str | Describe | None
    resource_id: str | Describe | None
    risk_level: str | None
    risk_indicators: Mapping[str, Any] | None
    context: Mapping[str, Any] | None
    redact: Collection[str]
    timeout: float | None
    model_id: str | None
    mcp_server_name: str | None
    orchestration_session_id: str | None
    parent_action_id: int | str | None
    control_plane: ControlPlane | None


class Declaration(Details, total=False):
    """What ``governed`` and ``guard`` can be told about a call: ``Details``, and ``on_pending``, which says whether to
    ``wait`` for a person, or to ``raise`` ``ActionPendingError`` and let the same call take the action up later."""

    on_pending: OnPending


_OPTIONS = (*Details.__annotations__, "on_pending")


def options(
    action_type: str,
    tool_name: str,
    declared: Declaration,
    *,
    parameters: Collection[str] | None = None,
    literal: bool = False,
) -> Options:
    """Check a declaration once, where it is written.

    Args:
        parameters: names a template may use; None when they are not known yet.
        literal: strings are themselves, not templates.

    Raises:
        ConfigurationError: something is of the wrong type or shape; the message says what to write instead.
    """
    refuse_unknown("option", declared, _OPTIONS)
    on_pending = declared.get("on_pending", "wait")
    timeout = declared.get("timeout")
    redact = declared.get("redact") or ()
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
            require_text(name, value)
        indicators = plain_context(declared.get("risk_indicators"))
        plain = plain_context(declared.get("context"))
    except (ValidationError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"{action_type!r} cannot be governed so: {error}") from error
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
    if isinstance(redact, str):
        raise ConfigurationError(f"redact is a tuple of parameter names: write redact=({redact!r},).")
    if not isinstance(redact, Collection) or not all(isinstance(name, str) for name in redact):
        raise ConfigurationError(
            f"redact is a tuple of parameter names, such as ('password',), not {redact!r}."
        )
    if risk_level is not None:
        if risk_level not in list(RiskLevel):
            raise ConfigurationError(f"risk_level is one of {', '.join(RiskLevel)}, not {risk_level!r}.")
        indicators["risk_level"] = str(risk_level)
    parent = _parent(declared.get("parent_action_id"))
    if literal:
        describe: Callable[..., Describe | None] = _literal
    else:
        describe = _describe
    return Options(
        action_type,
        tool_name,
        describe("resource", declared.get("resource"), parameters),
        describe("resource_id", declared.get("resource_id"), parameters),
        indicators,
        plain,
        frozenset(redact),
        on_pending,
        timeout,
        declared.get("model_id"),
        declared.get("mcp_server_name"),
        declared.get("orchestration_session_id"),
        parent,
        control_plane,
    )


class BoundCall:
    """A call that the flow can authorize; see ``flow.Call``.

    Attributes:
        args, kwargs: what to call the tool with, an approver's edits included.
        approved: called with the permit before the body runs under a person's approval, when somebody wants to know.
        secrets: values that must not appear in any text about this call.
    """

    __slots__ = (
        "_arguments",
        "_binder",
        "_key",
        "_named",
        "_redact",
        "action",
        "approved",
        "args",
        "call_id",
        "digest",
        "kwargs",
        "on_pending",
        "once",
        "repeatable",
        "timeout",
    )

    def __init__(
        self,
        options: Options,
        plane: ControlPlane,
        named: dict[str, Any],
        binder: Binder | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._named = named
        self._binder = binder
        self._redact = options.redact if binder is None else options.redact | binder.redacted
        self._key = plane.digest_key
        self.args = args
        self.kwargs = kwargs or {}
        self._arguments = arguments = normalise(named, key=self._key, redact=self._redact)
        self.digest = arguments.digest
        self.repeatable = not arguments.opaque
        wanted = manner()
        self.on_pending: OnPending = options.on_pending
        self.call_id: str | None = None
        self.once: str | None = None
        self.approved: Callable[[Permit], None] | None = None
        if wanted is not None:
            self.on_pending = wanted.on_pending or options.on_pending
            self.call_id, self.once, self.approved = wanted.call_id, wanted.once, wanted.approved
        self.timeout = options.timeout
        self.action = _action(options, plane, named, arguments)

    @property
    def secrets(self) -> tuple[str, ...]:
        return self._arguments.secrets

    def unchanged(self) -> bool:
        return not self._arguments.mutable or self.digest == digest_of(
            self._named, key=self._key, redact=self._redact
        )

    def edit(self, values: dict[str, Any]) -> str:
        self._named = {**self._named, **values}
        if self._binder is not None:
            self.args, self.kwargs = self._binder.unbind(self._named)
        self._arguments = normalise(self._named, key=self._key, redact=self._redact)
        self.digest = self._arguments.digest
        return self.digest

    def parameters(self) -> dict[str, Any]:
        return self._named

    @property
    def plain(self) -> dict[str, Any]:
        return self._arguments.plain

    def running(self, action_id: str) -> Running:
        """What calls made inside this one link to."""
        action = self.action
        assert action.orchestration_session_id is not None
        return Running(int(action_id), action.orchestration_session_id, action.orchestration_depth)


def _action(
    options: Options, plane: ControlPlane, named: dict[str, Any], arguments: Arguments
) -> AgentAction:
    scope = scoped()
    parent = current()
    agent_id = scope.agent_id or plane.agent_id
    if parent is None:
        parent_id, depth = options.parent_action_id, 0 if options.parent_action_id is None else 1
        orchestration = options.orchestration_session_id or os.urandom(16).hex()
    else:
        parent_id, depth = parent.action_id, parent.depth + 1
        orchestration = parent.orchestration_session_id
        if depth > MAX_ORCHESTRATION_DEPTH:
            raise ValidationError(
                f"Blocked: {options.action_type} by {options.tool_name} is nested {depth} governed calls deep; at most "
                f"{MAX_ORCHESTRATION_DEPTH} are allowed. Call it from a shallower one.",
                reason="orchestration depth out of range",
            )
    resource = options.resource
    return AgentAction(
        agent_id,
        (scope.agent_name or plane.agent_name) if scope.agent_id is None else (scope.agent_name or agent_id),
        options.action_type,
        options.tool_name if resource is None else _text(resource, named, arguments),
        options.tool_name,
        None if options.resource_id is None else _text(options.resource_id, named, arguments),
        arguments.plain,
        {**options.context, **scope.context} if scope.context else options.context,
        options.risk_indicators,
        options.model_id,
        options.mcp_server_name,
        scope.session_id,
        orchestration,
        parent_id,
        depth,
    )


def _text(describe: Describe, named: dict[str, Any], arguments: Arguments) -> str:
    if isinstance(describe, _Template):
        return describe(arguments.plain)
    try:
        text = describe(named)
    except Exception as error:
        # Without its cause: what it says about the arguments may be secret.
        raise ValidationError(
            f"Blocked: the resource of this call cannot be told: the callable that describes it raised "
            f"{type(error).__name__}. Mend the callable."
        ) from None
    if not isinstance(text, str):
        raise ValidationError(
            f"Blocked: the resource of this call came out as {type(text).__name__}; "
            f"the callable that describes it must return a string."
        )
    text = text.encode("utf-8", "backslashreplace").decode()
    return scrub(text, arguments.secrets)


def _parent(given: int | str | None) -> int | None:
    text = str(given)
    if given is None:
        return None
    if isinstance(given, bool | float) or not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise ConfigurationError(f"parent_action_id is an action's id, not {given!r}.")
    return int(text)


def _literal(what: str, given: str | Describe | None, parameters: Collection[str] | None) -> Describe | None:
    return (lambda _: given) if isinstance(given, str) else _describe(what, given, parameters)


def _describe(what: str, given: str | Describe | None, parameters: Collection[str] | None) -> Describe | None:
    if given is None or (callable(given) and not isinstance(given, str)):
        return given
    if not isinstance(given, str):
        raise ConfigurationError(
            f"{what} is a string, a template such as 'customers/{{customer_id}}', or a callable."
        )
    return _Template(what, given, parameters)


class _Template:
    """``customers/{customer_id}``, filled from the redacted arguments."""

    def __init__(self, what: str, template: str, parameters: Collection[str] | None) -> None:
        try:
            parsed = list(string.Formatter().parse(template))
        except ValueError as error:
            raise ConfigurationError(f"The {what} template {template!r} is malformed: {error}.") from None
        self._parts = [(text, name) for text, name, _, _ in parsed]
        for _, name, form, conversion in parsed:
            if name is None:
                continue
            if form or conversion:
                raise ConfigurationError(
                    f"The {what} template {template!r} formats {{{name}}}; only parameter names can stand in braces. "
                    f"For more, pass a callable: {what}=lambda args: ..."
                )
            if not name.isidentifier():
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}; only parameter names can stand in braces. "
                    f"For more, pass a callable: {what}=lambda args: ..."
                )
            if parameters is not None and name not in parameters:
                raise ConfigurationError(
                    f"The {what} template {template!r} uses {{{name}}}, which is no parameter; "
                    f"there {'is' if len(parameters) == 1 else 'are'} {', '.join(sorted(parameters)) or 'none'}."
                )

    def __call__(self, plain: dict[str, Any]) -> str:
        return "".join(text if name is None else text + _shown(plain.get(name)) for text, name in self._parts)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
