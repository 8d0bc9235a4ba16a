"""The kill switch: for every agent of an organization, or for one."""

from __future__ import annotations

from typing import Any

from ascend_guard.errors import NotFoundError
from ascend_guard.model import AgentAction, KillSwitchState
from ascend_guard.store.port import Reader, Transaction

EVERYONE = ""
RUNNING = KillSwitchState(False)


def stopped(reader: Reader, organization: str, agent_id: str) -> KillSwitchState | None:
    """The switch that stops this agent, or None."""
    switches = reader.kill_switches(organization)
    if not switches:
        return None
    return switches.get(EVERYONE) or switches.get(agent_id)


def pull(tx: Transaction, organization: str, agent_id: str | None, reason: str, by: str) -> KillSwitchState:
    """Turn the switch on for one agent, or for all."""
    tx.kill(organization, agent_id or EVERYONE, reason, by)
    tx.record("kill_switch.on", organization=organization, actor=by, agent_id=agent_id, reason=reason)
    return tx.kill_switches(organization)[agent_id or EVERYONE]


def release(tx: Transaction, organization: str, agent_id: str | None, reason: str, by: str) -> None:
    """Turn it off.

    Raises:
        NotFoundError: it was not on.
    """
    if not tx.revive(organization, agent_id or EVERYONE):
        whom = f"agent {agent_id!r}" if agent_id else "the whole organization"
        raise NotFoundError(f"The kill switch is not on for {whom}. See `ascend-guard kill-switch status`.")
    tx.record("kill_switch.off", organization=organization, actor=by, agent_id=agent_id, reason=reason)


def block(
    tx: Transaction,
    organization: str,
    action: AgentAction,
    stage: str,
    action_id: int | None,
    state: KillSwitchState,
) -> None:
    """Record that the switch stopped a call, and at which stage."""
    what: dict[str, Any] = {"action": action} if action_id is None else {}
    tx.record(
        "blocked",
        organization=organization,
        actor=action.agent_id,
        action_id=action_id,
        stage=stage,
        reason=state.reason,
        **what,
    )
