"""Read actions from the store for the command line, and convert them to JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ascend_guard.engine.approve import AsItRuns, as_it_runs, submitted
from ascend_guard.engine.approvers import people
from ascend_guard.engine.history import all_steps
from ascend_guard.engine.results import pending_approvers
from ascend_guard.errors import ConflictError, NotFoundError, remedies
from ascend_guard.model import AgentAction, KillSwitchState, iso
from ascend_guard.store.port import ActionRow, Approval, Reader

from .essentials import Essentials, essentials

STATUSES = ("pending", "approved", "denied")
OUTCOMES = ("running", "completed", "failed", "handed_over", "unknown", "blocked")

_PAGE = 500
_EARLIER = 8
_ELSEWHERE = 5
_RECENT = 1_000


class Found(msgspec.Struct, frozen=True):
    """Actions, and how many more there are."""

    rows: list[ActionRow]
    outcomes: list[str | None]
    total: int


class Listed(msgspec.Struct, frozen=True):
    """One action of a list.

    Args:
        row: its present state.
        outcome: its outcome, if it has one.
        arguments: the important ones; None if the audit trail has none.
        approvals: how many people have approved it so far.
    """

    row: ActionRow
    outcome: str | None
    arguments: Essentials | None
    approvals: int


class Details(msgspec.Struct, frozen=True):
    """One action, with the data that an approver needs.

    Args:
        row: its present state.
        outcome: its outcome, if it has one.
        asked: the submitted call, including its arguments.
        submission: the audit record of its submission.
        runs: the description of an edited call as it ran, or was to run; None if it is as submitted.
        trail: all its audit records, in order.
        approvals: the approvals so far.
        earlier: earlier calls of the same session, newest first.
        later: later calls of the same session, newest first.
        elsewhere: the last calls of the same agent in other sessions, newest first.
        switch: the kill switch that stops its agent, or None.
        awaited: a call waits for the decision now.
    """

    row: ActionRow
    outcome: str | None
    asked: AgentAction
    submission: dict[str, Any]
    runs: AsItRuns | None
    trail: list[dict[str, Any]]
    approvals: list[Approval]
    earlier: list[Listed]
    later: list[Listed]
    elsewhere: list[Listed]
    switch: KillSwitchState | None
    awaited: bool

    @property
    def edits(self) -> dict[str, Any]:
        """Argument values that an approver changed."""
        edits: dict[str, Any] = msgspec.json.decode(self.row.edits) if self.row.edits else {}
        return edits


def find(
    reader: Reader,
    organization: str,
    *,
    status: str | None = None,
    agent_id: str | None = None,
    session_id: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> Found:
    """Return actions, newest first. ``status`` is a decision or an outcome."""
    if status in OUTCOMES or session_id is not None:
        total, rows = 0, []
        for total, row in enumerate(_scan(reader, organization, status, agent_id, session_id), 1):
            if offset < total <= offset + limit:
                rows.append(row)
    else:
        total = reader.count_actions(organization, status=status, agent_id=agent_id)
        rows = reader.actions(organization, status=status, agent_id=agent_id, limit=limit, offset=offset)
    return Found(rows, [outcome_of(reader, row) for row in rows], total)


def _scan(
    reader: Reader, organization: str, status: str | None, agent_id: str | None, session_id: str | None
) -> Iterator[ActionRow]:
    before: int | None = None
    while True:
        page = reader.actions(
            organization,
            status=decision_of(status),
            agent_id=agent_id,
            session_id=session_id,
            before=before,
            limit=_PAGE,
        )
        for row in page:
            if status not in OUTCOMES or outcome_of(reader, row) == status:
                yield row
        if len(page) < _PAGE:
            return
        before = page[-1].id


def decision_of(status: str | None) -> str | None:
    """The store cannot filter by outcome; only an approved call has one, unless it was blocked."""
    return status if status in STATUSES else None if status in (None, "blocked") else "approved"


def outcome_of(reader: Reader, row: ActionRow) -> str | None:
    """The outcome of an action: running, completed, failed, handed_over, unknown, or blocked before it
    could start."""
    if row.claimed_at is not None:
        return row.outcome or "running"
    if row.status == "denied":
        return None
    trail = reader.trail(row.organization, row.id)
    return "blocked" if trail and trail[-1].event == "blocked" else None


def find_row(reader: Reader, organization: str, action_id: str) -> ActionRow:
    """Return the action with this id, as a person may have typed it.

    Raises:
        NotFoundError: the action does not exist.
    """
    typed = action_id.strip().removeprefix("#")
    number = int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 19 else 0
    row = reader.action(organization, number)
    if row is None:
        raise NotFoundError(
            f"There is no action {action_id!r}.", action_id=action_id, remedy=remedies.listed()
        )
    return row


def listed(reader: Reader, row: ActionRow) -> Listed:
    """Return an action with the data for a list."""
    approvals = len(people(reader.approvals(row.organization, row.id))) if row.status == "pending" else 0
    return Listed(row, outcome_of(reader, row), arguments_of(reader, row), approvals)


def arguments_of(reader: Reader, row: ActionRow) -> Essentials | None:
    """Return the important arguments, with edited values in place of the submitted ones; None if the trail has none."""
    try:
        asked = submitted(reader, row).action.action_details
    except (ConflictError, msgspec.MsgspecError):  # `audit verify` reports why; a list shows the rest
        return None
    edits = msgspec.json.decode(row.edits, type=dict[str, object]) if row.edits else {}
    return essentials(asked | edits)


def look_up(reader: Reader, organization: str, action_id: str, alive: Callable[[str], bool]) -> Details:
    """Return all data of one action.

    Args:
        reader: the store.
        organization: the organization of the action.
        action_id: the action.
        alive: says whether a process still runs.

    Raises:
        NotFoundError: the action does not exist.
    """
    from ascend_guard.engine.kill import stopped

    row = find_row(reader, organization, action_id)
    records = reader.trail(row.organization, row.id)
    trail = all_steps(records)
    earlier, later, elsewhere = history(reader, row)
    return Details(
        row=row,
        outcome=outcome_of(reader, row),
        asked=submitted(reader, row).action,
        submission=next(record for record in trail if record.get("event") == "submitted"),
        runs=as_it_runs(record.body for record in records),
        trail=trail,
        approvals=reader.approvals(row.organization, row.id),
        earlier=earlier,
        later=later,
        elsewhere=elsewhere,
        switch=stopped(reader, organization, row.agent_id),
        awaited=row.waiter is not None and alive(row.waiter),
    )


def history(reader: Reader, row: ActionRow) -> tuple[list[Listed], list[Listed], list[Listed]]:
    """Earlier and later calls of an action's session, and its agent's calls in other sessions; newest first."""
    earlier: list[ActionRow] = []
    later: list[ActionRow] = []
    if row.session_id is not None:
        earlier = reader.actions(row.organization, session_id=row.session_id, before=row.id, limit=_EARLIER)
        newest = reader.actions(row.organization, session_id=row.session_id, limit=_EARLIER)
        later = [other for other in newest if other.id > row.id]
    # There is no index by agent, so only the newest actions are searched.
    recent = reader.actions(row.organization, limit=_RECENT)
    elsewhere = [
        other
        for other in recent
        if other.agent_id == row.agent_id
        and other.id != row.id
        and (row.session_id is None or other.session_id != row.session_id)
    ][:_ELSEWHERE]
    earlier_, later_, elsewhere_ = (
        [listed(reader, other) for other in rows] for rows in (earlier, later, elsewhere)
    )
    return earlier_, later_, elsewhere_


# --- as programs see them -------------------------------------------------------------------------


def record(row: ActionRow, outcome: str | None) -> dict[str, Any]:
    """An action as JSON, with the API's field names."""
    fields: dict[str, Any] = {
        "id": row.id,
        "action_id": str(row.id),
        "status": row.status,
        "outcome": outcome,
        "agent_id": row.agent_id,
        "agent_name": row.agent_name,
        "action_type": row.action_type,
        "tool_name": row.tool_name,
        "resource": row.resource,
        "session_id": row.session_id,
        "orchestration_session_id": row.orchestration_session_id,
        "orchestration_depth": row.depth,
        "risk_score": row.risk_score,
        "risk_level": row.risk_level,
        "policy_matched": row.rule,
        "reason": row.reason,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.settled_at or row.claimed_at or row.decided_at or row.created_at),
    }
    if row.status == "pending":
        fields |= {"pending_approvers": pending_approvers(row), "quorum": row.quorum or 1}
    times = {"expires_at": row.expires_at, "decided_at": row.decided_at}
    times |= {"started_at": row.claimed_at, "completed_at": row.settled_at}
    fields |= {name: iso(at) for name, at in times.items() if at is not None}
    rest: dict[str, Any] = {"decided_by": row.decided_by, "error": row.error}
    rest["duration_ms"] = None if row.duration is None else round(row.duration * 1000, 3)
    rest["modified_arguments"] = msgspec.json.decode(row.edits) if row.edits else None
    return fields | {name: value for name, value in rest.items() if value is not None}


def records(found: Found, limit: int, offset: int) -> dict[str, Any]:
    """A page of actions as JSON, with the API's field names."""
    return {
        "actions": [record(row, outcome) for row, outcome in zip(found.rows, found.outcomes, strict=True)],
        "total": found.total,
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(found.rows) < found.total,
    }


def full_record(details: Details) -> dict[str, Any]:
    """One action with all its data, as JSON."""
    asked, runs = details.asked, details.runs
    risk = (runs and runs.risk) or details.submission.get("risk") or {}
    fields = record(details.row, details.outcome) | {
        "resource_id": (runs or asked).resource_id,
        "arguments_run": runs and runs.arguments,
        "action_details": asked.action_details,
        "context": asked.context,
        "risk_indicators": asked.risk_indicators,
        "model_id": asked.model_id,
        "mcp_server_name": asked.mcp_server_name,
        "parent_action_id": asked.parent_action_id,
        "excluded": list(asked.excluded) or None,
        "vouched_decorators": list(asked.vouched_decorators) or None,
        "cvss_vector": risk.get("cvss_vector"),
        "nist_controls": risk.get("nist_controls", []),
        "mitre_techniques": risk.get("mitre_techniques", []),
        "approvals": [
            {"approved_by": given.approver, "comments": given.comment, "approved_at": iso(given.at)}
            for given in details.approvals
        ],
        "earlier_in_session": [str(one.row.id) for one in details.earlier],
        "blocked": details.switch is not None,
        "awaited": details.awaited,
        "audit_trail": details.trail,
    }
    return {name: value for name, value in fields.items() if value is not None}
