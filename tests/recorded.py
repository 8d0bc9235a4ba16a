"""What a database has recorded, over all its logs: for tests that do not care whose record it is.

Records are given as people read them (``engine.history``): the start of a call that a rule allowed is a row of its own. What
is recorded only for the tables, such as that a call waits no more, is left out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.engine.approve import submitted
from ascend_guard.engine.claim import known
from ascend_guard.engine.history import steps
from ascend_guard.model import AgentAction
from ascend_guard.store.port import ActionRow, LogRow, Reader, Transaction

ROUTINE = frozenset(("waiting", "forgotten", "answered", "log.begun", "organization.registered"))
"""Events that are recorded for the tables."""


def every_action(reader: Reader) -> list[ActionRow]:
    """All actions, an organization's oldest first."""
    return [row for head in reader.heads() for row in reader.every_action(head.organization)]


def every_record(reader: Reader, organization: str | None = None) -> list[LogRow]:
    """All records, an organization's oldest first; or those of one organization."""
    found = [head.organization for head in reader.heads() if organization in (None, head.organization)]
    return [step for name in found for row in reader.log(name) for step in _steps(row)]


def trail_of(reader: Reader, action_id: int | str, organization: str = "local") -> list[LogRow]:
    """The records of one action."""
    return [step for row in reader.trail(organization, int(action_id)) for step in _steps(row)]


def asked_in(reader: Reader, action_id: int | str, organization: str = "local") -> AgentAction:
    """What was submitted as this action."""
    return submitted(reader, known(reader, organization, str(action_id))).action


def change(tx: Transaction, action_id: int, organization: str = "local", **columns: Any) -> None:
    """Give an action these columns, as no step of the engine would."""
    tx.record("changed", organization=organization, actor="a test", action_id=action_id, set=columns)


def settle(
    tx: Transaction, organization: str, action_id: int, outcome: str, duration: float, error: str | None
) -> str | None:
    """Record the outcome of a running action and return its agent; None if there is no such action."""
    agent_id = tx.running_agent(organization, action_id)
    if agent_id is not None:
        said = {"duration": duration} | ({"error": error} if error else {})
        tx.record(outcome, organization=organization, actor=agent_id, action_id=action_id, **said)
    return agent_id


def length(reader: Reader) -> int:
    """How many records there are."""
    return sum(head.seq for head in reader.heads())


def _steps(row: LogRow) -> list[LogRow]:
    if row.event in ROUTINE:
        return []
    return [_as(row, step) for step in steps(row)]


def _as(row: LogRow, step: dict[str, Any]) -> LogRow:
    return msgspec.structs.replace(row, event=step["event"], body=msgspec.json.encode(step))
