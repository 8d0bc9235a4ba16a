"""The reads of the audit trail that are the same in all dialects."""

# ruff: noqa: S608 - statements are composed of our own names

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .paging import WHOLE, Page, fitting
from .port import AuditRow, Event

_TRAIL = """
SELECT seq, action_id, event, body, hash FROM audit
WHERE seq IN (
    SELECT submitted_seq FROM actions WHERE id=? UNION SELECT started_seq FROM actions WHERE id=?
    UNION SELECT completed_seq FROM actions WHERE id=?
    UNION SELECT seq FROM audit
    WHERE action_id=? AND event<>'submitted' AND event<>'started' AND event<>'completed'
) ORDER BY seq
"""
_EVENTS = (
    "SELECT seq, action_id, event, organization, "
    "CASE WHEN event='kill_switch.on' OR event='kill_switch.off' THEN body END FROM audit WHERE seq>?"
)


class TrailQueries:
    """Reads of the trail; see ``port.Reader``."""

    def __init__(self, execute: Callable[..., Any]) -> None:
        self._execute = self._stream = execute

    def trail(self, action_id: int) -> list[AuditRow]:
        return [AuditRow(*row) for row in self._execute(_TRAIL, (action_id,) * 4)]

    def audit(self, after: int = 0) -> Iterator[AuditRow]:
        for row in self._stream(
            "SELECT seq, action_id, event, body, hash FROM audit WHERE seq>? ORDER BY seq", (after,)
        ):
            yield AuditRow(*row)

    def audit_page(
        self, organization: str, limit: int, offset: int = 0, page: Page = WHOLE
    ) -> list[AuditRow]:
        where, values = where_of({of(organization): organization, "seq<?": page.behind})
        rest = f"FROM audit {where} ORDER BY seq DESC LIMIT ? OFFSET ?"
        limit = fitting(self._execute, rest, (*values, limit, offset), page)
        rows = self._execute(f"SELECT seq, action_id, event, body, hash {rest}", (*values, limit, offset))
        return [AuditRow(*row) for row in rows]

    def audit_record(self, organization: str, seq: int) -> AuditRow | None:
        where = f"{of(organization)} AND seq=?"
        rows = self._execute(
            f"SELECT seq, action_id, event, body, hash FROM audit WHERE {where}", (organization, seq)
        )
        row = rows.fetchone()
        return None if row is None else AuditRow(*row)

    def count_audit(self, organization: str) -> int:
        others = "SELECT count(*) FROM audit WHERE organization<>'local'"
        # The embedded organization has no index: its records are all except those of other organizations.
        mine = f"SELECT (SELECT count(*) FROM audit) - ({others})"
        sql, values = (
            (mine, ()) if organization == "local" else (f"{others} AND organization=?", (organization,))
        )
        count: int = self._execute(sql, values).fetchone()[0]
        return count

    def events(self, after: int) -> list[tuple[int, int | None, str]]:
        return [(event.seq, event.action_id, event.event) for event in self.events_since(after)]

    def events_since(self, after: int, organization: str | None = None, *, limit: int = 2**31) -> list[Event]:
        where, whose = ("", ()) if organization is None else (f" AND {of(organization)}", (organization,))
        rows = self._execute(f"{_EVENTS}{where} ORDER BY seq LIMIT ?", (after, *whose, limit))
        return [Event(*row) for row in rows]


def of(organization: str) -> str:
    """Return the condition that finds an organization's rows by its partial index, which excludes the embedded one."""
    return "organization=?" if organization == "local" else "organization=? AND organization<>'local'"


def where_of(conditions: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return the condition for all given values, without those that are None, and its values."""
    given = {condition: value for condition, value in conditions.items() if value is not None}
    return "WHERE " + " AND ".join(given), list(given.values())
