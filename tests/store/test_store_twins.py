"""The same works, put to SQLite and to PostgreSQL, are answered alike, and leave the same trail."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from postgres_server import database
from simulation import ROOT
from store_kinds import NOW, AnyStore, row

from ascend_guard.errors import AscendError, ConflictError
from ascend_guard.model import KillSwitchState
from ascend_guard.store.port import Reader, Record, Transaction
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.sqlite.store import SQLiteStore

NASTY = st.text(
    st.one_of(st.sampled_from("\0\1\2'\"\\%s?${},NUL"), st.characters(exclude_categories=())), max_size=8
)
NAMES = st.one_of(
    st.sampled_from(["local", "acme", "a", "b", ""]), st.sampled_from(["local", "a", "b"]), NASTY
)
WORDS = st.one_of(st.none(), NAMES)
IDS = st.one_of(st.integers(1, 8), st.sampled_from([0, -1, 10**6, 2**63 - 1, -(2**63)]))
TIMES = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([NOW - 1, NOW, NOW + 1]))
KINDS = st.sampled_from(["agent", "key", "hook"])
EVENTS = st.sampled_from(
    ["submitted", "started", "completed", "failed", "approved", "denied", "kill_switch.on"]
)
OUTCOMES = st.sampled_from(["completed", "failed", "handed_over", "unknown"])
STATUSES = st.sampled_from(["approved", "approved", "pending", "denied"])
SOUGHT = st.none() | STATUSES | st.sampled_from(["pending_approval", "auto_approved", "executed"])
LIMITS = st.sampled_from([0, 1, 3, 50])
BODIES = st.binary(max_size=20)
FINITE = st.floats(0, 1e9)


def op(name: str, *values: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A call of one of the port's methods."""
    return st.tuples(st.just(name), st.tuples(*values), st.fixed_dictionaries(named))


ROWS = st.builds(
    row,
    organization=NAMES,
    status=STATUSES,
    agent_id=NAMES,
    resource=NAMES,
    reason=NAMES,
    session_id=WORDS,
    rule=WORDS,
    parent_action_id=st.one_of(st.none(), st.integers(1, 3)),
    risk_score=FINITE,
    fingerprint=st.sampled_from([None, "f", "g"]),
    edits=st.sampled_from([None, '{"a":"\\u0000\\\\u0000"}']),
    expires_at=st.sampled_from([None, NOW - 1, NOW + 5.25]),
    runner=st.sampled_from([None, "me", "you"]),
    claimed_at=st.sampled_from([None, NOW, NOW]),
    submitted_seq=st.integers(1, 9),
)

QUESTIONS = st.one_of(
    op("action", NAMES, IDS),
    op("actions", NAMES, status=SOUGHT, agent_id=WORDS, session_id=WORDS,
       before=st.one_of(st.none(), IDS), limit=LIMITS, offset=LIMITS),
    op("every_action"),
    op("count_actions", NAMES, status=SOUGHT, agent_id=WORDS),
    op("repeatable", NAMES, st.sampled_from(["f", "g"])),
    op("overdue", FINITE | st.just(NOW)),
    op("last_action"),
    op("next_deadline"),
    op("runners"),
    op("running", st.sampled_from(["me", "you"])),
    op("approvals", IDS),
    op("kill_switches", NAMES),
    op("trail", IDS),
    op("audit", st.integers(0, 4)),
    op("audit_page", NAMES, limit=LIMITS, offset=LIMITS),
    op("count_audit", NAMES),
    op("events", IDS),
    op("head"),
    op("seen", NAMES),
    op("record_of", NAMES, KINDS, NAMES),
    op("find_record", KINDS, NAMES),
    op("records", NAMES, KINDS, limit=LIMITS, offset=LIMITS),
    op("count_records", NAMES, KINDS),
    op("due_records", KINDS, st.just(NOW) | FINITE, limit=LIMITS),
)  # fmt: skip
CHANGES = st.one_of(
    op("insert_action", ROWS),
    op("insert_action", ROWS),
    op("settle_action", st.sampled_from(["local", "a"]), IDS, OUTCOMES, FINITE, WORDS),
    op("settle_action", st.just("local"), st.integers(1, 4), OUTCOMES, FINITE, st.none()),
    op("update_action", IDS, status=STATUSES, reason=NAMES, expires_at=TIMES),
    op("update_action", IDS, status=STATUSES, decided_by=st.sampled_from([None, "", "ann"])),
    op("update_action", IDS, waiter=WORDS, quorum=st.one_of(st.none(), st.integers(1, 3))),
    op("add_runner", NAMES, st.integers(1, 9)),
    op("remove_runner", NAMES),
    op("see_runner", NAMES),
    op("put_record", NAMES, KINDS, NAMES, BODIES, due_at=TIMES),
    op("remove_record", NAMES, KINDS, NAMES),
    op("approve", st.integers(1, 4), NAMES, WORDS, st.sampled_from([None, '["finance"]'])),
    op("clear_approvals", IDS),
    op("kill", NAMES, NAMES, NAMES, NAMES),
    op("revive", NAMES, NAMES),
    op("record", EVENTS, organization=NAMES, actor=NAMES, action_id=st.one_of(st.none(), st.integers(1, 4)), detail=NAMES),
)  # fmt: skip
WORKS = st.tuples(
    st.lists(st.one_of(CHANGES, CHANGES, QUESTIONS), max_size=8),
    st.sampled_from(["", "", "", "", "refused", "broken"]),
)
"""What a work does, and how it ends."""


UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Examples are long and take their time: shrinking one would take minutes."""


class Work:
    """Runs its steps in a transaction and remembers the answers."""

    def __init__(self, steps: list[Any], end: str) -> None:
        self.steps, self.end = steps, end

    def __call__(self, tx: Transaction) -> list[Any]:
        answers = [asked(tx, *step) for step in self.steps]
        if self.end == "refused":
            raise ConflictError("no")
        if self.end == "broken":
            raise ZeroDivisionError
        return answers


def asked(reader: Reader, name: str, values: Any, named: Any) -> Any:
    """The answer, in order where the port promises none."""
    answer = getattr(reader, name)(*values, **named)
    if isinstance(answer, Iterator):
        return list(answer)
    if name == "put_record":
        return Number(answer)
    return sorted(answer, key=repr) if name in ("runners", "overdue") else answer


@dataclass
class Number:
    """Of a record. They are told apart by when they appear, for PostgreSQL leaves some numbers out."""

    number: int


def plain(answer: Any, numbers: dict[int, int]) -> Any:
    """An answer that can be compared."""
    if isinstance(answer, dict):
        return {key: plain(value, numbers) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [plain(item, numbers) for item in answer]
    if isinstance(answer, Number):
        return numbers.setdefault(answer.number, len(numbers))
    if isinstance(answer, Record):
        return msgspec.structs.replace(answer, id=numbers.setdefault(answer.id, len(numbers)))
    if isinstance(answer, KillSwitchState) or answer is None:
        return answer
    return type(answer), answer


def said(ask: Callable[[], Any]) -> Any:
    """What comes of it, be it an error."""
    try:
        return ask()
    except (AscendError, ZeroDivisionError, UnicodeEncodeError) as error:
        return type(error)


@pytest.fixture(scope="module")
def emptied() -> Iterator[str]:
    """A PostgreSQL database that every example finds empty: making one for each would take most of the time."""
    with database() as url:
        yield url


@contextmanager
def twins(url: str) -> Iterator[tuple[SQLiteStore, PostgresStore]]:
    """Two empty stores with one secret."""
    with psycopg.connect(url) as connection:
        for table in ("actions", "runners", "approvals", "kill_switches", "audit", "head", "records"):
            connection.execute(f"DELETE FROM {table}")
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        sqlite = SQLiteStore(Path(folder) / "a.db", durability="process", clock=lambda: NOW)
        postgres = PostgresStore(url, secret=sqlite.secret, clock=lambda: NOW)
        try:
            yield sqlite, postgres
        finally:
            sqlite.close()
            postgres.close()


def failures(store: AnyStore, group: list[Any]) -> list[Any]:
    """Which works of a group fail, and how."""
    failed: list[Any] = []
    for position, (steps, end) in enumerate(group):
        store.post(
            Work(steps, end),
            "It ended",
            lambda error, position=position: failed.append((position, type(error))),
        )
    store.flush()
    return sorted(failed, key=lambda failure: failure[0])


def played(store: AnyStore, groups: list[list[Any]], questions: list[Any]) -> list[Any]:
    """The answers to all of it."""
    numbers: dict[int, int] = {}
    answers: list[Any] = []
    for group in groups:
        if len(group) == 1:
            work = Work(*group[0])
            answers.append(plain(said(lambda work=work: store.write(work)), numbers))
            continue
        answers.append(failures(store, group))
    everything: list[Any] = [
        ("every_action", (), {}),
        ("audit", (), {}),
        ("head", (), {}),
        ("runners", (), {}),
    ]
    for name, values, named in questions + everything:

        def ask(reader: Reader, name: str = name, values: Any = values, named: Any = named) -> Any:
            return plain(asked(reader, name, values, named), numbers)

        answers.append((name, said(lambda ask=ask: store.read(ask))))
        answers.append((name, said(lambda ask=ask: store.snapshot(ask))))
    return answers


@settings(phases=UNSHRUNK)
@given(
    groups=st.lists(
        st.one_of(st.tuples(WORKS).map(list), st.lists(WORKS, min_size=2, max_size=4)), max_size=6
    ),
    questions=st.lists(QUESTIONS, max_size=6),
)
def test_both_databases_answer_alike(emptied: str, groups: list[list[Any]], questions: list[Any]) -> None:
    """Whatever is written, in whatever groups, with whatever ends: answers, errors, trail and seal are the same."""
    with twins(emptied) as (sqlite, postgres):
        assert played(postgres, groups, questions) == played(sqlite, groups, questions)


@settings(phases=UNSHRUNK)
@given(st.lists(NASTY, min_size=1, max_size=6))
def test_texts_come_back_as_they_went_in_and_in_the_same_order(emptied: str, names: list[str]) -> None:
    """NUL included; what cannot be encoded is refused by both."""
    with twins(emptied) as stores:
        heard = []
        for store in stores:
            for name in names:

                def work(tx: Transaction, name: str = name) -> None:
                    number = tx.insert_action(row(agent_id=name, reason=name, session_id=name))
                    tx.approve(number, name, name)
                    tx.approve(1, name, None)
                    tx.kill("local", name, name, name)
                    tx.put_record(name, "agent", name, b"{}")

                said(lambda work=work: store.write(work))  # noqa: B023
            heard.append(
                store.read(
                    lambda reader: (
                        list(reader.every_action()),
                        reader.approvals(1),
                        {name: reader.kill_switches("local").get(name) for name in names},
                        [said(lambda name=name: len(reader.records(name, "agent"))) for name in names],
                    )
                )
            )
        assert heard[0] == heard[1]
