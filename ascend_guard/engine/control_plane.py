"""The control plane in the agent's own process: the engine, its store, and the decisions that people make elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO, Any, TypeVar, cast

from ascend_guard.arguments import digest_key_of
from ascend_guard.calling.scope import scoped
from ascend_guard.errors import AscendError, ConfigurationError, ConflictError, remedies
from ascend_guard.errors.not_run import stopped as kill_switch_error
from ascend_guard.flow import (
    AwaitDecision,
    Begin,
    CheckKillSwitch,
    Claim,
    Effect,
    Settle,
    Submit,
    Withdraw,
)
from ascend_guard.model import (
    ActionResult,
    AgentAction,
    KillSwitchState,
    Outcome,
    OutcomeStatus,
)
from ascend_guard.store.port import Reader, Store, Transaction

from . import audit, claim, decide, housekeeping, kill
from .liveness import living
from .people import People, unless_error
from .policy import Policy
from .risk import prepare
from .waiting import Waits

R = TypeVar("R")
LOCAL = "local"


class EmbeddedControlPlane(People):
    """A control plane in this process, on a store that other processes share.

    Args:
        store: the database.
        policy: the policy; None for programs that only read or approve.
        agent_id: the agent of its calls, unless the call or its scope names another.
        agent_name: that agent's name for people; by default the id.
        organization: the organization of the actions.
        clock: seconds since the epoch.
    """

    in_sections = True
    """Its effects may be performed in a section of ``interrupts``: long waits in them can be interrupted."""

    def __init__(
        self,
        store: Store,
        policy: Policy | None = None,
        *,
        agent_id: str = "default-agent",
        agent_name: str | None = None,
        organization: str = LOCAL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.policy = policy
        self.agent_id = agent_id
        self.agent_name = agent_name or agent_id
        self.organization = organization
        self.digest_key: bytes = digest_key_of(store.secret)
        self._clock = clock
        self._waits = Waits(store, organization, self.housekeep, clock)
        self._handlers: dict[type[Effect[Any]], tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
            CheckKillSwitch: (self._check_kill_switch, self._acheck_kill_switch),
            Begin: (self._begin, self._abegin),
            Submit: (self._submit, self._asubmit),
            AwaitDecision: (self._await_decision, self._aawait_decision),
            Claim: (self._claim, self._aclaim),
            Withdraw: (self._withdraw, self._awithdraw),
            Settle: (self._settle, self._asettle),
        }
        self._registered = ""
        if policy is not None:
            prepare()  # a fork could cut off an import during the first call, and the child would then hang
        # Which process took a permit, and for which arguments: a forked child inherits calls, not permits.
        self._claimed: dict[str, tuple[str, str]] = {}
        self._lost: set[str] = set()  # ended, but the outcome could not be recorded
        self._unsettled: set[tuple[str, str]] | None = None  # actions that closing left without an outcome
        self.housekeep()

    @property
    def place(self) -> str:
        """Where its actions are decided, as text for people."""
        return f"database {self.store.place}"

    # --- the guard's side ------------------------------------------------------------------------------------------

    def perform(self, effect: Effect[R]) -> R:
        """Perform one effect of a flow, blocking. Raises ``AscendError``."""
        return cast(R, self._handlers[type(effect)][0](effect))

    async def aperform(self, effect: Effect[R]) -> R:
        """Perform one effect of a flow without blocking the event loop. Raises ``AscendError``."""
        return cast(R, await self._handlers[type(effect)][1](effect))

    def _begin(self, effect: Begin) -> KillSwitchState:
        assert effect.action_id is not None
        runner, digest = self._claimed.get(effect.action_id, ("", ""))
        if runner != self.store.runner:
            raise ConflictError(
                f"Blocked: action {effect.action_id} did not run here. Its permit was taken by another process, such as the "
                f"parent of this one. Call again to request approval again.",
                action_id=effect.action_id,
            )
        if digest != effect.digest:
            raise ConflictError(
                f"Blocked: action {effect.action_id} did not run, because its permit is for other arguments. Call again to "
                f"request a new decision.",
                action_id=effect.action_id,
            )
        state = self.store.begin(self.organization, effect.action.agent_id, effect.action_id)
        return kill.RUNNING if state is None else self._blocked(effect, state)

    async def _abegin(self, effect: Begin) -> KillSwitchState:
        return self._begin(effect)

    def _check_kill_switch(self, effect: CheckKillSwitch) -> KillSwitchState:
        if effect.stage == "submit":
            return kill.RUNNING  # checked by the transaction that decides
        state = self.store.stopped(self.organization, effect.action.agent_id)
        return kill.RUNNING if state is None else self._blocked(effect, state)

    async def _acheck_kill_switch(self, effect: CheckKillSwitch) -> KillSwitchState:
        if effect.stage == "submit":
            return kill.RUNNING
        state = await self.store.astopped(self.organization, effect.action.agent_id)
        return kill.RUNNING if state is None else self._blocked(effect, state)

    def _blocked(self, effect: CheckKillSwitch, state: KillSwitchState) -> KillSwitchState:
        # Do not wait for it: the database may be locked, and the call is blocked either way.
        self.store.post(lambda tx: self._block(tx, effect, state), "A kill switch stopped a call")
        return state

    def _block(self, tx: Transaction, effect: CheckKillSwitch, state: KillSwitchState) -> None:
        action_id = None if effect.action_id is None else int(effect.action_id)
        kill.block(tx, self.organization, effect.action, effect.stage, action_id, state)

    def _submit(self, effect: Submit) -> ActionResult:
        work = self._submission(effect)
        return self._unless_refused(self.store.write(work, self._orphaned), effect.action, "submit")

    async def _asubmit(self, effect: Submit) -> ActionResult:
        work = self._submission(effect)
        return self._unless_refused(await self.store.awrite(work, self._orphaned), effect.action, "submit")

    def _submission(self, effect: Submit) -> Callable[[Transaction], ActionResult | KillSwitchState]:
        judgement = self._judge(effect.action)
        store = self.store
        if self._registered != store.runner:  # first call, or first after a fork
            store.write(lambda tx: self._register(tx, store.runner))
            self._registered = store.runner
        runner = store.runner
        return lambda tx: self._noted(
            decide.submit(tx, self.organization, runner, living(store, tx, tx.now), judgement, effect),
            runner,
            effect.digest,
        )

    def _register(self, tx: Transaction, runner: str) -> None:
        tx.add_runner(runner, self.organization, tx.next_action(self.organization))

    def _await_decision(self, effect: AwaitDecision) -> ActionResult:
        decided = False
        try:
            answer = self._waits.wait(effect.action, effect.action_id, effect.timeout)
            decided = isinstance(answer, ActionResult) and answer.is_approved()
        finally:
            if not decided:
                self._stop_waiting(effect.action_id)
        return self._answer(answer, effect)

    async def _aawait_decision(self, effect: AwaitDecision) -> ActionResult:
        decided = False
        try:
            answer = await self._waits.await_(effect.action, effect.action_id, effect.timeout)
            decided = isinstance(answer, ActionResult) and answer.is_approved()
        finally:
            if not decided:
                self._stop_waiting(effect.action_id)
        return self._answer(answer, effect)

    def _stop_waiting(self, action_id: str) -> None:
        runner = self.store.runner
        self.store.post(
            lambda tx: claim.stop_waiting(tx, self.organization, action_id, runner),
            f"The wait for action {action_id} ended",
        )

    def _answer(
        self, answer: ActionResult | KillSwitchState | Exception, effect: AwaitDecision
    ) -> ActionResult:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, KillSwitchState):
            state = answer
            self.store.post(
                lambda tx: kill.block(
                    tx, self.organization, effect.action, "wait", int(effect.action_id), state
                ),
                f"The kill switch stopped action {effect.action_id}",
            )
            raise kill_switch_error(effect.action, answer, effect.action_id, "start")
        return answer

    def _claim(self, effect: Claim) -> ActionResult:
        answer = self.store.write(self._claiming(effect), self._orphaned)
        return self._unless_refused(answer, effect.action, "start")

    async def _aclaim(self, effect: Claim) -> ActionResult:
        answer = await self.store.awrite(self._claiming(effect), self._orphaned)
        return self._unless_refused(answer, effect.action, "start")

    def _claiming(
        self, effect: Claim
    ) -> Callable[[Transaction], ActionResult | KillSwitchState | AscendError]:
        runner = self.store.runner
        return lambda tx: self._noted(
            claim.claim(tx, self.organization, runner, effect, self._judge), runner, effect.running
        )

    def _judge(self, action: AgentAction) -> decide.Judgement:
        if self.policy is None:
            raise ConfigurationError(
                "No policy is configured here, so nothing can be decided. Name one with configure(policy=...) or "
                "ASCEND_POLICY.",
                remedy=remedies.start(),
            )
        return decide.judge(action, self.policy)

    def _withdraw(self, effect: Withdraw) -> None:
        self._post(effect.action_id, lambda tx: claim.withdraw(tx, self.organization, effect), effect.reason)

    async def _awithdraw(self, effect: Withdraw) -> None:
        self._withdraw(effect)

    def _settle(self, effect: Settle) -> None:
        outcome = effect.outcome
        self.store.ended(self.organization, effect.action_id)
        self._claimed.pop(effect.action_id, None)
        if self._unsettled is not None and (self.organization, effect.action_id) not in self._unsettled:
            return  # closing has settled it as not started
        # The caller does not wait for this: until it is durable the action counts as running; if it never is, as unknown.
        self._post(
            effect.action_id,
            lambda tx: claim.settle(tx, self.organization, effect.action_id, outcome),
            outcome.status.value,
        )

    async def _asettle(self, effect: Settle) -> None:
        self._settle(effect)

    def _post(self, action_id: str, work: Callable[[Transaction], None], what: str) -> None:
        self.store.post(work, f"Action {action_id} ended ({what})", lambda _: self._lost.add(action_id))

    def _orphaned(self, answer: ActionResult | KillSwitchState | AscendError) -> None:
        """Settle a permit that was taken while its caller was cancelled: the tool never began."""
        if isinstance(answer, ActionResult) and answer.claimed:
            outcome = Outcome(OutcomeStatus.FAILED, error="not started: the caller was cancelled")
            self._settle(Settle(answer.action_id, outcome))
        elif isinstance(answer, ActionResult) and answer.is_pending():
            self._stop_waiting(answer.action_id)

    def _noted(self, answer: R, runner: str, digest: str) -> R:
        """Remember, during the commit, which process takes a permit: a forked child may continue the caller."""
        if isinstance(answer, ActionResult) and answer.claimed:
            self._claimed[answer.action_id] = (runner, digest)
        return answer

    @staticmethod
    def _unless_refused(
        answer: ActionResult | KillSwitchState | AscendError, action: AgentAction, stage: str
    ) -> ActionResult:
        if isinstance(answer, KillSwitchState):
            raise kill_switch_error(action, answer, None, stage)
        return unless_error(answer)

    # --- what people read and do -----------------------------------------------------------------------------------

    def always_denies(self, action_type: str, tool_name: str) -> bool:
        """Return whether the policy denies every such call of this agent, with any arguments."""
        agent_id = scoped().agent_id or self.agent_id
        return self.policy is not None and self.policy.always_denies(action_type, tool_name, agent_id)

    def read(self, work: Callable[[Reader], R]) -> R:
        """Read from the store."""
        return self.store.read(work)

    def verify_audit(self) -> audit.Report:
        """Verify the audit trail, and that the actions match it."""
        return self.store.snapshot(lambda reader: audit.verify(reader, self.store.secret))

    def export_audit(self, out: IO[bytes]) -> None:
        """Write the audit trail with its signed checkpoint; see ``audit.export``."""
        self.store.snapshot(
            lambda reader: out.writelines(audit.export(reader, self.store.secret, self._clock()))
        )

    def housekeep(self) -> None:
        """Deny what is overdue, and settle as ``unknown`` what dead processes left running."""
        housekeeping.housekeep(self.store, self._clock(), self._waits.poke)

    def close(self) -> None:
        """Finish pending writes and close the store. It may be called twice."""
        registered, self._registered = self._registered, ""
        if registered and registered == self.store.runner:
            self.store.close(lambda tx, begun: self._leave(tx, registered, begun))
        else:
            self.store.close()

    def _leave(self, tx: Transaction, runner: str, begun: set[tuple[str, str]]) -> None:
        unsettled = begun | {(self.organization, action_id) for action_id in self._lost}
        claim.leave(tx, runner, unsettled)

        def settled() -> None:
            self._unsettled = unsettled

        tx.after_commit(settled)
