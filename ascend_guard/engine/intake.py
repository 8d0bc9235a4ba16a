"""Actions from outside the process: submitted, claimed and settled by requests that may arrive twice.

A request with an idempotency key is the same request when it is sent again: it gets the same action, and its permit
only for the process that took it the first time. Callers of the plain REST API do not know permits: their permit is
taken when they receive ``approved``, so that their approvals, too, are used once.
"""

from __future__ import annotations

import hashlib
from functools import partial

import msgspec

from ascend_guard.errors import AscendError, ConflictError
from ascend_guard.flow import Claim, Submit
from ascend_guard.model import ActionResult, AgentAction, KillSwitchState, Outcome
from ascend_guard.store.port import ActionRow, Store, Transaction
from ascend_guard.store.projections import Put, thing

from . import decide
from .claim import claim, known, settle, take
from .decide import Judgement
from .edited import Judge
from .housekeeping import SUBMISSION
from .kill import stopped
from .liveness import API, Register, living
from .policy import Policy
from .registry.admission import Governance, GovernanceViolation, govern, record_violation
from .results import result_of
from .risk import risk_at_least

REMEMBERED = 24 * 3600.0
"""Seconds that an idempotency key is remembered."""

Answer = ActionResult | KillSwitchState | AscendError


class Key(msgspec.Struct, frozen=True):
    """A stored idempotency key: ``name`` is a hash of sender and key, ``request`` a hash of the request.

    ``lasts``: seconds from the first request, for which the same key means the same request.
    """

    name: str
    request: str
    lasts: float = REMEMBERED

    @classmethod
    def of(cls, sender: str, key: str, request: bytes, lasts: float = REMEMBERED) -> Key:
        """Return the key of this sender's request."""
        name = hashlib.sha256(msgspec.json.encode([sender, key])).hexdigest()
        return cls(name, hashlib.sha256(request).hexdigest(), lasts)


class _Kept(msgspec.Struct, frozen=True):
    action_id: int
    request: str


class Intake:
    """Accepts actions for one server.

    Args:
        store: the store.
        register: records which processes were heard of.
        policy: the policy.
    """

    def __init__(self, store: Store, register: Register, policy: Policy) -> None:
        self._store = store
        self._register = register
        self._policy = policy

    def submit(
        self,
        tx: Transaction,
        organization: str,
        runner: str,
        judgement: Judgement,
        effect: Submit,
        key: Key | None,
    ) -> tuple[Answer, Governance]:
        """Record a judged action, or find the action of this same request. A returned error is durable.

        Raises:
            ConflictError: the idempotency key was used for another request.
        """
        governed = govern(tx, organization, judgement.action)
        if isinstance(governed, GovernanceViolation):
            record_violation(tx, organization, judgement.action, governed)
            return governed, Governance()
        earlier = self._earlier(tx, organization, key)
        if earlier is not None:
            state = stopped(tx, organization, earlier.agent_id)
            if state is not None:
                return state, governed
            if waits_to_be_told(earlier):
                return self.hand_out(tx, organization, str(earlier.id), judgement.action), governed
            mine = earlier.runner == runner and earlier.outcome is None and runner != API
            return result_of(earlier, claimed=mine, risk=judgement.risk), governed
        if judgement.action.parent_action_id is not None:
            parent = decide.foreign_parent(tx, organization, judgement.action)
            if isinstance(parent, decide.OrchestrationRejected):
                return parent, governed
        judgement = self._with(governed, judgement)
        self._register.see(tx, runner, organization)
        alive = living(self._store, tx, tx.now)
        # An answer about another call's action is not an action of this request: its key is not kept.
        keep = partial(_kept, tx.now, key)
        return decide.submit(tx, organization, runner, alive, judgement, effect, keep), governed

    def _with(self, governed: Governance, judgement: Judgement) -> Judgement:
        """Add the registry's data to the judgement: the agent's model, and the least risk of the tool."""
        action, risk = judgement.action, judgement.risk
        if governed.model_id != action.model_id:
            action = msgspec.structs.replace(action, model_id=governed.model_id)
            judgement = msgspec.structs.replace(judgement, action=action)
        if governed.least_risk is not None and governed.least_risk > risk.score:
            score = float(governed.least_risk)
            judgement = decide.judge(action, self._policy, risk_at_least(risk, score))
        return judgement

    def claim(
        self, tx: Transaction, organization: str, runner: str, effect: Claim, key: Key | None
    ) -> Answer:
        """Take a permit; the same request sent again has it already. Raises as ``claim.claim``."""
        earlier = self._earlier(tx, organization, key)
        if earlier is not None:
            state = stopped(tx, organization, earlier.agent_id)
            if state is not None:
                return state
            if earlier.runner == runner and earlier.outcome is None:
                return result_of(earlier, claimed=True)
        governed = govern(tx, organization, effect.action)
        if isinstance(governed, GovernanceViolation):
            record_violation(tx, organization, effect.action, governed)
            return governed
        self._register.see(tx, runner, organization)
        return claim(tx, organization, runner, effect, self._judging(governed), partial(_kept, tx.now, key))

    def _judging(self, governed: Governance) -> Judge:
        return lambda action: self._with(governed, decide.judge(action, self._policy))

    def hand_out(self, tx: Transaction, organization: str, action_id: str, action: AgentAction) -> Answer:
        """Tell a caller of the plain API that its action is approved, which takes the permit.

        Raises:
            NotFoundError: there is no such action.
        """
        row = known(tx, organization, action_id)
        if not waits_to_be_told(row):
            return result_of(row)
        governed = govern(tx, organization, action)
        if isinstance(governed, GovernanceViolation):
            # Agents, servers and models that were suspended, deactivated or blocked meanwhile do not begin.
            record_violation(tx, organization, action, governed)
            return governed
        effect = Claim(action, action_id, row.digest, row.digest)
        answer = claim(tx, organization, API, effect, self._judging(governed))
        if isinstance(answer, AscendError):  # its deadline had passed
            return result_of(known(tx, organization, action_id))
        return answer

    def settle(self, tx: Transaction, organization: str, action_id: str, outcome: Outcome) -> None:
        """Record an outcome. Raises as ``claim.settle``."""
        row = known(tx, organization, action_id)
        if waits_to_be_told(row):  # it learnt of the approval another way, for example by a webhook
            take(tx, row, API, row.digest)
        settle(tx, organization, action_id, outcome)

    def _earlier(self, tx: Transaction, organization: str, key: Key | None) -> ActionRow | None:
        if key is None:
            return None
        record = tx.record_of(organization, SUBMISSION, key.name)
        if record is None or (record.due_at is not None and record.due_at <= tx.now):
            return None
        kept = msgspec.json.decode(record.body, type=_Kept)
        if kept.request != key.request:
            raise ConflictError(
                "This Idempotency-Key was used for another request. Create a new key for each request, and "
                "send the same "
                "one only when the same request is sent again."
            )
        return tx.action(organization, kept.action_id)


def waits_to_be_told(row: ActionRow) -> bool:
    """Return whether the action is approved for a caller of the plain API who has not received that yet."""
    return row.status == "approved" and row.claimed_at is None and row.waiter == API


def _kept(now: float, key: Key | None, action_id: int) -> list[Put]:
    """What is registered for the key of a request that got this action."""
    if key is None:
        return []
    return [thing(SUBMISSION, key.name, _Kept(action_id, key.request), due_at=now + key.lasts)]
