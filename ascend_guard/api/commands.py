"""Commands to agents: send, list, acknowledge."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ascend_guard.redaction.hidden import masks

from .endpoint import Access, Endpoint
from .fields import Object


@masks("parameters")
class CommandIssue(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A command to one agent, or to all agents."""

    command_type: Literal["BLOCK", "UNBLOCK", "SUSPEND", "RATE_LIMIT", "QUARANTINE"]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    parameters: Object = field(default_factory=dict)
    expires_in: Annotated[int, Meta(ge=1, le=30 * 86_400)] = 86_400
    """Seconds for which it is delivered. An agent that it stopped stays stopped afterwards."""


@masks("parameters")
class CommandBody(Struct, kw_only=True):
    """A command as agents receive it (SDK document, "Kill-switch HTTP fallback")."""

    command_id: str
    command_type: str
    target_type: Literal["agent", "organization"]
    reason: str
    parameters: Object
    status: Literal["pending"]
    issued_by: str
    issued_via: str
    created_at: str
    expires_at: str
    is_broadcast: bool


class CommandAnswer(Struct, kw_only=True):
    """A command that was sent."""

    success: bool = True
    message: str = ""
    command: CommandBody


class Commands(Struct):
    """The commands that an agent has not acknowledged."""

    commands: list[CommandBody]


class Acknowledged(Struct, kw_only=True):
    """The acknowledgement is recorded."""

    success: bool = True
    command_id: str
    agent_id: str
    message: str = ""


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "issue_command", "POST", "/api/registry/agents/{agent_id}/commands", CommandAnswer,
        CommandIssue, access=Access.ADMIN, status=201, refuses=(403, 404, 409),
        summary="Send a command to an agent. A stopping command takes effect at once.",
    ),
    Endpoint(
        "broadcast_command", "POST", "/api/registry/commands", CommandAnswer, CommandIssue,
        access=Access.ADMIN, status=201, refuses=(403, 409), summary="Send a command to every agent.",
    ),
    Endpoint(
        "list_commands", "GET", "/api/registry/agents/{agent_id}/commands", Commands, refuses=(403,),
        summary="List an agent's unacknowledged commands, broadcasts included.",
    ),
    Endpoint(
        "acknowledge_command", "POST", "/api/registry/agents/{agent_id}/commands/{command_id}/ack",
        Acknowledged, refuses=(403, 409), summary="Acknowledge a command.",
    ),
)  # fmt: skip
