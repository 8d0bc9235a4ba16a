"""The reads of the log that are the same in all dialects."""

# ruff: noqa: S608 - statements are composed of our own names

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ascend_guard.errors import StoreError

from .log import GENESIS, LARGEST, key_of, of_key
from .paging import WHOLE, Page, fitting
from .rows import Event, Head, LogRow, Record

HEAD = "SELECT number, organization, seq, hash, mac, last_action, turns, projected FROM heads"
_COLUMNS = "key, action, event, body, salt, leaf"
_TRAIL = f"""
SELECT {_COLUMNS} FROM log
WHERE key IN (
    SELECT submitted_seq+? FROM actions WHERE key=? UNION SELECT started_seq+? FROM actions WHERE key=?
    UNION SELECT completed_seq+? FROM actions WHERE key=?
    UNION SELECT key FROM log WHERE action=? AND event<>'submitted' AND event<>'started' AND event<>'completed'
) ORDER BY key
"""
_EVENTS = (
    "SELECT key, action, event, "
    "CASE WHEN event='kill_switch.on' OR event='kill_switch.off' THEN body END FROM log"
)


class LogQueries:
    """Reads of the log; see ``port.Reader``."""

    def __init__(self, execute: Callable[..., Any]) -> None:
        self._execute = self._stream = execute
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    # --- organizations -----------------------------------------------------------------------------------------------

    def heads(self) -> list[Head]:
        return [Head(*row) for row in self._execute(f"{HEAD} ORDER BY number")]

    def head(self, organization: str) -> Head:
        row = self._execute(f"{HEAD} WHERE organization=?", (organization,)).fetchone()
        return Head(-1, organization, 0, GENESIS, b"", 0, 0, 0) if row is None else Head(*row)

    def is_headless(self) -> bool:
        """Return whether there are records without any end of a log: the ends were deleted."""
        records = self._execute("SELECT 1 FROM log LIMIT 1").fetchone()
        return records is not None and not self.heads()

    def behind(self) -> list[str]:
        """Return the organizations whose tables are not computed up to the end of their log."""
        return [row[0] for row in self._execute("SELECT organization FROM heads WHERE projected<seq")]

    def _number(self, organization: str) -> int | None:
        """Return an organization's number; None when it has no log. Numbers never change."""
        number = self._numbers.get(organization)
        if number is None:
            number = self.head(organization).number
            if number < 0:
                return None
            self._numbers[organization] = number
        return number

    def _name(self, number: int) -> str:
        name = self._names.get(number)
        if name is None:
            self._names = {head.number: head.organization for head in self.heads()}
            if number not in self._names:
                raise StoreError(
                    "A row of the database belongs to no organization: it was edited. See `ascend-guard audit verify`."
                )
            name = self._names[number]
        return name

    # --- records -----------------------------------------------------------------------------------------------------

    def trail(self, organization: str, action_id: int) -> list[LogRow]:
        number = self._number(organization)
        if number is None or not 0 < action_id <= LARGEST:
            return []
        key, base = key_of(number, action_id), key_of(number, 0)
        rows = self._execute(_TRAIL, (base, key, base, key, base, key, key))
        return [_log_row(row) for row in rows]

    def log(self, organization: str, after: int = 0) -> Iterator[LogRow]:
        number = self._number(organization)
        if number is not None:
            for row in self.stored(number, after):
                yield _log_row(row)

    def stored(self, number: int, after: int = 0) -> Iterator[tuple[int, Any, Any, Any, Any, Any]]:
        where = f"SELECT {_COLUMNS} FROM log WHERE key>? AND key<? ORDER BY key"
        yield from self._stream(where, (_behind(number, after), key_of(number + 1, 0)))

    def log_page(self, organization: str, limit: int, offset: int = 0, page: Page = WHOLE) -> list[LogRow]:
        number = self._number(organization)
        if number is None:
            return []
        until = key_of(number + 1, 0) if page.behind is None else key_of(number, min(page.behind, LARGEST))
        rest = "FROM log WHERE key>? AND key<? ORDER BY key DESC LIMIT ? OFFSET ?"
        values = key_of(number, 0), until
        limit = fitting(self._execute, rest, (*values, limit, offset), page)
        return [_log_row(row) for row in self._execute(f"SELECT {_COLUMNS} {rest}", (*values, limit, offset))]

    def log_record(self, organization: str, seq: int) -> LogRow | None:
        number = self._number(organization)
        if number is None or not 0 < seq <= LARGEST:
            return None
        row = self._execute(f"SELECT {_COLUMNS} FROM log WHERE key=?", (key_of(number, seq),)).fetchone()
        return None if row is None else _log_row(row)

    def count_log(self, organization: str) -> int:
        return self.head(organization).seq

    def events_since(self, organization: str, after: int, *, limit: int = 2**31) -> list[Event]:
        number = self._number(organization)
        if number is None:
            return []
        rows = self._execute(
            f"{_EVENTS} WHERE key>? AND key<? ORDER BY key LIMIT ?",
            (_behind(number, after), key_of(number + 1, 0), limit),
        )
        return [Event(of_key(key)[1], _within(action), event, body) for key, action, event, body in rows]

    # --- verification ------------------------------------------------------------------------------------------------

    def tally(self, organization: str) -> dict[str, int]:
        number = self._number(organization)
        if number is None:
            return dict.fromkeys(("actions", "approvals", "things"), 0)
        span = key_of(number, 0), key_of(number + 1, 0)
        counted = {
            "actions": ("key>? AND key<?", span),
            "approvals": ("action>? AND action<?", span),
            "things": ("organization=?", (organization,)),
        }
        return {
            table: self._execute(f"SELECT count(*) FROM {table} WHERE {where}", values).fetchone()[0]
            for table, (where, values) in counted.items()
        }

    def strays(self) -> list[str]:
        counts = {
            table: self._execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]
            for table, where in STRAYS.items()
        }
        return [
            f"{count} rows of the table {table} belong to no log" for table, count in counts.items() if count
        ]

    def switch_rows(self, organization: str) -> list[tuple[str, str, float, str]]:
        return list(
            self._execute(
                "SELECT agent_id, reason, activated_at, activated_by FROM kill_switches WHERE organization=?",
                (organization,),
            ).fetchall()
        )

    def every_thing(self, organization: str) -> Iterator[Record]:
        columns = "id, organization, kind, name, body, created_at, updated_at, due_at"
        for row in self._stream(f"SELECT {columns} FROM things WHERE organization=?", (organization,)):
            yield Record(*row)


_STRAY_KEYS = "(({key}) >> 40) NOT IN (SELECT number FROM heads) OR (({key}) & 1099511627775) = 0"
STRAYS = {
    "log": _STRAY_KEYS.format(key="key"),
    "actions": _STRAY_KEYS.format(key="key"),
    "approvals": _STRAY_KEYS.format(key="action"),
    "kill_switches": "organization NOT IN (SELECT organization FROM heads)",
    "things": "organization NOT IN (SELECT organization FROM heads)",
}


def _behind(number: int, after: int) -> int:
    """Return the key of a record whose number may be anything; never a key of another organization's log."""
    return key_of(number, min(max(after, 0), LARGEST))


def _within(action: int | None) -> int | None:
    return of_key(action)[1] if isinstance(action, int) else None


def _log_row(row: tuple[Any, ...]) -> LogRow:
    key, action, event, body, salt, leaf = row
    return LogRow(of_key(key)[1], _within(action), event, body, salt, leaf)


def where_of(conditions: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return the condition for all given values, without those that are None, and its values."""
    given = {condition: value for condition, value in conditions.items() if value is not None}
    return " AND ".join(given), list(given.values())
