"""A full disk: calls are blocked, what was recorded stays, and when there is space again, work goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from newcomer_scripts import is_blocked, run, trail

UNLIMITED = "resource.RLIM_INFINITY"


@pytest.mark.parametrize("size", [0, 3 * 4096, 10 * 4096], ids=str)
def test_full_before_the_first_call(size: int, tmp_path: Path) -> None:
    """Nothing runs; the same process begins as soon as there is space."""
    said = run(
        tmp_path,
        f"""
os.environ["ASCEND_POLICY"] = str(policy)
limit_files({size})
attempt("blocked"); attempt("blocked")
limit_files({UNLIMITED})
attempt("runs")
""",
    )
    for answer in said[:2]:
        assert is_blocked(answer, "StoreError", "space")
    assert said[2]["ran"], said[2]
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"]
    assert (tmp_path / ".ascend" / ".gitignore").read_text() == "*\n"


def test_full_in_the_middle_of_work(tmp_path: Path) -> None:
    """Blocked with what was recorded intact; then the same process goes on in the same trail."""
    said = run(
        tmp_path,
        f"""
plane = configure()
attempt("runs"); attempt("runs"); recorded()
limit_files(os.path.getsize(f"{{database}}-wal") + 3000)
for _ in range(5):
    attempt("blocked")
said.append(plane.verify_audit().ok)
limit_files({UNLIMITED})
attempt("runs"); attempt("runs")
said.append(plane.verify_audit().ok)
""",
    )
    assert all(answer["ran"] for answer in said[:2])
    assert all(is_blocked(answer, "StoreError", "space") for answer in said[2:7])
    assert said[7] is True
    assert all(answer["ran"] for answer in said[8:10])
    assert said[10] is True
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"] * 4


def test_full_while_a_tool_runs(tmp_path: Path) -> None:
    """The tool has acted: its result is handed over, and its outcome is recorded once there is room again."""
    said = run(
        tmp_path,
        f"""
@governed("fill")
def fill():
    limit_files(os.path.getsize(f"{{database}}-wal") + 100)
    return "acted"

plane = configure()
said.append(fill())
attempt("blocked")
limit_files({UNLIMITED})
attempt("runs")
plane.close()
""",
    )
    assert said[0] == "acted"
    assert is_blocked(said[1], "StoreError", "space")
    assert said[2]["ran"]
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed", "completed"]


def test_a_key_that_did_not_fit(tmp_path: Path) -> None:
    """A key cut short by a full disk is never taken for a key."""
    said = run(
        tmp_path,
        f"""
configure().close()
held = sqlite3.connect(database, isolation_level=None)  # keeps SQLite's own files from growing again
held.execute("DELETE FROM heads"); held.execute("DELETE FROM runners")
os.unlink(f"{{database}}.key")
held.execute("SELECT * FROM heads").fetchall()
limit_files(0)
try_configure()
limit_files({UNLIMITED})
plane = try_configure()
said.append(len(plane.store.secret) if plane else 32)
""",
    )
    assert is_blocked(said[0], "StoreError", "space")
    assert said[2] == 32
