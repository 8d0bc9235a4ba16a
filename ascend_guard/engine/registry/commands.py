"""Commands to agents that ask for them over HTTP (SDK document, "Kill-switch HTTP fallback").

A command that stops an agent turns the kill switch on at once; the mailbox only informs the agent. An agent's own commands
and its receipts are in one record, so that asking costs two lookups however many agents there are.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from ascend_guard.engine.kill import EVERYONE, pull, release
from ascend_guard.errors import AuthorizationDeniedError
from ascend_guard.redaction.hidden import masks
from ascend_guard.store.port import Reader, Transaction

from .records import Logged, Records


class CommandType(StrEnum):
    """What an agent is told to do."""

    BLOCK = "BLOCK"
    UNBLOCK = "UNBLOCK"
    SUSPEND = "SUSPEND"
    RATE_LIMIT = "RATE_LIMIT"
    QUARANTINE = "QUARANTINE"


STOPPING = (CommandType.BLOCK, CommandType.SUSPEND, CommandType.QUARANTINE)
"""Commands that turn the kill switch on."""

QUEUED = 100
"""The most commands that wait for one agent, or for all. One more replaces the oldest: a stop is never refused."""


@masks("parameters")
class Command(Struct, frozen=True):
    """A command. Times are seconds since the epoch.

    Args:
        command_id: from ``uuid4``.
        command_type: what the agent is told to do.
        reason: why.
        parameters: of the command, redacted.
        issued_by: who issued it.
        issued_via: ``api_key`` or ``person``.
        created_at: when it was issued.
        expires_at: until when it is delivered. An agent that the kill switch stopped stays stopped after that.
        broadcast: whether it is for every agent.
    """

    command_id: str
    command_type: CommandType
    reason: str
    parameters: dict[str, Any]
    issued_by: str
    issued_via: str
    created_at: float
    expires_at: float
    broadcast: bool


class Mailbox(Struct, frozen=True):
    """The commands for one agent, or for all. ``receipts``: until when each acknowledgement is kept."""

    commands: list[Command] = field(default_factory=list)
    receipts: dict[str, float] = field(default_factory=dict)


_MAILBOXES = Logged("mailbox", Mailbox, "mailbox")
_BROADCASTS = Logged("broadcast", Mailbox, "mailbox")
_ALL = "all"


def issue(
    tx: Transaction,
    organization: str,
    agent_id: str | None,
    command_id: str,
    command_type: CommandType,
    *,
    reason: str,
    parameters: dict[str, Any],
    lifetime: float,
    by: str,
    via: str,
) -> Command:
    """Issue a command to one agent, or to every agent of the organization.

    UNBLOCK turns off the switch that BLOCK turned on: the agent's own, or the organization's for a command to all.
    RATE_LIMIT is only delivered; the agent enforces it.

    Args:
        agent_id: the agent; None for every agent.
        lifetime: seconds for which it is delivered.
    """
    command = Command(
        command_id, command_type, reason, parameters, by, via, tx.now, tx.now + lifetime, agent_id is None
    )
    boxes, name = (_BROADCASTS, _ALL) if agent_id is None else (_MAILBOXES, agent_id)
    box = _current(boxes, tx, organization, name, tx.now)
    commands, superseded = [*box.commands, command], list[Command]()
    while len(commands) > QUEUED:
        given_up = next((old for old in commands if old.command_id in box.receipts), commands[0])
        commands.remove(given_up)
        superseded.append(given_up)
    about = {
        "agent_id": agent_id,
        "command_id": command_id,
        "command_type": command_type,
        "reason": reason,
        "parameters": parameters,
    }
    boxes.write(
        tx,
        organization,
        name,
        Mailbox(commands, box.receipts),
        "COMMAND_ISSUED",
        by,
        about,
        instead_of=_empty(tx, organization, name),
        always=command_type in STOPPING,
    )
    if command_type in STOPPING:
        pull(tx, organization, agent_id, reason, by)
    elif command_type is CommandType.UNBLOCK and (agent_id or EVERYONE) in tx.kill_switches(organization):
        release(tx, organization, agent_id, reason, by)
    for given_up in superseded:
        tx.record(
            "COMMAND_SUPERSEDED",
            organization=organization,
            actor=by,
            agent_id=agent_id,
            command_id=given_up.command_id,
        )
    return command


def pending(reader: Reader, organization: str, agent_id: str, now: float) -> list[Command]:
    """The commands that an agent has not acknowledged yet, broadcasts included, in the order in which they were issued."""
    box = _current(_MAILBOXES, reader, organization, agent_id, now)
    everybody = _current(_BROADCASTS, reader, organization, _ALL, now)
    waiting = [
        command for command in (*box.commands, *everybody.commands) if command.command_id not in box.receipts
    ]
    return sorted(waiting, key=lambda command: command.created_at)


def acknowledge(tx: Transaction, organization: str, agent_id: str, command_id: str, by: str) -> None:
    """Record that an agent received a command. This undoes nothing, and a second time changes nothing.

    Raises:
        AuthorizationDeniedError: there is no such command for this agent, for any reason (SDK document:
            "off-tenant acks are 403 fail-secure").
    """
    box = _current(_MAILBOXES, tx, organization, agent_id, tx.now)
    everybody = _current(_BROADCASTS, tx, organization, _ALL, tx.now)
    if command_id in box.receipts:
        return
    for command in (*box.commands, *everybody.commands):
        if command.command_id == command_id:
            break
    else:
        raise AuthorizationDeniedError("There is no such command for this agent, or it has expired.")
    receipts = {**box.receipts, command_id: command.expires_at}
    about = {"agent_id": agent_id, "command_id": command_id, "command_type": command.command_type}
    _MAILBOXES.write(
        tx,
        organization,
        agent_id,
        Mailbox(box.commands, receipts),
        "COMMAND_ACKNOWLEDGED",
        by,
        about,
        instead_of=_empty(tx, organization, agent_id),
    )


def _empty(tx: Transaction, organization: str, name: str) -> list[str]:
    """The empty mailboxes, if they must be deleted because there is no room for a new one."""
    if not _MAILBOXES.full(tx, organization) or _MAILBOXES.find(tx, organization, name) is not None:
        return []
    return [
        entry.name
        for entry in _MAILBOXES.all(tx, organization)
        if _current(_MAILBOXES, tx, organization, entry.name, tx.now) == Mailbox()
    ]


def _current(boxes: Records[Mailbox], reader: Reader, organization: str, name: str, now: float) -> Mailbox:
    found = boxes.find(reader, organization, name)
    if found is None:
        return Mailbox()
    box = found.value
    return Mailbox(
        [command for command in box.commands if command.expires_at > now],
        {command_id: until for command_id, until in box.receipts.items() if until > now},
    )
