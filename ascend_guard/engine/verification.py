"""Verify the audit logs of a database by replaying them: every column of every table must be what the log says.

1. Every record is hashed again, and the chain must lead to the sealed head (``store.log``). So nothing was edited,
   removed, inserted, moved or cut (promise 10).
2. The tables are computed again with ``store.projections.apply``, which also wrote them, and compared row by row and
   column by column. So no table was changed apart from the log.
3. Every row must belong to a log, and every log must be recorded in the system's log. So no organization disappeared.
4. Tables that are not computed from the log are named in ``projections.LOCAL``, each with its reason.

Memory does not grow with the log: an action that has ended and agrees with its row is forgotten, and things are kept in a
temporary file.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ascend_guard.store.log import (
    LARGEST,
    LOCAL,
    MOST_LOGS,
    SYSTEM,
    key_of,
    of_key,
    sealed,
)
from ascend_guard.store.port import ActionRow, Approval, Head, Reader, Record
from ascend_guard.store.projections import (
    SUBMITTED,
    Drop,
    Put,
    Recorded,
    apply_to_actions,
    apply_to_others,
)
from ascend_guard.store.scratch import Scratch

from .chain import Chain, Problem, Report, TooMany, head_of


def verify(reader: Reader, secret: bytes, *, tables: bool = True) -> Report:
    """Verify the logs of a database, and that its tables follow from them.

    Args:
        reader: a snapshot of the store.
        secret: the store's, which seals the heads.
        tables: whether to compare the tables.
    """
    problems: list[Problem] = []
    stored = reader.heads()
    heads = [head for head in stored if _possible(head)]
    records = 0
    try:
        known = _Begun()
        for head in heads:
            chain = Chain(head.organization, problems)
            with _Replayed(reader, head.organization, chain) as replayed:
                for key, action, event, body, salt, stored_leaf in reader.stored(head.number):
                    records += 1
                    seq = of_key(key)[1]
                    record = chain.add(seq, body, salt, stored_leaf)
                    if record is None:
                        continue
                    about = None if record.action_id is None else key_of(head.number, record.action_id)
                    if (record.event, about) != (event, action):
                        chain.wrong(seq, "its index entries were edited")
                    if tables:
                        replayed.add(record, rows=seq <= head.projected)
                    if head.organization == SYSTEM and event == "log.begun":
                        known.add(body)
                _check_head(chain, head, secret)
                if chain.sound and tables:
                    replayed.compare(head)
        if len(heads) < len(stored):
            problems.append(Problem(0, "the end of a log was edited", SYSTEM))
        known.compare(heads, problems)
        if tables:
            problems += [Problem(0, what, SYSTEM) for what in reader.strays()]
    except TooMany:
        pass
    return Report(records, head_of([(head.organization, head.seq, head.hash) for head in heads]), problems)


def _possible(head: Head) -> bool:
    """Return whether this can be the end of a log: in a database that was edited, its columns may hold anything."""
    numbers = head.number, head.seq, head.last_action, head.turns, head.projected
    return (
        all(isinstance(number, int) and 0 <= number <= LARGEST for number in numbers)
        and head.number < MOST_LOGS
        and head.projected <= head.seq
        and isinstance(head.organization, str)
        and isinstance(head.hash, bytes)
    )


def _check_head(chain: Chain, head: Head, key: bytes) -> None:
    if not sealed(key, head.organization, head.seq, head.hash, head.mac):
        chain.wrong(head.seq, "the seal of the log's end was not made with the store's key")
    else:
        chain.end(head.seq, head.hash)


class _Begun:
    """The logs that the system's log says exist."""

    def __init__(self) -> None:
        self._logs = {SYSTEM, LOCAL}

    def add(self, body: bytes) -> None:
        self._logs.add(str(msgspec.json.decode(body, type=dict[str, Any]).get("log")))

    def compare(self, heads: list[Head], problems: list[Problem]) -> None:
        found = {head.organization for head in heads}
        problems += [Problem(0, "the whole log was removed", name) for name in sorted(self._logs - found)]
        problems += [Problem(0, "the log was never begun", name) for name in sorted(found - self._logs)]


class _Replayed:
    """The tables of one organization as its log says (``projections.State``), compared with those of the database."""

    def __init__(self, reader: Reader, organization: str, chain: Chain) -> None:
        self._reader = reader
        self._organization = organization
        self._chain = chain
        self._open: dict[int, ActionRow] = {}
        self._done = bytearray()
        self._approvals: dict[int, list[Approval]] = {}
        self._counted = 0
        self._switches: dict[str, tuple[str, float, str]] = {}
        self._turns = 0
        self._last_action = 0
        self._actions = 0
        self._things = Scratch(organization)

    def __enter__(self) -> _Replayed:
        return self

    def __exit__(self, *_: object) -> None:
        self._things.close()

    def add(self, record: Recorded, *, rows: bool) -> None:
        """Make the changes of a record; ``rows``: also those of the tables of actions and approvals."""
        if record.event == SUBMITTED and record.action_id is not None:
            self._last_action = record.action_id
        try:
            if rows:
                apply_to_actions(self, record)
            apply_to_others(self, record)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self._chain.wrong(record.seq, f"the record cannot be replayed: {error}")

    # --- the changes -------------------------------------------------------------------------------------------------

    def insert_action(self, row: ActionRow) -> None:
        self._actions += 1
        self._open[row.id] = row
        self._settle(row)

    def update_action(self, organization: str, action_id: int, columns: dict[str, Any]) -> None:
        row = self._row(action_id)
        for column, value in columns.items():
            setattr(row, column, value)
        self._settle(row)

    settle_action = update_action

    def add_approval(self, organization: str, action_id: int, approval: Approval) -> None:
        self._row(action_id)
        same = approval.approver, approval.identity or ""
        given = self._approvals.get(action_id, [])
        others = [other for other in given if (other.approver, other.identity or "") != same]
        self._approvals[action_id] = [*others, approval]

    def clear_approvals(self, organization: str, action_id: int) -> None:
        self._row(action_id)
        self._approvals.pop(action_id, None)

    def turn_on(self, organization: str, agent_id: str, reason: str, at: float, by: str) -> None:
        self._turns += 1
        self._switches[agent_id] = reason, at, by

    def turn_off(self, organization: str, agent_id: str) -> None:
        self._turns += 1
        self._switches.pop(agent_id, None)

    def put_thing(self, organization: str, seq: int, at: float, put: Put) -> None:
        self._things.put(seq, at, put)

    def drop_thing(self, organization: str, drop: Drop) -> None:
        self._things.drop(drop)

    # --- memory ------------------------------------------------------------------------------------------------------

    def _row(self, action_id: int) -> ActionRow:
        """Return the action; one that was forgotten is as it is in the database."""
        row = self._open.get(action_id)
        if row is None:
            if not self._is_done(action_id):
                raise ValueError(f"there is no action {action_id}")
            row = self._reader.action(self._organization, action_id)
            assert row is not None
            self._done[action_id >> 3] &= ~(1 << (action_id & 7))
            self._open[action_id] = row
            given = self._reader.approvals(self._organization, action_id)
            self._counted -= len(given)
            if given:
                self._approvals[action_id] = given
        return row

    def _is_done(self, action_id: int) -> bool:
        place = action_id >> 3
        return place < len(self._done) and bool(self._done[place] >> (action_id & 7) & 1)

    def _settle(self, row: ActionRow) -> None:
        """Forget an action that has ended, if the database has it like this."""
        if row.outcome is None and row.status != "denied":
            return
        if self._reader.action(self._organization, row.id) == row and self._same_approvals(row.id):
            place = row.id >> 3
            if place >= len(self._done):
                self._done.extend(bytes(max(4096, place + 1 - len(self._done))))
            self._done[place] |= 1 << (row.id & 7)
            del self._open[row.id]
            self._counted += len(self._approvals.pop(row.id, ()))

    def _same_approvals(self, action_id: int) -> bool:
        given = self._approvals.get(action_id, [])
        stored = self._reader.approvals(self._organization, action_id)
        return sorted(map(repr, given)) == sorted(map(repr, stored))

    # --- comparing ---------------------------------------------------------------------------------------------------

    def compare(self, head: Head) -> None:
        """Compare what is left, and count the rows."""
        seq = self._chain.seq
        if (head.last_action, head.turns) != (self._last_action, self._turns):
            self._chain.wrong(seq, "the counters of the log's end do not match its records")
        for action_id, row in self._open.items():
            self._compare_action(seq, action_id, row)
        counts = self._reader.tally(self._organization)
        if counts["actions"] != self._actions:
            self._find_actions(seq)
        if counts["approvals"] != self._counted + sum(map(len, self._approvals.values())):
            self._chain.wrong(seq, "there are approvals that the log does not have, or others are missing")
        self._compare_switches(seq)
        self._compare_things(seq, counts["things"])

    def _compare_action(self, seq: int, action_id: int, row: ActionRow) -> None:
        stored = self._reader.action(self._organization, action_id)
        if stored is None:
            self._chain.wrong(seq, f"action {action_id} is in the log, but not in the table of actions")
            return
        different = [
            name for name in ActionRow.__struct_fields__ if getattr(row, name) != getattr(stored, name)
        ]
        if different:
            self._chain.wrong(seq, f"action {action_id} does not match the log: {', '.join(different)}")
        if not self._same_approvals(action_id):
            self._chain.wrong(seq, f"the approvals of action {action_id} do not match the log")

    def _find_actions(self, seq: int) -> None:
        for row in self._reader.every_action(self._organization):
            if row.id not in self._open and not self._is_done(row.id):
                self._chain.wrong(seq, f"action {row.id} is not in the log")

    def _compare_switches(self, seq: int) -> None:
        stored = {row[0]: row[1:] for row in self._reader.switch_rows(self._organization)}
        for agent_id in sorted(self._switches.keys() | stored.keys()):
            if self._switches.get(agent_id) != stored.get(agent_id):
                whom = f"agent {agent_id!r}" if agent_id else "every agent"
                self._chain.wrong(seq, f"the recorded kill switch of {whom} does not match the log")

    def _compare_things(self, seq: int, count: int) -> None:
        for thing in self._reader.every_thing(self._organization):
            found = self._things.find(thing.kind, thing.name)
            if found != thing:
                what = "is not in the log" if found is None else "does not match the log"
                self._chain.wrong(seq, f"{_named(thing)} {what}")
        replayed = self._things.count()
        if replayed > count:
            self._chain.wrong(seq, f"{replayed - count} registered things of the log are missing")


def _named(thing: Record) -> str:
    return f"{thing.kind} {thing.name!r}"
