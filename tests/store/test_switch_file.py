"""The switch file: what is damaged stops everybody, nothing that was turned on is lost, and the trail has each turn once."""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import every_record
from simulation import ROOT

from ascend_guard import EmbeddedControlPlane, governed
from ascend_guard.engine.policy import parse_policy
from ascend_guard.errors import ConflictError, KillSwitchError, NotFoundError, StoreError
from ascend_guard.model import iso
from ascend_guard.store import migrations
from ascend_guard.store.port import switch_on
from ascend_guard.store.sqlite.store import SQLiteStore
from ascend_guard.store.sqlite.switch_file import switch_path
from ascend_guard.store.sqlite.switch_without_database import Beside

Damaging = Callable[[Path], object]


def opened(folder: Path) -> EmbeddedControlPlane:
    """A process on the database in this folder."""
    store = SQLiteStore(folder / "a.db", durability="process")
    return EmbeddedControlPlane(store, parse_policy("{version: 1, default: allow}"), agent_id="worker")


def call(plane: EmbeddedControlPlane) -> str:
    """A governed call."""
    return governed("work", control_plane=plane)(lambda: "ran")()


def blocked(plane: EmbeddedControlPlane) -> str:
    """Why a call does not run."""
    with pytest.raises(KillSwitchError) as caught:
        call(plane)
    return str(caught.value)


def events(plane: EmbeddedControlPlane) -> list[str]:
    """What the trail says of the kill switch."""
    rows = plane.read(lambda reader: every_record(reader))
    return [row.event for row in rows if row.event.startswith("kill_switch")]


def _rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    content = path.read_bytes()
    path.write_bytes(change(content))


def _in_place(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with path.open("r+b") as file:
        file.seek(content.index(b"fire"))
        file.write(b"FIRE")


def _swapped(path: Path) -> None:
    other = path.with_name("other.db")
    store = SQLiteStore(other, durability="process")
    store.close()
    os.replace(switch_path(other), path)


def _copied_back(path: Path) -> None:
    shutil.copy(path.with_name("older"), path.with_name("copy"))
    os.replace(path.with_name("copy"), path)


DAMAGE: dict[str, Damaging] = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: os.truncate(path, 0),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 10),
    "cut by a record": lambda path: _rewritten(path, lambda content: content[: content[:-1].rindex(b"\n")]),
    "changed in place": _in_place,
    "of another database": _swapped,
    "an older copy": _copied_back,
    "a torn record": lambda path: _rewritten(path, lambda content: content + b'\n{"id":"0123'),
    "an invalid record": lambda path: _rewritten(path, lambda content: content + b"\n{}\tabc\n"),
    "a record twice": lambda path: _rewritten(
        path, lambda content: content + content[content[:-1].rindex(b"\n") :]
    ),
    "zeros at its end": lambda path: os.truncate(path, path.stat().st_size + 4096),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (os.rename(path, path.with_name("away")), path.symlink_to(path.with_name("away"))),
    "the alarm": lambda path: _rewritten(path, lambda content: b"f" * 32 + content[32:]),
}


@pytest.mark.parametrize("new", [False, True], ids=["running process", "new process"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_stops_everybody_and_off_repairs(tmp_path: Path, name: str, new: bool) -> None:
    """Whatever happened to the file: calls are blocked, kills are kept, and turning the switch off for all repairs it."""
    plane = opened(tmp_path)
    path = switch_path(tmp_path / "a.db")
    try:
        shutil.copy(path, path.with_name("older"))
        plane.kill(reason="fire", by="ann", agent_id="other")
        assert call(plane) == "ran"
        if new:
            plane.close()
        DAMAGE[name](path)
        if new:
            plane = opened(tmp_path)
        told = blocked(plane)
        assert path.name in told
        assert str(tmp_path) not in told  # an agent need not know where it is
        plane.kill(reason="smoke", by="ann", agent_id="worker")
        with pytest.raises((NotFoundError, ConflictError)):
            plane.release(reason="no", by="ann", agent_id="nobody")
        assert path.name in blocked(plane)
        if path.is_dir():
            path.rmdir()  # a person takes it away first
        plane.release(reason="looked at", by="ann")
        assert "smoke" in blocked(plane)
        assert {state.agent_id for state in plane.kill_switches()} == {"worker", "other"}
        plane.release(reason="out", by="ann", agent_id="worker")
        assert call(plane) == "ran"
        assert "kill_switch.repaired" in events(plane)
        assert plane.verify_audit().ok
    finally:
        plane.close()
    again = opened(tmp_path)
    assert call(again) == "ran"
    assert {state.agent_id for state in again.kill_switches()} == {"other"}
    again.close()


def test_a_damaged_file_in_two_processes(tmp_path: Path) -> None:
    """A file that one process put in place of a damaged one is taken over by another that saw the damage."""
    one, two = opened(tmp_path), opened(tmp_path)
    switch_path(tmp_path / "a.db").unlink()
    assert blocked(one)
    assert blocked(two)
    two.release(reason="looked at", by="ann")
    assert (call(one), call(two)) == ("ran", "ran")
    one.kill(reason="fire", by="ann")
    assert "fire" in blocked(two)
    one.close()
    two.close()


_FULL = """
import resource, sys
from ascend_guard.store.sqlite.switch_without_database import Beside
from pathlib import Path
beside = Beside(Path(sys.argv[1]), "process")
size = Path(sys.argv[1] + ".switch").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + int(sys.argv[2]), resource.RLIM_INFINITY))
killed = beside.kill("local", "worker", "fire", "ann")
print(killed.blocked, killed.recorded, killed.remark is not None)
"""


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_cannot_keep_the_switch_from_being_turned_on(tmp_path: Path, room: int) -> None:
    """No room for the record, or for a part of it: everybody is stopped instead, and told so."""
    plane = opened(tmp_path)
    assert call(plane) == "ran"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_FULL), str(tmp_path / "a.db"), str(room)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True False True\n", done.stderr
    assert "switch" in blocked(plane)
    plane.release(reason="space again", by="ann")
    assert call(plane) == "ran"
    plane.close()


def test_kills_of_many_processes_at_once(tmp_path: Path) -> None:
    """Nothing is torn or lost, whoever folds: each is in the trail once, and all must be released."""
    plane = opened(tmp_path)
    code = (
        "import sys, pathlib\nfrom ascend_guard.store.sqlite.switch_without_database import Beside\n"
        "b = Beside(pathlib.Path(sys.argv[1]), 'process')\n"
        "for n in range(20): b.kill('local', sys.argv[2], f'fire {n}', 'ann')\n"
        "b.followed(lambda store: None)"
    )
    killers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.db"), f"agent-{number}"])
        for number in range(4)
    ]
    threads = [threading.Thread(target=lambda: [call(plane) for _ in range(30)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert [killer.wait(120) for killer in killers] == [0] * 4
    for thread in threads:
        thread.join()
    plane.store.write(lambda tx: None)
    records = [
        msgspec.json.decode(row.body)
        for row in plane.read(lambda reader: every_record(reader))
        if row.event == "kill_switch.on"
    ]
    said = sorted((record["agent_id"], record["reason"]) for record in records)
    assert said == sorted((f"agent-{number}", f"fire {n}") for number in range(4) for n in range(20))
    assert len(plane.kill_switches()) == 4
    plane.close()


# --- random interleavings ----------------------------------------------------------------------------------------------

AGENTS = ["", "a", "b"]
STEPS = st.one_of(
    st.tuples(
        st.sampled_from(["kill", "kill beside", "kill in a transaction", "release", "release"]),
        st.sampled_from(AGENTS),
    ),
    st.tuples(
        st.sampled_from(["write", "restart", "die", "die before the release"]),
        st.sampled_from(AGENTS),
    ),
)


@contextmanager
def world() -> Iterator[Path]:
    """A folder in memory."""
    import tempfile

    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        yield Path(folder)


def died(plane: EmbeddedControlPlane) -> None:
    """The process ends without a word; the kernel lets go of its locks."""
    store = plane.store
    assert isinstance(store, SQLiteStore)
    store._liveness.abandon()
    store._writer.close(store._close_connections)
    store._fair_lock.close()


def test_random_turns_agree_with_a_model() -> None:
    """Who is stopped is what the turns say, in every process and after every crash; each turn is in the trail once."""
    reached: Counter[str] = Counter()

    @given(st.lists(STEPS, min_size=3, max_size=14))
    def turns(steps: list[tuple[str, str]]) -> None:
        _turns(steps, reached)

    turns()
    assert (
        min(reached[what] for what in ("not recorded yet", "released", "a release that was not finished")) > 5
    )


def _turns(steps: list[tuple[str, str]], reached: Counter[str]) -> None:
    with world() as folder:
        plane, other = opened(folder), opened(folder)
        on: set[str] = set()
        kills = 0
        for step, agent in steps:
            named = agent or None
            if step == "kill":
                assert plane.kill(reason="fire", by="ann", agent_id=named).recorded
                on.add(agent)
                kills += 1
            elif step == "kill beside":
                Beside(folder / "a.db", "process").kill("local", agent, "fire", "ann")
                on.add(agent)
                kills += 1
                reached["not recorded yet"] += 1
            elif step == "kill in a transaction":
                plane.store.write(lambda tx, agent=agent: switch_on(tx, "local", agent, "fire", "ann"))
                on.add(agent)
                kills += 1
            elif step == "release" and agent in on:
                other.release(reason="out", by="ann", agent_id=named)
                on.discard(agent)
                reached["released"] += 1
            elif step == "release":
                with pytest.raises(NotFoundError):
                    other.release(reason="out", by="ann", agent_id=named)
            elif step == "write":
                other.store.write(lambda tx: None)
            elif step == "restart":
                plane.close()
                plane = opened(folder)
            elif step == "die":
                died(plane)
                plane = opened(folder)
            elif step == "die before the release" and on:
                agent = min(on)
                named = agent or None
                # Committed, and not written to the file: as if the process had died in between.
                path = switch_path(folder / "a.db")
                for one in (plane, other):
                    one.store.write(lambda tx: None)
                size = path.stat().st_size
                plane.release(reason="out", by="ann", agent_id=named)
                died(plane)
                died(other)
                os.truncate(path, size)
                plane, other = opened(folder), opened(folder)
                reached["a release that was not finished"] += 1
            for one in (plane, other):
                assert {state.agent_id or "" for state in one.kill_switches()} == on
                for name in ("a", "b", "c"):
                    stopped = one.store.stopped("local", name) is not None
                    assert stopped == bool(on & {"", name})
        plane.store.write(lambda tx: None)
        assert events(plane).count("kill_switch.on") == kills
        assert plane.verify_audit().ok
        plane.close()
        other.close()


def test_a_restored_database_records_again(tmp_path: Path) -> None:
    """A backup of the database from before a switch was turned on: the file still stops, and the trail gets it again."""
    plane = opened(tmp_path)
    plane.close()
    shutil.copy(tmp_path / "a.db", tmp_path / "backup")
    plane = opened(tmp_path)
    plane.kill(reason="fire", by="ann")
    plane.close()
    for name in ("a.db", "a.db-wal", "a.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup", tmp_path / "a.db")
    plane = opened(tmp_path)
    assert "fire" in blocked(plane)
    assert events(plane) == ["kill_switch.on"]
    plane.close()


def _version_2(path: Path) -> None:
    """A database of the version that had no switch file, in which the switch of one agent is on."""
    key, at = bytes(range(32)), 1_700_000_000.0
    path.with_name(path.name + ".key").write_text(key.hex())
    record = {
        "seq": 1,
        "timestamp": iso(at),
        "organization": "local",
        "event": "kill_switch.on",
        "actor": "ann",
        "action_id": None,
        "agent_id": "worker",
        "reason": "fire",
    }
    body = msgspec.json.encode(record)
    head = hashlib.sha256(bytes(32) + body).digest()
    mac = hmac.digest(key, (1).to_bytes(8, "big") + head, "sha256")
    with closing(sqlite3.connect(path)) as database:
        for step in migrations.steps("sqlite")[:2]:
            database.executescript(step)
        database.execute(
            "INSERT INTO audit (seq, event, body, hash) VALUES (1, 'kill_switch.on', ?, ?)", (body, head)
        )
        database.execute("INSERT INTO head VALUES (1, 1, ?, ?, 1)", (head, mac))
        database.execute("INSERT INTO kill_switches VALUES ('local', 'worker', 'fire', ?, 'ann')", (at,))
        database.execute("PRAGMA user_version=2")
        database.commit()


def test_a_database_of_an_older_version(tmp_path: Path) -> None:
    """Its switches are taken over into the file, and its trail into the log."""
    _version_2(tmp_path / "a.db")
    assert Beside(tmp_path / "a.db", "process").stopped("local", "worker") is not None
    plane = opened(tmp_path)
    assert "fire" in blocked(plane)
    (state,) = plane.kill_switches()
    assert (state.agent_id, state.activated_by) == ("worker", "ann")
    assert events(plane) == ["kill_switch.on"]
    assert plane.verify_audit().ok
    plane.release(reason="out", by="ann", agent_id="worker")
    assert call(plane) == "ran"
    assert events(plane) == ["kill_switch.on", "kill_switch.off"]
    assert plane.verify_audit().ok
    plane.close()


def test_nothing_can_be_written_at_all(tmp_path: Path) -> None:
    """No file and no database: the killer is told that the switch was not kept, and calls are blocked."""
    plane = opened(tmp_path)
    switch_path(tmp_path / "a.db").unlink()
    foreign = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    foreign.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="not stored"):
        plane.kill(reason="fire", by="ann")
    assert plane.store.stopped("local", "worker") is not None
    foreign.execute("ROLLBACK")
    plane.close()
