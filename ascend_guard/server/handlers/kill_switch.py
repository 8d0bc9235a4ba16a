"""The kill switch over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import UNSET

from ascend_guard.api.kill_switch import KillAnswer, KillBody, KillQuery, KillSwitchBody, ReleaseBody
from ascend_guard.engine.keys import organization_number
from ascend_guard.engine.kill import release, stop, stopped
from ascend_guard.errors import NotFoundError
from ascend_guard.model import KillSwitchState
from ascend_guard.redaction import scrub
from ascend_guard.server.handling import Call, Handler
from ascend_guard.store.port import Reader


async def get(call: Call[None, KillQuery]) -> KillSwitchBody:
    """Whether an agent is stopped: the one asked for, the key's own, or else the whole organization."""
    agent_id = call.query.agent_id or call.caller.agent_id
    if agent_id is not None:
        call.caller.require_agent(agent_id)

    def look(reader: Reader) -> KillSwitchState | None:
        # No agent's name is empty, so the empty one is stopped by nothing but the switch for everybody.
        return stopped(reader, call.organization, agent_id or "")

    return body_of(await call.read(look))


def body_of(state: KillSwitchState | None) -> KillSwitchBody:
    """A state under every name that clients read."""
    if state is None:
        return KillSwitchBody(blocked=False, active=False, is_active=False)
    on = state.blocked
    return KillSwitchBody(
        blocked=on,
        active=on,
        is_active=on,
        reason=state.reason,
        agent_id=state.agent_id,
        activated_at=state.activated_at,
        activated_by=state.activated_by,
    )


async def trigger(call: Call[KillBody, None]) -> KillAnswer:
    """Stop an agent, or all of them."""
    await _require_organization(call)
    body, reason = call.body, scrub(call.body.reason)
    store, by = call.services.store, call.caller.name
    killed = await asyncio.to_thread(stop, store, call.organization, body.agent_id, reason, by)
    organization, running = call.path["organization_id"], list(killed.running)
    message = (
        f"Stopped: {_whom(body.agent_id)}."
        if killed.remark is None
        else f"Stopped: {_whom(body.agent_id)}. {killed.remark}"
    )
    return KillAnswer(True, "active", organization, True, reason, message, running, killed.recorded)


async def let_go(call: Call[ReleaseBody, None]) -> KillAnswer:
    """Let them go on."""
    await _require_organization(call)
    agent_id = None if call.body.agent_id is UNSET else call.body.agent_id
    reason = scrub(call.body.reason)
    await call.write(lambda tx: release(tx, call.organization, agent_id, reason, call.caller.name))
    call.services.store.require_released()
    return KillAnswer(
        True, "released", call.path["organization_id"], False, reason, f"Released: {_whom(agent_id)}."
    )


def _whom(agent_id: str | None) -> str:
    return "every agent" if agent_id is None else agent_id


async def _require_organization(call: Call[Any, None]) -> None:
    """The path names the caller's own organization, by its name or by its number."""
    named = call.path["organization_id"]
    if named == call.organization:
        return
    number = await call.read(lambda reader: organization_number(reader, call.organization))
    if named != str(number):
        raise NotFoundError("There is no such organization.")


HANDLERS: dict[str, Handler] = {
    "get_kill_switch": get,
    "trigger_kill_switch": trigger,
    "release_kill_switch": let_go,
}
