"""The reads and changes that are the same in all dialects, and the common part of a transaction on the audit trail."""

# ruff: noqa: S608 - statements are composed of our own names

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from ascend_guard.errors import StoreError
from ascend_guard.model import KillSwitchState, iso

from .chain import link, sealed, sealer
from .paging import WHOLE, Page, fitting
from .port import ActionRow, Approval, Head, Record
from .trail_queries import TrailQueries, of, where_of

COLUMNS = ActionRow.__struct_fields__
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM actions "
_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=64)
def _update(columns: tuple[str, ...]) -> str:
    unknown = set(columns) - set(COLUMNS)
    if unknown:
        raise AssertionError(f"no such columns: {unknown}")
    return f"UPDATE actions SET {', '.join(f'{column}=?' for column in columns)} WHERE id=?"


class Queries(TrailQueries):
    """Reads; see ``port.Reader``. A dialect provides ``execute``, which takes SQL with ``?`` for each value."""

    def __init__(self, execute: Callable[..., Any]) -> None:
        super().__init__(execute)
        self._kill_version = -1
        self._kill_switches: dict[str, dict[str, KillSwitchState]] = {}

    def action(self, organization: str, action_id: int) -> ActionRow | None:
        rows = self._rows("WHERE id=? AND organization=?", action_id, organization)
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
        where, values = where_of(
            {of(organization): organization, "agent_id=?": agent_id}
            | _having(status)
            | {"session_id=?": session_id, "id<?": before}
        )
        return self._rows(f"{where} ORDER BY id DESC LIMIT ? OFFSET ?", *values, limit, offset)

    def every_action(self) -> Iterator[ActionRow]:
        for row in self._stream(_SELECT + "ORDER BY id"):
            yield ActionRow(*row)

    def count_actions(
        self, organization: str, *, status: str | None = None, agent_id: str | None = None
    ) -> int:
        where, values = where_of({of(organization): organization, "agent_id=?": agent_id} | _having(status))
        count: int = self._execute(f"SELECT count(*) FROM actions {where}", values).fetchone()[0]
        return count

    def repeatable(self, organization: str, fingerprint: str) -> list[ActionRow]:
        return self._rows(
            "WHERE fingerprint=? AND organization=? AND claimed_at IS NULL ORDER BY id",
            fingerprint,
            organization,
        )

    def overdue(self, now: float) -> list[ActionRow]:
        return self._rows(
            "WHERE expires_at IS NOT NULL AND claimed_at IS NULL AND expires_at<=? AND status<>'denied'", now
        )

    def last_action(self) -> int:
        newest: int = self._execute("SELECT coalesce(max(id), 0) FROM actions").fetchone()[0]
        return newest

    def next_deadline(self) -> float | None:
        deadline: float | None = self._execute(
            "SELECT min(expires_at) FROM actions "
            "WHERE expires_at IS NOT NULL AND claimed_at IS NULL AND status<>'denied'"
        ).fetchone()[0]
        return deadline

    def runners(self) -> list[str]:
        return [row[0] for row in self._execute("SELECT runner FROM runners")]

    def running(self, runner: str) -> list[ActionRow]:
        return self._rows(
            "WHERE id>=(SELECT since FROM runners WHERE runner=?) AND runner=? AND outcome IS NULL ORDER BY id",
            runner,
            runner,
        )

    def approvals(self, action_id: int) -> list[Approval]:
        rows = self._execute(
            "SELECT approver, comment, at, groups, identity FROM approvals WHERE action_id=? ORDER BY at, approver",
            (action_id,),
        )
        return [Approval(*row) for row in rows]

    def kill_switches(self, organization: str) -> dict[str, KillSwitchState]:
        version = self._kill_switch_version()
        if version != self._kill_version:
            switches: dict[str, dict[str, KillSwitchState]] = {}
            for org, agent, reason, at, by in self._execute("SELECT * FROM kill_switches"):
                switches.setdefault(org, {})[agent] = KillSwitchState(
                    True, reason, agent or None, iso(at), by
                )
            self._kill_switches = switches
            self._kill_version = version
        return self._kill_switches.get(organization, {})

    def _kill_switch_version(self) -> int:
        version: int = self._execute("SELECT kill_version FROM head").fetchone()[0]
        return version

    def head(self) -> Head:
        return Head(*self._execute("SELECT seq, hash, mac, kill_version FROM head").fetchone())

    def seen(self, runner: str) -> float | None:
        row = self._execute("SELECT seen_at FROM runners WHERE runner=?", (runner,)).fetchone()
        return None if row is None else row[0]

    def record_of(self, organization: str, kind: str, name: str) -> Record | None:
        return self._record("organization=? AND kind=? AND name=?", organization, kind, name)

    def record_number(self, organization: str, kind: str, number: int) -> Record | None:
        return self._record("organization=? AND kind=? AND id=?", organization, kind, number)

    def find_record(self, kind: str, name: str) -> Record | None:
        return self._record("kind=? AND name=?", kind, name)

    def records(
        self, organization: str, kind: str, *, limit: int = 1000, offset: int = 0, page: Page = WHOLE
    ) -> list[Record]:
        where, values = where_of({"organization=?": organization, "kind=?": kind, "id>?": page.behind})
        rest = f"{where} ORDER BY id LIMIT ? OFFSET ?"
        limit = fitting(self._execute, f"FROM records {rest}", (*values, limit, offset), page)
        return [
            Record(*row) for row in self._execute(f"SELECT * FROM records {rest}", (*values, limit, offset))
        ]

    def count_records(self, organization: str, kind: str) -> int:
        count: int = self._execute(
            "SELECT count(*) FROM records WHERE organization=? AND kind=?", (organization, kind)
        ).fetchone()[0]
        return count

    def due_records(self, kind: str, now: float, *, limit: int = 100) -> list[Record]:
        return self._records(
            "kind=? AND due_at IS NOT NULL AND due_at<=? ORDER BY due_at, id LIMIT ?", kind, now, limit
        )

    def _record(self, where: str, *values: Any) -> Record | None:
        found = self._records(where, *values)
        return found[0] if found else None

    def _records(self, where: str, *values: Any) -> list[Record]:
        return [Record(*row) for row in self._execute(f"SELECT * FROM records WHERE {where}", values)]

    def _rows(self, rest: str, *values: Any) -> list[ActionRow]:
        return [ActionRow(*row) for row in self._execute(_SELECT + rest, values)]


class Changes(Queries):
    """A writer's only transaction, used repeatedly; see ``port.Transaction``.

    A dialect provides ``_execute`` for reads, ``_change`` for changes with a result, and ``_do`` for changes without
    one, which may wait until the next read or the commit.
    """

    now: float
    _change: Callable[..., Any]
    _do: Callable[..., Any]

    def __init__(self, execute: Callable[..., Any], key: bytes) -> None:
        super().__init__(execute)
        self._key = key
        self._seal = sealer(key)
        self._head = Head(-1, b"", b"", -1)
        self.next_seq = 0
        self._hash = b""
        self.timestamp = ""
        self._killed = 0
        self._trail: list[tuple[int, int | None, str, bytes, bytes, str]] = []
        self._callbacks: list[Callable[[], None]] = []

    # --- the life of a transaction -----------------------------------------------------------------------------------

    def _begun(self, now: float, head: Head) -> None:
        """Check that the end of the trail is still sealed with the store's key."""
        self.now = now
        self.timestamp = iso(now)
        self._killed = 0
        last = self._head
        if (head.seq, head.hash, head.mac) != (last.seq, last.hash, last.mac) and not sealed(
            self._key, head.seq, head.hash, head.mac
        ):
            raise StoreError(
                "The end of the audit trail was not sealed with its key: records were cut or the database "
                "was edited. No call runs until this is resolved: see `ascend-guard audit verify`."
            )
        self._head = head
        self.next_seq, self._hash = head.seq + 1, head.hash

    def _next_head(self) -> Head:
        """Return the head after the commit."""
        if not (self._trail or self._killed):
            return self._head
        seq = self.next_seq - 1
        return Head(seq, self._hash, self._seal(seq, self._hash), self._head.kill_version + self._killed)

    def committed(self) -> None:
        """Call the registered callbacks."""
        self._trail.clear()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def rollback(self) -> None:
        """Forget everything."""
        self._trail.clear()
        self._callbacks.clear()
        self._kill_version = -1

    def _kill_switch_version(self) -> int:
        return self._head.kill_version + self._killed  # read when the transaction began

    def _number(self, row: ActionRow) -> None:
        """Set the numbers of a new action's first records: the next ones, whatever was recorded before."""
        row.submitted_seq = self.next_seq
        row.started_seq = None if row.claimed_at is None else self.next_seq + 1

    # --- changes -----------------------------------------------------------------------------------------------------

    def settle_action(
        self, organization: str, action_id: int, outcome: str, duration: float, error: str | None
    ) -> str | None:
        completed_seq = self.next_seq if outcome == "completed" else None
        row = self._change(
            "UPDATE actions SET outcome=?, settled_at=?, duration=?, error=?, completed_seq=? "
            "WHERE id=? AND organization=? AND claimed_at IS NOT NULL AND (outcome IS NULL OR outcome='unknown') "
            "RETURNING agent_id",
            (outcome, self.now, duration, error, completed_seq, action_id, organization),
        ).fetchone()
        return None if row is None else row[0]

    def update_action(self, action_id: int, **columns: Any) -> None:
        self._do(_update(tuple(columns)), (*columns.values(), action_id))

    def add_runner(self, runner: str, since: int) -> None:
        self._do(
            "INSERT INTO runners (runner, since) VALUES (?, ?) ON CONFLICT (runner) DO UPDATE SET since="
            "CASE WHEN excluded.since < runners.since THEN excluded.since ELSE runners.since END",
            (runner, since),
        )

    def remove_runner(self, runner: str) -> None:
        self._do("DELETE FROM runners WHERE runner=?", (runner,))

    def see_runner(self, runner: str) -> None:
        self._do(
            "INSERT INTO runners (runner, since, seen_at) VALUES (?, ?, ?) "
            "ON CONFLICT (runner) DO UPDATE SET seen_at=excluded.seen_at",
            (runner, self.last_action() + 1, self.now),
        )

    def put_record(
        self, organization: str, kind: str, name: str, body: bytes, *, due_at: float | None = None
    ) -> int:
        number: int = self._change(
            "INSERT INTO records (organization, kind, name, body, created_at, updated_at, due_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (organization, kind, name) "
            "DO UPDATE SET body=excluded.body, updated_at=excluded.updated_at, due_at=excluded.due_at RETURNING id",
            (organization, kind, name, body, self.now, self.now, due_at),
        ).fetchone()[0]
        return number

    def remove_record(self, organization: str, kind: str, name: str) -> bool:
        removed: int = self._change(
            "DELETE FROM records WHERE organization=? AND kind=? AND name=?", (organization, kind, name)
        ).rowcount
        return removed > 0

    # The last two tables are so small that they need no unique index, which would limit the length of names.

    def approve(
        self,
        action_id: int,
        approver: str,
        comment: str | None,
        groups: str | None = None,
        identity: str | None = None,
    ) -> None:
        same = (action_id, approver, identity or "")
        self._do("DELETE FROM approvals WHERE action_id=? AND approver=? AND coalesce(identity, '')=?", same)
        row = (action_id, approver, comment, self.now, groups, identity)
        self._do("INSERT INTO approvals VALUES (?, ?, ?, ?, ?, ?)", row)

    def clear_approvals(self, action_id: int) -> None:
        self._do("DELETE FROM approvals WHERE action_id=?", (action_id,))

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> None:
        self._killed += 1
        self._do("DELETE FROM kill_switches WHERE organization=? AND agent_id=?", (organization, agent_id))
        self._do(
            "INSERT INTO kill_switches VALUES (?, ?, ?, ?, ?)", (organization, agent_id, reason, self.now, by)
        )

    def revive(self, organization: str, agent_id: str) -> bool:
        revived: int = self._change(
            "DELETE FROM kill_switches WHERE organization=? AND agent_id=?", (organization, agent_id)
        ).rowcount
        self._killed += revived
        return revived > 0

    def record(
        self, event: str, *, organization: str, actor: str, action_id: int | None = None, **data: Any
    ) -> None:
        seq = self.next_seq
        self.next_seq = seq + 1
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
        self._hash = link(self._hash, body)
        self._trail.append((seq, action_id, event, body, self._hash, organization))

    def after_commit(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)


STATUSES: dict[str, dict[str, str]] = {
    "pending_approval": {"status=?": "pending"},
    "auto_approved": {"status=?": "approved", "coalesce(decided_by, '')=?": ""},
    "executed": {"status=?": "approved", "outcome=?": "completed"},
}
"""Words of the API for a status with a further condition: approved by the policy alone; reported as completed."""


def _having(status: str | None) -> dict[str, str | None]:
    return {**STATUSES.get(status or "", {"status=?": status})}
