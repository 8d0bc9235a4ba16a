"""Read a server's answers: decisions, the kill switch, pages. Strict about fields that decide; unknown fields are ignored.

An answer that could be read in two ways is a failure of the control plane, never an approval.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from ascend_guard.errors import ServerError
from ascend_guard.model import ActionResult, Decision, KillSwitchState, RiskLevel, level_of

T = TypeVar("T")

Score = Annotated[float, Meta(ge=0, le=100)]

WORDS: dict[str, Decision] = {
    **dict.fromkeys(("approved", "auto_approved", "executed", "allowed"), Decision.APPROVED),
    **dict.fromkeys(("denied", "rejected"), Decision.DENIED),
    **dict.fromkeys(
        ("pending", "pending_approval", "escalated", "timeout", "requires_modification"), Decision.PENDING
    ),
}
"""The values of ``status`` and ``decision``, of both kinds of server."""


class _Wire(Struct):
    """The fields of an answer that form an ``ActionResult``; all other fields become its metadata."""

    action_id: str | int | None = None
    id: str | int | None = None
    status: str | None = None
    decision: str | None = None
    execution_allowed: bool | None = None
    requires_approval: bool | None = None
    success: bool | None = None
    risk_score: Score | None = None
    risk_level: str | None = None
    reason: str | None = None
    summary: str | None = None
    message: str | None = None
    denial_reason: str | None = None
    policy_matched: str | None = None
    timestamp: str | None = None
    updated_at: str | None = None
    created_at: str | None = None
    decided_by: str | None = None
    approved_by: str | None = None
    reviewed_by: str | None = None
    claimed: bool = False
    modified_arguments: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


_OWN = frozenset(ActionResult.__struct_fields__) | {"decision"}


class ConnectionStatus(Struct, frozen=True):
    """The result of a connection test.

    Args:
        connected: whether the server answered as a control plane.
        api_version: its version.
        latency_ms: milliseconds for a round trip.
        environment: the name of its environment.
        error: what went wrong, if it is not connected.
    """

    connected: bool
    api_version: str | None = None
    latency_ms: float | None = None
    environment: str | None = None
    error: str | None = None


class ActionPage(Struct, frozen=True):
    """A part of the list of actions, newest first.

    Args:
        actions: in the order of the list.
        total: how many actions there are in all.
        limit: the page size.
        offset: how many actions precede this page.
        has_more: whether more actions follow.
    """

    actions: list[ActionResult]
    total: int
    limit: int
    offset: int
    has_more: bool


class _Page(Struct):
    actions: list[dict[str, Any]]
    total: int = field()
    limit: int = field()
    offset: int = field()
    has_more: bool = field()


def decision_of(body: bytes, asked: str | None = None) -> ActionResult:
    """Return the decision on an action, from the answer to a submission, a status request or a claim.

    ``action_id`` of the result is the answer's ``action_id`` or ``id``, whichever is a number, so that ``int(action_id)``
    works as the SDK document shows; ``metadata`` keeps both.

    Args:
        body: the answer's body.
        asked: the action that was requested.

    Raises:
        ServerError: the answer is not JSON, has wrong types or an unknown status, is about another action, or
            contradicts itself.
    """
    return _result(mapping_of(body), asked)


def kill_switch_of(body: bytes) -> KillSwitchState:
    """Return the state of the kill switch, under any of the names that servers use.

    Raises:
        ServerError: the state is unclear. The caller must treat the switch as on.
    """
    raw = mapping_of(body)
    said = [raw[name] for name in ("blocked", "active", "is_active") if name in raw]
    if not said or not all(isinstance(flag, bool) for flag in said):
        raise ServerError(
            "The control plane does not say whether the kill switch is on: `blocked` must be true or false."
        )
    return _converted({**raw, "blocked": any(said)}, KillSwitchState)


def page_of(body: bytes) -> ActionPage:
    """Return a page of actions.

    Raises:
        ServerError: the answer is not a page.
    """
    page = _converted(mapping_of(body), _Page)
    actions = [_result(action, None) for action in page.actions]
    return ActionPage(actions, page.total, page.limit, page.offset, page.has_more)


def mapping_of(body: bytes) -> dict[str, Any]:
    """Return the answer as a JSON object.

    Raises:
        ServerError: the answer is not a JSON object.
    """
    found: dict[str, Any] = _decoded(body, dict[str, Any], "a JSON object")
    return found


def items_of(body: bytes, name: str) -> list[dict[str, Any]]:
    """Return an answer that is a list of JSON objects, bare or under ``name``.

    Raises:
        ServerError: the answer is not such a list.
    """
    raw: Any = _decoded(body, dict[str, Any] | list[Any], "a JSON object or list")
    found = raw.get(name) if isinstance(raw, dict) else raw
    return _converted(found, list[dict[str, Any]])


def _result(raw: dict[str, Any], asked: str | None) -> ActionResult:
    wire = _converted(raw, _Wire)
    names = [str(name) for name in (wire.action_id, wire.id) if name is not None and name != ""]
    if not names:
        raise _unusable("it has no action id")
    # If the answer has only a number, and another kind of id was requested, the two cannot be compared.
    if asked is not None and asked not in names and (wire.action_id is not None or asked.isdecimal()):
        raise _unusable("it is about another action than the one asked for")
    status = _status(wire)
    score = 0.0 if wire.risk_score is None else wire.risk_score
    given = {name: value for name, value in raw.items() if name not in _OWN and value is not None}
    if wire.action_id is not None and wire.id is not None:
        given["action_id"] = wire.action_id
    return ActionResult(
        action_id=next((name for name in names if name.isdecimal()), names[0]),
        status=status,
        risk_score=score,
        risk_level=_level(wire.risk_level, score),
        reason=wire.reason or wire.summary or wire.message or wire.denial_reason or "",
        policy_matched=wire.policy_matched,
        timestamp=wire.timestamp or wire.updated_at or wire.created_at or "",
        metadata={**(wire.metadata or {}), **given},
        claimed=wire.claimed,
        modified_arguments=wire.modified_arguments,
        decided_by=wire.decided_by or wire.approved_by or wire.reviewed_by,
    )


def _status(wire: _Wire) -> Decision:
    said = [word for word in (wire.status, wire.decision) if word is not None]
    if not said:
        raise _unusable("it has no status")
    unknown = [word for word in said if word not in WORDS]
    if unknown:
        raise _unusable(f"{_short(unknown[0])} is not a status of an action")
    meant = {WORDS[word] for word in said}
    if len(meant) > 1:
        raise _unusable(f"its status is {wire.status} and its decision {wire.decision}")
    status = meant.pop()
    if status is Decision.APPROVED:
        if wire.execution_allowed is False:
            raise _unusable("it is approved, but its execution is not allowed")
        if wire.requires_approval is True:
            raise _unusable("it is approved, but still requires an approval")
        if wire.success is False:
            raise _unusable("it is approved, but success is false")
    return status


def _level(named: str | None, score: float) -> RiskLevel:
    if not named:
        return level_of(score)
    try:
        return RiskLevel(named)
    except ValueError:
        raise _unusable(f"{_short(named)} is not a risk level") from None


def _decoded(body: bytes, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ServerError(
            f"The control plane did not answer with {what}. Check that ASCEND_API_URL is an Ascend "
            "server's address, and that no proxy answers in its place."
        ) from None


def _converted(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _unusable(str(error)) from None


def _unusable(why: str) -> ServerError:
    return ServerError(f"The control plane's answer cannot be used: {why}. It approves nothing.")


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:40]}...")
