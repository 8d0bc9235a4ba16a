"""What people do with a control plane: decide pending actions, clear denials, turn kill switches on and off (promise 6).

None of this is possible from inside a governed call: an agent cannot approve itself.
"""

from __future__ import annotations

from typing import Any

from ascend_guard.calling.scope import current
from ascend_guard.errors import AscendError, AuthenticationError, remedies
from ascend_guard.model import ActionResult, Killed, KillSwitchState
from ascend_guard.store.port import ActionRow, Store, Transaction

from . import approve, claim, denials, kill
from .approvers import Approver
from .policy import Policy
from .waiting import Waits


class People:
    """The part of a control plane for people."""

    store: Store
    policy: Policy | None
    organization: str
    _waits: Waits

    def approve(
        self,
        action_id: str,
        *,
        approver: str,
        comment: str | None = None,
        arguments: dict[str, Any] | None = None,
        seen: ActionRow | None = None,
    ) -> ActionResult:
        """Approve an action, as one person.

        Args:
            action_id: the action.
            approver: the person. All spellings of a name are one person (``approvers.normal``).
            comment: the reason, for the audit trail.
            arguments: argument values that replace the caller's. They are judged here, and again, as a whole call with its
                resource described again, by the agent's policy when the call runs.
            seen: the action as it was shown to the approver; an approval is refused if the action was edited since.

        Raises:
            NotFoundError: there is no such action.
            ConflictError: it is already decided, or was changed since it was seen.
            AuthenticationError: a governed tool tried to approve.
            ValidationError: the approver has no name.
            ValidationError, AuthorizationDeniedError: the arguments cannot be edited in this way.
        """
        _require_person()
        who = Approver(approver)

        def work(tx: Transaction) -> ActionResult | AscendError:
            row = claim.known(tx, self.organization, action_id)
            tx.after_commit(self._waits.poke)
            return approve.approve(tx, row, who, comment, arguments, self.policy, seen)

        return unless_error(self.store.write(work))

    def deny(
        self, action_id: str, *, approver: str, comment: str | None = None, seen: ActionRow | None = None
    ) -> ActionResult:
        """Deny an action, as one person. The denial answers the same call for as long as denials last.

        Args:
            action_id: the action.
            approver: the person.
            comment: the reason, for the audit trail and the agent.
            seen: the action as it was shown to the person; a denial is refused if the action was edited since.

        Raises as ``approve``.
        """
        _require_person()
        who = Approver(approver)

        def work(tx: Transaction) -> ActionResult | AscendError:
            row = claim.known(tx, self.organization, action_id)
            tx.after_commit(self._waits.poke)
            return approve.deny(tx, row, who, comment, seen)

        return unless_error(self.store.write(work))

    def clear_denial(self, action_id: str, *, by: str, comment: str | None = None) -> None:
        """End a person's denial: the same call made again requests a new decision.

        Args:
            action_id: the denied action.
            by: the person.
            comment: the reason, for the audit trail.

        Raises:
            NotFoundError: there is no such action.
            ConflictError: no person's denial of the action is in force.
            AuthenticationError: a governed tool tried.
        """
        _require_person()
        self.store.write(
            lambda tx: denials.clear(tx, claim.known(tx, self.organization, action_id), by, comment)
        )

    def kill(self, *, reason: str, by: str, agent_id: str | None = None) -> Killed:
        """Stop one agent, or every agent: no call passes its last check after this returns, waits end, streams stop.

        The result lists the calls that had passed it and may still act. This works while the database is locked.

        Raises:
            StoreError: agents are not stopped, or the switch could not be stored.
            ValidationError: the agent's name is empty.
        """
        killed = kill.stop(self.store, self.organization, agent_id, reason, by)
        self._waits.poke()
        return killed

    def release(self, *, reason: str, by: str, agent_id: str | None = None) -> None:
        """Turn the kill switch off for one agent, or for all.

        Raises:
            NotFoundError: the switch was not on.
            AuthenticationError: a governed tool tried.
            StoreError: it is still on.
        """
        _require_person()
        self.store.write(lambda tx: kill.release(tx, self.organization, agent_id, reason, by))
        self.store.require_released()

    def pending(self) -> list[ActionRow]:
        """Return the pending actions, newest first, at most a thousand."""
        return self.store.read(lambda reader: reader.actions(self.organization, status="pending", limit=1000))

    def kill_switches(self) -> list[KillSwitchState]:
        """Return the kill switches that are on."""
        return self.store.read(lambda reader: list(reader.kill_switches(self.organization).values()))


def unless_error(answer: ActionResult | AscendError) -> ActionResult:
    """Raise an error that was returned with a change; the change is durable by now."""
    if isinstance(answer, AscendError):
        raise answer
    return answer


def _require_person() -> None:
    """Refuse calls from inside a governed call: an agent cannot approve itself."""
    if current() is not None:
        raise AuthenticationError(
            "A governed tool cannot approve, deny, clear a denial or release: only a person can, from outside the agent's "
            "calls.",
            remedy=remedies.decided(),
        )
