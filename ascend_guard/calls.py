"""One governed call: what was declared about it, bound to the arguments it was made with."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypedDict, cast

import msgspec
from msgspec import Struct

from . import remedies
from ._scope import Running, current, manner, plain_context, require_text, scoped
from .arguments import Arguments, digest_of, normalise
from .binding import Binder
from .descriptions import Describe, checked_names, describe, described
from .descriptions import literal as literally
from .drivers import ControlPlane
from .errors import AuthorizationDeniedError, ConfigurationError, ValidationError, refuse_unknown
from .exclusion import separate
from .flow import OnPending
from .hints import Hint, undeclared
from .model import MAX_ORCHESTRATION_DEPTH, ActionResult, AgentAction, Permit, RiskLevel

OnDenied = Literal["raise", "return"]

_log = logging.getLogger("ascend_guard")
_MOST_TOLD = 1024


class Given(Struct, frozen=True):
    """The arguments a call was made with, before anybody edited them; ``plain`` is what approvers saw."""

    named: dict[str, Any]
    plain: dict[str, Any]


class Options(Struct, frozen=True):
    """What a face declares once about all its calls; see ``governed``.

    ``fixed`` names what was said of one call as text, and so cannot be described anew when its arguments are edited.
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
    """What can be said of a call besides its action type and tool name.

    ``resource`` and ``resource_id`` are strings, templates such as ``"customers/{customer_id}"``, or callables on the
    named arguments. ``risk_level`` is low, medium, high or critical, as policies see it in
    ``risk.indicators.risk_level``. ``redact`` names what must not leave the call: ``"note"`` is a parameter (and any key of
    that name inside the arguments), ``"card.number"`` a key inside one, ``"*.number"`` that key anywhere; secret-looking
    names are redacted anyway. ``exclude`` names parameters that are passed to the tool and left out of the decision and of
    every record, but for their names. ``timeout`` is how many seconds to wait for a person (None: as long as the approval is
    open). ``orchestration_session_id`` and ``parent_action_id`` link a root call; nested calls link to their parent by
    themselves. ``control_plane`` decides instead of the configured default.
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
    """What ``governed`` and ``guard`` can be told about a call: ``Details``, and ``on_pending``, which says whether to
    ``wait`` for a person, or to ``raise`` ``ActionPendingError`` and let the same call take the action up later."""

    on_pending: OnPending


class ToolDeclaration(Declaration, total=False):
    """What ``governed`` can be told about a tool: ``Declaration``, and ``on_denied``, which says whether a call that is
    blocked before the tool's body began will ``raise`` its ``AscendError``, or ``return`` text for the model as the call's
    result. A checker still sees the tool's own return type. With ``return``, a ``ConfigurationError`` and whatever leaves
    the body are raised all the same, and tools that stream are refused."""

    on_denied: OnDenied


_DESCRIBED = ("resource", "resource_id", "risk_indicators")
"""What is said of a call that may follow from its arguments, and that policies judge."""

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
    """Check a declaration once, where it is written.

    Args:
        parameters: names of the call's arguments; None when they are not known yet.
        excluded: those that are excluded by their annotation.
        literal: strings are themselves, not templates.
        tool: ``on_denied`` can be said as well.

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


class BoundCall:
    """A call that the flow can authorize; see ``flow.Call``.

    Attributes:
        args, kwargs: what to call the tool with, an approver's edits included.
        action, digest: what will run, an approver's edits included.
        approved: called with the permit before the body runs under a person's approval, when somebody wants to know.
        secrets: values that must not appear in any text about this call.
    """

    __slots__ = (
        "_arguments",
        "_binder",
        "_excluded",
        "_given",
        "_hint",
        "_key",
        "_named",
        "_options",
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
        hint: Hint = undeclared,
    ) -> None:
        self._binder = binder
        self._options = options
        self._hint = hint
        self._given: Given | None = None
        if binder is None:
            self._redact, hidden = options.redact, options.exclude
            collected: tuple[str, ...] = ()
            vouched: tuple[str, ...] = ()
        else:
            self._redact = options.redact | binder.redacted
            hidden = options.exclude | binder.excluded
            collected, vouched = binder.collected, binder.vouched
        self._named, self._excluded = separate(named, hidden, collected)
        self._key = plane.digest_key
        self.args = args
        self.kwargs = kwargs or {}
        named = self._named
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
        left_out = () if self._excluded is None else self._excluded.names
        self.action = _action(options, plane, named, arguments, left_out, vouched)

    @property
    def secrets(self) -> Sequence[str]:
        return self._arguments.secrets

    @property
    def identity(self) -> str:
        return self._arguments.identity

    def unchanged(self) -> bool:
        if self._binder is not None and not self._binder.intact():
            return False
        return not self._arguments.mutable or self.digest == digest_of(
            self._named, key=self._key, redact=self._redact
        )

    def rebase(self) -> None:
        """What the body did to its own arguments is its doing: from now on they are compared with what it left."""
        if self._arguments.mutable:
            self.digest = digest_of(self._named, key=self._key, redact=self._redact)

    def edit(self, values: dict[str, Any]) -> None:
        from .edits import converted  # needed where an approver edited, and nowhere else

        if self._options.fixed:
            raise _not_editable(self._options)
        if self._excluded is not None:
            for name in values:
                if name in self._excluded.whole:
                    raise ValidationError(
                        f"The argument {name!r} is excluded from the decision, so an approver cannot edit it."
                    )
        # Edited again, the values replace the caller's, not those of the earlier edit.
        if self._given is None:
            self._given = Given(self._named, self._arguments.plain)
        given = self._given
        named = {**given.named, **converted(values, given.named, given.plain, self._hint)}
        arguments = normalise(named, key=self._key, redact=self._redact)
        action = msgspec.structs.replace(
            self.action, action_details=arguments.plain, **_target(self._options, named, arguments)
        )
        if self._binder is not None:
            self.args, self.kwargs = self._binder.unbind(self._passed(named))
        self._named, self._arguments = named, arguments
        self.digest = arguments.digest
        self.action = action

    def _passed(self, named: dict[str, Any]) -> dict[str, Any]:
        return named if self._excluded is None else self._excluded.restore(named)

    def held(self, result: ActionResult) -> None:
        action = self.action
        _tell(self._key, result.action_id, action.action_type, action.tool_name, action.agent_id)

    def parameters(self) -> dict[str, Any]:
        return self._passed(self._named)

    @property
    def plain(self) -> dict[str, Any]:
        return self._arguments.plain

    def running(self, action_id: str) -> Running:
        """What calls made inside this one link to."""
        action = self.action
        assert action.orchestration_session_id is not None
        return Running(int(action_id), action.orchestration_session_id, action.orchestration_depth)


def _action(
    options: Options,
    plane: ControlPlane,
    named: dict[str, Any],
    arguments: Arguments,
    excluded: tuple[str, ...],
    vouched: tuple[str, ...],
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
    target = _target(options, named, arguments)
    return AgentAction(
        agent_id,
        (scope.agent_name or plane.agent_name) if scope.agent_id is None else (scope.agent_name or agent_id),
        options.action_type,
        target["resource"],
        options.tool_name,
        target["resource_id"],
        arguments.plain,
        {**options.context, **scope.context} if scope.context else options.context,
        options.risk_indicators,
        options.model_id,
        options.mcp_server_name,
        scope.session_id,
        orchestration,
        parent_id,
        depth,
        excluded,
        vouched,
    )


@lru_cache(_MOST_TOLD)
def _tell(plane: bytes, action_id: str, action_type: str, tool_name: str, agent_id: str) -> None:
    """Say once that an action waits, and how to decide it. Its arguments are not logged."""
    _log.warning(
        "Waiting for a person: %s by %s for agent %r (action %s). %s",
        action_type,
        tool_name,
        agent_id,
        action_id,
        remedies.decide(action_id),
    )


def _not_editable(options: Options) -> AuthorizationDeniedError:
    fixed = " and ".join(options.fixed)
    reason = f"the edited arguments cannot be judged, because the block gives its {fixed} as fixed values"
    return AuthorizationDeniedError(
        f"Blocked: {options.action_type} by {options.tool_name} did not run: {reason}.",
        reason=reason,
        remedy="Give resource and resource_id as callables on the parameters, such as resource=lambda args: args['path'], "
        "and risk_indicators with @governed; or deny the action and say what to change.",
    )


class _Target(TypedDict):
    """What a call acts on, as its arguments tell."""

    resource: str
    resource_id: str | None


def _target(options: Options, named: dict[str, Any], arguments: Arguments) -> _Target:
    resource, resource_id = options.resource, options.resource_id
    return {
        "resource": options.tool_name if resource is None else described(resource, named, arguments),
        "resource_id": None if resource_id is None else described(resource_id, named, arguments),
    }


def _parent(given: int | str | None) -> int | None:
    text = str(given)
    if given is None:
        return None
    if isinstance(given, bool | float) or not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise ConfigurationError(f"parent_action_id is an action's id, not {given!r}.")
    return int(text)
