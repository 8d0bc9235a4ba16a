"""The kill switch: its state, on, off."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ascend_guard.model import RunningCall

from .endpoint import Access, Endpoint
from .fields import Text


class KillSwitchBody(Struct, kw_only=True):
    """The kill switch's state under every name that clients read: ``blocked`` is the documented one."""

    blocked: bool
    active: bool
    is_active: bool
    reason: str | None = None
    agent_id: str | None = None
    activated_at: str | None = None
    activated_by: str | None = None


class KillQuery(Struct, kw_only=True):
    """For which agent; every agent of the organization when left out."""

    agent_id: str | None = None


class KillBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Why the switch is turned; ``agent_id`` turns it for one agent only."""

    reason: Annotated[str, Meta(min_length=10, max_length=1000)]
    agent_id: Text | None = None


class ReleaseBody(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Why the switch is released; ``agent_id`` releases it for one agent only, and leaving it out for every agent. Null is
    neither."""

    reason: Annotated[str, Meta(min_length=10, max_length=1000)]
    agent_id: Text | UnsetType = UNSET


class KillAnswer(Struct):
    """That it was turned.

    Args:
        running: calls that had begun when it was turned on, and may still act.
        recorded: whether the audit trail has it yet.
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
