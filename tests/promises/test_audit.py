"""Promise 10: any change of any table is found by replaying the log, and any change of an export by its checkpoint."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from independent_replay import differences
from recorded import length
from support import POLICY

from ascend_guard import ActionPendingError, EmbeddedControlPlane, StoreError, ValidationError, governed
from ascend_guard.engine import keys
from ascend_guard.engine.audit import verify, verify_export
from ascend_guard.engine.policy import parse_policy
from ascend_guard.engine.registry.agents import AGENTS, Agent
from ascend_guard.store import writer
from ascend_guard.store.log import leaf, link
from ascend_guard.store.projections import LOCAL
from ascend_guard.store.sqlite.queries import SQLiteReader
from ascend_guard.store.sqlite.store import SQLiteStore

CALLS = 6
LOCAL_LOG = 1 << 40
"""The key before the first record of the organization ``local``."""

TWO = (
    POLICY
    + """
  - {name: two, actions: [two], effect: require_approval, quorum: 2, timeout: 30m}
"""
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database in which everything has happened that makes a row, for two organizations."""
    folder = tmp_path_factory.mktemp("trail")
    plane = opened(folder)

    @governed("refund", control_plane=plane)
    def refund(amount: float, note: str) -> None:
        if amount == 2:
            raise ValueError("no")

    for index in range(CALLS):
        try:
            refund(index, f"note {index}")
        except ValueError:
            pass
    _people(plane)
    plane.kill(reason="drill", by="ann")
    plane.release(reason="over", by="ann")
    plane.kill(reason="fire", by="ann", agent_id="other")
    plane.store.write(lambda tx: keys.make_organization(tx, "acme", "pro", "ann"))
    for organization in ("local", "acme"):
        plane.store.write(
            lambda tx, name=organization: (  # type: ignore[misc]
                keys.make_key(tx, name, agent_id=None, role="admin", by="ann"),
                AGENTS.register(tx, name, "shopper", Agent("Shopper"), "ann"),
            )
        )
    theirs = EmbeddedControlPlane(plane.store, parse_policy(TWO), organization="acme")

    @governed("refund", control_plane=theirs)
    def their_refund(amount: float) -> None: ...

    their_refund(1)
    plane.close()
    return folder


def _people(plane: EmbeddedControlPlane) -> None:
    """Three calls that people decide: approved with an edit, approved by one of two, denied."""

    @governed("two", control_plane=plane, on_pending="raise")
    def two(amount: float) -> None: ...

    for amount in (1, 2, 3):
        with pytest.raises(ActionPendingError):
            two(amount)
    waiting = [row.id for row in plane.pending()][::-1]
    plane.approve(str(waiting[0]), approver="bob", comment="fine")
    plane.approve(str(waiting[0]), approver="ann", arguments={"amount": 7})
    plane.approve(str(waiting[0]), approver="cleo")
    plane.approve(str(waiting[1]), approver="ann")
    plane.deny(str(waiting[2]), approver="ann", comment="no")


def opened(folder: Path) -> EmbeddedControlPlane:
    """A control plane on this folder's database."""
    return EmbeddedControlPlane(SQLiteStore(folder / "a.db"), parse_policy(TWO))


def key_of(folder: Path) -> bytes:
    """The store's secret."""
    return bytes.fromhex((folder / "a.db.key").read_text().strip())


@pytest.fixture
def copies(original: Path, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes fresh copies of the database."""
    count = iter(range(100_000))

    def copy() -> Path:
        return Path(shutil.copytree(original, tmp_path / str(next(count))))

    yield copy


def vandalise(folder: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    """What somebody with a database browser could do."""
    connection = sqlite3.connect(folder / "a.db")
    with connection:
        for sql, values in statements:
            assert connection.execute(sql, values).rowcount > 0, sql
    connection.close()


def found(folder: Path) -> bool:
    """Whether the tampering is noticed: at opening, or by the verifier."""
    try:
        plane = opened(folder)
    except StoreError:
        return True
    try:
        return not plane.verify_audit().ok
    finally:
        plane.close()


def test_an_untouched_log_verifies(copies: Callable[[], Path]) -> None:
    """The verifier does not cry wolf, and the independent replayer agrees."""
    folder = copies()
    assert differences(folder / "a.db", key_of(folder)) == []
    assert not found(folder)


# --- tables ----------------------------------------------------------------------------------------------------------------


class Database:
    """An open copy in which one thing is changed, verified, and changed back."""

    def __init__(self, folder: Path) -> None:
        self.key = key_of(folder)
        self.connection = sqlite3.connect(folder / "a.db", isolation_level=None)

    def tables(self) -> list[str]:
        """All tables, as the schema has them."""
        found = self.connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        return sorted(name for (name,) in found if not name.startswith("sqlite_"))

    def columns(self, table: str) -> list[str]:
        """The columns of a table."""
        return [row[1] for row in self.connection.execute(f"PRAGMA table_info({table})")]

    def unseen(self, sql: str, *values: Any) -> bool:
        """Whether this change, which must do something, is not found."""
        self.connection.execute("BEGIN")
        try:
            changed = self.connection.execute(sql, values).rowcount
            assert changed > 0, (sql, values)
            return verify(SQLiteReader(self.connection), self.key).ok
        finally:
            self.connection.execute("ROLLBACK")


@pytest.fixture
def database(copies: Callable[[], Path]) -> Iterator[Database]:
    """A copy to change."""
    database = Database(copies())
    with closing(database.connection):
        yield database


def _others(value: Any) -> list[Any]:
    """Other values for a column that has this one."""
    if value is None:
        return ["zzz", 1]
    if isinstance(value, bytes):
        return [bytes([value[0] ^ 1]) + value[1:], value[:-1], value + b"0", b""]
    if isinstance(value, str):
        return [value + "x", value.upper() if value.upper() != value else value.lower() + "y", ""][
            : 3 if value else 1
        ]
    far = value + 1e-6 if isinstance(value, float) else value ^ 3 << 40
    return [value + 1, far, -value - 1, value + 1000]


def test_every_changed_value_is_found(database: Database) -> None:
    """Of every column of every row of every table that is computed from the log, or is the log."""
    counted = 0
    for table in database.tables():
        if table in LOCAL:
            continue
        columns = database.columns(table)
        rows = database.connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
        assert rows, f"nothing has made a row of {table}"
        chosen = rows if table != "log" else rows[::4]
        for row in chosen:
            where = " AND ".join(f"{column} IS ?" for column in columns)
            for column, value in zip(columns, row, strict=True):
                for other in _others(value)[: 2 if len(chosen) > 8 else 4]:
                    try:
                        seen = not database.unseen(
                            f"UPDATE {table} SET {column}=? WHERE {where}", other, *row
                        )
                    except (sqlite3.IntegrityError, sqlite3.OperationalError):
                        continue  # the table does not take it
                    assert seen, (table, column, value, other)
                    counted += 1
    assert counted > 800, counted


def test_values_that_change_places_are_found(database: Database) -> None:
    """Two rows of a table exchange the values of a column."""
    counted = 0
    for table in ("actions", "approvals", "things", "heads", "log"):
        columns = database.columns(table)
        rows = database.connection.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid").fetchall()
        for one, other in pairwise(rows):
            for place, column in enumerate(columns, 1):
                if one[place] == other[place]:
                    continue
                swapped = (
                    f"UPDATE {table} SET {column}=CASE rowid WHEN ? THEN ? ELSE ? END WHERE rowid IN (?, ?)"
                )
                try:
                    seen = not database.unseen(swapped, one[0], other[place], one[place], one[0], other[0])
                except sqlite3.IntegrityError:
                    continue
                assert seen, (table, column, one[0])
                counted += 1
    assert counted > 200, counted


def test_every_removed_row_is_found(database: Database) -> None:
    """Of every table."""
    counted = 0
    for table in database.tables():
        if table in LOCAL:
            continue
        columns = database.columns(table)
        where = " AND ".join(f"{column} IS ?" for column in columns)
        for row in database.connection.execute(f"SELECT * FROM {table}").fetchall():
            assert not database.unseen(f"DELETE FROM {table} WHERE {where}", *row), (table, row)
            counted += 1
    assert counted > 40, counted


_KEYS = {
    "log": "key",
    "actions": "key",
    "heads": "number",
    "approvals": None,
    "kill_switches": "agent_id",
    "things": "name",
}


@pytest.mark.parametrize("table", sorted(_KEYS))
def test_every_copied_row_is_found(database: Database, table: str) -> None:
    """A row appears a second time, beside the first one, far from it, and in the place of no organization."""
    columns, key = database.columns(table), _KEYS[table]
    counted = 0
    for row in database.connection.execute(f"SELECT * FROM {table}").fetchall():
        named = dict(zip(columns, row, strict=True))
        for new in (0, -1, -LOCAL_LOG - 1, LOCAL_LOG, 2 * LOCAL_LOG - 1, 99, 77 * LOCAL_LOG + 5, "copy", ""):
            values = named if key is None else named | {key: new}
            if table == "heads":
                values["organization"] = f"copy {new}"
            if (key in ("key", "number")) is isinstance(new, str) or (values == named and key is not None):
                continue
            sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
            try:
                unseen = database.unseen(sql, *values.values())
            except sqlite3.IntegrityError:
                continue
            assert not unseen, (table, new)
            counted += 1
    assert counted > 1


def test_a_forged_approval_is_found(database: Database) -> None:
    """Of a person who was never asked, for an action that waits for its second approval."""
    (action,) = database.connection.execute("SELECT max(action) FROM approvals").fetchone()
    sql = "INSERT INTO approvals (action, approver, at) VALUES (?, 'bob', 1.0)"
    assert not database.unseen(sql, action)


def test_a_removed_organization_is_found(copies: Callable[[], Path]) -> None:
    """Its log, its head and all its rows together: the system's log knows that it existed."""
    folder = copies()
    with closing(sqlite3.connect(folder / "a.db", isolation_level=None)) as connection:
        (number,) = connection.execute("SELECT number FROM heads WHERE organization='acme'").fetchone()
        for table, key in (("log", "key"), ("actions", "key"), ("approvals", "action")):
            connection.execute(f"DELETE FROM {table} WHERE {key}>>40=?", (number,))
        for table in ("things", "kill_switches", "heads"):
            connection.execute(f"DELETE FROM {table} WHERE organization='acme'")
    plane = opened(folder)
    problems = plane.verify_audit().problems
    plane.close()
    assert [problem.organization for problem in problems] == ["acme"]


def test_tables_are_verified_or_said_to_be_local(database: Database) -> None:
    """A new table is in neither list until somebody decides."""
    verified = {"actions", "approvals", "heads", "kill_switches", "log", "things"}
    assert set(database.tables()) == verified | set(LOCAL) - {"writing"}


# --- the log -------------------------------------------------------------------------------------------------------------


@given(seq=st.integers(1, 2 * CALLS), offset=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_one_edited_byte_is_found(copies: Callable[[], Path], seq: int, offset: int, flip: int) -> None:
    """Any single byte of any record's body."""
    folder = copies()
    connection = sqlite3.connect(folder / "a.db")
    body = bytearray(connection.execute("SELECT body FROM log WHERE key=?", (LOCAL_LOG + seq,)).fetchone()[0])
    connection.close()
    body[offset % len(body)] ^= flip
    vandalise(folder, ("UPDATE log SET body=? WHERE key=?", (bytes(body), LOCAL_LOG + seq)))
    assert found(folder)


@given(first=st.integers(1, 2 * CALLS), length=st.integers(1, 30))
def test_removed_records_are_found_also_from_the_tail(
    copies: Callable[[], Path], first: int, length: int
) -> None:
    """Any run of records, wherever it is."""
    folder = copies()
    span = LOCAL_LOG + first, LOCAL_LOG + first + length
    vandalise(folder, ("DELETE FROM log WHERE key>=? AND key<?", span))
    assert found(folder)


@given(keep=st.integers(0, 2 * CALLS))
def test_a_cut_tail_is_found_when_the_head_was_moved_too(copies: Callable[[], Path], keep: int) -> None:
    """The hash of the shorter chain can be computed, its seal cannot."""
    folder = copies()
    connection = sqlite3.connect(folder / "a.db")
    last = bytes(32)
    for (one,) in connection.execute(
        "SELECT leaf FROM log WHERE key>? AND key<=? ORDER BY key", (LOCAL_LOG, LOCAL_LOG + keep)
    ):
        last = link(last, one)
    connection.close()
    vandalise(
        folder,
        ("DELETE FROM log WHERE key>? AND key<?", (LOCAL_LOG + keep, 2 * LOCAL_LOG)),
        ("UPDATE heads SET seq=?, hash=? WHERE organization='local'", (keep, last)),
    )
    assert found(folder)


@given(a=st.integers(1, 2 * CALLS), b=st.integers(1, 2 * CALLS))
def test_swapped_records_are_found(copies: Callable[[], Path], a: int, b: int) -> None:
    """Two records change places."""
    folder = copies()
    if a == b:
        return
    vandalise(
        folder,
        ("UPDATE log SET key=-1 WHERE key=?", (LOCAL_LOG + a,)),
        ("UPDATE log SET key=? WHERE key=?", (LOCAL_LOG + a, LOCAL_LOG + b)),
        ("UPDATE log SET key=? WHERE key=-1", (LOCAL_LOG + b,)),
    )
    assert found(folder)


def test_no_call_is_governed_over_a_log_that_was_cut(
    copies: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running process notices at its next transaction that the head is not one that the key holder wrote."""
    monkeypatch.setattr(writer, "PARTING", 0.3)  # closing tries as long to record the first call's outcome
    folder = copies()
    plane = opened(folder)
    ran: list[int] = []

    @governed("refund", control_plane=plane)
    def refund(amount: float) -> None:
        ran.append(1)

    refund(1)
    vandalise(
        folder,
        ("DELETE FROM log WHERE key>? AND key<?", (LOCAL_LOG + 5, 2 * LOCAL_LOG)),
        ("UPDATE heads SET seq=5 WHERE organization='local'", ()),
    )
    with pytest.raises(StoreError, match="audit verify"):
        refund(1)
    assert ran == [1]
    plane.close()


def test_a_record_that_was_edited_before_its_row_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is made of it, a reader gets an error that says so, and nothing counts as written that is not."""
    monkeypatch.setattr(SQLiteStore, "_catch_up", lambda store: None)  # the background thread is late
    plane = opened(tmp_path)

    @governed("refund", control_plane=plane)
    def refund(amount: float) -> None: ...

    refund(1)
    plane.store.flush()  # type: ignore[attr-defined]
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        ends = "SELECT seq, projected FROM heads WHERE organization='local'"
        assert connection.execute(ends).fetchone() == (2, 0)
        connection.execute("UPDATE log SET body=? WHERE key=?", (b"{}", LOCAL_LOG + 1))
        for _ in range(2):
            with pytest.raises(StoreError, match="cannot be read"):
                plane.pending()
        assert connection.execute(ends).fetchone() == (2, 0)
        assert connection.execute("SELECT count(*) FROM actions").fetchone() == (0,)
    assert {problem.seq for problem in plane.verify_audit().problems} == {1}
    plane.close()


@pytest.mark.parametrize("which", ["organization='local'", "organization=''", "organization='acme'", "1=1"])
@pytest.mark.parametrize("running", [True, False], ids=["while a process runs", "before it starts"])
def test_a_log_whose_end_was_deleted_is_not_begun_again(
    copies: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, which: str, running: bool
) -> None:
    """No call of its organization runs, and no record of it is lost."""
    monkeypatch.setattr(writer, "PARTING", 0.3)
    folder, ran = copies(), list[int]()
    organization = "acme" if "acme" in which else "local"
    delete = (f"DELETE FROM heads WHERE {which}", ())
    if not running:
        vandalise(folder, delete)
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        was = connection.execute("SELECT key, body FROM log ORDER BY key").fetchall()
    try:
        plane = EmbeddedControlPlane(
            SQLiteStore(folder / "a.db"), parse_policy(TWO), organization=organization
        )
    except StoreError:
        assert not running
        return
    if running:
        vandalise(folder, delete)

    @governed("refund", control_plane=plane)
    def refund(amount: float) -> None:
        ran.append(1)

    if which != "organization=''":  # the system's own is written for a new organization only
        with pytest.raises(StoreError, match="audit verify"):
            refund(1)
        assert ran == []
    assert not plane.verify_audit().ok
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        found = connection.execute("SELECT key, body FROM log ORDER BY key").fetchall()
    assert set(was) <= set(found)


# --- exports -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(original: Path) -> bytes:
    """The whole trail as a file."""
    plane = opened(original)
    out = io.BytesIO()
    plane.export_audit(out)
    plane.close()
    return out.getvalue()


def export_ok(data: bytes, public_key: str | None = None) -> bool:
    """Whether the offline verifier is content."""
    try:
        return verify_export(io.BytesIO(data), public_key).ok
    except ValidationError:
        return False


def test_an_untouched_export_verifies_and_names_its_signer(exported: bytes, original: Path) -> None:
    """Also when the key it must be signed with is given."""
    report = verify_export(io.BytesIO(exported))
    assert report.ok
    plane = opened(original)
    assert report.records == plane.read(length)
    plane.close()
    assert export_ok(exported, report.signed_by)
    assert not export_ok(exported, "00" * 32)


@given(offset=st.integers(0, 1_000_000), flip=st.integers(1, 255))
def test_one_edited_byte_of_an_export_is_found(exported: bytes, offset: int, flip: int) -> None:
    """Anywhere in the file, line ends aside."""
    data = bytearray(exported)
    place = offset % len(data)
    if data[place] in b"\r\n" or data[place] ^ flip in b"\r\n":
        return
    data[place] ^= flip
    assert not export_ok(bytes(data))


@given(data=st.data())
def test_removed_repeated_or_swapped_lines_of_an_export_are_found(
    exported: bytes, data: st.DataObject
) -> None:
    """Lines cut from the tail included."""
    lines = exported.splitlines(keepends=True)
    a = data.draw(st.integers(0, len(lines) - 1))
    b = data.draw(st.integers(0, len(lines) - 1).filter(lambda b: b != a))
    kind = data.draw(st.sampled_from(["remove", "swap", "repeat", "cut", "cut before the checkpoint"]))
    if kind == "remove":
        del lines[a]
    elif kind == "swap":
        lines[a], lines[b] = lines[b], lines[a]
    elif kind == "repeat":
        lines.insert(b, lines[a])
    elif kind == "cut":
        del lines[min(a, b) :]
    else:
        lines = [*lines[: min(a, b)], lines[-1]]
    assert not export_ok(b"".join(lines))


@given(st.binary(max_size=300))
def test_a_file_that_is_no_export_is_refused_clearly(data: bytes) -> None:
    """Never a traceback of something else, and never 'verified'."""
    assert not export_ok(data)


def test_a_rewritten_log_is_not_signed(copies: Callable[[], Path]) -> None:
    """The chain has no key: somebody may recompute it. The head's seal does, and an export is signed only if it fits."""
    folder = copies()
    plane = opened(folder)
    rewritten: list[tuple[str, tuple[object, ...]]] = []
    last = bytes(32)
    for row in plane.read(lambda reader: list(reader.log("local"))):
        body = row.body.replace(b'"amount":3', b'"amount":9')
        new = leaf(row.salt, body)
        last = link(last, new)
        rewritten.append(("UPDATE log SET body=?, leaf=? WHERE key=?", (body, new, LOCAL_LOG + row.seq)))
    vandalise(folder, *rewritten, ("UPDATE heads SET hash=? WHERE organization='local'", (last,)))
    out = io.BytesIO()
    with pytest.raises(StoreError, match="does not verify"):
        plane.export_audit(out)
    assert not export_ok(out.getvalue())
    assert not plane.verify_audit().ok
    plane.close()
