"""Forks and threads: every process works, and all of them are in one valid trail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from newcomer_scripts import ALLOW, run, trail


def test_a_fork_after_configure(tmp_path: Path) -> None:
    """The child works, the parent goes on, in turns."""
    said = run(
        tmp_path,
        """
configure()
attempt("parent")
for _ in range(3):
    said.append(well(in_child(lambda: note("child") and note("child"))))
    attempt("parent")
""",
    )
    assert said[1::2] == [True] * 3
    assert all(answer["ran"] for answer in said[::2])
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"] * 10


def test_a_fork_whose_parent_closes(tmp_path: Path) -> None:
    """A daemon outlives the process that configured it; what it does afterwards is in the trail."""
    said = run(
        tmp_path,
        """
plane = configure()
attempt("parent")
ready, go = os.pipe(), os.pipe()

def daemon():
    note("child")
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    note("after the parent closed"); note("after the parent closed")

pid = in_child(daemon)
os.read(ready[0], 1)
plane.close()
os.write(go[1], b"x")
said.append(well(pid))
""",
    )
    assert said[1] is True
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"] * 4


def test_a_fork_while_others_call(tmp_path: Path) -> None:
    """Threads in the middle of their calls leave a child nothing that blocks it."""
    said = run(
        tmp_path,
        """
configure()
over = threading.Event()

def busy():
    while not over.is_set():
        note("parent")

threads = [threading.Thread(target=busy) for _ in range(3)]
[thread.start() for thread in threads]
children = []
for _ in range(6):
    time.sleep(0.01)
    children.append(in_child(lambda: (signal.alarm(4), note("child"))))
said.append([well(child) for child in children])
over.set()
[thread.join() for thread in threads]
said.append(len(ran))
""",
    )
    assert said[0] == [True] * 6
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"] * (said[1] + 6)


def test_a_fork_while_others_wait(tmp_path: Path) -> None:
    """A child that waits for a person hears the answer, though a thread waited in the parent when it was made."""
    said = run(
        tmp_path,
        """
plane = configure()
waiting = threading.Thread(target=attempt, args=("parent",))
waiting.start()
while not plane.pending():
    time.sleep(0.01)
time.sleep(0.1)
pid = in_child(lambda: (signal.alarm(5), note("child")))
until = time.time() + 4
while len(plane.pending()) < 2 and time.time() < until:
    time.sleep(0.01)
for row in plane.pending():
    plane.approve(str(row.id), approver="ana")
child_worked = well(pid)
waiting.join()
said.append(child_worked)
""",
        policy="version: 1\ndefault: require_approval\n",
    )
    assert said[0]["ran"]
    assert said[1] is True
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"] * 2


def test_a_fork_during_the_first_call(tmp_path: Path) -> None:
    """A child made while another thread of the parent was configuring does not wait for that thread."""
    said = run(
        tmp_path,
        """
os.mkfifo(folder / "slow.yaml")
os.environ["ASCEND_POLICY"] = str(folder / "slow.yaml")  # its reader waits for a writer
first = threading.Thread(target=attempt, args=("parent",))
first.start()
time.sleep(0.2)

def child():
    signal.alarm(4)
    os.environ["ASCEND_POLICY"] = str(policy)
    note("child")

said.append(well(in_child(child)))
(folder / "slow.yaml").write_text(policy.read_text())
first.join()
""",
    )
    assert said[0] is True
    assert said[1]["ran"]


POOL = """
import multiprocessing, os, sys
import ascend_guard
from ascend_guard import governed

@governed("note")
def note(text):
    return os.getpid()

if __name__ == "__main__":
    ascend_guard.configure()
    note("parent")
    pool = multiprocessing.get_context(sys.argv[1]).Pool(2)
    pids = set(pool.map(note, range(6), chunksize=1))
    pool.close()
    pool.join()
    assert os.getpid() not in pids
    note("parent")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes(method: str, tmp_path: Path) -> None:
    """A governed tool is handed to a pool as it is; workers and parent share one trail."""
    (tmp_path / "policy.yaml").write_text(ALLOW)
    (tmp_path / "agent.py").write_text(POOL)
    environment = {**os.environ, "ASCEND_POLICY": "policy.yaml", "ASCEND_DURABILITY": "process"}
    done = subprocess.run(
        [sys.executable, "agent.py", method],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"] * 8


def test_many_threads_make_the_first_call(tmp_path: Path) -> None:
    """They share one control plane, made from the environment."""
    said = run(
        tmp_path,
        """
os.environ["ASCEND_POLICY"], os.environ["ASCEND_DURABILITY"] = str(policy), "process"
together = threading.Barrier(32)
planes = set()

def first():
    together.wait()
    attempt("thread")
    planes.add(id(ascend_guard.config.default_control_plane()))

threads = [threading.Thread(target=first) for _ in range(32)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
said.append([len(planes), len(os.listdir(f"{database}.runners"))])
""",
    )
    assert said.pop() == [1, 1]
    assert all(answer["ran"] for answer in said)
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"] * 32


def test_many_processes_make_the_first_call(tmp_path: Path) -> None:
    """Workers started together on a new folder make one trail, and none is in another's way."""
    said = run(
        tmp_path,
        """
import ascend_guard.engine.policy
waiting, start = os.pipe()

def first():
    os.close(start)
    os.read(waiting, 1)  # ends when every process has closed the other end: all of them are there
    configure()
    note("child")

children = [in_child(first) for _ in range(12)]
os.close(start)
said.append([well(child) for child in children])
""",
    )
    assert said == [[True] * 12]
    assert trail(tmp_path / ".ascend" / "ascend.db") == ["completed"] * 12
