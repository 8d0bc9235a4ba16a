"""The store's reads and changes in SQLite's dialect, and how the database follows the switch file.

The switch file says which kill switches are on; the table ``kill_switches`` and the audit trail record it.

1. On: the file first, then the database. A switch that is in the file and not yet in the database was turned on by a
   process that could not wait for it. The next process that writes records it (``_catch_up``), once: ``switch_file``
   contains the position up to which that was done.
2. Off: the database first, then the file. When the process dies in between, the switch stays on (promise 4).
3. An agent is stopped by what the file contained when the transaction began, and by what the transaction itself has turned
   on.
4. Nothing is recorded from a file that is not the one that the database names.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

import msgspec

from ascend_guard.errors import StoreError
from ascend_guard.model import KillSwitchState, iso
from ascend_guard.store.changes import Changes
from ascend_guard.store.ends import Known
from ascend_guard.store.failures import explain, restored
from ascend_guard.store.queries import COLUMNS, Queries
from ascend_guard.store.rows import ActionRow, Head

from .barrier import still_running, tell
from .switch_file import SwitchFile
from .switch_records import EVERYONE, Entry, Mark, Snapshot, turned_off, turned_on

_log = logging.getLogger("ascend_guard")
_INSERT = f"INSERT INTO actions (key, {', '.join(COLUMNS)}) VALUES (?, {', '.join('?' * len(COLUMNS))})"
_APPEND = "INSERT INTO log (key, action, event, body, salt, leaf) VALUES (?, ?, ?, ?, ?, ?)"
NEW_HEAD = (
    "INSERT INTO heads (number, organization, seq, hash, mac, last_action, turns, projected) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_NEXT_HEAD = "UPDATE heads SET seq=?, hash=?, mac=?, last_action=?, turns=?, projected=? WHERE number=?"
_MARK = "SELECT nonce, size, digest FROM switch_file"


class SQLiteReader(Queries):
    """Reads on one connection; kill switches come from their file if it is given, else from the table."""

    def __init__(self, connection: sqlite3.Connection, switches: SwitchFile | None = None) -> None:
        super().__init__(connection.execute)
        self._switch_file = switches

    def kill_switches(self, organization: str) -> dict[str, KillSwitchState]:
        if self._switch_file is None:
            return super().kill_switches(organization)
        return self._switch_file.now().switches(organization)


MOST_BEHIND = 500
"""How many records may be ahead of the tables before a commit computes them."""


class SQLiteTransaction(Changes):
    """The only transaction of the process's writer."""

    lags = True

    def __init__(
        self,
        connection: sqlite3.Connection,
        key: bytes,
        path: Path,
        switches: SwitchFile,
        runners: Path,
    ) -> None:
        # One cursor for all statements: each result is read before the next statement, and creating a cursor takes time.
        super().__init__(connection.cursor().execute, key)
        self._change = self._do = self._execute
        self._stream = connection.execute  # while its rows are read, other statements run
        self._connection = connection
        self._path = path
        self._switch_file = switches
        self._runners = runners
        self._file = switches.now()
        self._recorded: Snapshot | None = None
        self._turned: dict[tuple[str, str], KillSwitchState | None] = {}
        self._on: list[Entry] = []
        self._off: list[Entry] = []
        self._renewing = False
        self._draft: Path | None = None
        self._version = -1
        self._own: set[str] = set()

    # --- the life of a transaction -----------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Start."""
        self._execute("BEGIN IMMEDIATE")
        version = self._execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:  # another process has written, also to these logs perhaps
            self._version = version
            self._own.clear()
        self._begun(now)
        self._look(self._switch_file.lately())

    def commit(self) -> None:
        """Make everything durable."""
        if self._on:
            self._write_on()
        if self._renewing:
            self._renew()
        for organization, end in list(self._ends.items()):
            if end.seq - end.projected >= MOST_BEHIND:
                self.catch_up(organization)
        if len(self._log) == 1:
            self._execute(_APPEND, self._log[0])
        elif self._log:
            self._connection.executemany(_APPEND, self._log)
        heads = self._next_heads()
        for head, new in heads:
            if new:
                self._execute(NEW_HEAD, msgspec.structs.astuple(head))
            else:
                _, _, *values = msgspec.structs.astuple(head)
                self._execute(_NEXT_HEAD, (*values, head.number))
        self._execute("COMMIT")
        self._remember(heads)
        self._own.update(head.organization for head, _ in heads)

    def _unmoved(self, organization: str) -> Head | None:
        return self._known[organization].head if organization in self._own else None

    def _moved(self, known: Known) -> None:
        self._claimed.clear()
        if known.key:
            found = self._execute("SELECT leaf FROM log WHERE key=?", (known.key,)).fetchone()
            if found is None or found[0] != known.leaf:
                raise restored(self._path)

    def committed(self) -> None:
        """Call the registered callbacks, after switches that were turned on stop everything, and released ones are off."""
        for organization in {entry.organization for entry in self._on}:
            still_running(self._runners, organization, EVERYONE)
        if self._off or self._draft is not None:
            self._write_off()
            tell(self._runners)
        if self._turned:
            self._forget_turns()
        super().committed()

    def rollback(self) -> None:
        """Undo everything."""
        super().rollback()
        self._forget_turns()
        self._recorded = None
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def changes(self) -> int:
        """A number that grows with everything written so far."""
        return self._connection.total_changes + len(self._log)

    def _insert_action(self, row: ActionRow) -> None:
        self._execute(_INSERT, (self._key_of(row.organization, row.id), *msgspec.structs.astuple(row)[2:]))

    def insert_actions(self, rows: list[ActionRow]) -> None:
        values = [(self._key_of(row.organization, row.id), *msgspec.structs.astuple(row)[2:]) for row in rows]
        self._connection.executemany(_INSERT, values)

    @property
    def is_behind(self) -> bool:
        """Whether this process has left rows to be written later."""
        return bool(self._lagging)

    # --- kill switches -----------------------------------------------------------------------------------------------

    def kill_switches(self, organization: str) -> dict[str, KillSwitchState]:
        switches = self._file.switches(organization)
        for (of, agent_id), state in self._turned.items():
            if of == organization:
                if state is None:
                    switches.pop(agent_id, None)
                else:
                    switches[agent_id] = state
        return switches

    def kill(self, organization: str, agent_id: str, reason: str, by: str) -> None:
        self._look(self._switch_file.now())
        entry = turned_on(organization, agent_id, reason, by, self.now)
        self._on.append(entry)
        self._turned[organization, agent_id] = entry.state

    def revive(self, organization: str, agent_id: str) -> bool:
        self._look(self._switch_file.now())
        turned = self._turned.get((organization, agent_id))
        if turned is None and (organization, agent_id) in self._turned:
            return False
        self._on = [
            entry for entry in self._on if (entry.organization, entry.agent) != (organization, agent_id)
        ]
        entry = turned_off(organization, agent_id, self.now, self._file)
        damage = self._file.damage if agent_id == EVERYONE else None
        if turned is None and not entry.released and damage is None:
            return False
        self._turned[organization, agent_id] = None
        if damage is not None:
            self.record("kill_switch.repaired", organization=organization, actor="system", reason=damage.what)
        if damage is not None and damage.beyond_repair:
            self._renewing = True
        elif entry.released or damage is not None:
            self._off.append(entry)
        return True

    def _look(self, file: Snapshot) -> None:
        self._file = file
        if file is not self._recorded:
            self._catch_up()

    def _catch_up(self) -> None:
        """Record what the switch file contains and the database does not."""
        file = self._file
        damage = file.damage
        if file.nonce is None or (damage is not None and damage.beyond_repair):
            return
        mark = marked(self._connection)
        if mark is None or not file.contains(mark):
            self._switch_file.distrust("is not the one that the database names, or was cut")
            self._file = self._switch_file.now()
            return
        if len(file.content) > mark.size:
            released = {id_: entry for _, entry in file.entries for id_ in entry.released}
            own = {entry.id for entry in self._on}
            for end, entry in file.entries:
                if end > mark.size and entry.kind == "on" and entry.id not in own:
                    self._record_on(entry)
                    if entry.id in released:  # the database was restored from a time before that
                        self._record_off(released[entry.id])
            mark_up_to(self._connection, file.mark())
        self._recorded = file

    def _record_on(self, entry: Entry) -> None:
        self.record(
            "kill_switch.on",
            organization=entry.organization,
            actor=entry.by,
            agent_id=entry.agent or None,
            reason=entry.reason,
            activated_at=iso(entry.at),
        )

    def _record_off(self, entry: Entry) -> None:
        self.record(
            "kill_switch.off",
            organization=entry.organization,
            actor="system",
            agent_id=entry.agent or None,
            reason="it was turned off before the database was restored",
        )

    def _write_on(self) -> None:
        damage = self._file.damage
        if damage is not None and damage.beyond_repair:
            return  # every agent is stopped; the file that replaces it is made from the database
        try:
            self._switch_file.append(*self._on)
        except OSError as error:
            raise (
                error if isinstance(error, StoreError) else explain(error, self._switch_file.path)
            ) from error
        self._file = self._switch_file.now()
        self._catch_up()

    def _renew(self) -> None:
        """Prepare a new file in place of one that is beyond repair, with every switch that is known to be on."""
        known = {
            (entry.organization, entry.agent): entry for entry in (*self._file.on, *table(self._connection))
        }
        entries = [entry for turn, entry in known.items() if self._turned.get(turn, entry) is not None]
        try:
            self._draft, file = self._switch_file.draft(entries)
        except OSError as error:
            raise explain(error, self._switch_file.path) from error
        mark_up_to(self._connection, file.mark())

    def _write_off(self) -> None:
        try:
            if self._draft is not None:
                self._switch_file.install(self._draft)
                self._draft = None
            if self._off:
                self._switch_file.append(*self._off)
        except OSError as error:
            self._switch_file.unreleased = error
            _log.error(
                "The kill switch stays on: its release is recorded, but %s failed: %s",
                self._switch_file.path,
                error,
            )

    def _forget_turns(self) -> None:
        self._turned.clear()
        self._on.clear()
        self._off.clear()
        self._renewing = False
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)
            self._draft = None


def marked(connection: sqlite3.Connection) -> Mark | None:
    """Return which switch file the database names, and the position up to which it has recorded it."""
    row = connection.execute(_MARK).fetchone()
    return None if row is None else Mark(*row)


def mark_up_to(connection: sqlite3.Connection, mark: Mark) -> None:
    """Store the mark."""
    connection.execute(
        "INSERT INTO switch_file VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET "
        "nonce=excluded.nonce, size=excluded.size, digest=excluded.digest",
        msgspec.structs.astuple(mark),
    )


def table(connection: sqlite3.Connection) -> list[Entry]:
    """Return the switches that the database has recorded as on."""
    rows = connection.execute(
        "SELECT organization, agent_id, reason, activated_by, activated_at FROM kill_switches"
    )
    return [turned_on(*row) for row in rows]


def found_switches(connection: sqlite3.Connection, switches: SwitchFile) -> None:
    """Create the switch file of a database without one, with the switches of its table; or adopt an existing file."""
    if marked(connection) is not None:
        return
    if not os.path.lexists(switches.path):
        draft, file = switches.draft(table(connection))
        switches.install(draft)
        mark_up_to(connection, file.mark())
        return
    file = switches.now()
    if file.nonce is not None:  # its whole content is recorded again
        mark_up_to(connection, file.beginning())
        known = {(entry.organization, entry.agent) for entry in file.on}
        switches.append(*(on for on in table(connection) if (on.organization, on.agent) not in known))


def foreign(database: Path, file: Snapshot) -> str | None:
    """Return what is wrong with a switch file that this process sees for the first time; None if the database names it."""
    try:
        connection = sqlite3.connect(f"file:{quote(os.fspath(database))}?mode=ro", uri=True, timeout=0.2)
        try:
            mark = marked(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        return f"{UNASKED} ({error})"
    if mark is None or file.contains(mark):
        return None
    return "is not the one that the database names, or is an older copy"


UNASKED = "is new to this process, and the database cannot be read to check whether it is the right one"
