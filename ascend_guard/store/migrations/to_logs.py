"""From one audit trail for all organizations (schema 4 of SQLite, 2 of PostgreSQL) to one log for each.

The old trail is verified on the way: nothing is migrated from a trail that was changed. Its records are written again,
in their order, with the same contents; each says in addition what the tables need (``projections``). Numbers of actions
stay. Numbers of records stay where there is one organization; where there are several, each counts from one.

Everything is one transaction: interrupted at any point, the old database is unchanged.
"""

# ruff: noqa: S608 - statements are composed of our own names

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ascend_guard.errors import StoreError
from ascend_guard.store.changes import Changes
from ascend_guard.store.log import LOCAL, SYSTEM
from ascend_guard.store.projections import OUTCOMES, SUBMITTED, Put, Recorded, new_action, seconds
from ascend_guard.store.queries import COLUMNS, is_bookkeeping
from ascend_guard.store.rows import ActionRow

_log = logging.getLogger("ascend_guard")

_FRAME = ("seq", "timestamp", "organization", "event", "actor", "action_id")
_LATER = ("runner", "claimed_at", "outcome", "settled_at", "duration", "error")
_SEQS = ("submitted_seq", "started_seq", "completed_seq")
_AT_ONCE = 100
_EACH = 100_000

Execute = Callable[..., Any]


class Migrating(Changes):
    """Writes the new tables, in a transaction that is open already."""

    def __init__(self, execute: Execute, key: bytes, insert: str) -> None:
        super().__init__(execute, key)
        self._change = self._do = execute
        self._insert = insert

    def again(self, old: dict[str, Any], **more: Any) -> int:
        """Write an old record again, with further fields."""
        self.timestamp = old["timestamp"]
        self.now = seconds(self.timestamp)
        rest = {name: value for name, value in old.items() if name not in _FRAME}
        return self.record(
            old["event"],
            organization=old["organization"],
            actor=old["actor"],
            action_id=old["action_id"],
            **rest,
            **more,
        )

    def _insert_action(self, row: ActionRow) -> None:
        values = self._key_of(row.organization, row.id), *msgspec.structs.astuple(row)[2:]
        self._execute(self._insert, values)

    def key_in(self, organization: str, number: int) -> int:
        """Return the key of an action of an organization."""
        return self._key_of(organization, number)

    def save(self) -> None:
        """Write what has been appended so far."""
        append = "INSERT INTO log (key, action, event, body, salt, leaf) VALUES (?, ?, ?, ?, ?, ?)"
        for row in self._log:
            self._execute(append, row)
        self._log.clear()

    def finish(self) -> None:
        """Write the ends of the logs."""
        columns = "organization, seq, hash, mac, last_action, turns, projected, number"
        for head, new in self._next_heads():
            values = *msgspec.structs.astuple(head)[1:], head.number
            if new:
                self._execute(f"INSERT INTO heads ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            else:
                named = ", ".join(f"{column}=?" for column in columns.split(", ")[:-1])
                self._execute(f"UPDATE heads SET {named} WHERE number=?", values)


def migrate_to_logs(execute: Execute, stream: Callable[[str], Iterator[Any]], key: bytes, where: str) -> None:
    """Fill the new tables from the old ones (``old_...`` and ``audit``).

    Args:
        execute: runs a statement in the open transaction.
        stream: runs a query whose result may be large.
        key: the store's secret.
        where: the database, for messages.

    Raises:
        StoreError: the old trail does not verify.
    """
    columns = ", ".join(COLUMNS)
    insert = f"INSERT INTO actions (key, {columns}) VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
    tx = Migrating(execute, key, insert)
    cursor = _old_cursor(execute)
    renumbered = _alerts(execute)
    upto: dict[str, int] = {}
    count, previous = 0, bytes(32)
    states = _States(execute)
    for seq, body, hash_ in stream("SELECT seq, body, hash FROM audit ORDER BY seq"):
        count += 1
        if not isinstance(body, bytes):
            raise _tampered(where, seq)
        previous = hashlib.sha256(previous + body).digest()
        if seq != count or hash_ != previous:
            raise _tampered(where, seq)
        old: dict[str, Any] = msgspec.json.decode(body)
        states.follow(old)
        new = tx.again(old, **_more(tx, execute, old))
        if seq <= cursor:
            upto[old["organization"]] = new
        if seq in renumbered:
            renumbered[seq] = new
        if count % 1000 == 0:
            tx.save()
        if count % _EACH == 0:
            _log.warning("Upgrading %s: %s records so far.", where, f"{count:,}")
    row = execute("SELECT seq, hash, mac FROM head").fetchone()
    if row is None and count:
        raise _tampered(where, count)
    if row is not None:
        mac = hmac.digest(key, row[0].to_bytes(8, "big") + row[1], "sha256")
        if row[0] != count or row[1] != previous or not hmac.compare_digest(mac, row[2]):
            raise _tampered(where, count)
    if not (states.agree() and _switches_agree(execute)):
        raise _tampered(where, count)
    _things(tx, execute, upto, renumbered)
    _runners(tx, execute)
    if count:
        tx.record(
            "migrated",
            organization=SYSTEM,
            actor="system",
            records=count,
            hash=previous.hex(),
            schema="one trail",
        )
    tx.save()
    tx.finish()


_STATUS_AFTER = {
    "approved": "approved",
    "denied": "denied",
    "expired": "denied",
    "withdrawn": "denied",
    "reopened": "pending",
}
_FOLLOWED = "status, submitted_seq, started_seq, outcome, digest"


class _States:
    """What the old trail says of each action, as the version that wrote it verified it. One that has ended and agrees with
    its row is forgotten."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._states: dict[int, list[Any]] = {}
        self._submitted = 0

    def follow(self, old: dict[str, Any]) -> None:
        """Follow a record."""
        number, event, seq = old["action_id"], old["event"], old["seq"]
        if number is None:
            return
        if event == SUBMITTED:
            self._submitted += 1
            self._states[number] = [old.get("decision"), seq, None, None, old.get("digest")]
            return
        state = self._states.get(number)
        if state is None:
            state = self._states[number] = self._row(number)
        if event in _STATUS_AFTER:
            state[0] = _STATUS_AFTER[event]
        elif event == "started":
            state[2] = seq
        elif event in OUTCOMES:
            state[3] = event
            if state == self._row(number):
                del self._states[number]

    def agree(self) -> bool:
        """Return whether the table of actions says the same."""
        (count,) = self._execute("SELECT count(*) FROM old_actions").fetchone()
        same = (state == self._row(number) for number, state in self._states.items())
        return count == self._submitted and all(same)

    def _row(self, number: int) -> list[Any]:
        row = self._execute(f"SELECT {_FOLLOWED} FROM old_actions WHERE id=?", (number,)).fetchone()
        return [] if row is None else list(row)


def _switches_agree(execute: Execute) -> bool:
    """Return whether the old table of kill switches is what its trail says."""
    columns = "organization, agent_id, reason, activated_by"
    old, new = (
        sorted(map(tuple, execute(f"SELECT {columns} FROM {table}").fetchall()))
        for table in ("old_kill_switches", "kill_switches")
    )
    return old == new


def _tampered(where: str, seq: int) -> StoreError:
    return StoreError(
        f"{where} was not upgraded: its audit trail was changed after it was written, at record {seq} or before. Nothing "
        f"was lost. Run `ascend-guard audit verify` with the version that wrote it."
    )


def _more(tx: Migrating, execute: Execute, old: dict[str, Any]) -> dict[str, Any]:
    """What the tables need and the old record does not say."""
    event, number = old["event"], old["action_id"]
    if number is None or event in OUTCOMES:
        return {}
    row = _old_action(execute, number)
    if row is None:
        return {}
    if event == SUBMITTED:
        old.setdefault("action", {name: getattr(row, name) for name in _ACTION})
        old.setdefault("risk", {"score": row.risk_score, "level": row.risk_level})
        read = msgspec.convert({**old, "set": None, "requirements": msgspec.Raw(b"")}, Recorded)
        made = new_action(read, number)
        names = [name for name in COLUMNS if name not in (*_LATER, *_SEQS)]
        return {
            "set": {name: getattr(row, name) for name in names if getattr(row, name) != getattr(made, name)}
        }
    if event == "started":
        started = {
            "claimed_at": row.claimed_at,
            "runner": row.runner,
            "started_seq": tx.next_seq(row.organization),
        }
        return {"set": started}
    if event in ("approval", "approved"):
        given = execute(
            "SELECT comment, groups, identity FROM old_approvals WHERE action_id=? AND approver=?",
            (number, old["actor"]),
        ).fetchone()
        if given is not None:
            comment, groups, identity = given
            return {
                "given": {
                    "approver": old["actor"],
                    "comment": comment,
                    "groups": groups,
                    "identity": identity,
                }
            }
    return {}


_ACTION = ("agent_id", "agent_name", "action_type", "resource", "tool_name", "session_id")


def _old_action(execute: Execute, number: int) -> ActionRow | None:
    names = ", ".join(("id", "organization", *COLUMNS))
    row = execute(f"SELECT {names} FROM old_actions WHERE id=?", (number,)).fetchone()
    return None if row is None else ActionRow(*row)


def _old_cursor(execute: Execute) -> int:
    row = execute("SELECT body FROM old_records WHERE kind='cursor'").fetchone()
    return -1 if row is None else int(msgspec.json.decode(row[0])["seq"])


def _alerts(execute: Execute) -> dict[int, int]:
    names = execute("SELECT DISTINCT name FROM old_records WHERE kind='alert'").fetchall()
    return {int(name): 0 for (name,) in names}


def _runners(tx: Migrating, execute: Execute) -> None:
    for runner, since, seen_at in execute("SELECT runner, since, seen_at FROM old_runners").fetchall():
        claimed = execute(
            "SELECT DISTINCT organization FROM old_actions WHERE runner=?", (runner,)
        ).fetchall()
        for (organization,) in claimed or [(LOCAL,)]:
            values = runner, organization, tx.key_in(organization, max(since, 1)), seen_at
            execute("INSERT INTO runners (runner, organization, since, seen_at) VALUES (?, ?, ?, ?)", values)


def _things(tx: Migrating, execute: Execute, upto: dict[str, int], renumbered: dict[int, int]) -> None:
    puts: dict[str, list[Put]] = {}
    names = "id, organization, kind, name, body, created_at, updated_at, due_at"
    for number, organization, kind, name, body, created_at, updated_at, due_at in execute(
        f"SELECT {names} FROM old_records ORDER BY id"
    ).fetchall():
        if kind == "cursor":
            continue
        if is_bookkeeping(kind):
            tx.now = created_at
            tx.put_record(organization, kind, name, body, due_at=due_at)
            continue
        if kind == "webhook":
            webhook = msgspec.json.decode(body)
            leases = webhook.pop("leases", {})
            webhook["since"] = upto.get(organization, 0)
            body = msgspec.json.encode(webhook)
            tx.now = updated_at
            tx.put_record(
                organization, "webhook-sending", name, msgspec.json.encode({"leases": leases}), due_at=due_at
            )
            cursor = msgspec.json.encode({"seq": upto.get(organization, 0)})
            tx.put_record(organization, "cursor", "webhooks", cursor, due_at=0.0)
            due_at = None
        if kind == "alert":
            name = str(renumbered.get(int(name)) or name)
        put = Put(kind, name, msgspec.Raw(body), due_at, number, created_at, updated_at)
        puts.setdefault(organization, []).append(put)
    for organization, things in puts.items():
        for first in range(0, len(things), _AT_ONCE):
            tx.record(
                "imported", organization=organization, actor="system", put=things[first : first + _AT_ONCE]
            )
