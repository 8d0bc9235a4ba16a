"""The kill switch: its state, on, off."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ascend_guard.model import RunningCall

from .endpoint import Access, Endpoint
from .fields import Text


class KillSwitchBody(Struct, kw_only=True):
    """The state of the kill switch, under every name that a client reads; ``blocked`` is the documented one."""

    blocked: bool
    active: bool
    is_active: bool
    reason: str | None = None
    agent_id: str | None = None
    activated_at: str | None = None
    activated_by: str | None = None


class KillQuery(Struct, kw_only=True):
    """The agent; by default every agent of the organization."""

    agent_id: str | None = None


class KillBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The reason for turning the switch on; with ``agent_id`` it is turned on for that agent only."""

    reason: Annotated[str, Meta(min_length=10, max_length=1000)]
    agent_id: Text | None = None


class ReleaseBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The reason for turning the switch off; with ``agent_id`` it is turned off for that agent only, without it for every
    agent. Null is refused."""

    reason: Annotated[str, Meta(min_length=10, max_length=1000)]
    agent_id: Text | UnsetType = UNSET


class KillAnswer(Struct):
    """The switch was turned on or off.

    Args:
        running: calls that had begun when it was turned on, and may still act.
        recorded: whether it is in the audit trail yet.
    """

    success: bool
    status: str
    organization_id: str
    blocked: bool
    reason: str
    message: str
    running: list[RunningCall] = field(default_factory=list)
    recorded: bool = True


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "get_kill_switch", "GET", "/api/sdk/kill-switch/status", KillSwitchBody, query=KillQuery,
        refuses=(403,), summary="Get the kill switch's state. A client that gets no answer must treat it as on.",
    ),
    Endpoint(
        "trigger_kill_switch", "POST", "/api/billing/kill-switch/{organization_id}/trigger", KillAnswer,
        KillBody, access=Access.ADMIN, refuses=(404,), summary="Turn the kill switch on for one agent or for all.",
    ),
    Endpoint(
        "release_kill_switch", "POST", "/api/billing/kill-switch/{organization_id}/release", KillAnswer,
        ReleaseBody, access=Access.ADMIN, refuses=(404,), summary="Turn the kill switch off for one agent or for all.",
    ),
)  # fmt: skip
