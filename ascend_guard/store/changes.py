"""A transaction on the audit log: records are appended, and the tables follow from them.

1. A record is encoded once. What it changes is read from these bytes by ``projections.apply``, as verification reads it
   (promise 10).
2. Nothing else changes a table that is computed from the log.
3. Rows of actions that a rule allowed, and their outcomes, may be written later (``projections.may_lag``): a head says up to
   which record its tables are computed. They are computed before an action is read or changed (``catch_up``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from ascend_guard.errors import StoreError

from .ends import End
from .log import Salts, key_of, leaf, link
from .projections import (
    OFF,
    ON,
    SUBMITTED,
    apply,
    apply_to_actions,
    apply_to_others,
    decode,
    may_lag,
    new_action,
)
from .rows import ActionRow, LogRow
from .tables import Tables

_encode = msgspec.json.Encoder().encode
_AT_ONCE = 1000
_SWITCHED = frozenset((ON, OFF))
_REMEMBERED = 100_000
"""How many running actions of this process are remembered, so that their outcomes need no read."""


class Running(NamedTuple):
    """A call that this process runs.

    Args:
        agent_id: its agent.
        submitted: the record of its submission, if its row may not be written yet.
    """

    agent_id: str
    submitted: bytes | None = None


class Rows:
    """Rows of actions that are written together (``projections.Actions``): one that ends at once is written once."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.new: dict[int, ActionRow] = {}

        self.add_approval = changes.add_approval
        self.clear_approvals = changes.clear_approvals

    def insert_action(self, row: ActionRow) -> None:
        """See ``Actions``."""
        self.new[row.id] = row

    def update_action(self, organization: str, action_id: int, columns: dict[str, Any]) -> None:
        """See ``Actions``."""
        row = self.new.get(action_id)
        if row is None:
            self._changes.update_action(organization, action_id, columns)
            return
        for column, value in columns.items():
            setattr(row, column, value)

    settle_action = update_action

    def write(self) -> None:
        """Write the new rows."""
        self._changes.insert_actions(list(self.new.values()))
        self.new.clear()


class Changes(Tables):
    """A writer's only transaction, used repeatedly; see ``port.Transaction``."""

    lags = False
    """Whether rows of actions are written later. Not worth it where a read is a round trip."""

    def __init__(self, execute: Callable[..., Any], key: bytes) -> None:
        super().__init__(execute, key)
        self._salt = Salts()
        self._callbacks: list[Callable[[], None]] = []
        self._claiming: dict[tuple[str, int], Running] = {}
        self._claimed: dict[tuple[str, int], Running] = {}

    # --- the life of a transaction -----------------------------------------------------------------------------------

    def committed(self) -> None:
        """Remember what this process runs, and call the registered callbacks."""
        claimed = self._claimed
        if self._claiming:
            claimed.update(self._claiming)
            self._claiming.clear()
            while len(claimed) > _REMEMBERED:
                del claimed[next(iter(claimed))]
        self._ends.clear()
        self._log.clear()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def rollback(self) -> None:
        """Forget everything."""
        self._ends.clear()
        self._log.clear()
        self._callbacks.clear()
        self._claiming.clear()
        self._claimed.clear()
        self._switches.clear()

    def after_commit(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    # --- the log -----------------------------------------------------------------------------------------------------

    def record(
        self, event: str, *, organization: str, actor: str, action_id: int | None = None, **data: Any
    ) -> int:
        end = self._ends.get(organization) or self._end(organization)
        later = False
        if action_id is not None:
            later = self.lags and may_lag(event, data)
            if not later:
                self.catch_up(organization)
        seq = end.seq + 1
        body = _encode(
            {
                "seq": seq,
                "timestamp": self.timestamp,
                "organization": organization,
                "event": event,
                "actor": actor,
                "action_id": action_id,
                **data,
            }
        )
        end.seq = seq
        salt = self._salt()
        hashed = leaf(salt, body)
        end.hash = link(end.hash, hashed)
        about = None if action_id is None else key_of(end.number, action_id)
        self._log.append((key_of(end.number, seq), about, event, body, salt, hashed))
        if later:
            self._note(end, event, organization, actor, action_id, body)
            if "put" in data or "drop" in data:
                apply_to_others(self, decode(body))
        elif action_id is not None or event in _SWITCHED or "put" in data or "drop" in data:
            apply(self, decode(body))
        if not later and end.projected == seq - 1:
            end.projected = seq
        return seq

    def _note(
        self, end: End, event: str, organization: str, agent_id: str, action_id: int | None, body: bytes
    ) -> None:
        """Remember what a record changes whose row is written later."""
        assert action_id is not None
        if event == SUBMITTED:
            end.action = action_id
            self._claiming[organization, action_id] = Running(agent_id, body)
        else:
            self._claimed.pop((organization, action_id), None)
            self._claiming.pop((organization, action_id), None)

    def catch_up(self, organization: str) -> None:
        end = self._ends.get(organization)
        if end is None:
            if self._number(organization) is None:
                return  # it has no log, and reading begins none
            end = self._end(organization)
        if end.projected == end.seq:
            return
        bodies = [row[3] for row in self.stored(end.number, end.projected)]
        behind, until = key_of(end.number, end.projected), key_of(end.number + 1, 0)
        bodies += [row[3] for row in self._log if behind < row[0] < until]
        rows = Rows(self)
        try:
            for body in bodies:
                apply_to_actions(rows, decode(body))
        except (msgspec.MsgspecError, ValueError, AttributeError) as error:
            raise StoreError(
                f"A record of the log cannot be read ({error}): the database was edited. See `ascend-guard audit verify`."
            ) from error
        rows.write()
        end.projected = end.seq

    def catch_up_all(self) -> None:
        for organization in {*self.behind(), *self._ends}:
            self.catch_up(organization)

    def rebuild(self, organization: str, step: Callable[[], None]) -> None:
        end = self._end(organization)
        span = key_of(end.number, 0), key_of(end.number + 1, 0)
        self._do("DELETE FROM actions WHERE key>? AND key<?", span)
        self._do("DELETE FROM approvals WHERE action>? AND action<?", span)
        self._do("DELETE FROM kill_switches WHERE organization=?", (organization,))
        self._do("DELETE FROM things WHERE organization=?", (organization,))
        end.action = end.turns = end.projected = 0
        while bodies := [row[3] for row in islice(self.stored(end.number, end.projected), _AT_ONCE)]:
            rows = Rows(self)
            for body in bodies:
                record = decode(body)
                if record.event == SUBMITTED and record.action_id is not None:
                    end.action = record.action_id
                apply_to_actions(rows, record)
                apply_to_others(self, record)
                step()
            rows.write()
            end.projected += len(bodies)

    # --- actions -----------------------------------------------------------------------------------------------------

    def action(self, organization: str, action_id: int) -> ActionRow | None:
        running = self._claimed.get((organization, action_id)) or self._claiming.get(
            (organization, action_id)
        )
        if running is not None and running.submitted is not None:
            return new_action(decode(running.submitted), action_id)
        self.catch_up(organization)
        return super().action(organization, action_id)

    # What follows may find a row that is written later, so those are written first.

    def actions(self, organization: str, **what: Any) -> list[ActionRow]:
        self.catch_up(organization)
        return super().actions(organization, **what)

    def every_action(self, organization: str) -> Iterator[ActionRow]:
        self.catch_up(organization)
        return super().every_action(organization)

    def count_actions(self, organization: str, **what: Any) -> int:
        self.catch_up(organization)
        return super().count_actions(organization, **what)

    def running(self, runner: str) -> list[ActionRow]:
        self.catch_up_all()
        return super().running(runner)

    def trail(self, organization: str, action_id: int) -> list[LogRow]:
        self.catch_up(organization)
        return super().trail(organization, action_id)

    def insert_action(self, row: ActionRow) -> None:
        self._ends[row.organization].action = row.id
        if row.claimed_at is not None:
            self._claiming[row.organization, row.id] = Running(row.agent_id)
        self._insert_action(row)

    def running_agent(self, organization: str, action_id: int) -> str | None:
        known = self._claimed.get((organization, action_id))
        if known is not None:
            return known.agent_id
        row = self.action(organization, action_id)
        running = row is not None and row.claimed_at is not None and row.outcome in (None, "unknown")
        return row.agent_id if row is not None and running else None

    def settle_action(self, organization: str, action_id: int, columns: dict[str, Any]) -> None:
        self._claimed.pop((organization, action_id), None)
        self._claiming.pop((organization, action_id), None)
        self.update_action(organization, action_id, columns)
