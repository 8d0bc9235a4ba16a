"""The changes of the tables, as the statements that are the same in all dialects."""

# ruff: noqa: S608 - statements are composed of our own names

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from .ends import Ends
from .log_queries import STRAYS
from .projections import Drop, Put
from .queries import COLUMNS, is_bookkeeping
from .rows import ActionRow, Approval


@lru_cache(maxsize=64)
def _update(columns: tuple[str, ...]) -> str:
    unknown = set(columns) - set(COLUMNS)
    if unknown:
        raise AssertionError(f"no such columns: {unknown}")
    return f"UPDATE actions SET {', '.join(f'{column}=?' for column in columns)} WHERE key=?"


class Tables(Ends):
    """The part of a transaction that changes tables; see ``projections.State``.

    A dialect provides ``_change`` for changes with a result, and ``_do`` for changes without one, which may wait until
    the next read or the commit.
    """

    _change: Callable[..., Any]
    _do: Callable[..., Any]

    # --- actions and approvals ---------------------------------------------------------------------------------------

    def _insert_action(self, row: ActionRow) -> None:
        raise NotImplementedError

    def insert_actions(self, rows: list[ActionRow]) -> None:
        """Store new actions."""
        for row in rows:
            self._insert_action(row)

    def update_action(self, organization: str, action_id: int, columns: dict[str, Any]) -> None:
        self._do(_update(tuple(columns)), (*columns.values(), self._key_of(organization, action_id)))

    # The next tables are so small that they need no unique index, which would limit the length of names.

    def add_approval(self, organization: str, action_id: int, approval: Approval) -> None:
        key = self._key_of(organization, action_id)
        same = (key, approval.approver, approval.identity or "")
        self._do("DELETE FROM approvals WHERE action=? AND approver=? AND coalesce(identity, '')=?", same)
        self._do(
            "INSERT INTO approvals (action, approver, comment, at, groups, identity) VALUES (?, ?, ?, ?, ?, ?)",
            (key, *msgspec.structs.astuple(approval)),
        )

    def clear_approvals(self, organization: str, action_id: int) -> None:
        self._do("DELETE FROM approvals WHERE action=?", (self._key_of(organization, action_id),))

    # --- kill switches -----------------------------------------------------------------------------------------------

    def turn_on(self, organization: str, agent_id: str, reason: str, at: float, by: str) -> None:
        self.turn_off(organization, agent_id)
        self._do("INSERT INTO kill_switches VALUES (?, ?, ?, ?, ?)", (organization, agent_id, reason, at, by))

    def turn_off(self, organization: str, agent_id: str) -> None:
        self._end(organization).turns += 1
        self._do("DELETE FROM kill_switches WHERE organization=? AND agent_id=?", (organization, agent_id))

    def is_on(self, organization: str, agent_id: str) -> bool:
        """Return whether the switch is on in the table."""
        found = self._execute(
            "SELECT 1 FROM kill_switches WHERE organization=? AND agent_id=?", (organization, agent_id)
        )
        return found.fetchone() is not None

    # --- registered things -------------------------------------------------------------------------------------------

    def put_thing(self, organization: str, seq: int, at: float, put: Put) -> None:
        self._do(
            "INSERT INTO things (id, organization, kind, name, body, created_at, updated_at, due_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (organization, kind, name) "
            "DO UPDATE SET body=excluded.body, updated_at=excluded.updated_at, due_at=excluded.due_at",
            (
                *(put.number or seq, organization, put.kind, put.name, bytes(put.value)),
                *(put.created_at or at, put.updated_at or at, put.due_at),
            ),
        )

    def drop_thing(self, organization: str, drop: Drop) -> None:
        self._do(
            "DELETE FROM things WHERE organization=? AND kind=? AND name=?",
            (organization, drop.kind, drop.name),
        )

    def delete_strays(self) -> None:
        for table, where in STRAYS.items():
            self._do(f"DELETE FROM {table} WHERE {where}", ())

    # --- what is not in the log --------------------------------------------------------------------------------------

    def add_runner(self, runner: str, organization: str, since: int) -> None:
        self._do(
            "INSERT INTO runners (runner, organization, since) VALUES (?, ?, ?) "
            "ON CONFLICT (runner, organization) DO UPDATE SET since="
            "CASE WHEN excluded.since < runners.since THEN excluded.since ELSE runners.since END",
            (runner, organization, self._key_of(organization, since)),
        )

    def remove_runner(self, runner: str) -> None:
        self._do("DELETE FROM runners WHERE runner=?", (runner,))

    def see_runner(self, runner: str, organization: str) -> None:
        since = self._key_of(organization, self.next_action(organization))
        self._do(
            "INSERT INTO runners (runner, organization, since, seen_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (runner, organization) DO UPDATE SET seen_at=excluded.seen_at",
            (runner, organization, since, self.now),
        )

    def put_record(
        self, organization: str, kind: str, name: str, body: bytes, *, due_at: float | None = None
    ) -> None:
        assert is_bookkeeping(kind), kind
        self._do(
            "INSERT INTO bookkeeping (organization, kind, name, body, created_at, updated_at, due_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (organization, kind, name) "
            "DO UPDATE SET body=excluded.body, updated_at=excluded.updated_at, due_at=excluded.due_at",
            (organization, kind, name, body, self.now, self.now, due_at),
        )

    def remove_record(self, organization: str, kind: str, name: str) -> None:
        assert is_bookkeeping(kind), kind
        self._do(
            "DELETE FROM bookkeeping WHERE organization=? AND kind=? AND name=?", (organization, kind, name)
        )
