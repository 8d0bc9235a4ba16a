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
from ascend_guard.server.handling import Handler, Request
from ascend_guard.store.port import Reader


async def get(request: Request[None, KillQuery]) -> KillSwitchBody:
    """Return whether an agent is stopped: the named one, the key's own, or else the whole organization."""
    agent_id = request.query.agent_id or request.caller.agent_id
    if agent_id is not None:
        request.caller.require_agent(agent_id)

    def look(reader: Reader) -> KillSwitchState | None:
        # No agent has an empty name, so only the switch for all agents stops the empty name.
        return stopped(reader, request.organization, agent_id or "")

    return body_of(await request.read(look))


def body_of(state: KillSwitchState | None) -> KillSwitchBody:
    """A state, under every name that a client reads."""
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


async def trigger(request: Request[KillBody, None]) -> KillAnswer:
    """Turn the kill switch on, for one agent or for all."""
    await _require_organization(request)
    body, reason = request.body, scrub(request.body.reason)
    store, by = request.services.store, request.caller.name
    killed = await asyncio.to_thread(stop, store, request.organization, body.agent_id, reason, by)
    organization, running = request.path["organization_id"], list(killed.running)
    message = (
        f"Stopped: {_whom(body.agent_id)}."
        if killed.remark is None
        else f"Stopped: {_whom(body.agent_id)}. {killed.remark}"
    )
    return KillAnswer(True, "active", organization, True, reason, message, running, killed.recorded)


async def let_go(request: Request[ReleaseBody, None]) -> KillAnswer:
    """Turn the kill switch off, for one agent or for all."""
    await _require_organization(request)
    agent_id = None if request.body.agent_id is UNSET else request.body.agent_id
    reason = scrub(request.body.reason)
    await request.write(lambda tx: release(tx, request.organization, agent_id, reason, request.caller.name))
    request.services.store.require_released()
    return KillAnswer(
        True, "released", request.path["organization_id"], False, reason, f"Released: {_whom(agent_id)}."
    )


def _whom(agent_id: str | None) -> str:
    return "every agent" if agent_id is None else agent_id


async def _require_organization(request: Request[Any, None]) -> None:
    """Require that the path names the caller's own organization, by its name or its number."""
    named = request.path["organization_id"]
    if named == request.organization:
        return
    number = await request.read(lambda reader: organization_number(reader, request.organization))
    if named != str(number):
        raise NotFoundError("There is no such organization.")


HANDLERS: dict[str, Handler] = {
    "get_kill_switch": get,
    "trigger_kill_switch": trigger,
    "release_kill_switch": let_go,
}
