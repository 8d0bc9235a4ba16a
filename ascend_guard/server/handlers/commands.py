"""Commands to agents: given, asked for, acknowledged."""

from __future__ import annotations

import uuid

from ascend_guard.api.commands import Acknowledged, CommandAnswer, CommandBody, CommandIssue, Commands
from ascend_guard.engine.registry import commands
from ascend_guard.engine.registry.commands import STOPPING, Command, CommandType
from ascend_guard.engine.registry.records import cleaned, possible
from ascend_guard.errors import NotFoundError
from ascend_guard.model import iso
from ascend_guard.server.handling import Call, Handler

from .registered import require_own

_LARGEST = 4096
"""Bytes of a command's parameters: a hundred commands lie in one record."""


async def issue(call: Call[CommandIssue, None]) -> CommandAnswer:
    """Give one agent a command. It need not be registered: any agent can be stopped."""
    agent_id = call.path["agent_id"]
    if not possible(agent_id):
        raise NotFoundError(f"There is no agent {agent_id!r}.")
    return await _issue(call, agent_id)


async def broadcast(call: Call[CommandIssue, None]) -> CommandAnswer:
    """Give every agent a command."""
    return await _issue(call, None)


async def _issue(call: Call[CommandIssue, None], agent_id: str | None) -> CommandAnswer:
    body, caller = call.body, call.caller
    caller.require_agent(agent_id or "")  # a key made for one agent commands not all of them
    command_id, parameters = str(uuid.uuid4()), cleaned(body.parameters, _LARGEST)
    kind = CommandType(body.command_type)
    command = await call.write(
        lambda tx: commands.issue(
            tx,
            call.organization,
            agent_id,
            command_id,
            kind,
            reason=body.reason,
            parameters=parameters,
            lifetime=float(body.expires_in),
            by=caller.name,
            via="person" if caller.person else "api_key",
        )
    )
    whom = "Every agent" if agent_id is None else f"The agent {agent_id!r}"
    done = "is stopped and will be told." if kind in STOPPING else "will be told."
    return CommandAnswer(message=f"{whom} {done}", command=_body(command))


async def pending(call: Call[None, None]) -> Commands:
    """What an agent has not acknowledged yet."""
    agent_id = call.path["agent_id"]
    call.caller.require_agent(agent_id)
    now = call.services.clock()
    waiting = await call.read(lambda reader: commands.pending(reader, call.organization, agent_id, now))
    return Commands([_body(command) for command in waiting])


async def acknowledge(call: Call[None, None]) -> Acknowledged:
    """An agent has received a command."""
    agent_id, command_id, by = call.path["agent_id"], call.path["command_id"], call.caller.name
    require_own(call.caller, agent_id)
    await call.write(lambda tx: commands.acknowledge(tx, call.organization, agent_id, command_id, by))
    return Acknowledged(command_id=command_id, agent_id=agent_id, message="The receipt is recorded.")


def _body(command: Command) -> CommandBody:
    return CommandBody(
        command_id=command.command_id,
        command_type=command.command_type,
        target_type="organization" if command.broadcast else "agent",
        reason=command.reason,
        parameters=command.parameters,
        status="pending",
        issued_by=command.issued_by,
        issued_via=command.issued_via,
        created_at=iso(command.created_at),
        expires_at=iso(command.expires_at),
        is_broadcast=command.broadcast,
    )


HANDLERS: dict[str, Handler] = {
    "issue_command": issue,
    "broadcast_command": broadcast,
    "list_commands": pending,
    "acknowledge_command": acknowledge,
}
