"""The reads that are the same in all dialects."""

# ruff: noqa: S608 - statements are composed of our own names

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ascend_guard.model import KillSwitchState, iso

from .log import LARGEST, key_of, of_key
from .log_queries import LogQueries, where_of
from .paging import WHOLE, Page, fitting
from .rows import ActionRow, Approval, Record

COLUMNS = ActionRow.__struct_fields__[2:]
"""The columns of an action besides its key, which holds its number and its organization."""

_SELECT = f"SELECT key, {', '.join(COLUMNS)} FROM actions"


class Queries(LogQueries):
    """Reads; see ``port.Reader``. A dialect provides ``execute``, which takes SQL with ``?`` for each value."""

    def __init__(self, execute: Callable[..., Any]) -> None:
        super().__init__(execute)
        self._switches: dict[str, tuple[int, dict[str, KillSwitchState]]] = {}

    # --- actions -----------------------------------------------------------------------------------------------------

    def action(self, organization: str, action_id: int) -> ActionRow | None:
        number = self._number(organization)
        if number is None or not 0 < action_id <= LARGEST:
            return None
        rows = self._rows("WHERE key=?", key_of(number, action_id))
        return rows[0] if rows else None

    def actions(
        self,
        organization: str,
        *,
        status: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        before: int | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> list[ActionRow]:
        number = self._number(organization)
        if number is None:
            return []
        until = key_of(number + 1, 0) if before is None else key_of(number, min(before, LARGEST))
        where, values = where_of(
            {"key>?": key_of(number, 0), "key<?": until, "agent_id=?": agent_id}
            | _having(status)
            | {"session_id=?": session_id}
        )
        return self._rows(f"WHERE {where} ORDER BY key DESC LIMIT ? OFFSET ?", *values, limit, offset)

    def every_action(self, organization: str) -> Iterator[ActionRow]:
        number = self._number(organization)
        if number is not None:
            span = key_of(number, 0), key_of(number + 1, 0)
            for row in self._stream(f"{_SELECT} WHERE key>? AND key<? ORDER BY key", span):
                yield self._action_row(row)

    def count_actions(
        self, organization: str, *, status: str | None = None, agent_id: str | None = None
    ) -> int:
        number = self._number(organization)
        if number is None:
            return 0
        where, values = where_of(
            {"key>?": key_of(number, 0), "key<?": key_of(number + 1, 0), "agent_id=?": agent_id}
            | _having(status)
        )
        count: int = self._execute(f"SELECT count(*) FROM actions WHERE {where}", values).fetchone()[0]
        return count

    def repeatable(self, organization: str, fingerprint: str) -> list[ActionRow]:
        rows = self._rows("WHERE fingerprint=? AND claimed_at IS NULL ORDER BY key", fingerprint)
        return [row for row in rows if row.organization == organization]

    def overdue(self, now: float) -> list[ActionRow]:
        return self._rows(
            "WHERE expires_at IS NOT NULL AND claimed_at IS NULL AND expires_at<=? AND status<>'denied'", now
        )

    def last_action(self, organization: str) -> int:
        return self.head(organization).last_action

    def next_deadline(self) -> float | None:
        deadline: float | None = self._execute(
            "SELECT min(expires_at) FROM actions "
            "WHERE expires_at IS NOT NULL AND claimed_at IS NULL AND status<>'denied'"
        ).fetchone()[0]
        return deadline

    def runners(self) -> list[str]:
        return [row[0] for row in self._execute("SELECT DISTINCT runner FROM runners")]

    def running(self, runner: str) -> list[ActionRow]:
        rows: list[ActionRow] = []
        since = self._execute("SELECT since FROM runners WHERE runner=? ORDER BY since", (runner,)).fetchall()
        for (key,) in since:
            until = key_of(of_key(key)[0] + 1, 0)
            where = "WHERE key>=? AND key<? AND runner=? AND outcome IS NULL ORDER BY key"
            rows += self._rows(where, key, until, runner)
        return rows

    def approvals(self, organization: str, action_id: int) -> list[Approval]:
        number = self._number(organization)
        if number is None:
            return []
        rows = self._execute(
            "SELECT approver, comment, at, groups, identity FROM approvals WHERE action=? ORDER BY at, approver",
            (key_of(number, action_id),),
        )
        return [Approval(*row) for row in rows]

    # --- kill switches, processes, registered things -----------------------------------------------------------------

    def kill_switches(self, organization: str) -> dict[str, KillSwitchState]:
        version = self._turns(organization)
        known = self._switches.get(organization)
        if known is None or known[0] != version:
            rows = self._execute(
                "SELECT agent_id, reason, activated_at, activated_by FROM kill_switches WHERE organization=?",
                (organization,),
            )
            on = {
                agent: KillSwitchState(True, reason, agent or None, iso(at), by)
                for agent, reason, at, by in rows
            }
            known = self._switches[organization] = version, on
        return known[1]

    def _turns(self, organization: str) -> int:
        return self.head(organization).turns

    def seen(self, runner: str) -> float | None:
        at: float | None = self._execute(
            "SELECT max(seen_at) FROM runners WHERE runner=?", (runner,)
        ).fetchone()[0]
        return at

    def record_of(self, organization: str, kind: str, name: str) -> Record | None:
        return self._record(kind, "organization=? AND kind=? AND name=?", organization, kind, name)

    def record_number(self, organization: str, kind: str, number: int) -> Record | None:
        return self._record(kind, "organization=? AND kind=? AND id=?", organization, kind, number)

    def find_record(self, kind: str, name: str) -> Record | None:
        return self._record(kind, "kind=? AND name=?", kind, name)

    def records(
        self, organization: str, kind: str, *, limit: int = 1000, offset: int = 0, page: Page = WHOLE
    ) -> list[Record]:
        where, values = where_of({"organization=?": organization, "kind=?": kind, "id>?": page.behind})
        rest = f"FROM {table_of(kind)} WHERE {where} ORDER BY id LIMIT ? OFFSET ?"
        limit = fitting(self._execute, rest, (*values, limit, offset), page)
        return [Record(*row) for row in self._execute(f"SELECT * {rest}", (*values, limit, offset))]

    def count_records(self, organization: str, kind: str) -> int:
        count: int = self._execute(
            f"SELECT count(*) FROM {table_of(kind)} WHERE organization=? AND kind=?", (organization, kind)
        ).fetchone()[0]
        return count

    def due_records(self, kind: str, now: float, *, limit: int = 100) -> list[Record]:
        where = "kind=? AND due_at IS NOT NULL AND due_at<=? ORDER BY due_at, id LIMIT ?"
        return self._records(kind, where, kind, now, limit)

    def _record(self, kind: str, where: str, *values: Any) -> Record | None:
        found = self._records(kind, where, *values)
        return found[0] if found else None

    def _records(self, kind: str, where: str, *values: Any) -> list[Record]:
        rows = self._execute(f"SELECT * FROM {table_of(kind)} WHERE {where}", values)
        return [Record(*row) for row in rows]

    def _rows(self, rest: str, *values: Any) -> list[ActionRow]:
        return [self._action_row(row) for row in self._execute(f"{_SELECT} {rest}", values).fetchall()]

    def _action_row(self, row: tuple[Any, ...]) -> ActionRow:
        number, action_id = of_key(row[0])
        return ActionRow(action_id, self._name(number), *row[1:])


STATUSES: dict[str, dict[str, str]] = {
    "pending_approval": {"status=?": "pending"},
    "auto_approved": {"status=?": "approved", "coalesce(decided_by, '')=?": ""},
    "executed": {"status=?": "approved", "outcome=?": "completed"},
}
"""Words of the API for a status with a further condition: approved by the policy alone; reported as completed."""


def _having(status: str | None) -> dict[str, str | None]:
    return {**STATUSES.get(status or "", {"status=?": status})}


_BOOKKEEPING = frozenset(("cursor", "rate", "heartbeat", "output_scan", "webhook-removed", "webhook-sending"))
_BOOKKEEPING_OF = ("delivery", "delivered")  # before a colon and a webhook's identifier


def is_bookkeeping(kind: str) -> bool:
    """Return whether things of this kind are not in the log: see ``projections.LOCAL``."""
    return kind in _BOOKKEEPING or kind.partition(":")[0] in _BOOKKEEPING_OF


def table_of(kind: str) -> str:
    """Return the table of the things of this kind."""
    return "bookkeeping" if is_bookkeeping(kind) else "things"
