"""The database is replaced or deleted while calls are made: nothing is recorded into nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from newcomer_scripts import run, trail

MISHAPS = {
    "database deleted": "database.unlink()",
    "database and its side files deleted": "[p.unlink() for p in database.parent.iterdir() if p.is_file()]",
    "folder deleted": "shutil.rmtree(database.parent)",
    "folder moved": "os.rename(database.parent, folder / 'moved')",
    "write-ahead log deleted": "os.unlink(f'{database}-wal')",
    "emptied by replacement": "database.unlink(); database.touch()",
    "replaced by a copy": "shutil.copy(database, folder / 'c'); os.replace(folder / 'c', database)",
    "replaced by another trail": (
        "Settings(policy=policy, database_url=f'sqlite:///{folder}/o/ascend.db').control_plane().close(); "
        "os.replace(folder / 'o/ascend.db', database)"
    ),
}


@pytest.mark.parametrize("mishap", MISHAPS)
def test_the_trail_goes_away(mishap: str, tmp_path: Path) -> None:
    """Whatever ran afterwards is in the trail that a new process finds."""
    said = run(
        tmp_path,
        f"""
plane = configure()
attempt("before"); attempt("before"); recorded()
{MISHAPS[mishap]}
attempt("after"); attempt("after")
os._exit((print(json.dumps(said)), sys.stdout.flush(), 0)[-1])
""",
    )
    after = [answer for answer in said[2:] if answer["ran"]]
    if after:
        assert len(trail(tmp_path / ".ascend" / "ascend.db")) >= len(after) + 2
    for answer in said[2:]:
        assert answer["ran"] or answer["error"] == "StoreError"


def test_a_kill_switch_is_not_missed(tmp_path: Path) -> None:
    """A person who stops every agent after the database was replaced does stop them."""
    said = run(
        tmp_path,
        """
plane = configure()
attempt("before")
shutil.rmtree(database.parent)
person = Settings(policy=policy).control_plane()
person.kill(reason="looks wrong", by="ana")
attempt("after")
""",
    )
    assert said[0]["ran"]
    assert not said[1]["ran"]


def test_damage_while_running(tmp_path: Path) -> None:
    """A database overwritten under a running process: calls are blocked, recorded, or the trail does not verify."""
    said = run(
        tmp_path,
        """
plane = configure()
for _ in range(30):
    note("x" * 300)
recorded()
with sqlite3.connect(database) as connection:
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
connection.close()
ran.clear()
with open(database, "r+b") as file:
    file.write(b"\\xa5" * 8192)
for _ in range(3):
    attempt("after")
os._exit((print(json.dumps(said)), sys.stdout.flush(), 0)[-1])
""",
    )
    ran = [answer for answer in said if answer["ran"]]
    assert all(answer["ran"] or answer["error"] == "StoreError" for answer in said)
    try:
        outcomes = trail(tmp_path / ".ascend" / "ascend.db")
    except AssertionError:
        return
    assert len(outcomes) == 30 + len(ran)


def test_a_closed_control_plane_blocks_everything(tmp_path: Path) -> None:
    """Sync and async calls say that it was closed and what to do."""
    said = run(
        tmp_path,
        """
import asyncio

@governed("note")
async def anote():
    ran.append("async")

plane = configure()
attempt("before")
plane.close()
attempt("after")
try:
    asyncio.run(anote())
except AscendError as error:
    said.append(str(error))
configure()
attempt("again")
""",
    )
    assert [answer["ran"] for answer in (said[0], said[1], said[3])] == [True, False, True]
    assert "Configure a new one" in said[1]["message"]
    assert "Configure a new one" in said[2]
