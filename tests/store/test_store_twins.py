"""The same works, put to SQLite and to PostgreSQL, are answered alike, and leave the same trail."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from postgres_server import database
from recorded import change, settle
from simulation import ROOT
from store_kinds import NOW, AnyStore, approve, insert

from ascend_guard.engine.audit import verify
from ascend_guard.errors import AscendError, ConflictError
from ascend_guard.model import KillSwitchState
from ascend_guard.store.log import SALT, Salts
from ascend_guard.store.port import Reader, Record, Transaction, switch_on
from ascend_guard.store.postgres.store import PostgresStore
from ascend_guard.store.projections import Drop, thing
from ascend_guard.store.queries import is_bookkeeping
from ascend_guard.store.sqlite.store import SQLiteStore

NASTY = st.text(
    st.one_of(st.sampled_from("\0\1\2'\"\\%s?${},NUL"), st.characters(exclude_categories=())), max_size=8
)
PLAIN = st.sampled_from(["local", "a", "b", "acme", ""])
NAMES = st.one_of(*[PLAIN] * 7, NASTY)
"""A name that cannot be encoded ends its whole work, so there are few of them."""

WORDS = st.one_of(st.none(), NAMES)
IDS = st.one_of(st.integers(1, 8), st.sampled_from([0, -1, 10**6, 2**63 - 1, -(2**63)]))
TIMES = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([NOW - 1, NOW, NOW + 1]))
THINGS = st.sampled_from(["agent", "key"])
BOOKKEEPING = st.sampled_from(["cursor", "delivery:1"])
KINDS = THINGS | BOOKKEEPING
ORGANIZATIONS = st.one_of(*[st.sampled_from(["local", "local", "a", "acme"])] * 7, NAMES)
EVENTS = st.sampled_from(["noted", "started", "approved", "denied"])
OUTCOMES = st.sampled_from(["completed", "failed", "handed_over", "unknown"])
STATUSES = st.sampled_from(["approved", "approved", "pending", "denied"])
SOUGHT = st.none() | STATUSES | st.sampled_from(["pending_approval", "auto_approved", "executed"])
LIMITS = st.sampled_from([0, 1, 3, 50])
BODIES = st.binary(max_size=20)
FINITE = st.floats(0, 1e9)


def op(name: str, *values: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A call of one of the port's methods."""
    return st.tuples(st.just(name), st.tuples(*values), st.fixed_dictionaries(named))


def change_action(tx: Transaction, organization: str, action_id: int, **columns: Any) -> bool:
    """Give an action columns, if it exists: the engine looks before it changes."""
    exists = tx.action(organization, action_id) is not None
    if exists:
        change(tx, action_id, organization, **columns)
    return exists


def approve_action(tx: Transaction, organization: str, action_id: int, who: str, comment: str | None) -> bool:
    """Record an approval of an action, if it exists."""
    exists = tx.action(organization, action_id) is not None
    if exists:
        approve(tx, action_id, who, comment, organization)
    return exists


def forget_approvals(tx: Transaction, organization: str, action_id: int) -> bool:
    """Record that an action's approvals were for other arguments, if it exists."""
    exists = tx.action(organization, action_id) is not None
    if exists:
        tx.record("reopened", organization=organization, actor="me", action_id=action_id, cleared=True)
    return exists


def put(tx: Transaction, organization: str, kind: str, name: str, value: Any, due_at: float | None) -> None:
    """Register something."""
    tx.record("put", organization=organization, actor="me", put=[thing(kind, name, value, due_at=due_at)])


def drop(tx: Transaction, organization: str, kind: str, name: str) -> None:
    """Remove it."""
    tx.record("dropped", organization=organization, actor="me", drop=[Drop(kind, name)])


def switch_off(tx: Transaction, organization: str, agent_id: str) -> bool:
    """Turn a kill switch off, if it is on."""
    on = tx.revive(organization, agent_id)
    if on:
        tx.record("kill_switch.off", organization=organization, actor="me", agent_id=agent_id or None)
    return on


def everything(reader: Reader) -> dict[str, Any]:
    """All that the log says, and all that was computed from it."""
    return {
        head.organization: (
            head,
            list(reader.log(head.organization)),
            list(reader.every_action(head.organization)),
            sorted(reader.every_thing(head.organization), key=repr),
            sorted(reader.switch_rows(head.organization)),
            reader.tally(head.organization),
        )
        for head in reader.heads()
    }


WAYS: dict[str, Callable[..., Any]] = {
    way.__name__: way
    for way in (
        *(approve_action, change_action, drop, everything, forget_approvals, insert),
        *(put, settle, switch_off, switch_on),
    )
}
"""What is not one method of the port."""

TIE = 50
"""More than there ever are: what is due at the same moment has no order."""

QUESTIONS = st.one_of(
    op("action", NAMES, IDS),
    op("actions", NAMES, status=SOUGHT, agent_id=WORDS, session_id=WORDS,
       before=st.one_of(st.none(), IDS), limit=LIMITS, offset=LIMITS),
    op("every_action", NAMES),
    op("count_actions", NAMES, status=SOUGHT, agent_id=WORDS),
    op("repeatable", NAMES, st.sampled_from(["f", "g"])),
    op("overdue", FINITE | st.just(NOW)),
    op("last_action", NAMES),
    op("next_deadline"),
    op("runners"),
    op("running", st.sampled_from(["me", "you"])),
    op("approvals", NAMES, IDS),
    op("kill_switches", NAMES),
    op("switch_rows", NAMES),
    op("trail", NAMES, IDS),
    op("log", NAMES, IDS),
    op("log_page", NAMES, limit=LIMITS, offset=LIMITS),
    op("log_record", NAMES, IDS),
    op("count_log", NAMES),
    op("events_since", NAMES, IDS, limit=LIMITS),
    op("head", NAMES),
    op("heads"),
    op("tally", NAMES),
    op("strays"),
    op("seen", NAMES),
    op("record_of", NAMES, KINDS, NAMES),
    op("record_number", NAMES, THINGS, IDS),
    op("find_record", KINDS, NAMES),
    op("records", NAMES, KINDS, limit=LIMITS, offset=LIMITS),
    op("count_records", NAMES, KINDS),
    op("every_thing", NAMES),
    op("due_records", BOOKKEEPING, st.just(NOW) | FINITE, limit=LIMITS),
    op("due_records", THINGS, st.just(NOW) | FINITE, limit=st.just(TIE)),
)  # fmt: skip
ACTION = op(
    "insert",
    organization=ORGANIZATIONS,
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
    runner=st.sampled_from(["me", "you"]),
    claimed_at=st.sampled_from([None, NOW, NOW]),
)
FEW = st.sampled_from([1, 1, 1, 2, 2, 3])
CHANGES = st.one_of(
    *[ACTION] * 12,
    op("settle", st.sampled_from(["local", "a"]), IDS, OUTCOMES, FINITE, WORDS),
    op("settle", st.just("local"), FEW, OUTCOMES, FINITE, st.none()),
    op("change_action", ORGANIZATIONS, FEW, status=STATUSES, reason=NAMES, expires_at=TIMES),
    op("change_action", ORGANIZATIONS, FEW, status=STATUSES, decided_by=st.sampled_from([None, "", "ann"])),
    op("change_action", ORGANIZATIONS, FEW, waiter=WORDS, quorum=st.one_of(st.none(), st.integers(1, 3))),
    op("add_runner", NAMES, ORGANIZATIONS, st.integers(1, 9)),
    op("remove_runner", NAMES),
    op("see_runner", NAMES, ORGANIZATIONS),
    *[op("put", ORGANIZATIONS, THINGS, NAMES, NAMES, TIMES)] * 2,
    op("drop", ORGANIZATIONS, THINGS, NAMES),
    op("put_record", ORGANIZATIONS, BOOKKEEPING, NAMES, BODIES, due_at=TIMES),
    op("remove_record", ORGANIZATIONS, BOOKKEEPING, NAMES),
    op("approve_action", ORGANIZATIONS, FEW, NAMES, WORDS),
    op("forget_approvals", ORGANIZATIONS, FEW),
    op("switch_on", ORGANIZATIONS, NAMES, NAMES, NAMES),
    op("switch_off", ORGANIZATIONS, NAMES),
    op("record", EVENTS, organization=ORGANIZATIONS, actor=NAMES, action_id=st.one_of(st.none(), FEW), detail=NAMES),
    op("next_seq", ORGANIZATIONS),
    op("next_action", ORGANIZATIONS),
)  # fmt: skip
WORKS = st.tuples(
    st.lists(st.one_of(CHANGES, CHANGES, QUESTIONS), min_size=2, max_size=8),
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
    way = WAYS.get(name)
    answer = getattr(reader, name)(*values, **named) if way is None else way(reader, *values, **named)
    if isinstance(answer, Iterator):
        answer = list(answer)
    if name == "find_record":  # several organizations may have one of this name
        return None if answer is None else (answer.kind, answer.name)
    unordered = ("runners", "overdue", "every_thing", "switch_rows")
    if name in unordered or (name == "due_records" and named["limit"] == TIE):
        return sorted(answer, key=repr)
    return answer


def plain(answer: Any, numbers: dict[int, int]) -> Any:
    """An answer that can be compared."""
    if isinstance(answer, dict):
        return {key: plain(value, numbers) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [plain(item, numbers) for item in answer]
    if isinstance(answer, Record) and is_bookkeeping(answer.kind):  # PostgreSQL leaves some numbers out
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


@pytest.fixture(autouse=True)
def same_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Salt is random, so no two logs have the same hashes; here it is always the same."""
    monkeypatch.setattr(Salts, "__call__", lambda salts: bytes(SALT))


@pytest.fixture(scope="module")
def emptied() -> Iterator[str]:
    """A PostgreSQL database that every example finds empty: making one for each would take most of the time."""
    with database() as url:
        yield url


@contextmanager
def twins(url: str) -> Iterator[tuple[SQLiteStore, PostgresStore]]:
    """Two empty stores with one secret."""
    with psycopg.connect(url) as connection:
        for table in (
            "heads",
            "log",
            "actions",
            "approvals",
            "kill_switches",
            "things",
            "bookkeeping",
            "runners",
        ):
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
    for name, values, named in [
        *questions,
        *((name, (), {}) for name in ("everything", "runners", "strays")),
    ]:

        def ask(reader: Reader, name: str = name, values: Any = values, named: Any = named) -> Any:
            return plain(asked(reader, name, values, named), numbers)

        answers.append((name, said(lambda ask=ask: store.read(ask))))
        answers.append((name, said(lambda ask=ask: store.snapshot(ask))))
    report = store.snapshot(lambda reader: verify(reader, store.secret))
    assert report.ok, report.problems
    return [*answers, report]


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
    """NUL included; what cannot be encoded is refused by both, and leaves nothing behind."""
    with twins(emptied) as stores:
        heard = []
        for store in stores:
            for name in names:

                def work(tx: Transaction, name: str = name) -> None:
                    number = insert(tx, agent_id=name, reason=name, session_id=name)
                    approve(tx, number, name, name)
                    approve(tx, 1, name, None)
                    switch_on(tx, "local", name, name, name)
                    put(tx, name, "agent", name, name, None)

                said(lambda work=work: store.write(work))  # noqa: B023
            heard.append(
                store.read(
                    lambda reader: (
                        everything(reader),
                        reader.approvals("local", 1),
                        {name: reader.kill_switches("local").get(name) for name in names},
                        [said(lambda name=name: len(reader.records(name, "agent"))) for name in names],
                    )
                )
            )
        assert heard[0] == heard[1]
        for store in stores:
            assert store.snapshot(lambda reader, store=store: verify(reader, store.secret)).ok
