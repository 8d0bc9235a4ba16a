"""The endpoints of commands to agents."""

from __future__ import annotations

import uuid

from ascend_guard.api.commands import Acknowledged, CommandAnswer, CommandBody, CommandIssue, Commands
from ascend_guard.engine.registry import commands
from ascend_guard.engine.registry.commands import STOPPING, Command, CommandType
from ascend_guard.engine.registry.records import cleaned, possible
from ascend_guard.errors import NotFoundError
from ascend_guard.model import iso
from ascend_guard.server.handling import Handler, Request

from .registered import require_own

_LARGEST = 4096
"""The most bytes of a command's parameters: a hundred commands are in one record."""


async def issue(request: Request[CommandIssue, None]) -> CommandAnswer:
    """Issue a command to one agent. It need not be registered: any agent can be stopped."""
    agent_id = request.path["agent_id"]
    if not possible(agent_id):
        raise NotFoundError(f"There is no agent {agent_id!r}.")
    return await _issue(request, agent_id)


async def broadcast(request: Request[CommandIssue, None]) -> CommandAnswer:
    """Issue a command to every agent."""
    return await _issue(request, None)


async def _issue(request: Request[CommandIssue, None], agent_id: str | None) -> CommandAnswer:
    body, caller = request.body, request.caller
    caller.require_agent(agent_id or "")  # a key made for one agent does not command all of them
    command_id, parameters = str(uuid.uuid4()), cleaned(body.parameters, _LARGEST)
    kind = CommandType(body.command_type)
    command = await request.write(
        lambda tx: commands.issue(
            tx,
            request.organization,
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
    done = "is stopped and will be informed." if kind in STOPPING else "will be informed."
    return CommandAnswer(message=f"{whom} {done}", command=_body(command))


async def pending(request: Request[None, None]) -> Commands:
    """List the commands that an agent has not acknowledged yet."""
    agent_id = request.path["agent_id"]
    request.caller.require_agent(agent_id)
    now = request.services.clock()
    waiting = await request.read(lambda reader: commands.pending(reader, request.organization, agent_id, now))
    return Commands([_body(command) for command in waiting])


async def acknowledge(request: Request[None, None]) -> Acknowledged:
    """Acknowledge a command."""
    agent_id, command_id, by = request.path["agent_id"], request.path["command_id"], request.caller.name
    require_own(request.caller, agent_id)
    await request.write(lambda tx: commands.acknowledge(tx, request.organization, agent_id, command_id, by))
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
