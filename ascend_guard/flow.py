"""The governed call, with no I/O in it.

Three generators of effects and one function define what must happen, and in which order: ``authorize`` before the tool
runs, ``begin`` immediately before its first statement, ``check_running`` between the chunks of a stream, ``settle`` after
the tool. A driver performs the effects through a control plane. It sends each answer, or throws each failure, into the
flow.

The rules, their promises, and the tests that check them (``tests/promises``, ``tests/faults``):

1. A permit exists only if a control plane answered APPROVED and ``claimed``, and every failure before that raises an
   ``AscendError``. This is the one place that fails closed; ``replies`` says which answers count (promise 1;
   test_schedules, test_faulty_plane, test_faults_over_http).
2. ``authorize`` goes in this order: kill switch, submit, decision, arguments unchanged, claim, and the kill switch again if
   the call waited (promises 1 to 4).
3. The kill switch is off only if the answer says ``blocked is False``. Any other value, and any failure to get one, counts
   as on. ``kill_switch`` has this rule, for the documented client too (promise 4; test_schedules, test_kill_barrier).
4. Arguments are compared with the decided digest before the claim and again in ``begin``. Edited arguments are taken only
   through a claim, which judges the edited call (promise 2; test_schedules, test_edits).
5. An approval that its call cannot use is withdrawn. A permit whose body never begins is settled as not started
   (promises 3 and 5).
6. Once the tool has run, a failure to record the outcome is returned, not raised: the caller might repeat the call if it
   were raised (promise 5).

No clock, randomness, sleep, span or context variable is used here: these are effects, or belong to the entry points.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, Literal, NoReturn, Protocol, TypeVar

import msgspec

from ascend_guard.errors import not_run

from .errors import AscendError, ConflictError, ServerError
from .kill_switch import block_unknown, is_off
from .model import ActionResult, AgentAction, Decision, KillSwitchState, Outcome, Permit
from .replies import accepted, accepted_permit, accepted_state

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

OnPending = Literal["wait", "raise"]

_MOST_ROUNDS = 16
"""How often the approvers of one call may edit it so that it needs another approval."""


class Effect(Generic[R_co]):
    """An operation that a control plane performs for the flow; ``R_co`` is the type of its answer."""

    __slots__ = ()


class CheckKillSwitch(Effect[KillSwitchState]):
    """Get the state of the kill switch for this agent. ``stage`` is ``submit``, ``start`` or ``stream``."""

    __slots__ = ("action", "action_id", "stage")

    def __init__(self, action: AgentAction, stage: str, action_id: str | None = None) -> None:
        self.action = action
        self.stage = stage
        self.action_id = action_id


class Begin(CheckKillSwitch):
    """The last check of the kill switch, before the tool's first statement. A call that passed it has begun.

    It is performed synchronously, in coroutines too, so that nothing can happen between it and the body. So a control plane
    must answer it from memory or with a system call, not over a network. ``digest`` is the permit's.
    """

    __slots__ = ("digest",)

    def __init__(self, action: AgentAction, action_id: str, digest: str) -> None:
        super().__init__(action, "start", action_id)
        self.digest = digest


class Submit(Effect[ActionResult]):
    """Decide this action and record the decision durably.

    Args:
        action: the action to decide.
        digest: keyed digest of the arguments; an approval is valid for these arguments only.
        identity: the digest without the order of dict keys, which identifies the same call when it is made again;
            ``digest`` when left out. A callable is called only when the identity is needed, which is rare.
        detached: no call will wait for a person. A pending or approved action for the same call is resumed.
        repeatable: the same call made later gives the same digest, so it can resume the action.
        call_id: identifies this call where its caller may repeat it, as an interrupted graph does. Another call with
            the same arguments is then another action, and a person's denial answers all repetitions.
        once: identifies this call where it may run at most once. When a call of this agent with that name has begun,
            the answer is a denial whose metadata has ``already_ran``, and nothing is recorded.

    An action approved at once is claimed in the same step (``ActionResult.claimed``), if the control plane supports that.
    """

    __slots__ = ("_identity", "action", "call_id", "detached", "digest", "once", "repeatable")

    def __init__(
        self,
        action: AgentAction,
        digest: str,
        *,
        detached: bool,
        repeatable: bool,
        call_id: str | None = None,
        identity: str | Callable[[], str] | None = None,
        once: str | None = None,
    ) -> None:
        self.action = action
        self.digest = digest
        self._identity = digest if identity is None else identity
        self.detached = detached
        self.repeatable = repeatable
        self.call_id = call_id
        self.once = once

    @property
    def identity(self) -> str:
        """The digest without the order of dict keys; see the class."""
        return self._identity if isinstance(self._identity, str) else self._identity()


class AwaitDecision(Effect[ActionResult]):
    """Wait for a person, at most ``timeout`` seconds. The answer is still pending when no decision was made.

    Raises ``KillSwitchError`` into the flow as soon as the kill switch is turned on.
    """

    __slots__ = ("action", "action_id", "timeout")

    def __init__(self, action: AgentAction, action_id: str, timeout: float | None) -> None:
        self.action = action
        self.action_id = action_id
        self.timeout = timeout


class Claim(Effect[ActionResult]):
    """Use the approval: take its only permit.

    Args:
        action: the whole call as it will run, described again if an approver edited it.
        action_id: the approved action.
        digest: the digest of the submitted arguments.
        running: the digest of the arguments that will run.
        once: as in ``Submit``.
        edits: the approver's values that are in ``action``.

    An edited call is judged again. When it needs another approval than it has, the answer is pending: people decide it
    again, under the same identifier, and it is claimed after that.
    """

    __slots__ = ("action", "action_id", "digest", "edits", "once", "running")

    def __init__(
        self,
        action: AgentAction,
        action_id: str,
        digest: str,
        running: str,
        edits: dict[str, Any] | None = None,
        once: str | None = None,
    ) -> None:
        self.action = action
        self.action_id = action_id
        self.digest = digest
        self.running = running
        self.edits = edits
        self.once = once


class Withdraw(Effect[None]):
    """An approved action will not run as approved: record why, and invalidate the approval."""

    __slots__ = ("action_id", "reason")

    def __init__(self, action_id: str, reason: str) -> None:
        self.action_id = action_id
        self.reason = reason


class Settle(Effect[None]):
    """Record the outcome of an action that has begun.

    Args:
        action_id: the action.
        outcome: its outcome.
        beside: return at once, take no lock and do not wait: the caller may be a finaliser.
    """

    __slots__ = ("action_id", "beside", "outcome")

    def __init__(self, action_id: str, outcome: Outcome, *, beside: bool = False) -> None:
        self.action_id = action_id
        self.outcome = outcome
        self.beside = beside


Flow = Generator[Effect[Any], Any, R]


class ControlPlane(Protocol):
    """Decides and records actions: the embedded engine, a server, or a script in a test.

    Attributes:
        digest_key: secret key of argument digests, so that a stored digest cannot be used to guess a redacted value.
        agent_id: the agent of its calls, unless the call or its scope names another.
        agent_name: that agent's name for people.
    """

    digest_key: bytes
    agent_id: str
    agent_name: str

    def perform(self, effect: Effect[R]) -> R:
        """Perform one effect, blocking. Every failure is raised."""
        ...

    async def aperform(self, effect: Effect[R]) -> R:
        """Perform one effect without blocking the event loop. Every failure is raised."""
        ...


class GovernedCall(Protocol):
    """One call, bound to its arguments: the interface that the flow needs."""

    action: AgentAction
    digest: str
    repeatable: bool
    call_id: str | None
    once: str | None
    on_pending: OnPending
    timeout: float | None

    def identity(self) -> str:
        """``digest`` without the order of dict keys. It identifies the same call, and never protects what runs."""
        ...

    def unchanged(self) -> bool:
        """Return whether the arguments that would run now still have this digest."""
        ...

    def edit(self, values: dict[str, Any]) -> None:
        """Replace arguments by an approver's values, each converted to its parameter's type. ``digest`` and ``action`` then
        describe the call that will run; resource and resource id are described again.

        Raises:
            AscendError: a value cannot be converted, or the edited call cannot be described.
        """
        ...

    def held(self, result: ActionResult) -> None:
        """The call waits for a person: report it to the operator of the agent."""
        ...

    def parameters(self) -> dict[str, Any]:
        """The named arguments that will run."""
        ...

    @property
    def plain(self) -> dict[str, Any]:
        """The named arguments that will run, as plain, redacted JSON data."""
        ...


def do(effect: Effect[R]) -> Flow[R]:
    """Yield one effect. Both type checkers know the type of its answer."""
    reply: R = yield effect
    return reply


def authorize(call: GovernedCall) -> Flow[Permit]:
    """Do everything that must happen before the tool's body runs, and return the permit to run it once.

    Every failure leaves as an ``AscendError``; then the tool must not run."""
    try:
        return (yield from _authorize(call))
    except AscendError:
        raise
    except Exception as error:
        raise ServerError(
            f"Blocked: {not_run.what(call.action)} did not run, because the control plane failed "
            f"({type(error).__name__}: {error}). Repair the control plane, then call again."
        ) from error


def begin(call: GovernedCall, permit: Permit, perform: Callable[[Effect[Any]], Any]) -> None:
    """Make the last check, immediately before the tool's first statement: the kill switch is off, and the arguments that
    will run are those that were decided. When it raises, the tool must not run, and the action is settled as not started.
    It is no generator: its one effect is performed synchronously, in coroutines too."""
    check = Begin(call.action, permit.action_id, permit.digest)
    try:
        _require_off(check, perform(check))
    except Exception as error:
        _not_known_to_be_off(check, error)
    if not call.unchanged():
        raise not_run.changed(call.action, permit.result)


def settle(permit: Permit, outcome: Outcome, *, beside: bool = False) -> Flow[Exception | None]:
    """Record the outcome of a call that ran. The tool has acted, so a failure is returned, not raised: the caller might
    repeat the call if it were raised. The action then shows as ``unknown``.

    Args:
        permit: the permit of the call.
        outcome: its outcome.
        beside: as in ``Settle``.
    """
    try:
        yield from do(Settle(permit.action_id, outcome, beside=beside))
    except Exception as error:
        return error
    return None


def check_running(call: GovernedCall, permit: Permit, *, begun: bool = True) -> Flow[None]:
    """Check between two chunks of a streaming tool, and before the first step of a deferred result (``begun`` is False):
    continue only while the kill switch is known to be off."""
    yield from _check_kill_switch(
        CheckKillSwitch(call.action, "stream" if begun else "start", permit.action_id)
    )


def _authorize(call: GovernedCall) -> Flow[Permit]:
    # Kill switch, then submit. An approval without people is returned claimed, by the transaction that recorded it.
    yield from _check_kill_switch(CheckKillSwitch(call.action, "submit"))
    approved, asked = call.digest, call.plain
    submit = Submit(
        call.action,
        approved,
        detached=call.on_pending == "raise",
        repeatable=call.repeatable,
        call_id=call.call_id,
        identity=call.identity if call.repeatable else None,
        once=call.once,
    )
    result = accepted(call.action, (yield from do(submit)))
    waited = result.status is Decision.PENDING
    # Decision and claim. An edited call may need other approvers, so there can be several rounds.
    for _ in range(_MOST_ROUNDS):
        if result.status is Decision.PENDING:
            result = yield from _decided(call, result)
        if result.status is not Decision.APPROVED:
            raise not_run.denied(call.action, result)
        if result.claimed:
            if result.modified_arguments:
                yield from _refuse_unjudged(call, result)
            break
        edits = result.modified_arguments
        result = yield from _claimed(call, result, approved)
        if result.status is Decision.PENDING and edits:
            continue  # the edited call needs another approval
        if result.status is not Decision.APPROVED or not result.claimed:
            raise not_run.denied(call.action, result)
        if edits:
            result = msgspec.structs.replace(result, modified_arguments=edits)
        break
    else:
        raise not_run.denied(call.action, result)
    # The switch may have been turned on while the call waited.
    if waited:
        try:
            yield from _check_kill_switch(CheckKillSwitch(call.action, "start", result.action_id))
        except GeneratorExit:
            raise
        except BaseException as error:
            # Claimed but never begun, for example because the task was cancelled: record that, or it would count as
            # running.
            yield from do(Settle(result.action_id, not_run.not_started(error)))
            raise
    return Permit.of(result, call.digest, call.parameters(), result.modified_arguments, asked, call.plain)


def _decided(call: GovernedCall, result: ActionResult) -> Flow[ActionResult]:
    """Return people's decision on a pending action; raise when the call does not wait, or no decision is made in time."""
    call.held(result)
    if call.on_pending == "raise":
        raise not_run.pending(call.action, result, call.repeatable)
    wait = AwaitDecision(call.action, result.action_id, call.timeout)
    result = accepted(call.action, (yield from do(wait)), result.action_id)
    if result.status is Decision.PENDING:
        raise not_run.timed_out(call.action, result, call.timeout)
    return result


def _refuse_unjudged(call: GovernedCall, result: ActionResult) -> Flow[None]:
    """Refuse a permit before the claim: edited arguments are judged when they are claimed."""
    yield from do(Settle(result.action_id, not_run.not_started(not_run.UNJUDGED)))
    raise not_run.unjudged(call.action, result)


def _claimed(call: GovernedCall, result: ActionResult, approved: str) -> Flow[ActionResult]:
    """Take the permit for the call as it will run, including the approver's values."""
    edits = result.modified_arguments
    try:
        if not call.unchanged():
            raise not_run.changed(call.action, result)
        if edits:
            call.edit(edits)
    except AscendError as error:
        yield from do(Withdraw(result.action_id, error.reason or str(error)))
        raise
    claim = Claim(call.action, result.action_id, approved, call.digest, edits, call.once)
    return accepted_permit(call.action, (yield from do(claim)), result.action_id, edits)


def _check_kill_switch(check: CheckKillSwitch) -> Flow[None]:
    """Continue only when the kill switch is known to be off."""
    try:
        _require_off(check, (yield from do(check)))
    except Exception as error:
        _not_known_to_be_off(check, error)


def _require_off(check: CheckKillSwitch, state: KillSwitchState) -> None:
    if not is_off(accepted_state(state, check.action.agent_id)):
        raise not_run.stopped(check.action, state, check.action_id, check.stage)


def _not_known_to_be_off(check: CheckKillSwitch, error: Exception) -> NoReturn:
    block_unknown(
        error,
        before=f"{not_run.ended(check.action, check.stage)}, because ",
        action_id=check.action_id,
        explained=(ConflictError,) if isinstance(check, Begin) else (),  # another process has the permit
    )
