"""One governed call: its declaration, bound to the arguments of the call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypedDict

import msgspec
from msgspec import Struct

from ascend_guard.arguments import Arguments, digest_of, normalise
from ascend_guard.callables.binding import Binder
from ascend_guard.callables.exclusion import separate
from ascend_guard.callables.type_hints import Hint, undeclared
from ascend_guard.errors import AuthorizationDeniedError, ValidationError
from ascend_guard.flow import ControlPlane, OnPending
from ascend_guard.model import MAX_ORCHESTRATION_DEPTH, ActionResult, AgentAction, Permit

from . import waiting_notice
from .declarations import Options
from .descriptions import described, is_code
from .scope import Running, current, manner, scoped

_MOST_READINGS = 3


class Given(Struct, frozen=True):
    """The arguments of a call before any edit; ``plain`` is what approvers saw."""

    named: dict[str, object]
    plain: dict[str, object]


class BoundCall:
    """A call that the flow can authorize; see ``flow.Call``.

    Attributes:
        args, kwargs: the arguments for the tool, including an approver's edits.
        action, digest: describe the call that will run, including an approver's edits.
        approved: called with the permit before the body runs under a person's approval; None when the caller does not
            ask for it.
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
        "_plane",
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
        named: dict[str, object],
        binder: Binder | None = None,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
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
        self._plane, self._key = plane, plane.digest_key
        self.args = args
        self.kwargs = kwargs or {}
        named = self._named
        arguments, target = _read(options, named, self._key, self._redact)
        self._arguments = arguments
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
        self.action = _action(options, plane, target, arguments, left_out, vouched)

    @property
    def secrets(self) -> Sequence[str]:
        return self._arguments.secrets

    def identity(self) -> str:
        return self._arguments.identity

    def unchanged(self) -> bool:
        if self._binder is not None and not self._binder.intact():
            return False
        return not self._arguments.mutable or self.digest == digest_of(
            self._named, key=self._key, redact=self._redact
        )

    def rebase(self) -> None:
        """Compare the arguments from now on with their present values, because the body may have changed its own
        arguments."""
        if self._arguments.mutable:
            self.digest = digest_of(self._named, key=self._key, redact=self._redact)

    def edit(self, values: dict[str, object]) -> None:
        from ascend_guard.edits import converted  # needed only where an approver edited

        if self._options.fixed:
            raise _not_editable(self._options)
        if self._excluded is not None:
            for name in values:
                if name in self._excluded.whole:
                    raise ValidationError(
                        f"The argument {name!r} is excluded from the decision, so an approver cannot edit it."
                    )
        # Edited again: the values replace the caller's values, not those of the earlier edit.
        if self._given is None:
            self._given = Given(self._named, self._arguments.plain)
        given = self._given
        named = {**given.named, **converted(values, given.named, given.plain, self._hint)}
        arguments, target = _read(self._options, named, self._key, self._redact)
        action = msgspec.structs.replace(self.action, action_details=arguments.plain, **target)
        if self._binder is not None:
            self.args, self.kwargs = self._binder.unbind(self._passed(named))
        self._named, self._arguments = named, arguments
        self.digest = arguments.digest
        self.action = action

    def _passed(self, named: dict[str, object]) -> dict[str, object]:
        return named if self._excluded is None else self._excluded.restore(named)

    def held(self, result: ActionResult) -> None:
        place = getattr(self._plane, "place", None)  # a custom control plane may have none
        waiting_notice.waits(self._key, place, self.action, result)

    def parameters(self) -> dict[str, object]:
        return self._passed(self._named)

    @property
    def plain(self) -> dict[str, object]:
        return self._arguments.plain

    def running(self, action_id: str) -> Running:
        """What calls inside this one link to."""
        action = self.action
        assert action.orchestration_session_id is not None
        return Running(int(action_id), action.orchestration_session_id, action.orchestration_depth)


def _action(
    options: Options,
    plane: ControlPlane,
    target: _Target,
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
                f"{MAX_ORCHESTRATION_DEPTH} are allowed. Reduce the nesting.",
                reason="orchestration depth out of range",
            )
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


def _not_editable(options: Options) -> AuthorizationDeniedError:
    fixed = " and ".join(options.fixed)
    reason = f"the edited arguments cannot be judged, because the block declares its {fixed} as fixed values"
    return AuthorizationDeniedError(
        f"Blocked: {options.action_type} by {options.tool_name} did not run: {reason}.",
        reason=reason,
        remedy="Give resource and resource_id as callables on the parameters, such as resource=lambda args: args['path'], "
        "and risk_indicators with @governed. Otherwise, deny the action and say what to change.",
    )


class _Target(TypedDict):
    """The resource of a call, its id and its risk indicators, as described from the arguments."""

    resource: str
    resource_id: str | None


def _read(
    options: Options, named: dict[str, object], key: bytes, redact: frozenset[str]
) -> tuple[Arguments, _Target]:
    """Return the arguments as they are judged, and what they act on.

    A callable that describes the resource may change the arguments, as the first access to a cached property does. So both
    are read again until the callable leaves the arguments unchanged. If it never does, the last check finds the change,
    like any other change.
    """
    arguments = normalise(named, key=key, redact=redact)
    target = _target(options, named, arguments)
    if arguments.mutable and (is_code(options.resource) or is_code(options.resource_id)):
        for _ in range(_MOST_READINGS):
            again = normalise(named, key=key, redact=redact)
            if again.digest == arguments.digest:
                break
            arguments, target = again, _target(options, named, again)
    return arguments, target


def _target(options: Options, named: dict[str, object], arguments: Arguments) -> _Target:
    resource, resource_id = options.resource, options.resource_id
    return {
        "resource": options.tool_name if resource is None else described(resource, named, arguments),
        "resource_id": None if resource_id is None else described(resource_id, named, arguments),
    }
