"""Promise 10: any record edited, removed, reordered, or cut from the tail is found, in the database and in an export."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import POLICY

from ascend_guard import EmbeddedControlPlane, StoreError, ValidationError, governed
from ascend_guard.engine.audit import verify_export
from ascend_guard.engine.policy import parse_policy
from ascend_guard.store import writer
from ascend_guard.store.chain import link
from ascend_guard.store.sqlite.store import SQLiteStore

CALLS = 6
COPIED = (
    "organization, status, agent_id, agent_name, action_type, tool_name, resource, risk_score, risk_level, reason, "
    "depth, digest, created_at, submitted_seq"
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database that has seen some calls."""
    folder = tmp_path_factory.mktemp("trail")
    plane = opened(folder)

    @governed("refund", control_plane=plane)
    def refund(amount: float, note: str) -> None: ...

    for index in range(CALLS):
        refund(index, f"note {index}")
    plane.kill(reason="drill", by="ann")
    plane.release(reason="over", by="ann")
    plane.close()
    return folder


def opened(folder: Path) -> EmbeddedControlPlane:
    """A control plane on this folder's database."""
    return EmbeddedControlPlane(SQLiteStore(folder / "a.db"), parse_policy(POLICY))


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


def test_an_untouched_trail_verifies(copies: Callable[[], Path]) -> None:
    """The verifier does not cry wolf."""
    assert not found(copies())


@given(seq=st.integers(1, CALLS * 3 + 2), offset=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_one_edited_byte_is_found(copies: Callable[[], Path], seq: int, offset: int, flip: int) -> None:
    """Any single byte of any record's body."""
    folder = copies()
    connection = sqlite3.connect(folder / "a.db")
    body = bytearray(connection.execute("SELECT body FROM audit WHERE seq=?", (seq,)).fetchone()[0])
    connection.close()
    body[offset % len(body)] ^= flip
    vandalise(folder, ("UPDATE audit SET body=? WHERE seq=?", (bytes(body), seq)))
    assert found(folder)


@given(seq=st.integers(1, CALLS * 3 + 2), column=st.sampled_from(["event", "action_id", "hash"]))
def test_edited_columns_are_found(copies: Callable[[], Path], seq: int, column: str) -> None:
    """What is stored beside the body must agree with it."""
    folder = copies()
    vandalise(folder, (f"UPDATE audit SET {column}=? WHERE seq=?", (b"x" if column == "hash" else 77, seq)))
    assert found(folder)


@given(first=st.integers(1, CALLS * 3 + 2), length=st.integers(1, 30))
def test_removed_records_are_found_also_from_the_tail(
    copies: Callable[[], Path], first: int, length: int
) -> None:
    """Any run of records, wherever it is."""
    folder = copies()
    vandalise(folder, ("DELETE FROM audit WHERE seq>=? AND seq<?", (first, first + length)))
    assert found(folder)


@given(keep=st.integers(0, CALLS * 3 + 1))
def test_a_cut_tail_is_found_when_the_head_was_moved_too(copies: Callable[[], Path], keep: int) -> None:
    """Whoever cuts the tail and remedies the head row still lacks the key of its seal."""
    folder = copies()
    connection = sqlite3.connect(folder / "a.db")
    row = connection.execute("SELECT hash FROM audit WHERE seq=?", (keep,)).fetchone()
    connection.close()
    vandalise(
        folder,
        ("DELETE FROM audit WHERE seq>?", (keep,)),
        ("UPDATE head SET seq=?, hash=?", (keep, row[0] if row else bytes(32))),
    )
    assert found(folder)


@given(a=st.integers(1, CALLS * 3 + 2), b=st.integers(1, CALLS * 3 + 2))
def test_swapped_records_are_found(copies: Callable[[], Path], a: int, b: int) -> None:
    """Two records change places."""
    folder = copies()
    if a == b:
        return
    vandalise(
        folder,
        ("UPDATE audit SET seq=-1 WHERE seq=?", (a,)),
        ("UPDATE audit SET seq=? WHERE seq=?", (a, b)),
        ("UPDATE audit SET seq=? WHERE seq=-1", (b,)),
    )
    assert found(folder)


@pytest.mark.parametrize(
    "change",
    ["status='denied'", "outcome='failed'", "outcome=NULL", "claimed_at=NULL", "digest='00'", "id=id+100"],
)
def test_an_edited_action_is_found(copies: Callable[[], Path], change: str) -> None:
    """The table of actions must agree with the trail."""
    folder = copies()
    vandalise(folder, (f"UPDATE actions SET {change} WHERE id=3", ()))
    assert found(folder)


def test_a_removed_or_invented_action_is_found(copies: Callable[[], Path]) -> None:
    """Neither can an action vanish while its trail stays, nor appear without one."""
    for sql in (
        "DELETE FROM actions WHERE id=2",
        f"INSERT INTO actions ({COPIED}) SELECT {COPIED} FROM actions WHERE id=1",
    ):
        folder = copies()
        vandalise(folder, (sql, ()))
        assert found(folder)


def test_no_call_is_governed_over_a_trail_that_was_cut(
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
    vandalise(folder, ("DELETE FROM audit WHERE seq>5", ()), ("UPDATE head SET seq=5", ()))
    with pytest.raises(StoreError, match="audit verify"):
        refund(1)
    assert ran == [1]
    plane.close()


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


def test_an_untouched_export_verifies_and_names_its_signer(exported: bytes) -> None:
    """Also when the key it must be signed with is given."""
    report = verify_export(io.BytesIO(exported))
    assert report.ok
    assert report.records == CALLS * 3 + 2
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


def test_a_rewritten_trail_is_not_signed(copies: Callable[[], Path]) -> None:
    """The chain has no key: somebody may recompute it. The head's seal does, and an export is signed only if it fits."""
    folder = copies()
    plane = opened(folder)
    rewritten, last = [], bytes(32)
    for row in plane.read(lambda reader: list(reader.audit())):
        body = row.body.replace(b'"amount":3', b'"amount":9')
        last = link(last, body)
        rewritten.append(("UPDATE audit SET body=?, hash=? WHERE seq=?", (body, last, row.seq)))
    vandalise(folder, *rewritten, ("UPDATE head SET hash=?", (last,)))
    out = io.BytesIO()
    with pytest.raises(StoreError, match="does not verify"):
        plane.export_audit(out)
    assert not export_ok(out.getvalue())
    assert not plane.verify_audit().ok
    plane.close()
