"""The governed call, with no I/O in it.

Four generators of effects say what must happen and in which order: ``authorize`` before the tool runs, ``begin`` immediately
before its first statement, ``check_running`` between the chunks of one that streams, ``settle`` after it. A driver performs
the effects through a control plane and sends the answers back, or throws the failure in; so failing closed lives here and
nowhere else.

No clock, randomness, sleep, span or context variable: those are effects, or belong to the faces.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Generic, Literal, Protocol, TypeVar

from .errors import (
    ActionPendingError,
    AlreadyRanError,
    AscendError,
    AuthenticationError,
    AuthorizationDeniedError,
    ConfigurationError,
    KillSwitchError,
    ServerError,
    StoreError,
    TimeoutError,
)
from .model import ActionResult, AgentAction, Decision, KillSwitchState, Outcome, OutcomeStatus, Permit

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

OnPending = Literal["wait", "raise"]

ALREADY_RAN = "already_ran"
"""In a result's metadata: this very call has begun before (``Submit.once``), as ``action_id``, and ended as ``outcome``."""


class Effect(Generic[R_co]):
    """Something a control plane does for the flow; ``R_co`` is what it answers."""

    __slots__ = ()


class CheckKillSwitch(Effect[KillSwitchState]):
    """Is this agent stopped? ``stage`` is ``submit``, ``start`` or ``stream``."""

    __slots__ = ("action", "action_id", "stage")

    def __init__(self, action: AgentAction, stage: str, action_id: str | None = None) -> None:
        self.action = action
        self.stage = stage
        self.action_id = action_id


class Begin(CheckKillSwitch):
    """The last look at the kill switch before the tool's first statement. A call that passed it has begun.

    It is performed synchronously, in coroutines too, so that nothing else can happen between it and the body. A control
    plane must therefore answer it from memory or with a system call, and never wait for a network.
    """

    __slots__ = ()

    def __init__(self, action: AgentAction, action_id: str) -> None:
        super().__init__(action, "start", action_id)


class Submit(Effect[ActionResult]):
    """Decide this action and record the decision durably.

    Args:
        action: what is asked.
        digest: keyed digest of the arguments; whatever is approved is approved for these alone.
        parked: nobody will wait for a person. A pending or approved action for the very same call is taken up again.
        repeatable: the same call made later gives the same digest, so it can be taken up again.
        call_id: names this very call where its caller may repeat it, as a graph does that was interrupted. Another call
            with the same arguments is then another action, and a person's no holds however often it is repeated.
        once: names this very call where it may run at most once. When a call of this agent with that name has begun,
            the answer is a denial whose metadata has ``already_ran``, and nothing is recorded.

    An action approved at once is claimed in the same step (``ActionResult.claimed``) where the control plane can.
    """

    __slots__ = ("action", "call_id", "digest", "once", "parked", "repeatable")

    def __init__(
        self,
        action: AgentAction,
        digest: str,
        *,
        parked: bool,
        repeatable: bool,
        call_id: str | None = None,
        once: str | None = None,
    ) -> None:
        self.action = action
        self.digest = digest
        self.parked = parked
        self.repeatable = repeatable
        self.call_id = call_id
        self.once = once


class AwaitDecision(Effect[ActionResult]):
    """Wait for a person, at most ``timeout`` seconds; the answer is still pending when nobody decided.

    Raises ``KillSwitchError`` into the flow as soon as the kill switch goes on.
    """

    __slots__ = ("action", "action_id", "timeout")

    def __init__(self, action: AgentAction, action_id: str, timeout: float | None) -> None:
        self.action = action
        self.action_id = action_id
        self.timeout = timeout


class Claim(Effect[ActionResult]):
    """Take the one permit an approval is good for. ``running`` is the digest of the arguments that will run; ``once`` as
    in ``Submit``."""

    __slots__ = ("action", "action_id", "digest", "once", "running")

    def __init__(
        self, action: AgentAction, action_id: str, digest: str, running: str, once: str | None = None
    ) -> None:
        self.action = action
        self.action_id = action_id
        self.digest = digest
        self.running = running
        self.once = once


class Withdraw(Effect[None]):
    """An approved action will not be run as it was approved: record why, and let nobody use the approval."""

    __slots__ = ("action_id", "reason")

    def __init__(self, action_id: str, reason: str) -> None:
        self.action_id = action_id
        self.reason = reason


class Settle(Effect[None]):
    """Record what came of a started action."""

    __slots__ = ("action_id", "outcome")

    def __init__(self, action_id: str, outcome: Outcome) -> None:
        self.action_id = action_id
        self.outcome = outcome


Flow = Generator[Effect[Any], Any, R]


class Call(Protocol):
    """One call, bound to its arguments, as the flow needs it."""

    action: AgentAction
    digest: str
    repeatable: bool
    call_id: str | None
    once: str | None
    on_pending: OnPending
    timeout: float | None

    def unchanged(self) -> bool:
        """Whether the arguments that would run now still have this digest."""
        ...

    def edit(self, values: dict[str, Any]) -> str:
        """Replace arguments by an approver's values; ``digest`` becomes, and the answer is, that of what will run now."""
        ...

    def parameters(self) -> dict[str, Any]:
        """The named arguments that will run."""
        ...

    @property
    def plain(self) -> dict[str, Any]:
        """The named arguments that will run as they may be shown: plain JSON data, redacted."""
        ...


def do(effect: Effect[R]) -> Flow[R]:
    """Yield one effect; the type of its answer is known to both checkers."""
    reply: R = yield effect
    return reply


def authorize(call: Call) -> Flow[Permit]:
    """Everything that must have happened before the tool's body runs.

    Returns the permit to run it once. Any failure whatsoever leaves as an ``AscendError``, and then nothing may run.
    """
    try:
        return (yield from _authorize(call))
    except AscendError:
        raise
    except Exception as error:
        raise ServerError(
            f"Blocked: {_what(call.action)} did not run, because the control plane failed "
            f"({type(error).__name__}: {error}). Nothing was executed; mend the control plane and call again."
        ) from error


def begin(call: Call, permit: Permit) -> Flow[None]:
    """The last check, immediately before the tool's first statement: the kill switch is off, and the arguments that will
    run are those that were decided on. When it raises, the tool must not run, and the action is settled as not started."""
    yield from _check_kill_switch(Begin(call.action, permit.action_id))
    _require_unchanged(call, permit.result)


def settle(permit: Permit, outcome: Outcome) -> Flow[Exception | None]:
    """Record the outcome of a call that ran. The tool has acted by now, so a failure is returned, not raised:
    raising would invite the caller to act twice. The action then shows as ``unknown``."""
    try:
        yield from do(Settle(permit.action_id, outcome))
    except Exception as error:
        return error
    return None


def check_running(call: Call, permit: Permit) -> Flow[None]:
    """Between two chunks of a streaming tool: go on only while the kill switch is known to be off."""
    yield from _check_kill_switch(CheckKillSwitch(call.action, "stream", permit.action_id))


def _authorize(call: Call) -> Flow[Permit]:
    action = call.action
    yield from _check_kill_switch(CheckKillSwitch(action, "submit"))
    parked = call.on_pending == "raise"
    submit = Submit(
        action,
        call.digest,
        parked=parked,
        repeatable=call.repeatable,
        call_id=call.call_id,
        once=call.once,
    )
    result = yield from do(submit)
    waited = result.status is Decision.PENDING
    if waited:
        if parked:
            raise _pending(action, result, call.repeatable)
        result = yield from do(AwaitDecision(action, result.action_id, call.timeout))
        if result.status is Decision.PENDING:
            raise _timed_out(action, result, call.timeout)
    if result.status is not Decision.APPROVED:
        raise _denied(action, result)

    edits = result.modified_arguments
    asked = call.plain
    running = approved = call.digest
    if not result.claimed:
        try:
            _require_unchanged(call, result)
            if edits:
                running = call.edit(edits)
        except AscendError as error:
            yield from do(Withdraw(result.action_id, error.reason or str(error)))
            raise
        result = yield from do(Claim(action, result.action_id, approved, running, call.once))
        if result.status is not Decision.APPROVED or not result.claimed:
            raise _denied(action, result)
    if waited:
        try:
            yield from _check_kill_switch(CheckKillSwitch(action, "start", result.action_id))
        except GeneratorExit:
            raise
        except BaseException as error:
            # Claimed but never begun, be it for a cancelled task: say so, or it would count as running for ever.
            yield from do(
                Settle(result.action_id, Outcome(OutcomeStatus.FAILED, error=f"not started: {error}"))
            )
            raise
    return Permit.of(result, running, call.parameters(), edits, asked, call.plain)


def _check_kill_switch(check: CheckKillSwitch) -> Flow[None]:
    """Go on only when the kill switch is known to be off; a state that cannot be known counts as on (REST API
    document, "Fail-closed requirement")."""
    try:
        state = yield from do(check)
        blocked = state.blocked
    except (AuthorizationDeniedError, AuthenticationError, ConfigurationError, StoreError):
        raise
    except Exception as error:
        raise KillSwitchError(
            f"Blocked: {_what(check.action)} did not run, because the state of the kill switch cannot be known, "
            f"which counts as on ({type(error).__name__}: {error}).",
            action_id=check.action_id,
            reason="kill switch state unknown",
        ) from error
    if blocked is not False:
        raise kill_switch_error(check.action, state, check.action_id, check.stage)


def _require_unchanged(call: Call, result: ActionResult) -> None:
    if not call.unchanged():
        raise AuthorizationDeniedError(
            f"Blocked: {_what(call.action)} (action {result.action_id}) did not run, because its arguments changed "
            f"after it was submitted. What was approved is what runs: call it again with the arguments you mean.",
            action_id=result.action_id,
            rule=result.policy_matched,
            reason="arguments changed after the action was submitted",
        )


def _what(action: AgentAction) -> str:
    tool = "" if action.tool_name == action.action_type else f" by {action.tool_name}"
    return f"{action.action_type}{tool} for agent {action.agent_id!r}"


def _by_rule(result: ActionResult) -> str:
    return f" (rule {result.policy_matched})" if result.policy_matched else ""


def kill_switch_error(
    action: AgentAction, state: KillSwitchState, action_id: str | None, stage: str
) -> KillSwitchError:
    """The error for a kill switch that is on; ``stage`` as in ``CheckKillSwitch``."""
    whom = f"agent {state.agent_id!r}" if state.agent_id else "every agent"
    done = "was stopped half way" if stage == "stream" else "did not run"
    because = f": {state.reason}" if state.reason else ""
    return KillSwitchError(
        f"Blocked: {_what(action)} {done}. The kill switch is on for {whom}{because}. "
        f"When it is safe, turn it off with `ascend-guard kill-switch off"
        f"{' --agent ' + state.agent_id if state.agent_id else ''}`.",
        action_id=action_id,
        reason=state.reason or "kill switch on",
    )


def _already_ran(action: AgentAction, result: ActionResult, earlier: Mapping[str, Any]) -> AlreadyRanError:
    action_id = str(earlier.get("action_id") or result.action_id)
    error = AlreadyRanError(
        f"Already ran, action {action_id}: {_what(action)} was not run again. {result.reason}",
        action_id=action_id,
        reason=result.reason,
    )
    error.outcome = str(earlier.get("outcome") or "unknown")
    return error


def _denied(action: AgentAction, result: ActionResult) -> AscendError:
    if isinstance(earlier := result.metadata.get(ALREADY_RAN), dict):
        return _already_ran(action, result, earlier)
    if result.status is Decision.PENDING:
        return ServerError(
            f"Blocked: {_what(action)} (action {result.action_id}) did not run: "
            f"the control plane answered {result.status!s} where only approved or denied make sense.",
            action_id=result.action_id,
        )
    reason = result.reason or "no reason given"
    return AuthorizationDeniedError(
        f"Denied: {_what(action)} (action {result.action_id}) did not run. {reason}{_by_rule(result)} "
        f"See `ascend-guard actions show {result.action_id}`.",
        action_id=result.action_id,
        rule=result.policy_matched,
        reason=reason,
    )


def _pending(action: AgentAction, result: ActionResult, repeatable: bool) -> AscendError:
    again = (
        "then make the same call again: it takes this action up"
        if repeatable
        else "but this call has an argument whose content cannot be seen, so the same call cannot be recognised "
        'later: pass plain data, or use on_pending="wait"'
    )
    error = ActionPendingError(
        f"Pending: {_what(action)} (action {result.action_id}) did not run; it waits for a person. "
        f"{result.reason}{_by_rule(result)} Decide with `ascend-guard approvals approve {result.action_id}`, {again}.",
        action_id=result.action_id,
        rule=result.policy_matched,
        reason=result.reason,
    )
    error.repeatable = repeatable
    return error


def _timed_out(action: AgentAction, result: ActionResult, timeout: float | None) -> TimeoutError:
    return TimeoutError(
        f"Timed out: {_what(action)} (action {result.action_id}) did not run; nobody decided within "
        f"{timeout:g} s. It still waits: decide with `ascend-guard approvals approve {result.action_id}`, "
        f"then make the same call again."
        if timeout is not None
        else f"Timed out: {_what(action)} (action {result.action_id}) did not run; it is still pending.",
        action_id=result.action_id,
        rule=result.policy_matched,
        reason="nobody decided in time",
    )
