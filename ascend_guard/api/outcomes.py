"""Outcomes of actions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ascend_guard.model import OutcomeStatus

from .endpoint import Endpoint
from .fields import Prose, Text


class OutcomeBody(Struct, omit_defaults=True):
    """The outcome of a started action; the body of the published SDK and of our client. ``unknown``, beside ``failed``: it
    began, and how it ended cannot be known."""

    status: Literal["completed", "failed"] | None = None
    action_id: Any = None
    completed_at: str | None = None
    failed_at: str | None = None
    result: Any = None
    error: Any = None
    duration_ms: Annotated[float, Meta(ge=0)] | None = None
    detail: Prose | None = None
    unknown: bool = False


class OutcomeItem(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One of several outcomes in one request; ``unknown`` as in ``OutcomeBody``."""

    action_id: Text
    status: OutcomeStatus
    duration_ms: Annotated[float, Meta(ge=0)] = 0.0
    error: Annotated[str, Meta(max_length=100_000)] | None = None
    detail: Prose | None = None
    unknown: bool = False


class OutcomesBody(Struct, forbid_unknown_fields=True):
    """The outcomes of several actions."""

    outcomes: Annotated[list[OutcomeItem], Meta(min_length=1, max_length=500)]


class OutcomeRefused(Struct):
    """An outcome that could not be recorded: the action does not exist, or has an outcome."""

    action_id: str
    detail: str


class OutcomesAnswer(Struct):
    """How many outcomes were recorded, and which were not."""

    recorded: int
    refused: list[OutcomeRefused]


class OutcomeAnswer(Struct):
    """The outcome is recorded."""

    success: bool
    action_id: str
    status: str
    message: str


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "complete_action", "POST", "/api/agent-action/{action_id}/complete", OutcomeAnswer,
        OutcomeBody, refuses=(403, 404, 409), body_optional=True, tolerant=True,
        summary="Report that an action completed.",
    ),
    Endpoint(
        "fail_action", "POST", "/api/agent-action/{action_id}/fail", OutcomeAnswer, OutcomeBody,
        refuses=(403, 404, 409), body_optional=True, tolerant=True, summary="Report that an action failed.",
    ),
    Endpoint(
        "report_outcomes", "POST", "/api/v1/actions/outcomes", OutcomesAnswer, OutcomesBody,
        refuses=(403,),
        summary="Report the outcomes of several actions in one request. Each is accepted or refused on its own.",
    ),
)  # fmt: skip
