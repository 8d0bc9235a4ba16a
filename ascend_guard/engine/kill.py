"""The kill switch: for every agent of an organization, or for one.

The rules (promise 4):

1. A switch for every agent stops each of them; a switch for one agent stops only that agent. An empty name never means
   every agent.
2. When ``stop`` has returned, no call passes its last check. Calls that had passed it are listed. It does not wait for the
   database (``store.sqlite.barrier``).
3. Turning a switch on or off is recorded, and so is each call that it blocked, with the stage.

``stopped``, ``pull`` and ``release`` work inside a transaction. ``stop`` turns a switch on without one: it does not
wait for the database, and returns the calls that had begun (``store.barrier``).
"""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.errors import NotFoundError, StoreError, ValidationError, remedies
from ascend_guard.model import AgentAction, Killed, KillSwitchState
from ascend_guard.store.port import Reader, Store, Transaction, running_calls, switch_on

from .liveness import behind_http

EVERYONE = ""
RUNNING = KillSwitchState(False)


def stopped(reader: Reader, organization: str, agent_id: str) -> KillSwitchState | None:
    """Return the switch that stops this agent, or None."""
    switches = reader.kill_switches(organization)
    if not switches:
        return None
    return switches.get(EVERYONE) or switches.get(agent_id)


def stop(store: Store, organization: str, agent_id: str | None, reason: str, by: str) -> Killed:
    """Turn the switch on for one agent, or for all. After this has returned, none of their calls passes its last check.

    Calls behind HTTP are listed if the database can be read; ``docs/kill-switch.md`` says what is guaranteed for them.

    Raises:
        StoreError: agents are not stopped, or the switch could not be stored.
        ValidationError: the agent's name is empty, which must not mean every agent.
    """
    _require_name(agent_id)
    killed = store.kill(organization, agent_id or EVERYONE, reason, by)
    if not killed.recorded:
        return killed  # the database is busy, or locked
    here = {call.action_id for call in killed.running}
    try:
        behind = store.read(
            lambda reader: running_calls(reader, organization, agent_id or EVERYONE, behind_http)
        )
    except StoreError:
        return killed
    return msgspec.structs.replace(
        killed, running=(*killed.running, *(call for call in behind if call.action_id not in here))
    )


def pull(tx: Transaction, organization: str, agent_id: str | None, reason: str, by: str) -> KillSwitchState:
    """Turn the switch on for one agent, or for all.

    Raises:
        ValidationError: the agent's name is empty, which must not mean every agent.
    """
    _require_name(agent_id)
    switch_on(tx, organization, agent_id or EVERYONE, reason, by)
    return tx.kill_switches(organization)[agent_id or EVERYONE]


def release(tx: Transaction, organization: str, agent_id: str | None, reason: str, by: str) -> None:
    """Turn the switch off.

    Raises:
        NotFoundError: it was not on.
        ValidationError: the agent's name is empty, which must not mean every agent.
    """
    _require_name(agent_id)
    if not tx.revive(organization, agent_id or EVERYONE):
        whom = f"agent {agent_id!r}" if agent_id else "the whole organization"
        raise NotFoundError(f"The kill switch is not on for {whom}.", remedy=remedies.blocked())
    tx.record("kill_switch.off", organization=organization, actor=by, agent_id=agent_id, reason=reason)


def _require_name(agent_id: str | None) -> None:
    if agent_id == "":
        raise ValidationError("agent_id is empty. Name an agent, or leave it out to mean every agent.")


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
